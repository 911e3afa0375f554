"""Whether methods were tuned on the same terms, and by other seeds than they are compared by: said, not assumed."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from autolora_bench.config.experiment import TuningConfig
from autolora_bench.plan import PlannedRun
from autolora_bench.record import RunRecord
from autolora_bench.report.prepared import prepare
from autolora_bench.report.tuning import tuning_table
from tests.report.test_answers import finals, noise, record

Make = Callable[..., RunRecord]
GRID = (3e-4, 1e-3, 3e-3)


def tuned(method: str, rates: Sequence[float], seeds: Sequence[int], share: float = 0.1) -> list[RunRecord]:
    made = [
        record("stsb", method, rate, seed, 0.8 - abs(rate - 1e-3), held=True)
        for rate in rates
        for seed in seeds
    ]
    for one in made:
        one.config["data"]["held_out"] = share
    return made


def test_a_grid_that_is_not_extended_is_not_said_to_be() -> None:
    cells = prepare([*tuned("lora", GRID, [1000]), *tuned("bitfit", GRID, [1000])], compare=[]).tuned
    for extends, said in (
        (True, "it is extended while"),
        (False, "it is not extended (tuning.extensions=0)"),
    ):
        table = tuning_table(cells, extends=extends)
        assert table is not None
        assert said in " ".join(table.notes)


def test_the_plan_says_whether_the_grid_is_extended(make: Make, plan: Callable[..., PlannedRun]) -> None:
    run = plan("rte", "lora")
    for extensions in (0, 1):
        experiment = replace(run.experiment, tuning=TuningConfig(extensions=extensions))
        held = make("rte", "lora", 0, 0.5)
        held.config["data"]["held_out"] = 0.1
        (rates,) = replace(prepare([held]), planned=[replace(run, experiment=experiment)]).rates
        assert ("is not extended" in " ".join(rates.notes)) is (extensions == 0)


def told(other: Sequence[RunRecord], first_seed: int = 0) -> tuple[str, list[str], str]:
    """The answer, the warnings, and the notes of the table, of LoRA beside BitFit."""
    made = [*tuned("lora", GRID, [1000]), *other]
    for method, offset in (("lora", 0.0), ("bitfit", 0.01)):
        runs = finals("stsb", method, [0.75 + offset + x for x in noise(8, len(method))])
        for run in runs:
            run.seed += first_seed
        made += runs
    report = prepare(made, compare=["bitfit:lora"])
    table = tuning_table(report.tuned)
    assert table is not None
    return (
        report.remarks[0],
        [line for line in report.remarks if line.startswith("WARNING")],
        " ".join(table.notes),
    )


@pytest.mark.parametrize("rates", [GRID, (1e-4, *GRID), (*GRID, 1e-2)])
def test_a_grid_that_was_extended_is_the_same_grid(rates: tuple[float, ...]) -> None:
    first, warnings, notes = told(tuned("bitfit", rates, [1000]))
    assert first.startswith("Tuned alike on minilm")
    assert not warnings
    assert "one for all" in notes


@pytest.mark.parametrize(
    ("rates", "seeds", "share"),
    [
        ((3e-4, 6e-4, 1e-3, 3e-3), [1000], 0.1),
        ((1e-5, 1e-3, 3e-3), [1000], 0.1),
        (GRID, [1007, 1008, 1009], 0.1),
        (GRID, [1000], 0.5),
    ],
)
def test_methods_that_were_tuned_on_other_terms_are_named(
    rates: tuple[float, ...], seeds: list[int], share: float
) -> None:
    first, warnings, notes = told(tuned("bitfit", rates, seeds, share))
    assert first.startswith("Tuned on minilm")
    assert warnings == [
        "WARNING not tuned as LoRA was on stsb, but on other rates, seeds or held-out data: BitFit."
    ]
    assert "one for all" not in notes


def test_final_runs_with_a_seed_of_the_tuning_are_named() -> None:
    _, warnings, _ = told(tuned("bitfit", GRID, [1000]), first_seed=998)
    assert warnings == [
        "WARNING final runs have a seed by which the rate was chosen, and are not fresh: BitFit on stsb, LoRA on stsb."
    ]


def test_a_searchs_own_rate_that_was_held_is_another_cell_than_one_that_followed() -> None:
    """Averaged, the tuning of both would choose a rate that neither found best."""

    def searched(rate: float, own: float, score: float) -> RunRecord:
        one = record("stsb", "autolora", rate, 1000, score, held=True)
        one.config["method"]["search"] = {"learning_rate": own}
        one.config_id = f"{rate:g}-{own:g}"
        return one

    following = [searched(rate, rate, score) for rate, score in zip(GRID, (0.7, 0.8, 0.75), strict=True)]
    held = [searched(rate, 5e-4, score) for rate, score in zip(GRID, (0.6, 0.4, 0.62), strict=True)]
    table = tuning_table(prepare([*following, *held], compare=[]).tuned)
    assert table is not None
    assert {str(row[0]): row[1:4] for row in table.rows} == {
        "stsb, AutoLoRA": ("70.00", "80.00", "75.00"),
        "stsb, AutoLoRA, search.learning_rate=0.0005": ("60.00", "40.00", "62.00"),
    }


def test_held_out_parts_of_two_sizes_are_told() -> None:
    _, _, notes = told([*tuned("bitfit", GRID, [1000]), *tuned("bitfit", GRID, [1001], share=0.5)])
    assert "The rates of stsb, BitFit were not all tried on one share of the training data" in notes
