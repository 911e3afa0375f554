"""Trained weights on the shapes of real models, built without storage: closed formulas, and the papers' own figures."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.methods.base import PhaseContext, build_method, count_parameters
from autolora_bench.models.gpt2 import split_attention
from autolora_bench.models.load import Backbone
from autolora_bench.models.targets import target_modules
from autolora_bench.record import Parameters
from autolora_bench.tasks.base import Splits
from autolora_bench.tasks.table import build_task

BERT = {"num_attention_heads": 12, "max_position_embeddings": 512}
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "minilm": (
        "bert",
        {**BERT, "hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536},
    ),
    "roberta_base": ("roberta", {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}),
    "roberta_large": (
        "roberta",
        {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}
        | {
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "intermediate_size": 4096,
        },
    ),
    "deberta_v3_base": (
        "deberta-v2",
        {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072},
    ),
    "gpt2_medium": ("gpt2", {"n_embd": 1024, "n_layer": 24, "n_head": 16}),
    "llama_7b": ("llama", {}),
    "llama32_1b": (
        "llama",
        {"vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16}
        | {"num_attention_heads": 32, "num_key_value_heads": 8, "tie_word_embeddings": True},
    ),
    "qwen25_05b": (
        "qwen2",
        {"vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24}
        | {"num_attention_heads": 14, "num_key_value_heads": 2, "tie_word_embeddings": True},
    ),
    "xlmr_base": (
        "xlm-roberta",
        {"vocab_size": 250002, "max_position_embeddings": 514, "type_vocab_size": 1},
    ),
}
"""Published models -> model_type and what differs from the type's default configuration."""
HEADS = {
    "roberta": "classifier",
    "xlm-roberta": "classifier",
    "bert": "classifier",
    "deberta-v2": "classifier",
}
LLM_ADAPTERS = "model.targets=[q_proj,k_proj,v_proj,up_proj,down_proj]"


@cache
def counted(shape: str, *words: str) -> Parameters:
    """What the method of `words` trains on that shape: labels on encoders, texts on decoders."""
    kind, options = SHAPES[shape]
    task = "sst2" if kind in HEADS else "e2e"
    with composer():
        experiment = to_experiment(
            compose_config([f"task={task}", "model=any", "data=generated", "~cell", *words])
        )
    auto = AutoModelForSequenceClassification if kind in HEADS else AutoModelForCausalLM
    with torch.device("meta"):
        model = auto.from_config(AutoConfig.for_model(kind, **options))
        total = sum(weight.numel() for weight in model.parameters())
        if kind == "gpt2":
            split_attention(model)
        head = [HEADS[kind]] if kind in HEADS else []
        backbone = Backbone(model, None, head, target_modules(model, experiment.model))  # type: ignore[arg-type]
        context = PhaseContext(experiment, Path("none"), torch.device("cpu"))
        context.task = build_task(experiment)
        context.splits = Splits(
            Dataset.from_dict({"input_ids": []}), {}
        )  # no text whose length could be too much
        adapted = build_method(experiment.method).phases()[-1].adapt(backbone, context)  # type: ignore[attr-defined]
    return count_parameters(total, adapted, head)


def lora(layers: int, rank: int, inputs: int, outputs: int | None = None) -> int:
    return layers * rank * (inputs + (outputs or inputs))


def lstm(d: int, h: int) -> int:
    """P-tuning's network, two layers both ways and two linear layers: see tests/methods/test_contract.py."""
    return 2 * 4 * h * ((d + h + 2) + (2 * h + h + 2)) + (2 * h + 1) * 2 * h + (2 * h + 1) * d


