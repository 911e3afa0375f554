"""Gradient checkpointing: what is exact with it gives the same numbers, what is not is refused, wherever it is on."""

from typing import Any

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from autolora_bench.config.rates import Granularity
from autolora_bench.errors import UserError
from autolora_bench.search import ESTIMATORS, LayerRates, RateOptions, RateTrainer

REENTRANT, OTHER = {"use_reentrant": True}, {"use_reentrant": False}


def switched_on(toys: Any, kind: dict[str, bool]) -> Any:
    """A model that checkpoints whatever the Trainer's arguments say."""
    model = toys.model(trained=False).float()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=kind)
    model.enable_input_require_grads()
    return model


def steps_of(name: str) -> dict[str, Any]:
    return {"estimator": name, "inner_steps": 2 if name == "reptile" else 1}


def rate_search(runs: Any, folder: Any, model: Any, exact: bool = False, **changes: Any) -> RateTrainer:
    return RateTrainer(
        model=model,
        args=runs.arguments(folder, **changes),
        train_dataset=runs.task(1),
        validation_dataset=runs.task(2),
        rates=LayerRates(model, Granularity.layer),
        options=RateOptions(exact=exact),
    )


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
@pytest.mark.sample(keep=("closed_form", "first_order"))
def test_the_reentrant_kind_is_refused(runs, toys, tmp_path, name):
    asked = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": REENTRANT}
    with pytest.raises(UserError, match="reentrant gradient checkpointing"):
        runs.search(tmp_path, steps_of(name), **asked)
    with pytest.raises(UserError, match="reentrant gradient checkpointing"):
        runs.search(tmp_path, steps_of(name), switched_on(toys, REENTRANT))
    later = runs.search(tmp_path, steps_of(name))
    later.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=REENTRANT)
    with pytest.raises(UserError, match="reentrant gradient checkpointing"):
        later.train()


def test_rates_refuse_the_reentrant_kind_and_what_is_not_exact(runs, toys, tmp_path):
    asked = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": REENTRANT}
    with pytest.raises(UserError, match="reentrant gradient checkpointing"):
        rate_search(runs, tmp_path, toys.model().float(), **asked)
    with pytest.raises(UserError, match="reentrant gradient checkpointing"):
        rate_search(runs, tmp_path, switched_on(toys, REENTRANT))
    with pytest.raises(UserError, match="recomputes with other weights"):
        rate_search(runs, tmp_path, switched_on(toys, OTHER), exact=True)
    later = rate_search(runs, tmp_path, toys.model().float(), exact=True)
    later.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=OTHER)
    with pytest.raises(UserError, match="recomputes with other weights"):
        later.train()


@pytest.mark.parametrize("name", ["unrolled", "central_difference", "forward_difference"])
@pytest.mark.sample(keep=("unrolled",))
def test_passes_at_other_weights_are_refused(runs, toys, tmp_path, name):
    for more in ({"model": switched_on(toys, OTHER)}, {"gradient_checkpointing": True}):
        with pytest.raises(UserError, match=f"other weights than those of estimator={name}"):
            runs.search(tmp_path, {"estimator": name}, **more)
        with pytest.raises(UserError, match=r"gradient checkpointing with diagnose_steps=\(1,\)"):
            runs.search(tmp_path, {"diagnose_steps": (1,)}, **more)


@pytest.mark.parametrize("name", ["closed_form", "first_order", "released", "reptile"])
@pytest.mark.sample(keep=("closed_form",))
def test_what_is_exact_gives_what_it_gives_without(runs, toys, tmp_path, name):
    plain = runs.search(tmp_path / "plain", steps_of(name))
    plain.train()
    for kind in (None, OTHER):
        asked = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": kind}
        by_arguments = runs.search(tmp_path / "args", steps_of(name), **asked)
        by_arguments.train()
        assert runs.same(runs.everything(by_arguments), runs.everything(plain))
    in_the_model = runs.search(tmp_path / "model", steps_of(name), switched_on(toys, OTHER))
    in_the_model.train()
    assert runs.same(runs.everything(in_the_model), runs.everything(plain))


def cut_off(model: Any) -> Any:
    """A model whose blocks let no gradient through, and nobody can tell before it is tried."""
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=OTHER)
    for block in model.modules():
        if getattr(block, "gradient_checkpointing", False):
            block._gradient_checkpointing_func = lambda f, *x: checkpoint(f, *x, use_reentrant=True)
    model.get_base_model().disable_input_require_grads()
    return model


@pytest.mark.parametrize("name", ["closed_form", "first_order", "released", "reptile"])
def test_a_gradient_that_reaches_no_layer_is_refused(runs, toys, tmp_path, name):
    """Zeros would leave every variable where it was, and look like a search."""
    trainer = runs.search(tmp_path, steps_of(name), cut_off(toys.model(trained=False).float()))
    with pytest.raises(UserError, match="no gradient of the loss reaches the LoRA layers"):
        trainer.train()
    assert torch.equal(trainer.selection.beta, torch.ones_like(trainer.selection.beta))


def test_rates_of_weights_that_no_gradient_reaches_are_refused(runs, toys, tmp_path):
    trainer = rate_search(runs, tmp_path, cut_off(toys.model(trained=False).float()))
    with pytest.raises(UserError, match="no gradient of the loss reaches the LoRA layers"):
        trainer.train()
