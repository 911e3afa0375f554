"""MPNet by transformers' registry is MPNet."""

from pathlib import Path

import pytest
import torch
from transformers import MPNetConfig, MPNetForSequenceClassification

from autolora_bench.config.model import Attention, ModelConfig
from autolora_bench.models.attention import RegisteredSelfAttention
from autolora_bench.models.load import HeadKind, HeadSpec, load_backbone

SIZES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}


@pytest.fixture
def checkpoint(tiny_encoder: Path, tmp_path: Path) -> Path:
    """A random MPNet beside the files of a tokenizer."""
    torch.manual_seed(0)
    names = {0: "no", 1: "yes"}
    config = MPNetConfig(
        vocab_size=500, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, id2label=names, **SIZES
    )
    MPNetForSequenceClassification(config).save_pretrained(tmp_path)
    for file in tiny_encoder.glob("*token*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


@pytest.mark.parametrize("padded", [False, True])
def test_outputs_and_gradients_are_the_same(checkpoint: Path, padded: bool) -> None:
    mask = torch.ones(3, 9, dtype=torch.long)
    if padded:
        mask[0, 6:] = mask[2, 1:] = 0
    tokens = torch.randint(5, 400, (3, 9), generator=torch.manual_seed(1)) * mask
    found = {}
    for attention in (Attention.eager, Attention.sdpa):
        config = ModelConfig(name="any", checkpoint=str(checkpoint), attention=attention)
        model = load_backbone(config, HeadSpec(HeadKind.sequence, ("no", "yes"))).model.train()
        asks = any(isinstance(module, RegisteredSelfAttention) for module in model.modules())
        assert asks == (attention is Attention.sdpa)
        outputs = model(input_ids=tokens, attention_mask=mask, labels=torch.tensor([0, 1, 1]))
        outputs.loss.backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        found[attention] = outputs.logits.detach(), gradients
    (expected, theirs), (logits, ours) = found[Attention.eager], found[Attention.sdpa]
    torch.testing.assert_close(logits, expected)
    assert ours.keys() == theirs.keys()
    assert any("relative_attention_bias" in name for name in ours)
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-3, atol=1e-6)


def test_transformers_own_mpnet_is_left_as_it_was(checkpoint: Path) -> None:
    load_backbone(
        ModelConfig(name="any", checkpoint=str(checkpoint)), HeadSpec(HeadKind.sequence, ("no", "yes"))
    )
    plain = MPNetForSequenceClassification.from_pretrained(checkpoint)
    assert plain.config._attn_implementation == "eager"
    assert not any(isinstance(module, RegisteredSelfAttention) for module in plain.modules())
