"""``captionlake sql`` whole: the child process, its limits, what stands behind the gate, and what comes out."""

import csv
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.query import QueryLimits, open_query, run_query
from captionlake.lake.query_child import lock_down, open_read_only
from captionlake.lake.query_output import plain, write_text
from captionlake.lake.sql_command import sql

CANARY = "canary-7c1e-secret"
SMALL = QueryLimits(seconds=30, memory_mib=256, temp_mib=64, result_mib=64, threads=2)


def rows(lake: Path, query: str, **options: Any) -> list[tuple[Any, ...]]:
    table = run_query(lake, query, **options)
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def command(lake: Path, *arguments: str) -> Result:
    return CliRunner().invoke(sql, [*arguments, "--lake", str(lake)])


def test_rows_come_back_typed(sql_lake: Any) -> None:
    table = run_query(sql_lake.path, "SELECT collection, count(*) AS n FROM images GROUP BY ALL ORDER BY 1")
    assert table.schema == pa.schema([("collection", pa.string()), ("n", pa.int64())])
    assert table.to_pydict() == {"collection": ["coco", "web"], "n": [10, 18]}


def test_pictures_of_committed_rows_are_readable(sql_lake: Any) -> None:
    query = "SELECT count(*), count(DISTINCT image_id), bool_and(sha256(bytes) = image_id) FROM image_bytes"
    assert rows(sql_lake.path, query) == [(28, 28, True)]


def test_a_release_and_a_snapshot(sql_lake: Any) -> None:
    query = "SELECT (SELECT count(*) FROM items), (SELECT count(*) FROM captions), (SELECT count(*) FROM images)"
    assert rows(sql_lake.path, query, release="demo@1.0.0") == [(10, 10, 24)]
    assert rows(sql_lake.path, "SELECT count(*) FROM images", at=sql_lake.pinned) == [(24,)]
    assert rows(sql_lake.path, f"SELECT count(*) FROM images AT (VERSION => {sql_lake.pinned})") == [(24,)]


@pytest.mark.parametrize(
    ("query", "options", "message"),
    [
        (
            "SELECT * FROM nosuch",
            {},
            "the tables are caption_checks, caption_flags, caption_scores, caption_words, captions",
        ),
        ("SELECT nosuch FROM images", {}, "nosuch"),
        ("SELECT 'a'::INT", {}, "Could not convert"),
        ("SELECT error('made up')", {}, "made up"),
        ("SELECT error(chr(27) || '[31m' || chr(8238))", {}, r"\\x1b\[31m\\u202e"),
        ("SELECT 1", {"release": "demo@9.0.0"}, "there are demo@1.0.0"),
        ("SELECT 1", {"release": "demo"}, "NAME@VERSION"),
        ("SELECT 1", {"at": 999}, "from 1 to"),
        ("SELECT 1", {"at": 1, "release": "demo@1.0.0"}, "one of --release and --at"),
        ("SELECT * FROM images AT (VERSION => 999)", {}, "No snapshot found"),
        ("SELECT * FROM read_text('/etc/hostname')", {}, "not allowed"),
    ],
)
def test_an_error_is_one_line(query: str, options: dict[str, Any], message: str, sql_lake: Any) -> None:
    before = sql_lake.state()
    with pytest.raises(CaptionlakeError, match=message) as caught:
        run_query(sql_lake.path, query, **options)
    assert "\n" not in str(caught.value)
    assert sql_lake.state() == before


def test_no_lake(tmp_path: Path) -> None:
    with pytest.raises(CaptionlakeError, match="captionlake init"):
        run_query(tmp_path, "SELECT 1")
    with pytest.raises(CaptionlakeError, match="above 0"):
        QueryLimits(seconds=float("nan"))
    with pytest.raises(CaptionlakeError, match="below 1"):
        QueryLimits(memory_mib=0)


# Limits

