"""A figure as bytes, with what a reader who cannot see it needs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Picture:
    """One figure in both formats.

    Attributes:
        name: file name without suffix.
        caption: what it shows, of which model, seeds and data.
        alt: its content in a sentence.
        svg: scalable form, text as outlines.
        png: raster form.
    """

    name: str
    caption: str
    alt: str
    svg: bytes
    png: bytes
