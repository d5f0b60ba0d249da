"""Recipes: every problem at once, at its line, with the nearest known key; and no text or bytes that get past as a crash."""

import json
import re
import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from captionlake.errors import CaptionlakeError
from captionlake.recipe import load_recipe
from captionlake.recipe_file import RecipeError

# DESIGN's whole example, with every further key.
WHOLE = """\
lake = "lake"

[[ingest]]
source = "coco"
inputs = ["annotations/captions_train2017.json"]
archives = ["train2017.zip"]
subset = "landmark"
collection = "coco"
limit = 1000
allow_private_hosts = false
retry_failed = true
license = "CC-BY-4.0"
license_url = "https://example.org/license"
redistribute = "urls"
title = "A title"
homepage = "https://example.org"
citation = "A citation"
author = "An author"

[ingest.fetch]
processes = 2
threads = 4
per_host = 3
timeout = 5
total_timeout = 20.5
max_bytes = 1000000
max_redirects = 2
retries = 1
user_agent = "test"
use_proxies = false

[embed]
model = "ViT-L-14-336"          # any open_clip model
pretrained = "openai"           # a tag, or a local folder
batch_size = 8
device = "cpu"

[decontaminate]
against = ["held-out", "mmbench.tsv"]
threshold = 0.9
phash_distance = 6

[select]
seed = 0
where = "width >= 224 AND height >= 224"
duplicate_threshold = 0.95
keep_order = ["textcaps", "wikiart", "web", "coco", "sam", "lcs"]
shortfall = "error"             # or "report"

[[select.quota]]
collection = "coco"
count = 50000                   # or "all"
[[select.quota]]
collection = "web"
count = 1000
split = { landmark = 500, celebrity = 500 }

[caption]
captioner = "openai:gpt-4o"     # any OpenAI-compatible endpoint
prompts = "sharegpt4v"
max_cost_usd = 100

[release]
name = "sharegpt4v"
version = "1.0.0"

[card]
output = "../cards/sharegpt4v"
title = "A data set"
language = "en"

[publish]
repo_id = "someone/sharegpt4v"
private = true
gated = "auto"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that ``WHOLE`` names, for recipes to be written into."""
    folder = tmp_path_factory.mktemp("recipes").resolve()
    (folder / "annotations").mkdir()
    (folder / "annotations/captions_train2017.json").write_text("{}")
    (folder / "train2017.zip").write_bytes(b"")
    (folder / "held-out").mkdir()
    (folder / "mmbench.tsv").write_bytes(b"")
    return folder


def problems(folder: Path, content: str | bytes) -> list[str]:
    """The recipe's problems; none where it loads."""
    path = folder / "recipe.toml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    try:
        recipe = load_recipe(path)
    except RecipeError as error:
        assert error.problems
        assert "\n" not in str(error)
        assert str(error).isprintable()
        assert error.lines == [f"{path}: {problem}" for problem in error.problems]
        assert all(problem in str(error) for problem in error.problems)
        return error.problems
    assert recipe.text.encode() == path.read_bytes()
    return []


def test_the_whole_example_is_read(folder: Path) -> None:
    path = folder / "whole.toml"
    path.write_text(WHOLE)
    recipe = load_recipe(path)
    assert (recipe.path, recipe.text, recipe.lake) == (path, WHOLE, folder / "lake")
    (ingest,) = recipe.ingest
    assert ingest.inputs == [str(folder / "annotations/captions_train2017.json")]
    assert ingest.archives == [str(folder / "train2017.zip")]
    assert (ingest.source, ingest.subset, ingest.limit, ingest.redistribute) == ("coco", "landmark", 1000, "urls")
    assert (ingest.fetch.per_host, ingest.fetch.total_timeout, ingest.fetch.user_agent) == (3, 20.5, "test")
    assert recipe.embed is not None and recipe.select is not None
    assert (recipe.embed.model, recipe.embed.pretrained) == ("ViT-L-14-336", "openai")
    assert recipe.decontaminate is not None
    assert recipe.decontaminate.against == (str(folder / "held-out"), str(folder / "mmbench.tsv"))
    assert (recipe.decontaminate.threshold, recipe.decontaminate.phash_distance) == (0.9, 6)
    assert recipe.select.duplicate_threshold == 0.95
    assert recipe.select.keep_order == ("textcaps", "wikiart", "web", "coco", "sam", "lcs")
    assert [(quota.collection, quota.count) for quota in recipe.select.quota] == [("coco", 50000), ("web", 1000)]
    assert recipe.select.quota[1].split == {"landmark": 500, "celebrity": 500}
    assert recipe.caption is not None and recipe.caption.captioner == "openai:gpt-4o"
    assert recipe.release is not None and (recipe.release.name, recipe.release.version) == ("sharegpt4v", "1.0.0")
    assert recipe.card is not None and (recipe.card.title, recipe.card.language) == ("A data set", "en")
    assert recipe.card_folder() == folder.parent / "cards/sharegpt4v"
    assert recipe.publish is not None
    assert (recipe.publish.repo_id, recipe.publish.private, recipe.publish.gated) == (
        "someone/sharegpt4v",
        True,
        "auto",
    )


