"""What a file looks like from its beginning, to say so where a source was given another source's file."""

import re
from pathlib import Path

_HEAD_BYTES = 64 * 1024

_MAGIC = (
    (b"PAR1", "a Parquet file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "a gzip file (unpack it)"),
    (b"BZh", "a bzip2 file (unpack it)"),
    (b"\xfd7zXZ", "an xz file (unpack it)"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file (unpack it)"),
    (b"\x89PNG", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file that it stands for"),
    (b"\xff\xfe", "UTF-16 text (save it as UTF-8)"),
    (b"\xfe\xff", "UTF-16 text (save it as UTF-8)"),
)
SBU_JSON = "SBU's JSON"
# Keys of the JSON formats, the most telling first; all keys of one row must stand in the beginning of the file.
_JSON = (
    (("image_urls",), SBU_JSON),  # its first list alone is many times longer than the beginning that is read
    (("blip_caption", "url"), "LLaVA's blip_laion_cc_sbu_558k_meta.json"),
    (("conversations",), "LLaVA's or ShareGPT4V's conversations"),
    (("reference_strs",), "TextCaps' JSON"),
    (("flickr_original_url", "image_id"), "TextCaps' or TextVQA's JSON"),
    (("ocr_tokens",), "TextVQA's Rosetta OCR"),
    (("segments_info",), "COCO's panoptic annotations"),
    (("annotations", "image", "segmentation"), "the masks of one picture of SA-1B"),
    (("images", "coco_url"), "COCO's annotations"),
    (("images", "file_name"), "COCO's annotations"),
    (("info", "licenses"), "COCO's annotations"),
)


def looks_like(path: Path) -> str | None:
    """A few words on what the file is, or None where nothing is known; never raises.

    Knows COCO, LLaVA and ShareGPT4V, TextCaps, SBU, SA-1B's list, CC3M, web lists, JSON Lines, Parquet, zip, tar, compressed
    files, pictures, UTF-16 and web pages.
    """
    try:
        if path.is_dir():
            return "a folder"
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except (OSError, ValueError):
        return None
    if not head:
        return "an empty file"
    for mark, name in _MAGIC:
        if head.startswith(mark):
            return name
    if head[257:262] == b"ustar":
        return "a tar archive"
    if b"\x00" in head[:4]:
        return "UTF-16 text (save it as UTF-8)" if head[:4].count(0) < 4 else None
    text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").lstrip()
    if text[:200].lower().startswith(("<!doctype", "<html", "<head", "<?xml")):
        return "a web page (an error page or a page about the file, not the file)"
    return _json(text) if text[:1] in ("{", "[") else _table(text)


def _json(text: str) -> str:
    for keys, name in _JSON:
        if all(f'"{key}"' in text for key in keys):
            return name
    lines = text.splitlines()
    if len(lines) > 1 and all(line.startswith("{") for line in lines[:2]) and lines[0].rstrip().endswith("}"):
        return "JSON Lines"
    return "JSON of another kind"


def _table(text: str) -> str | None:
    lines = [line for line in text.splitlines() if line.strip()][:20]
    if not lines:
        return "an empty file"
    first = [name.strip().strip('"').lower() for name in re.split(r"[,\t]", lines[0])]
    if "cdn_link" in first or re.match(r"sa_\d+\.tar\thttps?://", lines[-1]):
        return "SA-1B's list of links"
    if all(re.fullmatch(r"https?://\S+", line.strip()) for line in lines):
        return "a list of URLs, as SBU's"
    if all(re.fullmatch(r"[^\t]*\thttps?://\S+\s*", line) for line in lines):
        return "captions and URLs separated by tabs, as CC3M's"
    if "url" in first:
        return "a table with a column url"
    return None
