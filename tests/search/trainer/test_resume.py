"""Resuming and watching leave no trace in a run."""

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file

from autolora_bench.config.search import SelectionOptimizer
from autolora_bench.search import ESTIMATORS

TOKENS = ("input_ids", "attention_mask")


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_resumed_run_equals_the_uninterrupted_one(runs, tmp_path, name):
    whole = runs.search(tmp_path / "whole", {"hypergradient": name})
    whole.train()
    part = runs.search(tmp_path / "part", {"hypergradient": name}, save_strategy="steps", save_steps=3)
    part.train()
    assert runs.same(runs.everything(part), runs.everything(whole))
    resumed = runs.search(tmp_path / "part", {"hypergradient": name})
    resumed.train(resume_from_checkpoint=str(tmp_path / "part" / "checkpoint-3"))
    assert runs.same(runs.everything(resumed), runs.everything(whole))
    assert runs.trajectory(resumed) == runs.trajectory(whole)
    stored = load_file(tmp_path / "part" / "checkpoint-6" / "selection.safetensors")
    assert torch.equal(stored["beta"], whole.selection.beta)


@pytest.mark.parametrize(
    ("name", "constraint"),
    [*((name, "softmax") for name in sorted(ESTIMATORS)), *(("closed_form", c) for c in ("sigmoid", "topk"))],
)
def test_resumed_mirror_descent_equals_the_uninterrupted_one(runs, tmp_path, name, constraint):
    options = {"hypergradient": name, "optimizer": SelectionOptimizer.mirror_descent, "learning_rate": 1.0}
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


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_diagnostics_do_not_change_the_run(runs, tmp_path, name):
    plain = runs.search(tmp_path / "a", {"hypergradient": name}, gradient_accumulation_steps=2)
    plain.train()
    options = {"hypergradient": name, "diagnose_at": (2, 3, 5)}
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
