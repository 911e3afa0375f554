"""Every linear layer of the blocks, by one word, whatever the architecture."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AlbertConfig,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from autolora_bench.config.model import ModelConfig
from autolora_bench.config.ranks import layer_key
from autolora_bench.errors import UserError
from autolora_bench.models.adapted_layers import block_and_projection, matched_ranks, places
from autolora_bench.models.gpt2 import split_attention
from autolora_bench.models.load import HeadKind, HeadSpec, load_backbone
from autolora_bench.models.targets import target_modules

SMALL = {
    "bert": {"num_hidden_layers": 3, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48},
    "gpt2": {"n_layer": 3, "n_embd": 32, "n_head": 2},
    "llama": {"num_hidden_layers": 3, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48},
    "distilbert": {"n_layers": 3, "dim": 32, "n_heads": 2, "hidden_dim": 48},
}
BERT = {"query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"}
LLAMA = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
LAYERS = {
    "bert": BERT,
    "roberta": BERT,
    "xlm-roberta": BERT,
    "electra": BERT,
    "mpnet": {"q", "k", "v", "o", "intermediate.dense", "output.dense"},
    "distilbert": {"q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2"},
    "gpt2": {"query", "key", "value", "attn.c_proj", "c_fc", "mlp.c_proj"},
    "llama": LLAMA,
    "qwen2": LLAMA,
}


def empty(architecture: str, kind: Any = AutoModelForSequenceClassification) -> Any:
    """A model of three blocks without weights."""
    settings = SMALL.get(architecture, SMALL["bert"])
    with torch.device("meta"):
        model = kind.from_config(AutoConfig.for_model(architecture, vocab_size=9, **settings))
        if architecture == "gpt2":
            split_attention(model)
    return model


@pytest.mark.parametrize(("architecture", "layers"), LAYERS.items())
def test_all_linear_layers_of_every_block_have_names_of_their_own(
    architecture: str, layers: set[str]
) -> None:
    model = empty(architecture)
    targets = target_modules(model, ModelConfig(name="m", targets=["all_linear"]))
    places = [block_and_projection(name) for name in targets]
    assert len(set(places)) == len(places) == 3 * len(layers)
    assert set(places) == {(block, projection) for block in range(3) for projection in layers}


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_the_output_layer_is_not_among_them(architecture: str) -> None:
    targets = target_modules(
        empty(architecture, AutoModelForCausalLM), ModelConfig(name="m", targets=["all_linear"])
    )
    assert not [name for name in targets if "lm_head" in name]


@pytest.mark.parametrize("architecture", sorted(LAYERS))
def test_the_papers_layers_are_a_part_of_them(architecture: str) -> None:
    model = empty(architecture)
    some = target_modules(model, ModelConfig(name="m"))
    every = target_modules(model, ModelConfig(name="m", targets=["all_linear"]))
    assert set(some) < set(every)
    assert len(some) == 6


def test_layers_of_the_head_are_not_among_them() -> None:
    """RoBERTa's head has a `dense` as every block has; BERT's pooler is no part of the head."""
    config = ModelConfig(name="m", targets=["query", "dense"])
    targets = target_modules(empty("roberta"), config, ["classifier"])
    assert {name.partition(".")[0] for name in targets} == {"roberta"}
    assert len(targets) == 3 * 4
    assert "bert.pooler.dense" in target_modules(empty("bert"), ModelConfig(name="m", targets=["dense"]))


def test_a_language_models_output_layer_may_be() -> None:
    named = ModelConfig(name="m", targets=["q_proj", "lm_head"])
    assert target_modules(empty("llama", AutoModelForCausalLM), named)[-1] == "lm_head"


@pytest.mark.parametrize(
    "named",
    [
        ModelConfig(name="m", targets=["query", "out_proj"]),
        ModelConfig(name="m", targets=["query", "key"], untrained=["query"]),
    ],
)
def test_names_of_what_every_method_trains_in_full_are_refused(named: ModelConfig) -> None:
    query = [f"roberta.encoder.layer.{block}.attention.self.query" for block in range(3)]
    trained = ["classifier", *(query if named.untrained else [])]
    with pytest.raises(UserError, match=r"every method trains '(out_proj|query)' of 'm' in full"):
        target_modules(empty("roberta"), named, trained)


def test_a_pooler_that_a_checkpoint_lacks_is_trained_in_full(tiny_encoder: Path, tmp_path: Path) -> None:
    """As of a masked language model: the classifier's pooler is new, and so is no layer for an adapter."""
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(tmp_path)
    AutoModelForMaskedLM.from_pretrained(tiny_encoder).save_pretrained(tmp_path)
    found = load_backbone(
        ModelConfig("any", checkpoint=str(tmp_path), targets=["query", "dense"]),
        HeadSpec(HeadKind.sequence, ("no", "yes")),
    )
    assert "bert.pooler" in found.head_modules
    assert "bert.pooler.dense" not in found.targets
    assert any(name.endswith("output.dense") for name in found.targets)


def test_layers_of_blocks_inside_of_blocks_have_places_of_their_own() -> None:
    """ALBERT with two layers in a group, which all its blocks share."""
    config = AlbertConfig(
        embedding_size=8, hidden_size=16, num_attention_heads=2, intermediate_size=16, inner_group_num=2
    )
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    modules = [name for name, _ in model.named_modules() if name.endswith((".query", ".value"))]
    assert len(modules) == 4
    assert len(set(places(modules))) == 4
    source = {layer_key(*place): rank for rank, place in enumerate(places(modules))}
    assert matched_ranks(source, modules) == [0, 1, 2, 3]


def test_halves_of_an_encoder_decoder_have_the_names_that_records_have() -> None:
    modules = ["encoder.block.0.layer.0.SelfAttention.q", "decoder.block.0.layer.1.EncDecAttention.q"]
    assert places(modules) == [(0, "encoder.SelfAttention.q"), (0, "decoder.EncDecAttention.q")]
