"""Tokenizers as tasks need them."""

from pathlib import Path

import pytest
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2TokenizerFast, LlamaConfig, RobertaConfig, RobertaTokenizerFast

from autolora_bench.backbone.load import HeadKind, HeadSpec, load_tokenizer
from autolora_bench.config.model import ModelConfig

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<|endoftext|>"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """vocab.json and merges.txt of a byte-level tokenizer."""
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        ["tumour necrosis factor"], vocab_size=300, special_tokens=SPECIAL, show_progress=False
    )
    return trained.save_model(str(tmp_path_factory.mktemp("byte_level")))


def test_a_sentence_of_words_is_tokenised_as_running_text(files: list[str], tmp_path: Path) -> None:
    RobertaTokenizerFast(*files).save_pretrained(tmp_path)
    RobertaConfig().save_pretrained(tmp_path)
    model = ModelConfig(name="m", checkpoint=str(tmp_path))
    text = load_tokenizer(model, HeadSpec(HeadKind.sequence))
    words = load_tokenizer(model, HeadSpec(HeadKind.tokens))
    expected = text(" tumour necrosis factor")["input_ids"]
    assert words(["tumour", "necrosis", "factor"], is_split_into_words=True)["input_ids"] == expected
    assert text("tumour")["input_ids"] != words("tumour")["input_ids"]


def test_a_decoders_padding_is_its_end(files: list[str], tmp_path: Path) -> None:
    GPT2TokenizerFast(*files).save_pretrained(tmp_path)
    LlamaConfig().save_pretrained(tmp_path)
    tokenizer = load_tokenizer(
        ModelConfig(name="m", checkpoint=str(tmp_path)), HeadSpec(HeadKind.language_model)
    )
    assert tokenizer.pad_token == tokenizer.eos_token == "<|endoftext|>"
