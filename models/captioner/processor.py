"""Pictures and messages to what the captioner reads."""

from typing import Any

from transformers import ProcessorMixin


class ShareCaptionerProcessor(ProcessorMixin):  # type: ignore[misc]
    """A tokenizer, and an image processor that stretches a picture to the model's square.

    ``<image>`` in a text stands for a picture; the processor repeats it ``num_image_tokens`` times (queries + 2).
    """

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        num_image_tokens: int = 258,
        image_token: str = "<image>",
        chat_template: str | None = None,
    ) -> None:
        self.num_image_tokens = num_image_tokens
        self.image_token = image_token
        self.image_token_id = tokenizer.convert_tokens_to_ids(image_token)
        super().__init__(image_processor, tokenizer, chat_template=chat_template)

    def replace_image_token(self, image_inputs: dict[str, Any], image_idx: int, **kwargs: Any) -> str:
        """What the base class writes in place of one ``<image>``."""
        return self.image_token * self.num_image_tokens

    def resize(self, image_size: int) -> None:
        """Pictures become squares of ``image_size`` pixels, as ``resize_positions`` makes the model expect."""
        self.image_processor.size = type(self.image_processor.size)(height=image_size, width=image_size)
