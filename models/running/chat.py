"""``Chat``: rounds of questions and answers about pictures, the answers as they are written.

chat = Chat.load("checkpoints/lmm")
print(chat.ask("What is this?", image="photo.jpg"))
print(chat.ask("What colour is it?"))
"""

import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from transformers import StoppingCriteriaList, TextIteratorStreamer

from captionlake.errors import CaptionlakeError
from captionlake.lake.pictures import PictureError, open_rgb
from captionlake.models.memory import out_of_memory
from captionlake.models.running.generation import GenerationConfig
from captionlake.models.running.loading import Checkpoint
from captionlake.models.running.transformers_engine import check_question, end_tokens, settings

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, slots=True)
class Answer:
    """``finish_reason``: "stop" where the model ended, "length" at the most tokens, "stopped" where it was interrupted."""

    text: str
    output_tokens: int
    finish_reason: str


class Chat:
    """One conversation, answered greedily. ``last`` is the newest answer."""

    def __init__(self, checkpoint: Checkpoint, *, max_tokens: int = 512) -> None:
        self.checkpoint = checkpoint
        self.last: Answer | None = None
        self._config = GenerationConfig(max_tokens=max_tokens)
        self._messages: list[dict[str, Any]] = []
        self._pictures: list[Image.Image] = []
        self._new: list[Image.Image] = []  # shown, and not asked about yet
        self._stop = _Stop()

    @classmethod
    def load(
        cls, checkpoint: str | Path, *, max_tokens: int = 512, device: str = "auto", precision: str = "auto"
    ) -> Self:
        """A checkpoint's folder, or its name on the Hub; ``max_tokens`` of an answer."""
        return cls(Checkpoint.load(checkpoint, device=device, precision=precision), max_tokens=max_tokens)

    def show(self, image: "str | Path | Image.Image") -> None:
        """A picture that the next question is about, too."""
        self._new.append(_opened(image))

    def ask(self, question: str, image: "str | Path | Image.Image | None" = None) -> str:
        """The whole answer. What was said before is not forgotten."""
        return "".join(self.stream(question, image)).strip()

    def stream(self, question: str, image: "str | Path | Image.Image | None" = None) -> Iterator[str]:
        """The answer in pieces, as they are written. Ctrl-C, or closing the iterator, stops the model; what it wrote stays said.

        Raises where the conversation is longer than the model reads, or memory is short; then nothing was said.
        """
        self._stop.now = False
        check_question(self.checkpoint.processor, question)
        if image is not None:
            self.show(image)
        content = [*({"type": "image"} for _ in self._new), {"type": "text", "text": question}]
        messages, pictures = [*self._messages, {"role": "user", "content": content}], [*self._pictures, *self._new]
        writing = _Writing(self.checkpoint, messages, pictures, self._config, self._stop)
        said: list[str] = []
        try:
            with closing(writing.pieces()) as pieces:
                for written in pieces:
                    piece = written if said else written.lstrip()  # many tokenizers put a space before the first word
                    if piece:
                        said.append(piece)
                        yield piece
        except (GeneratorExit, KeyboardInterrupt):
            self._keep(messages, pictures, writing.answer("".join(said)))
            raise
        self._keep(messages, pictures, writing.answer("".join(said)))

    def stop(self) -> None:
        """End the answer that is being written, after its next token; ``last`` says "stopped" then. For any thread or signal."""
        self._stop.now = True

    def _keep(self, messages: list[dict[str, Any]], pictures: "list[Image.Image]", answer: Answer) -> None:
        text = answer.text.replace(self.checkpoint.processor.image_token, "")  # it would stand for a picture
        answered = {"role": "assistant", "content": [{"type": "text", "text": text}]}
        self.last, self._messages, self._pictures, self._new = answer, [*messages, answered], pictures, []

    def reset(self) -> None:
        """Forget what was said; the pictures go with the next question."""
        self._new = [*self._pictures, *self._new]
        self._messages, self._pictures = [], []


class _Stop:
    """A flag for a signal's handler, which may wait for no lock: whatever it interrupted could hold it."""

    now = False


class _Writing:
    """One answer: the model writes in a thread, and this one takes what comes."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        messages: list[dict[str, Any]],
        pictures: "list[Image.Image]",
        config: GenerationConfig,
        stop: "_Stop",
    ) -> None:
        self._checkpoint, self._config, self._stop = checkpoint, config, stop
        self._settings = settings(checkpoint, config)
        self._inputs = _inputs(checkpoint, messages, pictures)
        self._prompt_tokens = int(self._inputs["input_ids"].shape[1])
        self._output: Any = None  # (1, T + N)
        self._error: BaseException | None = None
        _check_length(checkpoint, self._prompt_tokens)

    def pieces(self) -> Generator[str, None, None]:
        tokenizer = self._checkpoint.processor.tokenizer
        streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
        thread = threading.Thread(target=self._generate, args=(streamer,), name="answer", daemon=True)
        thread.start()
        try:
            yield from filter(None, streamer)
        finally:
            self._stop.now = True
            thread.join()
        if self._error is not None:
            raise self._error

    def answer(self, said: str) -> Answer:
        tokens = [] if self._output is None else self._output[0, self._prompt_tokens :].tolist()
        if tokens and tokens[-1] in end_tokens(self._settings):
            reason = "stop"
        else:
            reason = "length" if len(tokens) >= self._config.most_tokens else "stopped"
        return Answer(said.strip(), len(tokens), reason)

    def _generate(self, streamer: Any) -> None:
        advice = (
            f"there is no memory on {self._checkpoint.placement.device} for this conversation: start over (/reset), "
            "or take --precision bf16"
        )
        try:
            with out_of_memory(advice), torch.inference_mode():
                self._output = self._checkpoint.model.generate(
                    **self._inputs,
                    generation_config=self._settings,
                    streamer=streamer,
                    stopping_criteria=StoppingCriteriaList([self._stopped]),
                )
        except BaseException as error:
            self._error = error
        finally:
            streamer.on_finalized_text("", stream_end=True)  # for the other thread, whatever happened

    def _stopped(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self._stop.now, device=input_ids.device)


def _inputs(checkpoint: Checkpoint, messages: list[dict[str, Any]], pictures: "list[Image.Image]") -> dict[str, Any]:
    """Token ids (1, T), attention mask (1, T), and the pixels of all pictures so far (P, 3, H, W) where there are any."""
    processor, placement = checkpoint.processor, checkpoint.placement
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    found = processor(images=pictures or None, text=text, return_tensors="pt")
    return {
        name: tensor.to(placement.device, placement.dtype if tensor.is_floating_point() else tensor.dtype)
        for name, tensor in found.items()
    }


def _check_length(checkpoint: Checkpoint, tokens: int) -> None:
    most = getattr(checkpoint.model.config.get_text_config(), "max_position_embeddings", None)
    if most is not None and tokens >= most:
        raise CaptionlakeError(
            f"the conversation is {tokens:,} tokens long, and the model reads {most:,}: start over (/reset), with fewer pictures"
        )


def _opened(image: "str | Path | Image.Image") -> "Image.Image":
    from PIL import Image

    if isinstance(image, Image.Image):
        return image.convert("RGB")
    path = Path(image).expanduser()
    try:
        return open_rgb(path.read_bytes())
    except OSError as error:
        raise CaptionlakeError(f"{path} cannot be read ({error.strerror}): check the path") from error
    except PictureError as error:
        raise CaptionlakeError(
            f"{path} is no picture that decodes ({error}): give a JPEG, PNG, WebP, GIF, BMP or TIFF"
        ) from error
