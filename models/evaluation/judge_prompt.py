"""Prompts for the judge, in ``prompts/NAME.toml``: our own words for the scales of MM-Vet and LLaVA-Bench."""

import hashlib
import json
import re
import tomllib
from collections.abc import Callable
from importlib.resources import files

from captionlake.models.evaluation.benchmark import Item, JudgePrompt

_VALUE = re.compile(r"\{(\w+)\}")


def judge_prompt(
    name: str, parse: Callable[[str], tuple[float, ...] | None], values: Callable[[Item, str], dict[str, str]]
) -> JudgePrompt:
    """The prompt of a name. What comes of data stands between marks that are made of its hash, so that none of it can end its block."""
    data = files("captionlake.models.evaluation").joinpath("prompts", f"{name}.toml").read_bytes()
    told = tomllib.loads(data.decode())

    def messages(item: Item, answer: str) -> list[dict[str, str]]:
        found = values(item, answer)
        mark = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:8]
        put = {name: f"[{name} {mark}]\n{value.strip()}\n[end {mark}]" for name, value in found.items()} | {
            "mark": mark
        }
        return [
            {"role": "system", "content": told["system"].strip()},
            {"role": "user", "content": _VALUE.sub(lambda found: put[found[1]], told["user"]).strip()},
        ]

    return JudgePrompt(sha256=hashlib.sha256(data).hexdigest(), messages=messages, parse=parse)
