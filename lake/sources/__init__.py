"""The sources known: one file each, official annotation files in, rows out."""

from captionlake.lake.sources.coco import COCO
from captionlake.lake.sources.folder import FOLDER
from captionlake.lake.sources.source import Source
from captionlake.lake.sources.web import WEB

SOURCES: dict[str, Source] = {source.name: source for source in (COCO, FOLDER, WEB)}

__all__ = ["SOURCES", "Source"]
