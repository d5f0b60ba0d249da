"""``python -m captionlake.models.captioner``: the sizes and their counts of parameters, as docs/captioner.md has them."""

import click
import torch

from captionlake.models.parts import parts_of

from .model import ShareCaptionerForConditionalGeneration
from .released import released_bytes
from .sizes import SIZES, config_of

_PARTS = ("vision", "sampler", "projector", "language")


def main() -> None:
    click.echo(f"| size | picture | patches | queries | {' | '.join(_PARTS)} | all |")
    click.echo("|---" * 9 + "|")
    for size in SIZES:
        config = config_of(size)
        with torch.device("meta"):
            model = ShareCaptionerForConditionalGeneration(config)
        parts = parts_of(model)
        counts = [sum(parameter.numel() for parameter in parts[part]) for part in _PARTS]
        side, patch = config.vision_config.image_size, config.vision_config.patch_size
        cells = [
            str(side),
            str((side // patch) ** 2),
            str(config.num_queries),
            *(f"{n:,}" for n in [*counts, sum(counts)]),
        ]
        click.echo(f"| `{size}` | {' | '.join(cells)} |")
    click.echo(f"\nfull in the released form: {released_bytes(config_of('full')):,} bytes")


if __name__ == "__main__":
    main()
