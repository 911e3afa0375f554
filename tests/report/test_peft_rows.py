"""Rows of types of PEFT: their title is the type, and only one that starts at the pretrained model can stand for it."""

import json
from typing import Any

import pytest

from autolora_bench.plan import State
from autolora_bench.record import RunRecord, Status
from autolora_bench.report.rows import is_untrained, rows_of
from autolora_bench.report.runs import Run, family_of, runs_of


def config(kind: str, settings: dict[str, Any], rate: float = 1e-3) -> dict[str, Any]:
    return {
        "method": {"name": f"peft_{kind.lower()}", "learning_rate": rate, "type": kind, "settings": settings},
        "train": {"max_steps": 3},
    }


def test_the_title_is_the_type_and_settings_tell_its_rows_apart() -> None:
    records = [
        RunRecord(
            "rte",
            "minilm",
            "peft_boft",
            f"{size}",
            0,
            Status.completed,
            config("BOFT", {"boft_block_size": size}),
            "",
        )
        for size in (4, 8)
    ]
    labels = [row.label for row in rows_of(runs_of(records, None)[0])]
    assert all(label.startswith("BOFT") for label in labels)
    assert any("settings.boft_block_size=8" in label for label in labels), labels
    assert {family_of(record) for record in records} == {"peft"}


@pytest.mark.parametrize(
    ("kind", "settings", "untrained"),
    [("BOFT", {}, True), ("LORA", {}, True), ("C3A", {}, False), ("LORA", {"kasa_config": {}}, False)],
)
def test_a_tiny_rate_shows_the_pretrained_model_where_the_type_starts_there(
    kind: str, settings: dict[str, Any], untrained: bool
) -> None:
    values = json.loads(json.dumps(config(kind, settings, 1e-30)))
    run = Run("rte", "minilm", f"peft_{kind.lower()}", "id", 0, values, "", State.missing, None)
    assert is_untrained(run) is untrained
