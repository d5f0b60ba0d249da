"""SBU Captions in its two forms: two text files that go line by line, and one JSON object of parallel lists."""

import json
from collections.abc import Sequence
from pathlib import Path


def lay_out(folder: Path, urls: Sequence[str]) -> tuple[Path, Path, Path]:
    """Write both forms into ``folder``. Returns the addresses' file, the captions' file and the JSON."""
    folder.mkdir(parents=True)
    captions = [f"My dog number {number} in the garden, after the rain" for number in range(len(urls))]
    listed = folder / "SBU_captioned_photo_dataset_urls.txt"
    told = folder / "SBU_captioned_photo_dataset_captions.txt"
    whole = folder / "sbu-captions-all.json"
    listed.write_text("".join(f"{url}\n" for url in urls), encoding="utf-8")
    told.write_text("".join(f"{caption}\n" for caption in captions), encoding="utf-8")
    users = [f"{10_000_000 + number}@N00" for number in range(len(urls))]
    whole.write_text(json.dumps({"image_urls": list(urls), "user_ids": users, "captions": captions}))
    return listed, told, whole
