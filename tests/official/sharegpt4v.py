"""ShareGPT4V's three released files: JSON lists of ``id``, ``image`` and ``conversations``, as on the Hub (Lin-Chen/ShareGPT4V).

``image`` is a path under a common data folder (FOLDERS). The two caption files have one question and one answer a row. In
the mix a row may have several turns, the mark ``<image>`` may follow the question, and text rows have no ``image``. Ids
repeat. The toy's texts are made up.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

CAP100K = "sharegpt4v_instruct_gpt4-vision_cap100k.json"
CAPTIONER = "share-captioner_coco_lcs_sam_1246k_1107.json"
MIX665K = "sharegpt4v_mix665k_cap23k_coco-ap9k_lcs3k_sam9k_div2k.json"
FOLDERS = {
    "coco": "coco/train2017",
    "lcs": "llava/llava_pretrain/images",
    "sam": "sam/images",
    "textcaps": "share_textvqa/images",
    "wikiart": "wikiart/images",
    "celebrity": "web-celebrity/images",
    "landmark": "web-landmark/images",
}

Chat = dict[str, object]


def captions(names: Mapping[str, Sequence[str]], teller: str) -> list[Chat]:
    """A row a picture. ``names``: the pictures' file names by the keys of FOLDERS; ``teller`` goes into the texts."""
    return [
        _chat(Path(name).stem, f"{FOLDERS[kind]}/{name}", [("<image>\nWhat do you see?", caption(name, teller))])
        for kind, given in names.items()
        for name in given
    ]


def caption(name: str, teller: str) -> str:
    """What ``teller`` says of a picture."""
    return f"The image, says {teller}, shows in detail what {name} shows.\n\nIt is calm."


def mix(names: Mapping[str, Sequence[str]]) -> list[Chat]:
    """The shapes of the mix: the captions, a dialogue of several turns, the mark after the question, and text alone."""
    rows = captions(names, "the teacher")
    turns = [("What is it?\n<image>", "A cat."), ("Which colour?", "Grey.")]
    rows.append(_chat("000000000009", "coco/train2017/000000000009.jpg", turns))
    rows.append(_chat("vg_1", "vg/VG_100K/1.jpg", [("<image>\nGive the box of the cat.", "[0.1, 0.2, 0.3, 0.4]")]))
    rows.append(_chat("wg4v_7", None, [("Write a haiku.", "Old pond / a frog jumps in / splash")]))
    return rows


def write(path: Path, rows: Sequence[Chat]) -> Path:
    """Write a released file, on one line as the originals are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))
    return path


def _chat(key: str, image: str | None, turns: Sequence[tuple[str, str]]) -> Chat:
    said = [
        {"from": who, "value": text}
        for question, answer in turns
        for who, text in (("human", question), ("gpt", answer))
    ]
    return {"id": key, **({"image": image} if image else {}), "conversations": said}
