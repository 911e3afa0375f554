"""Folders that completed runs would leave, written without running anything."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.experiment import ExperimentConfig, config_id, experiment_identity, run_folder
from autolora_bench.record import Evaluation, Parameters, PhaseRecord, RunRecord, Status, write_record

MODULES = ["layer.0.query", "layer.0.value"]


@cache
def composed(task: str, method: str) -> ExperimentConfig:
    with composer():
        return to_experiment(compose_config([f"task={task}", f"method={method}", "data=generated"]))


def write_run(results: Path, method: str, seed: int, score: float, task: str = "rte") -> Path:
    """Write the record, and for a search its artefacts, that a completed run would leave."""
    words = [f"task={task}", f"method={method}", "data=generated", f"seed={seed}", f"results={results}"]
    cell = replace(composed(task, method), seed=seed, results=results)
    scored = Evaluation("finetune", "validation", 1.0, 10, {"accuracy": score}, 128)
    identity = (task, cell.model.name, method, config_id(cell), seed)
    command = f"autolora-bench {' '.join(words)}"
    record = RunRecord(*identity, Status.completed, experiment_identity(cell), command)
    record.headline, record.metrics = "accuracy", {"accuracy": True}
    record.best, record.last, record.history = {"validation": scored}, {"validation": scored}, [scored]
    record.parameters = Parameters(100, 30, 10)
    record.locations = {"data.dir": str(results / "data"), "device": "cpu"}
    record.data = {"source": "generated", "splits": {"validation": 128}}
    artefacts = {"search": "search/selection.json", "threshold": "threshold/ranks.json"}
    if method == "autolora":
        record.phases = [PhaseRecord(n, Status.completed, artefact=path) for n, path in artefacts.items()]
    folder = run_folder(cell)
    write_record(folder, record)
    if method == "autolora":
        alpha = [[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]]
        (folder / "search").mkdir()
        (folder / "threshold").mkdir()
        selection = {"modules": MODULES, "beta": alpha, "alpha": alpha}
        (folder / "search" / "selection.json").write_text(json.dumps(selection))
        kept = {name: [value >= 0.25 for value in row] for name, row in zip(MODULES, alpha, strict=True)}
        points = [{"step": step, "alpha": alpha} for step in range(101)]
        (folder / "search" / "trajectory.jsonl").write_text("\n".join(map(json.dumps, points)))
        (folder / "threshold" / "ranks.json").write_text(json.dumps({"kept": kept}))
    return folder


@pytest.fixture
def a_run() -> Callable[..., Path]:
    """a_run(results, method, seed, score, task="rte") -> the folder of a completed run."""
    return write_run


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two seeds of two methods on RTE, one run on SST-2."""
    folder = tmp_path / "runs"
    for seed, score in enumerate((0.5, 0.75)):
        write_run(folder, "lora", seed, score)
        write_run(folder, "autolora", seed, score)
    write_run(folder, "lora", 0, 0.25, task="sst2")
    return folder
