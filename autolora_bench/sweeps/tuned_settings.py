"""What a tuning may set of its runs: the rate, what follows it, what is tried with it; and what it may not."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import is_dataclass
from functools import cache
from operator import attrgetter
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from autolora_bench.config.choices import schema_of
from autolora_bench.config.experiment import ExperimentConfig, Rerun, TuningConfig
from autolora_bench.config.registry import methods
from autolora_bench.config.task import TASKS, RecoveryTask
from autolora_bench.errors import UserError, nearest, require
from autolora_bench.push import refuse_push
from autolora_bench.request import Request, name_of

RATE = "method.learning_rate"
NOT_TUNED = (RATE, "data.held_out")
"""Settings that tuning decides about itself."""


def check_tasks(request: Request) -> None:
    """Raises UserError where a planted task is asked for: before a run of it is composed with the suite's data."""
    for name in request.said.get("task", "").split(","):
        if TASKS.get(schema_of("task", name, request.folders) or "") is RecoveryTask:
            raise _planted(name)


def tuning_of(
    request: Request, words: Sequence[str], example: ExperimentConfig, seeds: Sequence[int]
) -> TuningConfig:
    """How one method on one task and model is tuned.

    Args:
        request: the suite.
        words: of its runs, without the seed.
        example: one of its final runs with the method's own settings.
        seeds: of its final runs.

    Raises:
        UserError: it has no tuning or one that cannot be, rerun=all, push, or a setting that the tuning sets.
    """
    tuning = example.tuning
    if tuning is None:
        raise _untuned(request, words)
    if isinstance(example.task, RecoveryTask):
        raise _planted(example.task.name)
    _check(tuning, seeds)
    refuse_push(example.push, "a suite that tunes first")
    require(
        example.rerun is not Rerun.all,
        "rerun=all with a suite that tunes first: what it runs follows from the records there are",
        "choose another folder with results=DIR",
    )
    require(
        not example.data.held_out,
        f"data.held_out={example.data.held_out:g} with a suite that tunes first: its final runs train on all "
        "training data and are scored on the task's own evaluation data",
        f"say tuning.held_out={example.data.held_out:g}, which is for the tuning runs alone",
    )
    also = [_name(word) for word in tuning.also]
    said = {name_of(word) for word in words}
    ruled = next((name for name in (*tuning.tied, *also) if name in said and has(example, name)), None)
    out = "" if ruled in also else ", or say tuning.tied=[] and what is to follow the rate"
    require(ruled is None, f"{ruled} is said, and the tuning sets it", f"leave it out{out}")
    reference = getattr(example.method, "reference", None)
    require(
        reference is None,
        f"method={example.method.name} takes its ranks from runs of {reference}, whose rate is not known before it is "
        "tuned",
        "say method.reference=null and method.total=N, or method.source=FOLDER of runs that are there",
    )
    return tuning


def check_names(tuning: TuningConfig, examples: Sequence[ExperimentConfig]) -> None:
    """Raises UserError where no method here has a setting that is to be tuned, or none at all one that is to follow the
    rate.

    Args:
        tuning: of the suite.
        examples: a run of each method, task and model.
    """
    for word in tuning.also:
        name = _name(word)
        if not any(has(one, name) for one in examples):
            raise UserError(
                f"tuning.also has {word!r}, and no method here has {name}",
                f"{_nearest(name, examples)}say a setting of one of the methods",
            )
    for name in tuning.tied:
        if not any(has(one, name) for one in examples):
            kinds = [ExperimentConfig(method=kind.config()) for kind in methods().values()]
            if not any(has(one, name) for one in kinds):
                raise UserError(
                    f"tuning.tied has {name!r}, and no method has such a setting",
                    f"{_nearest(name, kinds)}say a setting of a method, or tuning.tied=[]",
                )


def follow(tuning: TuningConfig, example: ExperimentConfig) -> list[str]:
    """The words by which settings take the rate, in a method that has them."""
    return [f"{name}=${{{RATE}}}" for name in tuning.tied if has(example, name)]


