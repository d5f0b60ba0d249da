"""Conversation files in and out: what comes out is what went in, and a row of the wrong shape stops no other."""

import hashlib
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captionlake.cli import captionlake
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.exports.json_files import export_origin
from captionlake.lake.sft.importing import import_conversations, is_imported
from captionlake.lake.sft.origins import list_origins
from captionlake.lake.sft.record import BadRecord, joined, read_record

from ...official import sharegpt4v

NAMES = {"coco": ["000000000009.jpg", "000000000025.jpg"], "sam": ["sa_1.jpg"], "lcs": ["00453/004539375.jpg"]}
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | st.just("conversations"), inner, max_size=3),
    max_leaves=6,
)
TURNS = st.lists(
    st.builds(
        lambda more, who, text: more | {"from": who, "value": text},
        st.dictionaries(TEXT, VALUES, max_size=2),
        TEXT,
        TEXT,
    ),
    min_size=1,
    max_size=4,
)
PATH = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
IMAGES = st.none() | PATH | st.lists(PATH, max_size=3)


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    """A row with its keys in any order, others among them."""
    row = draw(st.dictionaries(TEXT | st.sampled_from(["id", "model"]), VALUES, max_size=4)) | {
        "conversations": draw(TURNS)
    }
    if draw(st.booleans()):
        row["image"] = draw(IMAGES)
    else:
        row.pop("image", None)
    return {key: row[key] for key in draw(st.permutations(list(row)))}


@given(rows())
def test_a_row_comes_out_as_it_went_in(row: dict[str, Any]) -> None:
    record = read_record(row)
    again = json.loads(joined(record.record, record.turns))
    assert again == row and list(again) == list(row)


