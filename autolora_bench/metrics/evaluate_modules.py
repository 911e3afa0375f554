"""Every official score as a module of Hugging Face's `evaluate`, for loops of one's own.

`autolora_bench.load_metric("e2e")` is an `evaluate.EvaluationModule`: `add`, `add_batch`, `compute`, and a part of
`evaluate.combine`. What it computes are this package's pure functions; no hub is asked.
"""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import evaluate
from datasets import Features, List, Value

from autolora_bench.errors import UserError, nearest, require
from autolora_bench.metrics.classification import (
    CORRELATIONS,
    FUNCTIONS,
    GLUE_CLASSES,
    GLUE_METRICS,
    check_pairs,
    require_examples,
    score_classification,
)
from autolora_bench.metrics.generation.bleu import bleu
from autolora_bench.metrics.generation.captions import cider, rouge_l, rouge_l_google
from autolora_bench.metrics.generation.e2e import score_e2e
from autolora_bench.metrics.generation.meteor import meteor
from autolora_bench.metrics.generation.mteval import MtevalMode
from autolora_bench.metrics.generation.nist import nist
from autolora_bench.metrics.generation.ter import ter
from autolora_bench.metrics.generation.webnlg import WebnlgProtocol, pad_references, score_webnlg
from autolora_bench.metrics.registry import METRICS, Metric, own_metrics, whole_of, with_own
from autolora_bench.metrics.scores import MetricScores, References, as_texts, collect
from autolora_bench.metrics.tagging import TAG, TAGGING_METRICS, score_tagging
from autolora_bench.paths import cache_dir
from autolora_bench.user_code import read_own

_logger = logging.getLogger(__name__)
Choice = TypeVar("Choice", bound=StrEnum)
_OF_EVALUATE = frozenset(
    [
        *("keep_in_memory", "cache_dir", "num_process", "process_id", "seed", "experiment_id"),
        *("max_concurrent_cache_files", "timeout"),
    ]
)
"""Options of `evaluate.EvaluationModule` itself."""
_CITATION = "Each score's own definition is named in the docstring of its function in autolora_bench.metrics."


def _pairs(*kinds: tuple[Any, Any]) -> list[Features]:
    return [Features({"predictions": prediction, "references": reference}) for prediction, reference in kinds]


_NAME, _NUMBER = Value("string"), Value("float64")
CLASSES = _pairs((_NAME, _NAME), (_NUMBER, _NUMBER))
VALUES = _pairs((_NUMBER, _NUMBER))
TAGS = _pairs((List(_NAME), List(_NAME)))
TEXTS = _pairs((_NAME, List(_NAME)), (_NAME, _NAME))


@dataclass(frozen=True)
class _Definition:
    """What a module computes.

    Attributes:
        score: predictions, references and options -> scores.
        features: what one prediction and one reference may be.
        options: names of what `score` takes beside them.
        inputs: what to give it, in words.
    """

    score: Callable[..., MetricScores]
    features: list[Features]
    options: tuple[str, ...]
    inputs: str


