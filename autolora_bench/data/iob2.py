"""CoNLL files in IOB2: a token, a tab and its tag per line, a blank line after each sentence.

Lines that mark a document end a sentence and are no token: `###MEDLINE:...` in JNLPBA's own files, `-DOCSTART-` with
whatever columns in the copies that several toolkits ship.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from autolora_bench.config.task import TaggingTask, TaskConfig
from autolora_bench.data.schema import Columns, tag_names
from autolora_bench.errors import UserError
from autolora_bench.tables.text_files import BLANKS, lines, quote, read_text

DOCUMENT_MARKS = ("###MEDLINE:", "-DOCSTART-")
Line = tuple[int, str]


def read_iob2(paths: Sequence[Path], task: TaskConfig) -> tuple[Columns, list[str]]:
    """Tokens and tag indices of every sentence.

    Raises:
        UserError: a line without its tag, an unknown tag, or an I- tag that continues nothing; with file and line.
    """
    if not isinstance(task, TaggingTask):
        raise UserError(
            f"task {task.name} cannot be read from the layout iob2", "correct local.layout in its YAML"
        )
    names = tag_names(task)
    columns: Columns = {"tokens": [], "tags": []}
    for path in paths:
        for sentence in sentences(path):
            tokens, tags = _tokens_and_tags(path, sentence, names)
            columns["tokens"].append(tokens)
            columns["tags"].append([names.index(tag) for tag in tags])
    return columns, []


def sentences(path: Path) -> Iterator[list[Line]]:
    """The lines of each sentence, each with its number in the file.

    Raises:
        UserError: the file cannot be read, is empty or is not UTF-8.
    """
    sentence: list[Line] = []
    for number, line in [*lines(read_text(path)), (0, "")]:
        if line.strip(BLANKS) and not is_document_mark(line):
            sentence.append((number, line))
        elif sentence:
            yield sentence
            sentence = []


def is_document_mark(line: str) -> bool:
    """Whether a line marks a document instead of holding a token."""
    return line.startswith(DOCUMENT_MARKS)


def marks_a_document(tokens: Sequence[str] | None) -> bool:
    """Whether a sentence of a table marks a document: it has the mark as its only token."""
    return tokens is not None and len(tokens) == 1 and is_document_mark(str(tokens[0]))


def _tokens_and_tags(path: Path, sentence: list[Line], names: list[str]) -> tuple[list[str], list[str]]:
    tokens, tags = [], ["O"]
    for number, line in sentence:
        token, tag = _token_and_tag(path, number, line, names)
        _check_continuation(path, number, tag, tags[-1])
        tokens.append(token)
        tags.append(tag)
    return tokens, tags[1:]


def _token_and_tag(path: Path, number: int, line: str, names: list[str]) -> tuple[str, str]:
    cells = line.split("\t")
    if len(cells) != 2 or not all(cells):
        raise UserError(
            f"{path}, line {number}: expected a token, a tab and a tag, found {quote(line)}",
            "correct the line",
        )
    token, tag = cells
    if tag not in names:
        raise UserError(
            f"{path}, line {number}: tag {quote(tag)} is none of {', '.join(names)}",
            "correct the tag, or the entities in the task's YAML",
        )
    return token, tag


def _check_continuation(path: Path, number: int, tag: str, previous: str) -> None:
    if tag.startswith("I-") and previous[1:] != tag[1:]:
        raise UserError(
            f"{path}, line {number}: {tag} follows {previous}, but in IOB2 an entity begins with B-{tag[2:]}",
            "convert the file to IOB2",
        )
