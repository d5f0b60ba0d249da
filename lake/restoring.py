"""The catalog put back from a backup: what it names must still be there, and what it replaces is backed up first."""

from dataclasses import dataclass
from pathlib import Path
from posixpath import normpath

import duckdb

from captionlake.errors import CaptionlakeError
from captionlake.lake import catalog
from captionlake.lake.data_place import DataPlace
from captionlake.lake.locking import write_lock
from captionlake.lake.place import Place, catalog_of, has_catalog
from captionlake.lake.staging import staging_folder
from captionlake.lake.upgrade import backup_name


@dataclass(frozen=True, slots=True)
class Restored:
    """The schema version of the lake now, and the backup of the catalog that was replaced, where there was one that could be read."""

    backup: str
    schema_version: int
    replaced: str | None


def back_up(lake: Path) -> str:
    """Copy the catalog of a lake as it is at one moment, while others write and read. Returns where it is."""
    if not has_catalog(lake):
        raise CaptionlakeError(f"no lake in {lake}: make one with  captionlake init {lake}")
    place = catalog_of(lake)
    with write_lock(lake):
        return place.back_up(backup_name(_version(lake, place)))


def restore(lake: Path, backup: str) -> Restored:
    """Put a backup in the place of the catalog. The lake is not upgraded by that.

    Raises where a table's file or a shard that it names is gone, as after a takedown, and where another process uses the catalog.
    """
    place = catalog_of(lake)
    here = DataPlace.of(lake).bucket is None
    for name in (
        "staging",
        "spool",
        *(("images", "data") if here else ()),
    ):  # of a folder the empty ones may not have been copied
        (lake / name).mkdir(exist_ok=True)
    with write_lock(lake), staging_folder(lake, "restore") as staging:
        draft = place.draft_of(backup, staging)
        version = _checked(lake, draft, backup)
        replaced = _kept(lake, place) if has_catalog(lake) else None
        place.put(draft)
    return Restored(backup, version, replaced)


def _kept(lake: Path, place: Place) -> str | None:
    try:
        return place.back_up(backup_name(_version(lake, place)))
    except CaptionlakeError as error:
        if "no room" in str(error):
            raise
        return None  # it is broken: that is why it is replaced


def _version(lake: Path, place: Place) -> int:
    data_place = DataPlace.of(lake)
    with data_place.connect(place) as connection:
        catalog.attach(connection, lake, data=data_place.data.url, read_only=True, place=place)
        return catalog.check_schema(connection, lake)


def _checked(lake: Path, draft: Place, name: str) -> int:
    data_place = DataPlace.of(lake)
    with data_place.connect(draft) as connection:
        catalog.attach(connection, lake, data=data_place.data.url, place=draft)
        version = catalog.check_schema(connection, lake)
        wanted = {normpath(path) for (path,) in connection.execute(catalog.TABLE_FILES).fetchall()}
        try:
            shards = {shard for (shard,) in connection.execute("SELECT DISTINCT shard FROM images").fetchall()}
        except duckdb.Error:  # a file of the table is gone, and is told below
            shards = set()
        connection.execute("USE memory")
        connection.execute("DETACH lake")
    gone = [
        f"{storage.url}/{name}"
        for storage, names in ((data_place.data, wanted), (data_place.images, shards))
        for name in sorted(names - set(storage.sizes(names)))
    ]
    if gone:
        raise CaptionlakeError(
            f"{name} names {len(gone):,} files that are gone, such as {gone[0]}: copy them back from a backup of the folder"
        )
    return version
