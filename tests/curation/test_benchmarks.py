"""Benchmarks' files as published are told apart and read; what is broken in them is an item with a reason."""

import ast
import base64
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from captionlake.curation.benchmark_pictures import BenchmarkPictures, read_pictures
from captionlake.curation.benchmarks import Benchmark, Item, benchmarks_in
from captionlake.errors import CaptionlakeError

from ..official import benchmarks as official

Writer = Callable[[Path, dict[str, bytes]], Path]


@pytest.fixture(scope="session")
def pictures(photographs: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in photographs.items() if name.endswith("full")}


def only(path: Path, name: str | None = None) -> Benchmark:
    (benchmark,) = benchmarks_in(path, name)
    return benchmark


def items(path: Path) -> dict[str, Item]:
    found = list(only(path).items())
    assert len({item.name for item in found}) == len(found)
    return {item.name: item for item in found}


def read(path: Path) -> BenchmarkPictures:
    return read_pictures(only(path), None)


def reasons(path: Path) -> dict[str, str]:
    return {unread.item: unread.reason for unread in read(path).unread}


@pytest.mark.parametrize(
    ("writer", "name", "shown", "unread"),
    [
        (official.mme, "mme", 1, 0),
        (official.mmbench, "mmbench", 2, 0),
        (official.seed_bench, "seed-bench", 2, 1),
        (official.mm_vet, "mm-vet", 1, 0),
        (official.llava_wild, "llava-bench-in-the-wild", 2, 0),
    ],
)
def test_each_form_is_told_by_its_content_and_read_whole(
    tmp_path: Path, pictures: dict[str, bytes], writer: Writer, name: str, shown: int, unread: int
) -> None:
    root = writer(tmp_path / "MMBench_DEV_EN.tsv" if name == "mmbench" else tmp_path / "files", pictures)
    for place in {root, root.parent} if root.is_file() else {root}:
        assert only(place).name == name
        found = read(place)
        assert len(found.sha256) == len(pictures)
        assert len(found.items) == shown * len(pictures)
        assert {found.sha256[at] for _, at in found.items} == set(found.sha256)
        assert len(found.unread) == unread
    assert only(root, "mine").name == "mine"


