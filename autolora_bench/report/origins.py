"""Footnotes on where numbers come from: data and how much of it, code, hardware."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from autolora_bench.record import RunRecord
from autolora_bench.report.entries import Entry
from autolora_bench.report.hardware import hardware
from autolora_bench.report.numerals import plural
from autolora_bench.report.order import method_order
from autolora_bench.report.stated import setting, stated


def marked_tasks(entries: Iterable[Entry]) -> set[str]:
    """Tasks of which a completed run used a subset, a limit or generated examples."""
    records = [entry.completed for entry in entries if entry.completed]
    return {record.task for record in records if _limits(record) or _subsets(record)} | generated_tasks(
        entries
    )


def generated_tasks(entries: Iterable[Entry]) -> set[str]:
    """Tasks of which a run uses generated examples: nothing published can be set beside them."""
    return {entry.task for entry in entries if entry.setting("data", "source") == "generated"}


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
    methods = sorted({record.method for record in records}, key=method_order)
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
    return f"{name} with local changes" if record.provenance.get("dirty") else name


def _tally(values: Iterable[str]) -> str:
    """`a` where all agree, else `a (12 runs), b (3 runs)`."""
    counts = Counter(values)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{value} ({plural(count, 'run')})" for value, count in counts.most_common())


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
