"""The prompt that the captioner is trained and asked with, and how it generates."""

from typing import Any

# Of all training and captioning; the picture stands before it. (ShareGPT4V, tools/share-cap_batch_infer.py)
UNIFIED_PROMPT = "Analyze the image in a comprehensive and detailed manner."

# InternLM's marks for the end of a human's and of the assistant's words, tokens 103027 and 103028.
END_OF_HUMAN, END_OF_ASSISTANT = "<TOKENS_UNUSED_0>", "<TOKENS_UNUSED_1>"

# Greedy: the same picture gets the same caption. Saved with each model.
GENERATION: dict[str, Any] = {"do_sample": False, "num_beams": 1, "max_new_tokens": 512}

# The authors' settings, which sample: no two runs agree. Their penalty does not see the prompt; transformers' does.
AUTHORS_GENERATION: dict[str, Any] = {
    "num_beams": 3,
    "do_sample": True,
    "max_length": 500,
    "max_new_tokens": None,
    "repetition_penalty": 1.5,
    "temperature": 1.0,
}

_TEMPLATE = """\
{%- for message in messages -%}
{%- if message['role'] == 'assistant' -%}<|Bot|>:{%- else -%}<|User|>:{%- endif -%}
{%- if message['content'] is string -%}{{ message['content'] }}
{%- else -%}
{%- for part in message['content'] if part['type'] in ('image', 'image_url') -%}{{ '<image>' }}{%- endfor -%}
{%- for part in message['content'] if part['type'] == 'text' -%}{{ part['text'] }}{%- endfor -%}
{%- endif -%}
{%- if message['role'] == 'assistant' -%}{{ 'END_OF_ASSISTANT' }}{%- else -%}{{ 'END_OF_HUMAN' }}{%- endif -%}{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}<|Bot|>:{%- endif -%}
"""


def end_marks(tokenizer: Any) -> tuple[str, str]:
    """Of a human's and of the assistant's words: InternLM's where the tokenizer has them, else its end of text twice."""
    vocabulary = tokenizer.get_vocab()
    if END_OF_HUMAN in vocabulary and END_OF_ASSISTANT in vocabulary:
        return END_OF_HUMAN, END_OF_ASSISTANT
    return tokenizer.eos_token, tokenizer.eos_token


def chat_template(tokenizer: Any) -> str:
    """Jinja: ``<|User|>:`` pictures, words, mark, newline, ``<|Bot|>:``; any number of rounds."""
    human, assistant = end_marks(tokenizer)
    return _TEMPLATE.replace("END_OF_HUMAN", human).replace("END_OF_ASSISTANT", assistant)
