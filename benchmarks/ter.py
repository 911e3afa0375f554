"""Time our TER against one call of pyter3 for each reference, on the same segments, in one process.

    python benchmarks/ter.py HYPOTHESIS REFERENCE0 [REFERENCE1 ...]
    python benchmarks/ter.py FOLDER          # with the files hypothesis, reference0, reference1, ...

Both sides get the same lists of words. The scores must be equal; the ratio of their CPU seconds is printed. pyter3
takes about two minutes on WebNLG's 1,862 test segments with six references; --segments N takes every so many-th only.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rounds import timed

from autolora_bench.errors import UserError
from autolora_bench.metrics.generation.ter import ter
from autolora_bench.scoring.predictions import read_lines

Corpus = tuple[list[str], list[list[str]]]


def pyter_mean(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """TER as WebNLG/GenerationEval calls pyter3: every reference, the least rate, the mean over segments."""
    import pyter

    rates = []
    for hypothesis, candidates in zip(hypotheses, references, strict=True):
        words = [text.split() for text in candidates]
        rates.append(
            min(pyter.ter(hypothesis.split(), reference) if reference else 1.0 for reference in words)
        )
    return sum(rates) / len(rates)


def read_corpus(paths: Sequence[Path], segments: int | None) -> Corpus:
    """Outputs and references of the files, or a regular sample of them."""
    if len(paths) == 1:
        paths = [paths[0] / "hypothesis", *sorted(paths[0].glob("reference*"))]
    columns = [read_lines(path) for path in paths]
    if len(columns) < 2 or len({len(column) for column in columns}) > 1:
        counts = ", ".join(f"{path.name} {len(column)}" for path, column in zip(paths, columns, strict=True))
        raise UserError(f"lines differ or there is no reference: {counts}", "give files of one length")
    rows = list(zip(*columns, strict=True))
    rows = rows[:: max(1, len(rows) // segments)] if segments else rows
    return [row[0] for row in rows], [list(row[1:]) for row in rows]


def scored(function: Callable[..., float], corpus: Corpus) -> tuple[float, float]:
    """Value and CPU seconds of one call."""
    values: list[float] = []
    seconds = timed(lambda: values.append(function(*corpus)))
    return values[0], seconds.cpu


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--segments", type=int, help="about so many segments, evenly spaced")
    arguments = parser.parse_args()
    try:
        corpus = read_corpus(arguments.paths, arguments.segments)
    except UserError as error:
        print(error.what, error.mend, sep="\n", file=sys.stderr)
        return 2
    ter(["warm"], [["up"]])
    ours, our_seconds = scored(ter, corpus)
    theirs, their_seconds = scored(pyter_mean, corpus)
    print(f"segments {len(corpus[0])}, references {sum(map(len, corpus[1]))}")
    print(f"ours   {ours:.12f} in {our_seconds:8.2f} CPU s")
    print(f"pyter3 {theirs:.12f} in {their_seconds:8.2f} CPU s")
    print(f"ratio  {their_seconds / our_seconds:.0f}x, scores {'equal' if ours == theirs else 'DIFFERENT'}")
    return 0 if ours == theirs else 1


if __name__ == "__main__":
    sys.exit(main())
