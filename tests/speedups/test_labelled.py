"""A language model's head reads the tokens before a label alone, and the loss is the same."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, BertConfig, BertForTokenClassification

from autolora_bench.speedups.padding_free import IGNORED, labelled_only

SIZES = {"vocab_size": 60, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SMALL = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}
GPT2_DROPOUTS = ("resid_pdrop", "embd_pdrop", "attn_pdrop")
LABELS = torch.tensor([[IGNORED, IGNORED, 7, 8, 9, IGNORED], [IGNORED, 5, 6, IGNORED, 4, 3], [IGNORED] * 6])


def read_by_the_head(model: AutoModelForCausalLM, **inputs: Tensor) -> tuple[Tensor, list[int]]:
    """The loss, and how many tokens the head read."""
    head, rows = model.get_output_embeddings(), []
    handle = head.register_forward_hook(lambda _, read, __: rows.append(read[0].shape[:-1].numel()))
    outputs = model(**inputs)
    handle.remove()
    return outputs.loss, rows


@pytest.mark.parametrize(
    ("architecture", "more"),
    [
        ("gpt2", {"n_embd": 24, "n_layer": 2, "n_head": 4, **dict.fromkeys(GPT2_DROPOUTS, 0.0)}),
        ("llama", SMALL),
        ("opt", {**SMALL, "ffn_dim": 32, "word_embed_proj_dim": 24, "dropout": 0.0}),
    ],
)
@pytest.mark.parametrize("items", [None, 3])
def test_the_loss_is_that_of_all_logits(architecture: str, more: dict[str, Any], items: int | None) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **SIZES, **more)).train()
    inputs = {"input_ids": torch.randint(3, 60, (3, 6)), "labels": LABELS}
    if items is not None:
        inputs["num_items_in_batch"] = torch.tensor(items)
    expected, rows = read_by_the_head(model, **inputs)
    assert rows == [18]
    with labelled_only(model):
        found, rows = read_by_the_head(model, **inputs)
        assert rows == [7]
        torch.testing.assert_close(found, expected)
        assert read_by_the_head(model.eval(), **inputs)[1] == [18]
        assert model.train()(inputs["input_ids"]).logits.shape == (3, 6, 60)
    assert read_by_the_head(model, **inputs)[1] == [18]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("fails", [False, True])
def test_a_model_within_that_reads_after_a_pass_knows_nothing_of_it(fails: bool) -> None:
    """Texts are decoded between epochs by the model within an adapter's."""
    inner = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **SIZES, **SMALL))
    model = get_peft_model(inner, LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"])).train()
    tokens = torch.randint(3, 60, (3, 6))
    with labelled_only(model):
        with pytest.raises(IndexError) if fails else nullcontext():
            model(input_ids=tokens + 60 * fails, labels=LABELS)
        assert inner(tokens).logits.shape == (3, 6, 60)
        assert inner.eval().generate(tokens, max_new_tokens=2, do_sample=False).shape[0] == 3


def test_labels_of_a_tagger_are_left_alone() -> None:
    model = BertForTokenClassification(BertConfig(**SIZES, **SMALL)).train()
    with labelled_only(model):
        outputs = model(torch.randint(3, 60, (3, 6)), labels=LABELS.clamp(max=1))
    assert outputs.logits.shape == (3, 6, 2)
