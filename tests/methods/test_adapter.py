"""Adapters: where they sit in each architecture, what they read, how many weights they have."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from autolora_bench.config.architectures import ARCHITECTURES
from autolora_bench.config.compose import compose_config, composer
from autolora_bench.config.method import Activation, AdapterConfig, Placement
from autolora_bench.errors import UserError
from autolora_bench.methods.adapter import adapted, load_adapter, save_adapter
from autolora_bench.methods.bottleneck import Bottleneck, insert_adapters

SUBLAYERS = {kind: known.sublayers for kind, known in ARCHITECTURES.items() if known.sublayers is not None}
LABELLED = [kind for kind, parts in SUBLAYERS.items() if parts.norm is not None]
BLOCKS = 3
SMALL = {
    "vocab_size": 50, "hidden_size": 32, "num_hidden_layers": BLOCKS, "num_attention_heads": 2,
    "num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 40, "head_dim": 16,
    "pad_token_id": 0, "attention_bias": True, "mlp_bias": True, "embedding_size": 32,
}  # fmt: skip
GPT2 = {"vocab_size": 50, "n_embd": 32, "n_layer": BLOCKS, "n_head": 2, "n_positions": 40, "pad_token_id": 0}
CASES = [(kind, placement) for kind in SUBLAYERS for placement in Placement]


def tiny(kind: str, **more: Any) -> Any:
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **({**GPT2, **more} if kind == "gpt2" else {**SMALL, **more}))
    model = (AutoModelForSequenceClassification if kind in LABELLED else AutoModelForCausalLM).from_config(
        config
    )
    return model.eval()


def settings(placement: Placement, **more: Any) -> AdapterConfig:
    options = {
        "name": "a",
        "title": "A",
        "learning_rate": 1.0,
        "bottleneck": 5,
        "activation": Activation.gelu,
    }
    return AdapterConfig(**{**options, "placement": placement, **more})


def run(model: Any, **more: Any) -> Any:
    with torch.no_grad():
        return model(
            torch.arange(1, 13).view(2, 6), attention_mask=torch.ones(2, 6, dtype=torch.long), **more
        )


def give_bias(module: torch.nn.Module) -> Tensor:
    """The bias of a linear layer or norm, made where the architecture has none."""
    if getattr(module, "bias", None) is None:
        module.bias = torch.nn.Parameter(torch.zeros(len(module.weight)))
    return module.bias.data


@pytest.mark.parametrize(("kind", "placement"), CASES)
@pytest.mark.sample(one_in=3)
def test_a_constant_change_is_a_shifted_bias_before_the_residual_sum(kind: str, placement: Placement) -> None:
    """An adapter that adds a constant b does what b on the bias of the layer before it does."""
    model, other = tiny(kind), tiny(kind)
    adapters = insert_adapters(model, settings(placement))
    block = other.base_model.get_submodule(SUBLAYERS[kind].blocks)[1]
    shifts = [torch.randn(32), torch.randn(32)]
    inside = set(model.base_model.get_submodule(SUBLAYERS[kind].blocks)[1].modules())
    own = [adapter for adapter in adapters if adapter in inside]
    for adapter, shift in zip(own, shifts, strict=False):
        adapter.up.bias.data += shift
        adapter.up.weight.data.zero_()
    for layer, shift in zip(before(block, kind, placement), shifts, strict=False):
        give_bias(layer).add_(shift)
    changed, expected = run(model).logits, run(other).logits
    assert not torch.allclose(expected, run(tiny(kind)).logits, atol=1e-3)
    torch.testing.assert_close(changed, expected, atol=2e-4, rtol=1e-4)


def before(block: Any, kind: str, placement: Placement) -> list[Any]:
    """Layers of a plain block whose bias an adapter's constant can be added to, read off the architectures."""
    if kind == "gpt2":
        layers = [block.attn.c_proj, block.mlp.c_proj]
    elif SUBLAYERS[kind].norm is None:
        layers = [block.self_attn.o_proj, block.mlp.down_proj]
    else:
        layers = [
            block.attention.attn.o if kind == "mpnet" else block.attention.output.dense,
            block.output.dense,
        ]
    if placement is Placement.houlsby:
        return layers
    return [block.output.LayerNorm] if placement is Placement.lin and kind in LABELLED else layers[1:]


