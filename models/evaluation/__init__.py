"""Evaluation: the benchmarks of the ShareGPT4V paper and POPE, from their own files."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from captionlake.models.evaluation.eval_config import EvalConfig, judge_config
    from captionlake.models.evaluation.evaluating import evaluate
    from captionlake.models.evaluation.known import kinds
    from captionlake.models.evaluation.results import Results

_PLACES = {
    "EvalConfig": "eval_config",
    "Results": "results",
    "evaluate": "evaluating",
    "judge_config": "eval_config",
    "kinds": "known",
}
__all__ = ["EvalConfig", "Results", "evaluate", "judge_config", "kinds"]


def __getattr__(name: str) -> object:
    import importlib

    if name in _PLACES:
        return getattr(importlib.import_module(f"captionlake.models.evaluation.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
