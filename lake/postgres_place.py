"""A catalog in PostgreSQL: for writers on several machines that share the lake's folder.

``catalog.json`` in the folder names server, database and the lake's own schema there. User name and password are never in it:
libpq takes them from PGUSER, PGPASSWORD, PGPASSFILE or ~/.pgpass, or a service file, so that no path and no error of DuckDB's shows them.
"""

import hashlib
import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

from captionlake.errors import CaptionlakeError, require
from captionlake.lake.holder import STUCK_SECONDS, Holder

if TYPE_CHECKING:
    import psycopg

PLACE_FILE = "catalog.json"
_WHERE = ("host", "hostaddr", "port", "dbname", "service", "sslmode", "sslrootcert", "target_session_attrs")
_ALWAYS = {
    "connect_timeout": "10",
    "application_name": "captionlake",
    "keepalives_idle": "30",
    "tcp_user_timeout": "60000",
}
_PACK_SECONDS = 20.0  # for which packing waits for readers
_LOST = (
    *(
        "server closed the connection",
        "terminating connection",
        "connection to server",
        "Unable to connect to Postgres",
    ),
    *("could not receive data from server", "no connection to the server", "SSL connection has been closed"),
    "Current transaction is aborted",  # all that DuckLake says where its own first query met a lost server
)
_USER = re.compile(r",?( for)? user \"[^\"]*\"")
_HOLDER = (
    "SELECT l.pid, coalesce(host(a.client_addr), 'the same machine'), extract(epoch FROM now() - a.backend_start)::float FROM pg_locks l "
    "JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND l.granted AND a.datname = current_database() "
    "AND l.classid::bigint = %s AND l.objid::bigint = %s AND l.objsubid = 1"
)
_OLD_READERS = (  # each transaction holds the lock of its own virtual id
    "SELECT l.pid, l.virtualxid FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
    "WHERE l.locktype = 'virtualxid' AND a.datname = current_database() AND l.pid <> pg_backend_pid()"
)
_SAMPLED = (  # columns of tables that are empty now, and of which the server keeps samples: ANALYZE leaves those be
    "SELECT s.tablename, s.attname, format_type(a.atttypid, a.atttypmod) FROM pg_stats s JOIN pg_attribute a ON a.attname = s.attname "
    "AND a.attrelid = format('%%I.%%I', s.schemaname, s.tablename)::regclass WHERE s.schemaname = %s AND pg_relation_size(a.attrelid) = 0"
)
_TABLES = "SELECT relname FROM pg_stat_user_tables WHERE schemaname = %s ORDER BY 1"


class ServerLost(CaptionlakeError):
    """The server did not answer, or went away: what was begun can be tried again."""


