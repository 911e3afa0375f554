"""How many optimizer steps a run takes, as far as its settings tell, before any data is read."""

import math
from dataclasses import dataclass

from autolora_bench.config.data import Source
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.method import AutoLoraConfig
from autolora_bench.config.rates import LearnedRatesConfig, RateSearchConfig
from autolora_bench.config.search import SearchConfig
from autolora_bench.config.task import RecoveryTask
from autolora_bench.config.train import TrainConfig
from autolora_bench.errors import UserError


@dataclass(frozen=True)
class PhaseSteps:
    """The training of one phase."""

    steps: int
    """Optimizer steps."""
    examples: int
    """Training examples that they see, again in every epoch; the validation half of a search not counted."""


def most_rows(experiment: ExperimentConfig) -> int | None:
    """Training examples that there can be at most; None where only the data tell."""
    task, data = experiment.task, experiment.data
    if isinstance(task, RecoveryTask):
        return task.rows.get("train")
    made = task.generated.rows.get("train") if data.source is Source.generated and task.generated else None
    return min((rows for rows in (made, data.limit) if rows is not None), default=None)


def trained_on(experiment: ExperimentConfig, rows: int | None) -> int | None:
    """How many of `rows` training examples a run trains on: all but those that it holds out."""
    return None if rows is None else rows - round(experiment.data.held_out * rows)


def expected_rows(experiment: ExperimentConfig) -> int | None:
    """Training examples, where the publisher's files are complete; None where nothing says how many those have."""
    task, data = experiment.task, experiment.data
    official = task.local.official_rows.get("train") if task.local else None
    published = official if data.source in (Source.hub, Source.local) else None
    most = most_rows(experiment)
    return min((rows for rows in (published, most) if rows is not None), default=None)


def search_steps(search: SearchConfig | RateSearchConfig, rows: int) -> PhaseSteps:
    """Of the weights' half of `rows` training examples."""
    return _steps(search, round(search.train_share * rows))


def training_steps(train: TrainConfig, rows: int) -> PhaseSteps:
    """Of the training that makes the final weights, on `rows` examples."""
    return _steps(train, rows)


def _steps(settings: TrainConfig | SearchConfig | RateSearchConfig, rows: int) -> PhaseSteps:
    each = math.ceil(rows / settings.batch_size)
    steps = settings.max_steps or math.ceil(settings.epochs * each)
    return PhaseSteps(steps, round(steps / each * rows))


def check_selection_moves(experiment: ExperimentConfig) -> None:
    """Raises UserError where a search ends before its selection variables, or its rates, move for the first time."""
    method, rows = experiment.method, trained_on(experiment, most_rows(experiment))
    if not isinstance(method, AutoLoraConfig | LearnedRatesConfig):
        return
    search = method.search if isinstance(method, AutoLoraConfig) else method.rates
    group, moved = (
        ("search", "selection variables") if isinstance(method, AutoLoraConfig) else ("rates", "rates")
    )
    if rows is not None and round(search.train_share * rows) > 0:
        steps = search_steps(search, rows).steps
    elif search.max_steps is not None:
        steps = search.max_steps
    else:
        return
    name = "interval" if search.interval >= search.inner_steps else "inner_steps"
    if getattr(search, name) > steps:
        raise UserError(
            f"method.{group}.{name}={getattr(search, name)} in a search of {steps} steps: the {moved} would never move",
            f"say {steps} or less, or more method.{group}.{'epochs' if search.max_steps is None else 'max_steps'}",
        )
