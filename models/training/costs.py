"""What training costs: operations of a sample, bytes of a GPU.

T tokens of a sample in a part, W its width, L its blocks, P its weights that are multiplied with every token.

Operations, a multiplication and an addition each: forward 2 P T, and 4 L T^2 W for attention; backward as much again for the gradients
of what goes through (from the first trained weight on), and as much again for those of trained weights (Kaplan et al. 2020,
arXiv 2001.08361, section 2.1: 6 N a token in all where everything is trained). Gradient checkpointing repeats the forward of what gradients go through.

Bytes: weights, gradients and AdamW's two moments in fp32 (4 + 4 + 8 a trained weight; Rajbhandari et al. 2020, arXiv 1910.02054);
activations of a block 34 T W a sample in 16 bits, its attention without the T^2 matrix (Korthikanti et al. 2022, arXiv 2205.05198,
equation 1), or 2 T W and one whole block at a time with checkpointing; 10 a logit (bf16, fp32 and its gradient).
"""

from dataclasses import dataclass
from typing import Any

from captionlake.models.parts import parts_of
from captionlake.models.training.job import TrainJob

_BLOCK, _INPUT, _LOGIT = 34, 2, 10  # bytes of an activation; the first two in 16 bits
_TABLES = ("embed_tokens.", "position_embedding", "class_embedding")  # read, not multiplied


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A part: ``flows``, the share of it that gradients go through; ``learns``, the share of its weights that are trained."""

    name: str
    tokens: float
    weights: int
    width: int
    blocks: int
    flows: float
    learns: float
    of_picture: bool = False
    vocabulary: int = 0  # of the head

    @property
    def forward(self) -> float:
        """Operations of a sample."""
        return 2.0 * self.weights * self.tokens + 4.0 * self.blocks * self.tokens**2 * self.width


def shapes_of(model: Any, *, text_tokens: float) -> list[Shape]:
    """Vision tower, what leads from it to the language model, the language model's blocks, its head."""
    config = model.config
    vision, text = config.vision_config, config.text_config
    patches = (vision.image_size // vision.patch_size) ** 2
    captioner = config.model_type == "share_captioner"
    pictures = config.num_image_tokens if captioner else config.image_seq_length
    named = {name: p for name, p in model.named_parameters() if p.dim() > 1 and not any(t in name for t in _TABLES)}
    part_of = {id(p): part for part, own in parts_of(model).items() if "." not in part for p in own}
    head = {name: p for name, p in named.items() if "lm_head" in name}
    shapes = []
    for part in ("vision", "sampler", "projector", "language"):
        own = [p for name, p in named.items() if part_of[id(p)] == part and name not in head]
        if not own:
            continue
        tower, words = part == "vision", part == "language"
        learns = sum(p.numel() for p in own if p.requires_grad) / sum(p.numel() for p in own)
        shapes.append(
            Shape(
                name=part,
                tokens=patches + 1 if tower else pictures + text_tokens if words else patches,
                weights=sum(p.numel() for p in own),
                width=vision.hidden_size if tower else text.hidden_size,
                blocks=vision.num_hidden_layers if tower else text.num_hidden_layers if words else 0,
                flows=_flows(model, vision.num_hidden_layers) if tower else 1.0,
                learns=learns,
                of_picture=not words,
            )
        )
    trained_head = any(p.requires_grad for p in head.values())
    shapes.append(
        Shape(
            name="head",
            tokens=pictures + text_tokens,
            weights=text.vocab_size * text.hidden_size,
            width=text.hidden_size,
            blocks=0,
            flows=1.0,
            learns=float(trained_head),
            vocabulary=text.vocab_size,
        )  # fmt: skip
    )
    return shapes


def sample_flops(shapes: list[Shape], *, checkpointing: bool, pictured: float = 1.0) -> float:
    """Operations of a sample, forward and backward. ``pictured``: the share of samples with a picture."""
    total = 0.0
    for shape in shapes:
        again = shape.flows if checkpointing and shape.blocks else 0.0
        share = pictured if shape.of_picture else 1.0
        total += share * shape.forward * (1 + shape.flows + shape.learns + again)
    return total


def memory(job: TrainJob, shapes: list[Shape], model: Any, *, gpus: int) -> dict[str, float]:
    """Bytes of each GPU by what takes them, at the peak of a step, in bf16 unless the job says fp32."""
    train = job.train
    bf16 = train.precision != "fp32"
    shards = gpus if train.fsdp else 1
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    language = {id(p) for p in parts_of(model)["language"]}
    halved = sum(
        p.numel() for p in model.parameters() if job.lora and bf16 and id(p) in language and not p.requires_grad
    )
    full = sum(p.numel() for p in model.parameters()) - halved
    blocks = {shape.name: shape for shape in shapes}
    gathered = max(shape.weights / max(1, shape.blocks) for shape in shapes) if train.fsdp else full
    at_once = train.per_device * (1.0 if bf16 else 2.0)
    kept = 0.0
    for shape in shapes:
        one = shape.tokens * shape.width * at_once
        through = shape.flows * shape.blocks
        kept += one * (
            (_INPUT * through + _BLOCK * bool(through)) if train.gradient_checkpointing else _BLOCK * through
        )
    head = blocks["head"]
    return {
        "weights": (4.0 * full + 2.0 * halved) / shards,
        "weights in computing": 2.0 * gathered if bf16 else 0.0,
        "gradients": 4.0 * trained / shards,
        "optimiser": 8.0 * trained / shards,
        "activations": kept,
        "logits": head.tokens * head.vocabulary * train.per_device * _LOGIT,
    }


def _flows(model: Any, blocks: int) -> float:
    """The share of the tower's blocks from the first that is trained on."""
    parts = parts_of(model)
    first = next((n for n in range(blocks) if any(p.requires_grad for p in parts[f"vision.{n}"])), blocks)
    return (blocks - first) / blocks
