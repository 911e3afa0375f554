"""Which runs make one row: a method's configurations over all tasks, told apart by no more settings than is needed."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from autolora_bench.config.peft_types import starts_elsewhere
from autolora_bench.config.registry import UNTRAINED
from autolora_bench.report.runs import Run, flatten, method_order, told
from autolora_bench.report.shipped import OPEN, shipped_settings

Variant = tuple[tuple[str, str], ...]
"""Settings and their values that tell one row of a method from its other rows; empty where there is one row."""
Settings = dict[str, str]
"""Dotted setting -> its value as one would type it."""

OWN = "method."
"""Begins the names of a method's own settings."""
TUNED = "tuned"
"""What stands for a setting that tuning chose."""
SHOWN = 3
"""More differing settings than this are named in a footnote, not in the row's label."""
MOVED = 1e-8
"""AdamW moves no weight by much more than learning rate x steps; less than this is lost in a weight's rounding."""
PHRASES: dict[str, Callable[[str], str]] = {
    "method.code": lambda value: f"file {value}",
    "method.name": lambda value: f"as {value}",
    "method.rank": lambda value: f"rank {value}",
    "method.scaling": lambda value: f"{value.replace('_', ' ')} scaling",
    "method.search.estimator": lambda value: f"{value.replace('_', ' ')} estimator",
}
"""How a row's label says a setting; others as one types them."""


@dataclass(frozen=True)
class RowRuns:
    """The runs of one row."""

    method: str
    """`UNTRAINED` for models as they were before training."""
    label: str
    variant: Variant
    """What tells the row from the method's other rows, as far as all of its tasks have it alike."""
    main: bool
    """Whether it is the method as it stands, which its bare title and declared comparisons mean."""
    runs: tuple[Run, ...]
    untold: Variant = ()
    """Of those settings the ones that the label leaves out."""
    by_task: tuple[tuple[str, Variant], ...] = ()
    """Of the settings that tell rows apart, the ones that differ from task to task in this row: its recipe's."""
    undecided: bool = False
    """Whether none of the method's rows is main, as its own settings are not known: somebody's own method."""

    @property
    def alive(self) -> bool:
        """Whether a run is completed or was planned; a row of neither is a try that came to nothing."""
        return any(run.completed or run.planned for run in self.runs)


def rows_of(runs: Sequence[Run], tuned: Mapping[str, Sequence[str]] | None = None) -> list[RowRuns]:
    """The rows of one model's runs, in the order of tables.

    Args:
        runs: of one model.
        tuned: config_id -> its settings that tuning chose, each task's own: they tell rows apart from what was not
            tuned, and not from one another.

    A row holds at most one configuration of each task, so that two are never averaged. A method's main row takes from
    each task the configuration that most tasks agree on in what tells configurations apart; where a task has but one,
    that one, whatever a recipe set for the task. Every other configuration of a task departs from the main one in some
    settings: the same departure is the same row on every task. Of choices that as many tasks have, the main one is the
    method's as it is shipped, or as the user's own folder states it. Where that is not known, and settings of a method
    tell its rows apart, none of them is main or has the bare title.
    """
    methods: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        methods[UNTRAINED if is_untrained(run) else run.method].append(run)
    titles = {name: members[0].method_title for name, members in methods.items()}
    if UNTRAINED in titles:
        titles[UNTRAINED] = "Untrained model"
    titled = Counter(titles.values())
    found = []
    for method in sorted(methods, key=lambda name: method_order(name, methods[name][0].family)):
        title = titles[method] if titled[titles[method]] < 2 else f"{titles[method]} ({method})"
        found += _rows(method, title, methods[method], tuned or {})
    return _apart(found)


def _apart(rows: Sequence[RowRuns]) -> list[RowRuns]:
    """The rows; of those of several methods that have one label, each with its method's name behind it."""
    methods: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        methods[row.label].add(row.method)
    found = [
        row if len(methods[row.label]) < 2 else replace(row, label=f"{row.label} ({row.method})")
        for row in rows
    ]
    return found if found == list(rows) else _apart(found)