BOMBS = [
    "SELECT repeat('x', 4000000000)",
    "SELECT len(list(range)) FROM range(1000000000)",
    "SELECT range(2000000000)",
    "SELECT list_resize([1], 2000000000)",
    "SELECT string_agg(repeat('x', 1000), '') FROM range(10000000)",
    "SELECT * FROM range(100000000) ORDER BY hash(range)",
    "WITH RECURSIVE t AS (SELECT 'xxxxxxxxxx' AS a UNION ALL SELECT a || a FROM t) SELECT max(len(a)) FROM t",
    "SELECT repeat('x', 1000) FROM range(100000000)",
]


@pytest.mark.parametrize("query", BOMBS)
def test_a_bomb_ends_in_one_line(query: str, sql_lake: Any) -> None:
    before = sql_lake.state()
    with pytest.raises(CaptionlakeError, match=r"needs more than|larger than 64 MiB") as caught:
        run_query(sql_lake.path, query, limits=SMALL)
    assert "\n" not in str(caught.value)
    assert sql_lake.state() == before


@pytest.mark.parametrize(
    "query",
    [
        "WITH RECURSIVE t AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM t) SELECT max(a) FROM t",
        "SELECT count(*) FROM range(10000000000) a, range(10000000000) b WHERE a.range * b.range % 7 = 3",
        "SELECT lpad('x', 2000000000, 'y')",
    ],
)
def test_an_endless_query_ends_at_its_deadline(query: str, sql_lake: Any) -> None:
    limits = QueryLimits(seconds=2.5, memory_mib=4096)
    started = time.monotonic()
    with pytest.raises(CaptionlakeError, match=r"longer than 2.5 s: .*--timeout"):
        run_query(sql_lake.path, query, limits=limits)
    assert time.monotonic() - started < 4.5
    assert list((sql_lake.path / "staging").iterdir()) == []


def test_a_spilling_query_within_its_limits_succeeds(sql_lake: Any) -> None:
    limits = QueryLimits(memory_mib=150, temp_mib=2000, threads=2)
    query = "SELECT count(*), max(r) FROM (SELECT row_number() OVER (ORDER BY hash(range)) AS r FROM range(6000000))"
    assert rows(sql_lake.path, query, limits=limits) == [(6_000_000, 6_000_000)]


def test_a_killed_parent_takes_its_child_along(sql_lake: Any) -> None:
    code = (
        "import sys; from pathlib import Path; from captionlake.lake.query import run_query; "
        "run_query(Path(sys.argv[1]), 'SELECT count(*) FROM range(10000000000) a, range(10000000000) b')"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(sql_lake.path)])
    try:
        child = _wait_for(lambda: _children(parent.pid))[0]
        _wait_for(lambda: _threads(child) > 2)  # it is at work
    finally:
        parent.kill()
        parent.wait()
    _wait_for(lambda: not Path(f"/proc/{child}").exists() or "\nState:\tZ" in Path(f"/proc/{child}/status").read_text())
    with Lake.open(sql_lake.path) as lake:
        lake.sweep()
    assert list((sql_lake.path / "staging").iterdir()) == []


def _children(pid: int) -> list[int]:
    """Those of its processes that answer a query."""
    try:
        found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return [child for child in found if b"query_child" in Path(f"/proc/{child}/cmdline").read_bytes()]
    except OSError:
        return []