def untied(experiment: ExperimentConfig) -> list[str]:
    """Of a run whose rate is said: the numbers that would have followed it in the tuning, and do not, as notes."""
    tied = (
        []
        if experiment.tuning is None
        else [name for name in experiment.tuning.tied if has(experiment, name)]
    )
    rate, *values = (attrgetter(name)(experiment) for name in (RATE, *tied))
    return [
        f"{name} stays {value:g} beside {RATE}={rate:g}: where the suite tunes the rate it follows it; say "
        f"'{name}=${{{RATE}}}' for the run that tuning would make"
        for name, value in zip(tied, values, strict=True)
        if isinstance(value, int | float) and not isinstance(value, bool) and value != rate
    ]


def further(tuning: TuningConfig, example: ExperimentConfig) -> Iterator[tuple[str, ...]]:
    """The words of each choice of what is tuned beside the rate, of what the method has; of nothing there is one."""
    own = [(name, word) for word in tuning.also if has(example, name := _name(word))]
    return itertools.product(*([f"{name}={value}" for value in _values(word)] for name, word in own))


def has(experiment: ExperimentConfig, name: str) -> bool:
    """Whether there is a setting of this dotted name."""
    node: Any = experiment
    for part in name.split("."):
        if not hasattr(node, part):
            return False
        node = getattr(node, part)
    return True


def _untuned(request: Request, words: Sequence[str]) -> UserError:
    first, own = request.said["suite"], Request(tuple(words)).said["suite"]
    if own != first:
        return UserError(
            f"suite={own} has no tuning, and is beside suite={first}, which tunes first",
            f"take it out of what suite/{first}.yaml has beside it, and run it by itself",
        )
    return UserError(
        f"suite={first} without its tuning",
        f"leave tuning=null out, or say {RATE}=RATE: a rate that is said is not tuned",
    )


def _planted(task: str) -> UserError:
    return UserError(
        f"task={task} with a suite that tunes first: it has no training data to hold out for that",
        f"sweep rates without the suite, -m task={task} {RATE}=1e-3,3e-3,1e-2: its report chooses by validation",
    )


def _check(tuning: TuningConfig, seeds: Sequence[int]) -> None:
    rates = tuning.rates
    if len(rates) < 2 or any(a >= b for a, b in itertools.pairwise(rates)) or rates[0] <= 0:
        raise UserError(f"tuning.rates={rates}", "say two or more positive rates, the lowest first")
    shared = sorted({*seeds} & {*tuning.seeds})
    if shared or not tuning.seeds or len({*tuning.seeds}) < len(tuning.seeds):
        raise UserError(
            f"tuning.seeds={tuning.seeds} beside seeds {', '.join(map(str, seeds))}",
            "choose by seeds that are not compared afterwards, each once",
        )
    names = [_name(word) for word in tuning.also]
    for name, word in zip(names, tuning.also, strict=True):
        values = _values(word)
        if not all(values) or not _may_be_set(name):
            raise UserError(
                f"tuning.also has {word!r}", 'say settings as in tuning.also=["method.rank=4,16"]'
            )
        if names.count(name) > 1 or len({*values}) < len(values):
            raise UserError(f"tuning.also={tuning.also} says {name} or a value of it twice", "say each once")
    for name in tuning.tied:
        if not _may_be_set(name):
            raise UserError(
                f"tuning.tied has {name!r}", "say settings as in tuning.tied=[method.search.learning_rate]"
            )


def _may_be_set(name: str) -> bool:
    """Whether it is a name of a setting, and none that tuning decides about itself."""
    return name not in NOT_TUNED and "." in name and not name.startswith("tuning.")


def _name(word: str) -> str:
    return word.partition("=")[0]


@cache
def _values(word: str) -> tuple[str, ...]:
    """What a word of `tuning.also` tries, as Hydra reads a sweep: a list in brackets is one value."""
    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException as error:
        raise UserError(
            f"tuning.also has {word!r}, which cannot be read",
            'say settings as in tuning.also=["method.rank=4,16"]',
        ) from error
    swept = override.is_sweep_override() and not override.is_interval_sweep()
    return tuple(override.sweep_string_iterator()) if swept else (word.partition("=")[2],)


def _nearest(name: str, examples: Sequence[ExperimentConfig]) -> str:
    """Names like it in the part of the configuration that it leads into."""
    *parts, _ = name.split(".")
    known: dict[str, None] = {}
    for example in examples:
        node: Any = example
        for part in parts:
            node = getattr(node, part, None)
        if is_dataclass(node):
            known |= {".".join([*parts, other]): None for other in vars(node)}
    return nearest(name, known)