@given(st.lists(rows(), min_size=1, max_size=8))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_comes_out_as_it_went_in(lake: Lake, given_rows: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        name = f"{hashlib.sha256(json.dumps(given_rows).encode()).hexdigest()}:7.json"
        path = sharegpt4v.write(Path(folder) / name, given_rows)
        counts = import_conversations(lake, path)
        assert counts.rows == len(given_rows) and not counts.bad
        export_origin(lake, name, Path(folder) / "out.json")
        out = json.loads((Path(folder) / "out.json").read_bytes())
    assert out == given_rows and [list(row) for row in out] == [list(row) for row in given_rows]


def test_the_shapes_of_the_mix(lake: Lake, tmp_path: Path) -> None:
    rows = [row | ({} if "image" in row else {"model": ""}) for row in sharegpt4v.mix(NAMES)]
    path = sharegpt4v.write(tmp_path / sharegpt4v.MIX665K, rows)
    counts = import_conversations(lake, path)
    assert (counts.rows, counts.added, counts.text_only, counts.images) == (7, 7, 1, 5)
    stored = lake.rows("SELECT origin, image_paths, turns->0->>'value' FROM conversations ORDER BY origin")
    assert stored[4] == (f"{path.name}:5", ["coco/train2017/000000000009.jpg"], "What is it?\n<image>")
    assert stored[6] == (f"{path.name}:7", [], "Write a haiku.")
    done = export_origin(lake, path.name, tmp_path / "out.json")
    assert done.rows == 7 and json.loads((tmp_path / "out.json").read_text()) == rows
    with pytest.raises(CaptionlakeError, match="there already"):
        export_origin(lake, path.name, tmp_path / "out.json")


def test_a_second_import_adds_nothing_and_finds_pictures_that_have_come(lake: Lake, tmp_path: Path) -> None:
    path = sharegpt4v.write(tmp_path / "mix.json", sharegpt4v.mix(NAMES))
    assert not is_imported(lake, path)
    import_conversations(lake, path)
    assert is_imported(lake, path)
    ids = lake.rows("SELECT conversation_id, origin FROM conversations ORDER BY 1")
    assert lake.rows("SELECT DISTINCT image_ids FROM conversations ORDER BY 1") == [([],), ([None],)]
    add_picture(lake, "coco", "000000000009.jpg")
    counts = import_conversations(lake, path)
    assert (counts.added, counts.present, counts.linked, counts.in_lake) == (0, 7, 2, 1)
    assert lake.rows("SELECT conversation_id, origin FROM conversations ORDER BY 1") == ids
    found = lake.rows("SELECT image_paths[1] FROM conversations WHERE image_ids[1] IS NOT NULL")
    assert found == [("coco/train2017/000000000009.jpg",)] * 2
    assert import_conversations(lake, path).linked == 0


def test_what_a_kill_left_out_is_added(lake: Lake, tmp_path: Path) -> None:
    path = sharegpt4v.write(tmp_path / "mix.json", sharegpt4v.mix(NAMES))
    import_conversations(lake, path)
    lake.commit(lambda c: c.execute("DELETE FROM conversations WHERE origin IN ('mix.json:2', 'mix.json:7')"))
    assert not is_imported(lake, path)
    assert import_conversations(lake, path).added == 2
    export_origin(lake, "mix.json", tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == json.loads(path.read_text())


def test_several_pictures_a_row(lake: Lake, tmp_path: Path) -> None:
    add_picture(lake, "sam", "sa_2.jpg")
    images = ["sam/images/sa_1.jpg", "sam/images/sa_2.jpg"]
    turns = [{"from": "human", "value": "<image><image>\nCompare."}, {"from": "gpt", "value": "They differ."}]
    import_conversations(lake, sharegpt4v.write(tmp_path / "m.json", [{"image": images, "conversations": turns}]))
    assert lake.rows("SELECT image_paths, list_transform(image_ids, lambda i: i IS NULL) FROM conversations") == [
        (images, [True, False])
    ]


BAD: list[tuple[Any, str]] = [
    ("text", "not an object"),
    ({"id": 1}, "no conversations"),
    ({"conversations": {}}, "conversations is not a list"),
    ({"conversations": []}, "conversations is empty"),
    ({"conversations": [{"from": "human"}]}, "a turn is not an object of the texts from and value"),
    ({"conversations": [{"from": "gpt", "value": "ok"}, 7]}, "a turn is not an object of the texts from and value"),
    ({"conversations": [{"from": "gpt", "value": "ok"}], "image": 7}, "image is neither a path nor a list of paths"),
    ({"conversations": [{"from": "gpt", "value": "ok"}], "image": ""}, "image is neither a path nor a list of paths"),
    (
        {"conversations": [{"from": "gpt", "value": "ok"}], "image": ["a.jpg", "\0"]},
        "image is neither a path nor a list of paths",
    ),
    ({"conversations": [{"from": "gpt", "value": "\ud800"}]}, "half of a surrogate pair in its text"),
]


def test_rows_of_the_wrong_shape_are_told_and_stop_no_other(lake: Lake, tmp_path: Path) -> None:
    good = sharegpt4v.mix(NAMES)
    rows = [row for pair in zip(BAD, [*good, *good], strict=False) for row in (pair[0][0], pair[1])]
    text = json.dumps(rows)[:-1] + ', {"conversations": [{"from": "gpt", "value": "x", "n": 1e999}]}]'
    (tmp_path / "mix.json").write_text(text)
    counts = import_conversations(lake, tmp_path / "mix.json")
    assert counts.rows == 2 * len(BAD) + 1 and counts.added == len(BAD)
    assert counts.bad == {why: sum(w == why for _, w in BAD) for _, why in BAD} | {"a number too large": 1}
    assert counts.bad_rows[:2] == ["mix.json row 1: not an object", "mix.json row 3: no conversations"]
    export_origin(lake, "mix.json", tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == [rows[n] for n in range(1, 2 * len(BAD), 2)]
    for item, why in BAD:
        with pytest.raises(BadRecord, match=why):
            read_record(item)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "has no conversations"),
        ("[1, 2]", r"has no conversations \(not an object\)"),
        ('{"images": []}', "has no conversations"),
        ('[{"conversations": [{"from": "gpt", "value": "x"}]}, {"conv', "cut off"),
    ],
)
def test_a_file_that_is_none_writes_nothing(lake: Lake, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mix.json").write_text(text)
    with pytest.raises(CaptionlakeError, match=message):
        import_conversations(lake, tmp_path / "mix.json")
    assert lake.value("SELECT count(*) FROM conversations") == 0


def test_another_file_of_the_same_name_is_refused(lake: Lake, tmp_path: Path) -> None:
    rows = sharegpt4v.mix(NAMES)
    import_conversations(lake, sharegpt4v.write(tmp_path / "mix.json", rows))
    for other in (rows[:-1], [*rows[:-1], rows[0]]):
        with pytest.raises(CaptionlakeError, match=r"another file named mix\.json"):
            import_conversations(lake, sharegpt4v.write(tmp_path / "other" / "mix.json", other))


def test_a_lake_of_before_gets_the_columns(tmp_path: Path) -> None:
    with Lake.init(tmp_path / "lake") as lake:
        for column in ("record", "image_paths"):
            lake.commit(lambda c, column=column: c.execute(f"ALTER TABLE conversations DROP COLUMN {column}"))  # type: ignore[misc]
        lake.commit(lambda c: c.execute("UPDATE lake_info SET schema_version = 1"))
        with pytest.raises(duckdb.BinderException):
            lake.rows("SELECT record FROM conversations")
    with Lake.open(tmp_path / "lake") as lake:
        import_conversations(lake, sharegpt4v.write(tmp_path / "mix.json", sharegpt4v.mix(NAMES)))
        assert lake.value("SELECT count(record) FROM conversations") == 7
        before = lake.snapshot()
    with Lake.open(tmp_path / "lake") as lake:
        assert lake.snapshot() == before  # opened as it is


def test_the_commands(lake: Lake, tmp_path: Path) -> None:
    rows = [*sharegpt4v.mix(NAMES), "no row"]
    path = sharegpt4v.write(tmp_path / "mix.json", rows)  # type: ignore[arg-type]
    folder = str(lake.path)

    def run(*arguments: str) -> str:
        return (
            CliRunner()
            .invoke(captionlake, ["conversations", *arguments, "--lake", folder], catch_exceptions=False)
            .stdout
        )

    assert "no conversations yet" in run("list")
    said = run("import", str(path))
    assert "8 rows, 7 added" in said and "1 rows of the wrong shape left out: not an object 1" in said
    assert "mix.json row 8" in said
    assert [one.rows for one in list_origins(lake)] == [7]
    assert json.loads(run("list", "--json"))["files"][0]["text_only"] == 1
    assert "7 rows" in run("export", "mix.json", str(tmp_path / "out.json"))
    assert json.loads((tmp_path / "out.json").read_text()) == rows[:-1]
    with pytest.raises(CaptionlakeError, match=r"no conversations of other\.json: there are mix\.json"):
        run("export", "other.json", str(tmp_path / "none.json"))


def add_picture(lake: Lake, collection: str, key: str) -> None:
    """A row of images; no bytes lie behind it."""
    row = {
        "source": collection, "source_key": key, "collection": collection, "image_id": hashlib.sha256(key.encode()).hexdigest(),
        "width": 1, "height": 1, "format": "JPEG", "orientation": 1, "n_bytes": 1, "phash": 0, "shard": "none", "row": 0,
        "offset": 0, "ingested_at": datetime(2024, 5, 17, tzinfo=UTC),
    }  # fmt: skip
    lake.append("images", pa.Table.from_pylist([row]), ["source", "source_key"])
