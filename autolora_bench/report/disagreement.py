"""The examples on which methods disagree most: what a mean over a split does not show.

A run leaves its examples with what is right and what it predicted (`evaluate/<split>.examples.jsonl`). Over the seeds
of a row, an example's value is the share of runs that have it right (of tags: the mean share of right tags), of a
regression the mean prediction. Disagreement is the largest value of a row less the smallest.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autolora_bench.errors import UserError
from autolora_bench.paths import EXAMPLES
from autolora_bench.plan import PlannedRun
from autolora_bench.record import RunRecord
from autolora_bench.report import numerals
from autolora_bench.report.artefacts import artefact_path
from autolora_bench.report.build import FORMATS, plainly
from autolora_bench.report.collect import Collection, Identity
from autolora_bench.report.formats import PlainTable
from autolora_bench.report.prepared import choose, prepare
from autolora_bench.report.runs import Run
from autolora_bench.report.scoreboard import Table
from autolora_bench.untrusted import in_a_line, parse_json, read_bytes

PREDICTED = ("gold", "prediction", "probability")
LARGEST = 2**30
"""Bytes of a file of examples."""


@dataclass(frozen=True)
class Example:
    """One example as a run left it."""

    given: str
    """Its columns, as one text."""
    gold: Any
    predicted: Any

    @property
    def value(self) -> float:
        """How right the prediction is, from 0 to 1; of a number the prediction itself."""
        if isinstance(self.gold, int | float) and isinstance(self.predicted, int | float):
            return float(self.predicted)
        if isinstance(self.gold, list) and isinstance(self.predicted, list):
            same = sum(one == other for one, other in zip(self.gold, self.predicted, strict=True))
            return float(same / max(1, len(self.gold)))
        return float(self.gold == self.predicted)

    @property
    def is_text(self) -> bool:
        """Whether it was written, so that no single answer is right."""
        return isinstance(self.gold, list) and isinstance(self.predicted, str)


Examples = dict[int, Example]
"""Place in the split -> example."""


def report_examples(
    records: Collection | Sequence[RunRecord],
    planned: Sequence[PlannedRun] | None = None,
    *,
    most: str,
    format: str = "markdown",
    title: str = "Results",
) -> str:
    """The examples on which methods disagree most, as text.

    Args:
        records: what `collect` found; the examples are read from the runs' folders.
        planned: as for `prepare`.
        most: examples of each table, a whole number.
        format: markdown, csv, json, html or latex.
        title: heading of the study.

    Raises:
        UserError: nothing to report, an unknown format, no number, or no two methods whose runs left their examples.
    """
    choose("format", format, FORMATS)
    if not (most.isdecimal() and int(most)):
        raise UserError(f"examples={most} is no number of examples", "say a whole number, as in examples=20")
    prepared = prepare(records, planned, title=title, arena=False)
    tables, problems = disagreement_tables(prepared.tables, prepared.collection.folders, int(most))
    if not tables:
        raise UserError(
            "; ".join(problems) or "no run left its examples: records that were made small have none",
            "run two methods or more of one task, or name the folder that holds the runs: results=DIR",
        )
    tables[-1] = replace(tables[-1], notes=(*tables[-1].notes, *problems))
    return plainly(tables, format)


def disagreement_tables(
    tables: Sequence[Table], folders: Mapping[Identity, Path], most: int
) -> tuple[list[PlainTable], list[str]]:
    """A table for every task and split that two rows or more have predicted, and a line for what cannot be shown.

    Args:
        tables: of scores.
        folders: the run's folder of every record.
        most: examples of a table.
    """
    shown: list[PlainTable] = []
    problems: list[str] = []
    for table in tables:
        found: dict[tuple[str, str], dict[str, list[Examples]]] = defaultdict(lambda: defaultdict(list))
        for row in table.rows:
            for task, runs in row.by_task.items():
                for run in runs:
                    for split, examples in _read(run, folders, problems).items():
                        found[task, split][row.label].append(examples)
        for (task, split), rows in found.items():
            title = f"{table.named(task)}, {split}, {table.model}: examples on which methods disagree most"
            made = _table(title, rows, most)
            shown += [made] if isinstance(made, PlainTable) else []
            problems += [f"{table.named(task)}, {split}: {made}"] if isinstance(made, str) else []
    return shown, problems


def _read(run: Run, folders: Mapping[Identity, Path], problems: list[str]) -> dict[str, Examples]:
    """Split -> its examples, of a completed run whose folder has them."""
    record = run.completed
    folder = folders.get(record.identity) if record else None
    if record is None or folder is None:
        return {}
    found: dict[str, Examples] = {}
    for split in dict.fromkeys([*record.best, *record.last, *record.test]):
        path = artefact_path(folder, record, "evaluate", f"{split}{EXAMPLES}")
        if path is None:
            continue
        try:
            found[split] = _parsed(path)
        except (OSError, ValueError, TypeError, KeyError) as error:
            problems.append(f"{path} cannot be read: {in_a_line(str(error))}")
    return found


def _parsed(path: Path) -> Examples:
    found: Examples = {}
    for line in read_bytes(path, LARGEST).splitlines():
        values = parse_json(line)
        columns = {name: value for name, value in values.items() if name not in (*PREDICTED, "id")}
        found[int(values["id"])] = Example(_written(columns), values["gold"], values["prediction"])
    return found


def _written(columns: Mapping[str, Any]) -> str:
    texts = [" ".join(value) if _is_words(value) else value for value in columns.values()]
    return " | ".join(text if isinstance(text, str) else json.dumps(text) for text in texts if text)


def _is_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _table(title: str, rows: Mapping[str, Sequence[Examples]], most: int) -> PlainTable | str:
    """The table; or why there is none."""
    if len(rows) < 2:
        return f"{next(iter(rows))} alone has predictions"
    runs = [examples for of_row in rows.values() for examples in of_row]
    places = set.intersection(*({*examples} for examples in runs))
    same = [
        place
        for place in sorted(places)
        if all(
            (one[place].given, one[place].gold) == (runs[0][place].given, runs[0][place].gold) for one in runs
        )
    ]
    if not same:
        return "no example is the same in all runs"
    if runs[0][same[0]].is_text:
        return "texts have no single right answer"
    values = {
        place: [sum(one[place].value for one in of_row) / len(of_row) for of_row in rows.values()]
        for place in same
    }
    spread = {place: max(found) - min(found) for place, found in values.items()}
    chosen = sorted(
        (place for place in same if spread[place] > 1e-9), key=lambda place: (-spread[place], place)
    )
    lines = tuple(
        (
            str(place),
            in_a_line(runs[0][place].given),
            _shown(runs[0][place].gold),
            *(_cell(of_row, place) for of_row in rows.values()),
        )
        for place in chosen[:most]
    )
    counts = f"{len(chosen):,} of {len(same):,} examples differ between rows"
    left = len({place for examples in runs for place in examples}) - len(same)
    notes = [counts + (f"; {left:,} are not the same in all runs and are left out" if left else "") + "."]
    notes.append(
        "Mean prediction over the seeds."
        if isinstance(runs[0][same[0]].gold, int | float)
        else "The commonest prediction over the seeds, and how many of the runs are right (of tags: their mean share)."
    )
    return PlainTable(title, ("id", "example", "right", *rows), lines, tuple(notes))


def _cell(of_row: Sequence[Examples], place: int) -> str:
    found = [examples[place] for examples in of_row]
    mean = sum(one.value for one in found) / len(found)
    if isinstance(found[0].gold, int | float | list):
        return numerals.size(mean)
    commonest = Counter(str(one.predicted) for one in found).most_common(1)[0][0]
    return f"{in_a_line(commonest)} ({sum(one.value for one in found):.0f}/{len(found)})"


def _shown(gold: Any) -> str:
    if isinstance(gold, float):
        return numerals.size(gold)
    return in_a_line(" ".join(gold) if _is_words(gold) else str(gold))
