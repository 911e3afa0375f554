"""Tags on first sub-words, against an alignment by character offsets; windows, truncation and odd words."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import nn
from transformers import BertTokenizerFast, PreTrainedTokenizerBase, RobertaTokenizerFast

from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.task import LongSentences, TaggingTask
from autolora_bench.data.load import load_data
from autolora_bench.data.schema import TaskData, tag_names, to_dataset
from autolora_bench.tasks.base import EvaluationContext
from autolora_bench.tasks.tagging import Tagging

Compose = Callable[..., ExperimentConfig]


@pytest.fixture(scope="module")
def wordpiece(composed: Compose, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    """Few whole words, so that most have several pieces."""
    experiment = composed("task=bionlp")
    words = {w for row in load_data(experiment.task, experiment.data).splits["train"]["tokens"] for w in row}
    letters = sorted({c for w in words for c in w.lower()} | set("abcdefghijklmnopqrstuvwxyz-"))
    pieces = sorted(w.lower() for w in words if len(w) < 5 and len(w) > 1)
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *letters,
        *(f"##{c}" for c in letters),
        *pieces,
    ]
    file = tmp_path_factory.mktemp("wordpiece") / "vocab.txt"
    file.write_text("\n".join(dict.fromkeys(vocabulary)), encoding="utf-8")
    return BertTokenizerFast(vocab={word: n for n, word in enumerate(dict.fromkeys(vocabulary))})


@pytest.fixture(scope="module")
def prefixed(byte_tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """RoBERTa's tokenizer: words of a sentence begin with a blank."""
    from tokenizers import ByteLevelBPETokenizer

    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        ["We studied SIGMA2 in virus receptor"] * 3,
        vocab_size=330,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        show_progress=False,
    )
    folder = tmp_path_factory.mktemp("roberta")
    trained.save_model(str(folder))
    RobertaTokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    return RobertaTokenizerFast.from_pretrained(folder, add_prefix_space=True)


def by_offsets(tokenizer: Any, tokens: list[str], tags: list[int]) -> list[int]:
    """Labels of the sentence as running text: a token that begins where a word begins takes its tag."""
    begins = {}
    place = 0
    for token, tag in zip(tokens, tags, strict=True):
        begins[place] = tag
        place += len(token) + 1
    encoded = tokenizer(" ".join(tokens), return_offsets_mapping=True, return_special_tokens_mask=True)
    text = " ".join(tokens)
    labels = []
    for (start, end), special in zip(encoded["offset_mapping"], encoded["special_tokens_mask"], strict=True):
        start += len(text[start:end]) - len(text[start:end].lstrip())
        labels.append(-100 if special else begins.pop(start, -100))
    return labels


@pytest.mark.parametrize("kind", ["wordpiece", "prefixed"])
def test_first_sub_words_carry_the_tags(kind: str, composed: Compose, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(kind)
    experiment = composed("task=bionlp", "data.limit=40", "data.limit_evaluation=5")
    data = load_data(experiment.task, experiment.data)
    splits = Tagging(experiment.task).prepare(data, tokenizer)  # type: ignore[arg-type]
    assert len(splits.train) == 40
    for row, tokens, tags in zip(
        splits.train, data.splits["train"]["tokens"], data.splits["train"]["tags"], strict=True
    ):
        assert row["input_ids"] == tokenizer(" ".join(tokens))["input_ids"]
        assert row["labels"] == by_offsets(tokenizer, tokens, tags)
        assert sum(label != -100 for label in row["labels"]) == len(tokens)


TASK = TaggingTask(name="t", title="T", metrics=["f1"], entities=["gene"], max_length=8, stride=2)
LONG = ["tnf", "cell", "aaaa", "bb", "dna", "x", "virus", "qq", "rna", "zzzzzzzzzz", "in", "we"]


def data_of(task: TaggingTask, *sentences: list[str]) -> TaskData:
    tags = [[n % 3 for n in range(len(words))] for words in sentences]
    split = to_dataset(task, {"tokens": list(sentences), "tags": tags})
    return TaskData({"train": split, "validation": split, "test": split}, str(hash(str(sentences))), "test")


class Oracle(nn.Module):
    """Gives every token the tag that the word it begins has, as the table of token ids says."""

    def __init__(self, tags: dict[int, int], labels: int) -> None:
        super().__init__()
        self.tags, self.labels = tags, labels

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any) -> Any:
        found = torch.zeros(*input_ids.shape, self.labels)
        for place, token in enumerate(input_ids.flatten().tolist()):
            found.view(-1, self.labels)[place, self.tags.get(token, 0)] = 1
        return SimpleNamespace(logits=found)


def context(tokenizer: Any) -> EvaluationContext:
    return EvaluationContext(tokenizer, torch.device("cpu"), 2)