def test_what_is_wrong_with_the_benchmarks_is_told_at_its_line(folder: Path) -> None:
    text = 'lake = "lake"\n[decontaminate]\nagainst = ["held-out",\n  "nowhere"]\nthreshold = 1.5\nphash_distence = 2\n'
    assert problems(folder, text) == [
        f"line 4: no such file or folder: {folder}/nowhere",
        "line 5: `threshold` in [decontaminate]: should be less than or equal to 1, not 1.5",
        "line 6: unknown key `phash_distence` in [decontaminate], did you mean `phash_distance`?",
    ]
    assert problems(folder, 'lake = "lake"\n[decontaminate]\n') == [
        "line 2: missing key `against` in [decontaminate]",
    ]
    assert len(problems(folder, 'lake = "lake"\n[decontaminate]\nagainst = []\n')) == 1


def test_steps_left_out_are_none(folder: Path) -> None:
    path = folder / "short.toml"
    path.write_text('lake = "../elsewhere"\n[release]\nname = "all"\nversion = "0.1.0-rc.1"\n[card]\n')
    recipe = load_recipe(path)
    assert recipe.lake == folder.parent / "elsewhere"
    assert recipe.ingest == []
    assert (recipe.embed, recipe.select, recipe.caption) == (None, None, None)
    assert recipe.card_folder() == folder.parent / "cards" / "all-0.1.0-rc.1"


def test_a_local_model_folder_is_made_absolute_and_a_tag_is_not(folder: Path) -> None:
    (folder / "weights").mkdir(exist_ok=True)
    for given_name, meant in (("weights", str(folder / "weights")), ("laion2b", "laion2b")):
        path = folder / "embed.toml"
        path.write_text(f'lake = "lake"\nembed = {{ model = "tiny", pretrained = "{given_name}" }}\n')
        recipe = load_recipe(path)
        assert recipe.embed is not None and recipe.embed.pretrained == meant


def test_a_relative_recipe_path_resolves_against_the_working_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "whole.toml").write_text(WHOLE)
    monkeypatch.chdir(folder.parent)
    recipe = load_recipe(Path(folder.name) / "whole.toml")
    assert recipe.lake == folder / "lake"
    assert recipe.ingest[0].archives == [str(folder / "train2017.zip")]


def test_ten_mistakes_are_ten_problems_at_their_lines(folder: Path) -> None:
    recipe = """\
[[ingest]]
source = "cocoo"
inputs = [
    "annotations/captions_train2017.json",
    "annotations/captions_val2017.json",
]
limit = 0

[embed]
model = "ViT-B-32"
pretrained = "openai"

[select]
where = "widht >= 224"
treshold = 0.9
[[select.quota]]
collection = "web"
count = 1000
split = { landmark = 500, celebrity = 400 }

[caption]
captioner = "gpt-4o"

[release]
name = "sharegpt4v"
version = "1.0"

[publish]
repo_id = "sharegpt4v"
gated = "never"
"""
    expected = [
        (1, "missing key `lake`"),
        (2, "unknown source `cocoo`, did you mean `coco`?"),
        (5, f"no such file or folder: {folder}/annotations/captions_val2017.json"),
        (7, "`limit` in [[ingest]]: should be greater than 0, not 0"),
        (14, 'Candidate bindings: "width"'),
        (15, "unknown key `treshold` in [select], did you mean `duplicate_threshold`?"),
        (16, "the split adds up to 900, count is 1000"),
        (22, "`captioner` in [caption]: no such folder"),
        (26, "must be a semantic version"),
        (29, "`repo_id` in [publish]: 'sharegpt4v' is no repository's id"),
        (30, "`gated` in [publish]: should be 'auto' or 'manual'"),
    ]
    found = problems(folder, recipe)
    assert len(found) == len(expected) == 11
    for text, (line, part) in zip(found, expected, strict=True):
        assert text.startswith(f"line {line}: ")
        assert part in text


