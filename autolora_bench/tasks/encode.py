"""Tokenises one or two texts per example, once per data set, tokenizer and length: the result is cached."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import tokenizers
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from autolora_bench.data.cache import cached_dataset
from autolora_bench.errors import require

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


def check_room(tokenizer: PreTrainedTokenizerBase, max_length: int, pair: bool = False) -> None:
    """Refuse a longest input without room for the tokenizer's special tokens and another one: where a tokenizer cannot
    cut so far, it cuts nothing and says nothing.

    Raises:
        UserError: as said.
    """
    special = tokenizer.num_special_tokens_to_add(pair=pair)
    require(
        max_length > special,
        f"task.max_length={max_length} leaves no room for a token: this model's tokenizer puts {special} of its own "
        f"around {'a pair of texts' if pair else 'a text'}",
        "say 128, for instance",
    )


def encode_texts(
    split: Dataset,
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    key: Mapping[str, str],
) -> Dataset:
    """input_ids, attention_mask (and token_type_ids) of every example, `labels` from `label`, and `truncated`.

    Args:
        split: `texts` and `label`.
        texts: its one column or two that make the input.
        tokenizer: of the model.
        max_length: tokens of an example at most, special ones among them.
        key: names the data (fingerprint and split) for the cache.

    Raises:
        UserError: max_length leaves no room for a token.
    """
    first, *others = texts
    (second,) = others or (None,)  # a tokenizer takes a third text for what is to be written
    check_room(tokenizer, max_length, pair=second is not None)

    def encode(examples: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        pairs = None if second is None else examples[second]
        encoded = tokenizer(examples[first], text_pair=pairs, truncation=True, max_length=max_length)
        truncated = [bool(encoding.overflowing) for encoding in encoded.encodings or []]
        return {**encoded, "labels": examples["label"], TRUNCATED: truncated}

    parts = {
        **key,
        "tokenizer": tokenizer_fingerprint(tokenizer),
        "max_length": str(max_length),
        "texts": str(list(texts)),
    }
    return cached_dataset(parts, lambda: split.map(encode, batched=True, remove_columns=split.column_names))
