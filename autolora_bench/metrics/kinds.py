"""Which metrics each kind of task has."""

from difflib import get_close_matches

from autolora_bench.config.task import GenerationTask, RegressionTask, Scorer, TaggingTask, TaskConfig
from autolora_bench.errors import UserError
from autolora_bench.metrics.classification import CORRELATIONS, FUNCTIONS
from autolora_bench.metrics.generation.e2e import E2E_METRICS, OPTIONAL_METRICS
from autolora_bench.metrics.generation.webnlg import WEBNLG_METRICS
from autolora_bench.metrics.tagging import TAGGING_METRICS


def check_metrics(task: TaskConfig) -> None:
    """Raises UserError where a task names a metric that its kind does not have."""
    known = metrics_of(task)
    for name in task.metrics:
        base = name.partition("/")[0]
        if base not in known:
            close = get_close_matches(base.lower(), known, n=1)
            raise UserError(
                f"task.metrics: {name} is no metric of task={task.name}",
                (f"did you mean {close[0]}? " if close else "") + f"choose from {', '.join(known)}",
            )


def metrics_of(task: TaskConfig) -> tuple[str, ...]:
    """Metrics that tasks of this kind have; a generation task those of its scorer."""
    match task:
        case GenerationTask(scorer=Scorer.e2e):
            return (*E2E_METRICS, *OPTIONAL_METRICS)
        case GenerationTask():
            return WEBNLG_METRICS
        case TaggingTask():
            return TAGGING_METRICS
        case RegressionTask():
            return CORRELATIONS
    return tuple(name for name in FUNCTIONS if name not in CORRELATIONS)
