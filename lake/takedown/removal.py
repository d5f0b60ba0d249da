"""A takedown carried out: tombstone, bytes, rows, snapshots, files, in this order, each step of which can be repeated.

The tombstone comes first, so that whatever ends the process, the next run knows what is still to be done, and nothing can be brought
back in between. What it holds is enough for all steps.
"""

import fcntl
import json
import os
import re
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from captionlake.errors import CaptionlakeError
from captionlake.lake.cache import drop_cache
from captionlake.lake.catalog import literal_glob
from captionlake.lake.lake import Lake
from captionlake.lake.locking import write_lock
from captionlake.lake.maintenance import clean_files, expire, rewrite, vacuum_catalog
from captionlake.lake.place import catalog_of
from captionlake.lake.takedown.targets import CHANGED, DELETED, delete_rows, list_targets, touched
from captionlake.lake.takedown.tombstone import DONE, REMOVING, Hashes, Tombstone, tombstone, tombstones

_TABLES = sorted({*DELETED, *CHANGED, "releases", "runs"})
_PIECE = 2**20
_CAPTION_ID = re.compile(rb'"caption_id": *"([^"]+)"')


def take_down(lake: Lake, hashes: Hashes, reason: str) -> Tombstone:
    """Remove what the hashes mean, from everything. Returns the tombstone, whose ``touched`` is the receipt."""
    if not hashes:
        raise CaptionlakeError(
            "nothing is named that could be taken down: give --url, --image-id, --source-key or --like"
        )
    check_quiet(lake)
    takedown_id = uuid.uuid4().hex[:16]
    row = {
        "takedown_id": takedown_id,
        "asked": hashes.to_json(),
        "reason": reason,
        "touched": json.dumps({"state": REMOVING, **touched(lake, hashes).to_dict()}),
        "created_at": datetime.now(UTC),
    }
    lake.append("takedowns", pa.Table.from_pylist([row]), ["takedown_id"])
    return resume(lake, tombstone(lake, takedown_id))


def unfinished(lake: Lake) -> list[Tombstone]:
    """Takedowns that a process ended in the middle of."""
    return [one for one in tombstones(lake) if not one.is_done]


def resume(lake: Lake, one: Tombstone) -> Tombstone:
    """Do what is still to be done of a takedown; all of it again where it is done."""
    check_quiet(lake)
    _erase_bytes(lake, one.hashes)
    _erase_rows(lake, one.hashes)
    _erase_replies(lake, one.hashes)
    drop_cache(lake.path)
    rewrite(lake, _TABLES)
    _pin_anew(lake)
    expire(lake)
    clean_files(lake)
    lake.data_place.abort_uploads()
    lake.data_place.purge()
    with write_lock(lake.path):  # they name the rows, and files that have just gone
        catalog_of(lake.path).remove_backups()
    packed = vacuum_catalog(lake)
    keeps = catalog_of(lake.path).remains()
    receipt = one.touched | ({"catalog_keeps": keeps} if keeps else {})
    receipt |= {"state": DONE, "done_at": datetime.now(UTC).isoformat(), "catalog_packed": packed}
    lake.commit(lambda c: _note(c, one.takedown_id, receipt))
    return tombstone(lake, one.takedown_id)


def check_quiet(lake: Lake) -> None:
    """Raise where another process has pictures or replies in hand, which would come in behind a takedown's back."""
    lake.sweep()
    locks = [*(lake.path / "staging").glob("*.lock"), *(lake.path / "spool").glob("*.lock")]
    for path in sorted(locks):
        if _is_held(path):
            raise CaptionlakeError(
                f"another process is at work in {lake.path} ({path.name}): let it end, and run this again"
            )


def _is_held(path: Path) -> bool:
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _note(connection: duckdb.DuckDBPyConnection, takedown_id: str, receipt: dict[str, Any]) -> None:
    connection.execute(
        "UPDATE lake.takedowns SET touched = ? WHERE takedown_id = ?", [json.dumps(receipt), takedown_id]
    )


