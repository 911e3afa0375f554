"""Weights that a checkpoint lacks are drawn at random for a new head alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from autolora_bench.config.model import ModelConfig
from autolora_bench.errors import UserError
from autolora_bench.models.head import TABLES, check_whole
from autolora_bench.models.load import Backbone, HeadKind, HeadSpec, load_backbone

SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 400,
    "pad_token_id": 0,
    "max_position_embeddings": 64,
}
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 400, "tie_word_embeddings": False}
KINDS = {
    "sequence": AutoModelForSequenceClassification,
    "language_model": AutoModelForCausalLM,
    "hidden_states": AutoModelForSequenceClassification,
}
"""What a checkpoint is saved from: of hidden states alone, one that has a head."""
Cut = Callable[..., Path]


@pytest.fixture
def cut(tiny_encoder: Path, tmp_path: Path) -> Cut:
    """Architecture, head, part of weights' names -> folder of a model without these weights."""

    def write(architecture: str, head: str, part: str, change: Any = None) -> Path:
        config = AutoConfig.for_model(architecture, **(GPT2 if architecture == "gpt2" else SIZES))
        torch.manual_seed(0)
        model = KINDS[head].from_config(config)
        model.save_pretrained(tmp_path)
        AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(tmp_path)
        file = tmp_path / "model.safetensors"
        kept = {
            name: (change(weight) if part in name else weight)
            for name, weight in load_file(file).items()
            if change or part not in name
        }
        save_file(kept, file, {"format": "pt"})
        return tmp_path

    return write


def load(folder: Path, head: str, **options: Any) -> Backbone:
    labels = ("no", "yes") if head == "sequence" else ()
    return load_backbone(
        ModelConfig(name="mine", checkpoint=str(folder), **options), HeadSpec(HeadKind[head], labels)
    )


@pytest.mark.parametrize(
    ("architecture", "head", "part", "first"),
    [
        ("bert", "sequence", "layer.1.", "bert.encoder.layer.1.attention.self.query.weight"),
        ("roberta", "sequence", "word_embeddings", "roberta.embeddings.word_embeddings.weight"),
        ("distilbert", "sequence", "layer.0.ffn.lin2.bias", "distilbert.transformer.layer.0.ffn.lin2.bias"),
        ("gpt2", "sequence", "h.1.mlp", "transformer.h.1.mlp.c_fc.weight"),
        ("llama", "sequence", "norm.weight", "model.layers.0.input_layernorm.weight"),
        ("llama", "language_model", "layers.0.", "model.layers.0.self_attn.q_proj.weight"),
        ("llama", "language_model", "lm_head", "lm_head.weight"),
        ("gpt2", "language_model", "lm_head", "lm_head.weight"),
    ],
)
def test_a_backbone_with_gaps_is_refused(
    architecture: str, head: str, part: str, first: str, cut: Cut
) -> None:
    with pytest.raises(UserError, match=f"lacks weights of its model: {first}"):
        load(cut(architecture, head, part), head)


def test_weights_of_another_shape_are_refused(cut: Cut) -> None:
    folder = cut("bert", "sequence", "layer.0.output.dense.bias", lambda bias: bias[:4].clone())
    with pytest.raises(UserError, match=r"in another shape.*bert.encoder.layer.0.output.dense.bias"):
        load(folder, "sequence")


@pytest.mark.parametrize(
    ("architecture", "setting", "first"),
    [
        ("bert", "num_hidden_layers", "encoder.layer.1.attention.output.LayerNorm.bias"),
        ("gpt2", "n_layer", "h.1.attn.c_attn.weight"),
        ("llama", "num_hidden_layers", "layers.1.input_layernorm.weight"),
    ],
)
def test_blocks_that_the_configuration_leaves_out_are_not_passed_over(
    architecture: str, setting: str, first: str, cut: Cut
) -> None:
    """transformers loads the first blocks and prints a table of the others."""
    folder = cut(architecture, "sequence", "no such part")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, setting: 1}))
    for head in ("sequence", "hidden_states"):
        with pytest.raises(UserError, match=f"weights that its config.json leaves out: .*{first}"):
            load(folder, head)


