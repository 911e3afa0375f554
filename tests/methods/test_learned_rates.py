"""lora_learned_rates and its control: what the search leaves is what the final training uses."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from autolora_bench import cli
from autolora_bench.config.rates import LearnedRatesConfig, RateOrder
from autolora_bench.config.train import WAYS
from autolora_bench.errors import UserError
from autolora_bench.methods import learned_rates
from autolora_bench.methods.base import PhaseContext, build_method
from autolora_bench.methods.search_training import validation_batch
from autolora_bench.record import find_records, read_record
from autolora_bench.search.layers import lora_factors, lora_layers
from autolora_bench.training.arguments import training_arguments
from autolora_bench.training.weight_groups import WeightGroups, adamw

FASTER = ("method.rates.learning_rate=0.1", "train.epochs=1")


def found(run: Any) -> dict[str, list[float]]:
    multiples: dict[str, list[float]] = json.loads((run.folder / learned_rates.RATES).read_text())[
        "multiples"
    ]
    return multiples


def rates_of(run: Any) -> dict[str, list[float]]:
    """Layer -> rates of A and B in the final training's optimizer, as multiples of the run's; the head's must be 1."""
    method = build_method(run.experiment.method)
    backbone = run.context.backbone()
    model = method.adapt(backbone, run.context)
    c = run.experiment
    arguments = training_arguments(
        c.train, run.folder / "x", learning_rate=c.method.learning_rate, seed=0, device=torch.device("cpu")
    )
    optimizer = method.optimizer(run.context)(model, arguments, WeightGroups(tuple(backbone.head_modules)))
    of = {
        id(w): group["lr"] / c.method.learning_rate
        for group in optimizer.param_groups
        for w in group["params"]
    }
    layers = {
        name: [of.pop(id(layer.lora_A["default"].weight)), of.pop(id(layer.lora_B["default"].weight))]
        for name, layer in lora_layers(model).items()
    }
    assert of
    assert set(of.values()) == {1.0}
    return layers


def test_the_final_training_has_the_learnt_rates(trained: Any) -> None:
    run = trained("lora_learned_rates", *FASTER)
    rates, learnt = rates_of(run), found(run)
    assert len({of_a for of_a, _ in learnt.values()}) == len(learnt) == 4
    assert rates == {name: pytest.approx(pair) for name, pair in learnt.items()}
    [phase] = [p for p in run.record.phases if p.name == "rates"]
    multiples = [of_a for of_a, _ in learnt.values()]
    assert phase.details["rate_multiples"]["smallest"] == min(multiples)
    assert phase.details["rate_of_b_over_a"] == 1


def test_the_control_has_the_same_rates_in_another_order(trained: Any) -> None:
    learnt, control = trained("lora_learned_rates", *FASTER), trained("lora_shuffled_rates", *FASTER)
    assert found(control) == found(learnt)
    rates = rates_of(control)
    assert sorted(rates.values()) == [pytest.approx(pair) for pair in sorted(found(learnt).values())]
    assert list(rates.values()) != [pytest.approx(pair) for pair in found(learnt).values()]
    assert control.record.config_id != learnt.record.config_id


def test_a_and_b_have_rates_of_their_own_and_the_mean_can_be_kept(trained: Any) -> None:
    words = ["method.rates.granularity=factor", "method.rates.keep_mean=true"]
    run = trained("lora_learned_rates", *FASTER, *words, "train.max_steps=2")
    learnt, rates = found(run), rates_of(run)
    assert all(of_a != of_b for of_a, of_b in learnt.values())
    logs = torch.tensor([list(pair) for pair in rates.values()], dtype=torch.float64).log()
    assert abs(float(logs.mean())) < 1e-9
    given = torch.tensor([list(pair) for pair in learnt.values()], dtype=torch.float64).log()
    torch.testing.assert_close(logs, given - given.mean())


def test_one_rate_for_all_layers(trained: Any) -> None:
    words = ["method.rates.granularity=model", "method.rates.inner_steps=2"]
    run = trained("lora_learned_rates", *FASTER, *words, "train.max_steps=2")
    [pair] = {tuple(pair) for pair in rates_of(run).values()}
    assert pair[0] == pair[1] != 1


def test_decay_and_alpha_are_learnt_beside_the_rates_and_trained_with(trained: Any) -> None:
    words = ["method.rates.also=[weight_decay,alpha]", "train.weight_decay=0.1", "train.max_steps=3"]
    run = trained("lora_learned_rates", *FASTER, *words)
    also = learned_rates.read_also(run.folder / learned_rates.RATES)
    assert set(also) == {"weight_decay", "alpha"}
    assert 1 not in also.values()
    rates_of(run)  # the head's rate is the run's
    method, backbone = build_method(run.experiment.method), run.context.backbone()
    model = method.adapt(backbone, run.context)
    alpha = run.experiment.method.alpha * also["alpha"]
    scales = [layer.scaling["default"] for layer in lora_layers(model).values()]
    assert scales == [pytest.approx(alpha / run.experiment.method.rank)] * 4
    exported = json.loads((run.folder / "retrain/export/adapter_config.json").read_text())
    assert exported["lora_alpha"] == pytest.approx(alpha)
    arguments = training_arguments(
        run.experiment.train, run.folder / "x", learning_rate=1e-3, seed=0, device=torch.device("cpu")
    )
    groups = method.optimizer(run.context)(model, arguments, WeightGroups(tuple(backbone.head_modules)))
    of = {id(w): group["weight_decay"] for group in groups.param_groups for w in group["params"]}
    factors = {id(w) for pair in lora_factors(model) for w in pair}
    assert [of[w] for w in factors] == [pytest.approx(0.1 * also["weight_decay"])] * 8
    assert {decay for w, decay in of.items() if w not in factors} == {0.0, 0.1}
    [phase] = [p for p in run.record.phases if p.name == "rates"]
    assert phase.details["alpha"] == pytest.approx(alpha)
    assert phase.details["weight_decay"] == pytest.approx(0.1 * also["weight_decay"])
    rebuilt = method.rebuild(run.context)
    torch.testing.assert_close(run.logits_of(rebuilt), run.logits, rtol=0, atol=0)


