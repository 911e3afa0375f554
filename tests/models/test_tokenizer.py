"""Tokenizers as tasks need them, and models without one."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    GPT2TokenizerFast,
    LlamaConfig,
    LlamaForCausalLM,
    RobertaConfig,
    RobertaTokenizerFast,
    XLMRobertaConfig,
    XLNetConfig,
)

from autolora_bench.config.model import ModelConfig
from autolora_bench.errors import UserError
from autolora_bench.models.load import HeadKind, HeadSpec, load_backbone, load_tokenizer

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


@pytest.mark.parametrize(("config", "side"), [(RobertaConfig, "right"), (XLNetConfig, "left")])
def test_padding_is_where_the_model_can_have_it_whatever_the_tokenizer_says(
    config: Any, side: str, files: list[str], tmp_path: Path
) -> None:
    said = "left" if side == "right" else "right"
    RobertaTokenizerFast(*files, padding_side=said).save_pretrained(tmp_path)
    config().save_pretrained(tmp_path)
    tokenizer = load_tokenizer(ModelConfig(name="m", checkpoint=str(tmp_path)), HeadSpec(HeadKind.sequence))
    assert tokenizer.padding_side == side


@pytest.mark.parametrize("config", [BertConfig, RobertaConfig, XLMRobertaConfig, LlamaConfig])
def test_a_folder_without_a_tokenizer_is_refused(config: Any, tmp_path: Path) -> None:
    config().save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"has no tokenizer: neither tokenizer\.json nor vocab\.txt"):
        load_tokenizer(ModelConfig(name="m", checkpoint=str(tmp_path)), HeadSpec(HeadKind.sequence))


@pytest.mark.parametrize(
    ("config", "files"),
    [
        (BertConfig, {"vocab.txt": ""}),
        (BertConfig, {"vocab.txt": "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"}),
        (RobertaConfig, {"vocab.json": "{}", "merges.txt": ""}),
        (LlamaConfig, {"tokenizer.json": "{}"}),
    ],
)
def test_an_empty_tokenizer_is_refused(config: Any, files: dict[str, str], tmp_path: Path) -> None:
    config().save_pretrained(tmp_path)
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=r"no words|cannot load"):
        load_tokenizer(ModelConfig(name="m", checkpoint=str(tmp_path)), HeadSpec(HeadKind.sequence))


def test_a_word_list_alone_is_a_tokenizer(tmp_path: Path) -> None:
    BertConfig().save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "film"]))
    tokenizer = load_tokenizer(ModelConfig(name="m", checkpoint=str(tmp_path)), HeadSpec(HeadKind.sequence))
    assert tokenizer("film")["input_ids"] == [2, 5, 3]


def test_a_decoders_classifier_reads_the_token_before_the_padding(files: list[str], tmp_path: Path) -> None:
    """Whatever token its config.json calls padding: the tokenizer's is what texts are padded with."""
    GPT2TokenizerFast(*files).save_pretrained(tmp_path)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=300, pad_token_id=0, **sizes)).save_pretrained(tmp_path)
    config = ModelConfig(name="m", checkpoint=str(tmp_path))
    assert json.loads((tmp_path / "config.json").read_text())["pad_token_id"] == 0
    backbone = load_backbone(config, HeadSpec(HeadKind.sequence, ("no", "yes")))
    assert backbone.tokenizer.pad_token_id == 5
    texts = ["tumour", "tumour necrosis factor"]
    with torch.no_grad():
        model = backbone.model.eval()
        together = model(**backbone.tokenizer(texts, padding=True, return_tensors="pt")).logits
        alone = [model(**backbone.tokenizer(text, return_tensors="pt")).logits[0] for text in texts]
    torch.testing.assert_close(together, torch.stack(alone))


def test_a_tokenizer_that_is_not_read_as_its_file_says_is_refused(tmp_path: Path) -> None:
    """Without tokenizer_config.json transformers puts a cased BERT's texts in lower case."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=8, **sizes)).save_pretrained(tmp_path)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Hello", "World", "hello"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    BertTokenizer(str(tmp_path / "vocab.txt"), do_lower_case=False).save_pretrained(tmp_path)
    model, head = (
        ModelConfig(name="any", checkpoint=str(tmp_path)),
        HeadSpec(HeadKind.sequence, ("no", "yes")),
    )
    assert load_backbone(model, head).tokenizer.tokenize("Hello World") == ["Hello", "World"]
    (tmp_path / "tokenizer_config.json").unlink()
    with pytest.raises(UserError, match=r"has no tokenizer_config\.json"):
        load_backbone(model, head)


def test_a_tokenizer_that_cannot_pad_is_refused(tiny_encoder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_encoder, tmp_path / "model"))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings = {name: value for name, value in settings.items() if name not in ("pad_token", "eos_token")}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "pad_token": None}))
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    with pytest.raises(UserError, match="neither a padding token nor an end of text"):
        load_tokenizer(ModelConfig("any", checkpoint=str(folder)), HeadSpec(HeadKind.sequence, ("no", "yes")))
