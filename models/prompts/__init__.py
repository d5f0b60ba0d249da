"""What a teacher is asked: prompts by collection and subset, with what is known of each row fenced as data."""

from captionlake.models.prompts.prompt_set import Prompt, PromptSet

__all__ = ["Prompt", "PromptSet"]
