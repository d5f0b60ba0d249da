"""ShareGPT4V-7B and its like: LLaVA from any CLIP or SigLIP tower and any causal language model."""
