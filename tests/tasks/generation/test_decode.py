"""Decoders that know their records: perfect outputs, however they are batched, merged or interrupted."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from autolora_bench.errors import UserError
from autolora_bench.models.merged import merged
from autolora_bench.tasks.base import PARTIAL
from autolora_bench.tasks.generation import decode as module
from autolora_bench.tasks.generation.decode import decode

KINDS = ["llama", "gpt2"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.sample(keep=("4-llama",))
def test_a_trained_decoder_is_perfect_in_batch_and_one_by_one(
    kind: str, beams: int, learnt: Callable[[str], Any]
) -> None:
    """The end is among what was learnt, though padding has the same token."""
    found = learnt(kind)
    split = found.splits.held_out["test"]
    outputs = []
    for size in (4, 1):
        decoding = replace(found.task.config.decoding, beams=beams, batch_size=size)
        task = type(found.task)(replace(found.task.config, decoding=decoding))
        result = task.evaluate(found.model, split, found.context)
        assert result.scores.values["bleu"] == pytest.approx(1.0)
        assert result.examples == len(split)
        outputs.append([prediction["output"] for prediction in result.predictions])
        assert [prediction["record"] for prediction in result.predictions] == split["text"][:]
    assert outputs[0] == outputs[1] == [references[0] for references in split["references"]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.sample(keep=("llama",))
def test_merging_changes_no_output_and_leaves_no_trace(
    kind: str, learnt: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = learnt(kind)
    prompts = found.splits.held_out["test"]["input_ids"][:]
    settings = found.task.config.decoding
    before = {name: weight.detach().clone() for name, weight in found.model.named_parameters()}
    assert any("lora_B" in name and weight.abs().sum() > 0 for name, weight in before.items())
    outputs = decode(found.model, prompts, settings, found.context)
    after = dict(found.model.named_parameters())
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
    monkeypatch.setattr(module, "merged", lambda model: nullcontext(model.get_base_model()))
    assert decode(found.model, prompts, settings, found.context) == outputs


def test_weights_are_restored_after_a_failure(learnt: Callable[[str], Any]) -> None:
    model = learnt("llama").model
    weight = model.get_base_model().model.layers[0].self_attn.q_proj.base_layer.weight
    before = weight.detach().clone()

    def fail() -> None:
        with merged(model) as plain:
            assert not torch.equal(weight, before)
            assert plain is model.get_base_model()
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        fail()
    assert torch.equal(weight, before)


def test_the_update_of_a_tied_head_is_not_that_of_the_embeddings(tiny_decoder: Path) -> None:
    """Added to the weight that both have, it would be in the inputs too: what is decoded was not trained."""
    base: Any = AutoModelForCausalLM.from_pretrained(tiny_decoder)
    base.lm_head.weight = base.get_input_embeddings().weight
    model = get_peft_model(
        base, LoraConfig(r=2, target_modules=["lm_head", "q_proj"], task_type="CAUSAL_LM")
    ).eval()
    torch.manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    tokens = torch.arange(5, 17)[None]
    with torch.no_grad():
        trained = model(input_ids=tokens).logits
        with merged(model) as plain:
            torch.testing.assert_close(plain(input_ids=tokens).logits, trained)


class Interrupted(BaseException):
    """Stands for Ctrl-C."""


@pytest.mark.parametrize("damage", [b"", b'{"batch": 1, "outp'])
@pytest.mark.sample(keep=('{"batch": 1, "outp',))
def test_an_interrupted_decoding_goes_on(
    damage: bytes, learnt: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished batches are not decoded again, the rest is as in one go; a line cut off in writing does no harm."""
    found = learnt("llama")
    prompts = found.splits.held_out["test"]["input_ids"][:]
    settings = replace(found.task.config.decoding, batch_size=2)
    whole = decode(found.model, prompts, settings, found.context)
    seen: list[list[list[int]]] = []
    beam_search = module.beam_search

    def watched(model: Any, tokens: Any, *rest: Any) -> Any:
        seen.append(tokens.tolist())
        if len(seen) == 2:
            raise Interrupted
        return beam_search(model, tokens, *rest)

    monkeypatch.setattr(module, "beam_search", watched)
    progress: list[tuple[int, int]] = []
    context = replace(
        found.context,
        folder=tmp_path,
        split="test",
        progress=lambda done, total: progress.append((done, total)),
    )
    with pytest.raises(Interrupted):
        decode(found.model, prompts, settings, context)
    with (tmp_path / f"test{PARTIAL}").open("ab") as file:
        file.write(damage)
    assert decode(found.model, prompts, settings, context) == whole
    assert len(seen) == 4
    assert seen[1] == seen[2]
    assert progress == [(2, 6), (2, 6), (4, 6), (6, 6)]
    assert decode(found.model, prompts, settings, context) == whole
    assert len(seen) == 4


def test_other_weights_or_settings_begin_anew(learnt: Callable[[str], Any], tmp_path: Path) -> None:
    found = learnt("llama")
    prompts = found.splits.held_out["test"]["input_ids"][:2]
    context = replace(found.context, folder=tmp_path, split="test")
    settings = found.task.config.decoding
    keys = set()
    weight = next(iter(found.model.parameters()))
    for change, beams in ((0.0, 2), (0.0, 3), (1e-6, 3)):
        with torch.no_grad():
            weight.view(-1)[0] += change
        decode(found.model, prompts, replace(settings, beams=beams), context)
        lines = (tmp_path / f"test{PARTIAL}").read_text(encoding="utf-8").splitlines()
        assert len(lines) == 2
        keys.add(json.loads(lines[0])["key"])
    with torch.no_grad():
        weight.view(-1)[0] -= 1e-6
    assert len(keys) == 3


def test_a_prompt_beyond_the_models_positions_is_refused(learnt: Callable[[str], Any]) -> None:
    found = learnt("llama")
    settings = replace(found.task.config.decoding, max_new_tokens=250)
    context = replace(found.context, split="test")
    with pytest.raises(
        UserError, match=r"test, record \d: its prompt has \d+ tokens; with 250 more .* 256 positions"
    ):
        decode(found.model, found.splits.held_out["test"]["input_ids"][:], settings, context)


def test_after_an_epoch_a_part_is_scored_and_says_so(learnt: Callable[[str], Any]) -> None:
    found = learnt("llama")
    config = replace(found.task.config, epoch_records=2, metrics=["bleu", "meteor", "nist"])
    task = type(found.task)(config)
    result = task.evaluate(
        found.model, found.splits.held_out["validation"], replace(found.context, final=False)
    )
    assert result.examples == 2
    assert list(result.scores.values) == ["bleu", "nist"]
    assert result.note == "after an epoch: 2 of 6 records; without meteor"
    again = task.evaluate(
        found.model, found.splits.held_out["validation"], replace(found.context, final=False)
    )
    assert again == result


def test_evaluation_leaves_the_models_mode(learnt: Callable[[str], Any]) -> None:
    found = learnt("llama")
    found.model.train()
    prompts = found.splits.held_out["test"]["input_ids"][:1]
    decode(found.model, prompts, found.task.config.decoding, found.context)
    assert found.model.training
    found.model.eval()