def test_windows_are_merged_so_that_every_word_has_one_tag(wordpiece: Any) -> None:
    sentences = [[f"{chr(97 + n)}" for n in range(length)] for length in (3, 20, 9)]
    data = data_of(TASK, *sentences)
    splits = Tagging(TASK).prepare(data, wordpiece)
    assert all(len(row["input_ids"]) <= 8 for row in splits.train)
    assert sum(label != -100 for row in splits.train for label in row["labels"]) == 32
    assert splits.truncated == {"train": 0, "validation": 0, "test": 0}
    assert "train: 2 sentences longer than 8 tokens read in windows" in splits.notes
    oracle = Oracle({wordpiece.convert_tokens_to_ids(chr(97 + n)): n % 3 for n in range(20)}, 3)
    result = Tagging(TASK).evaluate(oracle, splits.held_out["test"], context(wordpiece))
    names = tag_names(TASK)
    assert result.predictions == [[names[n % 3] for n in range(len(words))] for words in sentences]
    assert result.examples == 3
    assert result.scores.values["f1"] == 1.0
    assert result.scores.values["f1/gene"] == 1.0


@pytest.mark.parametrize("side", ["left", "right"])
def test_tags_are_those_of_the_words_on_whichever_side_batches_are_padded(side: str, wordpiece: Any) -> None:
    sentences = [[f"{chr(97 + n)}" for n in range(length)] for length in (6, 2, 4)]
    splits = Tagging(TASK).prepare(data_of(TASK, *sentences), wordpiece)
    oracle = Oracle({wordpiece.convert_tokens_to_ids(chr(97 + n)): n % 3 for n in range(20)}, 3)
    before, wordpiece.padding_side = wordpiece.padding_side, side
    try:
        result = Tagging(TASK).evaluate(oracle, splits.held_out["test"], context(wordpiece))
    finally:
        wordpiece.padding_side = before
    names = tag_names(TASK)
    assert result.predictions == [[names[n % 3] for n in range(len(words))] for words in sentences]


def test_truncated_words_are_outside_and_counted(wordpiece: Any) -> None:
    task = TaggingTask(
        name="t", title="T", metrics=["f1"], entities=["gene"], max_length=8, long=LongSentences.truncate
    )
    splits = Tagging(task).prepare(data_of(task, [chr(97 + n) for n in range(9)], ["a", "b"]), wordpiece)
    assert splits.truncated == {"train": 1, "validation": 1, "test": 1}
    assert len(splits.train) == 2
    oracle = Oracle({wordpiece.convert_tokens_to_ids(chr(97 + n)): 1 for n in range(20)}, 3)
    result = Tagging(task).evaluate(oracle, splits.held_out["test"], context(wordpiece))
    assert result.predictions[0] == ["B-gene"] * 6 + ["O"] * 3


def test_a_word_without_sub_words_is_outside(wordpiece: Any) -> None:
    """BERT drops control characters: such a word has no token, and must not shift the others."""
    splits = Tagging(TASK).prepare(data_of(TASK, ["a", "\u200b\u0007", "c"]), wordpiece)
    assert splits.train[0]["labels"] == [-100, 0, 2, -100]
    oracle = Oracle({wordpiece.convert_tokens_to_ids(c): 1 for c in "ac"}, 3)
    result = Tagging(TASK).evaluate(oracle, splits.held_out["test"], context(wordpiece))
    assert result.predictions == [["B-gene", "O", "B-gene"]]


def test_a_sentence_of_which_nothing_is_shown_is_not_trained_on(wordpiece: Any) -> None:
    """Alone in a batch its mean loss would be over no label."""
    splits = Tagging(TASK).prepare(data_of(TASK, ["\u200b"], ["a", "c"]), wordpiece)
    assert [row["labels"] for row in splits.train] == [[-100, 0, 1, -100]]
    assert len(splits.held_out["test"]) == 2


def test_a_word_longer_than_a_window_keeps_its_tag(wordpiece: Any) -> None:
    splits = Tagging(TASK).prepare(data_of(TASK, LONG), wordpiece)
    labels = [label for row in splits.train for label in row["labels"] if label != -100]
    assert labels == [n % 3 for n in range(len(LONG))]
    assert all(len(row["input_ids"]) <= 8 for row in splits.train)


def test_batches_pad_labels_with_the_ignored_index(wordpiece: Any) -> None:
    splits = Tagging(TASK).prepare(data_of(TASK, ["a"], ["a", "b", "c"]), wordpiece)
    batch = Tagging(TASK).collator(wordpiece)([splits.train[0], splits.train[1]])
    assert batch["labels"].tolist() == [[-100, 0, -100, -100, -100], [-100, 0, 1, 2, -100]]
    assert batch["attention_mask"].sum().item() == 8


def test_predictions_do_not_depend_on_the_batch(composed: Compose, tiny_encoder: Any) -> None:
    from autolora_bench.models.load import load_backbone

    experiment = composed(
        "task=bionlp", "model=any", f"model.checkpoint={tiny_encoder}", "data.limit_evaluation=9"
    )
    task = Tagging(experiment.task)  # type: ignore[arg-type]
    backbone = load_backbone(experiment.model, task.head())
    splits = task.prepare(load_data(experiment.task, experiment.data), backbone.tokenizer)
    split: Dataset = splits.held_out["test"]
    one, four = (
        task.evaluate(backbone.model, split, EvaluationContext(backbone.tokenizer, torch.device("cpu"), size))
        for size in (1, 4)
    )
    assert one == four
