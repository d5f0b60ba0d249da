"""Invariants of the captioner on a tiny one of random weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from captionlake.errors import CaptionlakeError
from captionlake.models.captioner import ShareCaptionerForConditionalGeneration, build, config_of, load
from captionlake.models.parts import freeze_all_but, parts_of

from .conftest import asked, inputs_of

Captioner = tuple[Any, Any]
Photos = list[Image.Image]


def _answers(model: Any, inputs: dict[str, Any], **options: Any) -> list[list[int]]:
    """New tokens of each row, up to its end."""
    tokens = model.generate(**inputs, **{"max_new_tokens": 12, **options})[:, inputs["input_ids"].shape[1] :]
    ends, pad = model.generation_config.eos_token_id, model.generation_config.pad_token_id
    return [[token for token in row.tolist() if token not in (*ends, pad)] for row in tokens]


def _logits(model: Any, **inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return model(**inputs).logits  # type: ignore[no-any-return]


def test_cached_decoding_is_uncached_decoding(captioner: Captioner, photos: Photos) -> None:
    model, processor = captioner
    inputs = inputs_of(processor, asked(photos[0]), asked(photos[1], photos[2]), asked(text="No picture at all"))
    assert _answers(model, inputs) == _answers(model, inputs, use_cache=False)
    scores = {"output_logits": True, "return_dict_in_generate": True, "max_new_tokens": 12, "eos_token_id": None}
    cached, uncached = (model.generate(**inputs, **scores, use_cache=use).logits for use in (True, False))
    for one, other in zip(cached, uncached, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_left_and_right_padding_agree(captioner: Captioner, photos: Photos) -> None:
    model, processor = captioner
    conversations = [asked(photos[0]), asked(photos[1], photos[2], text="Which of the two is the older one?")]
    logits = []
    for side in ("left", "right"):
        processor.tokenizer.padding_side = side
        inputs = inputs_of(processor, *conversations)
        read = inputs["attention_mask"].bool()
        assert not read.all()
        logits.append(_logits(model, **inputs)[read])
    processor.tokenizer.padding_side = "left"
    torch.testing.assert_close(logits[0], logits[1], atol=1e-5, rtol=1e-4)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shown=st.lists(st.lists(st.integers(0, 2), max_size=3), min_size=1, max_size=4))
def test_a_row_has_one_answer_whatever_stands_beside_it(
    captioner: Captioner, photos: Photos, shown: list[list[int]]
) -> None:
    model, processor = captioner
    conversations = [asked(*(photos[which] for which in row), text="What? " * (1 + len(row))) for row in shown]
    together = _answers(model, inputs_of(processor, *conversations))
    assert together == [_answers(model, inputs_of(processor, alone))[0] for alone in conversations]


def test_beams_keep_the_pictures_of_their_row(captioner: Captioner, photos: Photos) -> None:
    model, processor = captioner
    conversations = [asked(photos[0], photos[1]), asked(photos[2]), asked(text="None")]
    together = _answers(model, inputs_of(processor, *conversations), num_beams=3)
    alone = [_answers(model, inputs_of(processor, one), num_beams=3)[0] for one in conversations]
    assert together == alone


def test_what_the_picture_shows_and_the_order_of_pictures_matter(captioner: Captioner, photos: Photos) -> None:
    model, processor = captioner
    seen = [
        _logits(model, **inputs_of(processor, asked(*pictures)))
        for pictures in ((photos[0], photos[1]), (photos[1], photos[0]), (photos[0], photos[2]))
    ]
    assert all(not torch.allclose(seen[0], other, atol=1e-4) for other in seen[1:])


def test_saved_and_loaded_it_is_the_same(captioner: Captioner, photos: Photos, tmp_path: Path) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model, processor = captioner
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    inputs = inputs_of(processor, asked(photos[0]), asked(text="Hello"))
    expected = _logits(model, **inputs)
    by_auto = AutoModelForImageTextToText.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)
    for again, its_processor in (by_auto, load(tmp_path)):
        assert isinstance(again, ShareCaptionerForConditionalGeneration)
        its_inputs = inputs_of(its_processor, asked(photos[0]), asked(text="Hello"))
        assert all(torch.equal(its_inputs[name], inputs[name]) for name in inputs)
        assert torch.equal(_logits(again.eval(), **inputs), expected)
        settings = again.generation_config
        assert (settings.do_sample, settings.num_beams, settings.suppress_tokens) == (
            False,
            1,
            [processor.image_token_id],
        )
    assert not list(tmp_path.glob("*.bin"))


def test_every_part_is_reached_by_the_gradient(captioner: Captioner, photos: Photos) -> None:
    model, processor = captioner
    inputs = inputs_of(processor, asked(photos[0]))
    model.train()
    model(**inputs, labels=inputs["input_ids"]).loss.backward()
    still = {name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()}
    assert not still
    assert set(parts_of(model)) == {"vision", "vision.0", "vision.1", "sampler", "projector", "language"}


@pytest.mark.parametrize("trained", [["vision:1-", "sampler"], ["projector"], ["language"], ["vision", "projector"]])
def test_frozen_parts_get_no_gradient(captioner: Captioner, photos: Photos, trained: list[str]) -> None:
    model, processor = captioner
    freeze_all_but(model, trained)
    model.train()
    model.activation_checkpointing_enable()
    inputs = inputs_of(processor, asked(photos[0]))
    model(**inputs, labels=inputs["input_ids"]).loss.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    assert any(parameter.requires_grad for parameter in model.parameters())


def test_gradients_are_the_same_with_checkpointing(captioner: Captioner, photos: Photos) -> None:
    model, processor = captioner
    inputs = inputs_of(processor, asked(photos[0]), asked(photos[1]))
    model.train()
    found: list[dict[str, Tensor]] = []
    for checkpointing in (False, True):
        if checkpointing:
            model.activation_checkpointing_enable()
        model.zero_grad()
        model(**inputs, labels=inputs["input_ids"]).loss.backward()
        found.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    torch.testing.assert_close(found[0], found[1])


def test_labels_of_minus_100_have_no_loss(captioner: Captioner, photos: Photos) -> None:
    model, processor = captioner
    inputs = inputs_of(processor, asked(photos[0]), asked(text="Words without a picture"))
    ids = inputs["input_ids"]
    labels = ids.masked_fill((ids == processor.image_token_id) | ~inputs["attention_mask"].bool(), -100)
    loss = model(**inputs, labels=labels).loss
    logits = _logits(model, **inputs)[:, :-1].flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(logits, labels[:, 1:].flatten(), ignore_index=-100)
    torch.testing.assert_close(loss.detach(), expected)


def test_tokens_are_trained_by_their_number_under_accumulation(captioner: Captioner, photos: Photos) -> None:
    model, processor = captioner
    inputs = inputs_of(processor, asked(photos[0]))
    counted = model(**inputs, labels=inputs["input_ids"], num_items_in_batch=torch.tensor(100)).loss
    mean = model(**inputs, labels=inputs["input_ids"]).loss
    torch.testing.assert_close(counted * 100, mean * (inputs["input_ids"].shape[1] - 1))


def test_placeholders_and_pictures_that_disagree_are_refused(captioner: Captioner, photos: Photos) -> None:
    model, processor = captioner
    inputs = inputs_of(processor, asked(photos[0]))
    with pytest.raises(CaptionlakeError, match="6 placeholders of pictures and 0 pictures"):
        model(input_ids=inputs["input_ids"])
    with pytest.raises(CaptionlakeError, match=r"6 placeholders of pictures and 2 pictures fill 12 \(6 each\)"):
        model(input_ids=inputs["input_ids"], pixel_values=inputs["pixel_values"].repeat(2, 1, 1, 1))
    wide = torch.zeros(1, 3, 32, 40)
    with pytest.raises(CaptionlakeError, match="the pictures are 40x32 pixels and the model reads 32x32"):
        model(input_ids=inputs["input_ids"], pixel_values=wide)


def test_it_never_says_the_placeholder(captioner: Captioner, photos: Photos) -> None:
    model, processor = captioner
    with torch.no_grad():  # a head that would say nothing else
        model.get_output_embeddings().weight[processor.image_token_id] = 100 * model.language_model.model.norm.weight
    said = _answers(model, inputs_of(processor, asked(photos[0]), asked(photos[1])))
    assert all(processor.image_token_id not in row for row in said)


def test_the_same_seed_makes_the_same_captioner_and_leaves_the_caller_s_alone(words: Any) -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    one, other, third = (build("tiny", words, seed=seed)[0].state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert not torch.equal(one["sampler.query"], third["sampler.query"])


def test_attention_by_torch_and_in_plain_steps_agree(words: Any, photos: Photos) -> None:
    model, processor = build("tiny", words)
    inputs = inputs_of(processor, asked(photos[0]), asked(photos[1], photos[2]))
    read = inputs["attention_mask"].bool()
    quick = _logits(model.eval(), **inputs)[read]
    model.set_attn_implementation("eager")
    assert model.vision_tower.config._attn_implementation == "eager"
    torch.testing.assert_close(_logits(model, **inputs)[read], quick, atol=1e-5, rtol=1e-4)


def test_settings_that_fit_no_model_are_refused() -> None:
    for changes, words in (
        ({"num_queries": 17}, "num_queries = 17 is no square grid: take 16 or 25"),
        ({"sampler_heads": 5}, "multiple of 4 and of sampler_heads = 5"),
        ({"vision": {"image_size": 33}}, "image_size = 33 is no multiple of patch_size = 8"),
    ):
        with pytest.raises(CaptionlakeError, match=words):
            config_of("tiny", **changes)
