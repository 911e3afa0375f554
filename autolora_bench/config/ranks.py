"""Ranks from elsewhere: of a finished run, of every seed of a cell, or from a file.

What counts for a run's identity is the ranks (of uniform their total), not where they were read: `resolve_ranks` puts
them into the configuration before it is hashed. Where every seed has ranks of its own, they follow from the cell that
they come from and the seed; the cell is then the identity, so that the seeds stay one row of a table.

A control such as random ranks takes its total and its spread from the run that it is compared with, that of another
method with the same task, model, settings and seed. Which run it is follows from the words of the control's own
command, with the other method in its place (`name_reference`): so it has a name, `task/model/method-id`, before it has
been run, and a sweep over both needs no second command.
"""

import glob
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from autolora_bench.config.allocators import AllocatorConfig
from autolora_bench.config.experiment import ExperimentConfig, config_id, run_folder
from autolora_bench.config.method import AdaLoraConfig, Allocation, AutoLoraConfig, RankedLoraConfig
from autolora_bench.config.registry import methods
from autolora_bench.errors import UserError
from autolora_bench.paths import RECORD
from autolora_bench.record import RunRecord, read_record
from autolora_bench.tables.text_files import named_rows
from autolora_bench.untrusted import in_a_line, parse_json, read_bytes

PROJECTIONS = {
    alias: name
    for name in ("query", "key", "value")
    for alias in (name, name[0], f"{name[0]}_proj", f"{name[0]}_lin", f"{name}_proj")
}
"""Architectures' own names of the attention projections -> the name in `layer_key`."""
FIELDS = ("layer", "projection", "rank")
OWN = ("name", "title", "corrections")
"""Settings of a method that are never another's."""
MEND = "name a finished run's folder, the folder of its seeds, or a CSV or JSON file with layer, projection and rank"


@dataclass(frozen=True)
class SourceRanks:
    """Ranks that were read."""

    ranks: dict[str, int]
    """`layer_key` -> rank."""
    origin: str
    """What a record says of where they are from: no path of this machine."""
    cell: str | None = None
    """task/model/method-id, where the source holds one run per seed."""


def layer_key(block: int | None, projection: str) -> str:
    """The name of a layer that does not depend on the architecture: `3.query`."""
    name = PROJECTIONS.get(projection, projection)
    return name if block is None else f"{block}.{name}"


def resolve_ranks(experiment: ExperimentConfig) -> None:
    """Fill in `ranks`, `total` or `cell` of a method that has them from `source`.

    Raises:
        UserError: the source cannot be read, or is given beside the ranks themselves.
    """
    method = experiment.method
    if not isinstance(method, RankedLoraConfig) or method.source is None or method.reference is not None:
        return
    if method.ranks or method.cell is not None:
        raise UserError(
            "method.source together with method.ranks or method.cell, which are read from it",
            "say one of them",
        )
    found = read_ranks(method.source, method.source_task or experiment.task.name, experiment.seed)
    method.origin = found.origin
    if found.cell is not None:
        method.cell = found.cell
    elif method.allocation is not Allocation.uniform:
        method.ranks = found.ranks
    elif method.total is None:
        method.total = sum(found.ranks.values())
    else:
        raise UserError(
            f"method.total={method.total} and method.source, which gives the total", "say one of them"
        )


def read_ranks(source: str, task: str, seed: int) -> SourceRanks:
    """Ranks of a run, of the run of `seed` in a cell's folder, or of `task` in a file.

    Raises:
        UserError: nothing or several things match `source`, the file is not readable, or a layer is named twice.
    """
    path = _only_match(source)
    if path.is_dir() and not (path / RECORD).is_file():
        return _of_cell(path, seed)
    if path.is_dir() or path.name == RECORD:
        record = read_record(path / RECORD if path.is_dir() else path)
        return SourceRanks(_of_record(record, path), f"{_cell(record)}/seed{record.seed}")
    return SourceRanks(_of_file(path, task), f"{path.name} ({task})")


def _only_match(source: str) -> Path:
    path = Path(source).expanduser()
    if path.exists():  # a name may hold what a pattern is made of
        return path
    found = sorted(glob.glob(str(path)))
    if len(found) != 1:
        several = (
            f"{len(found)} of them: {', '.join(found[:3])}" if found else "there is no such file or folder"
        )
        raise UserError(f"method.source={source}: {several}", MEND)
    return Path(found[0])