def _erase_bytes(lake: Lake, hashes: Hashes) -> None:
    """Zeros over the pictures' bytes, in their shards and in shards that no row names."""
    with write_lock(lake.path), lake.staging("takedown") as staging:
        list_targets(lake, lake.connection, hashes)
        places = lake.rows('SELECT DISTINCT shard, "row", "offset", n_bytes FROM gone_images')
        ids = [image_id for (image_id,) in lake.rows("FROM gone_pictures")]
        stray = _stray(lake, ids, {(shard, row) for shard, row, *_ in places})
        for shard in sorted({shard for shard, *_ in [*places, *stray]}):
            if lake.images.size(shard) is None:
                continue
            with lake.images.changing(shard, staging) as path:
                spans = [(offset, n_bytes) for of, _, offset, n_bytes in places if of == shard]
                spans += [place_of(path, row) for of, row in stray if of == shard]
                for offset, n_bytes in spans:
                    _fill(path, offset, n_bytes)


def _stray(lake: Lake, ids: list[str], known: set[tuple[str, int]]) -> list[tuple[str, int]]:
    """Shard and row of these pictures where no row of the lake tells them: their process was killed between the shard and the rows."""
    found = lake.rows(
        "SELECT parse_filename(filename), file_row_number FROM read_parquet(?, filename = true, file_row_number = true) "
        "WHERE list_contains(?, image_id)",
        [f"{literal_glob(lake.images.url)}/*.parquet", ids],
    )
    return [place for place in found if place not in known]


def place_of(path: Path, row: int) -> tuple[int, int]:
    """Where the picture of a row of a shard lies: offset and length, from the file itself."""
    with pq.ParquetFile(path) as file:
        before = 0
        for number in range(file.num_row_groups):
            group = file.metadata.row_group(number)
            if row < before + group.num_rows:
                sizes = [len(data) for data in file.read_row_group(number, columns=["bytes"])["bytes"].to_pylist()]
                column = group.column(1)
                at = column.data_page_offset + column.total_compressed_size - sum(4 + size for size in sizes)
                return at + sum(4 + size for size in sizes[: row - before]) + 4, sizes[row - before]
            before += group.num_rows
    raise CaptionlakeError(f"{path} has no row {row}: restore it from a backup")


def _fill(path: Path, offset: int, n_bytes: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        for start in range(0, n_bytes, _PIECE):
            file.write(bytes(min(_PIECE, n_bytes - start)))
        file.flush()
        os.fsync(file.fileno())


def _erase_rows(lake: Lake, hashes: Hashes) -> None:
    def change(connection: duckdb.DuckDBPyConnection) -> None:
        list_targets(lake, connection, hashes)
        delete_rows(connection)

    lake.commit(change)


def _erase_replies(lake: Lake, hashes: Hashes) -> None:
    """Lines of ``spool/`` that name one of the pictures, or a caption that another line says is of one, as a batch's requests do."""
    spool = lake.path / "spool"
    files = sorted(spool.rglob("*.jsonl")) if spool.is_dir() else []
    lines = [line for path in files for line in path.read_bytes().splitlines() if _names(line, hashes.image_ids)]
    captions = [match.decode() for line in lines for match in _CAPTION_ID.findall(line)]
    for path in files:
        before = path.read_bytes().splitlines(keepends=True)
        kept = [line for line in before if not _names(line, [*hashes.image_ids, *captions])]
        if len(kept) == len(before):
            continue
        draft = path.with_name(f"{path.name}.draft")
        with draft.open("wb") as file:
            file.writelines(kept)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)


def _names(line: bytes, ids: list[str]) -> bool:
    return any(one.encode() in line for one in ids)


def _pin_anew(lake: Lake) -> None:
    """Releases are read from now on at the snapshot that has the rows no more, in no file of its own."""
    now = lake.snapshot()
    lake.commit(lambda c: c.execute("UPDATE lake.releases SET snapshot_id = ? WHERE snapshot_id < ?", [now, now]))
