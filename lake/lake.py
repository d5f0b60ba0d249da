"""``Lake``: a folder of tables, pictures and releases, opened from Python.

Reads go through DuckDB; all writes go through ``commit``, which holds the write lock, runs one transaction and retries
a bounded number of times. What is pending in a lake is a query, so every step can be killed and run again.
"""

import logging
import random
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import duckdb
import pyarrow as pa

from captionlake.errors import CaptionlakeError
from captionlake.lake import catalog
from captionlake.lake.bucket import Bucket, endpoint_of_environment
from captionlake.lake.catalog import first_line, quote
from captionlake.lake.data_place import DataPlace
from captionlake.lake.durable import sync_folder
from captionlake.lake.locking import write_lock
from captionlake.lake.place import catalog_of, has_catalog
from captionlake.lake.postgres_place import PLACE_FILE, PostgresPlace, ServerLost, is_lost
from captionlake.lake.s3_storage import S3Storage, refuse_used
from captionlake.lake.shards import NO_SHARD, Locator, ShardReader, ShardWriter, old_shards, remove_shards
from captionlake.lake.sqlite_place import CATALOG
from captionlake.lake.staging import staging_folder, sweep_staging
from captionlake.lake.storage import Storage
from captionlake.lake.upgrade import Upgraded, upgrade

log = logging.getLogger(__name__)

T = TypeVar("T")
Parameters = list[Any] | dict[str, Any] | None
_ATTEMPTS = 6
_TRANSIENT = (
    *("database is locked", "Transaction conflict", "transaction conflict", "database table is locked"),
    *("Failed to commit DuckLake transaction", "could not serialize access", "deadlock detected"),
)
_ATTEMPTS_LOST = 10  # while a server is away: half a minute
_SNAPSHOTS_OF_IMAGES = (
    "SELECT snapshot_id FROM ducklake_snapshots('lake') WHERE snapshot_id >= (SELECT begin_snapshot FROM "
    "__ducklake_metadata_lake.ducklake_table WHERE table_name = 'images' AND end_snapshot IS NULL) ORDER BY 1"
)
_MERGE_ABOVE = 64  # data files of one table; past it, small files are merged after a step