def _threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def _wait_for(condition: Any, seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("did not happen in time")


def test_a_child_that_is_killed_is_one_line(sql_lake: Any) -> None:
    killer = threading.Thread(target=lambda: os.kill(_wait_for(lambda: _children(os.getpid()))[0], signal.SIGKILL))
    killer.start()
    with pytest.raises(CaptionlakeError, match="ended by signal 9"):
        run_query(sql_lake.path, "SELECT count(*) FROM range(10000000000) a, range(10000000000) b")
    killer.join()


def test_keys_of_the_environment_do_not_reach_the_child(sql_lake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    seen: list[bytes] = []
    watcher = threading.Thread(
        target=lambda: seen.append(Path(f"/proc/{_wait_for(lambda: _children(os.getpid()))[0]}/environ").read_bytes())
    )
    watcher.start()
    run_query(sql_lake.path, "SELECT 1")
    watcher.join()
    assert b"PATH=" in seen[0] and CANARY.encode() not in seen[0]


# Behind the gate: what the locked settings hold even for SQL that was never checked


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_text('$CANARY')",
        "SELECT * FROM read_blob('$CANARY')",
        "SELECT * FROM read_csv('$CANARY')",
        "SELECT * FROM '$CANARY'",
        "SELECT * FROM read_text('$LAKE/data/../../outside/canary.csv')",
        "SELECT * FROM glob('$CANARY')",
        "COPY (SELECT 1) TO '$CANARY'",
        "COPY (SELECT 1) TO '$CANARY.2'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '$CANARY'",
        "ATTACH '$CANARY.db'",
        "SET memory_limit = '100GB'",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "RESET allowed_directories",
        "INSERT INTO images SELECT * FROM images",
        "DELETE FROM captions",
        "DROP TABLE images",
        "SELECT * FROM outside_variable",
    ],
)
def test_settings_hold_without_the_gate(query: str, sql_lake: Any, tmp_path: Path) -> None:
    outside_variable = pa.table({"a": [1]})
    connection = open_read_only(sql_lake.path)
    lock_down(connection, sql_lake.path, tmp_path, {"memory_mib": 256, "threads": 1, "temp_mib": 64})
    before = sql_lake.state()
    try:
        found = connection.execute(query.replace("$CANARY", str(sql_lake.canary)).replace("$LAKE", str(sql_lake.path)))
        assert found.fetchall() == []  # glob finds nothing
    except duckdb.Error as error:
        assert CANARY not in str(error)
    finally:
        connection.close()
    assert sql_lake.state() == before
    assert outside_variable.num_rows == 1


# Beside a writer


def test_two_readers_beside_a_writer(sql_lake: Any, tmp_path: Path) -> None:
    lake_path = tmp_path / "lake"
    shutil.copytree(sql_lake.path, lake_path)
    commits, errors, seen = 6, [], [[], []]  # type: ignore[var-annotated]

    def read(counts: list[int]) -> None:
        try:
            while not counts or counts[-1] < 28 + 100 * commits:
                query = "SELECT count(*), count(DISTINCT caption_id) FROM captions"
                ((total, different),) = rows(lake_path, query)
                assert total == different and (total - 28) % 100 == 0  # whole commits alone
                counts.append(total)
        except Exception as error:
            errors.append(error)

    readers = [threading.Thread(target=read, args=(counts,)) for counts in seen]
    for reader in readers:
        reader.start()
    with Lake.open(lake_path) as lake:
        for commit in range(commits):
            query = (
                f"INSERT INTO captions BY NAME SELECT 'new-{commit}-' || range AS caption_id, 'x' AS image_id, 'alt' AS kind, "
                "'p' AS producer, 't' AS text, 1 AS chars, 1 AS words, now() AS created_at FROM range(100)"
            )
            lake.commit(partial(duckdb.DuckDBPyConnection.execute, query=query))
            time.sleep(0.3)  # so that readers come between
    for reader in readers:
        reader.join(timeout=60)
    assert errors == []
    assert all(counts == sorted(counts) and counts[-1] == 28 + 100 * commits for counts in seen)


# What comes out


def test_table_json_and_csv(sql_lake: Any) -> None:
    query = (
        "SELECT source_key AS key, width, meta, NULL AS nothing, width > 64 AS wide FROM images ORDER BY key LIMIT 2"
    )
    shown = command(sql_lake.path, query)
    assert shown.exit_code == 0
    assert shown.stdout.splitlines() == [
        "key  width  meta                              nothing  wide",
        "---  -----  --------------------------------  -------  -----",
        '000     64  {"mood": 0, "tags": ["a", "t0"]}           false',
        '001     65  {"mood": 1, "tags": ["a", "t1"]}           true',
    ]
    as_json = json.loads(command(sql_lake.path, query, "--json").stdout)
    assert as_json["columns"] == ["key", "width", "meta", "nothing", "wide"]
    assert as_json["n_rows"] == 2 and as_json["rows"][1]["width"] == 65 and as_json["rows"][1]["nothing"] is None
    as_csv = list(csv.reader(io.StringIO(command(sql_lake.path, query, "--format", "csv").stdout)))
    assert as_csv[0] == ["key", "width", "meta", "nothing", "wide"] and as_csv[2][0] == "001" and as_csv[2][4] == "true"


