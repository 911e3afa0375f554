"""What rows of a table do not share though a comparison expects it: settings, data, pretrained weights, units."""

from collections.abc import Sequence

from autolora_bench.config.registry import UNTRAINED
from autolora_bench.record import PRETRAINED, RunRecord
from autolora_bench.report.numerals import plural
from autolora_bench.report.runs import told
from autolora_bench.report.scoreboard import Column, Row, Table
from autolora_bench.report.units import metric_of, metric_title

SHARED = ("train.", "model.", "task.max_length")
"""Settings that a comparison of methods expects to be alike."""
RATES = ("learning_rate", "corrections")
"""Endings of settings that belong to a method on a task, and of what the program fills in."""
READ = (".safetensors", "tokenizer.json", "vocab.txt")
"""Endings of the files that weights and words are read from; other files of a model differ from place to place."""
SHORT = 8
"""Letters of a fingerprint that a reader is shown."""


def settings_apart(table: Table) -> list[str]:
    """Settings beside the methods' own in which rows of one task differ, and methods' own that differ over tasks.

    Left out is what the rows' labels say, and rates, which belong to a method and a task.
    """
    said = {name for row in table.rows for name, _ in row.variant} | {"method.cell"}
    titles = {column.task: column.title for column in table.columns if not column.is_average}
    rows = [row for row in table.rows if row.method != UNTRAINED]
    found: dict[str, list[str]] = {}
    for task, title in titles.items():
        own = [(row.label, one) for row in rows if (one := _settings_on(row, task))]
        for text in _differing(own, SHARED, said):
            found.setdefault(text, []).append(title)
    lines = [f"Trained otherwise, {', '.join(tasks)}: {text}." for text, tasks in found.items()]
    for row in rows:
        own = [(title, one) for task, title in titles.items() if (one := _settings_on(row, task))]
        lines += [f"{row.label}: {text}." for text in _differing(own, ("method.",), said)]
    return lines


def _differing(
    own: Sequence[tuple[str, dict[str, str]]], kinds: tuple[str, ...], said: set[str]
) -> list[str]:
    """`train.epochs 10 (LoRA), 3 (the others)`, the rarest value first; a line per setting.

    Args:
        own: what it is called, its settings.
        kinds: how a setting's name may begin.
        said: settings that need no line.
    """
    lines = []
    for name in sorted({name for _, one in own for name in one if name.startswith(kinds)} - said):
        values: dict[str, list[str]] = {}
        for label, one in own:
            values.setdefault(told(one, name), []).append(label)
        if len(values) == 1:
            continue
        groups = sorted(values.items(), key=lambda group: len(group[1]))
        sizes = [len(labels) for _, labels in groups]
        others = len(groups) - 1 if sizes[-1] > max(2, *sizes[:-1]) else None
        parts = [
            f"{value} ({'the others' if place == others else ', '.join(labels)})"
            for place, (value, labels) in enumerate(groups)
        ]
        lines.append(f"{name} {', '.join(parts)}")
    return lines


def _settings_on(row: Row, task: str) -> dict[str, str]:
    """Of the row's completed runs on the task; a row has one configuration of each."""
    settings = [run.settings for run in row.by_task.get(task, []) if run.completed]
    return {n: v for n, v in settings[0].items() if not n.endswith(RATES)} if settings else {}


def warnings_of(table: Table) -> list[str]:
    """A line per kind of thing that rows of a table do not share, where that makes their scores no comparison."""
    return [*_units(table), *_weights(table), *_data(table), *_references(table)]


def _units(table: Table) -> list[str]:
    return [
        f"WARNING {column.title} {metric_title(column.score)}: records state other units or directions of it, so that "
        "its scores cannot be set beside one another."
        for column in table.columns
        if not column.is_average and len(_readings(table, column)) > 1
    ]


def _readings(table: Table, column: Column) -> set[tuple[bool, float]]:
    """Direction and scale that the records of a column state of its score."""
    runs = [run.completed for row in table.rows for run in row.cells[column].runs]
    metrics = [metric_of(column.score, [record]) for record in runs if record]
    return {(metric.higher_is_better, metric.published_scale) for metric in metrics}


def _weights(table: Table) -> list[str]:
    """File by file, and by the hub's commit: a copy's files are not a commit's."""
    lines = []
    rows: dict[str, dict[str, dict[str, None]]] = {}
    for row in table.rows:
        for run in row.runs:
            for name, digest in _inputs(run.completed).items() if run.completed else ():
                if name == "commit" or name.endswith(READ):
                    rows.setdefault(name, {}).setdefault(digest, {})[row.label] = None
    for name, found in rows.items():
        if len(found) > 1:
            named = "; ".join(f"{', '.join(labels)} {digest[:SHORT]}" for digest, labels in found.items())
            weights = plural(len(found), "different pretrained model")
            lines.append(
                f"WARNING {table.model}: runs started from {weights} of this name ({name}: {named})."
            )
    return lines


def _inputs(record: RunRecord) -> dict[str, str]:
    found = record.inputs.get(PRETRAINED)
    return {str(name): str(one) for name, one in found.items()} if isinstance(found, dict) else {}


def _data(table: Table) -> list[str]:
    """A line per task some of whose rows were run on other data than others with the same seed."""
    lines = []
    for task in dict.fromkeys(run.task for row in table.rows for run in row.runs):
        seen: dict[int, set[str]] = {}
        rows: dict[str, dict[str, None]] = {}
        for row in table.rows:
            for run in row.runs:
                if run.completed and run.task == task:
                    *_, data = run.pair
                    seen.setdefault(run.seed, set()).add(data)
                    rows.setdefault(data, {})[row.label] = None
        if any(len(found) > 1 for found in seen.values()):
            told = "; ".join(f"{', '.join(labels)} on {data[:SHORT]}" for data, labels in rows.items())
            lines.append(
                f"WARNING {task}: the same seed was run on different data, so that such scores are neither paired nor "
                f"tested ({told})."
            )
    return lines


def _references(table: Table) -> list[str]:
    """Controls whose ranks are not those of the runs that they are compared with: these were made again since."""
    rows = [(row, run) for row in table.rows for run in row.runs if run.completed]
    totals = {
        (f"{run.task}/{run.completed.model}/{run.method}-{run.config_id}", run.seed): _total(run.completed)
        for _, run in rows
        if run.completed
    }
    found: dict[str, list[str]] = {}
    for row, run in rows:
        cell = run.setting("method", "cell")
        other = totals.get((str(cell), run.seed)) if cell else None
        own = _total(run.completed) if run.completed else None
        if None not in (own, other) and own != other:
            found.setdefault(row.label, []).append(f"{run.task}, seed {run.seed}: {own} and {other}")
    return [
        f"WARNING {label}: its total rank is not that of the run that it is a control of ({'; '.join(where)}): that "
        "run was made again since. Make the control again too, with rerun=all."
        for label, where in found.items()
    ]


def _total(record: RunRecord) -> int | None:
    return sum(layer.rank for layer in record.ranks) if record.ranks else None
