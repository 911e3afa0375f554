"""What a report is made of: runs that have a record and runs that are still to be made, in the order of their methods.

That order, in tables and figures, is by family, as each method states its own (config.registry).
"""

import json
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

from autolora_bench.config.data import Source
from autolora_bench.config.experiment import experiment_identity
from autolora_bench.config.registry import FAMILIES, UNTRAINED, family_in, kind_of
from autolora_bench.config.train import WAYS
from autolora_bench.plan import PlannedRun, State
from autolora_bench.record import RunRecord
from autolora_bench.report.collect import Identity, Unreadable
from autolora_bench.report.shipped import label, shipped_kind

Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)

OTHER = "other"
LONGEST = 100
"""Characters of a title that a record gives."""
BEFORE_AUTO = {f"train.{way}": "false" for way in WAYS}
"""How records were made whose configuration does not say it (config.data.recorded_as)."""

PairKey = tuple[str, int, str]
"""Task, seed, and the fingerprint of the examples: scores on different data have no difference."""
ALIKE = "train=reference computes all alike"
"""What to do about ways to compute that `auto` chose for some methods alone, as it does not for those of one's own."""
AS_TYPED = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""The value of a setting as one would type it; one encoder, for a report asks for a hundred thousand."""
MACHINE = {"device", "processor", "microarchitecture", "cores", "threads", "processes"}
"""Of a record's provenance, what its times and memory depend on."""


@dataclass(frozen=True)
class Run:
    """One run, made or planned."""

    task: str
    model: str
    """The model's name; with its checkpoint where one replaces the named weights."""
    method: str
    config_id: str
    seed: int
    config: dict[str, Any]
    command: str
    state: State
    record: RunRecord | None
    title: str | None = None
    """The task's title."""
    method_title: str = ""
    family: str = OTHER
    """Of its method, one of config.registry.FAMILIES."""
    planned: bool = False
    """Whether it is part of what was meant to be run."""
    note: str | None = None
    """What a reader of the model's scores must know."""

    @property
    def completed(self) -> RunRecord | None:
        """Its record, if the run has come to its end."""
        return self.record if self.state is State.completed else None

    @property
    def pair(self) -> PairKey:
        """Runs of two methods of which this is the same make a pair."""
        data = self.record.data.get("fingerprint") if self.record else None
        return self.task, self.seed, str(data)

    @property
    def generated(self) -> bool:
        """Whether its examples were made up by this project."""
        return bool(self.setting("data", "source") == Source.generated.name)

    @cached_property
    def settings(self) -> dict[str, str]:
        """Its configuration, flattened; not to be changed, as every part of a report reads the same one."""
        return flatten(self.config)

    def setting(self, *path: str) -> Any:
        """A value of its configuration, None where there is none."""
        node: Any = self.config
        for name in path:
            node = node.get(name) if isinstance(node, dict) else None
        return node


def family_of(record: RunRecord) -> str:
    """The family of a record's method: as this project states it, else as the record itself says; or `other`."""
    kind = shipped_kind(record.method)
    if kind is not None:
        return family_in(kind, record.method)
    said = record.provenance.get("method")
    family = said.get("family") if isinstance(said, dict) else None
    return family if family in FAMILIES[1:] else OTHER


def method_order(method: str, family: str) -> tuple[int, str]:
    """Sorting key: by family, in the order of `FAMILIES`, then by name."""
    return FAMILIES.index(UNTRAINED if method == UNTRAINED else family), method


def runs_of(
    records: Sequence[RunRecord], planned: Sequence[PlannedRun] | None, unreadable: Sequence[Unreadable] = ()
) -> tuple[list[Run], list[RunRecord]]:
    """Runs in the plan's order (without a plan, the records' order), and records that no plan asks for."""
    if planned is None:
        return [_from_record(record) for record in records], []
    by_identity: dict[Identity, RunRecord] = {record.identity: record for record in records}
    lost = {item.path.parent.resolve() for item in unreadable}
    runs = []
    for run in planned:
        record = by_identity.pop(run.identity, None)
        if record is not None:
            runs.append(_told(_from_record(record), run))
        else:
            state = State.unreadable if run.folder.resolve() in lost else State.missing
            runs.append(_from_plan(run, state))
    return runs, list(by_identity.values())


def unasked(record: RunRecord, planned: Sequence[PlannedRun]) -> str:
    """The settings in which a record differs from the planned run it comes nearest to, empty where nothing is near it.

    `data.source=local instead of hub`: what a reader says to have it shown.
    """
    cell = (record.task, record.model, record.method, record.seed)
    near: list[list[str]] = []
    for run in planned:
        task, model, method, _, seed = run.identity
        if (task, model, method, seed) == cell:
            near.append(_differences(record.config, experiment_identity(run.experiment)))
    return ", ".join(sorted(near, key=len)[0]) if near else ""


def _differences(made: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    ours, theirs = flatten(made), flatten(asked)
    places = tuple(f"task.{source.name}." for source in Source)
    return [
        f"{name}={told(ours, name)} instead of {told(theirs, name)}"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name) and not name.startswith(places)
    ]


