"""The child process of read-only SQL: one query under limits, its result in a file, a line of JSON about it on stdout.

Run by ``captionlake.lake.query`` with a folder that holds ``request.json`` and takes the result. stdin brings one line, the credentials
of the lake's bucket or null, and stays open for as long as the parent lives: at its end the child ends too.
"""

import json
import os
import resource
import sys
import threading
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from captionlake.errors import CaptionlakeError
from captionlake.lake import catalog
from captionlake.lake.catalog import first_line, quote
from captionlake.lake.data_place import DataPlace
from captionlake.lake.gate import check
from captionlake.lake.lake import image_bytes_query
from captionlake.lake.place import catalog_of
from captionlake.lake.releases.names import parse_release
from captionlake.lake.releases.views import create_release_views, create_snapshot_views
from captionlake.lake.upgrade import refuse_older

_MIB = 2**20
_BATCH_ROWS = 10_000


def main() -> None:
    """Answer one request; exit 0 with ``{"rows": …, "more": …}`` on stdout, or 1 with ``{"error": …}``."""
    request = json.loads(Path(sys.argv[1], "request.json").read_text(encoding="utf-8"))
    request["secret"] = json.loads(sys.stdin.buffer.readline())  # not in a file
    threading.Thread(target=_end_with_parent, daemon=True).start()
    limits = request["limits"]
    seconds = int(limits["seconds"] * limits["threads"]) + 10
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    _limit_data(limits["process_mib"] * _MIB)
    try:
        reply = answer(request)
    except CaptionlakeError as error:
        reply = {"error": str(error)}
    except (duckdb.OutOfMemoryException, MemoryError, pa.ArrowMemoryError) as error:
        reply = {"error": _memory(error, limits)}
    except (duckdb.Error, pa.ArrowException, RuntimeError, OSError) as error:
        reply = {"error": _memory(error, limits) if _is_memory(error) else f"the query failed: {first_line(error)}"}
    sys.stdout.write(json.dumps(reply))
    sys.stdout.flush()
    os._exit(1 if "error" in reply else 0)


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


def _limit_data(size: int) -> None:
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    except (ValueError, OSError) as error:
        raise SystemExit(f"no memory limit can be set: {error}") from error


def _is_memory(error: Exception) -> bool:
    text = str(error).lower()
    return any(
        sign in text
        for sign in ("bad_alloc", "bad allocation", "out of memory", "allocation fail", "could not allocate")
    )


def _memory(error: Exception, limits: dict[str, Any]) -> str:
    what = first_line(error)
    if "max_temp_directory_size" in what:
        return (
            f"the query needs more than {limits['temp_mib']:,} MiB of temporary space: narrow it, or take it in parts"
        )
    return f"the query needs more than {limits['memory_mib']:,} MiB of memory: narrow it, or take it in parts"


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Open the lake, check the query, lock the settings, run it, write its result."""
    lake, folder = Path(request["lake"]), Path(request["folder"])
    connection = open_read_only(lake, request.get("secret"))
    if request["release"] is not None:
        create_release_views(connection, *parse_release(request["release"]))
    elif request["at"] is not None:
        create_snapshot_views(connection, request["at"])
    statement = check(connection, request["query"], readable(connection))
    lock_down(connection, lake, folder, request["limits"])
    batches = connection.execute(statement).to_arrow_reader(_BATCH_ROWS)
    return write_result(batches, folder / "result.arrow", request["max_rows"], request["limits"]["result_mib"])


def open_read_only(lake: Path, secret: str | None = None) -> duckdb.DuckDBPyConnection:
    """A connection that holds the lake, read-only, and its pictures as ``image_bytes``. ``secret``: of its bucket, as SQL."""
    place = DataPlace.of(lake)
    connection = place.connect(catalog_of(lake), secret)
    catalog.attach(connection, lake, data=place.data.url, read_only=True)
    refuse_older(catalog.check_schema(connection, lake), lake)
    connection.execute(f"CREATE TEMP VIEW image_bytes AS {image_bytes_query(place)}")
    return connection


def readable(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The names that a query may read: the lake's tables, and the views made here."""
    rows = connection.execute(
        "SELECT table_name FROM __ducklake_metadata_lake.ducklake_table WHERE end_snapshot IS NULL "
        "UNION SELECT view_name FROM duckdb_views() WHERE temporary AND NOT internal"
    ).fetchall()
    return [name for (name,) in rows]


def lock_down(connection: duckdb.DuckDBPyConnection, lake: Path, folder: Path, limits: dict[str, Any]) -> None:
    """Settings that hold for the rest of the process, whatever a query says."""
    place = DataPlace.of(lake)
    allowed = ", ".join(quote(f"{path}/") for path in (place.data.url, place.images.url, folder))
    for setting in (
        "python_enable_replacements = false",
        f"memory_limit = '{limits['memory_mib']}MiB'",
        f"threads = {limits['threads']}",
        f"temp_directory = {quote(str(folder / 'spill'))}",
        f"max_temp_directory_size = '{limits['temp_mib']}MiB'",
        f"allowed_directories = [{allowed}]",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}")


def write_result(batches: pa.RecordBatchReader, path: Path, max_rows: int | None, max_mib: int) -> dict[str, Any]:
    """The batches as an Arrow stream in a file, batch by batch; column names made unique."""
    schema = pa.schema(
        [field.with_name(name) for field, name in zip(batches.schema, _unique(batches.schema.names), strict=True)]
    )
    rows, more = 0, False
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for batch in batches:
            if max_rows is not None and rows + len(batch) > max_rows:
                batch, more = batch.slice(0, max_rows - rows), True
            writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
            rows += len(batch)
            if more:
                break
            if file.tell() > max_mib * _MIB:
                raise CaptionlakeError(
                    f"the result is larger than {max_mib:,} MiB: narrow the query, or take it in parts"
                )
    return {"rows": rows, "more": more}


def _unique(names: list[str]) -> list[str]:
    unique: list[str] = []
    for name in names:
        candidate, number = name, 1
        while candidate in unique:
            candidate, number = f"{name}_{number}", number + 1
        unique.append(candidate)
    return unique


if __name__ == "__main__":
    main()