def is_untrained(run: Run) -> bool:
    """Whether the run's training was too small to move a weight: it shows the model as it was before."""
    kind, settings_of_type = run.setting("method", "type"), run.setting("method", "settings")
    if isinstance(settings_of_type, dict) and starts_elsewhere(str(kind), settings_of_type):
        return False
    rate, most = run.setting("method", "learning_rate"), run.setting("train", "max_steps")
    phases = run.completed.phases if run.completed else []
    done = [phase.steps for phase in phases if phase.name != "search" and phase.steps is not None]
    steps = most if _is_number(most) else sum(done) if done else None
    return _is_number(rate) and _is_number(steps) and abs(rate * steps) <= MOVED


@dataclass(frozen=True)
class _Configuration:
    """One configuration of a method on one task."""

    task: str
    settings: Settings
    runs: tuple[Run, ...]

    @property
    def completed(self) -> int:
        return sum(run.completed is not None for run in self.runs)

    @property
    def alive(self) -> bool:
        return any(run.completed or run.planned for run in self.runs)

    def on(self, names: Iterable[str]) -> Variant:
        return tuple((name, told(self.settings, name)) for name in names)


def _rows(method: str, title: str, runs: Sequence[Run], tuned: Mapping[str, Sequence[str]]) -> list[RowRuns]:
    tasks = _configurations(runs, tuned)
    names = _telling(tasks)
    told_apart = method != UNTRAINED and any(name.startswith(OWN) for name in names)
    shipped = shipped_settings(method) if told_apart else {}
    usual, main = _main(tasks, names, flatten({"method": shipped or {}}))
    groups: dict[Variant, list[_Configuration]] = {(): list(main.values())}
    for task, configurations in tasks.items():
        for one in configurations:
            if one is not main.get(task):
                departure = _departure(one, main[task]) if task in main else _unlike(one.on(names), usual)
                groups.setdefault(departure, []).append(one)
    keys = sorted(groups, key=_order)
    constant = {key: _constant(groups[key], names) for key in keys}
    numbered = {name for key in keys for name, value in key if number(value) is not None}
    said = {key: key or tuple(one for one in constant[key] if one[0] in numbered) for key in keys}
    if shipped is None:  # no row stands for what another's label leaves out
        own = {key: [one for one in constant[key] if one[0].startswith(OWN)] for key in keys}
        said = {key: tuple(sorted({*key, *own[key]})) for key in keys}
    lettered = any(len(variant) > SHOWN or (not variant and shipped is None) for variant in said.values())
    labels = _lettered(title, len(keys)) if lettered else [label_of(title, said[key]) for key in keys]
    told = {
        key: () if lettered else constant[key] if key and shipped is not None else said[key] for key in keys
    }
    rows = [
        RowRuns(
            method,
            label,
            constant[key],
            main=not key and shipped is not None,
            runs=tuple(run for one in groups[key] for run in one.runs),
            untold=tuple(one for one in constant[key] if one not in told[key]),
            by_task=tuple(
                (one.task, rest) for one in groups[key] if (rest := _rest(one, names, constant[key]))
            ),
            undecided=shipped is None,
        )
        for key, label in zip(keys, labels, strict=True)
    ]
    return sorted(rows, key=lambda row: _order(row.variant))


