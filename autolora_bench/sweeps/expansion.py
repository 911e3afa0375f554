"""From the words of a command line to the runs they stand for: one, a sweep, or a suite."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, ValueType
from hydra.types import RunMode
from omegaconf import DictConfig

from autolora_bench.config.choices import GROUPS, OPTIONAL_GROUPS, check_choice, choices
from autolora_bench.config.compose import (
    checked,
    compose_config,
    composer,
    explain,
    search_path,
    several_values,
    to_objects,
)
from autolora_bench.config.data import Source
from autolora_bench.config.jobs import JobComposer
from autolora_bench.config.suite import SuiteFile, read_suite
from autolora_bench.config.support import UnsupportedError
from autolora_bench.config.task import GenerationTask, RecoveryTask
from autolora_bench.errors import UserError
from autolora_bench.metrics.kinds import check_metrics
from autolora_bench.plan import PlannedRun, distinct_comparisons
from autolora_bench.request import Request, name_of
from autolora_bench.sweeps.plan_cache import Cell, PlanCache
from autolora_bench.sweeps.tuned_settings import RATE

ENGINE = ("hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper")
"""Words about how a sweep is run; one of its runs alone does without."""
HEAD_RATE = "train.head_learning_rate"


class Plan(list[PlannedRun]):
    """Runs in the order in which they run, and why others of the sweep are not among them."""

    def __init__(
        self,
        runs: Iterable[PlannedRun],
        left_out: Sequence[str] = (),
        later: Sequence[str] = (),
        given_up: Iterable[PlannedRun] = (),
    ) -> None:
        super().__init__(runs)
        self.left_out = list(left_out)
        """A line for each."""
        self.later = list(later)
        """A line for each group of runs that is known only once these have ended."""
        self.given_up = frozenset(run.folder for run in given_up)
        """Folders of those among them that are not completed and are not waited for, as their rate diverged."""


Shared = list[JobComposer]
"""None yet, or the one that composes all jobs of a command: what is swept first is most of what is tuned next."""


def plan(request: Request, shared: Shared | None = None) -> Plan:
    """Every run of a request; the same cell twice counts once.

    Of a sweep, what a method does not work on is left out, unless nothing else is asked for.

    Args:
        request: what is asked for.
        shared: what composed other jobs of the same command; not of an earlier one, as files and data may have changed.

    Raises:
        UserError: words that cannot be read, unknown names, values that cannot be, comparisons of what is no method or
            that are declared twice, or a data.dir or a rate of the head that nothing has a use for.
    """
    tuning = [name for name in request.said if name.partition(".")[0] == "tuning"]
    if tuning and not _suite(request).tuned:
        raise UserError(
            f"{tuning[0]} is about a suite that tunes first", "add suite=fair, or leave it out (docs/fair.md)"
        )
    found: dict[Path, PlannedRun] = {}
    refused: list[UnsupportedError] = []
    declared: dict[tuple[str, ...], None] = {}
    for one in [request, *beside(request)]:
        cells = _cells(one, [] if shared is None else shared)
        swept = {_method_of(cell) for cell in cells}
        for cell in cells:
            try:
                planned = _planned(one, cell)
            except UnsupportedError as error:
                refused.append(error)
            except UserError as error:
                method = _method_of(cell)
                if len(swept) == 1 or method in error.what or "method." not in error.what:
                    raise
                raise UserError(f"{method}: {error.what}", error.mend) from error
            else:
                declared[tuple(planned.experiment.compare)] = None
                first = found.setdefault(planned.folder, planned).experiment.push
                if first != planned.experiment.push:
                    raise UserError(
                        f"push={first} and push={planned.experiment.push} are asked of one run",
                        "say one of them",
                    )
    if refused and not found:
        raise refused[0]
    if "data.dir" in request.said:
        _check_is_read(request.said["data.dir"], found.values())
    if HEAD_RATE in request.said:
        _check_has_head(found.values())
    _check_declared(request, declared, [run.experiment.method.name for run in found.values()])
    return Plan(found.values(), list(dict.fromkeys(error.what for error in refused)))


def _check_is_read(folder: str, runs: Collection[PlannedRun]) -> None:
    """Raises UserError where a folder of data was named and no run reads one: it would train on other data."""
    sources = {run.experiment.data.source for run in runs}
    if Source.local not in sources:
        names = ", ".join(sorted(source.name for source in sources))
        raise UserError(
            f"data.dir={folder} is not read by data={names}", "add data=local, or leave data.dir out"
        )


def _method_of(cell: Cell) -> str:
    """The word that chooses a job's method; empty where none does."""
    return next((word for word in cell[0] if word.startswith("method=")), "")


def _check_has_head(runs: Collection[PlannedRun]) -> None:
    """Raises UserError where the head's rate was said and no run has a head: another experiment of the same scores.
    A suite may say it for whatever is run with it."""
    rated = [run for run in runs if run.experiment.train.head_learning_rate is not None]
    if rated and not any(map(_has_head, rated)):
        tasks = ", ".join(dict.fromkeys(run.experiment.task.name for run in rated))
        raise UserError(f"{HEAD_RATE} with task={tasks}, which has no head", "leave it out")


