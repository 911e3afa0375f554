"""Which metrics each kind of task has."""

from collections.abc import Sequence

from autolora_bench.config.registry import KINDS
from autolora_bench.config.task import (
    ClassificationTask,
    GenerationTask,
    RecoveryTask,
    RegressionTask,
    Scorer,
    TaggingTask,
    TaskConfig,
)
from autolora_bench.errors import UserError, nearest
from autolora_bench.metrics.classification import (
    BINARY,
    CORRELATIONS,
    FUNCTIONS,
    GLUE_CLASSES,
    GLUE_METRICS,
    metrics_of_classes,
)
from autolora_bench.metrics.generation.e2e import E2E_METRICS, OPTIONAL_METRICS
from autolora_bench.metrics.generation.webnlg import WEBNLG_METRICS
from autolora_bench.metrics.registry import own_metrics_of
from autolora_bench.metrics.tagging import TAGGING_METRICS

RECOVERY_METRICS = ("relative_error", "rank_correlation")


def check_metrics(task: TaskConfig) -> None:
    """Raises UserError where a task names a metric that its kind does not have."""
    check_known(task.metrics, metrics_of(task), "task.metrics", task.name)


def check_known(metrics: Sequence[str], known: Sequence[str], setting: str, task: str) -> None:
    """Raises UserError at the first of the metrics that `setting` names for `task` and that is not known."""
    for name in metrics:
        if name not in known:
            why = f"{BINARY} is of two classes; " if name == BINARY else ""
            raise UserError(
                f"{setting}: {name} is no metric of task={task}",
                f"{why}{nearest(name, known)}choose from {', '.join(known)}",
            )


def metrics_of(task: TaskConfig) -> tuple[str, ...]:
    """Metrics that tasks of this kind have, each also of its parts (`f1/protein`, `bleu/unseen`) where it has them, and
    those of the user's own."""
    return (*_official(task), *own_metrics_of(KINDS[type(task)]))


def _official(task: TaskConfig) -> tuple[str, ...]:
    match task:
        case GenerationTask(scorer=Scorer.e2e):
            return (*E2E_METRICS, *OPTIONAL_METRICS)
        case GenerationTask():
            return _with_parts(WEBNLG_METRICS, ("seen", "unseen") if task.seen_categories else ())
        case TaggingTask():
            return _with_parts(TAGGING_METRICS, task.entities)
        case RegressionTask():
            return CORRELATIONS
        case RecoveryTask():
            return RECOVERY_METRICS
    assert isinstance(task, ClassificationTask)
    return metrics_of_classes(len(task.labels))


def _with_parts(metrics: Sequence[str], parts: Sequence[str]) -> tuple[str, ...]:
    return (*metrics, *(f"{metric}/{part}" for metric in metrics for part in parts))


def metrics_of_files(task: str) -> tuple[str, ...]:
    """Metrics that files of a GLUE task can be scored by, or of the kind `classification`."""
    if task not in GLUE_METRICS:
        return tuple(FUNCTIONS)
    return metrics_of_classes(len(GLUE_CLASSES[task])) if task in GLUE_CLASSES else CORRELATIONS
