"""What guessing scores, and which scores are no better: a comparison of two guessers compares nothing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from autolora_bench.record import Evaluation
from autolora_bench.report.frames import evaluation_of
from autolora_bench.report.runs import Run
from autolora_bench.report.scoreboard import Column, Table

CORRELATIONS = ("matthews_correlation", "pearson", "spearman")
SURE = 0.95


@dataclass(frozen=True)
class Chance:
    """What a column's score is without any knowledge."""

    level: float
    """In the published unit."""
    limit: float
    """A guesser stays at or below this in 95 % of evaluations: the binomial's normal approximation for an accuracy, the
    standard error 1 / sqrt(n - 1) for a correlation. Who always says the most frequent label is such a guesser."""
    examples: int
    """On which the limit rests, the fewest of all runs."""

    def holds(self, score: float | None) -> bool:
        """Whether a score is no better than guessing."""
        return score is not None and score <= self.limit


def chances_of(table: Table) -> dict[Column, Chance]:
    """The columns whose chance level is known: correlations, and accuracies of tasks with labels. Their level is the
    share of the most frequent label; where no record says it, that of labels guessed evenly."""
    found = {}
    for column in table.columns:
        runs = [run for row in table.rows for run in row.cells[column].runs if run.completed]
        scored = [one for run in runs if (one := evaluation_of(run, column.epoch, column.split))]
        examples = [one.examples for one in scored if one.examples]
        level = _level(column, runs, scored)
        if level is not None and examples and not column.is_average:
            found[column] = Chance(level * 100.0, 100.0 * _limit(level, min(examples)), min(examples))
    return found


def guessed(table: Table, chances: dict[Column, Chance]) -> dict[Column, tuple[int, int]]:
    """Column -> how many of its scores are no better than chance, and how many it has; only of columns with any."""
    found = {}
    for column, chance in chances.items():
        means = [mean for row in table.rows if (mean := row.cells[column].mean) is not None]
        none = sum(map(chance.holds, means))
        if none:
            found[column] = (none, len(means))
    return found


def _level(column: Column, runs: Sequence[Run], scored: Sequence[Evaluation]) -> float | None:
    if column.metric.published_scale != 100.0:
        return None
    if column.score in CORRELATIONS:
        return 0.0
    shares = [one.largest_class for one in scored if one.largest_class is not None]
    if column.score == "accuracy" and shares:
        return max(shares)
    labels = {len(found) for run in runs if isinstance(found := run.setting("task", "labels"), list)}
    return 1.0 / labels.pop() if column.score == "accuracy" and len(labels) == 1 and min(labels) > 1 else None


def _limit(level: float, examples: int) -> float:
    error = math.sqrt(level * (1.0 - level) / examples) if level else 1.0 / math.sqrt(max(examples - 1, 1))
    return level + NormalDist().inv_cdf(SURE) * error
