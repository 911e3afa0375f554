"""Stability figures against scipy, closed forms and constructed selections."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from autolora_bench.errors import UserError
from autolora_bench.record import RunRecord
from autolora_bench.report.artefacts import read_search_path, read_search_result
from autolora_bench.report.build import report_stability
from autolora_bench.report.collect import Collection
from autolora_bench.report.correlation import pearson, spearman
from autolora_bench.report.movement import CellMovement, movement_of, movement_warnings
from autolora_bench.report.stability import stability
from tests.report.conftest import report

Floats = Any


def softmax(beta: Floats) -> Floats:
    weights = np.exp(beta)
    return weights / weights.sum(axis=1, keepdims=True)


def searches(seeds: int, signal: float, layers: int = 24) -> tuple[list[Floats], list[Floats]]:
    """Selections that share `signal` and differ by noise of size one."""
    random = np.random.default_rng(0)
    common = random.normal(size=(layers, 8))
    alphas = [softmax(signal * common + random.normal(size=(layers, 8))) for _ in range(seeds)]
    return alphas, [alpha >= 1 / 8 for alpha in alphas]


@pytest.mark.parametrize("seed", range(5))
def test_correlations_equal_scipys(seed: int) -> None:
    random = np.random.default_rng(seed)
    first, second = random.integers(0, 5, 30).astype(float), random.integers(0, 5, 30).astype(float)
    assert pearson(first, second) == pytest.approx(stats.pearsonr(first, second).statistic)
    assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)


def test_a_constant_side_has_no_correlation() -> None:
    assert pearson(np.full(9, 0.1), np.arange(9.0)) is None
    assert pearson(np.full(9, 0.1) + 1e-17, np.full(9, 0.3)) is None


def test_noise_is_at_chance() -> None:
    alphas, kept = searches(4, signal=0.0)
    found = stability(alphas, kept, shared=True)
    assert abs(found.alpha_pearson) < 0.2
    assert found.kept_agreement == pytest.approx(found.kept_chance, abs=0.05)
    assert found.kept_p > 0.05
    assert found.rank_p > 0.05


def test_chance_equals_its_closed_form() -> None:
    """Two seeds that keep r and q of K components at random agree on (r q + (K - r)(K - q)) / K^2 of them."""
    alphas, kept = searches(2, signal=0.0)
    ranks = [flags.sum(axis=1) for flags in kept]
    expected = np.mean((ranks[0] * ranks[1] + (8 - ranks[0]) * (8 - ranks[1])) / 64)
    assert stability(alphas, kept, shared=True).kept_chance == pytest.approx(expected, abs=0.005)


def test_signal_is_found() -> None:
    found = stability(*searches(3, signal=3.0), shared=True)
    assert found.alpha_pearson > 0.7
    assert found.kept_agreement > found.kept_chance + 0.2
    assert found.kept_p == pytest.approx(1 / 2001)


def test_forgotten_identity_leaves_ranks_and_profiles() -> None:
    """Components shuffled within each layer, as with another initialisation: what names no component stays."""
    random = np.random.default_rng(9)
    temperature = np.linspace(0.05, 4, 24)[:, None]
    base = softmax(temperature * random.normal(size=(24, 8)))
    alphas = [random.permuted(base, axis=1) for _ in range(3)]
    found = stability(alphas, [alpha >= 1 / 8 for alpha in alphas], shared=False)
    assert found.rank_pearson == pytest.approx(1.0)
    assert found.sorted_pearson == pytest.approx(1.0)
    assert found.rank_p < 0.01
    assert abs(found.kept_agreement - found.kept_chance) < 0.1


def test_sorting_alone_does_not_correlate() -> None:
    found = stability(*searches(6, signal=0.0, layers=48), shared=False)
    assert abs(found.sorted_pearson) < 0.25


def test_identical_searches_agree_fully() -> None:
    alphas, kept = searches(1, signal=1.0)
    found = stability(alphas * 3, kept * 3, shared=True, draws=50)
    assert (found.alpha_pearson, found.kept_agreement, found.budget_std) == (pytest.approx(1.0), 1.0, 0.0)


def test_one_seed_has_a_budget_and_nothing_to_compare() -> None:
    found = stability(*searches(1, signal=1.0), shared=True)
    assert found.alpha_pearson is found.kept_agreement is found.rank_p is found.budget_std is None
    assert found.budget_mean == found.budgets[0]


def test_equal_ranks_everywhere_have_no_correlation() -> None:
    alphas, _ = searches(3, signal=0.0)
    kept = [np.sort(np.arange(8))[None, :].repeat(24, axis=0) < 4 for _ in alphas]
    assert stability(alphas, kept, shared=True, draws=10).rank_pearson is None


def test_the_same_ranks_have_one_p_in_both_tables(searched: Collection) -> None:
    """Of the searches' results, and of the records."""
    found = json.loads(report_stability(searched, format="json"))
    rows = {table["title"]: table["rows"] for table in found}
    (search,), (ranks,) = (
        rows[title] for title in ("Stability of the search over seeds", "Agreement of ranks over seeds")
    )
    assert 0.001 < float(search["rank p"]) < 1
    assert search["rank p"] == ranks["rank p"]


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="different shape"):
        stability([np.ones((2, 3)), np.ones((3, 3))], [np.ones((2, 3), bool)] * 2, shared=True)


