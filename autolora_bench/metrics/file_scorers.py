"""One function for each kind of task: read its files, score them, say how."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from autolora_bench.errors import UserError
from autolora_bench.metrics.class_files import read_labelled
from autolora_bench.metrics.classification import accuracy, score_classification
from autolora_bench.metrics.files import read_lines
from autolora_bench.metrics.generation.e2e import E2E_METRICS, score_e2e
from autolora_bench.metrics.generation.e2e_files import read_e2e
from autolora_bench.metrics.generation.mteval import MtevalMode
from autolora_bench.metrics.generation.webnlg import (
    WEBNLG_METRICS,
    WebnlgProtocol,
    pad_references,
    score_webnlg,
    seen_subsets,
)
from autolora_bench.metrics.generation.webnlg_files import read_webnlg
from autolora_bench.metrics.glue import GLUE_METRICS
from autolora_bench.metrics.kinds import check_known, metrics_of_files
from autolora_bench.metrics.scores import MetricScores
from autolora_bench.metrics.tag_files import read_tags
from autolora_bench.metrics.tagging import count_entities, scores_from_counts, total

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
    categories = (
        read_lines(Path(options["categories"]).expanduser()) if "categories" in options else found.categories
    )
    padded = [pad_references(record, protocol) for record in found.references]
    metrics = _metrics(options, WEBNLG_METRICS)
    prepare = text is TextFormat.PREPARE
    scores = score_webnlg(hypotheses, padded, categories, protocol, metrics, prepare=prepare)
    parts = seen_subsets(categories, len(padded))
    counted = {"text": str(text), "references": sum(map(len, found.references))}
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
