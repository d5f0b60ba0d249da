"""The Parquet files of an export, as a card tells of them."""

import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq

from captionlake.cards.facts import Facts, File
from captionlake.errors import CaptionlakeError


def exported_files(folder: Path, facts: Facts) -> tuple[File, ...]:
    """The files of ``folder/data``, each with its hash. Raises where they are none, or of another release."""
    paths = sorted((folder / "data").glob("*.parquet"))
    if not paths:
        raise CaptionlakeError(
            f"{folder} holds no data/*.parquet: make it with  captionlake release export {facts.label} --to parquet"
        )
    wanted = facts["release"].only["content_sha256"]
    found = []
    for path in paths:
        try:
            parquet = pq.ParquetFile(path)
        except (OSError, ValueError) as error:
            raise CaptionlakeError(f"{path} cannot be read as Parquet ({error}): export the release again") from error
        with parquet:
            told = json.loads((parquet.schema_arrow.metadata or {}).get(b"captionlake", b"{}"))
            if told.get("content_sha256") != wanted:
                raise CaptionlakeError(
                    f"{path} is an export of {told.get('release', 'something else')}, not of {facts.label}"
                )
            groups = [parquet.metadata.row_group(number) for number in range(parquet.metadata.num_row_groups)]
            found.append(
                File(
                    path=f"data/{path.name}",
                    split=path.name.rsplit("-", 3)[0],
                    sha256=_sha256(path),
                    n_bytes=path.stat().st_size,
                    rows=parquet.metadata.num_rows,
                    arrow_bytes=sum(group.total_byte_size for group in groups),
                )
            )
    return tuple(found)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
