"""What would go wrong, found before anything is sent: names, limits of the Hub, licences, hashes. All problems at once."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from captionlake.cards.publishing.config import repo_problem
from captionlake.cards.publishing.plan import LocalFile
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.releases.release import Release
from captionlake.lake.releases.semver import WANTED, is_version

# The Hub's own recommendations for repositories, docs/hub/storage-limits and docs/hub/datasets-viewer.
MOST_FILES = 100_000
MOST_IN_FOLDER = 10_000
LARGEST_FILE = 50 * 10**9
LARGEST_ROW_GROUP = 300 * 2**20  # bytes uncompressed; past it the viewer gives up


class PublishProblems(CaptionlakeError):
    """Several problems; ``lines`` has one a line."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


def refuse(problems: list[str]) -> None:
    """Raise where there are any."""
    if problems:
        raise PublishProblems(problems)


def name_problems(repo_id: str, version: str) -> list[str]:
    """Of the repository's id and the version."""
    found = [problem] if (problem := repo_problem(repo_id)) else []
    if not is_version(version):
        found.append(f"version {version!r} is not {WANTED}: release it under one that is")
    return found


def release_problems(lake: Lake, release: Release) -> list[str]:
    """Hashes that do not verify, each with its row."""
    from captionlake.lake.releases.verification import verify_release

    found = verify_release(lake, release.label)
    shown = [f"{release.label} does not verify: {problem}" for problem in found.problems[:10]]
    more = found.n_problems - len(shown)
    return shown + (
        [f"and {more} more problems: captionlake release verify {release.label} lists them"] if more > 0 else []
    )


def file_problems(files: list[LocalFile]) -> list[str]:
    """Of numbers and sizes of files, and of Parquet's layout."""
    found = []
    if len(files) >= MOST_FILES:
        found.append(f"{len(files):,} files: a repository holds fewer than {MOST_FILES:,}")
    folders = Counter(str(Path(file.path).parent) for file in files)
    found += [f"{n:,} files in {f}: the Hub takes {MOST_IN_FOLDER:,}" for f, n in folders.items() if n > MOST_IN_FOLDER]
    found += [f"{file.path} has {file.size:,} bytes: the Hub takes 50 GB" for file in files if file.size > LARGEST_FILE]
    for file in files:
        if file.path.endswith(".parquet"):
            found += _layout_problems(file)
    return found


def _layout_problems(file: LocalFile) -> list[str]:
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(file.source)
    groups = [metadata.row_group(n) for n in range(metadata.num_row_groups)]
    found = []
    largest = max((group.total_byte_size for group in groups), default=0)
    if largest > LARGEST_ROW_GROUP:
        found.append(f"{file.path} has a row group of {largest:,} bytes: the Hub's viewer reads up to 300 MB")
    told = json.loads((metadata.metadata or {}).get(b"captionlake", b"{}"))
    if not told.get("content_defined_chunks"):
        found.append(
            f"{file.path} is not in content-defined chunks, so that each version is sent whole: export it again"
        )
    if any(not group.column(0).has_offset_index for group in groups):
        found.append(f"{file.path} has no page index: export it again with this captionlake")
    return found


def licence_problems(lake: Lake, files: list[LocalFile]) -> list[str]:
    """Bytes or URLs in the written files that their source does not let us pass on, a line a file.

    Independent of the export: it goes by the files' own columns and by what the lake says of sources and pictures.
    """
    import pyarrow.parquet as pq

    allowed = dict(lake.rows("SELECT source, redistribute FROM sources"))
    found = []
    for file in files:
        if file.path.endswith(".parquet"):
            with pq.ParquetFile(file.source) as parquet:
                names = set(parquet.schema_arrow.names)
                if {"source", "image"} <= names:
                    problem = _of_images(parquet, allowed)
                else:
                    problem = _of_conversations(parquet, lake) if {"pictures", "picture_ids"} <= names else None
            found += [f"{file.path} holds {problem}"] if problem else []
    return found


def _of_images(parquet: Any, allowed: dict[str, str]) -> str | None:
    import pyarrow.compute as pc

    bytes_ok = [source for source, value in allowed.items() if value == "bytes"]
    url_ok = [source for source, value in allowed.items() if value != "none"]
    if set(pc.unique(parquet.read(columns=["source"])["source"]).to_pylist()) <= set(bytes_ok):
        return None  # nothing in it needs to be looked at
    columns = [name for name in ("source", "image", "url") if name in parquet.schema_arrow.names]
    for batch in parquet.iter_batches(batch_size=100, columns=columns):
        sources = batch.column("source")
        held = pc.is_valid(pc.struct_field(batch.column("image"), "bytes"))
        wrong = pc.sum(pc.and_(held, pc.invert(pc.is_in(sources, _set(bytes_ok))))).as_py() or 0
        if wrong:
            return f"the bytes of {wrong} pictures whose source does not allow it"
        urls = pc.is_valid(batch.column("url")) if "url" in columns else None
        if urls is not None and pc.sum(pc.and_(urls, pc.invert(pc.is_in(sources, _set(url_ok))))).as_py():
            return "URLs whose source allows none"
    return None


def _of_conversations(parquet: Any, lake: Lake) -> str | None:
    """A picture may go up where one source of it allows that; a URL where its own does."""
    import pyarrow as pa

    if "picture_sources" in parquet.schema_arrow.names:
        url_ok = {source for (source,) in lake.rows("SELECT source FROM sources WHERE redistribute <> 'none'")}
        for batch in parquet.iter_batches(columns=["picture_sources"]):
            rows = batch.column(0).flatten().to_pylist()
            if any(row["url"] is not None and row["source"] not in url_ok for row in rows):
                return "URLs whose source allows none"
    for batch in parquet.iter_batches(batch_size=100, columns=["pictures", "picture_ids"]):
        held = [
            image_id
            for pictures, ids in zip(*(batch.column(name).to_pylist() for name in ("pictures", "picture_ids")), strict=True)
            for picture, image_id in zip(pictures or [], ids or [], strict=True)
            if picture is not None and picture["bytes"] is not None
        ]  # fmt: skip
        with lake.registered(_held=pa.table({"image_id": pa.array(held, pa.string())})):
            wrong = lake.value(
                "SELECT count(DISTINCT image_id) FROM _held ANTI JOIN (SELECT image_id FROM images SEMI JOIN _held USING (image_id) "
                "JOIN sources USING (source) WHERE redistribute = 'bytes') USING (image_id)"
            )
        if wrong:
            return f"the bytes of {wrong} pictures whose sources do not allow it"
    return None


def _set(values: list[str]) -> Any:
    import pyarrow as pa

    return pa.array(values, pa.string())