def test_a_misspelled_key_is_read_as_the_one_meant(folder: Path) -> None:
    assert problems(folder, 'lake = "l"\n[select]\ntreshold = 2\n') == [
        "line 3: unknown key `treshold` in [select], did you mean `duplicate_threshold`?",
        "line 3: `duplicate_threshold` in [select]: should be less than or equal to 1, not 2",
        "line 3: `duplicate_threshold` in [select] needs embeddings: add [embed]",
    ]


@pytest.mark.parametrize(
    ("toml", "line", "part"),
    [
        ('lake = "l"\n[embed]\npretrained = "b"\n', 2, "missing key `model` in [embed]"),
        ('lake = "l"\n\n[[ingest]]\ninputs = ["."]\n', 3, "missing key `source` in [[ingest]]"),
        ('lake = "l"\n[[ingest]]\nsource = "web"\n', 2, "no `inputs` in [[ingest]]: web takes a CSV"),
        (
            'lake = "l"\nselect.quota = [\n  { collection = "a", count = 1 },\n  { colection = "b", count = 1 },\n]\n',
            4,
            "`collection`",
        ),
        (
            'lake = "l"\n[[select.quota]]\ncollection = "a"\ncount = 1\n[[select.quota]]\ncollection = "b"\n',
            5,
            "missing key `count`",
        ),
        (
            'lake = "l"\n[[select.quota]]\ncollection = "a"\ncount = 1\norder = "widht"\n',
            5,
            "`order` in [[select.quota]]",
        ),
        (
            'lake = "l"\n[[select.quota]]\ncollection = "a"\ncount = 1\n[[select.quota.part]]\nwhere = "widht > 1"\ncount = 1\n',
            6,
            "`where` in [[select.quota.part]]",
        ),
        (
            'lake = "l"\n[[select.quota]]\ncollection = "a"\ncount = 1\n[[select.quota.part]]\nsubset = "x"\nwieght = 1\n',
            7,
            "unknown key `wieght` in [[select.quota.part]], did you mean `weight`?",
        ),
        ('lake = "l"\n[select]\norder = "width LIMIT 1"\n', 3, "is not an order"),
        ('lake = "l"\nselect.quota = [ { collection = "a",\n\tcount = 1.5 } ]\n', None, "not TOML"),
        ('lake = "l"\nrelease.name = "a"\n"release"."version" = "1"\n', 3, "semantic version"),
        ('lake = "l"\n[[ingest]]\nsource = "web"\ninputs = ["."]\n[ingest.fetch]\nthread = 2\n', 6, "`threads`"),
        ('lake = "l"\n[[ingest]]\nsource = "web"\ninputs = [".", """\n""", ".",\n "none.csv"]\n', 6, "none.csv"),
        ('lake = "l"\n[select]\nseed = 1\nlimit = 3\n', 4, "unknown key `limit` in [select]: it belongs in [ingest]"),
        (
            '[[ingest]]\nsource = "web"\ninputs = ["."]\nlake = "l"\n',
            4,
            "it belongs at the top, before the first table",
        ),
        ('lake = "l"\n[ingest]\nsource = "web"\ninputs = ["."]\n', 2, "[ingest] should be [[ingest]]"),
        ('lake = "l"\n[[card]]\n[release]\nname = "a"\nversion = "1.0.0"\n', 2, "[[card]] should be [card]"),
        ('lake = "l"\n\n[card]\n', 3, "add [release]"),
        ('lake = "l"\n[select]\nduplicate_threshold = 0.9\n', 3, "add [embed]"),
        ('lake = "l"\n[select]\nduplicate_threshold = nan\nwhere = " "\n', 4, "where is empty"),
        ('lake = "l"\n[select]\nwhere = "1 = 1; DROP TABLE images"\n', 3, "`where` in [select]"),
        ('lake = "l"\n[select]\nwhere = "width >= random() * 9"\n', 3, "another value in each run"),
        ('lake = "l"\n[select]\nseed = "0"\n', 3, 'should be a whole number, not "0"'),
        ('lake = "l"\n[select]\nseed = true\n', 3, "should be a whole number, not true"),
        ('lake = "l"\n[select]\nseed = 1979-05-27\n', 3, "should be a whole number"),
        ('lake = "l"\n[select]\nseed = 0xffffffffffffffff\n', 3, "beyond 64 bits"),
        (f'lake = "l"\n[select]\nseed = {"9" * 5000}\n', 3, "beyond 64 bits"),
        (
            'lake = "l"\n[[ingest]]\nsource = "web"\ninputs = ["."]\nfetch.allow_private_hosts = true\n',
            5,
            "[[ingest]] itself",
        ),
        ('lake = "l"\nlakes = "m"\n', 2, "unknown key `lakes`, did you mean `lake`?"),
        ('lake = "recipe.toml"\n', 1, "is a file"),
        ('lake = ""\n', 1, "path of a folder"),
        ('lake = ["l"]\n', 1, "should be text in quotes"),
        ('lake = "l"\n\nseed = 1\nseed = 2\n', 4, "this key stands twice"),
        ('lake = "l"\nx = [1,\n\n2\n\n\n', 4, "not TOML: unclosed array"),
        ("lake = l\n", 1, "not TOML: invalid value"),
    ],
)
def test_a_mistake_is_told_at_its_line(folder: Path, toml: str, line: int | None, part: str) -> None:
    found = problems(folder, toml)
    assert any(part in text and (line is None or text.startswith(f"line {line}: ")) for text in found), found


