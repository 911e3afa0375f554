"""METEOR 1.5 (Denkowski and Lavie 2014) over tokenised texts, aggregated over segments."""

from collections.abc import Mapping, Sequence

from autolora_bench.metrics.generation.java import started_again
from autolora_bench.metrics.generation.meteor_process import LOCK, close_shared, shared_process
from autolora_bench.metrics.generation.segments import References, check_segments


def meteor(hypotheses: Sequence[str], references: References) -> float:
    """METEOR of a corpus, 0..1; the best reference of each segment counts.

    Args:
        hypotheses: N tokenised texts, tokens joined by blanks.
        references: for each its tokenised references.

    Raises:
        UserError: see `check_segments`.
        MetricUnavailableError: no Java runtime, or METEOR died twice; the next call starts it again.
    """
    return meteor_subsets(hypotheses, references, {"all": range(len(hypotheses))})["all"]


def meteor_subsets(
    hypotheses: Sequence[str], references: References, subsets: Mapping[str, Sequence[int]]
) -> dict[str, float]:
    """METEOR of several subsets of one corpus, each given by its segments' positions; aligned only once."""
    check_segments(hypotheses, references)
    return started_again(lambda: _aligned(hypotheses, references, subsets))


def _aligned(
    hypotheses: Sequence[str], references: References, subsets: Mapping[str, Sequence[int]]
) -> dict[str, float]:
    with LOCK:
        process = shared_process()
        try:
            statistics = process.statistics(hypotheses, references)
            return {
                name: process.aggregate([statistics[i] for i in chosen]) for name, chosen in subsets.items()
            }
        except BaseException:
            close_shared()  # answers may be under way that the next call would take for its own
            raise