class PostgresPlace:
    """See ``captionlake.lake.place``."""

    extension = "postgres_scanner"
    shared = True

    def __init__(self, lake: Path, schema: str, where: dict[str, str]) -> None:
        self.lake = lake
        self.schema = schema
        self.where = where

    @classmethod
    def new(cls, lake: Path, url: str) -> Self:
        """A place for a new lake in the database of a URL, in a schema of a name that nobody else has."""
        psycopg = _psycopg()
        how = "name it as  postgres://HOST:PORT/DATABASE  or  postgres:///?service=NAME"
        if not re.match(r"postgres(ql)?://", url):
            raise CaptionlakeError(f"--catalog takes the URL of a PostgreSQL database: {how}")
        try:
            found = psycopg.conninfo.conninfo_to_dict(url)
        except psycopg.Error:  # whose text may show a password
            raise CaptionlakeError(f"the URL of the catalog cannot be read: {how}") from None
        # A password with a slash in it ends up in another part, and a database's name may be a whole string of settings to libpq.
        hidden = "@" in url or any(re.search("[@=]|://", str(value)) for value in found.values())
        if hidden or {"user", "password"} & set(found):
            raise CaptionlakeError(
                "the URL of the catalog names a user or a password, which no lake keeps: leave them out, "
                "and set PGUSER and PGPASSWORD, or use ~/.pgpass or a service file"
            )
        if unknown := sorted(set(found) - set(_WHERE)):
            raise CaptionlakeError(
                f"the URL of the catalog has {unknown[0]}, which no lake keeps: there are {', '.join(_WHERE)}"
            )
        if not {"dbname", "service"} & set(found):
            raise CaptionlakeError(f"the URL of the catalog names no database: {how}")
        return cls(lake, f"captionlake_{uuid.uuid4().hex[:16]}", {key: str(found[key]) for key in sorted(found)})

    @classmethod
    def read(cls, lake: Path) -> Self:
        """The place that a lake's ``catalog.json`` names."""
        path = lake / PLACE_FILE
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            schema, where = told["schema"], told["where"]
            fine = re.fullmatch(r"captionlake_[0-9a-f]{16}", schema) and set(where) <= set(_WHERE)
            if told["catalog"] != "postgres" or not fine or not all(isinstance(value, str) for value in where.values()):
                raise ValueError(told["catalog"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CaptionlakeError(f"{path} does not name a catalog: restore it from a backup") from error
        return cls(lake, schema, where)

    def to_json(self) -> str:
        """What ``catalog.json`` holds."""
        return json.dumps({"catalog": "postgres", "schema": self.schema, "where": self.where}, indent=2) + "\n"

    @property
    def name(self) -> str:
        """Server, database and schema."""
        told = self.where.get("host") or self.where.get("hostaddr") or self.where.get("service", "localhost")
        port = f":{self.where['port']}" if "port" in self.where else ""
        return f"postgres://{told}{port}/{self.where.get('dbname', '')} (schema {self.schema})"

    def attachment(self) -> tuple[str, list[str]]:
        """DuckLake's own tables are in the schema, and names without one mean it."""
        return f"postgres:{self._conninfo()}", [f"METADATA_SCHEMA '{self.schema}'", f"META_SCHEMA '{self.schema}'"]

    def _conninfo(self) -> str:
        return str(_psycopg().conninfo.make_conninfo(**(_ALWAYS | self.where)))

    @contextmanager
    def connect(self) -> "Iterator[psycopg.Connection[Any]]":
        """A connection that commits each statement. Errors of the server are one line, without the user's name."""
        psycopg = _psycopg()
        try:
            with closing(psycopg.connect(self._conninfo(), autocommit=True)) as connection:
                yield connection
        except psycopg.OperationalError as error:
            raise ServerLost(
                f"the catalog at {self.name} does not answer ({without_user(error)}): see that the server is up, and that "
                "PGUSER and PGPASSWORD, ~/.pgpass or a service file let you in"
            ) from None
        except psycopg.Error as error:
            raise CaptionlakeError(
                f"the catalog at {self.name} refused ({without_user(error)}): see to the rights of your role in the database"
            ) from None

    @contextmanager
    def lock(self, wait: float) -> Iterator[Callable[[], None]]:
        """An advisory lock of the server, over all machines; the server lets it go when the connection of a killed process ends.

        It waits in the order in which it was asked for.
        """
        psycopg = _psycopg()
        key = self._lock_key()
        with self.connect() as connection:
            connection.execute("SELECT set_config('lock_timeout', %s, false)", [f"{max(1, int(wait * 1000))}ms"])
            try:
                connection.execute("SELECT pg_advisory_lock(%s)", [key])
            except psycopg.errors.LockNotAvailable as error:
                raise CaptionlakeError(
                    f"another process has been writing to {self.lake} for over {wait:.0f} s: wait for it, or end it, and run this again"
                ) from error
            yield lambda: self._still_held(connection)

    def _lock_key(self) -> int:
        return int.from_bytes(hashlib.sha256(self.schema.encode()).digest()[:8], "big", signed=True)

    def holder(self) -> Holder | None:
        """By the server's list of locks. A connection that has held the lock for longer than a writer waits is stuck."""
        key = self._lock_key() & (2**64 - 1)
        with self.connect() as connection:
            row = connection.execute(_HOLDER, [key >> 32, key & (2**32 - 1)]).fetchone()
        if row is None:
            return None
        pid, where, seconds = row
        mend = f"psql -d {self.where.get('dbname', 'DATABASE')} -c 'SELECT pg_terminate_backend({pid:d})'"
        return Holder(
            who=f"the server's process {pid:d}, for a client at {where}, since {seconds:,.0f} s",
            stuck=seconds > STUCK_SECONDS,
            mend=mend,
        )

    def _still_held(self, connection: "psycopg.Connection[Any]") -> None:
        try:
            connection.execute("SELECT")
        except _psycopg().Error as error:
            raise ServerLost(
                f"the write lock of {self.lake} was lost ({without_user(error)}): run this again"
            ) from None

    def pack(self) -> bool:
        """Write all tables of the schema and their statistics anew, once no transaction that began before is left."""
        psycopg = _psycopg()
        with self.connect() as connection:
            old, end = set(connection.execute(_OLD_READERS).fetchall()), time.monotonic() + _PACK_SECONDS
            while old & set(connection.execute(_OLD_READERS).fetchall()):
                if time.monotonic() > end:
                    return False
                time.sleep(0.05)
            connection.execute("SELECT set_config('lock_timeout', %s, false)", [f"{int(_PACK_SECONDS * 1000)}ms"])
            try:
                for (table,) in connection.execute(_TABLES, [self.schema]).fetchall():
                    target = psycopg.sql.Identifier(self.schema, table)
                    connection.execute(psycopg.sql.SQL("VACUUM (FULL, ANALYZE) {}").format(target))
                for table, column, kind in connection.execute(_SAMPLED, [self.schema]).fetchall():
                    target = psycopg.sql.Identifier(self.schema, table)
                    same = psycopg.sql.SQL("ALTER TABLE {} ALTER {} TYPE {}").format(
                        target, psycopg.sql.Identifier(column), psycopg.sql.SQL(kind)
                    )
                    connection.execute(same)  # changes nothing, but that the samples go
                if self._owns_database(connection):
                    connection.execute("VACUUM (FULL) pg_catalog.pg_statistic")  # which had samples of the values
            except psycopg.errors.LockNotAvailable:
                return False
        return True

    def n_bytes(self) -> int:
        """Of the schema's tables with their indexes and long values."""
        query = "SELECT coalesce(sum(pg_total_relation_size(relid)), 0) FROM pg_stat_user_tables WHERE schemaname = %s"
        return self._number(query)

    def free_bytes(self) -> int:
        """By the server's own estimate of dead rows."""
        query = (
            "SELECT coalesce(sum(pg_total_relation_size(relid) * n_dead_tup / nullif(n_live_tup + n_dead_tup, 0)), 0) "
            "FROM pg_stat_user_tables WHERE schemaname = %s"
        )
        return self._number(query)

    def _number(self, query: str) -> int:
        with self.connect() as connection:
            row = connection.execute(query, [self.schema]).fetchone()
        return int(row[0]) if row else 0

    @staticmethod
    def _owns_database(connection: "psycopg.Connection[Any]") -> bool:
        query = "SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = current_database()"
        row = connection.execute(query).fetchone()
        return bool(row and row[0])

    def remains(self) -> str | None:
        """The server's log of changes and whatever is made from it, over which a lake has no power."""
        with self.connect() as connection:
            owner = self._owns_database(connection)
        kept = (
            "PostgreSQL keeps what was deleted in its write-ahead log until the segments are overwritten, and in archived segments, "
            "standbys and base backups for as long as you keep these"
        )
        return (
            kept
            if owner
            else f"{kept}; and samples of it as statistics, until the database's owner runs  VACUUM FULL pg_statistic"
        )

    def dump(self) -> Iterator[tuple[str, bytes]]:
        """Every row of the schema's tables, and the values that the server keeps of their columns as statistics."""
        psycopg = _psycopg()
        with self.connect() as connection, connection.transaction():
            for (table,) in connection.execute(_TABLES, [self.schema]).fetchall():
                target = psycopg.sql.Identifier(self.schema, table)
                yield from self._copied(connection, f"catalog, {table}", psycopg.sql.SQL("TABLE {}").format(target))
            statistics = psycopg.sql.SQL("SELECT * FROM pg_stats WHERE schemaname = {}").format(self.schema)
            yield from self._copied(connection, "catalog, statistics", statistics)

    def back_up(self, name: str) -> str:
        """A schema beside the lake's own, in the same database; under the write lock, so that it is the newest state."""
        made = f"{self.schema}_{name}".lower()
        self._copy_schema(self.schema, made)
        return made

    def _copy_schema(self, old: str, new: str) -> None:
        sql = _psycopg().sql
        with self.connect() as connection, connection.transaction():
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(new)))
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(new)))
            for (table,) in connection.execute(_TABLES, [old]).fetchall():
                source, target = sql.Identifier(old, table), sql.Identifier(new, table)
                connection.execute(sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(target, source))
                connection.execute(sql.SQL("INSERT INTO {} TABLE {}").format(target, source))

    def backups(self) -> list[str]:
        """Names of schemas, the oldest first."""
        query = "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s) ORDER BY split_part(nspname, '_', 4), nspname"
        with self.connect() as connection:
            return [name for (name,) in connection.execute(query, [f"{self.schema}_v"]).fetchall()]

    def backup(self, name: str) -> "PostgresPlace":
        """A backup as a place."""
        found = self.backups()
        if name not in found:
            raise CaptionlakeError(f"there is no backup {name}: there are {', '.join(found) or 'none'}")
        return PostgresPlace(self.lake, name, self.where)

    def remove_backups(self) -> int:
        """All of them, for good."""
        found, sql = self.backups(), _psycopg().sql
        with self.connect() as connection:
            for name in found:
                connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))
        return len(found)

    def draft_of(self, name: str, folder: Path) -> "PostgresPlace":
        """A copy of a backup, to look at and to ``put``."""
        source, draft = self.backup(name), PostgresPlace(self.lake, f"{self.schema}_draft", self.where)
        self._copy_schema(source.schema, draft.schema)
        return draft

    def put(self, draft: "PostgresPlace") -> None:
        """The draft becomes the catalog, in one transaction, under the write lock; processes that have the old one open must begin anew."""
        sql = _psycopg().sql
        with self.connect() as connection, connection.transaction():
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(self.schema)))
            connection.execute(
                sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(
                    sql.Identifier(draft.schema), sql.Identifier(self.schema)
                )
            )

    @staticmethod
    def _copied(connection: "psycopg.Connection[Any]", where: str, query: Any) -> Iterator[tuple[str, bytes]]:
        copy = _psycopg().sql.SQL("COPY ({}) TO STDOUT").format(query)
        with connection.cursor() as cursor, cursor.copy(copy) as rows:
            for number, row in enumerate(rows.rows()):
                yield f"{where}, row {number}", "\t".join(value or "" for value in row).encode()


def is_lost(error: BaseException) -> bool:
    """Whether an error of DuckDB's or ours says that the server went away, or is not back yet.

    What was in a transaction then may have been committed or not.
    """
    return isinstance(error, ServerLost) or any(text in str(error) for text in _LOST)


def without_user(error: object) -> str:
    """A server's error as one line, without the user's name."""
    return _USER.sub("", " ".join(str(error).split()))[:300]


def _psycopg() -> ModuleType:
    for module in ("psycopg.conninfo", "psycopg.errors", "psycopg.sql"):
        require(module, extra="postgres")
    return require("psycopg", extra="postgres")
