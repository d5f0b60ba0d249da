"""The rows of a release in a file of Arrow, mapped into memory, so that any number of processes share one copy of it.

It lies in the lake's cache (in a folder of its own where the lake cannot be written to), is made once, and holds nothing that is
not in the lake. Whoever opens it checks it against the release's hashes.
"""

import shutil
import tempfile
import uuid
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from filelock import FileLock

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.cache import cache_folder
from captionlake.lake.catalog import first_line
from captionlake.lake.exports.ahead import ahead
from captionlake.lake.exports.ordered import in_order, ranges_of
from captionlake.lake.progress import progress
from captionlake.lake.releases.content import ContentHash
from captionlake.lake.releases.release import Release
from captionlake.models.data.release_rows import GONE, SAMPLES, SCHEMAS, Choice, choose, digests, image_rows

_FORMAT = 1
_BATCH = 8192
_MEMORY = (
    2**29
)  # bytes that the database may take while it finds the rows, and for each row, whose keys, hashes and place it holds:
_PER_ROW = 1000
_LISTED = {
    "images": "SELECT r.position FROM lake.release_items r LEFT JOIN lake.release_captions c USING (name, version, position)",
    "sft": "SELECT r.position FROM lake.release_items r",
}


class ReleaseIndex:
    """The files of one release and choice: its rows (``rows``), and which of them are samples (``samples``, numpy of SAMPLES)."""

    def __init__(self, lake: Lake, release: Release, choice: Choice) -> None:
        self._lake, self._release, self._choice = lake, release, choice
        self._folder = _writable(cache_folder(lake.path) / "releases", self)
        stem = f"{release.label}-{release.content_sha256[:16]}-{release.snapshot_id}-{_FORMAT}"
        self.rows = self._folder / f"{stem}.arrow"
        chosen = f"{choice.split or ''}{'-every' if choice.every_caption else ''}"
        self.samples = self._folder / f"{stem}-{chosen}.npy"

    def check(self) -> Counter[str]:
        """Make the files, or take those that are there, if their rows hash to the release; returns what is left out, by reason.

        Raises where the lake itself does not give the release's rows.
        """
        there = _identity(self.rows)
        if there is not None:
            left_out = self._check([])
            if left_out is not None:
                return left_out
        with FileLock(self.rows.with_suffix(".lock")):
            if _identity(self.rows) == there:  # another process has not made it meanwhile
                self._write()
        problems: list[str] = []
        left_out = self._check(problems)
        if left_out is None:
            raise CaptionlakeError(
                f"{self._release.label} does not verify: {problems[0]}; "
                f"run  captionlake release verify {self._release.label}"
            )
        return left_out

    def _check(self, problems: list[str]) -> Counter[str] | None:
        """One pass over the rows: hashes, and the samples. None where they are not those of the release; the first says why."""
        release, content, left_out = self._release, ContentHash(), Counter[str]()
        try:
            table = open_rows(self.rows)
            with drafted(self.samples) as draft, draft.open("wb") as file, progress("verify", len(table)) as advance:
                _header(file, 0)
                n_samples = n_rows = 0
                for batch in table.to_batches():
                    part = pa.Table.from_batches([batch])
                    stored = part.column("row_sha256").to_pylist()
                    for number, digest in enumerate(digests(part, release.kind)):
                        if digest == GONE and release.state == "redacted":  # of such a row its hash is left
                            digest = stored[number]
                        if content.add_digest(digest) != stored[number] and not problems:
                            position = part.column("position")[number].as_py()
                            problems.append(f"row {position} is not what its hash says")
                    samples, reasons = choose(part, release.kind, self._choice, n_rows)
                    file.write(samples.tobytes())
                    left_out += reasons
                    n_samples, n_rows = n_samples + len(samples), n_rows + len(part)
                    advance(len(part))
                file.seek(0)
                _header(file, n_samples)
                whole = (content.rows, content.hexdigest()) == (release.n_items, release.content_sha256)
                if not whole and not problems:
                    problems.append(
                        f"the content hash of its {content.rows:,} rows is not the release's {release.content_sha256}"
                    )
                if problems:
                    raise _Differs
        except (_Differs, pa.ArrowInvalid, OSError) as error:
            problems += [] if problems else [str(error)]
            return None
        return left_out

    def _write(self) -> None:
        query, given = _query(self._release)
        schema = SCHEMAS[self._release.kind]
        work = Path(tempfile.mkdtemp(dir=self._folder, prefix="making-"))
        try:
            listed = f"{_LISTED[self._release.kind]} WHERE r.name = $name AND r.version = $version"
            ranges = ranges_of(self._lake, listed, given)
            memory = self._lake.memory_limit(_MEMORY + _PER_ROW * self._release.n_items)
            with memory, self._lake.joins_as_written(), drafted(self.rows) as draft:
                reader = self._lake.connection.cursor().execute(query, given).to_arrow_reader(_BATCH)
                with pa.OSFile(str(draft), "wb") as file, pa.ipc.new_file(file, schema) as writer:
                    for found in in_order(ahead(reader), ranges, work):
                        rows = image_rows(found) if self._release.kind == "images" else found.select(schema.names)
                        writer.write_table(rows.cast(schema).combine_chunks())
        except (duckdb.Error, OSError) as error:  # Arrow tells of the database's errors as an OSError
            raise CaptionlakeError(
                f"the rows of {self._release.label} at snapshot {self._release.snapshot_id} cannot be laid out in {self._folder} "
                f"({first_line(error)}): make room on its disk, or restore the lake from a backup"
            ) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)


class _Differs(Exception):
    pass


def open_rows(path: Path) -> pa.Table:
    """The rows, mapped: nothing is read before it is used."""
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def _query(release: Release) -> tuple[str, dict[str, Any]]:
    name = "image_rows" if release.kind == "images" else "sft_rows"
    text = files("captionlake.models").joinpath(f"data/sql/{name}.sql").read_text()
    text = text.replace(":snapshot", str(release.snapshot_id))
    return text, {"name": release.name, "version": release.version}


def _header(file: Any, samples: int) -> None:
    """The head of a .npy file; its length does not depend on the count."""
    facts = {"descr": np.lib.format.dtype_to_descr(SAMPLES), "fortran_order": False, "shape": (samples,)}
    np.lib.format.write_array_header_1_0(file, facts)


@contextmanager
def drafted(path: Path) -> Iterator[Path]:
    """A new file that takes the place of ``path`` at the end, and is gone where something fails."""
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.draft")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file it is, if there is one."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _writable(folder: Path, owner: object) -> Path:
    """The folder, or one that lives as long as its owner where it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        made = Path(tempfile.mkdtemp(prefix="captionlake-"))
        weakref.finalize(owner, shutil.rmtree, made, ignore_errors=True)
        return made
