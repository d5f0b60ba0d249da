"""The detailed captions in LLaVA's mix, which no row names as such.

A row of ``detail_23k.json`` has the bare file name, and in the mix ``coco/train2017/`` before it. Without that file, a row with one
question and one answer on a picture of COCO is one where its question is in a given list.
"""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pyarrow as pa

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.sft.origins import of_origin
from captionlake.lake.sources.conversations import answer
from captionlake.lake.sources.json_items import json_items, refused

_MARK = "<image>"


@dataclass(frozen=True, slots=True)
class Detail:
    """The rows found, in the base's order: their ids, places and questions. ``listed`` rows were to be found, 0 where unknown."""

    conversation_ids: list[str]
    rows: list[int]
    questions: list[str]
    listed: int


def find_detail(lake: Lake, base: str, *, detail: Path | None, questions: Path | None) -> Detail:
    """Find them in the conversations of the file ``base``. Raises where there is none."""
    if detail is not None:
        wanted = _listed(detail)
        condition = "(id, answer) IN (SELECT id, answer FROM _wanted)"
    elif questions is not None:
        wanted = pa.table({"question": sorted(_pool(questions))})
        condition = f"trim(replace(question, '{_MARK}', ''), e' \\t\\r\\n') IN (SELECT question FROM _wanted)"
    else:
        return Detail([], [], [], 0)
    query = files("captionlake.curation").joinpath("sql/mix_detail.sql").read_text()
    with lake.registered(_wanted=wanted):
        found = lake.rows(query.replace(":base", of_origin(base)).replace(":wanted", condition))
    if not found:
        raise CaptionlakeError(
            f"{base} has none of the detailed captions of {detail or questions}: is it LLaVA's mix, with images under coco/train2017/?"
        )
    ids, rows, said = (list(column) for column in zip(*found, strict=True))
    return Detail(ids, rows, said, wanted.num_rows if detail is not None else 0)


def _listed(path: Path) -> pa.Table:
    """(id, answer) of each row of detail_23k.json."""
    ids, answers = [], []
    for _, item in json_items(path, ""):
        text, _ = answer(item)
        if text is not None and isinstance(item.get("id"), str | int):
            ids.append(str(item["id"]))
            answers.append(text)
    if not ids:
        raise refused(path, "has no detailed captions (a list of id, image, conversations)", "detail_23k.json")
    return pa.table({"id": ids, "answer": answers})


def _pool(path: Path) -> set[str]:
    """Questions, one a line; the mark of the picture is left out of them."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise CaptionlakeError(f"{path} is not UTF-8: save it as UTF-8, one question a line") from error
    found = {line.replace(_MARK, "").strip() for line in lines} - {""}
    if not found:
        raise CaptionlakeError(f"{path} has no questions: write one a line")
    return found
