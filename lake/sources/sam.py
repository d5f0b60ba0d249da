"""SA-1B, the pictures of Segment Anything: the list of links, its tars, or folders of what was in them.

The list (ai.meta.com/datasets/segment-anything-downloads, after its form) is a TSV with the header ``file_name<TAB>cdn_link`` and
a link for each ``sa_000000.tar``; the links expire. A tar holds ``sa_N.jpg`` and ``sa_N.json`` beside each other, in either order.
Fields used: ``image.image_id``, and of ``annotations[]`` their number (``masks``), ``area`` (sum: ``mask_area``) and
``predicted_iou`` (mean: ``mean_predicted_iou``), which go into ``meta``; the masks themselves are left where they are. A picture
whose JSON lacks or is broken comes in, and ``meta`` says so under ``annotation``. ``subset`` is the tar's name without ``.tar``.

SA-1B has a research licence, which lets nobody pass its pictures on.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import polars as pl
from pydantic_core import from_json

from captionlake.errors import CaptionlakeError
from captionlake.lake.archives import ArchiveReader, Member, MemberError, members, row_for
from captionlake.lake.archives.kinds import is_archive
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.reasons import FailureReason
from captionlake.lake.sources.looks_like import looks_like
from captionlake.lake.sources.source import Row, Source, as_json, frames

_MOST_ANNOTATION_BYTES = 2**26
_AGAIN = re.compile(r"#\d+$")  # what a listing adds to a name that stands there twice
_COLUMNS = ["file_name", "cdn_link"]
_FORM = "the form on ai.meta.com/datasets/segment-anything-downloads gives a new list"


@dataclass(frozen=True, slots=True)
class TarLink:
    """One line of the list: a tar's plain name and the address it can be had from, until that expires."""

    file_name: str
    url: str


def is_link_list(path: Path) -> bool:
    """Whether an input is a list of links, and not a tar, another archive or a folder. A file that is not there is none."""
    return path.is_file() and not is_archive(path)


def links(path: Path) -> list[TarLink]:
    """The tars that a list names, in its order. Raises with file and line where it is not such a list."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise CaptionlakeError(f"{path} cannot be read ({error.strerror}): check its path and rights") from error
    except UnicodeDecodeError as error:
        raise CaptionlakeError(f"{path} byte {error.start}: not UTF-8{_seems(path)}: {_FORM}") from error
    if text.lstrip()[:100].lower().startswith(("<!doctype", "<html", "<?xml", "{")):
        raise CaptionlakeError(f"{path} is a page of a server and no list of links: its address has expired: {_FORM}")
    found: dict[str, tuple[int, TarLink]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        fields = [field.strip() for field in line.split("\t")]
        if fields == [""] or (not found and fields == _COLUMNS):
            continue
        link = _link(fields, f"{path} line {number}", path)
        if link.file_name in found:
            first, known = found[link.file_name]
            if known != link:
                raise CaptionlakeError(
                    f"{path} line {number}: {link.file_name} stands in line {first} with another link: leave one of the two"
                )
            continue
        found[link.file_name] = number, link
    if not found:
        raise CaptionlakeError(f"{path} names no tar: it needs lines of file_name<TAB>cdn_link: {_FORM}")
    return [link for _, link in found.values()]


def _link(fields: list[str], where: str, path: Path) -> TarLink:
    if len(fields) != 2:
        raise CaptionlakeError(
            f"{where}: {len(fields)} fields where file_name<TAB>cdn_link are expected{_seems(path)}: {_FORM}"
        )
    name, url = fields
    if not name.endswith(".tar") or name.startswith(".") or not name.isprintable() or {"/", "\\", ":"} & {*name}:
        raise CaptionlakeError(
            f"{where}: {name[:80]!r} is not the plain name of a tar, such as sa_000000.tar: mend the line"
        )
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and url.isprintable() and " " not in url
    except ValueError:
        good = False
    if not good:
        raise CaptionlakeError(f"{where}: {url[:80]!r} is not an http or https address: mend the line")
    return TarLink(name, url)


def _seems(path: Path) -> str:
    known = looks_like(path)
    return f" (the file looks like {known})" if known else ""


def _read(config: IngestConfig) -> Iterator[pl.DataFrame]:
    return frames(islice(_rows(config), config.limit))


def _rows(config: IngestConfig) -> Iterator[Row]:
    """The pictures of what is at hand; the tars of a list of links are not this function's to get."""
    if not config.inputs and not config.archives:
        raise CaptionlakeError(
            "the source sam needs its list of links, or tars such as sa_000000.tar, or a folder of them unpacked"
        )
    archives = [Path(name) for name in config.inputs if not is_link_list(Path(name))]
    archives += [Path(name) for name in config.archives]
    done: set[Path] = set()
    with ArchiveReader(max_bytes=_MOST_ANNOTATION_BYTES) as reader:
        for archive in archives:
            if archive.resolve() not in done:
                done.add(archive.resolve())
                yield from _pairs(archive, config, reader)


