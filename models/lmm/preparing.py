"""From a release's sample to what a model is trained on.

P pictures of the sample, H and W pixels of the model's square.
"""

from typing import Any

from captionlake.lake.pictures import open_rgb
from captionlake.models.data.sample import IMAGE, Sample, UnreadableSample
from captionlake.models.lmm.building import image_tokens
from captionlake.models.lmm.encoding import NothingToLearn, UnevenTurns, encode
from captionlake.models.lmm.templates import template_of

_LONGEST_SIDE = 20_000  # a longer picture, padded to a square, would take more than a gibibyte


class Prepare:
    """The transform of training: ``Prepare(...)(sample)`` is a dict.

    ``input_ids`` and ``labels`` (lists), ``pixel_values`` (P, 3, H, W; absent without pictures), ``has_image``, ``length`` in
    tokens, ``position`` in the release. ``question`` is asked where a release holds captions alone. A sample that cannot be
    used raises ``UnreadableSample``, a picture that cannot be decoded ``PictureError``.
    """

    def __init__(self, processor: Any, template: str, *, question: str | None, max_text_tokens: int) -> None:
        self._processor = processor
        self._template = template_of(template)
        self._template.of_tokenizer(processor.tokenizer)  # raises now what every sample would
        self._question = question
        self._limit = max_text_tokens
        self._image_tokens = image_tokens(processor)

    def __call__(self, sample: Sample) -> dict[str, Any]:
        turns = [(speaker, self._asked(text)) for speaker, text in sample.turns]
        marks = sum(text.count(IMAGE) for speaker, text in turns if speaker == "human")
        if marks != len(sample.images):
            raise UnreadableSample(
                f"{sample.key} has {len(sample.images)} pictures and says {IMAGE} {marks} times", "marks"
            )
        try:
            encoded = encode(
                turns,
                self._template,
                self._processor.tokenizer,
                image_tokens=self._image_tokens,
                image_token_id=self._processor.image_token_id,
                max_text_tokens=self._limit,
            )
        except NothingToLearn as error:
            raise UnreadableSample(f"{sample.key}: {error}", "nothing_to_learn") from None
        except UnevenTurns as error:
            raise UnreadableSample(f"{sample.key}: {error}", "turns") from None
        prepared = {
            "input_ids": encoded.input_ids,
            "labels": encoded.labels,
            "has_image": bool(sample.images),
            "length": len(encoded.input_ids),
            "position": sample.position,
        }
        if sample.images:
            prepared["pixel_values"] = self._pixels(sample)
        return prepared

    def _asked(self, text: str) -> str:
        """The question behind a picture that comes without one."""
        return f"{IMAGE}{self._template.after_picture}{self._question}" if self._question and text == IMAGE else text

    def _pixels(self, sample: Sample) -> Any:
        pictures = [open_rgb(data) for data in sample.images]
        for picture in pictures:
            if max(picture.size) > _LONGEST_SIDE:
                raise UnreadableSample(
                    f"{sample.key} is {picture.width}x{picture.height} pixels; up to {_LONGEST_SIDE:,} on a side are read",
                    "too_long",
                )
        return self._processor.image_processor(pictures, return_tensors="pt")["pixel_values"]
