"""What a tokenizer puts between the two texts of a pair, told where it is nothing."""

from pathlib import Path

import pytest
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from autolora_bench.config.task import ClassificationTask
from autolora_bench.data.schema import TaskData
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


@pytest.mark.parametrize("texts", [["first", "second"], ["first"]])
def test_texts_that_become_one_are_told(texts: list[str], tmp_path: Path) -> None:
    task = Classification(ClassificationTask(name="mine", labels=["a", "b"], texts=texts, max_length=32))
    rows = Dataset.from_dict({**{name: ["ab", "cd"] for name in texts}, "label": [0, 1]})
    data = TaskData({"train": rows}, "fingerprint", "here", [])
    tokenizer = bytes_alone()
    assert not separates_pairs(tokenizer)
    assert task.prepare(data, tokenizer).notes == ([JOINED] if len(texts) > 1 else [])
