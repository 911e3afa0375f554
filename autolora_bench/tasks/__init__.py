"""Task kinds: how examples become tensors, and predictions become scores."""
