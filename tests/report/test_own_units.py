"""Metrics of somebody's own, whose unit is no hundredth and whose scores may be small: written, drawn and called so."""

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from autolora_bench.record import RunRecord
from autolora_bench.report import numerals
from autolora_bench.report.disagreement import _shown
from autolora_bench.report.formats import grid_of
from autolora_bench.report.prepared import prepare
from autolora_bench.report.published import FIELDS
from tests.report.conftest import report

Make = Callable[..., RunRecord]


def own(make: Make, method: str, seed: int, value: float, **fields: float) -> RunRecord:
    """A record scored by a metric `loss` of which lower is better, in its own unit."""
    record = make("rte", method, seed, {"loss": value})
    record.config["task"]["metrics"], record.headline, record.metrics = ["loss"], "loss", {"loss": False}
    record.provenance["metrics"] = {"loss": {"published_scale": 1.0, "title": "loss"}}
    for scores in [one.scores for one in (*record.history, *record.best.values(), *record.last.values())]:
        scores["loss"] = value
    record.config["data"] |= fields
    return record


def study(make: Make, scale: float = 1.0) -> list[RunRecord]:
    return [
        own(make, method, seed, scale * (level + 0.0001 * seed))
        for method, level in (("lora", 0.0042), ("full", 0.0031))
        for seed in range(6)
    ]


def test_published_values_are_written_as_the_column_is(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(",".join(FIELDS) + "\nP,T,roberta-base,full,,rte,loss,0.00465,0.0004,,\n")
    (shown,) = prepare(study(make), published=[path]).tables
    ours, published, _ = (line.texts[1] for line in grid_of(shown).lines)
    assert (ours.value, ours.spread) == ("0.00335", "0.000187")
    assert (published.value, published.spread) == ("0.00465", "0.000400")
    assert published.note == f"ours {numerals.MINUS}0.0013"


def test_published_values_get_no_digits_that_were_not_published(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(",".join(FIELDS) + "\nP,T,roberta-base,full,,rte,loss,0.05,0.02,,\n")
    (shown,) = prepare(study(make), published=[path]).tables
    (published,) = (line.texts[1] for line in grid_of(shown).lines if line.published)
    assert (published.value, published.spread) == ("0.05", "0.02")


def test_held_out_scores_are_written_as_the_column_is(make: Make) -> None:
    tuning = [own(make, "lora", 100, value, held_out=0.1) for value in (0.0048, 0.0031)]
    for record, rate in zip(tuning, (1e-4, 1e-3), strict=True):
        record.config["method"]["learning_rate"], record.config_id = rate, f"id{rate}"
    (rates,) = prepare([*tuning, *study(make)]).rates
    assert rates.rows[0][1:3] == ("0.00480", "0.00310")


@pytest.mark.parametrize("scale", [1.0, 1e-7, 1e12])
def test_the_csv_has_digits_enough_for_any_unit(make: Make, scale: float) -> None:
    """Mean and deviation by numpy; ten decimals of 3e-10 are three digits and none of its deviation."""
    lines = list(csv.DictReader(io.StringIO(report(study(make, scale), format="csv"))))
    for line, level in zip(lines, (0.0031, 0.0042), strict=True):
        expected = scale * (level + 0.0001 * np.arange(6))
        assert float(line["mean"]) == pytest.approx(expected.mean(), rel=1e-8)
        assert float(line["std"]) == pytest.approx(expected.std(ddof=1), rel=1e-8)


def test_what_sums_leave_of_rounding_is_no_deviation(make: Make) -> None:
    records = [own(make, "lora", seed, 0.1 + 0.2) for seed in range(3)]
    (line,) = csv.DictReader(io.StringIO(report(records, format="csv")))
    assert (line["mean"], line["std"]) == ("0.3", "0.0")


def test_the_page_sorts_by_numbers_that_differ(make: Make) -> None:
    page = report(study(make, 1e-6), format="html", figures=False)
    values = [float(value) for value in re.findall(r'data-value="([^"]*)"', page)]
    assert sorted(values) == pytest.approx([3.35e-9, 4.45e-9])


def test_the_matrix_says_what_its_numbers_are(make: Make) -> None:
    """The row with the lower loss is ahead by as much; nobody declared that the two are compared."""
    page = report(study(make), format="html", figures=False)
    assert "ahead of the column, also where lower is better: in the metric&#39;s own unit" in page
    assert '"declared' not in page
    (told,) = re.findall(r'title="(Full fine-tuning against LoRA: [^"]*)"', page)
    assert (
        told
        == "Full fine-tuning against LoRA: +0.0011, separated, p 0.031 after Holm over the paired comparisons"
    )
    hundredths = report(
        [make("rte", m, s, 0.7) for m in ("lora", "full") for s in (0, 1)], format="html", figures=False
    )
    assert "also where lower is better: in points" in hundredths


def test_comparisons_name_the_unit(make: Make) -> None:
    (table,) = prepare(study(make)).comparisons
    assert "headline scores in the metric's own unit (RTE loss ↓)" in table.notes[0]
    (table,) = prepare([make("rte", m, s, 0.7) for m in ("lora", "full") for s in (0, 1)]).comparisons
    assert "headline scores in points (RTE accuracy)" in table.notes[0]
    mixed = [*study(make), *(make("mrpc", m, s, 0.7) for m in ("lora", "full") for s in range(6))]
    (table,) = prepare(mixed).comparisons
    assert "in points or the metric's own unit (" in table.notes[0]


@pytest.mark.parametrize(
    ("gold", "shown"),
    [(3.5, "3.50"), (0.0031, "0.0031"), (-0.00007, f"{numerals.MINUS}0.000070"), (0.0, "0.00")],
)
def test_a_small_number_to_be_predicted_is_no_nought(gold: float, shown: str) -> None:
    assert _shown(gold) == shown
