"""Figures, each a function from tables or artefacts to pictures; one file per kind."""
