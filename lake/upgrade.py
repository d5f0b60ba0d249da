"""A lake of an older schema version comes to the newest one: a backup of its catalog, then all that is missing in one transaction.

``migrations/NNNN.sql`` leads from version NNNN - 1 to NNNN; ``sql/schema.sql`` is what a new lake gets. A test holds that both ways end
at the same tables. The version's row is the last one written.
"""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import duckdb

from captionlake.errors import CaptionlakeError
from captionlake.lake.catalog import SCHEMA_VERSION, check_schema, first_line
from captionlake.lake.locking import write_lock
from captionlake.lake.place import catalog_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Upgraded:
    """From which version to which, and the backup that was made before."""

    before: int
    after: int
    backup: str


def upgrade(connection: duckdb.DuckDBPyConnection, lake: Path) -> Upgraded | None:
    """Bring an attached lake to the newest version; None where it is there.

    Readers go on with what they had. A kill leaves the lake as it was before, perhaps with a backup more. Raises where nothing can be
    written, a backup has no room, or a newer captionlake made the lake.
    """
    if check_schema(connection, lake) == SCHEMA_VERSION:
        return None
    try:
        with write_lock(lake):
            before = check_schema(connection, lake)
            if before == SCHEMA_VERSION:  # another process was quicker
                return None
            backup = catalog_of(lake).back_up(backup_name(before))
            _migrate(connection, before)
    except (CaptionlakeError, OSError, duckdb.Error) as error:
        raise _not_upgraded(lake, first_line(error)) from error
    log.warning(
        "%s: upgraded from schema version %d to %d; the catalog before: %s", lake, before, SCHEMA_VERSION, backup
    )
    return Upgraded(before, SCHEMA_VERSION, backup)


def backup_name(schema_version: int) -> str:
    """Of a backup that is made now: the schema version and the time in UTC."""
    return f"v{schema_version}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


def made_at(backup: str) -> str:
    """When a backup was made, by its name: ``YYYYMMDDTHHMMSSZ``."""
    return backup.removesuffix(".sqlite")[-16:].upper()


def refuse_older(found: int, lake: Path) -> None:
    """Raise for a reader that cannot upgrade the lake."""
    if found < SCHEMA_VERSION:
        raise CaptionlakeError(
            f"the lake {lake} has schema version {found} and this captionlake reads {SCHEMA_VERSION}: where the lake can be written, run  "
            f"captionlake upgrade --lake {lake}"
        )


def _migrate(connection: duckdb.DuckDBPyConnection, before: int) -> None:
    connection.execute("BEGIN")
    try:
        for number in range(before + 1, SCHEMA_VERSION + 1):
            connection.execute(files("captionlake.lake").joinpath(f"migrations/{number:04d}.sql").read_text())
        row = [SCHEMA_VERSION, f"captionlake {version('captionlake')}"]
        connection.execute("INSERT INTO lake_info VALUES (?, now(), ?)", row)
        connection.execute("COMMIT")
    except BaseException:
        try:
            connection.execute("ROLLBACK")
        except duckdb.Error as error:  # a failed COMMIT has rolled back already
            log.debug("rollback: %s", error)
        raise


def _not_upgraded(lake: Path, why: str) -> CaptionlakeError:
    return CaptionlakeError(
        f"the lake {lake} has an older schema version and was left as it is, for it could not be upgraded ({why}): then run  "
        f"captionlake upgrade --lake {lake}"
    )