FORMULAS = [
    ("minilm", ["method=bitfit"], 6 * (4 * 384 + 1536 + 384 + 2 * 384) + 384 + 384),
    ("minilm", ["method=adapter"], 12 * (2 * 384 * 8 + 8 + 384) + 13 * 2 * 384),
    ("minilm", ["method=adapter_pfeiffer"], 6 * (2 * 384 * 16 + 16 + 384)),
    ("minilm", ["method=adapter_l"], 6 * (2 * 384 * 6 + 6 + 384 + 2 * 384)),
    ("minilm", ["method=adapter_d"], 2 * (2 * 384 * 48 + 48 + 384)),
    ("minilm", ["method=lora"], lora(12, 4, 384)),
    ("minilm", ["method=rslora"], lora(12, 4, 384)),
    ("minilm", ["method=lora_plus"], lora(12, 4, 384)),
    ("minilm", ["method=lora_pro"], lora(12, 4, 384)),
    ("minilm", ["method=dora"], lora(12, 4, 384) + 12 * 384),
    ("minilm", ["method=lora", "model.targets=[all_linear]"], 6 * (lora(4, 4, 384) + lora(2, 4, 384, 1536))),
    ("minilm", ["method=adalora"], 12 * 6 * (2 * 384 + 1)),
    ("minilm", ["method=prefix_tuning"], 2 * 6 * 384 * 20),
    ("minilm", ["method=prompt_tuning"], 20 * 384),
    ("minilm", ["method=p_tuning"], 20 * 384 + lstm(384, 192)),
    ("minilm", ["method=ia3"], 6 * (2 * 384 + 1536)),
    ("roberta_base", ["method=ia3"], 12 * (2 * 768 + 3072)),
    ("roberta_base", ["method=dora", "method.rank=8"], lora(24, 8, 768) + 24 * 768),
    ("roberta_base", ["method=prefix_tuning"], 2 * 12 * 768 * 20),
    ("xlmr_base", ["method=lora", "method.rank=8"], lora(24, 8, 768)),
    ("xlmr_base", ["method=bitfit"], 12 * (4 * 768 + 3072 + 768 + 2 * 768) + 768),
    ("gpt2_medium", ["method=lora"], lora(48, 4, 1024)),
    ("gpt2_medium", ["method=ia3"], 24 * (2 * 1024 + 4096)),
    ("gpt2_medium", ["method=bitfit"], 24 * (3 * 1024 + 1024 + 4096 + 1024 + 2 * 1024) + 1024),
    ("llama32_1b", ["method=lora"], 16 * (lora(1, 4, 2048) + lora(1, 4, 2048, 512))),
    ("llama32_1b", ["method=ia3"], 16 * (2 * 512 + 8192)),
    ("llama32_1b", ["method=prefix_tuning"], 2 * 16 * 512 * 20),
    ("qwen25_05b", ["method=bitfit"], 24 * (896 + 2 * 128)),
    ("qwen25_05b", ["method=lora"], 24 * (lora(1, 4, 896) + lora(1, 4, 896, 128))),
]
"""Shape, words, weights without the head."""


@pytest.mark.parametrize(("shape", "words", "count"), FORMULAS)
@pytest.mark.sample(one_in=5)
def test_trained_weights_are_the_formula(shape: str, words: list[str], count: int) -> None:
    assert counted(shape, *words).method == count


PUBLISHED = [
    # Hu et al. (2021), LoRA, Table 2: in millions
    ("roberta_base", ["method=lora", "method.rank=8"], 1, 0.3),
    ("roberta_large", ["method=lora", "method.rank=8"], 1, 0.8),
    ("roberta_base", ["method=bitfit"], 1, 0.1),
    # Zhang et al. (2023), AdaLoRA, Table 1: LoRA of rank 8 and 2 on every linear layer
    ("deberta_v3_base", ["method=lora", "method.rank=8", "model.targets=[all_linear]"], 2, 1.33),
    ("deberta_v3_base", ["method=lora", "method.rank=2", "model.targets=[all_linear]"], 2, 0.33),
    # Zhang et al. (2024), LLaMA-Adapter, section 4.1
    ("llama_7b", ["method=llama_adapter"], 1, 1.2),
    # Lester et al. (2021), figure 2: five tokens of size 4096 are 20,480 weights
    ("llama_7b", ["method=prompt_tuning", "method.virtual_tokens=5"], 5, 0.02048),
]
"""Shape, words, digits after the point, millions of weights as printed."""


@pytest.mark.parametrize(("shape", "words", "digits", "millions"), PUBLISHED)
@pytest.mark.sample(one_in=3)
def test_trained_weights_are_the_papers(shape: str, words: list[str], digits: int, millions: float) -> None:
    assert round(counted(shape, *words).method / 1e6, digits) == millions


SHARES = [
    # Liu et al. (2024), DoRA, Table 1, LLaMA-7B
    ("llama_7b", ["method=lora", "method.rank=32", LLM_ADAPTERS], 2, 0.83),
    ("llama_7b", ["method=dora", "method.rank=32", LLM_ADAPTERS], 2, 0.84),
    ("llama_7b", ["method=dora", "method.rank=16", LLM_ADAPTERS], 2, 0.43),
    # Li & Liang (2021), Table 1, GPT2-medium: prefixes of five tokens on E2E
    ("gpt2_medium", ["method=prefix_tuning", "method.virtual_tokens=5"], 1, 0.1),
]
"""Shape, words, digits after the point, percent of all weights as printed."""


@pytest.mark.parametrize(("shape", "words", "digits", "percent"), SHARES)
@pytest.mark.sample(one_in=4)
def test_trained_shares_are_the_papers(shape: str, words: list[str], digits: int, percent: float) -> None:
    found = counted(shape, *words)
    assert round(100 * found.method / (found.total + found.method), digits) == percent


@pytest.mark.parametrize(
    ("shape", "millions"),
    [
        ("roberta_base", 125),
        ("roberta_large", 355),
        ("gpt2_medium", 355),
        ("xlmr_base", 278),
        ("llama32_1b", 1236),
        ("qwen25_05b", 494),
    ],
)
@pytest.mark.sample(one_in=3)
def test_full_fine_tuning_trains_the_whole_model(shape: str, millions: int) -> None:
    """With the head, as published and as the YAMLs in conf/model say."""
    found = counted(shape, "method=full")
    assert found.trainable == found.total
    assert round(found.total / 1e6) == millions