class Lake:
    """A lake that is open. Use ``Lake.init`` once and ``Lake.open`` after; close it, or use it in a ``with``."""

    def __init__(self, path: Path, connection: duckdb.DuckDBPyConnection, data_place: DataPlace) -> None:
        self.path = path
        self.connection = connection
        self.data_place = data_place
        self.upgraded: Upgraded | None = None  # by this opening
        self._reader = ShardReader(data_place.images)
        self._shared = catalog_of(path).shared

    @property
    def images(self) -> Storage:
        """Where the shards of pictures lie."""
        return self.data_place.images

    @classmethod
    def init(cls, path: str | Path, catalog_url: str | None = None, data: str | None = None) -> "Lake":
        """Make a new lake in ``path``: all of it, or nothing. A folder that holds a lake, or what is left of one, is refused.

        The catalog is a SQLite file in the folder, or in the PostgreSQL database of ``catalog_url``. A kill in the middle may leave there
        a schema that no lake names. ``data``: ``s3://BUCKET/PREFIX``, where tables and pictures are to lie (default: in the lake's
        folder). The server is AWS, or that of ``AWS_ENDPOINT_URL``.
        """
        folder = Path(path).expanduser().absolute()
        data_place = DataPlace(folder, Bucket(data, endpoint_of_environment()) if data else None)
        try:
            for name in ("staging", "spool", *(() if data else ("data", "images"))):
                (folder / name).mkdir(parents=True, exist_ok=True)
            with write_lock(folder), staging_folder(folder, "init") as staging:
                _check_free(folder, data_place)
                if catalog_url is not None:
                    (staging / PLACE_FILE).write_text(
                        PostgresPlace.new(folder, catalog_url).to_json(), encoding="utf-8"
                    )
                with data_place.connect(catalog_of(staging)) as connection:
                    catalog.attach(connection, staging, data=data_place.data.url if data else None)
                    catalog.create_schema(connection)
                    catalog.set_options(connection)
                ShardWriter(staging / NO_SHARD).finish()
                data_place.images.put(staging / NO_SHARD, NO_SHARD)  # the view of the pictures needs a first file
                data_place.note(folder)
                name = CATALOG if catalog_url is None else PLACE_FILE
                (staging / name).rename(folder / name)
                sync_folder(folder)
        except OSError as error:
            raise CaptionlakeError(
                f"no lake can be made in {folder} ({error.strerror}): choose another folder"
            ) from error
        return cls.open(folder)

    @staticmethod
    def exists(path: Path) -> bool:
        """Whether there is a lake in ``path``."""
        return has_catalog(path)

    @classmethod
    def open(cls, path: str | Path) -> "Lake":
        """Open the lake in ``path``; one of an older schema version is upgraded, after a backup. Raises where there is none, or where a
        newer captionlake wrote it."""
        folder = Path(path).expanduser().absolute()
        if not cls.exists(folder):
            raise CaptionlakeError(f"no lake in {folder}: make one with  captionlake init {folder}")
        data_place = DataPlace.of(folder)
        if data_place.bucket is not None:
            _check_there(data_place)
        connection = data_place.connect(catalog_of(folder))
        try:
            catalog.attach(connection, folder, data=data_place.data.url)
            upgraded = upgrade(connection, folder)
            spill = folder / "staging" / f"duckdb-{uuid.uuid4().hex[:12]}"  # made when a query first needs it
            connection.execute(f"SET temp_directory = {quote(str(spill))}")
            connection.execute(f"CREATE TEMP VIEW image_bytes AS {image_bytes_query(data_place)}")
        except duckdb.Error as error:
            connection.close()
            raise CaptionlakeError(
                f"the lake {folder} is not whole ({first_line(error)}): restore what is missing from a backup"
            ) from error
        except BaseException:
            connection.close()
            raise
        opened = cls(folder, connection, data_place)
        opened.upgraded = upgraded
        return opened

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and the shards that are open."""
        self._reader.close()
        self.connection.close()

    # Reading

    def sql(self, query: str, parameters: Parameters = None) -> duckdb.DuckDBPyRelation:
        """A query as a DuckDB relation: ``.fetchall()``, ``.arrow()``, ``.pl()``, ``.df()``.

        This is the way for your own Python, with all of DuckDB; the command ``captionlake sql`` is the read-only one.
        """
        return self.connection.sql(query, params=parameters)

    def arrow(self, query: str, parameters: Parameters = None) -> pa.Table:
        """The whole result of a query as an Arrow table."""
        return self.connection.execute(query, parameters).to_arrow_table()

    def rows(self, query: str, parameters: Parameters = None) -> list[tuple[Any, ...]]:
        """The whole result of a query as tuples; for small results."""
        return self.connection.execute(query, parameters).fetchall()

    def value(self, query: str, parameters: Parameters = None) -> Any:
        """The first column of the first row, or None where there is no row."""
        found = self.connection.execute(query, parameters).fetchone()
        return found[0] if found else None

    def snapshot(self) -> int:
        """The id of the newest snapshot."""
        return int(self.value("SELECT id FROM ducklake_current_snapshot('lake')"))

    def picture(self, image_id: str) -> bytes:
        """The bytes of one picture as downloaded, checked against its SHA-256."""
        for _, data in self.pictures([image_id]):
            return data
        query = "SELECT strftime(created_at AT TIME ZONE 'UTC', '%Y-%m-%d') FROM takedowns WHERE contains(asked, ?)"
        if taken := self.value(query, [image_id]):
            raise CaptionlakeError(f"picture {image_id} was taken down on {taken}, and is no more")
        raise CaptionlakeError(
            f"no picture {image_id} in {self.path}: look it up with  captionlake sql 'SELECT image_id FROM images'"
        )

    def pictures(self, image_ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """(image_id, bytes) of the pictures named, in the order in which they lie on disk, each checked against its SHA-256."""
        places = list(self.located(image_ids))
        for (image_id, _), data in zip(places, self._reader.read_several(places), strict=True):
            if isinstance(data, CaptionlakeError):
                raise data
            yield image_id, data

    def picture_at(self, image_id: str, locator: Locator) -> bytes:
        """As ``picture``, where the place is known already."""
        return self._reader.read(image_id, locator)

    def located(self, image_ids: Sequence[str]) -> Iterator[tuple[str, Locator]]:
        """Where the pictures named lie, in the order in which they lie on disk; one that lies in two places comes twice."""
        wanted = pa.table({"image_id": pa.array(list(image_ids), pa.string())})
        with self.registered(_wanted=wanted):
            located = self.rows(
                'SELECT DISTINCT image_id, shard, "row", "offset", n_bytes FROM images JOIN _wanted USING (image_id) '
                'ORDER BY shard, "row"'
            )
        for image_id, shard, row, offset, n_bytes in located:
            yield image_id, Locator(shard=shard, row=row, offset=offset, n_bytes=n_bytes)

    @contextmanager
    def registered(self, **tables: pa.Table) -> Iterator[None]:
        """Arrow tables visible to SQL under the names given, inside the ``with``; not inside a transaction."""
        with self._together():
            for name, table in tables.items():
                self.connection.register(name, table)
        try:
            yield
        finally:
            with self._together():
                for name in tables:
                    self.connection.unregister(name)

    @contextmanager
    def memory_limit(self, n_bytes: int) -> Iterator[None]:
        """DuckDB keeps to this many bytes inside the ``with`` and lays what is more on the lake's disk."""
        self.connection.execute(f"SET memory_limit = '{n_bytes}B'")
        try:
            yield
        finally:
            self.connection.execute("RESET memory_limit")

    @contextmanager
    def joins_as_written(self) -> Iterator[None]:
        """Inside the ``with``, joins are made in the order in which they stand, the right side of each held in memory.

        DuckDB's own choice goes by guessed numbers of rows, and where it errs all texts are held.
        """
        self.connection.execute("SET disabled_optimizers = 'join_order,build_side_probe_side'")
        try:
            yield
        finally:
            self.connection.execute("RESET disabled_optimizers")

    @contextmanager
    def _together(self) -> Iterator[None]:
        """One transaction, as each begins with a look at the catalog, which takes longer than to register a table."""
        self.connection.execute("BEGIN")
        try:
            yield
        finally:
            self.connection.execute("COMMIT")

    # Writing

    def commit(self, change: Callable[[duckdb.DuckDBPyConnection], T], **tables: pa.Table) -> T:
        """Run ``change`` as one transaction under the write lock and return what it returns; SQL sees ``tables`` by their names.

        It may be run again (at most 6 times, 10 where a server was lost) when the catalog was busy, so it must do the same thing each
        time. On any error nothing of it is visible.
        """
        token = uuid.uuid4().hex if self._shared else None
        made: list[T] = []  # the results of attempts that came as far as COMMIT
        for attempt in range(1, _ATTEMPTS_LOST + 1):
            try:
                self.data_place.refresh(self.connection)
                with write_lock(self.path) as still_held:
                    if made and self._was_committed(token):
                        return made[-1]
                    return self._transaction(change, tables, made, still_held, token)
            except (duckdb.Error, ServerLost) as error:
                again = is_lost(error) or (attempt < _ATTEMPTS and any(text in str(error) for text in _TRANSIENT))
                if attempt == _ATTEMPTS_LOST or not again:
                    raise CaptionlakeError(
                        f"nothing was written to {self.path} ({first_line(error)}): {_advice(error)}"
                    ) from error
                log.info("the catalog was busy or away, attempt %d", attempt)
                time.sleep(random.uniform(0.5, 1.0) * min(8.0, 0.1 * 2**attempt))
        raise AssertionError("unreachable")

    def _was_committed(self, token: str | None) -> bool:
        """Of a transaction whose COMMIT got no answer: whether its snapshot is there."""
        query = "SELECT count(*) FROM __ducklake_metadata_lake.ducklake_snapshot_changes WHERE commit_extra_info = ?"
        return bool(token and self.value(query, [token]))

    def _transaction(
        self,
        change: Callable[[duckdb.DuckDBPyConnection], T],
        tables: dict[str, pa.Table],
        made: list[T],
        still_held: Callable[[], None],
        token: str | None,
    ) -> T:
        self.connection.execute("BEGIN")
        try:
            if token:
                self.connection.execute("CALL lake.set_commit_message('captionlake', '', extra_info => ?)", [token])
            for name, table in tables.items():
                self.connection.register(name, table)
            result = change(self.connection)
            for name in tables:
                self.connection.unregister(name)
            still_held()
            made.append(result)
            self.connection.execute("COMMIT")
        except BaseException:
            try:
                self.connection.execute("ROLLBACK")
            except duckdb.Error as error:  # a failed COMMIT has rolled back already
                log.debug("rollback: %s", error)
            for name in tables:  # rolled back too, but the connection holds them
                self.connection.unregister(name)
            raise
        return result

    def append(self, table: str, rows: pa.Table, key: Sequence[str]) -> int:
        """Add the rows whose ``key`` columns are not in ``table`` yet, one row a key, in one transaction. Returns how many."""
        return self.commit(lambda connection: insert_new(connection, table, "_rows", key), _rows=rows)

    def staging(self, name: str) -> AbstractContextManager[Path]:
        """A folder on the lake's disk for the time of a ``with``; swept when its process was killed."""
        return staging_folder(self.path, name)

    def sweep(self) -> None:
        """Remove what killed processes and merges left: stale staging folders, shards older than a day that no row names, and
        data files that a merge replaced over a day ago (no snapshot needs them; a reader may still have been at them)."""
        sweep_staging(self.path)
        with write_lock(self.path):
            remove_shards(self.images, self.needless_shards())
            # DuckLake tells days apart alone (see captionlake.lake.maintenance): all that was replaced before yesterday.
            before = "date_trunc('day', now()) - INTERVAL '1 day 1 microsecond'"
            self.connection.execute(f"CALL ducklake_cleanup_old_files('lake', older_than => {before})")

    def needless_shards(self) -> set[str]:
        """Names of shards older than a day that no row of ``images`` names, now or at a snapshot that is left.

        None where no row names any: such a catalog may be the wrong one.
        """
        named = {shard for (shard,) in self.rows("SELECT DISTINCT shard FROM images")}
        needless = old_shards(self.images) - named if named else set()
        if needless:
            for (snapshot,) in self.rows(_SNAPSHOTS_OF_IMAGES):
                query = f"SELECT DISTINCT shard FROM images AT (VERSION => {snapshot:d}) WHERE list_contains(?, shard)"
                needless -= {shard for (shard,) in self.rows(query, [sorted(needless)])} if needless else set()
        return needless

    def merge_small_files(self) -> None:
        """Merge the small data files of tables that have many: a commit leaves one file a table, and many make scans slow."""
        counts = self.rows("SELECT table_name, file_count FROM ducklake_table_info('lake')")
        for table in [name for name, files in counts if files > _MERGE_ABOVE]:
            with write_lock(self.path):
                self.connection.execute(f"CALL ducklake_merge_adjacent_files('lake', {quote(table)})")


