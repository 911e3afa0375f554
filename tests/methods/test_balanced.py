"""Balanced truncation against the large matrices that it does without, and the training that goes on from it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from autolora_bench.config.allocators import LoraBalancedConfig
from autolora_bench.config.steps import training_steps
from autolora_bench.config.train import TrainConfig
from autolora_bench.config.variant import VariantConfig
from autolora_bench.errors import UserError
from autolora_bench.methods.allocators.balanced import Balanced, hankel_singular_values, truncated
from autolora_bench.methods.allocators.budget import Budget
from autolora_bench.methods.base import PhaseContext, build_method
from autolora_bench.runner import run_experiment
from autolora_bench.search.layers import lora_factors
from autolora_bench.training.order import ContinuedSampler
from autolora_bench.training.trainer import FinetuneTrainer

K, INPUTS, OUTPUTS = 6, 20, 15


@pytest.fixture
def system() -> dict[str, np.ndarray]:
    """A layer's factors, and second moments H of its inputs and G of the gradient at its output."""
    random = np.random.default_rng(0)
    roots = {name: random.normal(size=(size, size)) for name, size in (("H", INPUTS), ("G", OUTPUTS))}
    roots["G"] *= np.geomspace(1, 100, OUTPUTS)
    moments = {name: root @ root.T for name, root in roots.items()}
    return {"A": random.normal(size=(K, INPUTS)), "B": random.normal(size=(OUTPUTS, K)), **moments}


def gramians(system: dict[str, np.ndarray]) -> tuple[Tensor, Tensor]:
    """Of the state A h, and of the loss's gradient with respect to it."""
    a, b = system["A"], system["B"]
    return torch.from_numpy(a @ system["H"] @ a.T), torch.from_numpy(b.T @ system["G"] @ b)


def root(moment: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(moment)
    return vectors * np.sqrt(values) @ vectors.T


def weighted(system: dict[str, np.ndarray], update: np.ndarray) -> np.ndarray:
    return root(system["G"]) @ update @ root(system["H"])


def test_values_are_those_of_the_update_between_both_moments(system: dict[str, np.ndarray]) -> None:
    found = hankel_singular_values(*gramians(system)).numpy()
    expected = np.linalg.svd(weighted(system, system["B"] @ system["A"]), compute_uv=False)[:K]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("rank", [1, 3, K])
def test_the_truncation_is_the_nearest_of_its_rank_in_the_losss_metric(
    system: dict[str, np.ndarray], rank: int
) -> None:
    """Eckart and Young's theorem: no other update of its rank loses less."""
    factors = [torch.from_numpy(system[name]) for name in "AB"]
    a, b = (t.numpy() for t in truncated(*factors, *gramians(system), rank))
    assert (a.shape, b.shape) == ((rank, INPUTS), (OUTPUTS, rank))
    whole = weighted(system, system["B"] @ system["A"])
    u, values, vt = np.linalg.svd(whole)
    best = u[:, :rank] * values[:rank] @ vt[:rank]
    np.testing.assert_allclose(weighted(system, b @ a), best, atol=1e-8 * values[0])
    np.testing.assert_allclose(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=0))


def test_a_component_without_a_value_can_still_learn(system: dict[str, np.ndarray]) -> None:
    mixed = np.linalg.qr(np.random.default_rng(1).normal(size=(K, K)))[0]
    system["B"] = system["B"][:, :2] @ mixed[:2]  # of rank 2 in no basis of the state's own
    factors = [torch.from_numpy(system[name]) for name in "AB"]
    a, b = truncated(*factors, *gramians(system), 4)
    np.testing.assert_allclose((b @ a).numpy(), system["B"] @ system["A"], atol=1e-5)
    assert (b[:, 2:] == 0).all(), "the output stays as it was"
    assert (a[2:].norm(dim=1) > 0.1).all(), "or no gradient would reach B"


