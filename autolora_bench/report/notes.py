"""What a reader must know of a table, written from the records it rests on: cells, settings, data, code, hardware."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from autolora_bench.config.corrections import earlier_rules
from autolora_bench.record import RunRecord
from autolora_bench.report.comparisons import rank_notes
from autolora_bench.report.numerals import plural, span, stated
from autolora_bench.report.rows import RowRuns, settings_note
from autolora_bench.report.runs import Run, earlier_attempts, family_of, hardware, method_order, setting
from autolora_bench.report.scoreboard import ALPHA, FEW, TIMED, Column, Row, Table
from autolora_bench.report.unlike import settings_apart


def footnotes_of(table: Table, runs: Sequence[Run], rows: Sequence[RowRuns]) -> list[str]:
    """Footnotes of a table, in the order a reader needs them."""
    records = [run.completed for run in runs if run.completed]
    if not records:
        return [*_model(runs), "No run is completed yet.", *_published(table)]
    return [
        *_model(runs),
        *_cells(table, records),
        *_epochs(table.columns, records),
        *_parameters(table),
        *_times(table),
        *settings_note(rows),
        *settings_apart(table),
        *_earlier(table),
        *_readings(table),
        *rank_notes(table),
        *data_notes(records),
        *_undefined(table),
        *origin_notes(records),
        *_published(table),
    ]


def _model(runs: Sequence[Run]) -> list[str]:
    notes = dict.fromkeys(run.note for run in runs if run.note)
    return [f"Model {runs[0].model}: {note}." for note in notes]


def _cells(table: Table, records: list[RunRecord]) -> list[str]:
    seeds = sorted({record.seed for record in records})
    which = f"{'' if len(seeds) == table.usual_n else 'of '}seeds {', '.join(map(str, seeds))}"
    lines = [
        f"Cells: mean ± standard deviation over n = {table.usual_n} ({which}); another n is stated in the cell."
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
    if any(column.shuffled for column in table.columns):
        lines.append("Of shuffled labels: a control, in no average and no comparison over tasks.")
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
            + _chosen_on(columns)
        )
    if "last" in kinds:
        lines.append("Last epoch: scores after the last epoch, whichever was best.")
    if "kept" in kinds:
        kept = sorted({stated(setting(record, "train", "keep")) for record in records if record.test})
        lines.append(f"Test splits: scored once, with the weights of the {' or '.join(kept)} epoch.")
    lines += _tested_in_part(columns, records)
    splits = sorted({c.split for c in columns if c.split})
    lines.append(f"Splits: {', '.join(splits)}.")
    notes = Counter(
        f"{record.task} {split}: {e.note}" for record in records for split, e in _shown(record) if e.note
    )
    return lines + [f"{note} ({plural(count, 'run')})." for note, count in sorted(notes.items())]


def _tested_in_part(columns: Sequence[Column], records: list[RunRecord]) -> list[str]:
    """Tasks whose columns are of evaluation splits because not all runs were scored on a test split."""
    lines = []
    for task in dict.fromkeys(column.task for column in columns if column.epoch != "kept" and column.split):
        own = [record for record in records if record.task == task]
        tested = sum(bool(record.test) for record in own)
        if tested:
            lines.append(
                f"{task}: {tested} of {plural(len(own), 'run')} have test scores too; what all have is shown."
            )
    return lines


def _chosen_on(columns: Sequence[Column]) -> str:
    """Where a task has further splits, whose scores are those of the epoch that another has chosen."""
    first = {column.task: column.split for column in columns if column.headline}
    others = sorted(
        {(c.task, c.split) for c in columns if c.epoch == "best" and c.split not in (first.get(c.task), "")}
    )
    said = [f"{task} {split} by {first[task]}" for task, split in others if task in first]
    return f" Another split chose for {', '.join(said)}." if said else ""


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
        f"{TIMED}: wall-clock seconds of one run's optimizer steps, mean over seeds, then tasks; "
        "empty where a task has no run. All on one machine."
    ]


def _earlier(table: Table) -> list[str]:
    """Rows that hold runs by rules that have been mended since."""
    rules: dict[str, list[str]] = {}
    for row in table.rows:
        own = [rule for run in _completed(row) for rule in earlier_rules(run.config)]
        for rule in dict.fromkeys(own):
            rules.setdefault(rule, []).append(row.label)
    return [f"By an earlier rule: {', '.join(labels)}: {rule}." for rule, labels in rules.items()]


def _readings(table: Table) -> list[str]:
    """What a classifier reads behind prompts, where that is not what the method's authors read."""
    found: dict[str, list[str]] = {}
    for row in table.rows:
        phases = [phase for run in _completed(row) for phase in (run.record.phases if run.record else [])]
        for reads in dict.fromkeys(phase.details.get("classifier_reads") for phase in phases):
            if reads:
                found.setdefault(str(reads), []).append(row.label)
    return [f"{', '.join(labels)}: the classifier reads {reads}." for reads, labels in found.items()]


