"""What a model of pictures asks of any tokenizer, and how such models generate unless told otherwise."""

from typing import Any

from captionlake.errors import CaptionlakeError
from captionlake.models.data.sample import IMAGE

# Greedy: the same picture gets the same caption. Saved with each model.
GENERATION: dict[str, Any] = {"do_sample": False, "num_beams": 1, "max_new_tokens": 512}


def fit_for_pictures(tokenizer: Any) -> None:
    """``<image>`` and a padding token are in it, and it pads on the left, as generation asks."""
    if tokenizer.eos_token is None:
        raise CaptionlakeError(f"the tokenizer {tokenizer.name_or_path!r} has no end of text (eos_token): set one")
    if IMAGE not in tokenizer.get_vocab():
        tokenizer.add_tokens([IMAGE], special_tokens=True)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    tokenizer.padding_side = "left"


def check_tokens(tokenizer: Any, embeddings: int) -> None:
    """Each token has an embedding, or an error says how many lack one."""
    if len(tokenizer) > embeddings:
        raise CaptionlakeError(
            f"the tokenizer has {len(tokenizer)} tokens and the model {embeddings} embeddings: "
            "take the tokenizer that the checkpoint was saved with, or call resize_token_embeddings and train on"
        )