def test_adapters_beside_the_weights_are_not_passed_over(cut: Cut) -> None:
    folder = cut("bert", "sequence", "no such part")
    weights = load_file(folder / "model.safetensors")
    weights["bert.encoder.layer.0.attention.self.query.lora_A.weight"] = torch.zeros(2, 8)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"leaves out: .*query\.lora_A\.weight"):
        load(folder, "sequence")


@pytest.mark.parametrize(
    ("architecture", "weight"),
    [
        ("llama", "model.layers.1.self_attn.q_proj.bias"),
        ("bert", "bert.encoder.layer.0.attention.self.distance_embedding.weight"),
        ("bert", "encoder.layer.1.output.adapters.sst2.adapter_down.0.weight"),
        ("gpt2", "h.0.attn.adapter.weight"),
    ],
)
def test_parts_of_blocks_that_the_configuration_leaves_out_are_not_passed_over(
    architecture: str, weight: str, cut: Cut
) -> None:
    """Biases, positions of another kind, adapters of another library; a base model's names may lack its prefix."""
    folder = cut(architecture, "sequence", "no such part")
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, weight: torch.zeros(2)}, folder / "model.safetensors", {"format": "pt"})
    for head in ("sequence", "hidden_states"):
        with pytest.raises(UserError, match=f"leaves out: {weight}"):
            load(folder, head)


@pytest.mark.parametrize("part", TABLES)
def test_what_follows_from_the_configuration_is_passed_over(part: str) -> None:
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **SIZES))
    weight = f"model.layers.0.self_attn{part}"
    found = {"unexpected_keys": [weight], "missing_keys": [], "mismatched_keys": []}
    check_whole(model, found, False, [], "mine")
    found["unexpected_keys"] = [f"{weight}_scale"]
    with pytest.raises(UserError, match="leaves out"):
        check_whole(model, found, False, [], "mine")


@pytest.mark.parametrize(
    ("architecture", "weights"),
    [
        ("gpt2", ["h.0.attn.bias", "h.1.attn.masked_bias"]),
        ("bert", ["bert.embeddings.position_ids", "cls.predictions.bias"]),
        ("llama", ["model.layers.0.self_attn.rotary_emb.inv_freq"]),
        (
            "gpt_neox",
            [f"gpt_neox.layers.0.attention.{one}" for one in ("bias", "masked_bias", "rotary_emb.inv_freq")],
        ),
        ("distilbert", ["vocab_transform.weight"]),
    ],
)
def test_masks_and_tables_of_earlier_versions_are_passed_over(
    architecture: str, weights: list[str], cut: Cut
) -> None:
    folder = cut(architecture, "sequence", "no such part")
    known = load_file(folder / "model.safetensors")
    more = {weight: torch.zeros(2) for weight in weights}
    save_file({**known, **more}, folder / "model.safetensors", {"format": "pt"})
    load(folder, "sequence")


def test_the_head_of_another_task_is_passed_over(cut: Cut) -> None:
    folder = cut("llama", "language_model", "no such part")
    assert load(folder, "sequence").head_modules == ["score"]


def test_a_pooler_that_a_checkpoint_never_had_is_drawn_and_trained_with_the_head(cut: Cut) -> None:
    folder = cut("bert", "sequence", "pooler")
    assert load(folder, "sequence").head_modules == ["bert.pooler", "classifier"]


def test_half_a_pooler_is_refused(cut: Cut) -> None:
    with pytest.raises(UserError, match=r"bert.pooler.dense.bias"):
        load(cut("bert", "sequence", "pooler.dense.bias"), "sequence")


def test_what_the_models_yaml_names_may_be_missing(cut: Cut) -> None:
    folder = cut("bert", "sequence", "layer.1.output.dense")
    backbone = load(folder, "sequence", untrained=["layer.1.output.dense"])
    assert backbone.head_modules == ["classifier", "bert.encoder.layer.1.output.dense"]


def test_tied_weights_are_not_missing(cut: Cut) -> None:
    folder = cut("gpt2", "language_model", "lm_head")
    tied = AutoConfig.for_model("gpt2", **{**GPT2, "tie_word_embeddings": True})
    AutoModelForCausalLM.from_config(tied).save_pretrained(folder)
    assert load(folder, "language_model").head_modules == []
