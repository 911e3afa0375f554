"""The inputs of a recovery task: every text of its source once, as tokens of the model at hand."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from random import Random
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from autolora_bench.config.task import RecoveryTask
from autolora_bench.data.cache import cached_dataset
from autolora_bench.data.schema import TaskData
from autolora_bench.errors import UserError
from autolora_bench.models.load import special_frame
from autolora_bench.tasks.encode import TRUNCATED, check_room, tokenizer_fingerprint

VERSION = "1"
"""Counts up whenever the same source gives other inputs."""


def recovery_inputs(
    task: RecoveryTask,
    rows: Mapping[str, int],
    data: TaskData,
    tokenizer: PreTrainedTokenizerBase,
    numbers: bool,
) -> tuple[Dataset, dict[str, int]]:
    """All inputs of all splits, one split after the other in the order of `rows`, in a fixed random order.

    Columns: what the tokenizer gives, and `labels`, the row's own number.

    Args:
        task: its texts and longest input.
        rows: split -> how many inputs.
        data: texts, in task.texts of the split train.
        tokenizer: of the model.
        numbers: the texts are the whole numbers of data=planted: number n is the n-th token of the vocabulary without
            special ones, counted round.

    Returns:
        The inputs, no two of them alike, and split -> how many were cut off at task.max_length.

    Raises:
        UserError: fewer different inputs than task.rows asks for, or max_length leaves no room for a token.
    """
    check_room(tokenizer, task.max_length)
    key = {
        "recovery": VERSION,
        "fingerprint": data.fingerprint,
        "tokenizer": tokenizer_fingerprint(tokenizer),
        "max_length": str(task.max_length),
        "texts": str([task.texts, numbers]),
    }
    encode = _tokens_of_numbers if numbers else _tokens
    pool = cached_dataset(key, lambda: encode(_shuffled(task, data), tokenizer, task.max_length))
    columns = pool[
        :
    ]  # in memory: datasets keeps what it derives beside an entry of the cache, which is then damaged
    chosen = _distinct(columns["input_ids"], sum(rows.values()), data.source)
    inputs = {name: [column[row] for row in chosen] for name, column in columns.items()}
    cut, ends = inputs.pop(TRUNCATED), accumulate(rows.values())
    truncated = {name: sum(cut[end - rows[name] : end]) for name, end in zip(rows, ends, strict=True)}
    return Dataset.from_dict({**inputs, "labels": list(range(len(chosen)))}), truncated


def _shuffled(task: RecoveryTask, data: TaskData) -> list[str]:
    texts = [text for name in task.texts for text in data.splits["train"][name]]
    Random(0).shuffle(texts)
    return texts


def _distinct(rows: Sequence[Sequence[int]], wanted: int, source: str) -> list[int]:
    """The first `wanted` rows whose tokens have not come before; one without tokens has no states to compare."""
    seen: dict[tuple[int, ...], int] = {}
    for row, tokens in enumerate(rows):
        if tokens:
            seen.setdefault(tuple(tokens), row)
        if len(seen) == wanted:
            return list(seen.values())
    raise UserError(
        f"{source} has {len(seen)} different inputs, and task.rows asks for {wanted}",
        "say fewer, as in task.rows.train=500, or read more: a larger data set, or all of it, without data.limit",
    )


def _tokens(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, most: int) -> Dataset:
    encoded = tokenizer(list(texts), truncation=True, max_length=most)
    cut = [bool(one.overflowing) for one in encoded.encodings or []]
    return Dataset.from_dict({**encoded, TRUNCATED: cut})


def _tokens_of_numbers(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, most: int) -> Dataset:
    special = set(tokenizer.all_special_ids)
    words = [token for token in sorted(tokenizer.get_vocab().values()) if token not in special]
    before, after = special_frame(tokenizer) if tokenizer.num_special_tokens_to_add() else ([], [])
    room = most - len(before) - len(after)
    numbers = [[int(number) for number in text.split()] for text in texts]
    rows = [[*before, *(words[n % len(words)] for n in row[:room]), *after] for row in numbers]
    columns: dict[str, Any] = {
        "input_ids": rows,
        "attention_mask": [[1] * len(row) for row in rows],
        TRUNCATED: [len(row) > room for row in numbers],
    }
    return Dataset.from_dict(columns)