def test_a_misspelled_table_is_one_problem_and_what_it_holds_is_checked(folder: Path) -> None:
    toml = 'lake = "l"\n[[ingst]]\nsource = "web"\ninputs = ["."]\nlimt = 0\n[relese]\nname = "a"\nversion = "1.0.0"\n[card]\n'
    assert problems(folder, toml) == [
        "line 2: unknown table [ingst], did you mean `ingest`?",
        "line 5: unknown key `limt` in [[ingest]], did you mean `limit`?",
        "line 5: `limit` in [[ingest]]: should be greater than 0, not 0",
        "line 6: unknown table [relese], did you mean `release`?",
    ]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_byte_order_marks_and_windows_newlines(folder: Path, mark: str, newline: str) -> None:
    assert problems(folder, mark + WHOLE.replace("\n", newline)) == []
    (problem,) = problems(folder, mark + WHOLE.replace("seed", "sead").replace("\n", newline))
    line = WHOLE.split("\n").index("seed = 0") + 1
    assert problem == f"line {line}: unknown key `sead` in [select], did you mean `seed`?"


def test_what_cannot_be_read_is_one_line(folder: Path) -> None:
    for path, part in (
        (folder, "Is a directory"),
        (folder / "none.toml", "No such file"),
        (Path("/dev/zero"), "over 256 KiB"),
        (folder / "a\0b", "null byte"),
    ):
        with pytest.raises(RecipeError, match=part):
            load_recipe(path)
    assert problems(folder, b"lake = 'l'\n# caf\xe9\n") == ["line 2: not UTF-8: save the file as UTF-8"]
    for empty in ("", "\ufeff", " \n\t\n"):
        (problem,) = problems(folder, empty)
        assert problem.startswith("empty: ")


def test_names_of_a_recipe_cannot_write_to_the_terminal_or_flood_it(folder: Path) -> None:
    (escape, long) = problems(folder, f'lake = "l"\n"\\u001b[31m\\u202e" = 1\n"{"x" * 9000}" = 2\n')
    assert escape.startswith(r"line 2: unknown key `\x1b[31m\u202e`")
    assert len(long) < 1000


# A key of WHOLE: the number of its line, where it begins and ends there, and the known keys beside it.
def _key_places() -> list[tuple[int, int, int]]:
    found = []
    for number, line in enumerate(WHOLE.splitlines()):
        header = re.match(r"\[+([a-z_.]+)\]+", line)
        if header:
            spans = [match.span() for match in re.finditer(r"[a-z_]+", header[0])]
        else:
            spans = [match.span() for match in re.finditer(r"^[a-z_]+(?= =)", line)]
        found += [(number, *span) for span in spans]
    return found


KEY_PLACES = _key_places()
KNOWN = {WHOLE.splitlines()[number][start:end] for number, start, end in KEY_PLACES}


def _one_edit_apart(a: str, b: str) -> bool:
    longer, shorter = (a, b) if len(a) >= len(b) else (b, a)
    if len(longer) == len(shorter):
        return sum(x != y for x, y in zip(a, b, strict=True)) <= 1
    return any(longer[:i] + longer[i + 1 :] == shorter for i in range(len(longer)))


def test_the_typos_of_the_next_test_cover_all_keys() -> None:
    assert len(KEY_PLACES) > 50
    assert {"lake", "ingest", "fetch", "per_host", "quota", "split", "captioner", "version", "output"} <= KNOWN


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(KEY_PLACES), edit=st.sampled_from(["drop", "add", "change"]), data=st.data())
def test_a_typo_of_one_letter_is_found_at_its_line_with_the_key_meant(
    folder: Path, place: tuple[int, int, int], edit: str, data: st.DataObject
) -> None:
    number, start, end = place
    lines = WHOLE.splitlines()
    key = lines[number][start:end]
    at = data.draw(st.integers(0, len(key) - (edit != "add")))
    letter = "" if edit == "drop" else data.draw(st.sampled_from(string.ascii_lowercase + "_"))
    typo = key[:at] + letter + key[at + (edit != "add") :]
    assume(typo != key and not any(_one_edit_apart(typo, other) for other in KNOWN - {key}))
    lines[number] = lines[number][:start] + typo + lines[number][end:]
    text = "\n".join(lines).replace("\nwhere = ", "\n# where = ")  # the database need not be asked each time
    line = number + 1
    found = problems(folder, text)
    assert [problem for problem in found if problem.startswith(f"line {line}: unknown ") and f"`{key}`?" in problem], (
        found
    )