def _configurations(
    runs: Sequence[Run], tuned: Mapping[str, Sequence[str]]
) -> dict[str, list[_Configuration]]:
    by_id: dict[str, dict[tuple[str, str], list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        by_id[run.task][run.method, run.config_id].append(run)
    found: dict[str, list[_Configuration]] = {}
    for task, configurations in by_id.items():
        flat = {
            key: members[0].settings | dict.fromkeys(tuned.get(key[1], ()), TUNED)
            for key, members in configurations.items()
        }
        twins = len({tuple(sorted(one.items())) for one in flat.values()}) < len(flat)
        found[task] = [
            _Configuration(task, flat[key] | ({"config_id": key[1]} if twins else {}), tuple(members))
            for key, members in configurations.items()
        ]
    return found


def _telling(tasks: dict[str, list[_Configuration]]) -> list[str]:
    """The settings that differ between configurations of one task; of tries that came to nothing only if all are."""
    names: set[str] = set()
    for configurations in tasks.values():
        counted = [one for one in configurations if one.alive] or configurations
        for name in {name for one in counted for name in one.settings}:
            if len({one.settings.get(name) for one in counted}) > 1:
                names.add(name)
    return sorted(names)


def _main(
    tasks: dict[str, list[_Configuration]], names: Sequence[str], shipped: Settings
) -> tuple[Variant, dict[str, _Configuration]]:
    """What most tasks have of the telling settings, and the configuration of each task that comes nearest to it.

    A task where the method's own settings were varied, and none has the usual values, has no main configuration.
    """
    support: dict[Variant, list[_Configuration]] = defaultdict(list)
    for configurations in tasks.values():
        for one in configurations:
            support[one.on(names)].append(one)

    def weight(variant: Variant) -> tuple[object, ...]:
        members = support[variant]
        unlike = sum(
            name.startswith(OWN) and told(shipped, name) not in (value, OPEN) for name, value in variant
        )
        tasks, completed = sum(one.alive for one in members), sum(one.completed for one in members)
        return (-tasks, -len(members), unlike, -completed, _order(variant))

    usual = min(support, key=weight)
    main = {}
    for task, configurations in tasks.items():
        nearest = min(
            configurations,
            key=lambda one: (
                not one.alive,
                len(_unlike(one.on(names), usual)),
                -one.completed,
                _order(one.on(names)),
            ),
        )
        varied = _telling({task: configurations})
        unlike = [name for name, _ in _unlike(nearest.on(names), usual)]
        if not any(name in varied and name.startswith("method.") for name in unlike):
            main[task] = nearest
    return usual, main


def _unlike(variant: Variant, usual: Variant) -> Variant:
    return tuple(pair for pair, other in zip(variant, usual, strict=True) if pair != other)


def _departure(configuration: _Configuration, main: _Configuration) -> Variant:
    names = sorted({*configuration.settings, *main.settings})
    return _unlike(configuration.on(names), main.on(names))


def _constant(configurations: Sequence[_Configuration], names: Sequence[str]) -> Variant:
    """The values of the telling settings that a row has alike on all of its tasks."""
    values = {name: {told(one.settings, name) for one in configurations} for name in names}
    return tuple((name, next(iter(values[name]))) for name in names if len(values[name]) == 1)


def _rest(configuration: _Configuration, names: Sequence[str], constant: Variant) -> Variant:
    alike = dict(constant)
    return configuration.on(name for name in names if name not in alike)


def settings_note(rows: Iterable[RowRuns]) -> list[str]:
    """What tells the rows of one method apart and no label says, and what of that a recipe set for a task."""
    parts = []
    for row in rows:
        said = [settings(row.untold)] if row.untold else []
        by_settings: dict[str, list[str]] = {}
        for task, variant in row.by_task:
            by_settings.setdefault(settings(variant), []).append(task)
        said += [f"{text} on {', '.join(tasks)}" for text, tasks in by_settings.items()]
        if said:
            parts.append(f"{row.label}: {', '.join(said)}")
    return [f"Settings that tell rows apart. {'; '.join(parts)}."] if parts else []


def settings(variant: Variant) -> str:
    """`search.estimator=released, seed=1`; the prefix `method.` is understood."""
    return ", ".join(f"{name.removeprefix('method.')}={value}" for name, value in variant)


def label_of(title: str, variant: Variant) -> str:
    """`LoRA, rank 8`."""
    return ", ".join([title, *(_phrase(*pair) for pair in variant)])


def _lettered(title: str, count: int) -> list[str]:
    """`LoRA [A]`, where a footnote has to say what A stands for."""
    return [f"{title} [{_letters(index)}]" for index in range(count)]


def _phrase(name: str, value: str) -> str:
    return PHRASES[name](value) if name in PHRASES else settings(((name, value),))


def _letters(index: int) -> str:
    head, tail = divmod(index, 26)
    return (_letters(head - 1) if head else "") + chr(ord("A") + tail)


def _order(variant: Variant) -> tuple[tuple[str, float, str], ...]:
    """Sorting key: numbers by size, words by the alphabet."""
    return tuple((name, number(value) or 0.0, value) for name, value in variant)


def number(value: str) -> float | None:
    """Of a setting as told; None where it is none, or not finite."""
    try:
        found = float(value)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
