"""Releases written by hand, of real photographs, with texts that try to break out of a card."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from captionlake.cards.facts import Facts, collect
from captionlake.lake import Lake

from .made_lake import RECIPE, Plan, Row, caption, source, write_lake
from .texts import HOSTILE


@pytest.fixture(scope="session")
def pictures() -> dict[str, bytes]:
    """Photographs of scikit-image and scikit-learn as small JPEGs, and one of them as PNG."""
    import skimage.data
    from sklearn.datasets import load_sample_image

    made: dict[str, bytes] = {}
    for name in ("astronaut", "chelsea", "coffee", "rocket", "camera", "moon", "coins", "brick"):
        made[name] = _encode(Image.fromarray(getattr(skimage.data, name)()), "JPEG")
    for name in ("china", "flower"):
        made[name] = _encode(Image.fromarray(load_sample_image(f"{name}.jpg")), "JPEG")
    name = "rocket"
    made["rocket-png"] = _encode(Image.fromarray(getattr(skimage.data, name)()), "PNG")
    return made


def _encode(picture: Image.Image, form: str) -> bytes:
    picture = picture.convert("RGB")
    picture.thumbnail((400, 400))
    buffer = io.BytesIO()
    picture.save(buffer, form)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def plain_plan(pictures: dict[str, bytes]) -> Plan:
    """Three collections, every reason to be left out, captions of three kinds; no text is hostile."""
    p = pictures
    return Plan(
        sources=[
            source("coco", "coco", citation="Lin and others, Microsoft COCO, 2014"),
            source(
                "web",
                "web",
                redistribute="urls",
                license="all rights reserved",
                license_url="https://example.org/terms",
            ),
            source("album", "album", license=None, title=None, homepage=None),
        ],
        rows=[
            Row(
                key="1",
                data=p["astronaut"],
                url="http://example.org/1.jpg",
                captions=[caption("An astronaut in an orange suit smiles in front of a flag."), caption("A portrait.")],
            ),
            Row(
                key="2",
                data=p["chelsea"],
                captions=[
                    caption("A tabby cat looks past the camera."),
                    caption(
                        "The cat's whiskers are white. " * 12,
                        kind="teacher",
                        producer="openai:gpt-4o",
                        license=None,
                        prompt_id="sharegpt4v",
                        input_tokens=1200,
                        output_tokens=90,
                        cost_usd=0.012,
                    ),
                ],
            ),
            Row(
                key="3",
                data=p["coffee"],
                author=None,
                split="test",
                captions=[caption("A cup of coffee on a wooden table.")],
            ),
            Row(key="4", data=p["rocket"], reason="duplicate", keeper=("web", "a"), similarity=0.97123),
            Row(key="5", data=p["china"], reason="over_quota", captions=[caption("A temple.")]),
            Row(
                key="a",
                data=p["rocket-png"],
                source="web",
                collection="web",
                subset="landmark",
                license=None,
                author=None,
                captions=[caption("Rocket on the pad", kind="alt")],
            ),
            Row(
                key="b",
                data=p["moon"],
                source="web",
                collection="web",
                subset="celebrity",
                license=None,
                captions=[caption("The Moon", kind="alt")],
            ),
            Row(
                key="c",
                data=p["brick"],
                source="web",
                collection="web",
                subset="landmark",
                license=None,
                reason="predicate",
            ),
            Row(
                key="x",
                data=p["flower"],
                source="album",
                collection="album",
                license="CC0-1.0",
                captions=[caption("A dahlia, close up, with yellow and red petals.", kind="alt", license=None)],
            ),
            Row(key="y", data=p["camera"], source="album", collection="album", license=None),
            Row(
                key="z",
                data=p["camera"],
                source="album",
                collection="album",
                license=None,
                reason="duplicate",
                keeper=("album", "y"),
                similarity=1.0,
            ),
        ],
        failures=[
            {
                "source": "web",
                "source_key": "d",
                "collection": "web",
                "reason": "not_found",
                "detail": "404",
                "attempts": 1,
            },
            {
                "source": "web",
                "source_key": "e",
                "collection": "web",
                "reason": "timeout",
                "detail": None,
                "attempts": 3,
            },
            {
                "source": "web",
                "source_key": "f",
                "collection": "web",
                "reason": "not_found",
                "detail": "404",
                "attempts": 1,
            },
        ],
    )


@pytest.fixture(scope="session")
def plain_lake(plain_plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lake of ``plain_plan``; tests read it only."""
    return write_lake(tmp_path_factory.mktemp("plain") / "lake", plain_plan)


@pytest.fixture(scope="session")
def plain_facts(plain_lake: Path) -> Facts:
    """The facts of ``plain_plan``'s release."""
    with Lake.open(plain_lake) as lake:
        return collect(lake, "small@1.0.0")


@pytest.fixture(scope="session")
def hostile_lake(pictures: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every text that a source or a model gives is hostile, the recipe too."""
    rows = [
        Row(
            key=f"{n}",
            data=data,
            source=HOSTILE[n % 3],
            collection=HOSTILE[(n + 1) % 3],
            subset=HOSTILE[n % len(HOSTILE)],
            author=HOSTILE[n % len(HOSTILE)],
            license=HOSTILE[(n + 2) % 5],
            url=HOSTILE[n % len(HOSTILE)],
            captions=[caption(HOSTILE[n % len(HOSTILE)], producer=HOSTILE[n % 4], kind=HOSTILE[n % 2], license=None)],
        )
        for n, data in enumerate(pictures.values())
    ]
    sources = [
        source(
            text,
            HOSTILE[0],
            title=text,
            homepage="javascript:alert(1)",
            license=text,
            license_url=f"https://e.example/>{text}",
            citation=text,
        )
        for text in HOSTILE[:3]
    ]
    failures = [
        {"source": HOSTILE[0], "source_key": t, "collection": t, "reason": t, "detail": t, "attempts": 1}
        for t in HOSTILE
    ]
    recipe = (
        RECIPE + "\n# " + "```\n# ".join(" ".join(t.split()) for t in HOSTILE if "\x00" not in t) + "\n# </details>\n"
    )
    plan = Plan(rows=rows, sources=sources, failures=failures, recipe=recipe)
    return write_lake(tmp_path_factory.mktemp("hostile") / "lake", plan)


@pytest.fixture
def lake_of(tmp_path: Path) -> Callable[[Plan], Lake]:
    """``lake_of(plan)``: its lake, open; close it after."""

    def make(plan: Plan) -> Lake:
        return Lake.open(write_lake(tmp_path / "lake", plan))

    return make
