"""Types of PEFT that may train without padding compute what they compute with it."""

from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.peft_support import PADDED
from autolora_bench.config.peft_types import peft_types
from autolora_bench.errors import UserError
from autolora_bench.methods.peft_adapter import adapted_by_peft
from autolora_bench.models.load import Backbone, HeadKind
from autolora_bench.speedups.padding_free import padding_free

SETTINGS = {
    "ADALORA": "{init_r: 6, target_r: 4}",
    "ADAMSS": "{r: 16, num_subspaces: 2}",
    "C3A": "{block_size: 8}",
    "FOURIERFT": "{n_frequency: 100}",
    "GRALORA": "{r: 8}",
    "MISS": "{r: 8}",
    "OFT": "{oft_block_size: 8}",
    "PSOFT": "{r: 8}",
    "RANDLORA": "{r: 8}",
    "ROAD": "{group_size: 16}",
    "SHIRA": "{r: 4}",
    "TRAINABLE_TOKENS": "{token_indices: [5, 6, 7]}",
    "VBLORA": "{vector_length: 16, num_vectors: 8}",
    "WAVEFT": "{n_frequency: 100}",
    "LORA kasa": "{kasa_config: {}}",
    "LORA bias": "{lora_bias: true}",
    "LORA dora": "{use_dora: true}",
}
FREE = [
    *(name for name in peft_types() if name not in {*PADDED, "XLORA"}),
    *(n for n in SETTINGS if " " in n),
]
LENGTHS = [9, 3, 8, 12, 1, 5]


def method(name: str, *more: str) -> Any:
    words = [f"method.type={name.split()[0]}", f"+method.settings={SETTINGS.get(name, '{}')}", *more]
    with composer():
        return to_experiment(
            compose_config(
                ["task=sst2", "data=generated", "model=any", "model.checkpoint=x", "method=peft", *words]
            )
        ).method


def gradients(model: Any, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(**batch).loss.backward()
    return {n: w.grad.clone() for n, w in model.named_parameters() if w.requires_grad and w.grad is not None}


@pytest.mark.parametrize("name", FREE)
@pytest.mark.sample(one_in=8)
def test_gradients_are_those_of_the_padded_batch(name: str) -> None:
    """Away from the start, where many types change nothing yet."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    base = BertForSequenceClassification._from_config(config, attn_implementation="sdpa")
    targets = [n for n, _ in base.named_modules() if n.endswith((".query", ".value"))]
    backbone = Backbone(base, None, ["classifier"], targets)  # type: ignore[arg-type]
    model = adapted_by_peft(backbone, HeadKind.sequence, method(name)).train()
    exact = name != "ADAMSS"  # which keeps tensors that a model does not convert
    model = model.double() if exact else model
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.05 * torch.randn_like(weight))
    mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).long()
    ids = torch.randint(3, 60, mask.shape) * mask
    batch = {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([0, 1, 0, 1, 1, 0])}
    expected = gradients(model, batch)
    with padding_free(model):
        found = gradients(model, batch)
    assert set(found) == set(expected)
    assert len(expected) > 2
    for weight, gradient in expected.items():
        scale = max(float(gradient.abs().max()), 1e-9)
        torch.testing.assert_close(
            found[weight] / scale, gradient / scale, rtol=0, atol=1e-6 if exact else 1e-4
        )


@pytest.mark.parametrize("name", ["PVERA", "LORA velora", "LORA monteclora", "PROMPT_TUNING"])
@pytest.mark.sample(one_in=2)
def test_the_others_are_refused(name: str) -> None:
    options = {
        "LORA velora": "+method.settings={velora_config: {}}",
        "LORA monteclora": "+method.settings={monteclora_config: {}}",
        "PROMPT_TUNING": "+method.settings={num_virtual_tokens: 2}",
    }
    with pytest.raises(UserError, match="padding_free"):
        method(name, *([options[name]] if name in options else []), "train.padding_free=true")
