"""What a reader must know of a table, written from the records it rests on."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from autolora_bench.record import RunRecord
from autolora_bench.report.columns import Column
from autolora_bench.report.entries import Entry
from autolora_bench.report.numerals import plural, span
from autolora_bench.report.origins import data_notes, origin_notes
from autolora_bench.report.rank_effect import rank_notes
from autolora_bench.report.rows import RowRuns, settings
from autolora_bench.report.scoreboard import ALPHA, FEW, Table
from autolora_bench.report.stated import setting, stated


def footnotes_of(table: Table, entries: Sequence[Entry], rows: Sequence[RowRuns]) -> list[str]:
    """Footnotes of a table, in the order a reader needs them."""
    records = [entry.completed for entry in entries if entry.completed]
    if not records:
        return [*_model(entries), "No run is completed yet.", *_published(table)]
    return [
        *_model(entries),
        *_cells(table, records),
        *_epochs(table.columns, records),
        *_parameters(table),
        *_times(table),
        *_settings(rows),
        *rank_notes(table),
        *data_notes(records),
        *_undefined(table),
        *origin_notes(records),
        *_published(table),
    ]


def _model(entries: Sequence[Entry]) -> list[str]:
    notes = dict.fromkeys(entry.note for entry in entries if entry.note)
    return [f"Model {entries[0].model}: {note}." for note in notes]


def _cells(table: Table, records: list[RunRecord]) -> list[str]:
    seeds = ", ".join(str(seed) for seed in sorted({record.seed for record in records}))
    lines = [
        f"Cells: mean ± standard deviation over n = {table.usual_n} (seeds {seeds}); another n is stated in the cell."
    ]
    if any(cell.few for row in table.rows for cell in row.cells.values()):
        lines.append(f"†: fewer than {FEW} seeds.")
    marked = any(cell.best for row in table.rows for cell in row.cells.values())
    lines.append(
        "Bold: a headline score or average that is best, and separated from the second best in the paired comparisons: "
        f"one family, one correction, p < {ALPHA} after Holm{'' if marked else ' (no cell is, here)'}."
    )
    if any(column.is_average for column in table.columns):
        lines.append("Average: mean of the tasks' headline scores; empty where a task has none.")
    if table.marked:
        lines.append(
            "*: not the whole data, or generated examples: see Data. No difference to published values is taken."
        )
    return lines


def _epochs(columns: Sequence[Column], records: list[RunRecord]) -> list[str]:
    lines = []
    kinds = {column.epoch for column in columns}
    if "best" in kinds:
        lines.append(
            "Best epoch: chosen by the headline metric on the very split that is scored, so these scores lean upwards."
        )
    if "last" in kinds:
        lines.append("Last epoch: scores after the last epoch, whichever was best.")
    if "kept" in kinds:
        kept = sorted({stated(setting(record, "train", "keep")) for record in records if record.test})
        lines.append(f"Test splits: scored once, with the weights of the {' or '.join(kept)} epoch.")
    splits = sorted({c.split for c in columns if c.split})
    lines.append(f"Splits: {', '.join(splits)}.")
    notes = Counter(
        f"{record.task} {split}: {e.note}" for record in records for split, e in _shown(record) if e.note
    )
    return lines + [f"{note} ({plural(count, 'run')})." for note, count in sorted(notes.items())]


def _shown(record: RunRecord) -> list[tuple[str, Any]]:
    return [*record.best.items(), *record.test.items()]


def _parameters(table: Table) -> list[str]:
    heads = [f"{row.label} {span(row.trainable)}" for row in table.rows if row.trainable]
    if not heads:
        return []
    return [
        f"Parameters: millions of weights the method trains, without the task's head; with it: {', '.join(heads)}."
    ]


def _times(table: Table) -> list[str]:
    if all(row.seconds is None for row in table.rows):
        return []
    return [
        "Training s: wall-clock seconds of one run's optimizer steps, search included, mean over seeds, then tasks; "
        "empty where a task has no run. All on one machine."
    ]


def _settings(rows: Sequence[RowRuns]) -> list[str]:
    """What tells the rows of one method apart and no label says, and what of that a recipe set for a task."""
    parts = []
    for row in rows:
        said = [settings(row.untold)] if row.untold else []
        by_settings: dict[str, list[str]] = {}
        for task, variant in row.by_task:
            by_settings.setdefault(settings(variant), []).append(task)
        said += [f"{text} on {', '.join(tasks)}" for text, tasks in by_settings.items()]
        if said:
            parts.append(f"{row.label}: {', '.join(said)}")
    return [f"Settings that tell rows apart. {'; '.join(parts)}."] if parts else []


def _undefined(table: Table) -> list[str]:
    lines = []
    for row in table.rows:
        for column, cell in row.cells.items():
            seeds = [str(e.seed) for e in cell.entries if e.completed and e.seed not in cell.scores]
            if seeds:
                lines.append(
                    f"{row.label}, {column.title} {column.subtitle}: not defined for seed {', '.join(seeds)}."
                )
    return lines


def _published(table: Table) -> list[str]:
    """The sources of published rows, with what their readers must know."""
    lines = []
    for origin, number in table.origins.items():
        rows = [row for row in table.published if row.origin == origin]
        notes: dict[str, list[str]] = {}
        for row in rows:
            for note in row.notes:
                notes.setdefault(note, []).append(f"{row.method} {row.backbone}")
        parts = [
            note if len(who) == len(rows) else f"{', '.join(who)}: {note}" for note, who in notes.items()
        ]
        lines.append(f"[{number}] {origin}: {'; '.join(parts)}.")
    if any(row.differences for row in table.published):
        lines.append(
            "(ours +/-): our mean minus the published value, for the same backbone and setting only."
        )
    return lines