def test_permutation_tests_repeat() -> None:
    assert stability(*searches(3, 0.3), shared=True) == stability(*searches(3, 0.3), shared=True)


@pytest.fixture
def run(make: Callable[..., RunRecord], tmp_path: Path) -> tuple[Path, RunRecord]:
    record = make("rte", "autolora", 0, 0.7)
    record.phases[0].artefact, record.phases[1].artefact = "search/selection.json", "threshold/ranks.json"
    for name in ("search", "threshold"):
        (tmp_path / name).mkdir()
    selection = {"modules": ["a", "b"], "beta": [[0, 0], [0, 0]], "alpha": [[0.9, 0.1], [0.5, 0.5]]}
    (tmp_path / "search/selection.json").write_text(json.dumps(selection))
    ranks = {"total": 3, "kept": {"b": [True, True], "a": [True, False]}}
    (tmp_path / "threshold/ranks.json").write_text(json.dumps(ranks))
    lines = [{"step": step, "alpha": selection["alpha"]} for step in (0, 5)]
    (tmp_path / "search/trajectory.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return tmp_path, record


def test_artefacts_are_read(run: tuple[Path, RunRecord]) -> None:
    result, path = read_search_result(*run), read_search_path(*run)
    assert result.modules == ("a", "b")
    assert result.kept.tolist() == [[True, False], [True, True]]
    assert (path.steps.tolist(), path.alpha.shape) == ([0, 5], (2, 2, 2))


def test_absent_artefacts_are_none(run: tuple[Path, RunRecord], make: Callable[..., RunRecord]) -> None:
    folder, record = run
    (folder / "search/trajectory.jsonl").unlink()
    assert read_search_path(folder, record) is None
    assert read_search_result(folder, make("rte", "lora", 0, 0.7)) is None


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"modules": ["a"], "alpha": [[1, null]]}', '{"modules": [], "alpha": 3}']
)
def test_malformed_artefacts_are_named(run: tuple[Path, RunRecord], text: str) -> None:
    (run[0] / "search/selection.json").write_text(text)
    with pytest.raises(UserError, match=r"selection\.json"):
        read_search_result(*run)
    (run[0] / "search/trajectory.jsonl").write_text(text + "\n")
    with pytest.raises(UserError, match=r"trajectory\.jsonl"):
        read_search_path(*run)


def test_a_record_cannot_point_outside_its_folder(run: tuple[Path, RunRecord]) -> None:
    folder, record = run
    inner = folder / "inner"
    inner.mkdir()
    record.phases[0].artefact = "../search/selection.json"
    assert read_search_result(inner, record) is None


def test_a_search_that_stayed_where_it_began_is_flat() -> None:
    start = movement_of(np.full((3, 8), 1 / 8))
    assert start is not None
    assert (start.relative_min, start.relative_max, start.effective_components) == pytest.approx(
        (1.0, 1.0, 8.0)
    )
    assert (start.near_threshold, start.flat) == (1.0, True)


