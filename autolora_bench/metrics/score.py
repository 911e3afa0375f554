"""Scores of anybody's output files: what `autolora-bench score` prints as JSON."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

from autolora_bench.errors import UserError
from autolora_bench.metrics.file_scorers import (
    score_classification_files,
    score_e2e_files,
    score_tagging_files,
    score_webnlg_files,
)
from autolora_bench.metrics.glue import GLUE_METRICS

Report = dict[str, Any]


@dataclass(frozen=True)
class _FileScorer:
    run: Callable[[Path, Path | None, Mapping[str, str]], Report]
    options: tuple[str, ...]


_SCORERS: Mapping[str, _FileScorer] = {
    "e2e": _FileScorer(score_e2e_files, ("mode", "metrics")),
    "webnlg": _FileScorer(score_webnlg_files, ("mode", "metrics", "categories", "text")),
    **dict.fromkeys(("bionlp", "tagging"), _FileScorer(score_tagging_files, ())),
    **{
        task: _FileScorer(partial(score_classification_files, task=task), ("metrics",))
        for task in (*GLUE_METRICS, "classification")
    },
}
_FILES = ("task", "predictions", "references")


def score(arguments: Mapping[str, str]) -> Report:
    """Scores of the files that `task=`, `predictions=` and `references=` name; further keys are options.

    Returns:
        What `score_files` returns.

    Raises:
        UserError: a key that is missing, unknown or empty; everything `score_files` raises.
    """
    for key in _FILES[:2]:
        if key not in arguments:
            close = get_close_matches(key, arguments, n=1)
            meant = f"did you mean it by {close[0]}=? " if close else ""
            raise UserError(
                f"score needs {key}=",
                f"{meant}autolora-bench score task=TASK predictions=FILE references=FILE",
            )
    for key, value in arguments.items():
        if not value:
            raise UserError(f"{key}= is empty", f"write {key}=VALUE, or leave it out")
    files = {key: Path(arguments[key]).expanduser() for key in _FILES[1:] if key in arguments}
    options = {key: value for key, value in arguments.items() if key not in _FILES}
    return score_files(arguments["task"], files["predictions"], files.get("references"), **options)


def score_files(task: str, predictions: Path, references: Path | None = None, **options: str) -> Report:
    """Official scores of files.

    Args:
        task: `e2e`, `webnlg`, `bionlp`, a GLUE task's name, or a kind: `tagging`, or `classification` with metrics=.
        predictions: outputs one a line; for tagging a CoNLL file `token gold predicted`; for classes and values
            two columns, prediction and label. With references, `token predicted` and one column. Or a run's
            evaluate/test.jsonl; as there, lines are JSON in every file ending in .jsonl.
        references: E2E: groups of lines separated by blank lines, or the challenge's CSV. WebNLG: the XML test file,
            or reference0, reference1, ... given as their folder or prefix. Classes and values, where `predictions`
            does not hold them: labels one a line, or GLUE's own file. Tagging likewise: lines `token tag`.
        options: `metrics` (names, comma-separated); `mode` (E2E: clean, pymteval, perl; WebNLG: generation_eval,
            challenge_2017); for WebNLG `categories` (file with one a line) and `text` (prepare, as_is).

    Returns:
        JSON-ready: task, protocol, mode (None where there is only one), n (segments, sentences or examples), scores
        by metric, missing (metric to reason), and what else the task counts.

    Raises:
        UserError: unknown task or option; a missing, malformed or mismatched file, with the line or both counts.
    """
    if task not in _SCORERS:
        raise UserError(f"there is no task {task!r} to score", _hint(task, _SCORERS))
    scorer = _SCORERS[task]
    for option in options:
        if option not in scorer.options:
            raise UserError(
                f"score task={task} has no argument {option!r}", _hint(option, (*_FILES, *scorer.options))
            )
    return {"task": task, **scorer.run(predictions, references, options)}


def _hint(name: str, known: Iterable[str]) -> str:
    choices = list(known)
    close = get_close_matches(name.lower(), choices, n=1)
    return (f"did you mean {close[0]}? " if close else "") + f"choose from {', '.join(choices)}"
