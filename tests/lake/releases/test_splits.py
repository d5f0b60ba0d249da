"""Splits by hash: the same in Python and in SQL, of the right size, and a row stays where it is while the lake grows."""

import hashlib
import json
import math
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from captionlake.lake import Lake
from captionlake.lake.releases.config import ReleaseConfig
from captionlake.lake.releases.splits import split_of, split_sql
from captionlake.lake.releases.verification import verify_release
from captionlake.lake.sft.importing import import_conversations
from captionlake.lake.sft.sft_release import SftDraft, create_sft_release
from captionlake.pipeline import run
from captionlake.recipe import load_recipe

THREE = {"train": 0.5, "validation": 0.25, "test": 0.25}
KEYS = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(20_000)]


@st.composite
def splits(draw: st.DrawFn) -> dict[str, float]:
    parts = draw(st.lists(st.integers(1, 1000), min_size=1, max_size=5))
    return {f"split_{number}": part / sum(parts) for number, part in enumerate(parts)}


@given(splits(), st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1))
def test_sql_and_python_agree(made: dict[str, float], keys: list[str]) -> None:
    assert ReleaseConfig(name="a", version="1.0.0", splits=made).splits == made
    query = f"SELECT {split_sql('key', made)} FROM (SELECT unnest(?::VARCHAR[]) AS key)"
    assert [split for (split,) in duckdb.execute(query, [keys]).fetchall()] == [split_of(key, made) for key in keys]


def test_the_formula_is_what_the_documentation_says() -> None:
    for key in KEYS[:500]:
        share = int(hashlib.sha256(f"captionlake split:{key}".encode()).hexdigest()[:13], 16) / 16**13
        assert split_of(key, THREE) == ("train" if share < 0.5 else "validation" if share < 0.75 else "test")