def test_a_permutation_moves_layers_not_factors() -> None:
    learnt = {f"layer{i}": (1.0 + i, 10.0 + i) for i in range(8)}
    config = LearnedRatesConfig(name="x", title="x", learning_rate=1e-3, order=RateOrder.shuffled)
    shuffled = learned_rates.multiples_for(config, learnt, seed=1)
    assert set(shuffled.values()) == set(learnt.values())
    assert shuffled != learnt
    assert shuffled == learned_rates.multiples_for(config, learnt, seed=1)
    assert shuffled != learned_rates.multiples_for(config, learnt, seed=2)


def test_the_search_decays_what_the_final_training_decays(trained: Any) -> None:
    run = trained(
        "lora_learned_rates",
        "train.weight_decay=0.01",
        "method.weight_decay=0.5",
        "method.variant.dora=true",
        "train.max_steps=1",
    )
    decays: dict[str, set[float]] = {}

    def watching(model: Any, arguments: Any, groups: WeightGroups) -> Any:
        made = adamw(model, arguments, groups)
        of = {id(w): group["weight_decay"] for group in made.param_groups for w in group["params"]}
        for name, weight in model.named_parameters():
            if weight.requires_grad:
                kind = next((k for k in ("lora_magnitude", "lora_", "bias") if k in name), "head")
                decays.setdefault(kind, set()).add(of[id(weight)])
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learned_rates, "adamw", watching)
        [phase] = [one for one in build_method(run.experiment.method).phases() if one.name == "rates"]
        phase.run(replace(run.context, folder=run.folder.parent / "again"))
    assert decays == {"lora_": {0.5}, "lora_magnitude": {0.0}, "head": {0.01}, "bias": {0.0}}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["method.variant.rate_ratio=4"], "method.variant.rate_ratio=4"),
        (["method.variant.lora_pro=true"], "lora_pro=True"),
        (["method.rates.exact=true"], "method.rates.exact=true"),
        (["method.rates.limit=1"], "leaves every rate where it starts"),
        (["method.rates.granularity=model", "method.rates.keep_mean=true"], "leaves nothing to learn"),
        (["method.rates.granularity=model", "method.order=shuffled"], "one rate has no order"),
        (["method.rates.inner_steps=1000"], "the rates would never move"),
        (["method.rates.also=[dropout]"], "has no derivative in the share of zeros"),
        (["method.rates.also=[warmup]"], "warmup is not known"),
        (["method.rates.also=[alpha]", "method.variant.dora=true"], "with DoRA"),
        (["method.rates.also=[weight_decay]", "train.weight_decay=0"], "every multiple of 0 is 0"),
        (["train.accumulation=3", "train.batch_size=12"], "does not divide method.rates.batch_size=16"),
    ],
)
@pytest.mark.sample(one_in=3)
def test_settings_that_make_no_sense_are_refused(words: list[str], said: str, composed: Any) -> None:
    more = ["method.rates.batch_size=16", "method.rates.epochs=3"]
    with pytest.raises(UserError, match=said):
        composed("lora_learned_rates", *more, *words)


def test_the_search_computes_as_the_run_does(trained: Any) -> None:
    """What auto takes, the search of the rates takes too: the same tokens are computed, and the same masks drawn."""
    said, auto = (
        trained(
            *("lora_learned_rates", *FASTER, "train.max_steps=3"),
            *(f"train.padding_free={way}", f"train.cpu_kernels={way}"),
        )
        for way in ("true", "auto")
    )
    assert {name: auto.record.provenance["ways"][name] for name in WAYS} == dict.fromkeys(WAYS, True)
    assert found(auto) == found(said)
    for one, other in zip(auto.record.phases, said.record.phases, strict=True):
        assert (one.name, one.tokens, one.steps) == (other.name, other.tokens, other.steps)


def test_a_validation_batch_stays_where_micro_batches_became_smaller(composed: Any) -> None:
    experiment = composed("lora_learned_rates", "train.accumulation=2")
    context = PhaseContext(experiment, Path("none"), torch.device("cpu"))
    assert validation_batch(None, 8, context) == 4
    assert validation_batch(3, 8, context) == 3


def test_one_rate_for_all_layers_where_some_have_no_adapter(tmp_path: Path) -> None:
    """EVA gives such layers rank 0; the final training asked for their rates."""
    words = [
        *("task=planted", "model=small", "task.rank=1", "task.rows={train: 96, validation: 24, test: 32}"),
        *(
            "method=lora_learned_rates",
            "method.rates.granularity=model",
            "method.rank=1",
            "train.max_steps=4",
        ),
        *("method.variant.start=eva", "method.variant.eva.rho=8", f"results={tmp_path}", "device=cpu"),
    ]
    assert cli.run(words) == 0
    [path] = find_records(tmp_path)
    ranks = {layer.module: layer.rank for layer in read_record(path).ranks}
    stated = json.loads((path.parent / learned_rates.RATES).read_text())["multiples"]
    assert 0 in ranks.values()
    assert {*stated} == {name for name, rank in ranks.items() if rank}
