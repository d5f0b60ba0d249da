"""``VllmEngine``: LLaVA checkpoints through vLLM, which makes up its own batches and pages its cache.

Written against vLLM's documented offline interface (``LLM.generate`` with ``multi_modal_data``). It has not been run: no machine
that captionlake is tested on has vLLM. Where it fails, take ``engine = transformers``.
"""

import os
from collections.abc import Sequence

from PIL import Image

from captionlake.errors import CaptionlakeError, require
from captionlake.models.running.engine import Ready, Written
from captionlake.models.running.folder import CheckpointFolder
from captionlake.models.running.generation import GenerationConfig
from captionlake.models.running.loading import load_processor
from captionlake.models.running.transformers_engine import plain, prompt_of

_AT_A_TIME = 256  # pictures that vLLM gets to make batches of


class VllmEngine:
    """Greedy, in bf16 or fp32. Raises where the model does not fit or sampling is asked for."""

    def __init__(
        self, folder: CheckpointFolder, question: str, config: GenerationConfig, device: str, dtype: str
    ) -> None:
        if config.sampling != "greedy":
            raise CaptionlakeError(
                f"vLLM has no beams to sample with (sampling = {config.sampling}): take engine = transformers"
            )
        gpu = device.partition(":")[2]
        if gpu:  # of those that are visible, in a process that has not touched any
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
            os.environ["CUDA_VISIBLE_DEVICES"] = visible[int(gpu)] if visible != [""] else gpu
        vllm = require("vllm", extra="models")
        self.batch_size = config.batch_size or _AT_A_TIME
        self._prompt = prompt_of(load_processor(folder), question)
        self._settings = vllm.SamplingParams(temperature=0.0, max_tokens=config.most_tokens)
        try:
            self._model = vllm.LLM(
                model=str(folder.path), dtype=dtype, trust_remote_code=False, limit_mm_per_prompt={"image": 1}
            )
        except (RuntimeError, ValueError) as error:
            raise CaptionlakeError(
                f"vLLM does not load {folder.path} ({' '.join(str(error).split())[:200]}): take engine = transformers"
            ) from error

    def ready(self, picture: Image.Image) -> Ready:
        """vLLM prepares pictures itself."""
        return Ready(picture, None)

    def write(self, batch: Sequence[Ready]) -> list[Written]:
        """The texts, in order."""
        asked = [{"prompt": self._prompt, "multi_modal_data": {"image": one.inputs}} for one in batch]
        found = []
        for answer in self._model.generate(asked, self._settings, use_tqdm=False):
            (text,) = answer.outputs
            tokens = len(text.token_ids)
            found.append(Written(plain(text.text), len(answer.prompt_token_ids), tokens, text.finish_reason))
        return found
