"""AutoLoRA's phases, ablations and options, beyond the contract."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from autolora_bench.errors import UserError
from autolora_bench.methods import searching
from autolora_bench.methods.autolora import AutoLora
from autolora_bench.methods.base import PhaseContext
from autolora_bench.methods.searching import SearchPhase, diagnosed, total_rank
from autolora_bench.runner import run_experiment
from autolora_bench.search import SearchTrainer
from autolora_bench.training.trainer import LossWatch

MODULES = [f"bert.encoder.layer.{i}.attention.self.{p}" for i in range(2) for p in ("query", "value")]


def context(experiment: Any, folder: Path) -> PhaseContext:
    return PhaseContext(experiment, folder, torch.device("cpu"))


class BegunError(Exception):
    """The search was about to train."""


@pytest.fixture
def search_trainer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a search phase up to its training and returns the trainer."""
    seen: list[Any] = []

    def stop(trainer: Any, *_: Any, **__: Any) -> None:
        seen.append(trainer)
        raise BegunError

    monkeypatch.setattr(searching.MeteredSearchTrainer, "train", stop)

    def begin(experiment: Any, folder: Path) -> Any:
        with pytest.raises(BegunError):
            SearchPhase(experiment.method.search).run(context(experiment, folder))
        return seen[-1]

    return begin


def drawn(trainer: Any) -> dict[str, torch.Tensor]:
    """First values of everything that is drawn: lora_A and the head."""
    return {n: p.detach().clone() for n, p in trainer.trained.named_parameters() if p.requires_grad}


def test_one_initialisation_seed_shares_first_values_over_run_seeds(
    composed: Any, search_trainer: Any, tmp_path: Path
) -> None:
    shared = "method.search.initialisation_seed=7"
    first, second, other = (
        drawn(search_trainer(composed("autolora", *words), tmp_path))
        for words in (["seed=0", shared], ["seed=1", shared], ["seed=1"])
    )
    assert {name.split(".")[-2] for name in first} >= {"default"}
    assert any("lora_A" in name for name in first)
    assert any("classifier" in name for name in first)
    assert all(torch.equal(first[name], second[name]) for name in first)
    different = {name for name in first if not torch.equal(first[name], other[name])}
    assert different == {n for n in first if "lora_B" not in n and not n.endswith("bias")}


def test_run_seeds_still_differ_in_data(composed: Any, search_trainer: Any, tmp_path: Path) -> None:
    shared = "method.search.initialisation_seed=7"
    halves = [
        search_trainer(composed("autolora", f"seed={seed}", shared), tmp_path).train_dataset["input_ids"][:]
        for seed in (0, 1)
    ]
    assert halves[0] != halves[1]


def test_released_settings_reach_the_optimizer(composed: Any, search_trainer: Any, tmp_path: Path) -> None:
    trainer = search_trainer(
        composed(
            "autolora_released",
            "method.search.learning_rate=3e-4",
            "method.search.selection_learning_rate=3e-4",
        ),
        tmp_path,
    )
    assert (len(trainer.train_dataset), len(trainer._validation.dataset)) == (34, 14)
    trainer.create_optimizer_and_scheduler(num_training_steps=100)
    groups = trainer.optimizer.param_groups
    assert [group["betas"] for group in groups] == [(0.9, 0.999), (0.9, 0.999), (0.5, 0.999)]
    assert {group["lr"] for group in groups} == {3e-4}
    assert {group["weight_decay"] for group in groups} == {0.0}
    assert {rate(step) for rate in trainer.lr_scheduler.lr_lambdas for step in (0, 50, 99)} == {1.0}
    assert trainer.args.max_grad_norm == 0.0
    assert trainer.options.rule == "mean"
    assert trainer.options.estimator == "released"


