"""Hugging Face's Trainer, configured once for every method."""
