"""The ranks that a record has of PEFT's types, against PEFT's own notes and the numerical rank of what a layer adds."""

from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.methods.adapter_ranks import FACTORS, adapter_ranks
from autolora_bench.methods.peft_adapter import adapted_by_peft
from autolora_bench.models.load import Backbone, HeadKind

NOTED = {"DEFT": "deft_r", "HRA": "hra_r", "MISS": "miss_r"}
"""Where PEFT's layers note the rank that they were given, if not as `r`."""
MORE = {
    "GRALORA": ", gralora_k: 2",
    "LOKR": ", decompose_factor: 2",
    "VBLORA": ", vector_length: 16, num_vectors: 8",
}
LOW_RANK = ("DELORA", "TINYLORA", "UNILORA", "VBLORA", "VERA")
"""Types whose update of a weight is a matrix of exactly that rank, away from the start."""


def adapted(kind: str, settings: str) -> tuple[Any, list[str]]:
    torch.manual_seed(0)
    words = [f"method.type={kind}", f"+method.settings={settings}", "model.checkpoint=x"]
    with composer():
        experiment = to_experiment(
            compose_config(["task=sst2", "data=generated", "model=any", "method=peft", *words])
        )
    config = BertConfig(
        vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
    )
    base = BertForSequenceClassification(config)
    targets = [name for name, _ in base.named_modules() if name.endswith((".query", ".value"))]
    backbone = Backbone(base, None, ["classifier"], targets)  # type: ignore[arg-type]
    return adapted_by_peft(backbone, HeadKind.sequence, experiment.method), targets


@pytest.mark.parametrize("rank", [4, 6])
@pytest.mark.parametrize("kind", ["LORA", *FACTORS])
@pytest.mark.sample(one_in=8)
def test_ranks_are_those_that_the_layers_have(kind: str, rank: int) -> None:
    model, targets = adapted(kind, f"{{r: {rank}{MORE.get(kind, '')}}}")
    layers = [model.get_base_model().get_submodule(name) for name in targets]
    noted = [getattr(layer, NOTED.get(kind, "r"))[model.active_adapter] for layer in layers]
    found = adapter_ranks(model, targets)
    assert [layer.module for layer in found] == targets
    assert [layer.rank for layer in found] == noted == [rank] * len(targets)


@pytest.mark.parametrize("kind", LOW_RANK)
@pytest.mark.sample(one_in=2)
def test_what_is_added_to_a_weight_has_that_rank(kind: str) -> None:
    model, targets = adapted(kind, f"{{r: 6{MORE.get(kind, '')}}}")
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.1 * torch.randn_like(weight))
    layer = model.get_base_model().get_submodule(targets[0])
    update = layer.get_delta_weight(model.active_adapter).detach()
    assert int(torch.linalg.matrix_rank(update, rtol=1e-4)) == adapter_ranks(model, targets)[0].rank == 6


@pytest.mark.parametrize("kind", ["BOFT", "FOURIERFT", "IA3", "OFT", "OSF", "SHIRA", "LOKR"])
@pytest.mark.sample(one_in=3)
def test_types_without_ranks_state_none(kind: str) -> None:
    """LoKr here on layers so small that its factors are whole, whatever its r."""
    settings = {"FOURIERFT": "{n_frequency: 10}", "OFT": "{oft_block_size: 8}", "SHIRA": "{r: 4}"}
    assert adapter_ranks(*adapted(kind, settings.get(kind, "{}"))) == []


def test_layers_beside_the_models_targets_are_named() -> None:
    model, targets = adapted("LORA", "{r: 4, target_modules: [key]}")
    found = adapter_ranks(model, targets)
    assert [(layer.block, layer.projection, layer.rank) for layer in found] == [(0, "key", 4), (1, "key", 4)]
