"""How a conversation is written for a language model, as data.

A template's parts stand in this order; what is learned is in angle brackets::

    system | human TEXT answer <space ANSWER end> | between human TEXT answer <space ANSWER end> | …

The wording of ``vicuna_v1`` and ``plain`` is that of LLaVA 1.5 (``conversation.py`` of its repository), of
``share_captioner`` that of InternLM-XComposer, of ``chatml`` that of SmolLM2: checkpoints know no other.
"""

import json
from dataclasses import dataclass, replace
from typing import Any

from captionlake.errors import CaptionlakeError
from captionlake.models.data.sample import IMAGE

INTERNLM_MARKS = ("<TOKENS_UNUSED_0>", "<TOKENS_UNUSED_1>")  # the ends of a human's and of the assistant's words


@dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    """Texts may hold ``{eos}``, ``{eoh}`` and ``{eoa}``, which ``of_tokenizer`` fills in."""

    name: str
    system: str = ""  # told where a conversation brings no system message
    around_system: tuple[str, str] = ("", "")
    human: str = ""  # before the human's text
    answer: str = ""  # behind it, up to where generation begins
    space: str = ""  # learned with each answer, in front of it
    end: str = "{eos}"  # learned with each answer, behind it: one token, or a text
    between: str = ""  # from an answer's end to the next human
    picture: str = IMAGE  # what ``<image>`` becomes
    after_picture: str = ""  # between a picture and the text that follows it
    drops_text: bool = False  # of the human's turn only the pictures stay
    needs: tuple[str, ...] = ()  # tokens that the tokenizer must have

    @property
    def start(self) -> str:
        before, behind = self.around_system
        return before + self.system + behind if self.system else ""

    def of_tokenizer(self, tokenizer: Any) -> "Template":
        """The template with the tokenizer's own marks: InternLM's ends of human and assistant, else its end of sequence."""
        if tokenizer.eos_token is None:
            raise CaptionlakeError("the tokenizer has no end-of-sequence token: set its eos_token")
        if lacking := [mark for mark in self.needs if token_id(tokenizer, mark) is None]:
            raise CaptionlakeError(
                f"the template {self.name} needs the token {lacking[0]}, which the tokenizer lacks: choose another of "
                f"{', '.join(TEMPLATES)}"
            )

        own = all(token_id(tokenizer, mark) is not None for mark in INTERNLM_MARKS)
        eoh, eoa = INTERNLM_MARKS if own else (tokenizer.eos_token, tokenizer.eos_token)

        def filled(text: str) -> str:
            return text.replace("{eos}", tokenizer.eos_token).replace("{eoh}", eoh).replace("{eoa}", eoa)

        return replace(self, answer=filled(self.answer), end=filled(self.end), between=filled(self.between))

    def prompt(self, text: str, *, first: bool) -> str:
        """A human's turn as it is read, up to where the answer begins."""
        text = self.picture * text.count(IMAGE) if self.drops_text else text.replace(IMAGE, self.picture)
        return (self.start if first else self.between) + self.human + text + self.answer


_VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)

# LLaVA and Share-Captioner tokenize what follows a picture as a text of its own, before which a sentencepiece tokenizer
# sets a space. The space behind <image> gives the same tokens when the whole is tokenized at once.
_TEMPLATES = [
    Template(name="plain", space=" ", end="\n", drops_text=True),
    Template(
        name="vicuna_v1",
        system=_VICUNA_SYSTEM,
        around_system=("", " "),
        human="USER: ",
        answer=" ASSISTANT:",
        space=" ",
        picture=f"{IMAGE} ",
        after_picture="\n",
    ),
    Template(
        name="share_captioner",
        human="<|User|>:",
        picture=f"{IMAGE} ",
        answer="{eoh}\n<|Bot|>:",
        end="{eoa}",
        between="\n",
    ),
    Template(
        name="chatml",
        system="You are a helpful AI assistant named SmolLM, trained by Hugging Face",
        around_system=("<|im_start|>system\n", "<|im_end|>\n"),
        human="<|im_start|>user\n",
        answer="<|im_end|>\n<|im_start|>assistant\n",
        end="<|im_end|>",
        between="\n",
        after_picture="\n",
        needs=("<|im_start|>", "<|im_end|>"),
    ),
]
TEMPLATES = {template.name: template for template in _TEMPLATES}


def token_id(tokenizer: Any, mark: str) -> int | None:
    """The id of the token that is written so, if there is one."""
    found = tokenizer.convert_tokens_to_ids(mark)
    return found if found is not None and tokenizer.convert_ids_to_tokens(found) == mark else None


def template_of(name: str) -> Template:
    """The template of this name, or an error that names those there are."""
    if name not in TEMPLATES:
        raise CaptionlakeError(f"there is no template {name!r}: there are {', '.join(TEMPLATES)}")
    return TEMPLATES[name]


def chat_template(template: Template, tokenizer: Any) -> str:
    """The same as a Jinja template, for ``apply_chat_template``: a message's pictures come before its text, as in training."""
    filled = template.of_tokenizer(tokenizer)

    def put(text: str) -> str:
        return "{{ " + json.dumps(text, ensure_ascii=False) + " }}" if text else ""

    before, behind = filled.around_system
    pictures = (
        "{% if message['content'] is not string %}{% for part in message['content'] "
        "if part['type'] in ('image', 'image_url') %}"
        + put(filled.picture + filled.after_picture)
        + "{% endfor %}{% endif %}"
    )
    return (
        "{% macro text(content) %}{% if content is string %}{{ content }}{% else %}"
        "{% for part in content if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}{% endif %}{% endmacro %}"
        "{% if messages[0]['role'] != 'system' %}"
        + put(filled.start)
        + "{% endif %}{% for message in messages %}{% if message['role'] == 'system' %}"
        + (put(before) + "{{ text(message['content']) }}" + put(behind) if filled.system else "")
        + "{% elif message['role'] == 'user' %}{% if loop.index0 and loop.previtem['role'] == 'assistant' %}"
        + put(filled.between)
        + "{% endif %}"
        + put(filled.human)
        + pictures
        + ("" if filled.drops_text else "{{ text(message['content']) }}")
        + "{% if add_generation_prompt or not loop.last %}"
        + put(filled.answer)
        + "{% endif %}{% elif message['role'] == 'assistant' %}"
        + put(filled.space)
        + "{{ text(message['content']) }}"
        + put(filled.end)
        + "{% endif %}{% endfor %}"
    )
