"""The sources known: one file each, official files in, rows out."""

from captionlake.lake.sources.cc3m import CC3M
from captionlake.lake.sources.coco import COCO
from captionlake.lake.sources.folder import FOLDER
from captionlake.lake.sources.hf import HF
from captionlake.lake.sources.img2dataset import IMG2DATASET
from captionlake.lake.sources.laion import LAION
from captionlake.lake.sources.llava558k import LLAVA558K
from captionlake.lake.sources.sam import SAM
from captionlake.lake.sources.sbu import SBU
from captionlake.lake.sources.sharegpt4v import SHAREGPT4V
from captionlake.lake.sources.source import Source
from captionlake.lake.sources.textcaps import TEXTCAPS
from captionlake.lake.sources.web import WEB
from captionlake.lake.sources.wikiart import WIKIART

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        *(COCO, LAION, CC3M, SBU, LLAVA558K, SAM, TEXTCAPS, WIKIART, WEB),
        *(FOLDER, HF, IMG2DATASET, SHAREGPT4V),
    )
}

__all__ = ["SOURCES", "Source"]
