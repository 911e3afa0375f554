"""What a cell of the page opens: the runs behind it, their scores, phases, ranks, settings and origin."""

from collections.abc import Sequence
from typing import Any

from autolora_bench.record import Evaluation, PhaseRecord, RunRecord
from autolora_bench.report import numerals
from autolora_bench.report.runs import Run, flatten, hardware
from autolora_bench.report.units import metric_of, metric_title

HISTORY_LINES = 4000
"""A page of runs with more evaluations than this leaves their histories out, to stay small; curves and scores stay."""
Section = dict[str, Any]
"""title, head (list of texts), rows (lists of texts)."""


def run_details(runs: Sequence[Run]) -> dict[str, Any]:
    """Runs by position, for the page's script.

    Returns:
        rows: every line of their tables, once each, for runs of one study share most settings and facts.
        runs: title, state, command, error, curve, settings (positions in `rows`), and sections, each of title, head and
            positions in `rows`.
    """
    pool: dict[tuple[str, ...], int] = {}

    def pooled(rows: Sequence[Sequence[str]]) -> list[int]:
        return [pool.setdefault(tuple(row), len(pool)) for row in rows]

    with_history = sum(len(run.record.history) for run in runs if run.record) <= HISTORY_LINES
    shown = [_run(run, with_history) for run in runs]
    for run, one in zip(runs, shown, strict=True):
        one["sections"] = [[part["title"], part["head"], pooled(part["rows"])] for part in one["sections"]]
        one["settings"] = pooled(sorted(run.settings.items()))
    return {"rows": list(pool), "runs": shown}


def _run(run: Run, with_history: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "title": f"{run.task}, {run.method}, {run.model}, seed {run.seed}",
        "state": run.state.value,
        "command": run.command,
        "sections": [],
    }
    record = run.record
    if record is None:
        return shown
    sections = [
        _scores(record),
        _phases(record),
        _history(record, with_history),
        _ranks(record),
        _facts(record),
    ]
    shown["sections"] = [section for section in sections if section["rows"]]
    shown["curve"] = _curve(record)
    if record.error:
        shown["error"] = {
            name: str(record.error.get(name, "")) for name in ("type", "message", "mend", "traceback")
        }
    return shown


def _scores(record: RunRecord) -> Section:
    moments = (("best epoch", record.best), ("last epoch", record.last), ("test", record.test))
    rows = [
        [
            moment,
            split,
            f"{evaluation.epoch:g}",
            metric_title(metric),
            _value(record, metric, value),
            evaluation.note or "",
        ]
        for moment, evaluations in moments
        for split, evaluation in evaluations.items()
        for metric, value in evaluation.scores.items()
    ]
    return {"title": "Scores", "head": ["moment", "split", "epoch", "metric", "value", "note"], "rows": rows}


def _phases(record: RunRecord) -> Section:
    head = ["phase", "status", "time", "training", "CPU", "steps", "tokens/s", "peak memory"]
    return {"title": "Phases", "head": head, "rows": [_phase(phase) for phase in record.phases]}


def _phase(phase: PhaseRecord) -> list[str]:
    speed = f"{phase.tokens / phase.train_seconds:,.0f}" if phase.tokens and phase.train_seconds else ""
    memory = f"{phase.peak_memory_bytes / 2**30:.2f} GiB" if phase.peak_memory_bytes is not None else ""
    steps = "" if phase.steps is None else f"{phase.steps:,}"
    training, cpu = (
        "" if seconds is None else numerals.duration(seconds)
        for seconds in (phase.train_seconds, phase.train_cpu_seconds)
    )
    time = numerals.duration(phase.seconds)
    return [phase.name, str(phase.status), time, training, cpu, steps, speed, memory]


def _history(record: RunRecord, wanted: bool) -> Section:
    metrics = list(dict.fromkeys(metric for evaluation in record.history for metric in evaluation.scores))
    head = ["phase", "split", "epoch", "step", "training loss", *[metric_title(metric) for metric in metrics]]
    rows = [_moment(record, evaluation, metrics) for evaluation in record.history] if wanted else []
    return {"title": "History", "head": head, "rows": rows}


def _moment(record: RunRecord, evaluation: Evaluation, metrics: list[str]) -> list[str]:
    loss = "" if evaluation.train_loss is None else f"{evaluation.train_loss:.4f}"
    scores = [
        _value(record, metric, evaluation.scores[metric]) if metric in evaluation.scores else ""
        for metric in metrics
    ]
    return [evaluation.phase, evaluation.split, f"{evaluation.epoch:g}", str(evaluation.step), loss, *scores]


def _curve(record: RunRecord) -> list[list[float]]:
    """Epoch and headline score on the first split, in the published unit."""
    if not record.history or record.headline is None:
        return []
    split, scale = record.history[0].split, metric_of(record.headline, [record]).published_scale
    points = [(e.epoch, e.scores.get(record.headline)) for e in record.history if e.split == split]
    return [[round(epoch, 4), float(f"{value * scale:.6g}")] for epoch, value in points if value is not None]


def _ranks(record: RunRecord) -> Section:
    projections = list(dict.fromkeys(layer.projection for layer in record.ranks))
    by_block: dict[str, dict[str, str]] = {}
    for layer in record.ranks:
        name = layer.module if layer.block is None else str(layer.block)
        by_block.setdefault(name, {})[layer.projection] = str(layer.rank)
    rows = [[block, *[ranks.get(name, "") for name in projections]] for block, ranks in by_block.items()]
    return {"title": "Ranks", "head": ["block", *projections], "rows": rows}


def _facts(record: RunRecord) -> Section:
    facts = {
        "started": record.started,
        "finished": record.finished,
        "hardware": hardware(record),
        **(
            {
                "parameters": f"{record.parameters.method:,} of the method, {record.parameters.head:,} of the head"
            }
            if record.parameters
            else {}
        ),
        **{f"data {name}": value for name, value in flatten(record.data).items()},
        **flatten(record.provenance),
    }
    return {
        "title": "Data and origin",
        "head": ["", ""],
        "rows": [[name, str(value)] for name, value in facts.items() if value],
    }


def _value(record: RunRecord, metric: str, value: float | None) -> str:
    if value is None:
        return "undefined"
    scale = metric_of(metric, [record]).published_scale
    return numerals.score(value * scale, fraction=scale == 100.0)
