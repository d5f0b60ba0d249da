"""Where the documentation's commands are run: a folder with a small lake and files under the names that the pages use.

All of it is made up, by the program's own commands, of tiles of photographs; captions of a teacher are sentences with a number.
"""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner
from PIL import Image

from captionlake.cli import captionlake
from captionlake.lake import Lake

N_COCO, N_WEB = 24, 12
_COCO_URL = "http://images.cocodataset.org/train2017"
_OF_COCO = '[select]\nwhere = "width >= 100"\n[[select.quota]]\ncollection = "coco"\ncount = "all"'
_RECIPE = """lake = "lake"
{more}
[caption]
captioner = "{captioner}"
[release]
name = "{name}"
version = "{version}"
"""


def make(folder: Path, tiles: Callable[[int], list[bytes]]) -> None:
    """Fill ``folder``; the working directory must be it."""
    pictures = [_wide(data) for data in tiles(N_COCO + N_WEB)]
    numbers = [9, *range(100, 99 + N_COCO)]
    names = [f"{number:012d}.jpg" for number in numbers]
    _coco(folder, numbers, names, pictures)
    _teacher(folder, names)
    _photos(folder / "web", pictures[N_COCO:])
    _photos(folder / "photos", pictures[:6])
    (folder / "photos" / "metadata.csv").rename(folder / "captions.csv")
    _photos(folder / "pictures", pictures[:6])
    (folder / "photo.jpg").write_bytes(pictures[0])
    (folder / "7.jpg").write_bytes(pictures[7])
    quota = '[[select.quota]]\ncollection = "coco"\ncount = 12\n[[select.quota]]\ncollection = "web"\ncount = "all"'
    recipe = {"name": "mine", "version": "1.0.0", "captioner": "source", "more": quota}
    (folder / "recipe.toml").write_text(_RECIPE.format(**recipe))
    run("init", "lake")
    run("ingest", "coco", "captions_train2017.json", "--archive", "train2017.zip", "--lake", "lake")
    run("ingest", "sharegpt4v", "sharegpt4v_instruct_gpt4-vision_cap100k.json", "--lake", "lake")
    run(
        "ingest",
        "folder",
        "web",
        "--collection",
        "web",
        "--redistribute",
        "bytes",
        "--license",
        "CC0-1.0",
        "--lake",
        "lake",
    )
    with Lake.open("lake") as lake:  # as if they had been downloaded
        url = "UPDATE images SET url = 'https://example.org/' || ltrim(source_key, '0') WHERE collection = 'web'"
        lake.commit(lambda connection: connection.execute(url))
    for version in ("1.0.0", "1.1.0"):
        path = folder / f"sharegpt4v-{version}.toml"
        path.write_text(
            _RECIPE.format(
                name="sharegpt4v",
                version=version,
                captioner="gpt4-vision",
                more=_OF_COCO,
            )
        )
        run("release", "create", path)
    run("release", "create", "recipe.toml")


def run(*arguments: object) -> str:
    """One command of the program, in this process."""
    done = CliRunner().invoke(captionlake, [str(argument) for argument in arguments], standalone_mode=False)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, f"{arguments}: {done.output}"
    return done.output


def _wide(data: bytes) -> bytes:
    """Each 240 pixels wide, so that recipes that ask for 224 find some."""
    out = io.BytesIO()
    Image.open(io.BytesIO(data)).resize((240, 240)).save(out, "JPEG", quality=80)
    return out.getvalue()


def _coco(folder: Path, numbers: list[int], names: list[str], pictures: list[bytes]) -> None:
    images = [
        {
            "id": number,
            "file_name": name,
            "coco_url": f"{_COCO_URL}/{name}",
            "width": 240,
            "height": 240,
            "license": 4,
        }
        for number, name in zip(numbers, names, strict=True)
    ]
    texts = [
        {"id": 1000 + number, "image_id": number, "caption": f"A red umbrella on the left of cats, number {number}."}
        for number in numbers
    ]
    licenses = [{"id": 4, "url": "http://creativecommons.org/licenses/by/2.0/", "name": "Attribution License"}]
    document = {"info": {}, "images": images, "licenses": licenses, "annotations": texts}
    (folder / "captions_train2017.json").write_text(json.dumps(document))
    with zipfile.ZipFile(folder / "train2017.zip", "w") as archive:
        for name, data in zip(names, pictures, strict=False):
            archive.writestr(f"train2017/{name}", data)


def _teacher(folder: Path, names: list[str]) -> None:
    rows = [
        {
            "id": name.removesuffix(".jpg"),
            "image": f"coco/train2017/{name}",
            "conversations": [
                {"from": "human", "value": "<image>\nDescribe the picture."},
                {
                    "from": "gpt",
                    "value": f"A man holds an umbrella. Picture {number} shows a part of a photograph, enlarged.",
                },
            ],
        }
        for number, name in enumerate(names)
    ]
    (folder / "sharegpt4v_instruct_gpt4-vision_cap100k.json").write_text(json.dumps(rows))


def _photos(folder: Path, pictures: list[bytes]) -> None:
    folder.mkdir()
    lines = ["file_name,caption,license,author"]
    for number, data in enumerate(pictures, 2):
        (folder / f"{number:03d}.jpg").write_bytes(data)
        lines.append(f"{number:03d}.jpg,A dog on a beach number {number},CC0-1.0,Somebody")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
