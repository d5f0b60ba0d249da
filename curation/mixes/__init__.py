"""Mixes for fine-tuning: a base of conversations, its detailed captions found, others in their place."""
