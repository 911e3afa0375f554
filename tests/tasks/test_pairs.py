"""What a tokenizer puts between the two texts of a pair, told where it is nothing."""

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from autolora_bench.config.task import ClassificationTask
from autolora_bench.data.schema import TaskData
from autolora_bench.errors import UserError
from autolora_bench.models.load import special_frame
from autolora_bench.tasks.base import Splits
from autolora_bench.tasks.classification import Classification
from autolora_bench.tasks.encode import JOINED, separates_pairs


def bytes_alone() -> PreTrainedTokenizerFast:
    """As GPT-2's: no token that is not of the text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: n for n, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.mark.parametrize("model", ["tiny_encoder", "tiny_xlmr"])
def test_encoders_put_something_between(model: str, request: pytest.FixtureRequest) -> None:
    assert separates_pairs(AutoTokenizer.from_pretrained(request.getfixturevalue(model)))


def letters(alphabet: str) -> PreTrainedTokenizerFast:
    """Of single letters in BERT's frame; others have no token."""
    marks = ["[PAD]", "[CLS]", "[SEP]"]
    known = {token: number for number, token in enumerate([*marks, *alphabet])}
    tokenizer = Tokenizer(models.BPE(known, []))
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    names = dict(zip(("pad_token", "cls_token", "sep_token"), marks, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def test_a_vocabulary_without_an_a_has_a_frame_too() -> None:
    """As one of DNA."""
    tokenizer = letters("ACGT")
    assert tokenizer("a", add_special_tokens=False)["input_ids"] == []
    assert special_frame(tokenizer) == ([1], [2]) == special_frame(letters("a"))
    assert separates_pairs(tokenizer)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A $B [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    assert not separates_pairs(tokenizer)


def test_a_tokenizer_that_gives_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="the model's tokenizer gives no text a token"):
        special_frame(letters(""))


@pytest.mark.parametrize("texts", [["first", "second"], ["first"]])
def test_texts_that_become_one_are_told(texts: list[str], tmp_path: Path) -> None:
    task = Classification(ClassificationTask(name="mine", labels=["a", "b"], texts=texts, max_length=32))
    rows = Dataset.from_dict({**{name: ["ab", "cd"] for name in texts}, "label": [0, 1]})
    data = TaskData({"train": rows}, "fingerprint", "here", [])
    tokenizer = bytes_alone()
    assert not separates_pairs(tokenizer)
    assert task.prepare(data, tokenizer).notes == ([JOINED] if len(texts) > 1 else [])


@pytest.mark.parametrize("model", ["tiny_encoder", "tiny_xlmr"])
def test_the_second_text_is_read_after_the_first_and_a_third_is_refused(
    model: str, request: pytest.FixtureRequest
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(request.getfixturevalue(model))
    rows = {
        name: [f"a {word} film"] * 2
        for name, word in (("first", "good"), ("second", "bad"), ("third", "new"))
    }
    data = TaskData({"train": Dataset.from_dict({**rows, "label": [0, 1]})}, "f", "here", [])
    for texts in (["first"], ["second", "first"]):
        given = [rows[name][0] for name in texts]
        assert prepared(texts, 32, data, tokenizer).train[0]["input_ids"] == tokenizer(*given)["input_ids"]
    with pytest.raises(UserError, match="names 3 columns, and the model reads one text or a pair"):
        prepared(["first", "second", "third"], 32, data, tokenizer)


@pytest.mark.parametrize("texts", [["first"], ["first", "second"]])
@pytest.mark.parametrize("model", ["tiny_encoder", "tiny_xlmr"])
def test_a_longest_input_of_special_tokens_alone_is_refused(
    model: str, texts: list[str], request: pytest.FixtureRequest
) -> None:
    """The tokenizer would cut nothing and say that nothing was cut, or leave no token of the text."""
    tokenizer = AutoTokenizer.from_pretrained(request.getfixturevalue(model))
    text = "a good film and a bad film"
    data = TaskData(
        {"train": Dataset.from_dict({**{name: [text] for name in texts}, "label": [0]})}, "g", "here", []
    )
    special = sum(tokenizer(*[text] * len(texts), return_special_tokens_mask=True)["special_tokens_mask"])
    for length in range(1, special + 1):
        with pytest.raises(UserError, match=f"task.max_length={length} leaves no room for a token"):
            prepared(texts, length, data, tokenizer)
    found = prepared(texts, special + 1, data, tokenizer)
    assert len(found.train[0]["input_ids"]) == special + 1
    assert found.truncated == {"train": 1}


def prepared(texts: list[str], length: int, data: TaskData, tokenizer: Any) -> Splits:
    task = ClassificationTask(name="mine", labels=["a", "b"], texts=texts, max_length=length)
    return Classification(task).prepare(data, tokenizer)
