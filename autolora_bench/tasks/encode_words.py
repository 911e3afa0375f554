"""Tokenises sentences that are given as words, keeping track of each word's first sub-word.

Long sentences are read in windows: which words each window holds, and which of them count there, is decided here too.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from autolora_bench.config.task import LongSentences, TaggingTask
from autolora_bench.data.cache import cached_dataset
from autolora_bench.errors import UserError
from autolora_bench.models.load import cuts_words_as_text, special_frame
from autolora_bench.tasks.encode import tokenizer_fingerprint

LONG = "long"
NO_WORD = -1


def encode_words(
    split: Dataset, tokenizer: PreTrainedTokenizerBase, task: TaggingTask, key: Mapping[str, str]
) -> Dataset:
    """One row per sentence, with its windows.

    Columns: `tags`; `input_ids`, the tokens of each window; `words`, beside each token the word that it begins if
    the word counts in this window, else -1; `long`, whether the sentence has more tokens than one window holds.

    Args:
        split: `tokens` and `tags`.
        tokenizer: of the model.
        task: max_length, stride, windows or truncation.
        key: names the data (fingerprint and split) for the cache.

    Raises:
        UserError: max_length leaves no room for a word, or the tokenizer gives no text a token.
    """
    before, after = special_frame(tokenizer)
    room = task.max_length - len(before) - len(after)
    if room < 1:
        raise UserError(
            f"task.max_length={task.max_length} leaves no room for a word", "say 128, for instance"
        )

    prepared = words_to_cut(tokenizer)

    def encode(examples: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        sentences = prepared(examples["tokens"])
        encoded = tokenizer(sentences, is_split_into_words=True, add_special_tokens=False)
        rows: dict[str, list[Any]] = {"input_ids": [], "words": [], LONG: []}
        for number, tokens in enumerate(examples["tokens"]):
            pieces: list[list[int]] = [[] for _ in tokens]
            for token, word in zip(encoded["input_ids"][number], encoded.word_ids(number), strict=True):
                pieces[word].append(token)
            windows = _windows(pieces, room, task)
            rows["input_ids"].append(
                [[*before, *(t for w in window for t in w[1]), *after] for window in windows]
            )
            rows["words"].append([_heads(window, len(before), len(after)) for window in windows])
            rows[LONG].append(sum(map(len, pieces)) > room)
        return rows

    parts = {
        **key,
        "tokenizer": tokenizer_fingerprint(tokenizer),
        "words": f"{task.max_length} {task.stride} {task.long.name} {prepared([['word']])}",
    }
    return cached_dataset(parts, lambda: split.map(encode, batched=True, remove_columns=["tokens"]))


Sentences = Sequence[Sequence[str]]


def words_to_cut(tokenizer: PreTrainedTokenizerBase) -> Callable[[Sentences], list[list[str]]]:
    """Sentences -> as `tokenizer(..., is_split_into_words=True)` is to have them: where it would not cut them as it
    cuts text, each word with the blank before it."""
    blank = "" if cuts_words_as_text(tokenizer) else " "
    return lambda sentences: [[f"{blank}{word}" for word in words] for words in sentences]


Window = list[tuple[int, list[int]]]
"""Words with their sub-words; the word's number is -1 where it does not count."""


def _windows(pieces: Sequence[list[int]], room: int, task: TaggingTask) -> list[Window]:
    ranges = word_windows([len(word) for word in pieces], room, task.stride)
    if task.long is LongSentences.truncate:
        ranges = ranges[:1]
    return [
        [(word if word in owned else NO_WORD, pieces[word][:room]) for word in window if pieces[word]]
        for window, owned in zip(ranges, owned_words(ranges), strict=True)
    ]


def _heads(window: Window, before: int, after: int) -> list[int]:
    inner = [number for word, ids in window for number in (word, *[NO_WORD] * (len(ids) - 1))]
    return [NO_WORD] * before + inner + [NO_WORD] * after


def word_windows(sizes: Sequence[int], room: int, shared: int) -> list[range]:
    """Ranges of words that together cover a sentence.

    Args:
        sizes: sub-words of each word.
        room: most sub-words in a window. A word that alone is longer has a window to itself.
        shared: so many words at the end of a window are repeated in the next, or as many as leave room for a new one.
    """
    found: list[range] = []
    start = 0
    while True:
        stop = _last(sizes, start, room)
        found.append(range(start, stop))
        if stop >= len(sizes):
            return found
        start = max(start + 1, stop - shared)
        while start < stop and sum(sizes[start : stop + 1]) > room:
            start += 1


def owned_words(windows: Sequence[range]) -> list[set[int]]:
    """For each window the words that count there: those with more context in it than in any other, each word once."""
    end = windows[-1].stop
    owner: dict[int, tuple[float, int]] = {}
    for number, window in enumerate(windows):
        for word in window:
            before = word - window.start if window.start else end
            after = window.stop - 1 - word if window.stop < end else end
            owner.setdefault(word, (-1, number))
            if min(before, after) > owner[word][0]:
                owner[word] = (min(before, after), number)
    return [
        {word for word, (_, chosen) in owner.items() if chosen == number} for number in range(len(windows))
    ]


def _last(sizes: Sequence[int], start: int, room: int) -> int:
    """End of the longest range of words from `start` that fits; at least one word."""
    used = 0
    for word in range(start, len(sizes)):
        used += sizes[word]
        if used > room and word > start:
            return word
    return len(sizes)
