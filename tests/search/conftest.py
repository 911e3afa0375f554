"""Tiny models in float64, and small helpers."""

import math
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
)

TARGETS = {"bert": ["query", "value"], "gpt2": ["c_attn"], "llama": ["q_proj", "v_proj"]}
VOCABULARY = 50


def _base(kind: str, dropout: float, layers: int) -> torch.nn.Module:
    if kind == "bert":
        return BertForSequenceClassification(
            BertConfig(
                vocab_size=VOCABULARY,
                hidden_size=32,
                num_hidden_layers=layers,
                num_attention_heads=2,
                intermediate_size=48,
                hidden_dropout_prob=dropout,
                attention_probs_dropout_prob=dropout,
            )
        )
    if kind == "gpt2":
        return GPT2ForSequenceClassification(
            GPT2Config(
                vocab_size=VOCABULARY,
                n_embd=32,
                n_layer=layers,
                n_head=2,
                n_positions=32,
                resid_pdrop=dropout,
                embd_pdrop=dropout,
                attn_pdrop=dropout,
                pad_token_id=0,
            )
        )
    return _in_double_precision(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            num_hidden_layers=layers,
            num_attention_heads=2,
            num_key_value_heads=1,
            intermediate_size=48,
            attention_dropout=dropout,
            pad_token_id=0,
        )
    )


def _in_double_precision(config: LlamaConfig) -> torch.nn.Module:
    """Llama whose norms stay in float64: its own cast to float32, too coarse for numerical
    differentiation."""
    model = LlamaForSequenceClassification(config)
    for name in [name for name, _ in model.named_modules()]:
        if name.endswith("norm"):
            model.set_submodule(name, torch.nn.RMSNorm(config.hidden_size, config.rms_norm_eps))
    return model


def tiny_model(
    kind: str = "bert", dropout: float = 0.1, layers: int = 2, r: int = 3, trained: bool = True, **lora: Any
) -> PeftModel:
    """A PEFT model in training mode; `trained` gives lora_B values other than zero."""
    torch.manual_seed(0)
    arguments = {
        "r": r,
        "lora_alpha": 4 * r,
        "target_modules": TARGETS[kind],
        "lora_dropout": dropout,
        **lora,
    }
    arguments["fan_in_fan_out"] = kind == "gpt2"
    config = LoraConfig(task_type="SEQ_CLS", init_lora_weights=not trained, **arguments)
    return get_peft_model(_base(kind, dropout, layers), config).double().train()


def examples(seed: int, rows: int = 6, tokens: int = 7) -> dict[str, Tensor]:
    """A batch of random tokens with random labels."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, VOCABULARY, (rows, tokens), generator=generator)
    labels = torch.randint(0, 2, (rows,), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def loss_of(model: torch.nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return model(**batch).loss


def cosine(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum() / (a.norm() * b.norm()))


def relative(a: Tensor, b: Tensor) -> float:
    """Largest difference over the reference's largest magnitude."""
    error = float((a - b).abs().max() / b.abs().max())
    assert not math.isnan(error)
    return error


class Toys:
    """The helpers above, for tests: modules beside a conftest cannot be imported under importlib mode."""

    model = staticmethod(tiny_model)
    examples = staticmethod(examples)
    loss = staticmethod(loss_of)
    cosine = staticmethod(cosine)
    relative = staticmethod(relative)


@pytest.fixture(scope="session")
def toys() -> type[Toys]:
    return Toys