def insert_new(connection: duckdb.DuckDBPyConnection, table: str, rows: str, key: Sequence[str]) -> int:
    """Insert by name the rows of view ``rows`` whose key is new to ``table``, one a key. For use inside ``Lake.commit``."""
    names = ", ".join(f'"{name}"' for name in key)
    same = " AND ".join(f'new."{name}" = old."{name}"' for name in key)
    query = (
        f"INSERT INTO {table} BY NAME SELECT * FROM {rows} new "
        f"WHERE NOT EXISTS (SELECT 1 FROM {table} old WHERE {same}) "
        f"QUALIFY row_number() OVER (PARTITION BY {names}) = 1"
    )
    found = connection.execute(query).fetchone()
    return int(found[0]) if found else 0


def image_bytes_query(data_place: DataPlace) -> str:
    """SQL for the pictures' bytes, of committed rows alone: a shard that no row names is not visible."""
    shards = f"{catalog.literal_glob(data_place.images.url)}/shard-*.parquet"
    return (
        "SELECT stored.image_id, stored.bytes "
        f"FROM read_parquet({quote(shards)}, filename = true, file_row_number = true) stored "
        'JOIN (SELECT DISTINCT shard, "row" FROM lake.images) located '
        'ON located.shard = parse_filename(stored.filename) AND located."row" = stored.file_row_number'
    )


def _check_there(data_place: DataPlace) -> None:
    """One request, which tells what is wrong with the bucket, the network or the credentials."""
    if data_place.images.size(NO_SHARD) is None:
        raise CaptionlakeError(
            f"{data_place.images.url} has no pictures of a lake: restore it, or look at storage.json"
        )


def _check_free(folder: Path, data_place: DataPlace) -> None:
    if has_catalog(folder):
        raise CaptionlakeError(f"{folder} already holds a lake: use it as it is, or choose another folder")
    left = [*folder.glob(f"{CATALOG}-*"), *folder.glob("data/*"), *folder.glob("images/*")]
    if data_place.bucket is not None:
        refuse_used(S3Storage(data_place.bucket, ""))
    if [path for path in left if path.name != NO_SHARD]:
        raise CaptionlakeError(
            f"{folder} holds pictures or tables but no {CATALOG} and no {PLACE_FILE}: restore it from a backup, or choose another folder"
        )


def _advice(error: Exception) -> str:
    text = str(error)
    if "No space left" in text or "disk is full" in text or "database or disk is full" in text:
        return "make room on its disk and run this again"
    if "permission denied" in text:
        return "your role may read the lake's catalog and not write it: ask its owner for the rights to its schema"
    return "run this again"
