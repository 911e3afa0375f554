"""Packed layers compute the same and leave the model as it was."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from transformers.pytorch_utils import Conv1D

from autolora_bench.backbone import packed
from autolora_bench.backbone.packed import PackedLinear, packed_linears


@pytest.fixture(autouse=True)
def _small_layers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "SMALLEST", 1)


def llama() -> Any:
    config = LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4
    )
    config.tie_word_embeddings = True
    return LlamaForCausalLM(config)


def gpt2() -> Any:
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=50, n_embd=24, n_layer=2, n_head=3, bos_token_id=0, eos_token_id=0)
    )


@pytest.mark.parametrize("build", [llama, gpt2])
@pytest.mark.parametrize("adapted", [False, True])
def test_outputs_are_the_same(build: Any, adapted: bool) -> None:
    torch.manual_seed(0)
    model = build()
    if adapted:
        names = ["q_proj"] if build is llama else ["c_attn"]
        model = get_peft_model(model, LoraConfig(target_modules=names, r=2, fan_in_fan_out=build is gpt2))
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(weight)
    model.eval()
    tokens = torch.arange(20).view(2, 10)
    modules, weights = dict(model.named_modules()), dict(model.named_parameters())
    with torch.inference_mode():
        expected = model(tokens).logits
        with packed_linears(model):
            assert not any(type(module) is nn.Linear for module in model.modules())
            found = model(tokens).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert all(module is modules[name] for name, module in model.named_modules())
    assert all(weight is weights[name] for name, weight in model.named_parameters())
    assert model(tokens, labels=tokens).loss.requires_grad


def test_layers_with_hooks_or_of_other_kinds_stay() -> None:
    class Other(nn.Linear):
        pass

    hooked, half = nn.Linear(2, 2), nn.Linear(2, 2).bfloat16()
    hooked.register_forward_hook(lambda *_: None)
    layers = nn.Sequential(hooked, half, Other(2, 2), nn.LayerNorm(2))
    before = list(layers)
    with packed_linears(layers):
        assert list(layers) == before


@pytest.mark.parametrize("build", [llama, gpt2])
def test_under_autocast_outputs_are_those_of_autocast(build: Any) -> None:
    """Weights in bfloat16 beforehand or converted in every pass: the same products, up to one rounding of bfloat16."""
    torch.manual_seed(0)
    model, tokens = build().eval(), torch.arange(20).view(2, 10)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = model(tokens).logits
        with packed_linears(model, bf16=True):
            found = model(tokens).logits
            kinds = {type(module) for module in model.modules()}
    assert found.dtype is torch.bfloat16
    torch.testing.assert_close(
        found.float(), expected.float(), rtol=2**-7, atol=2**-7 * float(expected.abs().max())
    )
    supported = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert (nn.Linear in kinds or Conv1D in kinds) is not supported
    assert not any(isinstance(module, PackedLinear) for module in model.modules())