def _completed(row: Row) -> list[Run]:
    return [run for runs in row.by_task.values() for run in runs if run.completed]


def _undefined(table: Table) -> list[str]:
    lines = []
    for row in table.rows:
        for column, cell in row.cells.items():
            seeds = [str(e.seed) for e in cell.runs if e.completed and e.seed not in cell.scores]
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
        lines.append(f"[{number}] {': '.join(filter(None, [origin, '; '.join(parts)]))}.")
    if any(row.differences for row in table.published):
        lines.append(
            "(ours +/-): our mean minus the published value, for the same backbone and setting only."
        )
    return lines


def marked_tasks(runs: Iterable[Run]) -> set[str]:
    """Tasks of which a completed run used a subset, a limit or generated examples."""
    records = [run.completed for run in runs if run.completed]
    return {record.task for record in records if _limits(record) or _subsets(record)} | generated_tasks(runs)


def generated_tasks(runs: Iterable[Run]) -> set[str]:
    """Tasks of which a run uses generated examples: nothing published can be set beside them."""
    return {run.task for run in runs if run.generated}


def data_notes(records: list[RunRecord]) -> list[str]:
    """One line per task: source, subsets, limits, notes, and a warning where runs saw different data."""
    lines = []
    for task in dict.fromkeys(record.task for record in records):
        mine = [record for record in records if record.task == task]
        sources = _tally(stated(record.data.get("source")) for record in mine)
        parts = [sources, *_facts(mine)]
        prints = {stated(record.data.get("fingerprint")) for record in mine}
        if len(prints) > 1:
            parts.append(f"WARNING: the runs saw {len(prints)} different data (fingerprints differ)")
        lines.append(f"Data, {task}: {'; '.join(parts)}.")
    return lines


def _facts(records: list[RunRecord]) -> list[str]:
    """Subsets, limits and notes; with the number of runs where it is not all of them."""
    facts = Counter(
        fact for record in records for fact in [*_subsets(record), *_limits(record), *_notes(record)]
    )
    whole = len(records)
    return [fact if count == whole else f"{fact} ({plural(count, 'run')})" for fact, count in facts.items()]


def _subsets(record: RunRecord) -> list[str]:
    subsets = record.data.get("subsets")
    if not isinstance(subsets, dict):
        return []
    pairs = {
        split: rows for split, rows in subsets.items() if isinstance(rows, list | tuple) and len(rows) == 2
    }
    return [f"subset: {split} {_count(rows[0])} of {_count(rows[1])} rows" for split, rows in pairs.items()]


def _limits(record: RunRecord) -> list[str]:
    train, evaluation = setting(record, "data", "limit"), setting(record, "data", "limit_evaluation")
    limits = [f"at most {_count(train)} training examples"] if train is not None else []
    return limits + ([f"at most {_count(evaluation)} of each other split"] if evaluation is not None else [])


def _notes(record: RunRecord) -> list[str]:
    notes = record.data.get("notes")
    return [str(note) for note in notes] if isinstance(notes, list) else []


def origin_notes(records: list[RunRecord]) -> list[str]:
    """Commits, machines and precisions, with the cells they hold for where they differ; and methods."""
    machines = _by_cell(records, hardware)
    precisions = _by_cell(records, lambda record: stated(setting(record, "train", "precision")))
    families = {record.method: family_of(record) for record in records}
    methods = sorted(families, key=lambda name: method_order(name, families[name]))
    return [
        f"Code: {_tally(map(_commit, records))}. Hardware: {machines}. Precision: {precisions}. "
        f"Methods run: {', '.join(methods)}."
    ]


def _by_cell(records: list[RunRecord], fact: Callable[[RunRecord], str]) -> str:
    """`a` where all agree, else `a (rte, mrpc), b (cola)`; `cola lora` where the runs of one task differ."""
    values: dict[str, list[str]] = {}
    for record in records:
        values.setdefault(record.task, []).append(fact(record))
    cells: dict[str, list[str]] = {}
    for record in records:
        several = len(set(values[record.task])) > 1
        cells.setdefault(fact(record), []).append(
            f"{record.task} {record.method}" if several else record.task
        )
    if len(cells) == 1:
        return next(iter(cells))
    return ", ".join(f"{value} ({', '.join(dict.fromkeys(names))})" for value, names in cells.items())


def _commit(record: RunRecord) -> str:
    commit = record.provenance.get("commit")
    versions = record.provenance.get("versions")
    release = versions.get("autolora-bench") if isinstance(versions, dict) else None
    name = f"commit {str(commit)[:10]}" if commit else f"release {release}" if release else "unknown commit"
    begun = [str(one["commit"])[:10] for one in earlier_attempts(record) if one.get("commit")]
    name += "".join(f", begun by {one}" for one in dict.fromkeys(begun))
    return f"{name} with local changes" if record.provenance.get("dirty") else name


def _tally(values: Iterable[str]) -> str:
    """`a` where all agree, else `a (12 runs), b (3 runs)`."""
    counts = Counter(values)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{value} ({plural(count, 'run')})" for value, count in counts.most_common())


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