@pytest.mark.parametrize(("kind", "placement"), [c for c in CASES if c[1] is not Placement.houlsby])
def test_late_adapters_read_the_blocks_output(kind: str, placement: Placement) -> None:
    """Pfeiffer's reads the normalised residual sum, Lin's the block's output: the same tensor of an untouched model."""
    model = tiny(kind)
    hidden = run(model, output_hidden_states=True).hidden_states
    read: list[Tensor] = []
    for adapter in insert_adapters(model, settings(placement, initial_std=1e-30)):
        adapter.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0].clone()))
    run(model)
    assert len(read) == BLOCKS
    for seen, expected in list(zip(read, hidden[1:], strict=True))[: BLOCKS - (SUBLAYERS[kind].norm is None)]:
        torch.testing.assert_close(seen, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("overrides", "count"),
    [
        (["method=adapter"], 351_936),
        (["method=adapter", "method.layer_norms=false"], 313_536),
        (["method=adapter", "method.layer_norms=false", "method.bottleneck=24"], 903_744),
        (["method=adapter_pfeiffer"], 304_320),
        (["method=adapter_pfeiffer", "method.bottleneck=48"], 894_528),
        (["method=adapter_d"], 298_176),
        (["method=adapter_d", "method.drop=0"], 894_528),
    ],
)
@pytest.mark.sample(one_in=3)
def test_published_sizes_on_roberta_base(overrides: list[str], count: int) -> None:
    """0.3M and 0.9M of the LoRA paper's Table 2."""
    assert trained_on("roberta", {}, overrides) == count


@pytest.mark.parametrize(("bottleneck", "millions"), [(6, 0.37), (224, 11.09)])
@pytest.mark.sample(one_in=2)
def test_published_sizes_on_gpt2_medium(bottleneck: int, millions: float) -> None:
    """Adapter^L of the LoRA paper's Table 3, to its last digit."""
    shape = {"n_embd": 1024, "n_layer": 24, "n_head": 16}
    count = trained_on("gpt2", shape, ["method=adapter_l", f"method.bottleneck={bottleneck}"])
    assert round(count / 1e6, 2) == millions


def trained_on(kind: str, shape: dict[str, Any], overrides: list[str]) -> int:
    """Weights that the method trains on a published model's shape, built without storage."""
    from omegaconf import OmegaConf

    with composer():
        config = OmegaConf.to_object(compose_config(["task=sst2", *overrides]).method)
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(kind, **shape))
        weights = adapted(model, config, []).parameters()
    return sum(weight.numel() for weight in weights if weight.requires_grad)


def test_starts_near_identity() -> None:
    torch.manual_seed(0)
    adapter = Bottleneck(32, settings(Placement.houlsby, initial_std=1e-3))
    assert adapter.down.weight.abs().max() <= 2e-3
    assert adapter(torch.randn(2, 3, 32)).abs().max() < 1e-4


def test_saved_adapter_loads_into_a_fresh_model(tmp_path: Path) -> None:
    model, config = tiny("bert"), settings(Placement.houlsby, layer_norms=True)
    adapted(model, config, ["classifier"])
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += 0.1 * torch.randn_like(weight)
    save_adapter(model, config, ["classifier"], tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    torch.testing.assert_close(
        run(load_adapter(tiny("bert"), tmp_path)).logits, run(model).logits, rtol=0, atol=0
    )


def test_mistakes_are_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="t5"):
        insert_adapters(_Unknown(), settings(Placement.houlsby))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="drop"):
        insert_adapters(tiny("bert"), settings(Placement.pfeiffer, drop=0.9))
    with pytest.raises(UserError, match="no adapter"):
        load_adapter(tiny("bert"), tmp_path)


class _Unknown:
    class config:  # noqa: N801
        model_type = "t5"
