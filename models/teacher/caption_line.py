"""A caption as one line of the spool: its key, and what the reply adds."""

import time

from captionlake.models.captions.table import Line
from captionlake.models.teacher.outcome import Reply
from captionlake.models.teacher.pending import Asked


def spool_line(asked: Asked, caption_id: str, image_id: str, prompt_id: str, prompt_sha256: str) -> Line:
    """A caption's key as it stands in the spool."""
    return {
        "caption_id": caption_id,
        "image_id": image_id,
        "producer": asked.config.captions_by,
        "prompt_id": prompt_id,
        "prompt_sha256": prompt_sha256,
        "params": asked.params,
    }


def told(reply: Reply, cost: float | None) -> Line:
    """What a reply adds to it."""
    return {
        "text": reply.text,
        "producer_revision": reply.revision,
        "input_tokens": reply.usage.input_tokens if reply.usage else None,
        "output_tokens": reply.usage.output_tokens if reply.usage else None,
        "cost_usd": cost,
        "finish_reason": reply.finish_reason,
        "created_at": time.time(),
    }