def told(flat: dict[str, str], name: str) -> str:
    """The value of a setting in a flattened configuration, also where that leaves it out."""
    return flat.get(name, BEFORE_AUTO.get(name, "default"))


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted setting -> its value as one would type it."""
    flat: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value if isinstance(value, str) else AS_TYPED(value)
    return flat


def _from_record(record: RunRecord) -> Run:
    return Run(
        task=record.task,
        model=_model_label(record.model, record.config),
        method=record.method,
        config_id=record.config_id,
        seed=record.seed,
        config=record.config,
        command=_command(record),
        state=State(record.status.value),
        record=record,
        title=label("task", record.task, "title"),
        method_title=label("method", record.method, "title")
        or _peft_type(record)
        or _said(record, "title")
        or record.method,
        family=family_of(record),
        note=None if _checkpoint(record.config) else label("model", record.model, "note"),
    )


def _command(record: RunRecord) -> str:
    """The command that makes the run today: where its record knows nothing of auto, it was made without."""
    if "ways" in record.provenance:
        return record.command
    said = record.config.get("train")
    made = said if isinstance(said, dict) else {}
    words = [
        f"train.{way}=false" for way in WAYS if way not in made and f"train.{way}=" not in record.command
    ]
    return " ".join([record.command, *words])


def _peft_type(record: RunRecord) -> str | None:
    """The type of a method of PEFT, which has no file of its own."""
    kind = setting(record, "method", "type")
    return kind if isinstance(kind, str) else None


def _from_plan(run: PlannedRun, state: State) -> Run:
    task, model, method, config_id, seed = run.identity
    config = experiment_identity(run.experiment)
    label = _model_label(model, config)
    return _told(Run(task, label, method, config_id, seed, config, run.command, state, None), run)


def _told(made: Run, run: PlannedRun) -> Run:
    """The run with what only the plan says for sure: title, note, and the command that goes on from here."""
    model, method = run.experiment.model, run.experiment.method
    return replace(
        made,
        title=run.experiment.task.title,
        method_title=method.title,
        family=family_in(shipped_kind(method.name) or kind_of(method), method.name),
        planned=True,
        note=None if model.checkpoint else model.note,
        command=made.command if made.completed else run.command,
    )


def _said(record: RunRecord, key: str) -> str | None:
    """What a record itself says of its method, for methods that this project does not have."""
    said = record.provenance.get("method")
    value = said.get(key) if isinstance(said, dict) else None
    return value[:LONGEST] if isinstance(value, str) else None


def _model_label(model: str, config: dict[str, Any]) -> str:
    checkpoint = _checkpoint(config)
    return f"{model} (checkpoint {checkpoint})" if checkpoint else model


def _checkpoint(config: dict[str, Any]) -> Any:
    """The weights that replace the named model's own, if any."""
    node = config.get("model")
    return node.get("checkpoint") if isinstance(node, dict) else None


def grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """The items by what `key` says of each; groups, and their members, in the items' order."""
    found: dict[Key, list[Item]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def has_own_plant(run: Run) -> bool:
    """Whether the ranks that were planted are of the run's seed: other seeds are to find others."""
    return run.setting("task", "truth") is not None and run.setting("task", "plant_seed") is None


def hardware(record: RunRecord) -> str:
    """The accelerator's name; on a processor its name and kind, threads used, cores; the processes, where there were
    several; which of WAYS were on; whether it was begun on other hardware. `unknown machine` without either name."""
    facts = record.provenance
    noted = facts.get("ways")
    ways = [way for way in WAYS if _used(noted, way, setting(record, "train", way))]
    several = processes(record)
    ways = [f"{several} processes", *ways] if several > 1 else ways
    ways += ["begun elsewhere"] if any(MACHINE & {*one} for one in earlier_attempts(record)) else []
    device, processor = facts.get("device"), facts.get("processor")
    if on_accelerator(record):
        return ", ".join([str(device), *ways])
    if not processor:
        return "unknown machine"
    kind = facts.get("microarchitecture")
    processor = f"{processor} ({kind})" if kind else processor
    threads, cores = facts.get("threads"), facts.get("cores")
    used = [f"{threads} of {cores} cores" if threads and cores else "", "mps" if device == "mps" else ""]
    return ", ".join([str(processor), *filter(None, used), *ways])


def computed_apart(machines: Iterable[str]) -> str:
    """What tells runs of several `hardware` apart: `on 2 different machines or numbers of threads`, `with and without
    cpu_kernels`; empty where they are of one."""
    kinds = [name.split(", ") for name in dict.fromkeys(machines)]
    ways = [way for way in WAYS if len({way in kind for kind in kinds}) > 1]
    others = {tuple(part for part in kind if part not in WAYS) for kind in kinds}
    parts = [f"on {len(others)} different machines or numbers of threads"] if len(others) > 1 else []
    return ", ".join([*parts, *([f"with and without {' and '.join(ways)} ({ALIKE})"] if ways else [])])


def on_accelerator(record: RunRecord) -> bool:
    """Whether its memory is that of an accelerator, and not the processor's."""
    device = record.provenance.get("device")
    return isinstance(device, str) and device not in ("cpu", "mps")


def earlier_attempts(record: RunRecord) -> list[dict[str, Any]]:
    """What of the provenance was another in attempts that this run went on from."""
    found = record.provenance.get("before")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def processes(record: RunRecord) -> int:
    """How many trained together."""
    found = record.provenance.get("processes")
    return found if isinstance(found, int) and found > 0 else 1


def _used(noted: Any, way: str, said: Any) -> bool:
    """What the record says that ran; in older records, what was asked for."""
    found = noted.get(way) if isinstance(noted, dict) else None
    return (found if isinstance(found, bool) else said) is True


def setting(record: RunRecord, node: str, name: str) -> Any:
    """A setting of the record's configuration, None where there is none."""
    values = record.config.get(node)
    return values.get(name) if isinstance(values, dict) else None
