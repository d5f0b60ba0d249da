"""GPUs that a plan can be made for: peak of dense bf16 with fp32 accumulation, in TFLOP/s, and memory, in GB. From NVIDIA's data sheets."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gpu:
    """``tflops``: 10^12 operations a second; ``memory_gb``: 10^9 bytes."""

    tflops: float
    memory_gb: float


GPUS = {
    "a100-40g": Gpu(312.0, 40),
    "a100-80g": Gpu(312.0, 80),
    "h100": Gpu(989.4, 80),
    "h200": Gpu(989.4, 141),
    "l40s": Gpu(362.05, 48),
    "a10g": Gpu(70.0, 24),
    "rtx4090": Gpu(165.2, 24),
}
