"""What users bring themselves: adapters by other names, loss functions, optimizers, lists of examples, a precision."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from autolora_bench.config.rates import Granularity
from autolora_bench.errors import UserError
from autolora_bench.search import (
    LayerRates,
    RateOptions,
    RateTrainer,
    SearchTrainer,
    lora_layers,
    selection_for,
)

LORA = LoraConfig(
    task_type="SEQ_CLS", r=3, lora_alpha=12, target_modules=["query", "value"], lora_dropout=0.1
)


def named(toys: Any, name: str, before: str | None = None) -> Any:
    """LORA on a toy encoder under a name of its own, active, after another adapter if `before` names one."""
    base = toys.model(trained=False).float().unload()
    if before is None:
        torch.manual_seed(1)
        return get_peft_model(base, LORA, adapter_name=name)
    other = LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"], init_lora_weights=False)
    model = get_peft_model(base, other, adapter_name=before)
    torch.manual_seed(1)
    model.add_adapter(name, LORA)
    model.set_adapter(name)
    return model


@pytest.mark.parametrize(("name", "before"), [("mine", None), ("second", "default"), ("default", "first")])
def test_the_active_adapter_is_searched_whatever_its_name(runs, toys, tmp_path, name, before):
    """Its variables move, and it goes on from its checkpoint, as it does alone under PEFT's own name."""
    plain = runs.search(tmp_path / "plain", model=named(toys, "default").train())
    plain.train()
    saving = {"save_strategy": "steps", "save_steps": 3}
    whole = runs.search(tmp_path / "whole", model=named(toys, name, before).train(), **saving)
    whole.train()
    assert torch.equal(whole.selection.beta, plain.selection.beta)
    assert whole.allocation() == plain.allocation()
    resumed = runs.search(tmp_path / "whole", model=named(toys, name, before).train())
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    assert runs.same(runs.everything(resumed), runs.everything(whole))


def test_several_active_adapters_are_refused(toys):
    lora = LoraConfig(r=2, target_modules=["query"])
    model = get_peft_model(toys.model().unload(), lora, adapter_name="first")
    model.add_adapter("second", lora)
    model.base_model.set_adapter(["first", "second"])
    with pytest.raises(UserError, match="several adapters are active: first, second"):
        lora_layers(model)


def counting(outputs, labels, num_items_in_batch):
    """A mean that does not know its own number of labels."""
    return functional.cross_entropy(outputs.logits, labels, reduction="sum") / num_items_in_batch


def test_a_loss_function_is_told_the_number_of_labels(runs, tmp_path):
    own = runs.search(tmp_path / "own", trainer={"compute_loss_func": counting})
    own.train()
    plain = runs.search(tmp_path / "plain")
    plain.train()
    torch.testing.assert_close(own.selection.beta, plain.selection.beta, rtol=0, atol=1e-4)
    assert not torch.equal(own.selection.beta, torch.ones_like(own.selection.beta))


def test_a_ready_scheduler_is_refused_and_a_ready_optimizer_taken(runs, toys, tmp_path):
    def made():
        model = toys.model(trained=False).float()
        optimizer = AdamW([w for w in model.parameters() if w.requires_grad], 1e-2, weight_decay=0.0)
        return model, optimizer, LambdaLR(optimizer, lambda step: 1 - step / 10)

    model, optimizer, scheduler = made()
    with pytest.raises(UserError, match="a ready scheduler") as caught:
        runs.search(tmp_path, model=model, trainer={"optimizers": (optimizer, scheduler)})
    assert "optimizers=(optimizer, None)" in caught.value.mend
    with pytest.raises(UserError, match="a ready scheduler"):
        RateTrainer(
            model=model,
            args=runs.arguments(tmp_path),
            validation_dataset=runs.task(2),
            rates=LayerRates(model, Granularity.layer),
            options=RateOptions(),
            optimizers=(optimizer, scheduler),
        )
    model, optimizer, _ = made()
    own = runs.search(tmp_path / "own", model=model, trainer={"optimizers": (optimizer, None)})
    own.train()
    plain = runs.search(tmp_path / "plain")
    plain.train()
    torch.testing.assert_close(own.selection.beta, plain.selection.beta, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("argument", "message"),
    [("fp16", "does not support fp16"), ("deepspeed", "one device per process")],
)
def test_both_searches_refuse_what_would_skip_or_split_steps(runs, toys, tmp_path, argument, message):
    model, arguments = toys.model(trained=False).float(), runs.arguments(tmp_path)
    setattr(arguments, argument, True)
    given = {"model": model, "args": arguments, "validation_dataset": runs.task(2)}
    with pytest.raises(UserError, match=message):
        RateTrainer(**given, rates=LayerRates(model, Granularity.layer), options=RateOptions())
    with pytest.raises(UserError, match=message):
        SearchTrainer(**given, train_dataset=runs.task(1), selection=selection_for(model))


def test_a_default_precision_of_16_bits_is_not_that_of_the_variables(runs, toys, tmp_path):
    """In bf16 a variable of 1 would not see a step of 1e-3."""
    plain = runs.search(tmp_path / "plain", {"selection_learning_rate": 1e-3})
    plain.train()
    model = toys.model(trained=False).float()
    torch.set_default_dtype(torch.bfloat16)
    try:
        coarse = runs.search(tmp_path / "coarse", {"selection_learning_rate": 1e-3}, model)
        coarse.train()
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(coarse.selection.beta, plain.selection.beta)


def test_a_list_of_examples_is_grouped_by_length(runs, tmp_path):
    trainer = runs.search(tmp_path, {"group_by_length": True}, max_steps=1)
    trainer.train()
    assert trainer._validation.lengths == [6] * 32
    rows = [{"inputs_embeds": [0.0], "labels": 0}] * 4
    with pytest.raises(UserError, match="validation examples without input_ids"):
        runs.search(tmp_path, {"group_by_length": True}, data=(rows, rows))
