"""``captionlake flag``: what it prints, and its page of the worst captions."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from captionlake.curation.flag_command import flag as command
from captionlake.curation.flags.flag import Finding, Flag
from captionlake.curation.flags.review_page import marked
from captionlake.lake import Lake

from .test_flagging import LONG, SORRY, add_captions

HOSTILE = "<script>alert(1)</script> & \"quotes\" <b onclick='x'>"


class Page(HTMLParser):
    """Tags by name, and the text inside marks."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.marks: list[tuple[str | None, str]] = []
        self._open: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "mark":
            self._open = dict(attrs)["class"]
            self.marks.append((self._open, ""))

    def handle_endtag(self, tag: str) -> None:
        self._open = None if tag == "mark" else self._open

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self.marks[-1] = (self._open, self.marks[-1][1] + data)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=True)


@pytest.fixture
def pictured(lake: Lake, add_pictures: Callable[..., list[str]], photographs: dict[str, bytes]) -> Lake:
    """Four photographs of scikit-image with captions, three of them flagged, one with hostile text; a picture with instances."""
    names = ["astronaut-full", "camera-full", "chelsea-full", "coffee-full"]
    add_pictures(
        lake,
        {name: photographs[name] for name in names},
        collection="coco",
        meta='{"objects": {"cat": 1, "person": 1}}',
    )
    texts = {
        "astronaut-full": SORRY,
        "camera-full": f"{HOSTILE} A zebra stands here. {LONG} Mail to someone@example.org.",
        "chelsea-full": "A cat looks at a person. " * 20,
        "coffee-full": "A person and a cat. "
        + LONG.replace("A clock above the door", "A sign above the door")
        .replace("kite", "flag")
        .replace("tram waits", "statue stands"),
    }
    add_captions(lake, [{"of": name, "caption_id": f"id-{name}", "text": text} for name, text in texts.items()])
    return lake


def test_the_page(pictured: Lake, tmp_path: Path) -> None:
    out = tmp_path / "worst.html"
    result = run("--lake", pictured.path, "--review", out, "--json")
    assert result.exit_code == 0, result.output
    text = out.read_text()
    page = Page(text)
    assert "script" not in [tag for tag, _ in page.tags]
    assert not [attributes for _, attributes in page.tags if "onclick" in attributes]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "someone@example.org" not in text and "s***@***g" in text  # masked, in the text and in the detail
    assert not re.findall(r"(?:src|href)=\"(?!data:)", text)  # nothing is fetched
    articles = [attributes for tag, attributes in page.tags if tag == "article"]
    pictures = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(articles) == len(pictures) == 3
    assert all(picture is not None and picture.startswith("data:image/jpeg;base64,") for picture in pictures)
    assert ("refusal", "I'm sorry, but I") in page.marks
    assert ("contradicts_source", "zebra") in page.marks
    assert ("personal_data", "s***@***g") in page.marks
    assert [said for kind, said in page.marks if kind == "repetition"]
    assert text.index("id-astronaut-full") < text.index("id-camera-full")  # a refusal and too short weigh more


def test_most_and_only(pictured: Lake, tmp_path: Path) -> None:
    out = tmp_path / "worst.html"
    assert run("--lake", pictured.path, "--review", out, "--most", 1).exit_code == 0
    assert out.read_text().count("<article") == 1 and "The 1 worst of 3 flagged captions" in out.read_text()
    assert run("--lake", pictured.path, "--review", out, "--only", "repetition").exit_code == 0
    assert out.read_text().count("<article") == 1 and "id-chelsea-full" in out.read_text()
    assert run("--lake", pictured.path, "--review", out, "--producer", "nobody").exit_code == 0
    assert "No caption has a flag." in out.read_text()
    result = run("--lake", pictured.path, "--review", tmp_path / "no" / "where.html")
    assert result.exception is not None and "cannot be written" in str(result.exception)


def test_what_the_command_prints(pictured: Lake, tmp_path: Path) -> None:
    result = run("--lake", pictured.path)
    assert "4 of 4 captions checked" in result.output
    assert re.search(r"^made +coco +refusal +1$", result.output, re.MULTILINE)
    assert "CHAIR_i" in result.output
    said = json.loads(run("--lake", pictured.path, "--json").output)
    assert (said["captions"], said["checked"], said["page"]) == (4, 0, None)
    assert {(row["flag"], row["captions"]) for row in said["flags"]} >= {
        ("refusal", 1),
        ("repetition", 1),
        ("personal_data", 1),
    }
    (figures,) = said["chair"]
    assert figures["object_captions"] == 4 and figures["hallucinated"] >= 1 and 0 < figures["chair_i"] < 1
    assert "CHAIR_i" not in run("--lake", pictured.path, "--only", "refusal").output


def test_prompts_from_a_file(pictured: Lake, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps({"p1": "Write down with great care what stands in the foreground."}))
    text = f"Write down with great care what stands in the foreground. {LONG}"
    add_captions(pictured, [{"of": "coffee-full", "caption_id": "leaks", "text": text, "prompt_sha256": "p1"}])
    run("--lake", pictured.path, "--prompts", prompts, "--only", "leaked_prompt")
    assert pictured.rows("SELECT caption_id FROM caption_flags WHERE flag = 'leaked_prompt'") == [("leaks",)]
    for wrong in ("[1]", "{", '{"p1": 3}'):
        prompts.write_text(wrong)
        assert "prompt_sha256" in str(run("--lake", pictured.path, "--prompts", prompts).exception)


def test_wrong_options(pictured: Lake) -> None:
    assert run("--lake", pictured.path, "--only", "nosuch").exit_code == 2
    assert "language" in str(run("--lake", pictured.path, "--language", "English").exception)


def test_marks_may_cross() -> None:
    findings = [
        Finding(flag=Flag.REPETITION, detail="", spans=((0, 6),)),
        Finding(flag=Flag.HEDGING, detail="", spans=((4, 9), (20, 30))),
    ]
    text = "abcd<efgh>"
    page = Page(marked(text, findings))
    assert page.marks == [("repetition", "abcd"), ("repetition", "<e"), ("hedging", "fgh")]
    personal = Finding(flag=Flag.PERSONAL_DATA, detail="", spans=((2, 8),))
    assert "cd<efg" not in marked(text, [*findings, personal], personal)
    assert re.sub("<[^>]*>", "", marked(text, [personal], personal)) == "abc***gh&gt;"


def test_help_names_every_option() -> None:
    """Every option says what it does."""
    options: list[Any] = list(command.params)
    assert all(option.help for option in options)