WORDS = ["lake", "ingest", "select", "quota", "source", "where", "fetch", "split", "count", "coco", "x", "", "\n", "é"]
SCALARS = st.integers(-(2**70), 2**70) | st.floats() | st.booleans() | st.sampled_from(WORDS) | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3),
    max_leaves=8,
)


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value.encode("utf-8", "replace").decode()).replace("\x7f", "\\u007f")
    return str(value).lower()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from([p for p in KEY_PLACES if "=" in WHOLE.splitlines()[p[0]]]), value=VALUES)
def test_any_value_in_any_key_is_taken_or_told_at_a_line(
    folder: Path, place: tuple[int, int, int], value: object
) -> None:
    lines = WHOLE.splitlines()
    lines[place[0]] = f"{lines[place[0]][place[1] : place[2]]} = {_toml(value)}"
    text = "\n".join(lines).replace('where = "width', '# where = "width')  # the database need not be asked each time
    for problem in problems(folder, text):
        assert re.match(r"line \d+: ", problem)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables=st.dictionaries(st.sampled_from([*WORDS, "embed", "release", "card", "publish"]), VALUES, max_size=4))
def test_any_toml_is_taken_or_told(folder: Path, tables: dict[str, object]) -> None:
    problems(folder, "\n".join(f"{_toml(key)} = {_toml(value)}" for key, value in tables.items()))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(content=b"x = " + b"[" * 5000)
@example(content=b"x" + b".x" * 5000 + b" = 1")
@example(content=b"[x" + b".x" * 5000 + b"]")
@example(content=b"[[x]]\n" * 2000)
@example(content=b'a = "\\ud800"')
def test_any_bytes_are_taken_or_told(folder: Path, content: bytes) -> None:
    problems(folder, content)


@pytest.mark.parametrize(
    "version", ["0.0.0", "1.2.3", "10.20.30", "1.0.0-alpha.1", "1.0.0-0a", "1.0.0+build.7", "1.0.0--x"]
)
def test_semantic_versions_are_taken(folder: Path, version: str) -> None:
    assert problems(folder, f'lake = "l"\nrelease = {{ name = "a", version = "{version}" }}\n') == []


@pytest.mark.parametrize(
    "version", ["", "1", "1.0", "v1.0.0", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0+", "1.0.0\\n", "1.0.٣"]
)
def test_other_versions_are_not(folder: Path, version: str) -> None:
    (problem,) = problems(folder, f'lake = "l"\nrelease = {{ name = "a", version = "{version}" }}\n')
    assert problem.startswith("line 2: `version` in [release]: must be a semantic version")


@pytest.mark.parametrize("name", ["", "A", "a b", "-a", "a@b", "a/b", "../a", "é", "a\\n", "a" * 97])
def test_a_release_is_not_named_so(folder: Path, name: str) -> None:
    (problem,) = problems(folder, f'lake = "l"\nrelease = {{ name = "{name}", version = "1.0.0" }}\n')
    assert problem.startswith("line 2: `name` in [release]: must be")


def test_an_error_of_a_recipe_is_one_of_ours(folder: Path) -> None:
    with pytest.raises(CaptionlakeError, match=r"recipe\.toml: 2 problems: line 1: .*; line 2: ") as raised:
        (folder / "recipe.toml").write_text("lak = 'l'\n[x]\n")
        load_recipe(folder / "recipe.toml")
    assert isinstance(raised.value, RecipeError)


def test_very_many_problems_are_counted(folder: Path) -> None:
    found = problems(folder, 'lake = "l"\n' + "".join(f"key{number} = 1\n" for number in range(1000)))
    assert found[0].startswith("line 2: unknown key `key0`")
    assert found[100:] == ["and 900 more problems"]


def test_a_key_of_endless_parts_is_refused_before_it_takes_memory(folder: Path) -> None:
    assert problems(folder, 'lake = "l"\nx' + ".x" * 100_000 + " = 1\n") == [
        "line 2: a key of over 200 parts: a recipe needs three"
    ]
