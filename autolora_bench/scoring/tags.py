"""Tags of sentences: CoNLL files, and lists of tags as a run leaves them."""

import re
from collections.abc import Sequence
from pathlib import Path

from autolora_bench.data.iob2 import Line, sentences
from autolora_bench.errors import UserError
from autolora_bench.metrics.tagging import TAG
from autolora_bench.scoring.predictions import check_alike
from autolora_bench.tables.text_files import BLANKS, holds_json, quote, read_values

Sentences = list[list[str]]
BOTH = ("token", "gold tag", "predicted tag")
ONE = ("token", "tag")
REFERENCES = "the gold tags in references=FILE: lines `token tag`, such as the publisher's IOB2 file"
_BLANKS = re.compile(f"[{BLANKS}]+")


def read_tags(predictions: Path, references: Path | None) -> tuple[Sentences, Sentences]:
    """Predicted and true tags of each sentence: of one CoNLL file with both, or of two files.

    Lines of the one file are `token gold predicted`, of two files `token tag`, with the same tokens; blank lines and
    marks of documents separate sentences. In a file ending in .jsonl or .ndjson, one of two, every line is the list of
    a sentence's tags.

    Raises:
        UserError: naming the first malformed line, the first token that differs, a type that is spelled in two ways,
            or what is missing.
    """
    found, gold = _read_one(predictions) if references is None else _read_two(predictions, references)
    check_alike(_types(found), _types(gold))
    return found, gold


def _types(tagged: Sentences) -> set[str]:
    return {tag.partition("-")[2] for tags in tagged for tag in tags}


def _read_one(predictions: Path) -> tuple[Sentences, Sentences]:
    if holds_json(predictions):
        raise UserError(f"{predictions} holds predicted tags and no gold ones", f"give {REFERENCES}")
    rows = _read_conll(predictions, BOTH, f"; or token and predicted tag, and {REFERENCES}")
    return [[cells[2] for _, cells in sentence] for sentence in rows], [
        [cells[1] for _, cells in sentence] for sentence in rows
    ]


def _read_two(predictions: Path, references: Path) -> tuple[Sentences, Sentences]:
    found, gold = (
        _read_tag_lists(path) if holds_json(path) else _read_conll(path, ONE)
        for path in (predictions, references)
    )
    if not holds_json(predictions) and not holds_json(references):
        _check_tokens(predictions, found, references, gold)
    return _tags_of(found), _tags_of(gold)


Row = tuple[int, list[str]]
"""Line number and cells, the tag last; of a list of tags the tag alone."""


def _tags_of(rows: Sequence[Sequence[Row]]) -> Sentences:
    return [[cells[-1] for _, cells in sentence] for sentence in rows]


def _check_tokens(
    predictions: Path, found: Sequence[Sequence[Row]], references: Path, gold: Sequence[Sequence[Row]]
) -> None:
    """Refuse the tags of another text; what is too long or too short is told by who counts."""
    for ours, theirs in zip(found, gold, strict=False):
        for (number, cells), (line, wanted) in zip(ours, theirs, strict=False):
            if (
                cells[0].split() != wanted[0].split()
            ):  # columns parted by blanks hold a no-break one in a token
                raise UserError(
                    f"{predictions}, line {number}: the token is {quote(cells[0])}, "
                    f"in {references}, line {line}, {quote(wanted[0])}",
                    "give the tags of the references' own tokens, in their order",
                )


def _read_tag_lists(path: Path) -> list[list[Row]]:
    return [[(number, [tag]) for tag in _tags(path, number, value)] for number, value in read_values(path)]


def _tags(path: Path, number: int, value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise UserError(
            f"{path}, line {number}: not a list of tags",
            "give on every line the tags of one sentence, as in a run's evaluate/test.jsonl",
        )
    for tag in value:
        _check_tag(path, number, tag)
    return value


def _read_conll(path: Path, names: tuple[str, ...], instead: str = "") -> list[list[Row]]:
    rows = [[_row(path, line, names, instead) for line in sentence] for sentence in sentences(path)]
    if not rows:
        raise UserError(f"{path}: no tagged token", f"give lines of {', '.join(names)}")
    return rows


def _row(path: Path, numbered: Line, names: tuple[str, ...], instead: str) -> Row:
    number, line = numbered
    if line.count("\t") == len(names) - 1:  # then a token may hold blanks
        cells = [cell.strip(BLANKS) for cell in line.split("\t")]
    else:
        cells = _BLANKS.split(line.strip(BLANKS))
    if len(cells) != len(names) or not all(cells):
        raise UserError(
            f"{path}, line {number}: {sum(map(bool, cells))} columns where {len(names)} are expected ({quote(line)})",
            f"give on every line: {', '.join(names)}; a blank line between sentences{instead}",
        )
    for tag in cells[1:]:
        _check_tag(path, number, tag)
    return number, cells


def _check_tag(path: Path, number: int, tag: str) -> None:
    if not TAG.fullmatch(tag):
        raise UserError(f"{path}, line {number}: {quote(tag)} is not a tag", "tags are O, B-type and I-type")