def _has_head(run: PlannedRun) -> bool:
    task, model = run.experiment.task, run.experiment.model
    return not isinstance(task, RecoveryTask) and not (
        isinstance(task, GenerationTask) and not model.untrained
    )


def _check_declared(request: Request, declared: Iterable[Sequence[str]], methods: Sequence[str]) -> None:
    """Refuse declared comparisons that a report could not make, before anything is trained. Methods that are not swept
    may be among them."""
    known = [*choices("method", request.folders), *methods]
    for compare in declared:
        if len(distinct_comparisons(compare, known)) < len(compare):
            raise UserError(
                f"compare=[{','.join(compare)}] declares a comparison twice",
                "say each two methods once, in one order",
            )


def plan_jobs(
    request: Request, jobs: Sequence[Sequence[str]], shared: Shared | None = None
) -> list[PlannedRun]:
    """The runs of lists of words, each of which stands for one run; `request` gives the configuration folder.

    Args:
        request: of the command.
        jobs: the words of each run.
        shared: as of `plan`.

    Raises:
        UserError: as `plan`.
    """
    words = [word for job in jobs for word in ("job", *job)]
    cache = PlanCache([*request.flags, *words], request.folders)
    cells = cache.read()
    if cells is None:
        with composer():
            compose_job = _job_composer(request, [] if shared is None else shared)
            cells = [(tuple(job), compose_job(job)) for job in jobs]
        cache.write(cells)
    return [_planned(request, cell) for cell in cells]


def beside(request: Request) -> list[Request]:
    """The same request for every suite that its suite names beside itself; none where words choose the methods.

    Raises:
        UserError: one of them tunes first, and its suite does not: it would be run as if it did not either.
    """
    if "method" in request.said:
        return []
    own = _suite(request)
    for name in own.beside:
        if not own.tuned and RATE not in request.said and read_suite(name, request.folders).tuned:
            raise UserError(
                f"suite={name} tunes first, and is beside suite={request.said['suite']}, which does not",
                "run it by itself, or say method.learning_rate=RATE: a rate that is said is not tuned",
            )
    rest = tuple(word for word in request.overrides if not word.startswith("suite="))
    return [replace(request, overrides=(*rest, f"suite={name}")) for name in own.beside]


def sweep_name(request: Request) -> str:
    """The suite, or the words that name several values, or nothing for one run."""
    if "suite" in request.said:
        return request.said["suite"]
    overrides = parse_words(request.overrides, request.folders)
    return " ".join(o.input_line or "" for o in overrides if o.is_sweep_override())


def words_for_hydra(request: Request) -> list[str]:
    """The request's words, such that a setting of what is swept waits for the jobs.

    Hydra composes all words that name one value before the jobs, when the sweep's groups still have their defaults, and
    refuses a setting that those lack. A choice of one counts as a sweep.
    """
    overrides = parse_words(request.overrides, request.folders)
    groups = _swept(overrides, _chosen_by_suite(request))
    words = [(o, (o.input_line or "").partition("=")) for o in overrides]
    _check_nothing_waits(overrides, groups)
    return [
        f"{key}=choice({value})" if _waits(override, groups) else f"{key}{sign}{value}"
        for override, (key, sign, value) in words
    ]


def _suite(request: Request) -> SuiteFile:
    return read_suite(request.said.get("suite"), request.folders)


def _chosen_by_suite(request: Request) -> list[Override]:
    """Among what the suite chooses for its jobs, unless a word does."""
    chosen = _suite(request).choices.items()
    words = [f"{group}={values}" for group, values in chosen if group not in request.said]
    return parse_words(words, request.folders)


def _swept(overrides: Sequence[Override], of_suite: Sequence[Override]) -> set[str]:
    """Groups and settings that the jobs choose."""
    return {o.key_or_group for o in [*of_suite, *(o for o in overrides if o.is_sweep_override())]}


def _check_nothing_waits(overrides: Sequence[Override], groups: set[str]) -> None:
    """Raises UserError where a setting of what is swept is to be null: Hydra has no choice of nothing."""
    for override in overrides:
        if _waits(override, groups) and override.value() is None:
            group = override.key_or_group.partition(".")[0]
            raise UserError(
                f"{override.input_line} cannot be said in a sweep of {group}: Hydra has no choice of null",
                f"leave it out where null is its default, or run each choice of {group} by itself",
            )


def _waits(override: Override, groups: set[str]) -> bool:
    group, dot, _ = override.key_or_group.partition(".")
    return bool(dot) and group in groups and not override.is_sweep_override() and not override.is_delete()


def _cells(request: Request, shared: Shared) -> list[Cell]:
    overrides = parse_words(request.overrides, request.folders)
    cache = PlanCache([*request.flags, *request.overrides], request.folders)
    cells = cache.read()
    if cells is None:
        cells = _compose(request, overrides, shared)
        if len(cells) > 1:
            cache.write(cells)
    return cells


