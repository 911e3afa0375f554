"""From a command line to the runs it stands for: one, a sweep, or a suite."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from autolora_bench.config.choices import GROUPS, check_choice
from autolora_bench.config.compose import compose_config, composer, explain, search_path, to_experiment
from autolora_bench.errors import UserError
from autolora_bench.metrics.registry import lookup
from autolora_bench.paths import conf_dir
from autolora_bench.plan import PlannedRun


@dataclass(frozen=True)
class Request:
    """What the words after `autolora-bench` ask for."""

    overrides: tuple[str, ...] = ()
    multirun: bool = False
    config_dir: Path | None = None

    @property
    def flags(self) -> list[str]:
        """The flags, as words; Hydra wants them before the overrides."""
        folder = ["--config-dir", str(self.config_dir)] if self.config_dir else []
        return [*folder, *(["--multirun"] if self.multirun else [])]

    @property
    def folders(self) -> list[Path]:
        """Configuration folders, the user's own first."""
        return [*([self.config_dir] if self.config_dir else []), conf_dir()]


def plan(request: Request) -> list[PlannedRun]:
    """Every run of a request, in the order in which they run; the same cell twice counts once.

    Raises:
        UserError: words that cannot be read, unknown names, values that cannot be.
    """
    overrides = _parse(request)
    with composer():
        extra = [search_path(request.config_dir)] if request.config_dir else []
        swept = [o.input_line or "" for o in overrides if o.is_sweep_override()]
        plain = [o.input_line or "" for o in overrides if not o.is_sweep_override()]
        base = compose_config([*extra, *plain])
        sweeping = request.multirun or base.hydra.mode is RunMode.MULTIRUN
        if swept and not sweeping:
            raise UserError(f"{swept[0]} names several values", "add -m for a sweep: autolora-bench -m ...")
        jobs = _jobs(base, plain + swept) if sweeping else [plain]
        return _planned(request, base, jobs, extra)


def _parse(request: Request) -> list[Override]:
    try:
        overrides = OverridesParser.create().parse_overrides(list(request.overrides))
    except Exception as error:
        raise explain(error) from error
    for override in overrides:
        if override.key_or_group in GROUPS and not override.is_delete():
            values = override.sweep_string_iterator() if override.is_sweep_override() else [override.value()]
            for value in values:
                if value not in (None, "null"):
                    check_choice(override.key_or_group, str(value), request.folders)
    return overrides


def _jobs(base: DictConfig, words: Sequence[str]) -> list[list[str]]:
    """The override lists of a sweep: the suite's own parameters, then the command line, which beats them."""
    parameters = base.hydra.sweeper.get("params") or {}
    words = [f"{name}={value}" for name, value in parameters.items()] + list(words)
    batches = BasicSweeper.split_arguments(
        OverridesParser.create().parse_overrides(words), max_batch_size=None
    )
    return [list(job) for job in batches[0]]


def _planned(
    request: Request, base: DictConfig, jobs: Sequence[Sequence[str]], extra: Sequence[str]
) -> list[PlannedRun]:
    own = ("--config-dir", str(request.config_dir)) if request.config_dir else ()
    found: dict[Path, PlannedRun] = {}
    compose_job = _JobComposer(extra)
    for job in jobs:
        config = base if len(jobs) == 1 and list(job) == list(request.overrides) else compose_job(job)
        planned = PlannedRun(to_experiment(config), (*own, *job))
        for metric in planned.experiment.task.metrics:
            lookup(metric)
        found.setdefault(planned.folder, planned)
    return list(found.values())


class _JobComposer:
    """Composes jobs; those that differ in their seed alone share one composition, which is the slow part."""

    def __init__(self, extra: Sequence[str]) -> None:
        self.extra = extra
        self.composed: dict[tuple[str, ...], DictConfig] = {}

    def __call__(self, job: Sequence[str]) -> DictConfig:
        seeds = [word for word in job if word.startswith("seed=")]
        rest = tuple(word for word in job if word not in seeds)
        if rest not in self.composed:
            self.composed[rest] = compose_config([*self.extra, *rest])
        if not seeds:
            return self.composed[rest]
        config = self.composed[rest].copy()
        try:
            config.seed = seeds[-1].partition("=")[2]
        except OmegaConfBaseException as error:
            raise explain(error) from error
        return config
