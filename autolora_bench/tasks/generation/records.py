"""How a record becomes the text of a prompt.

In the tokenized protocol text has a blank around every token, as microsoft/LoRA@c4593f0 has E2E:
"It 's child - friendly , near £ 20 - 25 ." That repository ships only the result, which follows the English rules of
spaCy 2. The rules here are those that E2E's texts meet: marks at a word's ends, contractions, hyphens between letters,
ranges of numbers, missing blanks.
"""

import re
from collections.abc import Callable, Iterator, Sequence

from autolora_bench.config.task import RENAMED_KEYS, GenerationTask, Protocol, Serialization


def serialize(fields: Sequence[Sequence[str]], text: str, task: GenerationTask) -> str:
    """The record as the task's `serialization` and `protocol` have it.

    `lora` is the text of microsoft/LoRA@c4593f0, examples/NLG: `key : value | key : value` with three of E2E's keys
    renamed, and `subject : relation : object | ...` for triples; `plain` is the publisher's own.
    """
    if task.serialization is Serialization.plain:
        return text
    words = target_text(task)
    return " | ".join(
        " : ".join(
            [RENAMED_KEYS.get(key, key), *(words(value) if len(rest) == 1 else value for value in rest)]
        )
        for key, *rest in fields
    )


def target_text(task: GenerationTask) -> Callable[[str], str]:
    """What a reference, and a value of E2E's, is turned into before a model or a metric sees it."""
    return pretokenize if task.protocol is Protocol.tokenized else str.strip


_QUOTES = "\"'`\u2018\u2019\u201c\u201d\u00b4"
_MARKS = rf",:;!?()\[\]{{}}<>_#*&\u2026{_QUOTES}"
_MONEY = "£$€"
_PREFIX = re.compile(rf"\.\.+|[{_MARKS}{_MONEY}%=\u2013\u2014]")
_SUFFIX = re.compile(
    rf"(?:\.\.+|['\u2019][sS]|[{_MARKS}\u2013\u2014]|(?<=[0-9a-zà-ÿ%)\]{_QUOTES}])\.|(?<=[A-Z][A-Z])\."
    rf"|(?<=[0-9])[{_MONEY}%+]|(?<=[0-9])(?:km|am|pm))$"
)
_INFIX = re.compile(
    r"(\.\.+|\u2026|(?<=[0-9])[-+*^](?=[0-9])|(?<=[a-zà-ÿ])\.(?=[A-Z])|(?<=[^\W\d_]),(?=[^\W\d_])"
    r"|(?<=[^\W\d_])(?:--+|[-\u2013\u2014~])(?=[^\W\d_])|(?<=[^\W_])[:<>=/](?=[^\W\d_]))"
)
_CONTRACTION = re.compile(r"(?:n['\u2019]t|['\u2019](?:ll|re|ve|d|m))$", re.IGNORECASE)
_SPECIAL = {
    "cannot": ["can", "not"],
    "dont": ["do", "nt"],
    "doesnt": ["does", "nt"],
    "isnt": ["is", "nt"],
    "a.m.": ["a.m."],
    "p.m.": ["p.m."],
    "o'clock": ["o'clock"],
}
LONGEST_SPECIAL = max(map(len, _SPECIAL))


def pretokenize(text: str) -> str:
    """The text's tokens joined by single blanks. Applied to its own result it changes nothing."""
    return " ".join(token for chunk in text.split() for token in _tokens(chunk))


def _tokens(chunk: str) -> Iterator[str]:
    """Marks off the front, marks off the end, then what is inside; in time that grows with the length alone."""
    after: list[str] = []
    start, stop = 0, len(chunk)
    while start < stop and not _whole(chunk, start, stop):
        if prefix := _PREFIX.match(chunk, start, stop):
            yield prefix[0]
            start = prefix.end()
        elif suffix := _SUFFIX.search(chunk, _where_suffixes_begin(chunk, start, stop), stop):
            after.append(suffix[0])
            stop = suffix.start()
        else:
            break
    if start < stop:
        yield from _whole(chunk, start, stop) or _inside(chunk[start:stop])
    yield from reversed(after)


def _where_suffixes_begin(chunk: str, start: int, stop: int) -> int:
    """A suffix is a run of dots, or two characters at the most."""
    dots = stop
    while dots > start and chunk[dots - 1] == ".":
        dots -= 1
    return max(start, min(dots, stop - 2))


def _whole(chunk: str, start: int, stop: int) -> list[str]:
    """A word that is an exception to the rules, or a contraction, in its parts; empty where it is neither."""
    word = chunk[start:stop] if stop - start <= LONGEST_SPECIAL else ""
    if word.lower() in _SPECIAL:
        parts, place = [], 0
        for part in _SPECIAL[word.lower()]:
            parts.append(word[place : place + len(part)])
            place += len(part)
        return parts
    found = _CONTRACTION.search(chunk, max(start, stop - 3), stop)
    if found is None or not chunk[start : found.start()].isalpha():
        return [word] if _is_token(word) else []
    return [chunk[start : found.start()], found[0]]


def _is_token(chunk: str) -> bool:
    """Whether it is already the second half of a contraction."""
    return re.fullmatch(r"n['\u2019]t|['\u2019](?:ll|re|ve|d|m|s)", chunk, re.IGNORECASE) is not None


def _inside(chunk: str) -> list[str]:
    return [part for part in _INFIX.split(chunk) if part]
