"""Tokenises one or two texts per example, once per data set, tokenizer and length: the result is cached."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import tokenizers
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from autolora_bench.data.cache import cached_dataset

TRUNCATED = "truncated"


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash of everything that decides the ids which a fast tokenizer gives.

    How it truncates and pads is left out: every call says that anew and leaves it behind as the tokenizer's state, so
    that one and the same tokenizer would have another hash after its first call.
    """
    backend = tokenizer.backend_tokenizer
    truncation, padding = backend.truncation, backend.padding
    backend.no_truncation()
    backend.no_padding()
    try:
        facts = [
            backend.to_str(),
            tokenizer.truncation_side,
            tokenizer.model_input_names,
            backend.encode_special_tokens,
            tokenizers.__version__,
        ]
    finally:
        if truncation is not None:
            backend.enable_truncation(**truncation)
        if padding is not None:
            backend.enable_padding(**padding)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def special_frame(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The tokens that the tokenizer itself puts before and after a single text."""
    encoded = tokenizer("a", return_special_tokens_mask=True)
    special, ids = list(encoded["special_tokens_mask"]), list(encoded["input_ids"])
    first = special.index(0)
    last = len(special) - special[::-1].index(0)
    return ids[:first], ids[last:]


JOINED = "the two texts of a pair are read as one: this model's tokenizer puts nothing between them"


def separates_pairs(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer puts a token between the two texts of a pair."""
    pair, texts = tokenizer("a", "b")["input_ids"], [tokenizer(text)["input_ids"] for text in "ab"]
    around = sum(map(len, special_frame(tokenizer)))
    return len(pair) - around > sum(len(ids) - around for ids in texts)


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
