"""The released captions: which picture a path means, what is told of those that lack, and a rerun that adds nothing."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.released_captions import ReleasedCounts, join_released
from captionlake.lake.sources.sharegpt4v import SHAREGPT4V, place_of

TEACHER = "sharegpt4v_instruct_gpt4-vision_cap100k.json"
CAPTIONER = "share-captioner_coco_lcs_sam_1246k_1107.json"
NOW = datetime(2024, 5, 17, tzinfo=UTC)


def picture(source: str, key: str, collection: str, **more: Any) -> dict[str, Any]:
    """A row of images; no bytes lie behind it, as the join reads none."""
    image_id = hashlib.sha256(more.pop("data", f"{source}:{key}").encode()).hexdigest()
    return {
        "source": source, "source_key": key, "collection": collection, "subset": None, "image_id": image_id, "url": None,
        "archive": None, "member": None, "width": 1, "height": 1, "format": "JPEG", "orientation": 1, "n_bytes": 1,
        "phash": 0, "shard": "none", "row": 0, "offset": 0, "meta": "{}", "ingested_at": NOW,
    } | more  # fmt: skip


def add(lake: Lake, *rows: dict[str, Any]) -> None:
    lake.append("images", pa.Table.from_pylist(list(rows)), ["source", "source_key"])


def failed(lake: Lake, source: str, key: str, collection: str, reason: str) -> None:
    row = {
        "source": source,
        "source_key": key,
        "collection": collection,
        "reason": reason,
        "attempts": 1,
        "failed_at": NOW,
    }
    lake.append("fetch_failures", pa.Table.from_pylist([row]), ["source", "source_key"])


def row(image: Any, text: Any = None, **more: Any) -> dict[str, Any]:
    turns = [{"from": "human", "value": "<image>\nDescribe."}, {"from": "gpt", "value": text or f"A picture, {image}."}]
    return {"id": Path(str(image)).stem, "image": image, "conversations": turns} | more


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text(json.dumps(rows))
    return path


def join(lake: Lake, *paths: Path, limit: int | None = None) -> ReleasedCounts:
    config = IngestConfig(source="sharegpt4v", inputs=[str(path) for path in paths], limit=limit)
    with lake.staging("test") as staging:
        counts = join_released(lake, config, staging)
    assert counts.listed == counts.matched + counts.unmatched
    assert counts.matched == counts.captions + counts.repeated == sum(counts.found.values())
    assert counts.unmatched == sum(n for whys in counts.reasons.values() for n in whys.values())
    return counts


def captions(lake: Lake) -> dict[str, tuple[str, str]]:
    return {
        text: (source, key)
        for text, source, key in lake.rows("SELECT text, source, source_key FROM captions WHERE producer <> 'source'")
    }


def failures(lake: Lake) -> dict[str, tuple[str, str]]:
    query = "SELECT source_key, reason, detail FROM fetch_failures WHERE source = 'sharegpt4v'"
    return {key: (reason, detail) for key, reason, detail in lake.rows(query)}


def test_each_collection_is_found_by_its_path(lake: Lake, tmp_path: Path) -> None:
    paths = {
        "coco/train2017/000000000009.jpg": picture("coco", "000000000009.jpg", "coco"),
        "coco/train2017/000000000025.jpg": picture("coco", "COCO_train2014_000000000025.jpg", "coco"),
        "llava/llava_pretrain/images/00453/004539375.jpg": picture("llava558k", "00453/004539375.jpg", "lcs"),
        "sam/images/sa_1.jpg": picture("sam", "sa_1.jpg", "sam"),
        "share_textvqa/images/0004c9478eeda995.jpg": picture("textcaps", "0004c9478eeda995", "textcaps"),
        "wikiart/images/vincent-van-gogh_wheat-1889.jpg": picture(
            "wikiart", "Realism/vincent-van-gogh_wheat-1889.jpg", "wikiart"
        ),
        "web-celebrity/images/Ada Lovelace.jpg": picture(
            "web", "https://a.invalid/1.jpg", "web", subset="celebrity", meta='{"name": "ada lovelace"}'
        ),
        "web-landmark/images/Eiffel_Tower.png": picture(
            "web", "https://a.invalid/x/Eiffel%5FTower.jpeg?size=2", "web", subset="landmark"
        ),
        "web-landmark/images/bridge.jpg": picture(
            "web-x", "7", "web", archive="web.zip", member="pictures/bridge.webp"
        ),
    }
    add(lake, *paths.values())
    counts = join(lake, write(tmp_path / TEACHER, [row(path) for path in paths]))
    assert counts.captions == len(paths) and failures(lake) == {}
    assert captions(lake) == {f"A picture, {path}.": (p["source"], p["source_key"]) for path, p in paths.items()}
    assert counts.found == {"coco": 2, "lcs": 1, "sam": 1, "textcaps": 1, "web": 3, "wikiart": 1}
    found = lake.rows(
        "SELECT DISTINCT kind, producer, license, prompt_id, chars = length(text), words > 2 FROM captions"
    )
    assert found == [("teacher", "gpt4-vision", "CC-BY-NC-4.0", None, True, True)]
    wrong = lake.value("SELECT count(*) FROM captions c ANTI JOIN images i USING (source, source_key, image_id)")
    assert wrong == 0
    params = json.loads(lake.value("SELECT params FROM captions WHERE source = 'sam'"))
    assert params == {"origin": TEACHER, "id": "sa_1"}


def test_what_does_not_match_is_told_and_leaves_when_it_does(lake: Lake, tmp_path: Path) -> None:
    add(lake, picture("sam", "sa_1.jpg", "sam"), picture("sam", "sa_4.jpg", "sam"))
    failed(lake, "sam", "sa_2.jpg", "sam", "timeout")
    path = write(tmp_path / CAPTIONER, [row(f"sam/images/sa_{n}.jpg") for n in (1, 2, 3)])
    counts = join(lake, path)
    assert counts.reasons == {"sam": {"not_in_lake": 1, "timeout": 1}}
    assert failures(lake) == {
        "sam/images/sa_2.jpg": ("missing_member", "sam:sa_2.jpg failed: timeout"),
        "sam/images/sa_3.jpg": ("missing_member", "not in the lake"),
    }
    before = lake.rows("SELECT * FROM captions ORDER BY ALL"), lake.rows("SELECT * FROM fetch_failures ORDER BY ALL")
    again = join(lake, path)
    assert (again.captions, again.repeated, again.failures) == (0, 1, 0)
    after = lake.rows("SELECT * FROM captions ORDER BY ALL"), lake.rows("SELECT * FROM fetch_failures ORDER BY ALL")
    assert before == after
    add(lake, picture("sam", "sa_2.jpg", "sam"), picture("sam", "sa_3.jpg", "sam"))
    last = join(lake, path)
    assert (last.captions, last.repeated, last.unmatched, failures(lake)) == (2, 1, 0, {})
    assert lake.rows("SELECT DISTINCT kind, producer FROM captions") == [("captioner", "share-captioner")]


def test_a_name_of_several_pictures_is_reported_and_not_guessed(lake: Lake, tmp_path: Path) -> None:
    same = {"data": "the same bytes"}
    add(
        lake,
        picture("wikiart", "Realism/a_b-1889.jpg", "wikiart"),
        picture("wikiart", "Cubism/a_b-1889.jpg", "wikiart"),
        picture("wikiart", "Realism/c_d.jpg", "wikiart", **same),
        picture("wikiart", "Cubism/c_d.jpg", "wikiart", **same),
        picture("web", "https://a.invalid/who.jpg", "web", subset="landmark"),
    )
    rows = [row(f"wikiart/images/{name}.jpg") for name in ("a_b-1889", "c_d")] + [row("web-celebrity/images/who.jpg")]
    counts = join(lake, write(tmp_path / TEACHER, rows))
    assert (counts.ambiguous, counts.captions, counts.unmatched) == (1, 1, 2)
    assert captions(lake) == {"A picture, wikiart/images/c_d.jpg.": ("wikiart", "Cubism/c_d.jpg")}
    reason, detail = failures(lake)["wikiart/images/a_b-1889.jpg"]
    assert reason == "missing_member" and detail == (
        "2 different pictures have this name: wikiart:Cubism/a_b-1889.jpg, wikiart:Realism/a_b-1889.jpg"
    )
    assert failures(lake)["web-celebrity/images/who.jpg"] == ("missing_member", "not in the lake")


def test_names_of_links_in_the_large_lists_are_no_match(lake: Lake, tmp_path: Path) -> None:
    add(lake, picture("laion", "https://a.invalid/004539375.jpg", "lcs"), picture("coco-x", "sa_1.jpg", "mine"))
    rows = [row("llava/llava_pretrain/images/00453/004539375.jpg"), row("sam/images/sa_1.jpg")]
    assert join(lake, write(tmp_path / TEACHER, rows)).matched == 0


def test_rows_that_cannot_be_used(lake: Lake, tmp_path: Path) -> None:
    add(lake, picture("sam", "sa_1.jpg", "sam"))
    rows: list[Any] = [row("sam/images/sa_1.jpg") for _ in range(90)]
    rows += [
        7,
        row(None),
        row("vg/VG_100K/1.jpg"),
        row("sam/images/sa_2.jpg", conversations=[]),
        row(["x"]),
        row("sam/images/"),
    ]
    counts = join(lake, write(tmp_path / TEACHER, rows))
    assert (counts.matched, counts.captions, counts.repeated, counts.bad) == (90, 1, 89, 6)
    found = failures(lake)
    assert {reason for reason, _ in found.values()} == {"bad_row"}
    assert set(found) == {f"{TEACHER}#{n}" for n in (91, 92, 95)} | {
        "vg/VG_100K/1.jpg",
        "sam/images/sa_2.jpg",
        "sam/images/",
    }
    assert found["vg/VG_100K/1.jpg"][1] == f"{TEACHER}, row 93: no known collection: vg/VG_100K/1.jpg"


def test_two_files_and_hostile_texts(lake: Lake, tmp_path: Path) -> None:
    add(lake, picture("sam", "sa_1.jpg", "sam"))
    texts = ["'); DROP TABLE captions; --", "nul \x00 bell \x07", "é 東京 🐕 \ud800", "w " * 500_000]
    one = write(tmp_path / TEACHER, [row("sam/images/sa_1.jpg", text) for text in texts])
    two = write(tmp_path / CAPTIONER, [row("sam/images/sa_1.jpg", texts[0])])
    counts = join(lake, one, two)
    assert (counts.listed, counts.captions) == (5, 5)
    found = lake.rows("SELECT producer, text, chars, words FROM captions ORDER BY producer, chars")
    assert [text for producer, text, _, _ in found if producer == "gpt4-vision"] == [
        "é 東京 🐕 ?", "nul  bell \x07", texts[0], texts[3].strip()
    ]  # fmt: skip
    assert all(chars == len(text) for _, text, chars, _ in found) and found[3][3] == 500_000
    assert join(lake, one, two).captions == 0
    assert join(lake, one, limit=2).listed == 2


def test_mixes_and_files_of_others_are_refused(lake: Lake, tmp_path: Path) -> None:
    turns = row("x")["conversations"]
    mix = [
        row("coco/train2017/1.jpg", conversations=turns * 3),
        {"id": "a", "conversations": turns},
        row("sam/images/sa_1.jpg"),
    ]
    cases = {
        "sharegpt4v_mix665k_cap23k_coco-ap9k_lcs3k_sam9k_div2k.json": (
            mix, r"holds conversations, not one caption an image \(2 of the first 3 rows"
        ),
        "captions.json": ([row("sam/images/sa_1.jpg")], "does not tell who wrote the captions"),
        TEACHER: ([], "has no captions of images"),
        CAPTIONER: ([{"id": "1", "image": "a.jpg", "blip_caption": "x", "url": "y"}], "it looks like LLaVA's blip"),
    }  # fmt: skip
    for name, (rows, said) in cases.items():
        with pytest.raises(CaptionlakeError, match=said) as caught:
            join(lake, write(tmp_path / name, rows))
        assert name in str(caught.value) and "\n" not in str(caught.value)
    path = tmp_path / TEACHER
    path.write_text(json.dumps([row(f"sam/images/sa_{n}.jpg") for n in range(9)])[:-40])
    with pytest.raises(CaptionlakeError, match="cut off after 8 items"):
        join(lake, path)
    with pytest.raises(CaptionlakeError, match="captions and no pictures"):
        SHAREGPT4V.read(IngestConfig(source="sharegpt4v", inputs=[str(path)]))
    assert lake.value("SELECT (SELECT count(*) FROM captions) + (SELECT count(*) FROM fetch_failures)") == 0


def test_an_independent_reader_takes_the_sample(tmp_path: Path) -> None:
    path = write(tmp_path / TEACHER, [row(f"sam/images/sa_{n}.jpg") for n in range(4)])
    found = datasets.load_dataset("json", data_files=str(path), cache_dir=str(tmp_path / "hf"))["train"]
    assert found.num_rows == 4 and set(found.column_names) == {"id", "image", "conversations"}


@pytest.mark.parametrize("image", ["", "coco", "coco/", "/coco/train2017/1.jpg", "gqa/images/1.jpg", "COCO/1.jpg"])
def test_paths_of_no_known_collection(image: str) -> None:
    assert place_of(image) is None
