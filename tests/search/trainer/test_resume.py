"""Resuming and watching leave no trace in a run."""

from itertools import pairwise, product

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch import nn
from transformers import TrainerCallback

from autolora_bench.config.search import SEVERAL_STEPS, SelectionOptimizer
from autolora_bench.errors import UserError
from autolora_bench.search import ESTIMATORS

TOKENS = ("input_ids", "attention_mask")
ONE_STEP = sorted(set(ESTIMATORS) - {"reptile"})
"""Estimators that have a meaning with one inner step."""


@pytest.mark.parametrize("name", ONE_STEP)
@pytest.mark.sample(keep=("closed_form",))
def test_resumed_run_equals_the_uninterrupted_one(runs, tmp_path, name):
    whole = runs.search(tmp_path / "whole", {"estimator": name})
    whole.train()
    part = runs.search(tmp_path / "part", {"estimator": name}, save_strategy="steps", save_steps=3)
    part.train()
    assert runs.same(runs.everything(part), runs.everything(whole))
    resumed = runs.search(tmp_path / "part", {"estimator": name})
    resumed.train(resume_from_checkpoint=str(tmp_path / "part" / "checkpoint-3"))
    assert runs.same(runs.everything(resumed), runs.everything(whole))
    assert runs.trajectory(resumed) == runs.trajectory(whole)
    stored = load_file(tmp_path / "part" / "checkpoint-6" / "selection.safetensors")
    assert torch.equal(stored["beta"], whole.selection.beta)


@pytest.mark.parametrize(
    ("name", "constraint"),
    [
        *(
            pytest.param(name, "softmax", marks=[] if name == "closed_form" else pytest.mark.slow)
            for name in ONE_STEP
        ),
        *(("closed_form", constraint) for constraint in ("sigmoid", "topk")),
    ],
)
@pytest.mark.sample(one_in=3)
def test_resumed_mirror_descent_equals_the_uninterrupted_one(runs, tmp_path, name, constraint):
    options = {
        "estimator": name,
        "selection_optimizer": SelectionOptimizer.mirror_descent,
        "selection_learning_rate": 1.0,
    }
    variables = {"constraint": constraint, "budget": 5.0 if constraint == "topk" else None}
    whole = runs.search(tmp_path / "part", options, selection=variables, save_strategy="steps", save_steps=3)
    whole.train()
    resumed = runs.search(tmp_path / "part", options, selection=variables)
    resumed.train(resume_from_checkpoint=str(tmp_path / "part" / "checkpoint-3"))
    assert runs.same(runs.everything(resumed), runs.everything(whole))
    assert not torch.equal(whole.selection.beta, whole.selection.beta[:, :1].expand(-1, 3))
    assert len(whole.optimizer.state) == len(whole.optimizer.param_groups[0]["params"]) + len(
        whole.optimizer.param_groups[1]["params"]
    )


@pytest.mark.parametrize(
    ("name", "stopped"),
    [
        pytest.param(estimator.name, stopped, marks=[] if number % 3 == stopped - 3 else pytest.mark.slow)
        for (number, estimator), stopped in product(enumerate(SEVERAL_STEPS), (3, 4, 5))
    ],
)
@pytest.mark.sample(keep=("first_order",))
def test_a_run_resumed_inside_an_inner_loop_equals_the_uninterrupted_one(runs, tmp_path, name, stopped):
    """Loops of three steps, two micro-batches each, stopped before the second, after its first and its second step."""
    options = {"estimator": name, "inner_steps": 3, "diagnose_steps": (4,)}
    more = {"gradient_accumulation_steps": 2, "max_steps": 7}
    whole = runs.search(tmp_path / "part", options, save_strategy="steps", save_steps=stopped, **more)
    whole.train()
    resumed = runs.search(tmp_path / "part", options, **more)
    resumed.train(resume_from_checkpoint=str(tmp_path / "part" / f"checkpoint-{stopped}"))
    assert runs.same(runs.everything(resumed), runs.everything(whole))
    assert runs.trajectory(resumed) == runs.trajectory(whole)
    moved = [
        line["step"] for before, line in pairwise(runs.trajectory(whole)) if line["alpha"] != before["alpha"]
    ]
    assert moved == [3, 6]
    [found] = [x for x in resumed.state.log_history if "hypergradient_cosine" in x]
    assert found["step"] == 6
    if name != "reptile":  # it asks the other half
        assert found["hypergradient_cosine"] > (0.999999 if name == "unrolled" else 0.9)


def test_a_repeated_pass_is_divided_by_the_parts_of_its_own_step(runs, tmp_path):
    """Steps of two, two and one micro-batches of a model that is no transformers' own: loops go over an epoch's end."""

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.one, self.two = nn.Linear(6, 8), nn.Linear(8, 2)
            self.device = torch.device("cpu")

        def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            logits = self.two(torch.tanh(self.one(x)))
            return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    draw = torch.Generator().manual_seed(3)
    data = [{"x": x, "labels": int(x[0] * x[1] > 0)} for x in torch.randn(40, 6, generator=draw)]
    options = {"estimator": "unrolled", "inner_steps": 2, "diagnose_steps": (4,)}

    def search(**more):
        adapted = LoraConfig(r=4, target_modules=["one", "two"], init_lora_weights=False)
        model = get_peft_model(Plain(), adapted)
        arguments = {"gradient_accumulation_steps": 2, "lr_scheduler_type": "constant", **more}
        return runs.search(tmp_path, options, model, (data[:20], data[20:]), **arguments)

    whole = search(save_strategy="steps", save_steps=3)
    whole.train()
    [found] = [line for line in whole.state.log_history if "hypergradient_cosine" in line]
    assert found["hypergradient_cosine"] > 0.999999
    resumed = search()
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert runs.same(runs.everything(resumed), runs.everything(whole))
    file = tmp_path / "checkpoint-3" / "inner_loop_0.pt"
    steps = torch.load(file, weights_only=True)
    for done in steps[0]["passes"]:
        done["batch"] = done["batch"][:2]
    torch.save(steps, file)
    with pytest.raises(UserError, match="by an earlier version"):
        search().train(resume_from_checkpoint=str(file.parent))


