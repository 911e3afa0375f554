"""LoRA's variants: what each start computes, that they combine, and that what they leave loads on untouched weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification

from autolora_bench.config.variant import LoraGaConfig
from autolora_bench.errors import UserError
from autolora_bench.methods.base import PhaseContext
from autolora_bench.methods.factors import FACTORS, read_factors
from autolora_bench.methods.initialising import gradient_factors
from autolora_bench.methods.searching import SELECTION
from autolora_bench.methods.table import build_method
from autolora_bench.runner import run_experiment
from autolora_bench.search.layers import lora_layers

COMBINED = [
    ("autolora", "rslora=true", "rate_ratio=4", "start=pissa"),
    ("autolora", "dora=true"),
    ("autolora_topk", "start=eva", "lora_pro=true"),
    ("lora_from_ranks", "dora=true", "start=lora_ga"),
    ("lora_uniform", "start=eva", "rslora=true", "lora_pro=true"),
]
"""Method and options of method.variant."""


@pytest.fixture(params=COMBINED, ids="-".join)
def combined(request: Any, trained: Any) -> Any:
    method, *options = request.param
    words = [f"method.variant.{option}" for option in options]
    return trained(method, *words, "train.epochs=1", "method.learning_rate=1e-3")


def loaded(run: Any) -> Any:
    """The export, by stock PEFT on the checkpoint as it is."""
    base = AutoModelForSequenceClassification.from_pretrained(run.experiment.model.checkpoint, num_labels=2)
    return PeftModel.from_pretrained(base, run.folder / run.record.phases[-2].artefact / "export").eval()


@pytest.mark.parametrize(
    "method", ["rslora", "dora", "pissa", "olora", "lora_ga", "eva", "lora_plus", "lora_pro"]
)
def test_the_export_loads_on_untouched_weights(method: str, trained: Any) -> None:
    run = trained(method)
    torch.testing.assert_close(run.logits_of(loaded(run)), run.logits, rtol=0, atol=2e-6)


def test_variants_combine_with_learnt_and_given_ranks(combined: Any) -> None:
    torch.testing.assert_close(
        combined.first_logits, combined.logits_of(combined.context.backbone().model), rtol=0, atol=2e-6
    )
    torch.testing.assert_close(combined.logits_of(loaded(combined)), combined.logits, rtol=0, atol=2e-6)
    rebuilt = build_method(combined.experiment.method).rebuild(combined.context)
    torch.testing.assert_close(combined.logits_of(rebuilt), combined.logits, rtol=0, atol=0)


def test_rslora_scales_by_the_root_of_the_rank(trained: Any) -> None:
    run = trained("rslora")
    layers = lora_layers(run.model).values()
    assert {layer.scaling["default"] for layer in layers} == {run.experiment.method.alpha / 2}


def test_rslora_scales_the_search_by_the_root_of_its_components(composed: Any, tmp_path: Path) -> None:
    """16 / sqrt(4) is 32 / 4, exactly: the two searches are the same, and plain LoRA's is another."""
    found = {}
    for name, words in {
        "rslora": ["method.search.rslora=true"],
        "twice": ["method.search.alpha=32"],
        "plain": [],
    }.items():
        experiment = composed("autolora", "method.search.components=4", "method.search.max_steps=3", *words)
        context = PhaseContext(experiment, tmp_path / name, torch.device("cpu"))
        build_method(experiment.method).phases()[0].run(context)
        found[name] = (tmp_path / name / SELECTION).read_bytes()
    assert found["rslora"] == found["twice"] != found["plain"]


def test_autolora_retrains_dora_with_the_ranks_it_learnt(trained: Any) -> None:
    """Magnitudes start as the norms of the weight's rows, and are trained beside the factors of the learnt ranks."""
    run = trained("autolora", "method.variant.dora=true", "train.epochs=1", "method.learning_rate=1e-3")
    ranks = [layer.rank for layer in run.record.ranks]
    magnitudes = {name: w for name, w in run.model.named_parameters() if "magnitude" in name}
    assert len(magnitudes) == len(ranks) == 4
    assert run.record.parameters.method == sum(64 * rank + 32 for rank in ranks)
    for name, layer in lora_layers(run.model).items():
        [first] = [w for key, w in run.before.items() if name in key and "magnitude" in key]
        torch.testing.assert_close(
            first, layer.get_base_layer().weight.detach().norm(dim=1), rtol=1e-6, atol=0
        )
    assert all(not torch.equal(w, run.before[name]) for name, w in magnitudes.items())