class Net(nn.Module):
    """Two layers with a nonlinearity between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(INPUTS, OUTPUTS), nn.Linear(OUTPUTS, 7)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))


def test_gramians_are_of_the_positions_that_the_loss_depends_on() -> None:
    """Sums over two batches, by autograd on the layers' inputs and outputs."""
    torch.manual_seed(0)
    model: Any = get_peft_model(Net(), LoraConfig(r=K, lora_alpha=2 * K, target_modules=["first", "second"]))
    for a, b in lora_factors(model):
        nn.init.normal_(a, std=0.3)
        nn.init.normal_(b, std=0.3)
    config = LoraBalancedConfig(name="x", title="X", learning_rate=1.0, maximum_rank=K)
    balanced = Balanced(config, model, Budget.of(config, ["first", "second"]))
    expected = [[np.zeros((K, K)), np.zeros((K, K)), 0] for _ in range(2)]
    layers = {name: model.base_model.model.get_submodule(name) for name in ("first", "second")}
    taken: dict[str, tuple[Tensor, Tensor]] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            output.retain_grad()
            taken[name] = (args[0], output)

        return hook

    for name, layer in layers.items():
        layer.register_forward_hook(note(name))
    for gathers in (False, True, True):
        balanced.gathers = gathers
        outputs = model(torch.randn(5, 3, INPUTS, requires_grad=True))
        outputs[:, :2].square().sum().backward()  # the last position counts for nothing
        if gathers:
            for (a, b), (h, y), sums in zip(lora_factors(model), taken.values(), expected, strict=True):
                z = (h.detach()[:, :2].reshape(10, -1) @ a.T).detach().double().numpy()
                g = 2 * (y.grad[:, :2].reshape(10, -1) @ b).detach().double().numpy()
                sums[0] += z.T @ z
                sums[1] += g.T @ g
                sums[2] += 10
    args = SimpleNamespace(device=torch.device("cpu"), world_size=1)
    balanced.on_step_end(args, None, None)  # type: ignore[arg-type]
    for (p, q), (z, g, count) in zip(balanced._gramians(), expected, strict=True):
        np.testing.assert_allclose(p, z / count, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(q, g, rtol=1e-5, atol=1e-4)


def test_layers_are_compared_by_what_the_loss_loses(system: dict[str, np.ndarray]) -> None:
    """The larger update is not the one that counts: what no input reaches and no loss sees goes first."""
    config = LoraBalancedConfig(name="x", title="X", learning_rate=1.0, maximum_rank=K, mean_rank=1)
    model: Any = get_peft_model(Net(), LoraConfig(r=K, target_modules=["first", "second"]))
    balanced = Balanced(config, model, Budget.of(config, ["first", "second"]))
    balanced.positions += 1
    balanced.reached[:] = torch.eye(K, dtype=torch.float64)
    balanced.seen[0], balanced.seen[1] = 9 * torch.eye(K), torch.diag(torch.tensor([16.0, 1, 1, 1, 1, 1]))
    found = balanced.found()
    np.testing.assert_allclose(found.scores, [[3] * K, [4, 1, 1, 1, 1, 1]])
    assert found.ranks.ranks == (1, 1)


@pytest.mark.parametrize("scaling", ["alpha_over_rank", "constant"])
@pytest.mark.sample(keep=("alpha_over_rank",))
def test_the_training_goes_on_where_the_first_part_ended(
    scaling: str, composed: Any, tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every rank kept nothing is cut: the final LoRA and its head begin as the first part's."""
    words = [
        "method.mean_rank=4",
        "method.minimum_rank=4",
        "method.maximum_rank=4",
        f"model.checkpoint={tiny_encoder}",
    ]
    experiment = composed("lora_balanced", *words, f"method.scaling={scaling}")
    context = PhaseContext(experiment, tmp_path, torch.device("cpu"))
    batch = dict(context.task.collator(context.tokenizer)(list(context.splits.train.select(range(4)))))
    before: list[Tensor] = []
    leave = Balanced.leave

    def watched(balanced: Any, *arguments: Any) -> None:
        before.append(balanced.model.eval()(**batch).logits.detach())
        leave(balanced, *arguments)

    monkeypatch.setattr(Balanced, "leave", watched)
    search, retrain = build_method(experiment.method).phases()
    search.run(context)
    after = retrain.adapt(context.backbone(), context).eval()(**batch).logits  # type: ignore[attr-defined]
    torch.testing.assert_close(after, before[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(after, context.backbone().model.eval()(**batch).logits, atol=1e-3)


def test_both_parts_together_are_one_training(trained: Any) -> None:
    record = trained("lora_balanced").record
    assert [record.phase(name).steps for name in ("search", "retrain")] == [14, 4]


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.75, 0.9])
@pytest.mark.parametrize("epochs", [0.5, 1, 2, 3, 10])
@pytest.mark.parametrize("steps", [None, 400, 2])
def test_both_parts_have_the_steps_of_one_training(share: float, epochs: float, steps: int | None) -> None:
    config = LoraBalancedConfig(name="x", title="X", learning_rate=1.0, share=share)
    train = TrainConfig(epochs=epochs, batch_size=16, max_steps=steps)
    parts = [part(train, 1590) for part in (config.search_training, config.final_training)]
    found = [training_steps(part, 1590).steps for part in parts]
    assert sum(found) == training_steps(train, 1590).steps
    assert found[0] == max(1, min(sum(found) - 1, round(share * sum(found))))


def test_a_training_of_one_step_has_no_two_parts() -> None:
    config = LoraBalancedConfig(name="x", title="X", learning_rate=1.0)
    with pytest.raises(UserError, match="leaves none"):
        config.final_training(TrainConfig(max_steps=1), 100)


@pytest.mark.parametrize("settings", [{"variant": VariantConfig(dora=True)}, {"weight_decay": 0.1}])
def test_what_only_one_part_would_have_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"goes on with what it trained|of the last part alone"):
        LoraBalancedConfig(name="x", title="X", learning_rate=1.0, **settings).check()


@pytest.mark.parametrize("grouped", ["false", "true"])
@pytest.mark.sample(keep=("true",))
def test_one_epoch_in_two_parts_sees_every_example_once(
    grouped: str, composed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = composed("lora_balanced", "train.epochs=1", f"train.group_by_length={grouped}")
    seen: dict[str, list[int]] = {"search": [], "retrain": []}
    step = FinetuneTrainer.training_step

    def noted(trainer: Any, model: Any, inputs: Any, *more: Any) -> Any:
        seen[Path(trainer.args.output_dir).parent.name] += [
            hash(tuple(row[row.ne(0)].tolist())) for row in inputs["input_ids"]
        ]
        return step(trainer, model, inputs, *more)

    monkeypatch.setattr(FinetuneTrainer, "training_step", noted)
    record = run_experiment(experiment, tmp_path / "run", "autolora-bench ...", None)
    assert record.error is None
    context = PhaseContext(experiment, tmp_path / "run", torch.device("cpu"))
    every = [hash(tuple(row)) for row in context.splits.train["input_ids"]]
    assert (len(seen["search"]), len(seen["retrain"])) == (32, 16)
    assert sorted(seen["search"] + seen["retrain"]) == sorted(every)


def test_a_stream_of_orders_goes_on_wherever_it_was_left() -> None:
    whole = ContinuedSampler(10, 3, 0)
    stream = []
    for epoch in range(4):
        whole.set_epoch(epoch)
        stream += list(whole)
        assert sorted(stream[-10:]) == list(range(10))
    assert stream[:10] != stream[10:20]
    later = ContinuedSampler(10, 3, 13)
    later.set_epoch(1)
    assert list(later) == stream[23:33]
