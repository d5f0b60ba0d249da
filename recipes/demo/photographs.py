"""Collects real photographs with texts, authors and licences from packages: pip's, and Debian's where apt can.

Run it as a file to see what there is.
"""

import argparse
import importlib.util
import re
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import gcompris
from debian import NoPackageError, unpacked

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / "build" / "demo" / "packages"
FREE = ("Public domain", "CC0-1.0", "No known copyright restrictions")  # asks for no attribution
INSTALLED = Path("/usr/share/gcompris-qt/rcc")
LICENSE_URLS = {
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-BY-2.0": "https://creativecommons.org/licenses/by/2.0/",
    "CC-BY-3.0": "https://creativecommons.org/licenses/by/3.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC-BY-SA-4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
    "Public domain": "https://creativecommons.org/publicdomain/mark/1.0/",
    "No known copyright restrictions": "https://rightsstatements.org/vocab/NKC/1.0/",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Photograph:
    """One photograph as its package holds it. ``place`` is its collection, with ``/subset`` where it has one."""

    key: str  # package and path, for instance "scikit-image/chelsea.png"
    title: str
    captions: tuple[str, ...]
    author: str
    license: str
    source_url: str
    activity: str
    place: str
    data: bytes = field(repr=False)

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.key).suffix


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The photographs, and remarks for whoever runs this: a package that could not be had, pictures left out."""

    photographs: tuple[Photograph, ...]
    remarks: tuple[str, ...]


def _settings() -> dict[str, Any]:
    return tomllib.loads((HERE / "photographs.toml").read_text(encoding="utf-8"))


def sentences(text: str) -> tuple[str, ...]:
    """The text's sentences, at most five as in COCO; what is left over stays with the fifth."""
    parts = re.split(r"(?<=[.!?])\s+(?=[A-Z“\"])", text.strip())
    return tuple([*parts[:4], " ".join(parts[4:])] if len(parts) > 5 else parts)


def from_pip() -> Found:
    """The photographs that scikit-image and scikit-learn carry in their wheels."""
    photographs, remarks = [], []
    for row in _settings()["pip"]:
        path = PurePosixPath(row["file"])
        spec = importlib.util.find_spec(path.parts[0])
        package = {"skimage": "scikit-image", "sklearn": "scikit-learn"}[path.parts[0]]
        file = Path(spec.origin).parent.joinpath(*path.parts[1:]) if spec and spec.origin else None
        if file is None or not file.is_file():
            remarks.append(f"{package} is without {path.name}: left out")
            continue
        photographs.append(
            Photograph(
                key=f"{package}/{path.name}",
                title=row["title"],
                captions=tuple(row["captions"]),
                author=row["author"],
                license=row["license"],
                source_url=row["source_url"],
                activity=package,
                place=row["place"],
                data=file.read_bytes(),
            )
        )
    return Found(photographs=tuple(photographs), remarks=tuple(remarks))


def from_debian(cache: Path) -> Found:
    """The photographs of gcompris-qt-data; none, and a remark, where the package cannot be had."""
    folder = INSTALLED
    if not folder.is_dir():
        try:
            folder = unpacked("gcompris-qt-data", cache) / INSTALLED.relative_to("/")
        except NoPackageError as error:
            remark = f"Debian's gcompris-qt-data cannot be had here ({error}): going on with pip's photographs alone"
            return Found(photographs=(), remarks=(remark,))
    photographs: list[Photograph] = []
    uncredited: list[str] = []
    for activity in _settings()["activity"]:
        file = folder / f"{activity['name']}.rcc"
        if file.is_file():
            found, without = _from_activity(file, activity)
            photographs += found
            uncredited += without
    remarks = []
    if uncredited:
        names = ", ".join(uncredited)
        remarks.append(f"{len(uncredited)} of gcompris-qt-data's photographs left out, no credit names them: {names}")
    return Found(photographs=tuple(photographs), remarks=tuple(remarks))


def _from_activity(file: Path, activity: dict[str, Any]) -> tuple[list[Photograph], list[str]]:
    """The photographs of one resource file, and the names of those that no README credits."""
    resources = gcompris.read_resources(file)
    credits = gcompris.credits_by_path(resources)
    root = f"gcompris/src/activities/{activity['name']}/"
    texts: dict[str, tuple[str, tuple[str, ...]]] = {}
    if "own" in activity:
        for stem, (title, *captions) in activity["own"].items():
            texts[f"{root}{activity['folder']}{stem}.webp"] = (title, tuple(captions) or (title,))
    else:
        for path, body in resources.items():
            if path.endswith(".qml"):
                for picture, (title, text) in gcompris.read_texts(body.decode("utf-8")).items():
                    texts[picture] = (title, sentences(text))
    photographs, uncredited = [], []
    for path in sorted(texts.keys() & resources.keys()):
        credit = credits.get(path)
        if credit is None:
            uncredited.append(PurePosixPath(path).name)
            continue
        author, source_url = _photographer(credit)
        title, captions = texts[path]
        photographs.append(
            Photograph(
                key="gcompris/" + path.removeprefix("gcompris/src/activities/").replace("/resource/", "/"),
                title=title,
                captions=captions,
                author=author,
                license=credit.license,
                source_url=source_url,
                activity=activity["name"],
                place=activity["place"] if credit.license in FREE else "album",
                data=resources[path],
            )
        )
    return photographs, uncredited


def _photographer(credit: gcompris.Credit) -> tuple[str, str]:
    """Author and source; where the comment says on whose photograph the picture is based, that author comes first."""
    based = re.search(r"based on .*? by (?P<name>.+?), license .*?source at (?P<url>\S+)", credit.comment)
    if not based:
        return credit.author, credit.source_url
    adapter = re.sub(r"^[\d, -]+", "", credit.author)  # the years before the name
    return f"{based['name']}, adapted by {adapter}", based["url"]


def collect(cache: Path = CACHE, *, debian: bool = True) -> Found:
    """Every photograph that can be had here, in the order of their keys."""
    parts = [from_pip()]
    if debian:
        parts.append(from_debian(cache))
    return Found(
        photographs=tuple(sorted((p for part in parts for p in part.photographs), key=lambda p: p.key)),
        remarks=tuple(remark for part in parts for remark in part.remarks),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-debian", action="store_true", help="only the photographs that pip brings")
    parser.add_argument("--list", action="store_true", help="one line a photograph")
    options = parser.parse_args()
    found = collect(debian=not options.no_debian)
    for remark in found.remarks:
        print(remark)
    if options.list:
        for p in found.photographs:
            print(f"{p.place:<14}{p.license:<33}{p.key:<60}{p.title} | {p.author} | {p.source_url}")
    size = sum(len(p.data) for p in found.photographs)
    print(f"{len(found.photographs)} photographs, {size / 1e6:.1f} MB")
    for name, values in (
        ("package or activity", Counter(p.activity for p in found.photographs)),
        ("place", Counter(p.place for p in found.photographs)),
        ("licence", Counter(p.license for p in found.photographs)),
    ):
        print(f"by {name}: " + ", ".join(f"{key} {count}" for key, count in sorted(values.items())))


if __name__ == "__main__":
    main()
