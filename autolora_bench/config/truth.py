"""The ranks that a recovery task plants, known before any model is loaded: to controls and to reports."""

from collections.abc import Sequence
from enum import StrEnum
from random import Random
from typing import Any

from autolora_bench.config.allocators import AllocatorConfig
from autolora_bench.config.data import Source
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.model import layer_names
from autolora_bench.config.task import RecoveryTask
from autolora_bench.errors import require

GRADED = (0, 0, 0, 1, 2, 3, 4, 6, 8, 8, 8, 8)
"""Of twelve layers; mean 4. For another number of layers or another mean rank in the same proportions."""


class Truth(StrEnum):
    """Truths that have a name.

    graded: layers without an update beside layers of high rank, `GRADED`.
    uniform: the same rank everywhere: no allocation can beat uniform ranks.
    none: no update. The targets are the model's own hidden states plus independent normal errors of the same size, so
        that there is something to fit and nothing to find.
    """

    graded = "graded"
    uniform = "uniform"
    none = "none"


def plant_seed(task: RecoveryTask, run_seed: int) -> int:
    """The seed that a run's plant is drawn from."""
    return run_seed if task.plant_seed is None else task.plant_seed


def planted_ranks(task: RecoveryTask, layers: int, seed: int) -> tuple[int, ...]:
    """True rank of every layer, in the model's order.

    Args:
        task: says the ranks.
        layers: L, the number of target layers.
        seed: of the plant; permutes the ranks over the layers.

    Returns:
        L ranks whose sum is task.rank x L; all 0 for the truth `none`.

    Raises:
        UserError: a list of more ranks than there are layers, of which the largest may be in none.
    """
    if task.truth == Truth.none:
        return (0,) * layers
    if task.truth == Truth.uniform:
        return (task.rank,) * layers
    require(
        isinstance(task.truth, str) or len(task.truth) <= layers,
        f"task.truth has {len(task.truth)} ranks, and there are {layers} layers to plant them in",
        f"say {layers} ranks or fewer, which are stretched over the layers",
    )
    ranks = _in_proportion(GRADED if task.truth == Truth.graded else task.truth, layers, task.rank)
    Random(f"truth {seed}").shuffle(ranks)
    return tuple(ranks)


def reversed_ranks(truth: Sequence[int]) -> tuple[int, ...]:
    """The same ranks with their order over the layers turned round: the smallest where the truth is largest."""
    order = sorted(range(len(truth)), key=lambda layer: (truth[layer], layer))
    largest_first = sorted(truth, reverse=True)
    found = dict(zip(order, largest_first, strict=True))
    return tuple(found[layer] for layer in range(len(truth)))


def check_truth(experiment: ExperimentConfig) -> None:
    """Settle a recovery task's `layers` and budget. Raises UserError where its settings cannot be."""
    task, method = experiment.task, experiment.method
    if not isinstance(task, RecoveryTask):
        return
    if isinstance(method, AllocatorConfig) and method.total is not None and method.mean_rank == task.budget:
        # the budget of the planted cells, which a total takes the place of
        method.mean_rank = AllocatorConfig.mean_rank
    _check_ranks(task.truth, task.rank)
    require(
        task.truth != Truth.none or task.mode is RecoveryTask.mode,
        f"task.mode={task.mode.name} with task.truth=none, in which nothing is planted",
        "leave task.mode out",
    )
    require(
        experiment.data.limit is None or experiment.data.source is not Source.planted,
        f"data.limit={experiment.data.limit} with task={task.name} data=planted, whose inputs are counted by task.rows",
        f"say task.rows.train={experiment.data.limit}",
    )
    require(
        experiment.data.limit_evaluation is None,
        f"data.limit_evaluation={experiment.data.limit_evaluation} with task={task.name}, whose inputs are counted "
        "by task.rows",
        f"say task.rows.{task.evaluation[0]}={experiment.data.limit_evaluation}",
    )
    task.layers = layer_names(task.layers, "task.layers")
    missing = {"train", *task.evaluation, *task.test} - set(task.rows)
    require(
        not missing,
        f"task.rows={task.rows} has no inputs for {', '.join(sorted(missing))}",
        "say how many for train and for every split of task.evaluation and task.test",
    )


def _check_ranks(truth: Any, rank: int) -> None:
    if isinstance(truth, str):
        known = ", ".join(Truth)
        require(
            truth in list(Truth), f"task.truth={truth} is not known", f"choose {known}, or a list of ranks"
        )
        return
    whole = (
        isinstance(truth, list | tuple) and len(truth) > 0 and all(type(r) is int and r >= 0 for r in truth)
    )
    require(whole, f"task.truth={truth}", f"choose {', '.join(Truth)}, or a list of ranks of 0 or more")
    require(
        sum(truth) == rank * len(truth),
        f"task.truth={list(truth)} has the mean rank {sum(truth) / len(truth):g}, and task.rank={rank}",
        "say the mean rank of the truth as task.rank, a whole number: it is every method's budget",
    )


def _in_proportion(pattern: Sequence[int], layers: int, rank: int) -> list[int]:
    """The pattern stretched over `layers` layers, its sum rank x layers."""
    ordered, mean = sorted(pattern), sum(pattern) / len(pattern)
    exact = [ordered[int((i + 0.5) * len(ordered) / layers)] * rank / mean for i in range(layers)]
    ranks = [int(value + 0.5) for value in exact]
    while (missing := rank * layers - sum(ranks)) != 0:
        step = 1 if missing > 0 else -1
        room = [i for i in range(layers) if exact[i] > 0 and ranks[i] + step >= 1] or list(range(layers))
        worst = max(room, key=lambda i: (step * (exact[i] - ranks[i]), i))
        ranks[worst] += step
    return ranks