def _pairs(archive: Path, config: IngestConfig, reader: ArchiveReader) -> Iterator[Row]:
    """Each picture with what its JSON says, as soon as both were met; then what has no other half."""
    subset = config.subset or (archive.stem if archive.is_file() else archive.name)
    pictures: dict[str, Member] = {}
    facts: dict[str, dict[str, object]] = {}
    n_found = 0
    for member in members(archive):
        name = PurePosixPath(_AGAIN.sub("", member.name))
        if name.suffix.lower() in (".jpg", ".jpeg"):
            n_found += 1
            if member.reason is None and name.stem not in facts and name.stem not in pictures:
                pictures[name.stem] = member
            else:
                yield _row(archive, member, facts.pop(name.stem, {}) if member.reason is None else {}, subset)
        elif name.suffix.lower() == ".json" and member.reason is None:
            found = _facts(archive, member, reader)
            if name.stem in pictures:
                yield _row(archive, pictures.pop(name.stem), found, subset)
            else:
                facts[name.stem] = found
        elif member.reason is FailureReason.TRUNCATED and name.suffix.lower() != ".json":
            yield _row(archive, member, {}, subset)
    if not n_found and not facts:
        raise CaptionlakeError(
            f"{archive} holds no sa_N.jpg: it is not of SA-1B: give its tars, or folders of them unpacked"
        )
    for member in pictures.values():
        yield _row(archive, member, {"annotation": "missing"}, subset)
    for stem, found in facts.items():
        lacking = Member(
            f"{stem}.jpg", None, None, FailureReason.MISSING_MEMBER, f"{stem}.json is there, its picture is not"
        )
        yield _row(archive, lacking, found, subset)


def _row(archive: Path, member: Member, facts: dict[str, object], subset: str) -> Row:
    kept = member.reason in (None, FailureReason.TRUNCATED, FailureReason.MISSING_MEMBER)
    return {
        "source_key": PurePosixPath(member.name).name if kept else member.name,
        "subset": subset,
        "meta": as_json(facts),
        **row_for(member, archive),
    }


def _facts(archive: Path, member: Member, reader: ArchiveReader) -> dict[str, object]:
    """What is kept of a picture's JSON."""
    try:
        data = from_json(reader.read(str(archive), member.name, member.offset, member.n_bytes), cache_strings=False)
    except (MemberError, ValueError, RecursionError) as error:
        return {"annotation": f"broken: {str(error)[:200]}"}
    image, masks = (data.get("image"), data.get("annotations")) if isinstance(data, dict) else (None, None)
    if not isinstance(image, dict) or not isinstance(masks, list):
        return {"annotation": "broken: no image or no annotations"}
    facts: dict[str, object] = {"image_id": image.get("image_id"), "masks": len(masks)}
    areas, scores = _numbers(masks, "area"), _numbers(masks, "predicted_iou")
    facts["mask_area"] = sum(areas)
    if scores:
        facts["mean_predicted_iou"] = round(sum(scores) / len(scores), 6)
    return facts


def _numbers(masks: Iterable[Any], name: str) -> list[int | float]:
    values = (mask.get(name) for mask in masks if isinstance(mask, dict))
    return [value for value in values if isinstance(value, int | float) and abs(value) < 1e15]


SAM = Source(
    name="sam",
    collection="sam",
    title="SA-1B: the pictures of Segment Anything",
    takes="the list of links (file_name, cdn_link); or tars sa_000000.tar …, or folders of sa_N.jpg and sa_N.json",
    homepage="https://ai.meta.com/datasets/segment-anything",
    license="SA-1B Dataset Research License",
    license_url="https://ai.meta.com/datasets/segment-anything-downloads/",
    redistribute="none",
    citation="Kirillov et al., Segment Anything, ICCV 2023",
    read=_read,
)