def test_a_search_that_chose_is_not_flat() -> None:
    """Two of four components at one half: the entropy is that of two."""
    found = movement_of(np.array([[0.5, 0.5, 0.0, 0.0]]))
    assert found is not None
    assert (found.relative_min, found.relative_max, found.effective_components) == pytest.approx(
        (0.0, 2.0, 2.0)
    )
    assert (found.near_threshold, found.flat) == (0.0, False)


def test_the_warning_gives_the_range_of_the_flat_searches_alone() -> None:
    flat, moved = movement_of(np.array([[0.51, 0.49]])), movement_of(np.array([[0.99, 0.01]]))
    assert flat is not None
    assert moved is not None
    (line,) = movement_warnings([CellMovement("m", "rte", "AutoLoRA", (flat, moved, moved))])
    assert "AutoLoRA on rte (1 of 3)" in line
    assert "within 0.98 to 1.02" in line


def test_weights_that_are_no_distribution_have_no_movement() -> None:
    assert movement_of(np.array([[0.5, 0.9], [0.1, 0.1]])) is None


def test_a_flat_search_is_warned_of_and_what_the_record_says_counts(
    run: tuple[Path, RunRecord], make: Callable[..., RunRecord]
) -> None:
    folder, record = run
    flat = {"modules": ["a"], "alpha": [[0.51, 0.49]], "kept": [[True, False]]}
    (folder / "search/selection.json").write_text(json.dumps(flat))
    collection = Collection([record], {record.identity: folder})
    text = report(collection)
    assert "WARNING flat searches with roberta_base: AutoLoRA on rte." in text
    assert "| roberta_base, rte, AutoLoRA | 1 | 0.98 to 1.02 | 1.00 | 2.00 | 2 | 0 % | yes |" in text
    record.phases[0].details["movement"] = {
        "relative_weight": {"mean": 1.0, "min": 0.1, "max": 3.0},
        "effective_components": {"mean": 2.5, "min": 2.0, "max": 3.0},
        "near_threshold": 0.25,
        "flat": False,
    }
    text = report(collection)
    assert "WARNING flat" not in text
    assert "| roberta_base, rte, AutoLoRA | 1 | 0.10 to 3.00 | 1.00 | 2.50 | 8 | 25 % |  |" in text


def test_where_a_budget_decides_is_said_by_the_record_or_read_off_what_it_kept(
    run: tuple[Path, RunRecord],
) -> None:
    """Four kept of eight, one of each layer whatever the budget: between 0.2 and 0.1, of 4 components."""
    folder, record = run
    search = {**record.config["method"]["search"], "rule": "budget", "budget": 4}
    record.config["method"] = {**record.config["method"], "search": search}
    kept = {
        "modules": ["a", "b"],
        "alpha": [[0.65, 0.2, 0.1, 0.05], [0.7, 0.2, 0.08, 0.02]],
        "kept": [[True, True, False, False], [True, True, False, False]],
    }
    (folder / "search/selection.json").write_text(json.dumps(kept))
    collection = Collection([record], {record.identity: folder})
    assert "| 0.08 to 2.80 | 0.60 |" in report(collection)
    record.phases[0].details["movement"] = {
        "relative_weight": {"mean": 1.0, "min": 0.1, "max": 3.0},
        "effective_components": {"mean": 2.5, "min": 2.0, "max": 3.0},
        "decision_level": {"mean": 0.3, "min": 0.25, "max": 0.35},
        "near_threshold": 0.25,
        "flat": False,
    }
    assert "| 0.10 to 3.00 | 0.25 to 0.35 |" in report(collection)
    kept["kept"] = [[True, False, False, False]] * 2  # the budget is no more than one for each layer
    (folder / "search/selection.json").write_text(json.dumps(kept))
    without = {**record.phases[0].details["movement"]}
    del without["decision_level"]
    record.phases[0].details["movement"] = without
    assert "| 0.10 to 3.00 |  |" in report(collection)
    search.update(rule="half", components=4)
    assert "| 0.10 to 3.00 | 2.00 |" in report(Collection([record], {}))  # the rule says it, without files
    search["constraint"] = "sigmoid"
    assert "| 0.10 to 3.00 |  |" in report(collection)
