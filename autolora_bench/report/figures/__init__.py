"""Figures, each a function from tables to pictures; one file per subject."""