def test_pissa_starts_with_the_best_approximation_of_each_weight(trained: Any) -> None:
    run = trained("pissa")
    model = run.context.backbone().model
    for name, (a, b) in read_factors(run.folder / FACTORS).items():
        u, s, v = torch.linalg.svd(model.get_submodule(name).weight.detach().double())
        scale = run.experiment.method.alpha / run.experiment.method.rank
        torch.testing.assert_close(scale * (b @ a).double(), u[:, :4] * s[:4] @ v[:4], rtol=0, atol=1e-5)


def test_olora_starts_orthonormal(trained: Any) -> None:
    for a, b in read_factors(trained("olora").folder / FACTORS).values():
        torch.testing.assert_close(b.T @ b, torch.eye(len(a)), rtol=0, atol=1e-5)


def test_lora_gas_first_step_is_the_closest_of_its_rank() -> None:
    """Theorem 3.1: the directions of the first step span the 2 r largest singular values of the gradient."""
    gradient = torch.randn(20, 12, generator=torch.Generator().manual_seed(0))
    a, b = gradient_factors(gradient, 3, LoraGaConfig(gamma=4.0))
    torch.testing.assert_close(a.norm(dim=1), torch.full((3,), 20**0.25 / 2))
    torch.testing.assert_close(b.norm(dim=0), torch.full((3,), 20**0.25 / 2))
    unit_a, unit_b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=0)
    step = unit_b @ (unit_b.T @ gradient) + (gradient @ unit_a.T) @ unit_a
    u, s, v = torch.linalg.svd(gradient, full_matrices=False)
    torch.testing.assert_close(step, (u[:, :6] * s[:6]) @ v[:6], rtol=0, atol=1e-4)


def test_eva_spends_the_budget_and_starts_along_the_inputs(trained: Any) -> None:
    run = trained("eva")
    ranks = {layer.module: layer.rank for layer in run.record.ranks}
    config = run.experiment.method
    assert sum(ranks.values()) == config.rank * len(ranks)
    assert max(ranks.values()) <= config.variant.eva.rho * config.rank
    for a, b in read_factors(run.folder / FACTORS).values():
        torch.testing.assert_close(a @ a.T, torch.eye(len(a)), rtol=0, atol=1e-4)
        assert not b.any()
    entry = run.record.phase("initialise")
    assert 0 < entry.examples < entry.tokens
    for layer in lora_layers(run.model).values():
        assert layer.scaling["default"] == config.alpha / config.rank


def test_lora_plus_learns_b_faster(trained: Any, composed: Any) -> None:
    from autolora_bench.training.arguments import training_arguments
    from autolora_bench.training.lora_optimizers import optimizer_of

    run = trained("lora_plus")
    make = optimizer_of(run.experiment.method.variant)
    assert make is not None
    arguments = training_arguments(
        run.experiment.train, run.folder / "none", learning_rate=1e-4, seed=0, device=torch.device("cpu")
    )
    rates = {id(p): g["lr"] for g in make(run.model, arguments).param_groups for p in g["params"]}
    for name, weight in run.model.named_parameters():
        if "lora_A" in name:
            assert rates[id(weight)] == pytest.approx(1e-4)
        if "lora_B" in name:
            assert rates[id(weight)] == pytest.approx(16e-4)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["lora_pro=true", "dora=true"], "lora_pro with method.variant.dora"),
        (["lora_pro=true", "rate_ratio=2"], "one learning rate"),
        (["rate_ratio=0"], "rate_ratio=0"),
        (["lora_ga.examples=0"], "lora_ga.examples=0"),
        (["eva.rho=0.5"], "eva.rho=0.5"),
        (["eva.tau=1"], "eva.tau=1"),
    ],
)
def test_variants_that_cannot_be_are_refused(words: list[str], what: str, composed: Any) -> None:
    with pytest.raises(UserError, match=what):
        composed("lora", *[f"method.variant.{word}" for word in words])


def test_a_rank_with_too_few_singular_vectors_is_refused(composed: Any, tmp_path: Path) -> None:
    record = run_experiment(composed("lora_ga", "method.rank=17"), tmp_path, "autolora-bench ...", None)
    assert record.error is not None
    assert record.error["message"].startswith("rank 17 is too large for this start")
    assert record.error["mend"] == "say a rank of at most 16"
