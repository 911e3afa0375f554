"""Tokenises one or two texts per example, once per data set, tokenizer and length: the result is cached."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from autolora_bench.data.cache import cached_dataset

TRUNCATED = "truncated"


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash of everything a fast tokenizer does."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


def special_frame(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The tokens that the tokenizer itself puts before and after a single text."""
    encoded = tokenizer("a", return_special_tokens_mask=True)
    special, ids = list(encoded["special_tokens_mask"]), list(encoded["input_ids"])
    first = special.index(0)
    last = len(special) - special[::-1].index(0)
    return ids[:first], ids[last:]


def encode_texts(
    split: Dataset,
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    key: Mapping[str, str],
) -> Dataset:
    """input_ids, attention_mask (and token_type_ids) of every example, `labels` from `label`, and `truncated`.

    `key` names the data (fingerprint and split) for the cache.
    """

    def encode(examples: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        encoded = tokenizer(*(examples[column] for column in texts), truncation=True, max_length=max_length)
        truncated = [bool(encoding.overflowing) for encoding in encoded.encodings or []]
        return {**encoded, "labels": examples["label"], TRUNCATED: truncated}

    parts = {
        **key,
        "tokenizer": tokenizer_fingerprint(tokenizer),
        "max_length": str(max_length),
        "texts": str(list(texts)),
    }
    return cached_dataset(parts, lambda: split.map(encode, batched=True, remove_columns=split.column_names))
