"""Which part of a model of pictures and text a parameter belongs to, by its name alone: without torch."""

# By ``config.model_type``: the part that each beginning of a name belongs to, behind a leading ``model.``, which names have in a LLaVA in
# memory and not in its files.
PARTS: dict[str, dict[str, str]] = {
    "llava": {
        "vision_tower.": "vision",
        "multi_modal_projector.": "projector",
        "language_model.": "language",
        "lm_head.": "language",
    },
    "share_captioner": {
        "vision_tower.": "vision",
        "sampler.": "sampler",
        "projector.": "projector",
        "flag_image_": "projector",
        "language_model.": "language",
    },
}


def part_of(model_type: str, name: str) -> str | None:
    """``vision``, ``sampler``, ``projector`` or ``language``; None where neither model nor name is known."""
    plain = name.removeprefix("model.")
    return next((part for start, part in PARTS.get(model_type, {}).items() if plain.startswith(start)), None)
