"""Data to text: records become prompts, prompts become texts, texts become scores."""
