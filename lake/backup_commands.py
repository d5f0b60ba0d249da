"""``captionlake upgrade``, ``backup`` and ``restore``: the catalog brought to the newest schema, copied, and put back."""

from dataclasses import asdict
from pathlib import Path

import click

from captionlake.lake.options import emit, json_option, lake_option


@click.command()
@lake_option
@json_option
def upgrade(lake: Path, as_json: bool) -> None:
    """Bring a lake of an older schema version to the newest one, after a backup. Every command that writes does so first."""
    from captionlake.lake import Lake
    from captionlake.lake.catalog import SCHEMA_VERSION

    with Lake.open(lake) as opened:
        done = opened.upgraded
    data = {"schema_version": SCHEMA_VERSION, "upgraded": asdict(done) if done else None}
    said = f"schema version {SCHEMA_VERSION}: "
    if done:
        said += f"upgraded from {done.before}\nbackup: {done.backup}\nback again:  captionlake restore {done.backup} --lake {lake}"
    else:
        said += "the newest, nothing to do"
    emit(as_json, data, said)


@click.command()
@click.option("--list", "list_", is_flag=True, help="Show the backups that lie by the lake, and make none.")
@lake_option
@json_option
def backup(list_: bool, lake: Path, as_json: bool) -> None:
    """Copy the lake's catalog into LAKE/backups, consistently, while others write. Copy the folder without the catalog after it."""
    from captionlake.lake.place import catalog_of, has_catalog
    from captionlake.lake.restoring import back_up

    folder = lake.expanduser().absolute()
    if list_ and has_catalog(folder):
        found = catalog_of(folder).backups()
        emit(as_json, {"backups": found}, "\n".join(found) or "no backups yet")
        return
    made = back_up(folder)
    emit(as_json, {"backup": made}, made)


@click.command()
@click.argument("backup")
@lake_option
@json_option
def restore(backup: str, lake: Path, as_json: bool) -> None:
    """Put a BACKUP in the place of the lake's catalog, which is backed up first. Exit 1 where files that it names are gone."""
    from captionlake.lake.restoring import restore as put_back

    done = put_back(lake.expanduser().absolute(), backup)
    kept = f"\nwhat was there before: {done.replaced}" if done.replaced else ""
    emit(as_json, asdict(done), f"restored {done.backup}, of schema version {done.schema_version}{kept}")


commands: list[click.Command] = [upgrade, backup, restore]
