"""Scores of outputs by the protocol that a task names."""

from collections.abc import Sequence

from datasets import Dataset

from autolora_bench.config.task import GenerationTask, Scorer
from autolora_bench.metrics.generation.e2e import score_e2e
from autolora_bench.metrics.generation.webnlg import WebnlgProtocol, pad_references, score_webnlg
from autolora_bench.metrics.registry import own_metrics, with_own
from autolora_bench.metrics.scores import MetricScores

WITH_JAVA = ("meteor", "rouge_l", "cider")
"""Metrics of E2E's and WebNLG's protocols that start a Java virtual machine."""


def score_outputs(
    outputs: Sequence[str], split: Dataset, task: GenerationTask, metrics: Sequence[str]
) -> MetricScores:
    """Scores, official and by the user's own metrics, of one output per record of `split` (`references`, `category`).

    WebNLG's are of all records, and where the task names seen categories also of seen and unseen ones: whoever asks
    for `ter/seen` gets `ter` with all its parts.
    """
    official = list(dict.fromkeys(n.partition("/")[0] for n in metrics if n not in own_metrics(metrics)))
    references = [list(texts) for texts in split["references"]]
    return with_own(_official(outputs, references, split, task, official), metrics, outputs, references)


def _official(
    outputs: Sequence[str],
    references: list[list[str]],
    split: Dataset,
    task: GenerationTask,
    metrics: Sequence[str],
) -> MetricScores:
    if task.scorer is Scorer.e2e:
        return score_e2e(outputs, references, metrics=metrics)
    protocol = WebnlgProtocol.GENERATION_EVAL
    return score_webnlg(
        outputs,
        [pad_references(texts, protocol) for texts in references],
        list(split["category"]) if task.seen_categories else None,
        protocol,
        metrics,
        seen=task.seen_categories,
    )


def quick_metrics(task: GenerationTask) -> list[str]:
    """The headline, and every metric that starts no Java: what is computed after an epoch."""
    return [
        name for name in task.metrics if name == task.metrics[0] or name.partition("/")[0] not in WITH_JAVA
    ]
