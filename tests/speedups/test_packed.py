"""Packed layers compute the same and leave the model as it was."""

import weakref
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from transformers.pytorch_utils import Conv1D

from autolora_bench.speedups import packed
from autolora_bench.speedups.packed import PackedConv1D, PackedLinear, packed_linears


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


def test_layers_of_other_kinds_stay() -> None:
    class Other(nn.Linear):
        pass

    layers = nn.Sequential(nn.Linear(2, 2).bfloat16(), Other(2, 2), nn.LayerNorm(2))
    before = [type(layer) for layer in layers]
    with packed_linears(layers):
        assert [type(layer) for layer in layers] == before


def test_hooks_are_called() -> None:
    layer, seen = nn.Linear(2, 2), []
    layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with packed_linears(layer):
        output = layer(torch.ones(1, 2))
    assert seen[0] is output


def frozen(kind: Any, bias_trained: bool = False) -> Any:
    torch.manual_seed(0)
    layer = nn.Linear(24, 40) if kind is nn.Linear else Conv1D(40, 24)
    nn.init.normal_(layer.bias)
    layer.weight.requires_grad_(False)
    layer.bias.requires_grad_(bias_trained)
    return layer


@pytest.mark.parametrize("kind", [nn.Linear, Conv1D])
def test_gradients_of_first_and_second_order_are_those_of_the_layer(kind: Any) -> None:
    layer = frozen(kind, bias_trained=True)
    inputs = torch.randn(3, 5, 24, requires_grad=True)

    def derivatives() -> list[torch.Tensor]:
        loss = layer(inputs).tanh().pow(2).sum()
        first = torch.autograd.grad(loss, [inputs, layer.bias], create_graph=True)
        return [*first, *torch.autograd.grad(first[0].pow(3).sum(), [inputs, layer.bias])]

    expected = derivatives()
    with packed_linears(layer, only_frozen=True):
        assert type(layer) in (PackedLinear, PackedConv1D)
        found = derivatives()
    assert type(layer) is kind
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_trained_layers_are_left_alone_where_the_model_trains() -> None:
    layers = nn.Sequential(nn.Linear(24, 24), frozen(nn.Linear))
    with packed_linears(layers, only_frozen=True):
        assert [type(layer) for layer in layers] == [nn.Linear, PackedLinear]


def test_an_inner_context_sees_changed_weights_and_leaves_the_outer_as_it_was() -> None:
    layer, inputs = frozen(nn.Linear), torch.randn(3, 24)
    with packed_linears(layer, only_frozen=True), torch.no_grad():
        before = layer(inputs)
        with torch.no_grad():
            layer.weight.mul_(2)
        with packed_linears(layer):
            torch.testing.assert_close(layer(inputs), 2 * (before - layer.bias) + layer.bias)
        with torch.no_grad():
            layer.weight.div_(2)
        assert torch.equal(layer(inputs), before)
    assert not hasattr(layer, "packed")


def test_an_addition_in_place_is_differentiated() -> None:
    """PEFT's AdaLoRA adds to what the base layer returned."""
    layer, inputs = frozen(nn.Linear), torch.randn(2, 3, 24, requires_grad=True)
    with packed_linears(layer, only_frozen=True):
        outputs = layer(inputs)
        outputs += inputs.sum(-1, keepdim=True)
        (found,) = torch.autograd.grad(outputs.sum(), inputs)
    torch.testing.assert_close(found, (layer.weight.sum(0) + 40).expand_as(inputs), rtol=1e-4, atol=1e-4)


def test_an_interrupted_entry_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = nn.Sequential(frozen(nn.Linear), nn.ReLU(), frozen(Conv1D))

    def interrupted(layer: Any, only_frozen: bool) -> bool:
        if type(layer) is Conv1D:
            raise KeyboardInterrupt
        return True

    with packed_linears(layers[0]):
        matrix = layers[0].packed
        monkeypatch.setattr(packed, "_is_worth_packing", interrupted)
        with pytest.raises(KeyboardInterrupt), packed_linears(layers):
            pytest.fail("entered")
        assert layers[0].packed is matrix
    assert [type(layer) for layer in layers] == [nn.Linear, nn.ReLU, Conv1D]
    assert not any("packed" in vars(layer) for layer in layers)


def test_copies_are_freed_afterwards() -> None:
    layer = frozen(nn.Linear)
    with packed_linears(layer, only_frozen=True):
        layer(torch.randn(1, 24, requires_grad=True)).sum().backward()
        matrix = weakref.ref(layer.packed)
        assert {"forth", "back"} <= vars(matrix()).keys()
    assert matrix() is None


def test_arithmetic_that_was_not_asked_for_is_the_layers_own() -> None:
    layer, inputs = frozen(nn.Linear), torch.randn(3, 24)
    with torch.autocast("cpu", torch.bfloat16):
        expected = layer(inputs)
    with packed_linears(layer), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(inputs), expected)


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
    assert not any(isinstance(module, PackedLinear | PackedConv1D) for module in model.modules())
