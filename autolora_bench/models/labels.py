"""What transformers' models take as labels."""

IGNORED = -100
"""The label of a token that has none: no loss counts it."""