def test_hostile_text_reaches_the_terminal_as_escapes(sql_lake: Any) -> None:
    hostile = "\x1b[31mred\u202e\x9b\r\n"
    query = f"SELECT '{hostile}' AS a, 1 AS \"col\x1b[2J\", ['{hostile}'] AS c, {{'\x1b': 1}} AS d"
    for form in ("table", "json"):
        text = command(sql_lake.path, query, "--format", form).stdout
        assert all(character.isprintable() or character == "\n" for character in text), form
    assert json.loads(text)["rows"][0]["a"] == hostile
    reader = run_query(sql_lake.path, query).to_reader()
    out = io.StringIO()
    write_text(reader, out, "csv", terminal=True)
    assert all(character.isprintable() or character == "\n" for character in out.getvalue())
    piped = command(sql_lake.path, query, "--format", "csv").stdout_bytes.decode()
    assert next(csv.reader([piped.split("\n", 1)[1]], strict=False))[0].startswith("\x1b[31mred")
    refused = command(sql_lake.path, 'SELECT * FROM "\x1b[31m"')
    assert "\x1b" not in str(refused.exception)


def test_a_table_shows_the_first_thousand_rows(sql_lake: Any) -> None:
    shown = command(sql_lake.path, "SELECT range, repeat('long ', 100) AS text FROM range(5000)")
    assert len(shown.stdout.splitlines()) == 1002 and "the first 1,000 rows" in shown.stderr
    assert max(len(line) for line in shown.stdout.splitlines()) < 140
    whole = command(sql_lake.path, "SELECT range FROM range(5000)", "--format", "csv")
    assert len(whole.stdout.splitlines()) == 5001 and whole.stderr == ""
    exact = command(sql_lake.path, "SELECT range FROM range(1000)")
    assert len(exact.stdout.splitlines()) == 1002 and exact.stderr == ""


def test_names_twice_and_a_plan(sql_lake: Any) -> None:
    assert json.loads(command(sql_lake.path, "SELECT 1 AS a, 2 AS a, 3 AS a_1", "--json").stdout)["rows"] == [
        {"a": 1, "a_1": 2, "a_1_1": 3}
    ]
    plan = command(sql_lake.path, "EXPLAIN SELECT * FROM images WHERE width > 70").stdout
    assert "width" in plan and len(plan.splitlines()) > 5


def test_pictures_are_shown_by_length_and_first_bytes(sql_lake: Any, tmp_path: Path) -> None:
    query = "SELECT bytes FROM image_bytes ORDER BY image_id LIMIT 1"
    text = json.loads(command(sql_lake.path, query, "--json").stdout)["rows"][0]["bytes"]
    assert text.startswith("<") and " bytes: ffd8ff" in text and len(text) < 40
    assert command(sql_lake.path, query, "-o", str(tmp_path / "one.parquet")).exit_code == 0
    assert pq.read_table(tmp_path / "one.parquet")["bytes"][0].as_py()[:2] == b"\xff\xd8"


def test_files_are_whole_and_named_by_their_ending(sql_lake: Any, tmp_path: Path) -> None:
    query = "SELECT caption_id, text FROM captions ORDER BY 1"
    for ending in ("parquet", "csv", "json", "txt"):
        target = tmp_path / f"out.{ending}"
        target.write_text("what stood there")
        done = command(sql_lake.path, query, "-o", str(target))
        assert (done.exit_code, done.stdout, done.stderr) == (0, "", f"28 rows in {target}\n")
        assert stat.S_IMODE(target.stat().st_mode) & 0o600 == 0o600
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 28
    assert len(list(csv.DictReader((tmp_path / "out.csv").open()))) == 28
    assert json.loads((tmp_path / "out.json").read_text())["n_rows"] == 28
    assert len(list(tmp_path.iterdir())) == 4  # no partial file stays
    written = command(sql_lake.path, query, "-o", str(tmp_path / "x"), "--format", "csv", "--json")
    assert json.loads(written.stdout) == {"file": str(tmp_path / "x"), "format": "csv", "n_rows": 28}