class OfficialMetric(evaluate.Metric):  # type: ignore[misc]
    """One metric or one benchmark's scores.

    `compute` returns floats by name, as the records of runs name them. A score that is undefined or cannot be computed
    here is NaN; the log says why.
    """

    def __init__(
        self, name: str, definition: _Definition, options: Mapping[str, Any], **of_evaluate: Any
    ) -> None:
        self._definition = definition
        self._options = dict(options)
        super().__init__(config_name=name, **of_evaluate)
        self.info.module_name = name

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self._definition.inputs,
            citation=_CITATION,
            features=self._definition.features,
            inputs_description=self._definition.inputs,
        )

    def add_batch(self, *, predictions: Any = None, references: Any = None, **others: Any) -> None:
        """As of `evaluate`, which cannot begin with an empty batch: it adds nothing.

        Raises:
            UserError: one without the other, more of one than of the other, or what the metric does not take.
        """
        sides = {"predictions": predictions, "references": references}
        missing = [name for name, side in sides.items() if side is None]
        require(not missing, f"the metric {self.name} was given no {' and no '.join(missing)}", "give both")
        for name, side in sides.items():
            _check_column(name, side)
        check_pairs(predictions, references)
        if self._takes_texts:
            predictions, references = as_texts(predictions, references)
        if len(predictions):
            with self._fitting(predictions=predictions, references=references, **others):
                super().add_batch(predictions=predictions, references=references, **others)

    def add(self, *, prediction: Any = None, reference: Any = None, **others: Any) -> None:
        """As of `evaluate`. Raises UserError for what the metric does not take."""
        given = {"predictions": prediction, "references": reference, **others}
        if self._takes_texts:
            one, other = ([given[side]] for side in ("predictions", "references"))
            [given["predictions"]], [given["references"]] = as_texts(one, other)
        with self._fitting(**{name: [value] for name, value in given.items()}):
            super().add(**given)

    @property
    def _takes_texts(self) -> bool:
        """Of texts `evaluate` looks at the first of a batch alone, and writes all else as Python shows it."""
        return self._definition.features == TEXTS

    @contextmanager
    def _fitting(self, *, predictions: Any, references: Any, **others: Any) -> Iterator[None]:
        """Says `evaluate`'s error of what cannot be taken in with the types that there are; leaves its others."""
        begun = self.writer is not None
        try:
            yield
        except ValueError as error:
            of_its_file = self.selected_feature_format is not None and self.writer is None
            if others or of_its_file:
                raise
            one, other = (
                " and ".join(sorted({type(value).__name__ for value in side}))
                for side in (predictions, references)
            )
            raise UserError(
                f"the metric {self.name} does not take predictions of type {one} with references of type {other}"
                f"{' after what was added before' if begun else ''}",
                f"give it this, all of one kind: {self._definition.inputs.strip()}",
            ) from error

    def compute(
        self, *, predictions: Any = None, references: Any = None, **options: Any
    ) -> dict[str, float] | None:
        """As of `evaluate`.

        Raises:
            UserError: nothing was added, or what was added cannot be scored.
        """
        if predictions is not None or references is not None:
            self.add_batch(predictions=predictions, references=references)
        require_examples(self.writer is not None)
        scores: dict[str, float] | None = super().compute(**options)
        return scores

    def _compute(self, *, predictions: Any, references: Any, **options: Any) -> dict[str, float]:
        given = {**self._options, **_checked_options(self.name, self._definition, options)}
        scores = self._definition.score(predictions, references, **given)
        for name, why in scores.missing.items():
            _logger.warning("%s: %s", name, why)
        return {**scores.values, **dict.fromkeys(scores.missing, math.nan)}


def load_metric(name: str, config_dir: str | Path | None = None, **options: Any) -> evaluate.EvaluationModule:
    """A metric for a loop of one's own.

    Args:
        name: `e2e`, `webnlg`, `bionlp`, a GLUE task's name, the kinds `tagging` and `classification` (with
            `metrics=[...]`), or one metric of `metrics.registry`. `f1` is of classes; that of entities is in `tagging`.
            `meteor`, `rouge_l`, `cider` and `ter` take texts that are tokenised and lower-cased already, which `e2e`
            and `webnlg` do themselves.
        config_dir: a folder whose `metrics/*.py` state metrics of one's own (autolora_bench.user_code); they are run.
        options: what the scoring function takes (`metrics`, `mode`, `protocol`, `categories`, `lowercase`, ...), also
            to be given to `compute`; and what every `evaluate.EvaluationModule` takes (`keep_in_memory`,
            `experiment_id`, `num_process`, ...).

    Raises:
        UserError: an unknown name or option. `compute` raises it for inputs that cannot be scored.
    """
    if config_dir is not None:
        read_own(Path(config_dir))
    definitions = {**DEFINITIONS, **{one: _of_own(METRICS[one]) for one in own_metrics(list(METRICS))}}
    if name not in definitions:
        raise UserError(
            f"there is no metric {name!r}",
            f"{nearest(name, definitions)}choose from {', '.join(definitions)}",
        )
    asked = {key: value for key, value in options.items() if key not in _OF_EVALUATE}
    own = _checked_options(name, definitions[name], asked)
    of_evaluate = {"cache_dir": str(cache_dir() / "metrics"), **options}
    return OfficialMetric(
        name, definitions[name], own, **{key: of_evaluate[key] for key in of_evaluate if key not in own}
    )


