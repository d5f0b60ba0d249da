"""What is refused before anything is sent: layouts of Parquet, licences in the files as written, names; and what a plan says."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionlake.cards.publishing import preflight
from captionlake.cards.publishing.hub import RemoteFile
from captionlake.cards.publishing.plan import KEPT, LocalFile, difference, local_files
from captionlake.cards.publishing.standing import replaces, same_content
from captionlake.lake import Lake
from captionlake.lake.exports.forms import export_release


@pytest.fixture(scope="module")
def exported(sealed_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release with the pictures of all sources, as it must not be published."""
    folder = tmp_path_factory.mktemp("exported") / "own"
    with Lake.open(sealed_lake) as lake:
        export_release(lake, "small@1.0.0", "parquet", folder, own_use=True, note=False)
    return folder


def test_bytes_and_urls_that_may_not_be_passed_on_are_found(sealed_lake: Path, exported: Path, tmp_path: Path) -> None:
    files = local_files(exported)
    with Lake.open(sealed_lake) as lake:
        problems = preflight.licence_problems(lake, files)
        assert problems == [
            "data/train-00000-of-00001.parquet holds the bytes of 2 pictures whose source does not allow it"
        ]
        table = pq.read_table(exported / "data/train-00000-of-00001.parquet").drop_columns("image")
        none = pa.nulls(len(table), pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
        leak = table.append_column("image", none)
        leak = leak.set_column(
            leak.schema.get_field_index("url"), "url", pa.array(["http://example.org/x"] * len(leak))
        )
        leak = leak.set_column(leak.schema.get_field_index("source"), "source", pa.array(["unheard of"] * len(leak)))
        pq.write_table(leak, tmp_path / "leak.parquet")
        assert preflight.licence_problems(lake, local_files(tmp_path)) == [
            "leak.parquet holds URLs whose source allows none"
        ]


def test_pictures_of_conversations_that_may_not_be_passed_on_are_found(sealed_lake: Path, tmp_path: Path) -> None:
    kinds = pa.schema(
        [
            ("pictures", pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))),
            ("picture_ids", pa.list_(pa.string())),
        ]
    )
    with Lake.open(sealed_lake) as lake:
        query = "SELECT image_id FROM images JOIN sources USING (source) WHERE (redistribute = 'bytes') = ? ORDER BY 1"
        ours, theirs = (lake.rows(query, [right])[0][0] for right in (True, False))
        own = {"bytes": b"x", "path": "x"}
        for ids, wrong in (([ours], 0), ([ours, theirs], 1), (["f" * 64], 1)):
            rows = [{"pictures": [own] * len(ids), "picture_ids": ids}, {"pictures": [None], "picture_ids": [theirs]}]
            pq.write_table(pa.Table.from_pylist(rows, kinds), tmp_path / "talk.parquet")
            found = preflight.licence_problems(lake, local_files(tmp_path))
            assert len(found) == wrong, ids
        passing = lake.value("SELECT min(source) FROM sources WHERE redistribute = 'bytes'")
        told = pa.list_(pa.struct([("source", pa.string()), ("url", pa.string())]))
        for source, url, said in (
            (passing, "http://a/1", []),
            ("unheard of", None, []),
            ("unheard of", "http://a/1", ["talk.parquet holds URLs whose source allows none"]),
        ):
            row = {"pictures": [None], "picture_ids": [ours], "picture_sources": [{"source": source, "url": url}]}
            pq.write_table(
                pa.Table.from_pylist([row], kinds.append(pa.field("picture_sources", told))), tmp_path / "talk.parquet"
            )
            assert preflight.licence_problems(lake, local_files(tmp_path)) == said


def test_layouts_that_the_hub_does_not_like_are_found_together(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert preflight.file_problems(local_files(exported)) == []
    pq.write_table(pa.table({"a": [1] * 1000}), tmp_path / "plain.parquet")  # no page index
    monkeypatch.setattr(preflight, "LARGEST_ROW_GROUP", 10)
    monkeypatch.setattr(preflight, "LARGEST_FILE", 10)
    monkeypatch.setattr(preflight, "MOST_IN_FOLDER", 0)
    monkeypatch.setattr(preflight, "MOST_FILES", 1)
    found = " ".join(preflight.file_problems(local_files(tmp_path)))
    for part in (
        "a repository holds fewer",
        "files in .",
        "the Hub takes 50 GB",
        "has a row group of",
        "has no page index",
        "is not in content-defined chunks",
    ):
        assert part in found


@pytest.mark.parametrize("repo_id", ["", "small", "a/b/c", "-a/b", "a b/c", "a/..", "a/b.git", "x" * 97 + "/a"])
def test_what_is_no_name_of_a_repository(repo_id: str) -> None:
    (problem,) = preflight.name_problems(repo_id, "1.0.0")
    assert "no repository's id" in problem
    assert len(preflight.name_problems(repo_id, "1.0")) == 2, "all at once"


_FILES = st.dictionaries(st.sampled_from([".gitattributes", "README.md", "a/b", "c"]), st.integers(0, 2))


@given(here=_FILES, there=_FILES, large=st.booleans())
def test_a_plan_brings_what_is_there_to_what_is_here(here: dict[str, int], there: dict[str, int], large: bool) -> None:
    here.pop(".gitattributes", None)
    files = [LocalFile(path, Path(path), size, f"sha{size}", f"blob{size}") for path, size in here.items()]
    remote = {p: RemoteFile(p, n, f"blob{n}", f"sha{n}" if large else None) for p, n in there.items()}
    plan = difference(files, remote)
    after = {path: size for path, size in there.items() if path not in plan.gone} | {f.path: f.size for f in plan.new}
    assert {path: size for path, size in after.items() if path not in KEPT} == here
    assert plan.empty == ({path: size for path, size in there.items() if path not in KEPT} == here)
    assert all(there[file.path] == file.size for file in plan.same)


def test_which_content_takes_a_tag() -> None:
    mark = {"kind": "dataset", "name": "a", "version": "1.0.0", "content_sha256": "x", "redacted": 1}
    assert same_content(mark, mark | {"format": 2, "n_items": 3}) and replaces(mark, mark)
    assert replaces(mark, mark | {"redacted": 0}) and not same_content(mark, mark | {"redacted": 0})
    assert not replaces(mark, mark | {"redacted": 2}), "what was taken down does not come back"
    assert not replaces(mark, None) and not same_content(mark, None)
    for key in ("kind", "name", "version", "content_sha256"):
        assert not replaces(mark, mark | {key: "other"}) and not same_content(mark, mark | {key: "other"})
