"""Allocators that train nothing: their scores against plain numpy on a model without dropout, and their budgets."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autolora_bench.config.allocators import StableRankConfig
from autolora_bench.errors import UserError
from autolora_bench.methods.allocators.budget import Budget
from autolora_bench.methods.allocators.gradient_ranks import singular_values
from autolora_bench.methods.allocators.stable_rank import stable_rank
from autolora_bench.methods.base import PhaseContext, build_method
from autolora_bench.methods.factors import FACTORS, read_factors
from autolora_bench.methods.first_gradients import Batches
from autolora_bench.methods.peft_lora import lora_model
from autolora_bench.search.layers import lora_factors, lora_layers

MODULES = ["a", "b", "c", "d"]
ALL = "model.targets=[all_linear]"
Search = Callable[..., tuple[PhaseContext, dict[str, Any], dict[str, int]]]


def budget(total: int, minimum: int = 0, maximum: int = 8, layers: int = 4) -> Budget:
    return Budget(tuple(f"layer{i}" for i in range(layers)), total, minimum, maximum)


def ranks(scores: list[float], total: int, minimum: int = 0, maximum: int = 8) -> tuple[int, ...]:
    return budget(total, minimum, maximum, len(scores)).proportional(torch.tensor(scores)).ranks


def test_shares_are_rounded_by_the_largest_remainder() -> None:
    assert ranks([1, 2, 3, 4], 10) == (1, 2, 3, 4)
    assert ranks([1, 1, 1], 10) == (4, 3, 3), "of equal remainders the earlier layer's"
    assert ranks([10, 14, 6], 3) == (1, 1, 1), "shares 1, 1.4, .6"
    assert ranks([1.2, 1.3, 5.5], 8) == (1, 1, 6)


def test_what_a_bound_cuts_off_goes_to_the_others() -> None:
    assert ranks([100, 1, 1, 2], 16) == (8, 2, 2, 4)
    assert ranks([1000, 1, 1, 1], 20, minimum=1) == (8, 4, 4, 4)
    assert ranks([1e-9, 1, 1], 9, minimum=1) == (1, 4, 4)


def test_layers_without_a_score_get_what_is_left() -> None:
    assert ranks([0, 0, 1, 1], 6) == (0, 0, 3, 3)
    assert ranks([0, 0, 1, 1], 20) == (2, 2, 8, 8)
    assert ranks([0, 0, 0, 0], 10) == (3, 3, 2, 2)
    assert ranks([0, 0, 1, 1], 10, minimum=1) == (1, 1, 4, 4)


def test_a_budget_at_its_bounds_is_met() -> None:
    assert ranks([5, 1, 2], 3, minimum=1) == (1, 1, 1)
    assert ranks([5, 1, 2], 24) == (8, 8, 8)


def test_shares_are_proportional_wherever_no_bound_cuts() -> None:
    """Against a search for the factor by bisection."""
    generator = np.random.default_rng(0)
    for _ in range(300):
        layers = int(generator.integers(1, 12))
        scores = generator.lognormal(0, 2, layers)
        least, most = int(generator.integers(0, 3)), int(generator.integers(3, 12))
        total = int(generator.integers(max(1, least * layers), most * layers + 1))
        low, high = 0.0, most / scores.min()
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (
                (middle, high) if np.clip(middle * scores, least, most).sum() < total else (low, middle)
            )
        shares = np.clip(high * scores, least, most)
        found = np.array(ranks(scores.tolist(), total, least, most))
        assert found.sum() == total
        assert (np.abs(found - shares) < 1 + 1e-6).all()
        assert ((found >= least) & (found <= most)).all()
        fractions = shares - np.floor(shares + 1e-9)
        raised = found > np.floor(shares + 1e-9)
        assert not raised.any() or raised.all() or fractions[raised].min() >= fractions[~raised].max() - 1e-6


def test_scores_must_be_numbers() -> None:
    with pytest.raises(UserError, match="not finite"):
        ranks([1.0, float("nan")], 3)


def without_dropout(encoder: Path, folder: Path) -> Path:
    shutil.copytree(encoder, folder / "dry")
    settings = json.loads((folder / "dry" / "config.json").read_text())
    settings |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "dry" / "config.json").write_text(json.dumps(settings))
    return folder / "dry"


@pytest.fixture
def search(composed: Any, tiny_encoder: Path, tmp_path: Path) -> Search:
    """Method, more words -> its context, scores and ranks after a search with a BERT that has no dropout."""
    dry = without_dropout(tiny_encoder, tmp_path)

    def run(method: str, *words: str) -> tuple[PhaseContext, dict[str, Any], dict[str, int]]:
        experiment = composed(method, f"model.checkpoint={dry}", *words)
        context = PhaseContext(experiment, tmp_path / method, torch.device("cpu"))
        build_method(experiment.method).phases()[0].run(context)
        found = [
            json.loads((context.folder / f"search/{name}.json").read_text()) for name in ("scores", "ranks")
        ]
        return context, found[0], found[1]["ranks"]

    return run


def batch_gradients(context: PhaseContext, batches: int) -> list[dict[str, np.ndarray]]:
    """Per batch: layer -> gradient (O, D) with respect to its weight, by autograd on the plain model."""
    backbone = context.backbone()
    layers = {name: backbone.model.get_submodule(name).weight for name in backbone.targets}
    found = []
    for batch in Batches(context).loader(8, 8 * batches):
        logits, smoothing = backbone.model(**batch).logits, context.experiment.train.label_smoothing
        loss = torch.nn.functional.cross_entropy(logits, batch["labels"], label_smoothing=smoothing)
        gradients = torch.autograd.grad(loss, list(layers.values()))
        found.append({name: g.double().numpy() for name, g in zip(layers, gradients, strict=True)})
    return found


@pytest.mark.parametrize("smoothing", [0, 0.3])
def test_gradient_ranks_are_the_mean_gradients_largest_singular_values(
    search: Search, smoothing: float
) -> None:
    words = ["method.batches=3", f"train.label_smoothing={smoothing}"]
    context, scores, found = search("lora_gradient_ranks", *words)
    each = batch_gradients(context, 3)
    expected = {name: np.linalg.svd(sum(g[name] for g in each) / 3, compute_uv=False)[:8] for name in each[0]}
    for name, values in scores.items():
        np.testing.assert_allclose(values, expected[name], rtol=0, atol=1e-5 * expected[name][0])
    level = np.sort(np.concatenate(list(expected.values())))[-16]
    assert found == {name: int((values >= level).sum()) for name, values in expected.items()}


def test_a_gradient_of_few_rows_is_padded() -> None:
    gradient = torch.randn(3, 20, generator=torch.Generator().manual_seed(0))
    [values] = singular_values([gradient], 8).tolist()
    np.testing.assert_allclose(values[:3], np.linalg.svd(gradient.double().numpy(), compute_uv=False))
    assert values[3:] == [0] * 5


@pytest.mark.parametrize(("accumulation", "smoothing"), [(1, 0), (4, 0), (1, 0.3)])
def test_fim_is_the_mean_square_of_each_batchs_gradient_of_b(
    search: Search, accumulation: int, smoothing: float
) -> None:
    """While B is zero its gradient is s G A', G the weight's: no LoRA needed to know it."""
    words = ["method.batches=4", "method.dropout=0", f"train.accumulation={accumulation}"]
    words.append(f"train.label_smoothing={smoothing}")
    context, scores, found = search("fim", *words)
    backbone = context.backbone()
    options = {"r": 4, "lora_alpha": 16, "target_modules": backbone.targets}
    factors = [a.detach().double().numpy() for a, _ in lora_factors(lora_model(backbone, context, **options))]
    each = batch_gradients(context, 4)
    expected = [
        np.mean([np.square(16 / 4 * gradients[name] @ a.T).mean() for gradients in each])
        for name, a in zip(backbone.targets, factors, strict=True)
    ]
    np.testing.assert_allclose(list(scores.values()), expected, rtol=1e-4)
    assert tuple(found.values()) == ranks(expected, 16, minimum=1)


@pytest.mark.parametrize("method", ["fim", "lora_gradient_ranks"])
@pytest.mark.sample(keep=("fim",))
def test_micro_batches_of_unlike_numbers_of_labels_look_as_their_whole_batch(
    search: Search, method: str
) -> None:
    """Words are labelled, and sentences are of different lengths."""
    found = []
    for accumulation in (1, 4):
        words = ["task=bionlp", "method.batches=3", f"train.accumulation={accumulation}"]
        words += ["method.dropout=0"] if method == "fim" else []
        context, scores, _ = search(method, *words)
        assert ("look_by_labels" in context.experiment.method.corrections) == (accumulation > 1)
        found.append(np.array([np.atleast_1d(values) for values in scores.values()]))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-6 * found[0].max())


@pytest.mark.parametrize(("task", "size"), [("sst2", 5), ("bionlp", 4)])
def test_lora_gas_examples_count_alike_in_whatever_batches(
    task: str, size: int, composed: Any, tiny_encoder: Path, tmp_path: Path
) -> None:
    """Five and three sentences, and four twice that have other numbers of words; singular vectors have free signs."""
    dry, found = without_dropout(tiny_encoder, tmp_path), []
    for batch in (8, size):
        words = [f"task={task}", f"train.batch_size={batch}", "method.rank=2", f"model.checkpoint={dry}"]
        experiment = composed("lora_ga", *words)
        assert ("start_by_labels" in experiment.method.corrections) == (batch < 8)
        (tmp_path / str(batch)).mkdir()
        context = PhaseContext(experiment, tmp_path / str(batch), torch.device("cpu"))
        build_method(experiment.method).phases()[0].run(context)
        factors = read_factors(context.folder / FACTORS)
        found.append([factor.abs() for pair in factors.values() for factor in pair])
    for whole, parts in zip(*found, strict=True):
        torch.testing.assert_close(parts, whole, rtol=0, atol=1e-3)


def test_stable_rank_is_the_norms_ratio(search: Search) -> None:
    context, scores, found = search("stable_rank")
    backbone = context.backbone()
    weights = [
        backbone.model.get_submodule(name).weight.detach().double().numpy() for name in backbone.targets
    ]
    expected = [np.linalg.norm(w) ** 2 / np.linalg.norm(w, 2) ** 2 for w in weights]
    np.testing.assert_allclose(list(scores.values()), expected, rtol=1e-6)
    assert tuple(found.values()) == ranks(expected, 16)


def test_stable_rank_of_known_matrices() -> None:
    assert stable_rank(torch.eye(7)) == pytest.approx(7)
    assert stable_rank(torch.ones(3, 5)) == pytest.approx(1)
    assert stable_rank(torch.diag(torch.tensor([2.0, 1.0, 1.0]))) == pytest.approx(1.5)
    assert stable_rank(torch.zeros(3, 3)) == 0


def test_a_budget_that_no_ranks_meet_is_refused_before_anything_is_read() -> None:
    config = StableRankConfig(name="x", title="X", learning_rate=1.0, total=40)
    with pytest.raises(UserError, match="total rank of 40 over 4 layers"):
        Budget.of(config, MODULES)


def test_the_search_costs_what_it_read(trained: Any) -> None:
    search = trained("fim").record.phase("search")
    assert search.examples == 48
    assert search.steps is None
    assert search.train_seconds > 0
    assert search.flops > 0
    nothing = trained("stable_rank").record.phase("search")
    assert (nothing.examples, nothing.tokens, nothing.flops) == (0, 0, 0)


def test_gora_is_weight_times_gradient(search: Search) -> None:
    context, scores, found = search("gora", "method.variant.gora.batches=3", ALL)
    backbone = context.backbone()
    each = batch_gradients(context, 3)
    for name, score in scores.items():
        weight = backbone.model.get_submodule(name).weight.detach().double().numpy()
        product = np.abs(weight * sum(g[name] for g in each) / 3)
        assert score == pytest.approx(product.mean() / np.sqrt(sum(weight.shape)), rel=1e-4)
    assert tuple(found.values()) == ranks(list(scores.values()), 48, minimum=2, maximum=16)
    assert len(set(found.values())) > 2


@pytest.mark.parametrize("method", ["gora", "lora_uniform"])
@pytest.mark.sample(keep=("gora",))
def test_goras_start_is_a_step_down_the_gradient(
    method: str, composed: Any, tiny_encoder: Path, tmp_path: Path
) -> None:
    """scale B A = -rate sqrt(D / r) G P, P the projection on A's rows: by least squares in numpy."""
    words = [
        "method.variant.start=gora",
        "method.variant.gora.batches=6",
        "method.variant.gora.learning_rate=1000",
    ]
    words += ["method.source=null"] if method == "lora_uniform" else []
    experiment = composed(method, f"model.checkpoint={without_dropout(tiny_encoder, tmp_path)}", *words)
    context = PhaseContext(experiment, tmp_path / "run", torch.device("cpu"))
    *before, training = build_method(experiment.method).phases()
    for phase in before:
        phase.run(context)
    assert len(before) == 2
    model = training.adapt(context.backbone(), context)  # type: ignore[attr-defined]
    each = batch_gradients(context, 6)
    for (name, layer), (a, b) in zip(lora_layers(model).items(), lora_factors(model), strict=True):
        rows = a.detach().double().numpy()
        gradient = sum(g[name] for g in each) / 6
        reached = np.linalg.lstsq(rows.T, gradient.T, rcond=None)[0].T @ rows
        expected = -1000 * np.sqrt(rows.shape[1] / len(rows)) * reached
        found = layer.scaling["default"] * b.detach().double().numpy() @ rows
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    batches = list(Batches(context).loader(48))
    with torch.no_grad():
        after = model.eval()(**batches[0]).loss
        with model.disable_adapter():
            assert after < model(**batches[0]).loss