def test_a_failed_query_leaves_the_file_that_stood_there(sql_lake: Any, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("what stood there")
    failed = command(sql_lake.path, "SELECT CASE WHEN width = 80 THEN error('late') END FROM images", "-o", str(target))
    assert isinstance(failed.exception, CaptionlakeError)
    assert target.read_text() == "what stood there" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "parquet"], "-o FILE"),
        (["-o", "out.xyz"], "does not say its format"),
        (["-o", "out"], "does not say its format"),
        (["--json", "--format", "csv"], "at once"),
        (["-o", "no/such/folder/out.csv"], "cannot be written"),
        (["--timeout", "-1"], "above 0"),
    ],
)
def test_options_that_do_not_fit(arguments: list[str], message: str, sql_lake: Any) -> None:
    with pytest.raises(CaptionlakeError, match=message):
        CliRunner().invoke(sql, ["SELECT 1", "--lake", str(sql_lake.path), *arguments], catch_exceptions=False)


def test_every_type_of_duckdb_comes_out_as_json_and_text(sql_lake: Any) -> None:
    query = """
        SELECT true, 1::TINYINT, 1::UBIGINT, 170141183460469231731687303715884105727::HUGEINT, 1.25::DECIMAL(4, 2), 0.5::FLOAT,
        'nan'::DOUBLE, 'inf'::DOUBLE, 'a', ''::BLOB, '101'::BIT, DATE '2020-02-29', TIME '10:00:00', TIMESTAMP '2020-01-01 10:00:00',
        TIMESTAMPTZ '2020-01-01 10:00:00+02', TIMESTAMP_NS '2020-01-01 00:00:00.123456789', 'infinity'::DATE, 'infinity'::TIMESTAMP,
        DATE '12000-01-01', INTERVAL 3 DAY, uuid(), 'x'::ENUM('x'), [1, NULL], {'a': {'b': [1]}}, MAP {'k': 1}, [1]::INT[1],
        union_value(n := 1), '{"a": 1}'::JSON, NULL, sum(1), '10:00:00+01'::TIMETZ
    """
    parsed = json.loads(command(sql_lake.path, query, "--json").stdout, parse_constant=lambda name: pytest.fail(name))
    (values,) = [list(row.values()) for row in parsed["rows"]]
    assert values[:10] == [True, 1, 1, 2**127 - 1, 1.25, 0.5, None, None, "a", "<0 bytes: >"]
    assert values[11:15] == ["2020-02-29", "10:00:00", "2020-01-01T10:00:00", "2020-01-01T08:00:00+00:00"]
    assert values[19] == "0 months 3 days 0 s" and values[21:24] == ["x", [1, None], {"a": {"b": [1]}}]
    assert len(values) == 31
    table = run_query(sql_lake.path, query)
    for form in ("table", "csv"):
        out = io.StringIO()
        assert write_text(
            table.to_reader(), out, form
        ) == 1 and "170141183460469231731687303715884105727" in out.getvalue().replace(",", "")
    assert plain(b"\x00" * 9) == "<9 bytes: 0000000000000000…>"


def test_a_large_result_is_not_held_in_memory(sql_lake: Any) -> None:
    """200 MB of rows: the process that writes them stays far below that."""
    code = (
        "import resource, sys; from pathlib import Path; import pyarrow as pa\n"
        "from captionlake.lake.query import open_query\n"
        "with open_query(Path(sys.argv[1]), \"SELECT repeat('x', 1000) AS t FROM range(200000)\") as result:\n"
        "    first = pa.total_allocated_bytes()\n"
        "    rows = sum(len(batch) for batch in result.reader())\n"
        "    print(rows, max(first, pa.total_allocated_bytes()))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, str(sql_lake.path)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert int(found[0]) == 200_000 and int(found[1]) < 20_000_000


def test_the_result_lives_as_long_as_its_block(sql_lake: Any) -> None:
    with open_query(sql_lake.path, "SELECT 1 AS a") as result:
        assert result.rows == 1 and not result.more and result.reader().read_all().num_rows == 1
        assert len(list((sql_lake.path / "staging").iterdir())) == 2
    assert list((sql_lake.path / "staging").iterdir()) == []
