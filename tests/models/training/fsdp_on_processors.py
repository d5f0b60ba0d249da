"""captionlake with FSDP on processors: accelerate shards on GPUs alone, torch's FSDP2 on either. Not a test: torchrun starts it."""

from typing import Any

from accelerate import PartialState
from accelerate.utils import DistributedType

from captionlake.cli import main

_made = PartialState.__init__


def _as_of_gpus(self: PartialState, *args: Any, **kwargs: Any) -> None:
    _made(self, *args, **kwargs)
    if self.distributed_type == DistributedType.MULTI_CPU:
        self.distributed_type = DistributedType.MULTI_GPU


PartialState.__init__ = _as_of_gpus
main()