def test_items_are_named_by_file_and_row(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    assert "existence/astronaut-full.jpg" in items(official.mme(tmp_path / "MME", pictures))
    table = official.mmbench(tmp_path / "mmbench_dev.tsv", pictures)
    assert {"mmbench_dev.tsv:index 241", "mmbench_dev.tsv:index 1000241"} <= items(table).keys()
    assert "SEED-Bench.json:question_id 101000" in items(official.seed_bench(tmp_path / "seed", pictures))
    assert "mm-vet.json:v1_0" in items(official.mm_vet(tmp_path / "vet", pictures))
    assert "questions.jsonl:question_id 0" in items(official.llava_wild(tmp_path / "wild", pictures))


def test_mmbench_reads_as_pandas_does(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    path = official.mmbench(tmp_path / "mmbench.tsv", pictures)
    table = pd.read_csv(path, sep="\t")
    images = dict(zip(table["index"].astype(str), table["image"].astype(str), strict=True))
    whole = {index: images[image] if len(image) <= 64 else image for index, image in images.items()}
    expected = {f"mmbench.tsv:index {index}": base64.b64decode(image) for index, image in whole.items()}
    found = items(path)
    shown = {name: found[item.same_as or name].data for name, item in found.items()}
    assert shown == expected


def test_pictures_are_found_in_zips_too(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    loose = official.seed_bench(tmp_path / "loose", pictures)
    packed = tmp_path / "packed"
    packed.mkdir()
    (packed / "SEED-Bench.json").write_bytes((loose / "SEED-Bench.json").read_bytes())
    with zipfile.ZipFile(packed / "SEED-Bench-image.zip", "w") as archive:
        for path in sorted((loose / "SEED-Bench-image").iterdir()):
            archive.write(path, f"SEED-Bench-image/{path.name}")
    assert read(packed).items == read(loose).items
    assert len(read(packed).items) == 2 * len(pictures)


def test_a_folder_of_no_known_form_is_read_as_pictures_and_says_so(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    for name, data in pictures.items():
        (tmp_path / "held out" / name[0]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "held out" / name[0] / f"{name}.jpg").write_bytes(data)
    (tmp_path / "held out" / "readme.md").write_text("# Pictures")
    benchmark = only(tmp_path / "held out")
    assert benchmark.name == "held out"
    assert benchmark.note == "no benchmark's form was found: read as a folder of pictures; 1 other files were not read"
    assert "a/astronaut-full.jpg" in items(tmp_path / "held out")


def test_several_benchmarks_in_one_folder(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    official.seed_bench(tmp_path, pictures)
    official.mmbench(tmp_path / "CCBench.tsv", pictures)
    assert sorted(benchmark.name for benchmark in benchmarks_in(tmp_path)) == ["ccbench", "seed-bench"]
    with pytest.raises(CaptionlakeError, match="several benchmarks"):
        benchmarks_in(tmp_path, "mine")


def test_llavas_list_beside_another_benchmark_is_not_a_second_one(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    official.mme(tmp_path, pictures)
    (tmp_path / "llava_mme.jsonl").write_text(
        json.dumps({"question_id": "existence/a.png", "image": "existence/a.png", "text": "Is there a cat?"}) + "\n"
    )
    assert only(tmp_path).name == "mme"


def test_broken_rows_of_a_tsv_are_told_and_the_others_read(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    good = [base64.b64encode(data) for data in pictures.values()]
    rows = [
        b"index\tquestion\timage",
        b"1\tfine\t" + good[0],
        b"2\ttoo few",
        b"3\tno picture\t"
        + base64.b64encode(b"this is no picture, but a text that is long enough to be taken for one"),
        b"4\tno base64\t" + b"!" * 80,
        b"5\tempty\t",
        b"6\tpoints nowhere\t77",
        b"7\tpoints at a broken one\t4",
        b"\tno index\t" + good[1],
        b"8\tnot UTF-8: \xff\xfe\t" + good[1],
        b"9\tthe same\t1",
        b"10\tcut off\t" + good[2][: len(good[2]) // 8 * 4],
        b'11\t"a quote that does not end\t' + good[3],
    ]
    path = tmp_path / "mmbench.tsv"
    path.write_bytes(b"\n".join(rows) + b"\n")
    found = read(path)
    assert {name.partition(":")[2] for name, _ in found.items} == {"index 1", "index 8", "index 9"}
    assert len(found.sha256) == 2
    assert {name.partition(":")[2]: reason for name, reason in reasons(path).items()} == {
        "line 3": "bad_row",
        "index 3": "not_an_image",
        "index 4": "bad_row",
        "index 5": "bad_row",
        "index 6": "missing_member",
        "index 7": "missing_member",
        "line 9": "bad_row",
        "index 10": "truncated",
        "line 13": "bad_row",
    }


def test_two_rows_of_one_index_are_both_items(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    one, two, *_ = (base64.b64encode(data).decode() for data in pictures.values())
    (tmp_path / "a.tsv").write_text(f"index\timage\n1\t{one}\n1\t{two}\n2\t1\n")
    found = read(tmp_path / "a.tsv")
    assert found.items == [("a.tsv:index 1", 0), ("a.tsv:index 1", 1), ("a.tsv:index 2", 0)]


def test_missing_and_hostile_names_in_lists(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    root = official.mm_vet(tmp_path / "vet", pictures)
    (tmp_path / "secret.png").write_bytes(next(iter(pictures.values())))
    samples = json.loads((root / "mm-vet.json").read_text())
    samples |= {
        "gone": {"imagename": "gone.png"},
        "climbs": {"imagename": "../secret.png"},
        "absolute": {"imagename": str(tmp_path / "secret.png")},
        "odd": {"imagename": ["list"]},
        "none": 7,
        "half \ud800 \0 of a pair": {"imagename": "v1_0.png"},
        "<script>": {"imagename": "<b>.png"},
    }
    (root / "mm-vet.json").write_text(json.dumps(samples))
    assert reasons(root) == {
        "mm-vet.json:gone": "missing_member",
        "mm-vet.json:climbs": "missing_member",
        "mm-vet.json:absolute": "missing_member",
        "mm-vet.json:odd": "bad_row",
        "mm-vet.json:none": "bad_row",
        "mm-vet.json:<script>": "missing_member",
    }
    assert any("half" in name for name, _ in read(root).items)


def test_broken_lines_of_questions(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    root = official.llava_wild(tmp_path / "wild", pictures)
    with (root / "questions.jsonl").open("ab") as file:
        file.write(b'{"question_id": 900\n\n[1]\n{"question_id": 901, "text": "no image"}\n{"image": "\xff.jpg"}\n')
        file.write(b'{"question_id": 902, "image": "nowhere.jpg", "text": "x"}\n' + b"[" * 100_000 + b"\n")
    found = {name.partition(":")[2]: reason for name, reason in reasons(root).items()}
    last = 2 * len(pictures)
    assert found == {
        f"line {last + 1}": "bad_row",
        f"line {last + 3}": "bad_row",
        "question_id 901": "bad_row",
        f"line {last + 5}": "bad_row",
        "question_id 902": "missing_member",
        f"line {last + 7}": "bad_row",
    }


def test_questions_of_mme_without_their_picture(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    root = official.mme(tmp_path / "MME", pictures)
    (root / "existence" / "astronaut-full.jpg").unlink()
    (root / "existence" / "notes.txt").write_text("not a question\n")
    (root / "existence" / "broken.jpg").write_bytes(b"<html>")
    assert reasons(root) == {"existence/astronaut-full.txt": "missing_member", "existence/broken.jpg": "not_an_image"}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("SEED-Bench.json", b'{"questions": [{"data_id": "a"}, {"data_', "cut off"),
        ("mm-vet.json", b'{"v1": {"imagename": "a.png"', "not JSON"),
        ("mm-vet.json", b'["imagename", "\xff"]', "not JSON in UTF-8"),
        ("x.tsv", "index\timage\n".encode("utf-16"), "UTF-16"),
        ("questions.jsonl", b'{"question_id": 1, "image": "a", "text": "' + b"x" * (17 << 20), "longer than 16 MB"),
    ],
)
def test_a_file_that_is_not_whole_is_one_line(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CaptionlakeError, match=said) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def test_paths_that_are_nothing(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", Path("a\0b"), Path("x" * 5000)):
        with pytest.raises(CaptionlakeError):
            benchmarks_in(path)
    (tmp_path / "words.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(CaptionlakeError, match="no columns index and image"):
        benchmarks_in(tmp_path / "words.tsv")


def test_lists_of_pictures_evaluated_as_text_stay_text(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    """Some TSVs of this form hold several pictures in a cell, as the text of a Python list: told, not evaluated."""
    several = str([base64.b64encode(data).decode() for data in pictures.values()])
    assert isinstance(ast.literal_eval(several), list)
    (tmp_path / "many.tsv").write_text(f'index\timage\n1\t"{several}"\n')
    assert reasons(tmp_path / "many.tsv") == {"many.tsv:index 1": "bad_row"}
