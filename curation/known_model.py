"""Which model's embeddings a command works on."""

from typing import TYPE_CHECKING

from captionlake.errors import CaptionlakeError
from captionlake.lake.options import printable

if TYPE_CHECKING:
    from captionlake.lake import Lake


def known_model(lake: "Lake", model_id: str | None) -> str:
    """The model named, or the only one that the lake has embeddings of."""
    from difflib import get_close_matches

    known = dict(lake.rows("SELECT model_id, count(*) FROM embeddings GROUP BY model_id ORDER BY model_id"))
    if not known:
        raise CaptionlakeError(f"no picture of {lake.path} is embedded: run  captionlake embed  first")
    if model_id is None and len(known) > 1:
        listed = ", ".join(f"{name} of {count:,} pictures" for name, count in known.items())
        raise CaptionlakeError(f"the lake has embeddings of several models ({listed}): name one with --model-id")
    if model_id is None:
        return str(next(iter(known)))
    if model_id not in known:
        near = get_close_matches(model_id, known, n=3, cutoff=0.3) or list(known)
        raise CaptionlakeError(f"no picture is embedded by {printable(model_id)}: known are {', '.join(near)}")
    return model_id
