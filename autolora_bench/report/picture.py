"""A figure that is drawn when it is asked for, with what a reader who cannot see it needs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Picture:
    """One figure.

    Attributes:
        name: file name without suffix.
        caption: what it shows, of which model, seeds and data.
        alt: its content in a sentence.
        render: its bytes in a format, svg or png.
    """

    name: str
    caption: str
    alt: str
    render: Callable[[str], bytes]

    @cached_property
    def svg(self) -> bytes:
        """Scalable form, text as outlines."""
        return self.render("svg")

    @cached_property
    def png(self) -> bytes:
        """Raster form."""
        return self.render("png")
