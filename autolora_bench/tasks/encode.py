"""Tokenises one or two texts per example, once per data set, tokenizer and length: the result is cached."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import tokenizers
import transformers
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from autolora_bench.data.cache import cached_dataset
from autolora_bench.errors import UserError, require
from autolora_bench.models.load import any_text

TRUNCATED, EMPTY = "truncated", "empty"
"""Columns that say which examples were cut, and which have no token by the tokenizer."""


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
            transformers.__version__,
        ]
    finally:
        if truncation is not None:
            backend.enable_truncation(**truncation)
        if padding is not None:
            backend.enable_padding(**padding)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


JOINED = "the two texts of a pair are read as one: this model's tokenizer puts nothing between them"


def separates_pairs(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer puts a token between the two texts of a pair.

    Raises:
        UserError: it gives no text a token.
    """
    text, _, special = any_text(tokenizer)
    return len(tokenizer(text, text)["input_ids"]) > 2 * special.count(0) + special.count(1)


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


def tokens_of(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    max_length: int,
    pairs: Sequence[str] | None = None,
) -> dict[str, list[Any]]:
    """What the tokenizer gives of texts, or of pairs, cut to max_length; and the columns `truncated` and `empty`.

    A model cannot read nothing: where the tokenizer gives no token, and puts none of its own around a text, the row
    has `stand_in` alone, which the attention sees.
    """
    encoded = tokenizer(list(texts), text_pair=pairs, truncation=True, max_length=max_length)
    rows: list[list[int]] = encoded["input_ids"]
    empty = [not row for row in rows]
    found: dict[str, list[Any]] = {**encoded}
    if any(empty):
        instead = {"input_ids": stand_in(tokenizer), "attention_mask": 1}
        found = {name: [row or [instead.get(name, 0)] for row in column] for name, column in found.items()}
    truncated = [bool(encoding.overflowing) for encoding in encoded.encodings or []]
    return {**found, TRUNCATED: truncated, EMPTY: empty}


def end_of_text(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that ends a text. Raises UserError where there is none."""
    if tokenizer.eos_token_id is None:
        raise UserError(
            "the model's tokenizer has no end-of-text token", "choose a model that generates text"
        )
    return int(tokenizer.eos_token_id)


def stand_in(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token of an example without any: the begin of text, else its end, else padding."""
    known = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    return next(int(token) for token in known if token is not None)


def counted(encoded: Mapping[str, Dataset]) -> tuple[dict[str, Dataset], dict[str, int]]:
    """The splits without the columns that `tokens_of` adds, and how many examples of each were cut."""
    plain = {name: split.remove_columns([TRUNCATED, EMPTY]) for name, split in encoded.items()}
    return plain, {name: sum(split[TRUNCATED]) for name, split in encoded.items()}


def without_tokens(encoded: Mapping[str, Dataset], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """A note for every split of which examples are `empty`."""
    counts = {name: sum(split[EMPTY]) for name, split in encoded.items()}
    return [
        f"{name}: {count:,} of {len(encoded[name]):,} examples have no token: "
        f"{tokenizer.convert_ids_to_tokens(stand_in(tokenizer))} is read in their place"
        for name, count in counts.items()
        if count
    ]


def encode_texts(
    split: Dataset,
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    key: Mapping[str, str],
) -> Dataset:
    """What `tokens_of` gives of every example, and `labels` from `label`.

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
        return {**tokens_of(tokenizer, examples[first], max_length, pairs), "labels": examples["label"]}

    parts = {
        **key,
        "tokenizer": tokenizer_fingerprint(tokenizer),
        "max_length": str(max_length),
        "texts": str(list(texts)),
    }
    return cached_dataset(parts, lambda: split.map(encode, batched=True, remove_columns=split.column_names))
