"""Conversations for fine-tuning: files in, releases of kind ``sft``, and their rows in order."""
