"""Refuses records whose fields do not have the types that tables and figures count on."""

import math
from dataclasses import fields
from typing import Any

from autolora_bench.errors import UserError
from autolora_bench.record import Evaluation, PhaseRecord, RunRecord

COUNTS = (
    "seconds",
    "train_seconds",
    "train_cpu_seconds",
    "peak_memory_bytes",
    "steps",
    "examples",
    "tokens",
    "flops",
)


def check_record(record: RunRecord) -> RunRecord:
    """The record itself.

    Raises:
        UserError: a field that names, counts or scores something is not text, a number or a mapping as it should be.
    """
    for name in ("task", "model", "method", "config_id", "command"):
        _require(isinstance(getattr(record, name), str), f"{name} is not text")
    _require(type(record.seed) is int, "seed is not a whole number")
    for name in ("config", "metrics", "data", "provenance", "locations"):
        _require(isinstance(getattr(record, name), dict), f"{name} is not a mapping")
    _require(isinstance(record.error, dict | None), "error is not a mapping")
    for phase in record.phases:
        _check_phase(phase)
    for evaluation in [*record.history, *record.best.values(), *record.last.values(), *record.test.values()]:
        _check_evaluation(evaluation)
    if record.parameters is not None:
        counts = [getattr(record.parameters, field.name) for field in fields(record.parameters)]
        _require(all(type(count) is int for count in counts), "parameters are not whole numbers")
    for layer in record.ranks:
        _require(
            type(layer.rank) is int and isinstance(layer.block, int | None), "ranks are not whole numbers"
        )
        _require(
            isinstance(layer.module, str) and isinstance(layer.projection, str), "a rank's layer has no name"
        )
    return record


def _check_phase(phase: PhaseRecord) -> None:
    _require(isinstance(phase.name, str), "a phase has no name")
    for name in COUNTS:
        value = getattr(phase, name)
        _require(value is None or _is_number(value), f"phase {phase.name}: {name} is {value!r}, not a number")
    _require(isinstance(phase.details, dict), f"phase {phase.name}: details are not a mapping")
    _require(isinstance(phase.artefact, str | None), f"phase {phase.name}: artefact is not text")


def _check_evaluation(evaluation: Evaluation) -> None:
    _require(
        _is_number(evaluation.epoch) and _is_number(evaluation.step),
        "an evaluation's epoch or step is not a number",
    )
    _require(
        evaluation.train_loss is None or _is_number(evaluation.train_loss), "a training loss is not a number"
    )
    _require(isinstance(evaluation.scores, dict), "scores are not a mapping")
    for metric, value in evaluation.scores.items():
        _require(
            value is None or _is_number(value),
            f"score {metric} is {value!r}, not a number (undefined scores are null)",
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise UserError(what, "move the record away; its run starts again")
