"""Draws docs/analysis/sunburst.png and .svg from the long texts of gcompris-qt-data's photographs, each a caption.

    python recipes/demo/analysis_figure.py            # those of monuments beside those of animals and music

They are 81 captions: a pair of 1 % is one sentence.
"""

import argparse
import hashlib
import json
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from gcompris import BadResourceError
from photographs import CACHE, Photograph, collect
from PIL import Image

from captionlake.curation.analysis.analysis import analyze
from captionlake.curation.analysis.analyze_config import AnalyzeConfig
from captionlake.curation.analysis.output import write_output
from captionlake.curation.analysis.report import report
from captionlake.lake import Lake
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.releases.config import ReleaseConfig
from captionlake.lake.releases.release import Draft, create_release

BUILD = CACHE.parent / "analysis"
DOCS = Path(__file__).resolve().parents[2] / "docs" / "analysis"
MONUMENTS, OTHERS = "gcompris: monuments", "gcompris: animals, music"
PRODUCERS = {
    "explore_monuments": MONUMENTS,
    "explore_farm_animals": OTHERS,
    "explore_world_animals": OTHERS,
    "explore_world_music": OTHERS,
}
LABEL = "texts@1.0.0"


def fill(lake: Lake, photographs: list[Photograph], folder: Path) -> None:
    """The photographs in the lake, a caption each, and a release of them all."""
    folder.mkdir(parents=True)
    captions = []
    for photograph in photographs:
        key = photograph.key.replace("/", "_")
        (folder / key).write_bytes(photograph.data)
        text = " ".join(photograph.captions)
        captions.append(
            {
                "caption_id": hashlib.sha256(f"{key} {text}".encode()).hexdigest()[:32],
                "image_id": hashlib.sha256(photograph.data).hexdigest(),
                "kind": "human",
                "producer": PRODUCERS[photograph.activity],
                "text": text,
                "chars": len(text),
                "words": len(text.split()),
                "created_at": datetime.now(UTC),
            }
        )
    ingest(lake, IngestConfig(source="folder", inputs=[str(folder)]))
    lake.append("captions", pa.Table.from_pylist(captions), ["caption_id"])
    name, _, version = LABEL.partition("@")
    nothing = "SELECT source, source_key, '' AS reason, '' AS detail, '' AS keeper_source, '' AS keeper_key, 0.0 AS similarity "
    draft = Draft(
        config=ReleaseConfig(name=name, version=version),
        recipe=json.dumps({"release": LABEL}),
        snapshot=lake.snapshot(),
        items=lake.arrow("SELECT source, source_key, image_id, 'train' AS split FROM images"),
        exclusions=lake.arrow(nothing + "FROM images WHERE false"),
        producers=[MONUMENTS, OTHERS],
    )
    create_release(lake, draft)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=DOCS, help="where the two files go (default: docs/analysis)")
    options = parser.parse_args()
    try:
        found = collect(debian=True)
    except BadResourceError as error:
        sys.exit(f"error: {error}")
    photographs = [photograph for photograph in found.photographs if photograph.activity in PRODUCERS]
    if not photographs:
        sys.exit(f"error: {'; '.join(found.remarks)}")
    shutil.rmtree(BUILD, ignore_errors=True)
    with Lake.init(BUILD / "lake") as lake:
        fill(lake, photographs, BUILD / "photographs")
        analysis = analyze(lake, LABEL, AnalyzeConfig(producers=(MONUMENTS, OTHERS)))
    print(report(analysis))
    options.output.mkdir(parents=True, exist_ok=True)
    for path in write_output(analysis, BUILD / "output"):
        if path.stem == "sunburst":
            shutil.copy(path, options.output / path.name)
            print(options.output / path.name)
    picture = options.output / "sunburst.png"
    with Image.open(picture) as drawn:  # 256 colours are enough for a page, and a fifth of the bytes
        small = drawn.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(picture, optimize=True)


if __name__ == "__main__":
    main()
