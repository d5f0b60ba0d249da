"""A model card's YAML front matter, built by huggingface_hub; its closed sets are checked here, without the Hub."""

import re
from typing import Any

from captionlake.cards.licences import HUB_LICENCES, hub_licence, slug
from captionlake.cards.markdown import web_url
from captionlake.cards.metadata import Licence
from captionlake.cards.model_facts import ModelFacts
from captionlake.errors import CaptionlakeError, require

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_TAGS = {
    "share_captioner": ("image-captioning", "vision-language", "captionlake"),
    "llava": ("llava", "vision-language", "captionlake"),
}
_TASK = "image-text-to-text"
_BENCHMARKS = {
    "mme": "MME",
    "mmbench": "MMBench (dev)",
    "mmbench-cn": "MMBench-CN (dev)",
    "seed": "SEED-Bench",
    "mm-vet": "MM-Vet",
    "llava-w": "LLaVA-Bench (In-the-Wild)",
    "pope": "POPE",
    "pope-lake": "POPE about a lake's pictures",
}


def licence_of(stated: str | None) -> Licence:
    """From ``--license``: one of the Hub's identifiers, or the address of a licence's text; ``unknown`` where nobody stated one."""
    if stated is None:
        return Licence("unknown")
    if (identifier := hub_licence(stated)) is not None:
        return Licence(identifier)
    if stated in HUB_LICENCES - {"other"}:
        return Licence(stated)
    if url := web_url(stated):
        return Licence("other", slug(url.partition("://")[2]), url)
    raise CaptionlakeError(
        f"{stated!r} is no licence that the Hub knows: write its identifier, such as apache-2.0 or llama2, "
        "or the http address of its text"
    )


def model_card_data(facts: ModelFacts) -> Any:
    """The metadata as huggingface_hub's ``ModelCardData``."""
    hub: Any = require("huggingface_hub", extra="cards")
    licence, model_type = licence_of(facts.get("licence")), facts["architecture"]["model_type"]
    record = facts.get("record")
    published = facts.get(f"published:{record['release']}") if record else None
    values = {
        "license": licence.identifier,
        "license_name": licence.name,
        "license_link": licence.link,
        "library_name": "captionlake" if model_type == "share_captioner" else "transformers",
        "pipeline_tag": _TASK,
        "base_model": base_models(facts),
        "datasets": [row["repo_id"] for row in published or ()],
        "tags": list(_TAGS.get(model_type, ("vision-language", "captionlake"))),
        "eval_results": [hub.EvalResult(**one) for one in complete_scores(facts)],
        "model_name": facts.checkpoint,
    }
    if not values["eval_results"]:
        del values["model_name"]  # which stands in front matter with results alone
    return hub.ModelCardData(**{key: value for key, value in values.items() if value})


def base_models(facts: ModelFacts) -> list[str]:
    """Names on the Hub of the weights that it, or what it went on from, began with."""
    models = [(facts.get("hyper") or {}).get("model"), *(one["model"] for one in facts.named("start").values())]
    named = [model.get(key) for model in models if isinstance(model, dict) for key in ("start", "vision", "language")]
    return list(dict.fromkeys(name for name in named if isinstance(name, str) and _HUB_NAME.fullmatch(name)))


def complete_scores(facts: ModelFacts) -> list[dict[str, Any]]:
    """The arguments of an ``EvalResult`` each; not of a benchmark that was evaluated in part."""
    return [
        {
            "task_type": _TASK,
            "dataset_type": slug(benchmark),
            "dataset_name": _BENCHMARKS.get(benchmark, benchmark),
            "metric_type": slug(column),
            "metric_name": column,
            "metric_value": round(value, 2),
        }
        for benchmark, told in facts.named("evaluation").items()
        if not told["incomplete"]
        for column, value in told["scores"].items()
        if value is not None
    ]
