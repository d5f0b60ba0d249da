"""The keys of LLaVA's own checkpoints, which ShareGPT4V-7B has too, and those of transformers' for each."""

from collections.abc import Mapping

from torch import Tensor

# The first beginning that fits counts. Tensors are named as transformers writes them into files.
_BEGINNINGS = {
    "model.mm_projector.0.": "multi_modal_projector.linear_1.",
    "model.mm_projector.2.": "multi_modal_projector.linear_2.",
    "model.vision_tower.vision_tower.": "vision_tower.",
    "model.": "language_model.model.",
    "lm_head.": "language_model.lm_head.",
}
_RECOMPUTED = (".rotary_emb.inv_freq", ".embeddings.position_ids")
TABLES = ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight")  # a row for each token


def ours(key: str) -> str | None:
    """Of one of theirs; None where the model computes it itself."""
    if key.endswith(_RECOMPUTED):
        return None
    start = next((start for start in _BEGINNINGS if key.startswith(start)), None)
    return key if start is None else _BEGINNINGS[start] + key.removeprefix(start)


def to_released(state: Mapping[str, Tensor], tokens: int, *, with_tower: bool) -> dict[str, Tensor]:
    """The other way, from the keys of a saved folder: a checkpoint in LLaVA's form with ``tokens`` rows of embeddings."""
    released = {}
    for key, tensor in state.items():
        if key.startswith("vision_tower.") and not with_tower:
            continue
        start, theirs = next((ours, theirs) for theirs, ours in _BEGINNINGS.items() if key.startswith(ours))
        released[theirs + key.removeprefix(start)] = tensor[:tokens].clone() if key in TABLES else tensor
    return released
