"""What the phases of a run left beside its record: the final selection of a search, and its trajectory."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolora_bench.errors import UserError
from autolora_bench.record import RunRecord
from autolora_bench.report.collect import Identity
from autolora_bench.untrusted import in_a_line, parse_json, read_bytes

Floats = NDArray[np.float64]
DRAWN_POINTS = 40
"""Points of a trajectory that are drawn, and kept in records without weights."""


class UnreadableArtefactError(UserError):
    """A file that a phase left is not what it should be."""


@dataclass(frozen=True)
class SearchResult:
    """The end of one search. L layers, K components."""

    modules: tuple[str, ...]
    alpha: Floats
    """(L, K)"""
    kept: NDArray[np.bool_]
    """(L, K)"""


@dataclass(frozen=True)
class SearchPath:
    """Selection weights over the optimizer steps of one search. T points, L layers, K components."""

    steps: NDArray[np.int64]
    """(T,)"""
    alpha: Floats
    """(T, L, K)"""


def read_search_result(folder: Path, record: RunRecord) -> SearchResult | None:
    """The final selection of a run; None where the run has no search phase or its files are gone.

    The kept components stand in the selection's own file or in the threshold phase's.

    Raises:
        UnreadableArtefactError: a file is not what it should be.
    """
    path = artefact_path(folder, record, "search", "selection.json")
    if path is None:
        return None
    found = read_json(path)
    threshold = artefact_path(folder, record, "threshold", "ranks.json")
    kept = found.get("kept") or (read_json(threshold).get("kept") if threshold else None)
    if kept is None:
        return None
    try:
        modules = tuple(str(name) for name in found["modules"])
        flags = [kept[name] for name in modules] if isinstance(kept, dict) else kept
        result = SearchResult(modules, _matrix(found["alpha"]), _matrix(flags) != 0)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UnreadableArtefactError(
            f"{path} is no selection: {in_a_line(repr(error))}", "run the search phase again"
        ) from error
    if result.alpha.shape != result.kept.shape or len(modules) != len(result.alpha):
        raise UnreadableArtefactError(
            f"{path}: modules, alpha and kept differ in size", "run the search phase again"
        )
    return result


def search_left(
    record: RunRecord | None, folders: Mapping[Identity, Path], problems: list[str]
) -> SearchResult | None:
    """As `read_search_result`; None too where it cannot be read, with a line in `problems`."""
    folder = folders.get(record.identity) if record else None
    try:
        return read_search_result(folder, record) if record and folder else None
    except UserError as error:
        problems.append(error.what)
        return None


def read_search_path(folder: Path, record: RunRecord) -> SearchPath | None:
    """The trajectory of a run's search; None where there is none.

    Raises:
        UnreadableArtefactError: a line is not {"step": s, "alpha": L rows of K numbers}.
    """
    path = artefact_path(folder, record, "search", "trajectory.jsonl")
    if path is None:
        return None
    try:
        points = [(int(point["step"]), _matrix(point["alpha"])) for point in _lines(path)]
        if not points:
            return None
        return SearchPath(np.array([step for step, _ in points]), np.stack([alpha for _, alpha in points]))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UnreadableArtefactError(
            f"{path} is no trajectory: {in_a_line(repr(error))}", "run the search phase again"
        ) from error


def evenly(count: int, most: int) -> list[int]:
    """At most `most` positions, evenly spread over `count`, first and last among them."""
    return [int(place) for place in np.unique(np.linspace(0, count - 1, min(count, most)).round())]


def artefact_path(folder: Path, record: RunRecord, phase: str, name: str) -> Path | None:
    """The file `name` beside or inside the phase's artefact, never outside the run's folder."""
    entry = record.phase(phase)
    if entry is None:
        return None
    stated = folder / (entry.artefact or phase)
    place = stated if stated.is_dir() else stated.parent
    path = place / name
    inside = path.resolve().is_relative_to(folder.resolve())
    return path if inside and path.is_file() else None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, empty where the file holds something else. Raises UserError where it is no JSON."""
    try:
        values = parse_json(read_bytes(path))
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableArtefactError(
            f"{path} is not readable: {in_a_line(str(error))}", "run the search phase again"
        ) from error
    return values if isinstance(values, dict) else {}


def _lines(path: Path) -> Iterator[Any]:
    for line in read_bytes(path).split(b"\n"):
        if line.strip():
            yield parse_json(line)


def _matrix(values: Any) -> Floats:
    matrix = np.array(values, dtype=np.float64)
    if matrix.ndim != 2 or not all(math.isfinite(value) for value in matrix.flat):
        raise ValueError("not a table of finite numbers")
    return matrix
