"""The one check that every corpus metric makes of its input."""

from collections.abc import Sequence

from autolora_bench.errors import UserError

References = Sequence[Sequence[str]]


def check_segments(hypotheses: Sequence[str], references: References) -> None:
    """Refuse a corpus without segments, of two lengths, or with a segment that has no reference.

    Raises:
        UserError: naming both lengths, or the first segment (counted from 1) without a reference.
    """
    if len(hypotheses) != len(references):
        raise UserError(
            f"{len(hypotheses)} outputs for {len(references)} sets of references",
            "give one output for each segment, an empty one where nothing was generated",
        )
    if not hypotheses:
        raise UserError("there is nothing to score: no outputs", "give one output for each segment")
    for number, candidates in enumerate(references, start=1):
        if not any(reference.strip() for reference in candidates):
            raise UserError(f"segment {number} has no reference", "give every segment one reference or more")
