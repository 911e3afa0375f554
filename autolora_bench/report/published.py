"""Values that papers print: read from results/published.csv, matched to rows and columns of a table."""

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from autolora_bench.errors import UserError

FIELDS = (
    "source",
    "table",
    "backbone",
    "method",
    "parameters",
    "task",
    "metric",
    "value",
    "std",
    "how_known",
    "note",
)
AVERAGE = "average"
HOULSBY = frozenset({"adapter_houlsby", "adapter_h"})
"""Names of Houlsby's adapter in the AdaLoRA and LoRA papers."""
WITHIN = 0.15
"""A published row counts as our setting if its number of weights is that close to ours."""


@dataclass(frozen=True)
class Published:
    """One cell of a published table, in the unit the paper prints."""

    source: str
    table: str
    backbone: str
    method: str
    parameters: str
    task: str
    """As ours; `webnlg/unseen` names a subset, `mnli_mm` the mismatched split, `average` the paper's own mean."""
    metric: str
    value: float
    std: float | None
    how_known: str
    note: str

    @property
    def group(self) -> tuple[str, str, str, str, str]:
        """What makes one row of the published table."""
        return self.source, self.table, self.backbone, self.method, self.parameters

    @property
    def weights(self) -> float | None:
        """The number of weights that `parameters` states, e.g. 300000 for `0.3M`."""
        try:
            return float(self.parameters.removesuffix("M")) * 1e6
        except ValueError:
            return None


def results_dir() -> Path:
    """The folder of published values: the copy inside an installed package, else the checkout's results/."""
    package = Path(__file__).resolve().parent.parent
    shipped = package / "results"
    return shipped if shipped.is_dir() else package.parent / "results"


def own_values() -> list[Path]:
    """The project's own file of published values, if it is there."""
    file = results_dir() / "published.csv"
    return [file] if file.is_file() else []


def read_published(*files: Path) -> list[Published]:
    """Read published values.

    Args:
        files: CSV files with the columns `FIELDS`; of two values for one cell the later counts. None reads the
            project's own.

    Raises:
        UserError: a file cannot be read, a column is missing, or a value is not a number.
    """
    found: dict[tuple[tuple[str, ...], str, str], Published] = {}
    for file in files or own_values():
        for number, row in read_rows(file, FIELDS):
            value = _published(row, f"{file} line {number}")
            found[value.group, value.task, value.metric] = value
    return list(found.values())


def read_rows(file: Path, columns: Iterable[str]) -> list[tuple[int, dict[str, str]]]:
    """Line number and cells of every row of a CSV file. Raises UserError where it cannot be read or lacks a column."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, restval="")
            rows = [(reader.line_num, {k: v for k, v in row.items() if isinstance(v, str)}) for row in reader]
            header = reader.fieldnames or []
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"cannot read {file}: {error}", "give a CSV file in UTF-8") from error
    absent = [name for name in columns if name not in header]
    if absent:
        raise UserError(
            f"{file} has no column {', '.join(absent)}", f"its first line must name {','.join(columns)}"
        )
    return rows


def _published(row: dict[str, str], where: str) -> Published:
    texts = {name: row[name].strip() for name in FIELDS if name not in ("value", "std")}
    texts["task"] = texts["task"].removesuffix("/all")
    return Published(
        **texts, value=_number(row["value"], where), std=_number(row["std"], where) if row["std"] else None
    )


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(
            f"{where}: {text!r} is not a number", "write a number, or remove the line: unknown cells stay out"
        )
    return value


def backbone_name(model: str) -> str:
    """A model's name as papers write it: `roberta_base`, `FacebookAI/roberta-base` -> `roberta-base`."""
    return model.rstrip("/").rpartition("/")[2].lower().replace("_", "-")


def published_task(task: str, split: str, metric: str) -> tuple[str, str]:
    """The task and metric under which published values of a column are filed."""
    base, _, subset = metric.partition("/")
    name = f"{task}_mm" if split.endswith("_mismatched") else task
    return (f"{name}/{subset}" if subset else name), base


def method_names(method: str, rank: object = None, placement: object = None) -> set[str]:
    """Names under which published tables may list our method: `lora` of rank 4 also as `lora_r4`."""
    names = {method, f"{method}_r{rank}"} if type(rank) is int else {method}
    return names | HOULSBY if (method, placement) == ("adapter", "houlsby") else names


def family(method: str) -> str:
    """`lora_r8 (no MNLI start)` -> `lora`."""
    return method.partition(" ")[0].partition("_")[0]


def same_size(published: Published, ours: float | None) -> bool:
    """Whether the published row has our number of weights, as far as both are known; any full fine-tuning has."""
    if published.weights is None or ours is None or family(published.method) == "full":
        return True
    return abs(published.weights - ours) <= WITHIN * max(published.weights, ours)