def test_every_loss_is_looked_at_once_inside_and_outside_inner_loops(
    composed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three weight steps one is that of an inner loop."""
    noted: list[int] = []
    monkeypatch.setattr(LossWatch, "note", lambda self, loss, step: noted.append(step))
    experiment = composed("autolora", "method.search.interval=3", "method.search.max_steps=6")
    SearchPhase(experiment.method.search).run(context(experiment, tmp_path))
    assert noted == [1, 2, 3, 4, 5, 6]


def test_the_weights_betas_can_be_chosen(composed: Any, search_trainer: Any, tmp_path: Path) -> None:
    trainer = search_trainer(composed("autolora", "method.search.betas=[0.5,0.99]"), tmp_path)
    assert trainer.create_optimizer().param_groups[0]["betas"] == (0.5, 0.99)


@pytest.mark.parametrize(
    ("method", "first"), [("autolora", 1 / 8), ("autolora_topk", 1 / 2), ("autolora_sigmoid", 1 / 2)]
)
@pytest.mark.sample(one_in=3)
def test_the_record_says_how_far_the_search_has_moved(method: str, first: float, trained: Any) -> None:
    """From what the search left on disk, by numpy."""
    run = trained(method)
    left = json.loads((run.folder / "search/selection.json").read_text())
    alpha = np.array(left["alpha"], dtype=np.float64)
    shares = alpha / alpha.sum(axis=1, keepdims=True)
    effective = np.exp(-(shares * np.log(shares)).sum(axis=1))
    whole = alpha / alpha.sum()
    found = run.record.phase("search").details["movement"]
    assert found["relative_weight"]["max"] == pytest.approx(alpha.max() / first, rel=1e-5)
    assert found["relative_weight"]["min"] == pytest.approx(alpha.min() / first, rel=1e-5)
    assert found["effective_components"]["mean"] == pytest.approx(effective.mean(), rel=1e-5)
    assert found["effective_components"]["min"] == pytest.approx(effective.min(), rel=1e-5)
    assert found["effective_share"] == pytest.approx(
        np.exp(-(whole * np.log(whole)).sum()) / alpha.size, rel=1e-5
    )
    if method != "autolora_topk":
        assert found["near_threshold"] == np.mean(np.abs(alpha - first) <= 0.01 * first)
    assert found["flat"] == (found["near_threshold"] >= 0.5 or found["effective_share"] >= 0.99)


def test_search_and_threshold_leave_what_stability_needs(trained: Any) -> None:
    run = trained("autolora")
    found = json.loads((run.folder / "search/selection.json").read_text())
    kept = json.loads((run.folder / "threshold/ranks.json").read_text())["kept"]
    assert found["modules"] == list(kept) == MODULES
    assert torch.allclose(torch.tensor(found["beta"]).softmax(-1), torch.tensor(found["alpha"]))
    assert (torch.tensor(found["alpha"]) >= 1 / 8).tolist() == list(kept.values())
    lines = [json.loads(line) for line in (run.folder / "search/trajectory.jsonl").read_text().splitlines()]
    assert lines[0]["step"] == 0
    assert torch.allclose(torch.tensor(lines[-1]["alpha"]), torch.tensor(found["alpha"]))


def retrained(experiment: Any, folder: Path, values: dict[str, list[list[float]]]) -> Any:
    """Threshold and retrain with selection variables made up."""
    run = context(experiment, folder)
    run.phase_folder("search")
    (folder / "search/selection.json").write_text(json.dumps({"modules": MODULES, **values}))
    _, threshold, retrain = AutoLora(experiment.method).phases()
    threshold.run(run)
    return retrain.run(run)


def test_a_layer_of_rank_zero_is_gone_from_model_record_and_export(composed: Any, tmp_path: Path) -> None:
    beta = [[1.0] * 8, [-1.0] * 8, [1.0] * 3 + [-1.0] * 5, [-1.0] * 7 + [0.0]]
    alpha = torch.tensor(beta).sigmoid().tolist()
    result = retrained(
        composed("autolora_sigmoid", "train.max_steps=1"), tmp_path, {"beta": beta, "alpha": alpha}
    )
    assert [layer.rank for layer in result.ranks] == [8, 0, 3, 1]
    assert result.parameters.method == 12 * 64
    export = tmp_path / "retrain/export"
    shapes = {
        name.removeprefix("base_model.model.").removesuffix(".lora_A.weight"): len(tensor)
        for name, tensor in load_file(export / "adapter_model.safetensors").items()
        if ".lora_A." in name
    }
    assert shapes == {MODULES[0]: 8, MODULES[2]: 3, MODULES[3]: 1}
    saved = json.loads((export / "adapter_config.json").read_text())
    assert len(saved["rank_pattern"]) == 3
    assert "value" not in saved["target_modules"].split("|")[0]


def test_a_search_that_keeps_nothing_says_so(composed: Any, tmp_path: Path) -> None:
    beta = [[-1.0] * 8] * 4
    with pytest.raises(UserError, match="every layer has rank 0"):
        retrained(composed("autolora_sigmoid"), tmp_path, {"beta": beta, "alpha": [[0.27] * 8] * 4})


def test_the_mean_rule_reads_the_raw_variables(composed: Any, tmp_path: Path) -> None:
    """A variable above the mean of beta whose weight is below 1 / k: the released code keeps it, the paper does not."""
    beta = [[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 3.0]] * 4
    alpha = torch.tensor(beta).softmax(-1).tolist()
    values = {"beta": beta, "alpha": alpha}
    released = retrained(composed("autolora_released", "train.max_steps=1"), tmp_path / "a", values)
    paper = retrained(composed("autolora", "train.max_steps=1"), tmp_path / "b", values)
    assert [layer.rank for layer in released.ranks] == [2] * 4
    assert [layer.rank for layer in paper.ranks] == [1] * 4


@pytest.mark.parametrize(
    ("words", "total"),
    [
        ([], 16),
        (["method.search.mean_rank=2.5"], 10),
        (["method.search.mean_rank=null", "method.search.budget=7"], 7),
    ],
)
@pytest.mark.sample(one_in=3)
def test_a_budget_is_met_whatever_the_variables(
    words: list[str], total: int, composed: Any, tmp_path: Path
) -> None:
    experiment = composed("autolora_budget", "train.max_steps=1", *words)
    alpha = torch.rand(4, 8, generator=torch.Generator().manual_seed(0)).softmax(-1).tolist()
    result = retrained(experiment, tmp_path, {"beta": alpha, "alpha": alpha})
    assert total_rank(experiment.method.search, 4) == total
    assert sum(layer.rank for layer in result.ranks) == total
    assert min(layer.rank for layer in result.ranks) >= 1


@pytest.mark.parametrize(
    ("words", "ranks"),
    [
        ([], [3, 2, 2, 1]),
        (["method.search.minimum_rank=0"], [3, 2, 3, 0]),
        (["method.search.rule=half"], [3, 0, 1, 0]),
        (["method.search.scope=layer", "method.search.rule=half", "method.search.mean_rank=3"], [3, 0, 1, 0]),
    ],
)
@pytest.mark.sample(one_in=2)
def test_what_a_smooth_budget_keeps(
    words: list[str], ranks: list[int], composed: Any, tmp_path: Path
) -> None:
    alpha = [
        [0.9, 0.8, 0.7, 0.1, 0.1, 0.1, 0.1, 0.1],
        [0.45, 0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1],
        [0.5, 0.4, 0.35, 0.1, 0.1, 0.1, 0.1, 0.1],
        [0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1],
    ]
    experiment = composed("autolora_topk", "train.max_steps=1", "method.search.mean_rank=2", *words)
    result = retrained(experiment, tmp_path, {"beta": alpha, "alpha": alpha})
    assert [layer.rank for layer in result.ranks] == ranks


@pytest.mark.parametrize(("scope", "sums"), [("layer", [2.5] * 4), ("model", None)])
def test_the_search_meets_the_budget_while_it_runs(
    scope: str, sums: list[float] | None, composed: Any, search_trainer: Any, tmp_path: Path
) -> None:
    words = ["method.search.mean_rank=2.5", f"method.search.scope={scope}"]
    selection = search_trainer(composed("autolora_topk", *words), tmp_path).selection
    selection.beta.data.normal_(std=2.0)
    alpha = selection.alpha().detach()
    assert alpha.sum().item() == pytest.approx(10, rel=1e-6)
    if sums:
        assert alpha.sum(dim=1).tolist() == pytest.approx(sums, rel=1e-6)


def test_a_budget_that_does_not_fit_fails_before_the_search(composed: Any, tmp_path: Path) -> None:
    experiment = composed("autolora_budget", "method.search.mean_rank=null", "method.search.budget=99")
    with pytest.raises(UserError, match="budget 99 for 4 layers"):
        SearchPhase(experiment.method.search).run(context(experiment, tmp_path))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_mean_rank_too_small_for_one_component_fails_before_the_search(
    composed: Any, tmp_path: Path
) -> None:
    words = ["method.search.mean_rank=0.1", "method.search.minimum_rank=0"]
    experiment = composed("autolora_budget", *words)
    with pytest.raises(UserError, match=r"mean_rank=0\.1 of 4 layers keeps no component"):
        SearchPhase(experiment.method.search).run(context(experiment, tmp_path))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_reference_rank_counts_where_it_has_an_effect(composed: Any) -> None:
    assert composed("autolora", "method.scaling=constant", "method.rank=2").method.rank == 2


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["autolora", "method.search.budget=9"], "rule=reciprocal with method.search.budget=9"),
        (["autolora_budget", "method.search.budget=9"], "budget=9 and method.search.mean_rank"),
        (["autolora_budget", "method.search.mean_rank=null"], "rule=budget"),
        (["autolora_budget", "method.search.mean_rank=9"], "mean_rank=9 with components=8"),
        (["autolora_budget", "method.search.minimum_rank=5"], "minimum_rank=5"),
        (
            ["autolora_budget", "method.search.minimum_rank=8"],
            "minimum_rank=8 of 8 components, which keeps all",
        ),
        (
            ["autolora", "method.search.constraint=topk"],
            "constraint=topk and rule=reciprocal with .*budget=None",
        ),
        (
            ["autolora", "method.search.constraint=topk", "method.search.mean_rank=4"],
            "rule=reciprocal with .*topk",
        ),
        (["autolora_topk", "method.search.rule=mean"], "rule=mean with method.search.constraint=topk"),
        (["autolora_topk", "method.search.mean_rank=8"], "topk with mean_rank=8.0 of 8 components"),
        (["autolora_topk", "method.search.mean_rank=null"], "mean_rank=None"),
        (
            ["autolora_budget", "method.search.scope=layer"],
            "scope=layer with method.search.constraint=softmax",
        ),
        (["autolora_mirror", "method.search.selection_betas=[0.5,0.9]"], "has no moments"),
        (["autolora", "method.search.components=1"], "components=1 with .*the weight 1"),
        (["autolora", "model.targets=[all_linear,query]"], "names layers beside all_linear"),
        (["autolora", "method.search.betas=[0.9]"], "betas"),
        (["autolora", "method.search.train_share=1.0"], "train_share"),
        (["autolora", "train.accumulation=4", "method.search.batch_size=6"], "accumulation"),
        *(
            (["autolora", f"method.search.{word}"], re.escape(f"method.search.{word}"))
            for word in (
                *("epochs=0.0", "epochs=-3.0", "max_steps=0", "batch_size=0", "validation_batch_size=0"),
                *("warmup=3.0", "warmup=-0.1", "weight_decay=-1.0", "clip=-1.0", "dropout=1.5", "alpha=0.0"),
                *("learning_rate=-1.0", "learning_rate=nan", "selection_learning_rate=0.0", "initial=nan"),
                *("initialisation_seed=-1", "initialisation_seed=4294967296"),
            )
        ),
        (["autolora_budget", "method.search.mean_rank=0", "method.search.minimum_rank=0"], "mean_rank=0"),
        (["autolora_budget", "method.search.mean_rank=null", "method.search.budget=0"], "budget=0"),
        (["autolora", "method.search.rule=threshold", "method.search.threshold=2"], "threshold=2.0 with"),
        (["autolora_unconstrained", "method.search.initial=0"], "initial=0 with"),
        (["autolora", "method.search.diagnose_steps=[0]"], r"method\.search\.diagnose_steps\[0\]=0"),
        (["autolora", "method.rank=2"], "rank=2 has no effect with method.scaling=alpha_over_rank"),
        (["autolora", "method.rank=-3"], "method.rank=-3"),
        (["autolora", "method.rank=0", "method.scaling=constant"], "method.rank=0"),
        (["autolora", "method.alpha=-16.0"], "method.alpha=-16.0"),
        (["autolora", "method.alpha=inf"], "method.alpha=inf is no finite number"),
    ],
)
@pytest.mark.sample(one_in=5)
def test_contradictions_are_refused(words: list[str], match: str, composed: Any) -> None:
    with pytest.raises(UserError, match=match):
        composed(*words)


def test_a_search_that_moved_nothing_is_no_autolora(
    composed: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps were taken, and every selection weight is what it was."""
    monkeypatch.setattr(SearchTrainer, "_move_selection", lambda *_: None)
    record = run_experiment(composed("autolora"), tmp_path, "autolora-bench ...", None)
    assert record.error is not None
    assert record.error["type"] == "UserError"
    assert "all selection weights are what they were before it" in record.error["message"]


@pytest.mark.parametrize(
    ("asked", "steps", "expected"),
    [
        ([1, 10, 50, 200], 32, (1,)),
        ([1, 10, 50, 200], 99, (1,)),
        ([1, 10, 50, 200], 100, (1, 10)),
        ([1, 10, 50, 200], 300, (1, 10, 50, 200)),
        ([1, 10, 50, 200], 9000, (1, 10, 50, 200)),
        ([1, 10], 32, (1, 10)),
        ([], 32, ()),
    ],
)
def test_a_short_search_is_compared_once_unless_more_is_said(
    asked: list[int], steps: int, expected: tuple[int, ...]
) -> None:
    assert diagnosed(asked, steps) == expected
