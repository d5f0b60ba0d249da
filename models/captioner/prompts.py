"""What the captioner is asked, and how its authors had it answer."""

from typing import Any

# Of all training and captioning; the picture stands before it. (ShareGPT4V, tools/share-cap_batch_infer.py)
UNIFIED_PROMPT = "Analyze the image in a comprehensive and detailed manner."

# The authors' settings, which sample: no two runs agree. They give the prompt as embeddings, so that their max_length of 500
# counts the caption alone, and their penalty does not see the prompt's words, as transformers' does where it is given tokens.
AUTHORS_GENERATION: dict[str, Any] = {
    "num_beams": 3,
    "do_sample": True,
    "max_new_tokens": 500,
    "repetition_penalty": 1.5,
    "temperature": 1.0,
}
