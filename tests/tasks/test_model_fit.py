"""A tokenizer that is not the model's, and texts that it has no room for, are refused before anything is trained."""

from typing import Any

import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    BartConfig,
    BartForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
    XLNetConfig,
)

from autolora_bench.config.task import ClassificationTask, GenerationTask
from autolora_bench.data.schema import TaskData
from autolora_bench.errors import UserError
from autolora_bench.tasks.base import Splits
from autolora_bench.tasks.labels_as_text import ClassificationAsText
from autolora_bench.tasks.model_fit import check_room, check_vocabulary, positions

SIZES = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}


def model(architecture: str = "bert", rows: int = 10) -> PreTrainedModel:
    config = AutoConfig.for_model(architecture, vocab_size=rows, **SIZES)
    with torch.device("meta"):
        found: PreTrainedModel = AutoModelForSequenceClassification.from_config(config)
    return found


def tokenizer(padding: int = 0, unknown: str = "[UNK]") -> PreTrainedTokenizerBase:
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b"]
    names[0], names[padding] = names[padding], names[0]
    words = {word: number for number, word in enumerate(names)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token=unknown)),
        pad_token="[PAD]",
        unk_token=unknown,
        cls_token="[CLS]",
        sep_token="[SEP]",
    )


def splits(train: list[Any], validation: list[Any] | None = None) -> Splits:
    held_out = {} if validation is None else {"validation": Dataset.from_dict({"input_ids": validation})}
    return Splits(Dataset.from_dict({"input_ids": train}), held_out)


def test_tokens_with_embeddings_pass() -> None:
    check_vocabulary(model(), tokenizer(), splits([[2, 4, 9, 3], [2, 4, 3]], [[[2, 5, 3], [2, 3]], [[2, 3]]]))
    check_vocabulary(model(), tokenizer(), splits([]))


@pytest.mark.parametrize(
    ("train", "validation", "expected"),
    [
        ([[2, 4, 10]], [[2, 4]], "train: the tokenizer gives token 10, and the model has embeddings for 10"),
        ([[2, 4]], [[2, 4], [2, 11, 3]], "validation: the tokenizer gives token 11"),
        ([[2, 4]], [[[2, 4], [2, 12]], [[2]]], "validation: the tokenizer gives token 12"),
    ],
)
def test_tokens_without_embeddings_are_refused(train: Any, validation: Any, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        check_vocabulary(model(), tokenizer(), splits(train, validation))


def test_only_the_rows_that_are_used_count() -> None:
    rows = splits([[2, 4], [2, 99], [2, 5]])
    check_vocabulary(model(), tokenizer(), Splits(rows.train.select([0, 2]), {}))


def test_padding_without_an_embedding_is_refused() -> None:
    with pytest.raises(UserError, match="padding: the tokenizer gives token 5"):
        check_vocabulary(model(rows=5), tokenizer(padding=5), splits([[2, 4]]))


def test_mostly_unknown_words_are_refused() -> None:
    check_vocabulary(model(), tokenizer(), splits([[2, 1, 4, 3], [2, 4, 1, 3]]))
    with pytest.raises(UserError, match=r"does not know 75% of the examples' tokens \(\[UNK\]\)"):
        check_vocabulary(model(), tokenizer(), splits([[2, 1, 1, 3], [2, 4, 1, 3]]))


def test_an_end_of_text_that_stands_for_unknown_ones_too_is_no_unknown_word() -> None:
    """As in GPT-2."""
    ends = tokenizer()
    ends.unk_token = ends.eos_token = "[SEP]"
    check_vocabulary(model("gpt2"), ends, splits([[3, 3, 3]]))


@pytest.mark.parametrize("architecture", ["roberta", "xlm-roberta", "mpnet"])
def test_positions_counted_by_another_padding_are_refused(architecture: str) -> None:
    """These models find a token's position by counting those that are no padding, which is their token 1."""
    check_vocabulary(model(architecture), tokenizer(padding=1), splits([[2, 4]]))
    with pytest.raises(UserError, match="pads with token 0, and the model counts positions after token 1"):
        check_vocabulary(model(architecture), tokenizer(padding=0), splits([[2, 4]]))


def test_positions_without_a_limit() -> None:
    """XLNet's configuration says -1."""
    config = XLNetConfig(vocab_size=10, d_model=8, n_layer=1, n_head=2, d_inner=8)
    assert positions(AutoModel.from_config(config)) is None
    assert positions(model("roberta")) is not None


def writer(kind: str, rows: int = 10) -> PreTrainedModel:
    """An encoder-decoder of 12 positions, or of no limit."""
    sizes = {
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 1,
        "decoder_attention_heads": 1,
    }
    with torch.device("meta"):
        if kind == "t5":
            return T5ForConditionalGeneration(
                T5Config(vocab_size=rows, d_model=8, d_kv=8, d_ff=8, num_layers=1, num_heads=1)
            )
        return BartForConditionalGeneration(
            BartConfig(vocab_size=rows, d_model=8, max_position_embeddings=12, **sizes)
        )


def written(labels: list[list[int]]) -> Splits:
    return Splits(Dataset.from_dict({"input_ids": [[4, 3]] * len(labels), "labels": labels}), {})


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_texts_to_be_written_count_too(kind: str) -> None:
    """The half that writes reads the tokens before each one."""
    check_vocabulary(
        writer(kind), tokenizer(padding=1 if kind == "bart" else 0), written([[9, 3], [-100, 3]])
    )
    with pytest.raises(
        UserError, match="train, texts to be written: the tokenizer gives token 10, and the model"
    ):
        check_vocabulary(writer(kind), tokenizer(), written([[4, 3], [10, 3]]))


def test_numbers_of_tags_are_no_tokens() -> None:
    check_vocabulary(model(), tokenizer(), written([[24, 11], [-100, 3]]))


def test_a_label_that_no_training_example_has_is_checked_too() -> None:
    """It is among the texts that are weighed up."""
    read = tokenizer()
    read.eos_token, read.backend_tokenizer.pre_tokenizer = "[SEP]", Whitespace()
    read.add_tokens(["great"])
    task = ClassificationTask(name="a", labels=["b", "great"], texts=["a"], max_length=8)
    data = TaskData({"train": Dataset.from_dict({"a": ["b", "a"], "label": [0, 0]})}, "great", "here", [])
    splits = ClassificationAsText(task, 0).prepare(data, read)
    check_vocabulary(writer("t5"), read, Splits(splits.train, {}))
    with pytest.raises(
        UserError, match="label 'great': the tokenizer gives token 6, and the model has embeddings"
    ):
        check_vocabulary(writer("t5", rows=6), read, splits)
    check_vocabulary(writer("t5", rows=7), read, splits)


def test_a_text_to_be_written_needs_positions_as_well() -> None:
    task = GenerationTask(name="g", title="g", metrics=["bleu"], max_length=20)
    task.decoding.max_new_tokens = 4
    check_room(writer("bart"), task, written([[4] * 12]))
    check_room(writer("t5"), task, written([[4] * 13]))
    with pytest.raises(
        UserError, match="train: its longest text to be written has 13 tokens; they do not fit"
    ):
        check_room(writer("bart"), task, written([[4] * 13]))