def _compose(request: Request, overrides: Sequence[Override], shared: Shared) -> list[Cell]:
    with composer():
        extra = _extra(request)
        swept = [o.input_line or "" for o in overrides if o.is_sweep_override()]
        plain = [o.input_line or "" for o in overrides if not o.is_sweep_override()]
        of_suite = _chosen_by_suite(request)
        base = compose_config([*extra, *_first([*overrides, *of_suite])])
        sweeping = request.multirun or base.hydra.mode is RunMode.MULTIRUN
        if swept and not sweeping:
            raise several_values(swept[0], base)
        if not sweeping:
            single = compose_config([*extra, *plain]) if of_suite else base
            return [(tuple(plain), to_objects(single))]
        _check_nothing_waits(overrides, _swept(overrides, of_suite))
        compose_job = _job_composer(request, shared)
        return [(tuple(job), compose_job(job)) for job in _jobs(base, plain + swept)]


def _extra(request: Request) -> list[str]:
    return [search_path(request.config_dir)] if request.config_dir else []


def _job_composer(request: Request, shared: Shared) -> JobComposer:
    """Use inside `compose.composer()`."""
    if not shared:
        shared.append(JobComposer(_extra(request)))
    return shared[0]


def words_of_first(request: Request) -> list[str]:
    """The request's words for its first task, method and so on, in place of all that it or its suite sweeps over."""
    return _first([*parse_words(request.overrides, request.folders), *_chosen_by_suite(request)])


def _first(overrides: Sequence[Override]) -> list[str]:
    """The words with a sweep's first choices, for others may be about settings that only what is chosen has."""
    single = [o.input_line or "" for o in overrides if not o.is_sweep_override()]
    listed = [o for o in overrides if o.is_sweep_override() and not o.is_interval_sweep()]
    return [*single, *(f"{_key(o)}={next(o.sweep_string_iterator())}" for o in listed)]


def _key(override: Override) -> str:
    """What stands before the value, with the plus or pluses of a setting that is added."""
    return (override.input_line or "").partition("=")[0]


def _jobs(base: DictConfig, words: Sequence[str]) -> list[list[str]]:
    """The override lists of a sweep: the suite's own parameters, then the command line, which beats them."""
    parameters = base.hydra.sweeper.get("params") or {}
    said = {name_of(word) for word in words}
    own = [f"{name}={value}" for name, value in parameters.items() if name not in said]
    parsed = OverridesParser.create().parse_overrides([*own, *words])
    if any(override.is_interval_sweep() for override in parsed):
        raise UserError(
            "the runs of this sweep are chosen as it goes",
            "autolora-bench report task=... shows those there are",
        )
    batches = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    return [list(job) for job in batches[0]]


def _planned(request: Request, cell: Cell) -> PlannedRun:
    words, experiment = cell
    said = [word for word in words if not word.lstrip("+~").startswith(ENGINE)]
    planned = PlannedRun(checked(experiment, request.reads_data), (*request.own_folder, *said))
    check_metrics(planned.experiment.task)
    return planned


def parse_words(words: Sequence[str], folders: list[Path]) -> list[Override]:
    """The words in their order; a pattern is replaced by the choices that fit it.

    Args:
        folders: configuration folders, the user's own first.

    Raises:
        UserError: a word that cannot be read or stands for nothing, an unknown choice, or a sweep over suites.
    """
    try:
        parser = OverridesParser.create()
        overrides = [
            parser.parse_override(_listed(override, folders)) if _is_glob(override) else override
            for override in parser.parse_overrides(list(words))
        ]
    except UserError:
        raise
    except Exception as error:
        raise explain(error) from error
    for override in overrides:
        values = _values(override)
        if override.key_or_group == "suite" and len(values) > 1:
            raise UserError(f"{override.input_line}: a sweep is of one suite", "run the command for each")
        if override.key_or_group in (*GROUPS, *OPTIONAL_GROUPS):
            for value in values:
                check_choice(override.key_or_group, value, folders)
    return overrides


def _values(override: Override) -> list[str]:
    """What a word says, each value of a sweep; not what is null, taken out, interpolated or still to be found."""
    if override.is_delete() or override.is_interval_sweep():
        return []
    if not override.is_sweep_override():
        found = [override.value()]
    else:
        try:
            found = list(override.sweep_string_iterator())
        except Exception as error:
            name = override.key_or_group
            raise UserError(
                f"{override.input_line}: a range beside other values cannot be read",
                f"write the values themselves, as in {name}=0,1,2,7, or the range alone",
            ) from error
        if not found:
            raise UserError(f"{override.input_line} stands for nothing", "give it at least one value")
    return [str(value) for value in found if value not in (None, "null") and "${" not in str(value)]


def _is_glob(override: Override) -> bool:
    return override.value_type is ValueType.GLOB_CHOICE_SWEEP


def _listed(override: Override, folders: list[Path]) -> str:
    """The word with the choices that its pattern stands for."""
    pattern, group = override.value(), override.key_or_group
    assert isinstance(pattern, Glob)
    names = pattern.filter(sorted(choices(group, folders)))
    if not names:
        raise UserError(
            f"{override.input_line} fits nothing", f"a pattern chooses among the files of conf/{group}/"
        )
    return f"{group}={','.join(names)}"
