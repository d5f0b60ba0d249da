"""``captionlake card CHECKPOINT``: a model's card, or its facts looked at again."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from captionlake.errors import CaptionlakeError
from captionlake.lake.options import emit, printable

if TYPE_CHECKING:
    from captionlake.cards.model_card import Check


def model_card(
    checkpoint: Path,
    folder: Path,
    *,
    check: bool,
    lake: Path | None,
    results: Sequence[Path],
    license: str | None,
    as_json: bool,
) -> None:
    """Write the card, or with ``check`` compare it."""
    from captionlake.cards.model_card import check_model_card, write_model_card
    from captionlake.lake import Lake

    with nullcontext() if lake is None else Lake.open(lake) as opened:
        if check:
            _tell(check_model_card(checkpoint, folder, results=results, lake=opened), folder, as_json)
            return
        written = write_model_card(checkpoint, folder, results=results, lake=opened, license=license)
    data = {"card": str(written.readme), "facts": written.facts, "files": [str(file) for file in written.files]}
    emit(as_json, data, f"{written.readme}: {written.facts} facts, each with the file or the query that it comes from")


def _tell(found: "Check", folder: Path, as_json: bool) -> None:
    data = {
        "checkpoint": found.label,
        "facts": found.facts,
        "differences": [asdict(difference) for difference in found.differences],
        "unchecked": found.unchecked,
        "readme_as_written": found.readme_as_written,
    }
    if found.differences:
        if as_json:
            emit(True, data, "")
        first = found.differences[0]
        raise CaptionlakeError(
            f"{len(found.differences)} of {found.facts} facts in {folder} differ, the first: {printable(first.name)} "
            f"{printable(first.what)}: write the card again, without --check"
        )
    said = f"{printable(found.label)}: {found.facts - len(found.unchecked)} of {found.facts} facts in {folder} are what they come from says"
    if found.unchecked:
        names = printable(", ".join(found.unchecked))
        said += f"; not checked, as what they come from is not here (--lake, --results): {names}"
    if not found.readme_as_written:
        said += "; README.md is not the text that follows from them (edited, or of another captionlake)"
    emit(as_json, data, said)