def _checked_options(name: str, definition: _Definition, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, `metrics` as a list: one name may stand alone."""
    for option in options:
        if option not in definition.options:
            known = ", ".join(definition.options) or "it has none of its own"
            raise UserError(f"the metric {name} has no option {option!r}", f"options: {known}")
    if "metrics" not in options:
        return dict(options)
    given = options["metrics"]
    metrics = [given] if isinstance(given, str) else list(given)
    require(bool(metrics), f"{name} needs the names of its metrics", "name one or more: metrics=[...]")
    return {**options, "metrics": metrics}


def _check_column(name: str, column: Any) -> None:
    """Refuse what is no column: a text has letters, a table names, a set no order; a generator is read only once."""
    listed = hasattr(column, "__len__") and hasattr(column, "__getitem__") and getattr(column, "ndim", 1) > 0
    table = (
        hasattr(column, "columns") and getattr(column, "ndim", 2) == 2
    )  # a Series may have a row of that name
    require(
        listed and not table and not isinstance(column, str | bytes | Mapping),
        f"{name} are given as one value of type {type(column).__name__}",
        f"give a list of {name}, one for each example",
    )


def _e2e(
    predictions: Sequence[str], references: References, mode: str = MtevalMode.CLEAN, **options: Any
) -> MetricScores:
    return score_e2e(predictions, references, _choice(MtevalMode, "mode", mode), **options)


def _webnlg(
    predictions: Sequence[str],
    references: References,
    protocol: str = WebnlgProtocol.GENERATION_EVAL,
    categories: Sequence[str] | None = None,
    **options: Any,
) -> MetricScores:
    chosen = _choice(WebnlgProtocol, "protocol", protocol)
    require(not isinstance(categories, str), "categories are one text", "give a list, one for each record")
    for number, category in enumerate([] if categories is None else categories, start=1):
        if not isinstance(category, str) or not category.strip():
            raise UserError(
                f"category {number} is {category!r}, no name",
                "give one category for each record, or leave categories= out",
            )
    padded = [pad_references(texts, chosen) for texts in references]
    return score_webnlg(predictions, padded, categories, chosen, **options)


def _text(
    name: str,
    function: Callable[..., float],
    predictions: Sequence[str],
    references: References,
    **options: Any,
) -> MetricScores:
    return collect({name: lambda: function(predictions, references, **options)})


def _nist(predictions: Sequence[str], references: References, mode: str = MtevalMode.CLEAN) -> float:
    return nist(predictions, references, _choice(MtevalMode, "mode", mode))


def _choice(kind: type[Choice], option: str, value: str) -> Choice:
    if value not in list(kind):
        raise UserError(f"{option}={value} is unknown", f"choose from {', '.join(kind)}")
    return kind(value)


def _classification(
    predictions: Sequence[Any],
    references: Sequence[Any],
    metrics: Sequence[str] = (),
    classes: Sequence[str] = (),
) -> MetricScores:
    if not metrics:
        raise UserError("classification needs metrics=", 'name them: metrics=["accuracy", "f1"]')
    if all(name in CORRELATIONS for name in metrics):
        return score_classification(predictions, references, metrics)
    return score_classification(_classes(predictions, classes), _classes(references, classes), metrics)


def _classes(values: Sequence[Any], classes: Sequence[str]) -> list[Any]:
    """Names, or whole numbers, which arrive as floats; numbers alone where the names of `classes` are known."""
    for value in values:
        if not isinstance(value, str) and not (value is not None and float(value).is_integer()):
            raise UserError(f"{value!r} is not a class", "give the class's number or name, not its score")
        if classes and isinstance(value, str) and value not in classes:
            raise UserError(f"{value!r} is no class of the task", f"its classes are {', '.join(classes)}")
        if classes and not isinstance(value, str) and int(value) not in range(len(classes)):
            secret = (
                "; -1 stands for labels that are kept secret, which nobody can score" if value == -1 else ""
            )
            raise UserError(
                f"{value!r} is no class of the task",
                f"its classes are 0 to {len(classes) - 1}: {', '.join(classes)}{secret}",
            )
    numbers = {name: number for number, name in enumerate(classes)}
    return [numbers.get(value, value) if isinstance(value, str) else int(value) for value in values]


def _tagging(
    predictions: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    metrics: Sequence[str] = TAGGING_METRICS,
) -> MetricScores:
    unknown = [name for name in metrics if name not in TAGGING_METRICS]
    if unknown:
        raise UserError(f"{unknown[0]} is no metric of tags", f"choose from {', '.join(TAGGING_METRICS)}")
    odd = next((tag for tags in (*predictions, *references) for tag in tags if not TAG.fullmatch(tag)), None)
    if odd is not None:
        raise UserError(f"{odd!r} is not a tag", "tags are O, B-type and I-type")
    values = score_tagging(predictions, references).values
    return MetricScores({name: value for name, value in values.items() if whole_of(name) in metrics})


_OF_TEXTS = "Predictions: a text each. References: a list of texts each, or one text. "
_OF_TOKENS = _OF_TEXTS + (
    "Texts are tokenised and lower-cased already, tokens joined by blanks; only meteor disregards case. "
)
_OF_CLASSES = "Predictions and references: a class each, as its number or its name."
_OF_VALUES = "Predictions and references: a number each."
_OF_TAGS = "Predictions and references: a list of tags (O, B-type, I-type) each."


OF_KINDS = {
    "classification": (_OF_CLASSES, CLASSES),
    "regression": (_OF_VALUES, VALUES),
    "tagging": (_OF_TAGS, TAGS),
    "generation": (_OF_TEXTS, TEXTS),
}
"""Kind of task -> what a metric of it takes, in words and as features."""


def _of_classes(metrics: tuple[str, ...], classes: tuple[str, ...] = ()) -> _Definition:
    values = all(name in CORRELATIONS for name in metrics)
    return _Definition(
        partial(_classification, metrics=metrics, classes=classes),
        VALUES if values else CLASSES,
        (),
        _OF_VALUES if values else _OF_CLASSES,
    )


def _of_own(metric: Metric) -> _Definition:
    inputs = [OF_KINDS[kind] for kind in metric.tasks]
    return _Definition(
        lambda predictions, references: with_own(MetricScores(), [metric.name], predictions, references),
        [features for _, kinds in inputs for features in kinds],
        (),
        " Or: ".join(dict.fromkeys(words for words, _ in inputs)),
    )


def _of_texts(name: str, function: Callable[..., float], inputs: str, *options: str) -> _Definition:
    return _Definition(partial(_text, name, function), TEXTS, options, inputs)


DEFINITIONS: Mapping[str, _Definition] = MappingProxyType(
    {
        "e2e": _Definition(_e2e, TEXTS, ("metrics", "mode"), _OF_TEXTS),
        "webnlg": _Definition(
            _webnlg, TEXTS, ("metrics", "protocol", "categories", "seen", "prepare"), _OF_TEXTS
        ),
        **dict.fromkeys(("bionlp", "tagging"), _Definition(_tagging, TAGS, ("metrics",), _OF_TAGS)),
        **{task: _of_classes(metrics, GLUE_CLASSES.get(task, ())) for task, metrics in GLUE_METRICS.items()},
        "classification": _Definition(_classification, CLASSES, ("metrics",), _OF_CLASSES),
        **{name: _of_classes((name,)) for name in FUNCTIONS},
        **{
            name: _Definition(partial(_tagging, metrics=(name,)), TAGS, (), _OF_TAGS)
            for name in TAGGING_METRICS
            if name not in FUNCTIONS
        },
        "bleu": _of_texts("bleu", bleu, _OF_TEXTS, "lowercase", "tokenizer"),
        "nist": _of_texts("nist", _nist, _OF_TEXTS, "mode"),
        "meteor": _of_texts("meteor", meteor, _OF_TOKENS),
        "rouge_l": _of_texts("rouge_l", rouge_l, _OF_TOKENS),
        "rouge_l_google": _of_texts("rouge_l_google", rouge_l_google, _OF_TEXTS),
        "cider": _of_texts("cider", cider, _OF_TOKENS),
        "ter": _of_texts("ter", ter, _OF_TOKENS),
    }
)
"""Benchmarks and kinds of tasks, then single metrics."""