def test_an_inner_loop_that_the_checkpoint_does_not_hold_is_refused(runs, tmp_path):
    options = {"estimator": "first_order", "inner_steps": 3}
    runs.search(tmp_path, options, save_strategy="steps", save_steps=4).train()
    checkpoint = tmp_path / "checkpoint-4"
    (checkpoint / "inner_loop_0.pt").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"inner_loop_0\.pt cannot be read"):
        runs.search(tmp_path, options).train(resume_from_checkpoint=str(checkpoint))
    (checkpoint / "inner_loop_0.pt").unlink()
    with pytest.raises(UserError, match="does not hold the 1 steps"):
        runs.search(tmp_path, options).train(resume_from_checkpoint=str(checkpoint))


def test_resumed_search_with_grouped_batches(runs, tmp_path):
    """32 sentences of 3 to 6 tokens, four to a batch: padded less, and resumed where they stood, in the second pass."""
    rows = [{**row, **{k: row[k][: 3 + i % 4] for k in TOKENS}} for i, row in enumerate(runs.task(2))]
    widths = {}

    def padded(examples):
        width = max(len(example["input_ids"]) for example in examples)
        filled = {k: [e[k] + [0] * (width - len(e[k])) for e in examples] for k in TOKENS}
        return {k: torch.tensor(v) for k, v in filled.items()} | {
            "labels": torch.tensor([e["labels"] for e in examples])
        }

    for grouped in (False, True):
        data = Dataset.from_list(runs.task(1)), Dataset.from_list(rows)
        options = {"group_by_length": grouped}
        more = {"data": data, "collator": padded, "max_steps": 13}
        whole = runs.search(tmp_path / f"{grouped}", options, save_strategy="steps", save_steps=9, **more)
        whole.train()
        resumed = runs.search(tmp_path / f"{grouped}", options, **more)
        resumed.train(resume_from_checkpoint=str(tmp_path / f"{grouped}" / "checkpoint-9"))
        assert runs.same(runs.everything(resumed), runs.everything(whole))
        widths[grouped] = sum(whole._validation.batch(step)["input_ids"].shape[1] for step in range(24))
    assert widths[True] < widths[False]


class Stopping(TrainerCallback):
    """Ctrl-C once, between the micro-batches of the step after `step`."""

    def __init__(self, step):
        self.step = step

    def on_substep_end(self, args, state, control, **_):
        if state.global_step == self.step:
            self.step = None
            raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["closed_form", "unrolled"])
@pytest.mark.sample(keep=("closed_form",))
def test_a_trainer_goes_on_from_a_checkpoint_after_it_was_stopped_in_a_step(runs, tmp_path, name):
    """What the stopped step has left in the trainer is not the resumed run's; nor are gradients of the variables."""
    changes = {"gradient_accumulation_steps": 2, "save_strategy": "steps", "save_steps": 2}
    whole = runs.search(tmp_path / "whole", {"estimator": name}, **changes)
    whole.train()
    stopped = runs.search(tmp_path / "part", {"estimator": name}, **changes)
    stopped.add_callback(Stopping(3))
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    stopped.diagnosis = {"hypergradient_cosine": 0.5}
    stopped.selection.beta.grad = torch.ones_like(stopped.selection.beta)
    stopped.train(resume_from_checkpoint=str(tmp_path / "part" / "checkpoint-2"))
    assert runs.same(runs.everything(stopped), runs.everything(whole))
    assert runs.trajectory(stopped) == runs.trajectory(whole)
    assert not any("hypergradient_cosine" in line for line in stopped.state.log_history)


def test_a_second_training_begins_with_an_inner_loop_of_its_own(runs, tmp_path, monkeypatch):
    """Three steps leave half a loop behind."""
    trainer, lengths = runs.search(tmp_path, {"inner_steps": 2, "interval": 2}, max_steps=3), []
    move = trainer.move_outer

    def watched(step):
        lengths.append((trainer.state.global_step + 1, len(step.optimizer_steps())))
        move(step)

    monkeypatch.setattr(trainer, "move_outer", watched)
    trainer.train()
    trainer.args.max_steps = 4
    trainer.train()
    assert lengths == [(2, 2), (2, 2), (4, 2)]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ("closed_form", "released") else pytest.mark.slow)
        for name in ONE_STEP
    ],
)
@pytest.mark.sample(one_in=2)
def test_diagnostics_do_not_change_the_run(runs, tmp_path, name):
    plain = runs.search(tmp_path / "a", {"estimator": name}, gradient_accumulation_steps=2)
    plain.train()
    options = {"estimator": name, "diagnose_steps": (2, 3, 5)}
    watched = runs.search(tmp_path / "b", options, gradient_accumulation_steps=2)
    watched.train()
    assert runs.same(runs.everything(watched), runs.everything(plain))
    found = {x["step"]: x for x in watched.state.log_history if "hypergradient_cosine" in x}
    assert list(found) == [2, 3, 5]
    if name != "released":
        assert all(x["hypergradient_cosine"] > 0.98 for x in found.values())
    if name == "unrolled":
        assert all(x["hypergradient_cosine"] > 0.999999 for x in found.values())
    assert all(
        x["hypergradient_exact_implicit_norm"] < x["hypergradient_direct_norm"] for x in found.values()
    )
