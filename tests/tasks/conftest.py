"""Tiny tokenizers and decoders, made here."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.data.load import load_data

END = "<|endoftext|>"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def composed() -> Callable[..., ExperimentConfig]:
    """Override words -> configuration on generated data, without published settings."""

    def compose(*words: str) -> ExperimentConfig:
        with composer():
            return to_experiment(compose_config(["data=generated", "model=any", "~recipe", "~cell", *words]))

    return compose


@pytest.fixture(scope="session")
def byte_tokenizer(composed: Callable[..., ExperimentConfig]) -> PreTrainedTokenizerBase:
    """Byte-level BPE in the manner of GPT-2: one token begins, ends and pads."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    experiment = composed("task=e2e")
    train = load_data(experiment.task, experiment.data).splits["train"]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=480,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([*train["text"], *(r for rs in train["references"] for r in rs)], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=END, eos_token=END, pad_token=END)


def _llama(vocabulary: int) -> PreTrainedModel:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
        )
    )


def _gpt2(vocabulary: int) -> PreTrainedModel:
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocabulary,
            n_embd=64,
            n_layer=2,
            n_head=4,
            n_positions=256,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
        )
    )


DECODERS = {"llama": _llama, "gpt2": _gpt2}


@pytest.fixture(scope="session")
def decoder() -> Callable[..., Any]:
    """Kind ("llama", "gpt2"), vocabulary -> a random decoder of two layers, the same at every call."""

    def build(kind: str, vocabulary: int = 480) -> PreTrainedModel:
        torch.manual_seed(0)
        return DECODERS[kind](vocabulary).eval()

    return build


@pytest.fixture(scope="session")
def decoder_folder(
    decoder: Callable[..., Any],
    byte_tokenizer: PreTrainedTokenizerBase,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Path]:
    """Kind -> folder of the random decoder and its tokenizer."""

    @cache
    def save(kind: str) -> Path:
        folder = tmp_path_factory.mktemp(kind)
        decoder(kind).save_pretrained(folder)
        byte_tokenizer.save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="session")
def short_decoder(
    byte_tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Path]:
    """Positions -> folder of a small GPT-2 with so many, and its tokenizer, which knows of no limit."""

    def save(most: int) -> Path:
        folder = tmp_path_factory.mktemp("short")
        config = GPT2Config(
            vocab_size=480, n_embd=8, n_layer=1, n_head=1, n_positions=most, bos_token_id=0, eos_token_id=0
        )
        GPT2LMHeadModel(config).save_pretrained(folder)
        byte_tokenizer.save_pretrained(folder)
        return folder

    return save
