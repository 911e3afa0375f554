"""Scores of anybody's output files: what `autolora-bench score` prints as JSON."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from autolora_bench.errors import UserError, nearest
from autolora_bench.metrics.classification import GLUE_METRICS, accuracy, score_classification
from autolora_bench.metrics.generation.e2e import E2E_METRICS, score_e2e
from autolora_bench.metrics.generation.mteval import MtevalMode
from autolora_bench.metrics.generation.webnlg import (
    WEBNLG_METRICS,
    WebnlgProtocol,
    pad_references,
    score_webnlg,
    seen_subsets,
)
from autolora_bench.metrics.kinds import check_known, metrics_of_files
from autolora_bench.metrics.scores import MetricScores
from autolora_bench.metrics.tagging import count_entities, scores_from_counts, total
from autolora_bench.scoring.classes import read_labelled
from autolora_bench.scoring.tags import read_tags
from autolora_bench.scoring.texts import read_categories, read_e2e, read_webnlg

Report = dict[str, Any]
Options = Mapping[str, str]
Choice = TypeVar("Choice", bound=StrEnum)


class TextFormat(StrEnum):
    """Whether WebNLG's texts still need the protocol's lower-casing and splitting."""

    PREPARE = "prepare"
    AS_IS = "as_is"


def score_e2e_files(predictions: Path, references: Path | None, options: Options) -> Report:
    """E2E: outputs one a line, references in groups separated by blank lines."""
    mode = _choice(MtevalMode, options, "mode", MtevalMode.CLEAN)
    hypotheses, groups = read_e2e(predictions, _needed(references, "a file with groups of references"))
    scores = score_e2e(hypotheses, groups, mode, _metrics(options, E2E_METRICS))
    return _report("e2e-metrics", mode, len(hypotheses), scores, references=sum(map(len, groups)))


def score_webnlg_files(predictions: Path, references: Path | None, options: Options) -> Report:
    """WebNLG: outputs one a line, references as XML, folder or prefix."""
    protocol = _choice(WebnlgProtocol, options, "mode", WebnlgProtocol.GENERATION_EVAL)
    text = _choice(TextFormat, options, "text", TextFormat.PREPARE)
    hypotheses, found = read_webnlg(
        predictions, _needed(references, "the XML test file or a folder of references")
    )
    categories = found.categories
    if "categories" in options:
        categories = read_categories(Path(options["categories"]).expanduser())
    padded = [pad_references(record, protocol) for record in found.references]
    metrics = _metrics(options, WEBNLG_METRICS)
    prepare = text is TextFormat.PREPARE
    scores = score_webnlg(hypotheses, padded, categories, protocol, metrics, prepare=prepare)
    parts = seen_subsets(categories, len(padded))
    used = sum(min(len(record), protocol.reference_count) for record in found.references)
    counted = {"text": str(text), "references": used}
    subsets = {name.removeprefix("/"): len(part) for name, part in parts.items() if name}
    return _report("webnlg", protocol, len(hypotheses), scores, **counted, subsets=subsets)


def score_tagging_files(predictions: Path, references: Path | None, options: Options) -> Report:
    """Named entities: one CoNLL file with gold and predicted tags, or the tags in each of two files."""
    predicted, labels = read_tags(predictions, references)
    counts = count_entities(predicted, labels)
    entities = total(counts)
    return _report(
        "conlleval",
        None,
        len(labels),
        scores_from_counts(counts),
        tokens=sum(map(len, labels)),
        token_accuracy=_token_accuracy(predicted, labels),
        entities={"gold": entities.gold, "predicted": entities.predicted, "correct": entities.correct},
    )


def score_classification_files(
    predictions: Path, references: Path | None, options: Options, task: str
) -> Report:
    """Classes or values of a GLUE task or of the kind `classification`: in two columns, or a file of labels."""
    metrics = _metrics(options, GLUE_METRICS.get(task, ()))
    if not metrics:
        raise UserError("classification needs metrics=", "name them: metrics=accuracy,f1")
    check_known(metrics, metrics_of_files(task), "metrics", task)
    predicted, labels = read_labelled(predictions, references, task, metrics)
    return _report("glue", None, len(labels), score_classification(predicted, labels, metrics))


def _token_accuracy(predicted: list[list[str]], labels: list[list[str]]) -> float:
    """Share of tokens with the right tag, as conlleval prints it; no score of the benchmark."""
    return accuracy(list(chain.from_iterable(predicted)), list(chain.from_iterable(labels)))


def _report(protocol: str, mode: str | None, count: int, scores: MetricScores, **counted: object) -> Report:
    return {
        "protocol": protocol,
        "mode": None if mode is None else str(mode),
        "n": count,
        **counted,
        "scores": scores.values,
        "missing": scores.missing,
    }


def _needed(references: Path | None, what: str) -> Path:
    if references is None:
        raise UserError("this task needs references=", f"give {what}")
    return references


def _choice(kind: type[Choice], options: Options, name: str, default: Choice) -> Choice:
    value = options.get(name, default)
    try:
        return kind(value)
    except ValueError:
        raise UserError(f"{name}={value} is unknown", f"choose from {', '.join(kind)}") from None


def _metrics(options: Options, default: Sequence[str]) -> Sequence[str]:
    return [name.strip() for name in options["metrics"].split(",")] if "metrics" in options else default


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
            evaluate/test.jsonl; as there, lines are JSON in every file ending in .jsonl or .ndjson.
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
    return f"{nearest(name, choices)}choose from {', '.join(choices)}"
