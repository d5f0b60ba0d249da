"""Which model makes the embeddings, and loading it."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StrictInt
from pydantic.dataclasses import dataclass

from captionlake.curation.encoder import Encoder


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class EmbedConfig:
    """Which model makes the embeddings, and how.

    Of ``library`` open_clip, ``pretrained`` is one of its tags, or a folder with ``open_clip_config.json`` and
    ``open_clip_model.safetensors``. With a folder the architecture is the folder's, and ``model`` is the name it goes
    by. Of transformers, it is a folder that ``save_pretrained`` wrote, or a name on the Hub, and ``model`` is again the
    name it goes by. ``threads`` decode pictures (default: one a core). ``device`` is torch's name of one; ``auto`` is the
    GPU where there is one. ``precision`` is that of weights and activations; ``auto`` is bf16 where the device computes
    in it. Vectors are stored in float32 either way, under ids that differ.
    """

    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/+-]*$")]
    pretrained: Annotated[str, Field(min_length=1)]
    library: Literal["open_clip", "transformers"] = "open_clip"
    batch_size: Annotated[StrictInt, Field(ge=1, le=4096)] | None = None
    threads: Annotated[StrictInt, Field(ge=1, le=256)] | None = None
    device: Annotated[str, Field(min_length=1)] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"


def load_model(config: EmbedConfig) -> Encoder:
    """Load the model that ``config`` names. Raises where it is unknown, has no weights, or cannot be read.

    Nothing is unpickled: weights are safetensors, or are read with torch's ``weights_only``.
    """
    from captionlake.curation.open_clip_model import load_open_clip
    from captionlake.placement import place

    placement = place(config.device, config.precision)
    if config.library == "transformers":
        from captionlake.curation.transformers_model import load_transformers

        return load_transformers(config, placement)
    return load_open_clip(config, placement)


def model_id(config: EmbedConfig) -> str:
    """The id of the model that ``config`` names, for which it is loaded.

    For example ``ViT-B-32:4f3c0a9be120:224-bicubic-shortest-1f2e3d4c:bf16``: name, weights, size, interpolation, resize
    mode, a hash of all of the preprocessing, mean and standard deviation included, and the precision if not fp32.
    """
    return load_model(config).model_id