@pytest.mark.parametrize("made", [THREE, {"train": 0.98, "validation": 0.01, "test": 0.01}, {"a": 1 / 3, "b": 2 / 3}])
def test_each_split_has_its_share(made: dict[str, float]) -> None:
    query = f"SELECT {split_sql('key', made)}, count(*) FROM (SELECT unnest(?::VARCHAR[]) AS key) GROUP BY ALL"
    found = dict(duckdb.execute(query, [KEYS]).fetchall())
    for name, share in made.items():
        assert abs(found[name] - share * len(KEYS)) < 5 * math.sqrt(len(KEYS) * share * (1 - share))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({}, "add up to 1, not 0"),
        ({"train": 0.9}, "add up to 1, not 0.9"),
        ({"train": 0.9, "test": 0.2}, "add up to 1"),
        ({"train": 1.0, "test": 0.0}, "`test` must be a fraction above 0"),
        ({"train": float("nan")}, "fraction above 0"),
        ({"train": 1.5, "test": -0.5}, "fraction above 0"),
        ({"all": 1.0}, "`all` is no name"),
        ({"a/b": 1.0}, "no name of a split"),
        ({"a-b": 1.0}, "no name of a split"),
        ({"": 1.0}, "no name of a split"),
        ({"Test": 0.5, "test": 0.5}, "capitals alone"),
    ],
)
def test_other_splits_are_refused(made: dict[str, float], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ReleaseConfig(name="a", version="1.0.0", splits=made)


def released(folder: Path, lake: str, version: str, pictures: list[Path]) -> dict[str, list[tuple[str, str]]]:
    """(image_id, split) by source_key, of a release of these folders with the same bytes kept."""
    recipe = folder / f"{version}.toml"
    ingests = "".join(
        f'[[ingest]]\nsource = "folder"\ninputs = ["{path}"]\ncollection = "{path.name}"\n' for path in pictures
    )
    recipe.write_text(
        f'lake = "{lake}"\n{ingests}[select]\nduplicates = "keep"\n[caption]\ncaptioner = "source"\n[release]\nname = "a"\n'
        f'version = "{version}"\nsplits = {{ train = 0.5, validation = 0.25, test = 0.25 }}\n'
    )
    run(load_recipe(recipe))
    with Lake.open(folder / lake) as opened:
        assert verify_release(opened, f"a@{version}").n_problems == 0
        rows = opened.rows("SELECT source_key, image_id, split FROM release_items WHERE version = ?", [version])
    found: dict[str, list[tuple[str, str]]] = {}
    for key, *told in rows:
        found.setdefault(key, []).append((told[0], told[1]))
    return found


def test_a_row_stays_in_its_split_while_the_lake_grows(tmp_path: Path, tile_folder: Callable[[int], Path]) -> None:
    tiles = tile_folder(60)
    lines = (tiles / "metadata.csv").read_text().splitlines()
    folders = []
    for name, few in (("one", range(30)), ("two", range(20, 60))):  # ten pictures in both
        folders.append(tmp_path / name)
        folders[-1].mkdir()
        for number in few:
            shutil.copy(tiles / f"{number:05d}.jpg", folders[-1])
        (folders[-1] / "metadata.csv").write_text("\n".join([lines[0], *(lines[number + 1] for number in few)]) + "\n")
    first = released(tmp_path, "lake", "1.0.0", folders[:1])
    second = released(tmp_path, "lake", "1.1.0", folders)
    assert len(first) == 30 and sum(map(len, second.values())) == 70
    assert all(told[0] in second[key] for key, told in first.items())
    by_bytes: dict[str, set[str]] = {}
    for image_id, split in (one for told in second.values() for one in told):
        by_bytes.setdefault(image_id, set()).add(split)
        assert split == split_of(image_id, THREE)
    assert len(by_bytes) == 60 and all(len(found) == 1 for found in by_bytes.values())
    assert len(Counter(split for found in by_bytes.values() for split in found)) == 3


def test_conversations_go_by_their_picture_else_by_their_record(lake: Lake, tmp_path: Path) -> None:
    rows = [
        {"id": f"t{number}", "conversations": [{"from": "human", "value": "Count."}, {"from": "gpt", "value": "1, 2"}]}
        for number in range(40)
    ]
    (tmp_path / "mix.json").write_text(json.dumps(rows))
    import_conversations(lake, tmp_path / "mix.json")
    ids = [hashlib.sha256(bytes([number])).hexdigest() for number in range(10)]
    lake.commit(
        lambda connection: connection.execute(
            "INSERT INTO images (source, source_key, collection, image_id, width, height, format, orientation, n_bytes, phash, shard, "
            "\"row\", \"offset\", ingested_at) SELECT 's', id, 's', id, 1, 1, 'JPEG', 1, 1, 0, 'none', 0, 0, now() "
            "FROM (SELECT unnest(?::VARCHAR[]) AS id)",
            [ids],
        )
    )
    link = (  # two rows each
        "UPDATE conversations SET image_ids = [(?::VARCHAR[])[(split_part(origin, ':', 2)::INTEGER + 1) // 2]] "
        "WHERE split_part(origin, ':', 2)::INTEGER <= 20"
    )
    lake.commit(lambda connection: connection.execute(link, [ids]))
    items = lake.arrow(
        "SELECT split_part(origin, ':', 2)::BIGINT - 1 AS position, conversation_id FROM conversations ORDER BY 1"
    )
    config = ReleaseConfig(name="mix", version="1.0.0", splits=THREE)
    create_sft_release(lake, SftDraft(config=config, recipe="", snapshot=lake.snapshot(), items=items))
    found = lake.rows("SELECT position, image_id, split FROM release_items ORDER BY position")
    for position, image_id, split in found:
        key = image_id or json.dumps(rows[position], separators=(",", ":"))
        assert split == split_of(key, THREE)
    assert [image_id for _, image_id, _ in found[:20:2]] == ids == [image_id for _, image_id, _ in found[1:20:2]]
    assert {split for _, _, split in found[20:]} == set(THREE)
    assert verify_release(lake, "mix@1.0.0", pictures=False).n_problems == 0
