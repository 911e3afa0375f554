"""Tags of sentences: CoNLL files, and lists of tags as a run leaves them."""

import re
from collections.abc import Iterator
from pathlib import Path

from autolora_bench.data.files import ABSTRACT
from autolora_bench.errors import UserError
from autolora_bench.metrics.files import holds_json, read_lines, read_values

Sentences = list[list[str]]
BOTH = ("token", "gold tag", "predicted tag")
ONE = ("token", "tag")
REFERENCES = "the gold tags in references=FILE: lines `token tag`, such as the publisher's IOB2 file"
_TAG = re.compile(r"O|[BIES](-\S+)?")
_BLANK = " \t\r\f\v"  # a no-break space belongs to its token
_BLANKS = re.compile(f"[{_BLANK}]+")


def read_tags(predictions: Path, references: Path | None) -> tuple[Sentences, Sentences]:
    """Predicted and true tags of each sentence: of one CoNLL file with both, or of two files.

    Lines of the one file are `token gold predicted`, of two files `token tag`; blank lines separate sentences. In a
    file ending in .jsonl, one of two, every line is the list of a sentence's tags.

    Raises:
        UserError: naming the first malformed line, or what is missing.
    """
    if references is not None:
        return _read_one(predictions), _read_one(references)
    if holds_json(predictions):
        raise UserError(f"{predictions} holds predicted tags and no gold ones", f"give {REFERENCES}")
    rows = _read_conll(predictions, BOTH, f"; or token and predicted tag, and {REFERENCES}")
    return [[row[2] for row in sentence] for sentence in rows], [
        [row[1] for row in sentence] for sentence in rows
    ]


def _read_one(path: Path) -> Sentences:
    if holds_json(path):
        return [_tags(path, number, value) for number, value in read_values(path)]
    return [[row[1] for row in sentence] for sentence in _read_conll(path, ONE)]


def _tags(path: Path, number: int, value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise UserError(
            f"{path}, line {number}: not a list of tags",
            "give on every line the tags of one sentence, as in a run's evaluate/test.jsonl",
        )
    for tag in value:
        _check_tag(path, number, tag)
    return value


def _read_conll(path: Path, names: tuple[str, ...], instead: str = "") -> list[Sentences]:
    rows = [[_row(path, *line, names, instead) for line in block] for block in _blocks(path)]
    if not rows:
        raise UserError(f"{path}: no tagged token", f"give lines of {', '.join(names)}")
    return rows


def _blocks(path: Path) -> Iterator[list[tuple[int, str]]]:
    """Lines of each sentence, each with its number (from 1)."""
    block: list[tuple[int, str]] = []
    for number, line in [*enumerate(read_lines(path), start=1), (0, "")]:
        if line.strip() and not line.startswith(ABSTRACT):
            block.append((number, line))
        elif block:
            yield block
            block = []


def _row(path: Path, number: int, line: str, names: tuple[str, ...], instead: str) -> list[str]:
    tabbed = line.count("\t") == len(names) - 1  # then a token may hold blanks
    cells = [cell.strip() for cell in line.split("\t")] if tabbed else _BLANKS.split(line.strip(_BLANK))
    if len(cells) != len(names) or not all(cells):
        raise UserError(
            f"{path}, line {number}: {len([c for c in cells if c])} columns where {len(names)} are expected ({line!r})",
            f"give on every line: {', '.join(names)}; a blank line between sentences{instead}",
        )
    for tag in cells[1:]:
        _check_tag(path, number, tag)
    return cells


def _check_tag(path: Path, number: int, tag: str) -> None:
    if not _TAG.fullmatch(tag):
        raise UserError(f"{path}, line {number}: {tag!r} is not a tag", "tags are O, B-type and I-type")
