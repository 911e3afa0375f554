"""CoNLL files in IOB2: a token, a tab and its tag per line, a blank line after each sentence.

JNLPBA's own files also name each abstract in a line `###MEDLINE:...`, which ends a sentence and is no token.
"""

from collections.abc import Sequence
from pathlib import Path

from autolora_bench.config.task import TaggingTask, TaskConfig
from autolora_bench.data.files import ABSTRACT, lines, read_text
from autolora_bench.data.schema import Columns, tag_names
from autolora_bench.errors import UserError


def read_iob2(paths: Sequence[Path], task: TaskConfig) -> tuple[Columns, list[str]]:
    """Tokens and tag indices of every sentence.

    Raises:
        UserError: a line without its tag, an unknown tag, or an I- tag that continues nothing; with file and line.
    """
    if not isinstance(task, TaggingTask):
        raise UserError(
            f"task {task.name} cannot be read from the layout iob2", "correct local.layout in its YAML"
        )
    columns: Columns = {"tokens": [], "tags": []}
    for path in paths:
        _read_file(path, tag_names(task), columns)
    return columns, []


def _read_file(path: Path, names: list[str], columns: Columns) -> None:
    indices = {name: index for index, name in enumerate(names)}
    tokens: list[str] = []
    tags: list[str] = []
    for number, line in [*lines(read_text(path)), (0, "")]:
        if line.strip() and not line.startswith(ABSTRACT):
            token, tag = _token_and_tag(path, number, line, names)
            _check_continuation(path, number, tag, tags[-1] if tags else "O")
            tokens.append(token)
            tags.append(tag)
        elif tokens:
            columns["tokens"].append(tokens)
            columns["tags"].append([indices[tag] for tag in tags])
            tokens, tags = [], []


def _token_and_tag(path: Path, number: int, line: str, names: list[str]) -> tuple[str, str]:
    cells = line.split("\t")
    if len(cells) != 2 or not all(cells):
        raise UserError(
            f"{path}, line {number}: expected a token, a tab and a tag, found {line!r}", "correct the line"
        )
    token, tag = cells
    if tag not in names:
        raise UserError(
            f"{path}, line {number}: tag {tag!r} is none of {', '.join(names)}",
            "correct the tag, or the entities in the task's YAML",
        )
    return token, tag


def _check_continuation(path: Path, number: int, tag: str, previous: str) -> None:
    if tag.startswith("I-") and previous[1:] != tag[1:]:
        raise UserError(
            f"{path}, line {number}: {tag} follows {previous}, but in IOB2 an entity begins with B-{tag[2:]}",
            "convert the file to IOB2",
        )
