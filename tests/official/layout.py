"""The folder ``data/`` as a user has it who downloaded what recipes/sharegpt4v.toml and -pt.toml name, at a toy's size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import coco, llava, sam, textcaps, web, wikiart


@dataclass(frozen=True, kw_only=True, slots=True)
class Pools:
    """The pictures of each collection; those of the web by the addresses that serve them."""

    coco: Sequence[bytes]
    lcs: Sequence[bytes]
    sam: Sequence[bytes]
    textcaps: Sequence[bytes] = ()
    wikiart: Sequence[bytes] = ()
    landmark: Sequence[str] = ()
    celebrity: Sequence[str] = ()


def lay_out(data: Path, pools: Pools, *, tars: int, lost: int = 0) -> dict[str, list[str]]:
    """Write ``data``. Returns the names of the pictures by collection; LLaVA's zip lacks its last ``lost`` pictures."""
    names = {
        "coco": coco.lay_out(data / "coco", pools.coco),
        "lcs": llava.lay_out(data / "llava", pools.lcs, lost=lost),
        "sam": [name for held in sam.lay_out(data / "sam", pools.sam, tars=tars) for name in held],
    }
    if pools.textcaps:
        names["textcaps"] = textcaps.lay_out(data / "textcaps", pools.textcaps)
    if pools.wikiart:
        names["wikiart"] = wikiart.lay_out(data / "wikiart", pools.wikiart)
    lists: Mapping[str, Sequence[str]] = {"landmark": pools.landmark, "celebrity": pools.celebrity}
    for kind, urls in lists.items():
        if urls:
            web.lay_out(data / "web", kind, urls)
            names[kind] = list(urls)
    return names