def _of_cell(folder: Path, seed: int) -> SourceRanks:
    path = folder / f"seed{seed}" / RECORD
    if not path.is_file():
        raise UserError(f"method.source={folder} has no run of seed {seed}", f"run that first; or {MEND}")
    record = read_record(path)
    return SourceRanks(_of_record(record, path), f"{_cell(record)}/seed{record.seed}", _cell(record))


def _cell(record: RunRecord) -> str:
    return f"{record.task}/{record.model}/{record.method}-{record.config_id}"


def _of_record(record: RunRecord, path: Path) -> dict[str, int]:
    if not record.ranks:
        raise UserError(
            f"{path} has no ranks (status {record.status.value})", "finish that run, or name another"
        )
    return _unique([(layer_key(layer.block, layer.projection), layer.rank) for layer in record.ranks], path)


def _of_file(path: Path, task: str) -> dict[str, int]:
    try:
        content = read_bytes(path)
        is_json = path.suffix.lower() == ".json"
        rows: Sequence[Mapping[str, Any]] = (
            parse_json(content)
            if is_json
            else [row for _, row in named_rows(path, FIELDS, content.decode("utf-8-sig"))]
        )
        if isinstance(rows, dict):
            raise UserError(
                f"{path} is no table of ranks",
                "name the folder of the run that it lies in, or give rows with layer, projection and rank",
            )
        wanted = [row for row in rows if row.get("task") in (None, "", task)]
        layers = [
            (layer_key(_whole(row["layer"]), str(row["projection"])), _whole(row["rank"])) for row in wanted
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} holds no ranks: {in_a_line(repr(error))}", f"give it the columns {', '.join(FIELDS)}"
        ) from error
    if not rows:
        raise UserError(f"{path} holds no ranks", f"give it the columns {', '.join(FIELDS)}")
    if not layers:
        known = sorted({str(row.get("task")) for row in rows})
        raise UserError(
            f"{path} has no ranks of task {task}", f"say method.source_task=NAME, one of: {', '.join(known)}"
        )
    return _unique(layers, path)


def _whole(value: Any) -> int:
    """A whole number, or what a CSV file has for one."""
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError(f"{value} is no whole number")
    return int(value)


def _unique(layers: Sequence[tuple[str, int]], path: Path) -> dict[str, int]:
    ranks = dict(layers)
    if len(ranks) < len(layers) or min(ranks.values()) < 0:
        raise UserError(
            f"{path} names a layer twice, or a negative rank", "keep one rank per layer and projection"
        )
    return ranks


def name_reference(
    experiment: ExperimentConfig,
    words: Sequence[str],
    schema_of: Callable[[str], str | None],
    compose: Callable[[Sequence[str]], ExperimentConfig],
) -> None:
    """Fill in `cell` and `source` of a method that has a `reference`; take the reference out where ranks are given.

    Args:
        experiment: as composed.
        words: what it was composed from.
        schema_of: name of a method -> name of its schema.
        compose: words -> the experiment that they stand for, checked.

    Raises:
        UserError: the words do not make a run of the reference, or it is a method without ranks of its own.
    """
    method = experiment.method
    if not isinstance(method, RankedLoraConfig) or method.reference is None:
        return
    if method.source is not None or method.ranks or method.total is not None or method.cell is not None:
        method.reference = None
        return
    reference, mend = method.reference, "say method.source=FOLDER_OF_A_FINISHED_RUN, or method.reference=null"
    schema = schema_of(reference)
    kind = methods().get(schema or "")
    if kind is None or not issubclass(kind.config, AutoLoraConfig | AdaLoraConfig | AllocatorConfig):
        raise UserError(f"method.reference={reference} is no method that learns ranks", mend)
    known = {f.name for f in fields(kind.config)}
    try:
        found = compose(words_of_reference(words, method.name, reference, known))
    except UserError as error:
        raise UserError(f"method.reference={reference} with the same words: {error.what}", mend) from error
    method.cell = f"{found.task.name}/{found.model.name}/{found.method.name}-{config_id(found)}"
    method.source = str(Path(run_folder(found)).parent)


def words_of_reference(words: Sequence[str], control: str, reference: str, known: set[str]) -> list[str]:
    """`words` of a run of `control` as those of a run of `reference`, whose method has the settings `known`."""
    kept = []
    for word in words:
        name, _, value = word.partition("=")
        name = name.lstrip("+~")
        setting = name.split(".")[1] if name.startswith("method.") else None
        if name == "cell" and value.rpartition("/")[2] == control:
            kept.append(f"cell={value.removesuffix(control)}{reference}")
        elif name != "method" and (setting is None or (setting in known and setting not in OWN)):
            kept.append(word)
    return [*kept, f"method={reference}"]
