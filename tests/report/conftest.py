"""Records made by code: no score in here was ever measured."""

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autolora_bench.config import registry
from autolora_bench.config.data import DataConfig, Source
from autolora_bench.config.experiment import ExperimentConfig, config_id, experiment_identity
from autolora_bench.config.method import (
    AutoLoraConfig,
    FullConfig,
    LoraConfig,
    MethodConfig,
)
from autolora_bench.config.model import ModelConfig
from autolora_bench.config.search import Estimator, SearchConfig
from autolora_bench.config.task import ClassificationTask, GenerationTask, TaskConfig
from autolora_bench.config.train import TrainConfig
from autolora_bench.metrics.registry import METRICS
from autolora_bench.plan import PlannedRun
from autolora_bench.record import (
    Evaluation,
    LayerRank,
    Parameters,
    PhaseRecord,
    RunRecord,
    Status,
    write_record,
)
from autolora_bench.report import build
from autolora_bench.report.collect import Collection, collect
from autolora_bench.report.frames import frames_of
from autolora_bench.report.prepared import prepare
from autolora_bench.report.published import read_published
from autolora_bench.report.runs import runs_of
from autolora_bench.report.scoreboard import Table
from autolora_bench.report.tables import tables_of

Make = Callable[..., RunRecord]
Plan = Callable[..., PlannedRun]
Study = tuple[list[RunRecord], list[PlannedRun]]
PUBLISHED = Path(__file__).parent / "golden" / "published.csv"

TASKS: dict[str, TaskConfig] = {
    "rte": ClassificationTask(name="rte", title="RTE", metrics=["accuracy"], labels=["a", "b"]),
    "mrpc": ClassificationTask(name="mrpc", title="MRPC", metrics=["accuracy", "f1"], labels=["a", "b"]),
    "cola": ClassificationTask(name="cola", title="CoLA", metrics=["matthews_correlation"], labels=["a", "b"]),
    "mnli": ClassificationTask(
        name="mnli", title="MNLI", metrics=["accuracy"], labels=["a", "b", "c"],
        evaluation=["validation", "validation_mismatched"],
    ),
    "webnlg": GenerationTask(name="webnlg", title="WebNLG", metrics=["bleu", "meteor", "ter"], test=["test"]),
}  # fmt: skip


def report(
    records: Collection | list[RunRecord],
    planned: list[PlannedRun] | None = None,
    *,
    format: str = "markdown",
    figures: bool = True,
    **asked: Any,
) -> str:
    """As text, with the options that `prepare` takes."""
    return build.render(prepare(records, planned, **asked), format, figures=figures)


def write_report(
    folder: Path,
    records: Collection | list[RunRecord],
    planned: list[PlannedRun] | None = None,
    *,
    figures: Sequence[str] = ("svg",),
    **asked: Any,
) -> list[Path]:
    """As a folder, with the options that `prepare` takes."""
    return build.write_report(folder, prepare(records, planned, **asked), figures)


@registry.method("uniform", runs="autolora_bench.methods.lora:Lora", family="control")
@dataclass
class UniformConfig(LoraConfig):
    """A control with LoRA's settings."""


METHODS: dict[str, MethodConfig] = {
    "full": FullConfig(name="full", title="Full", learning_rate=2e-5),
    "lora": LoraConfig(name="lora", title="LoRA", learning_rate=1e-4, rank=8),
    "lora4": LoraConfig(name="lora", title="LoRA", learning_rate=1e-4, rank=4),
    "adalora": LoraConfig(name="adalora", title="AdaLoRA", learning_rate=1e-4),
    "autolora": AutoLoraConfig(name="autolora", title="AutoLoRA", learning_rate=1e-4, search=SearchConfig(epochs=3)),
    "released": AutoLoraConfig(
        name="autolora", title="AutoLoRA", learning_rate=1e-4,
        search=SearchConfig(epochs=3, estimator=Estimator.released),
    ),
    "uniform": UniformConfig(name="uniform", title="Uniform ranks", learning_rate=1e-4),
}  # fmt: skip
WEIGHTS = {"full": 124_600_000, "lora": 294_912, "lora4": 147_456, "adalora": 221_000, "uniform": 147_456}


def experiment(task: str, method: str, seed: int, model: str, results: str, **data: Any) -> ExperimentConfig:
    """A cell's configuration."""
    note = "a stand-in that has seen more" if model == "minilm" else None
    return ExperimentConfig(
        task=TASKS[task],
        model=ModelConfig(name=model, note=note),
        data=DataConfig(source=Source.hub, **data),
        method=METHODS[method],
        train=TrainConfig(epochs=3, cpu_kernels=False, padding_free=False),
        seed=seed,
        results=results,
    )


@pytest.fixture(scope="session")
def plan() -> Plan:
    """plan(task, method, seed=0, model="roberta_base", results="runs", **data) -> PlannedRun."""

    def make(
        task: str, method: str, seed: int = 0, model: str = "roberta_base", results: str = "runs", **data: Any
    ) -> PlannedRun:
        overrides = (f"task={task}", f"method={method}", f"model={model}", f"seed={seed}")
        return PlannedRun(experiment(task, method, seed, model, results, **data), overrides)

    return make


@pytest.fixture(scope="session")
def make(plan: Plan) -> Make:
    """make(task, method, seed, score, model=..., **fields) -> RunRecord, completed unless `status` says otherwise.

    `score` is a fraction or a dictionary metric -> fraction.
    """

    def record(
        task: str, method: str, seed: int = 0, score: float | dict[str, float | None] = 0.5, *,
        model: str = "roberta_base", data: dict[str, Any] | None = None, limit: int | None = None, **fields: Any,
    ) -> RunRecord:  # fmt: skip
        planned = plan(task, method, seed, model, **({"limit": limit} if limit else {}))
        config = TASKS[task]
        scores = score if isinstance(score, dict) else dict.fromkeys(config.metrics, score)
        made = RunRecord(
            task=task,
            model=model,
            method=planned.experiment.method.name,
            config_id=config_id(planned.experiment),
            seed=seed,
            status=Status.completed,
            config=experiment_identity(planned.experiment),
            command=planned.command,
            started="2026-01-05T10:00:00+00:00",
            finished="2026-01-05T10:05:00+00:00",
            headline=config.metrics[0],
            metrics={name: METRICS[name].higher_is_better for name in config.metrics},
            data={"source": f"{task} (made up)", "fingerprint": "ffff", "subsets": {}, "notes": []}
            | (data or {}),
            provenance={"commit": "0123456789abcdef", "dirty": False, "device": "Test GPU", "threads": 1},
        )
        if fields.get("status", Status.completed) is Status.completed:
            _complete(made, config, method, dict(scores))
        return dataclasses.replace(made, **fields)

    return record


def _complete(record: RunRecord, task: TaskConfig, method: str, scores: dict[str, float | None]) -> None:
    retrain = "retrain" if "autolora" in record.method else "finetune"
    for position, split in enumerate(task.evaluation):
        first, second, third = (
            {k: v and v - drop for k, v in scores.items()}
            for drop in (0.04 - 0.002 * position, -0.002 * position, 0.01)
        )
        runs = [
            Evaluation(retrain, split, e + 1.0, 10 * (e + 1), s, 100, 0.7 - 0.1 * e)
            for e, s in enumerate((first, second, third))
        ]
        record.history += runs
        record.best[split], record.last[split] = runs[1], runs[2]
    if task.test:
        subsets = {
            f"{k}/{part}": v and v + shift
            for k, v in scores.items()
            for part, shift in (("seen", 0.1), ("unseen", -0.1))
        }
        record.test = {
            split: Evaluation(retrain, split, 2.0, 20, {**scores, **subsets}, 100) for split in task.test
        }
    weights = WEIGHTS.get(method, 140_000 + 3072 * record.seed)
    record.parameters = Parameters(total=124_600_000, trainable=weights + 592_130, head=592_130)
    record.phases = _phases(record, retrain)
    if method != "full":
        draws = np.random.default_rng(record.seed).integers(1, 6, size=(4, 2))
        record.ranks = [
            LayerRank(f"encoder.layer.{block}.attention.self.{name}", block, name, int(draws[block, column]))
            for block in range(4)
            for column, name in enumerate(("query", "value"))
        ]


DIAGNOSTICS = [
    {"step": 1, "cosine": 0.995, "direct_norm": 0.02, "implicit_norm": 0.0005},
    {"step": 10, "cosine": 0.9998, "direct_norm": 0.03, "implicit_norm": 0.0007},
]


def _phases(record: RunRecord, retrain: str) -> list[PhaseRecord]:
    seconds = {"full": 90.0, "lora": 40.0, "adalora": 60.0, "autolora": 42.0}.get(record.method, 41.0)
    measured = {
        "peak_memory_bytes": 2_000_000_000,
        "steps": 30,
        "examples": 480,
        "tokens": 61_440,
        "flops": 3e12,
    }
    done = Status.completed
    phases = [PhaseRecord(retrain, done, seconds + record.seed, seconds - 5.0, **measured)]
    if record.method != "autolora":
        return phases
    measured |= {"peak_memory_bytes": 2_500_000_000, "tokens": 122_880, "flops": 7e12, "artefact": "search"}
    search = PhaseRecord(
        "search", done, 70.0 + record.seed, 66.0, **measured, details={"diagnostics": DIAGNOSTICS}
    )
    return [search, PhaseRecord("threshold", done, 0.1), *phases]


@pytest.fixture
def study(make: Make, plan: Plan) -> Study:
    """Failures, missing seeds, ties, negative scores, one seed, a subset, two configurations, two models."""
    return made_study(make, plan)


@pytest.fixture(scope="session")
def page_of_study(make: Make, plan: Plan) -> str:
    """Its report."""
    return report(*made_study(make, plan), format="html", title="Study")


def table(records: list[RunRecord], planned: list[PlannedRun] | None = None, **choices: str) -> Table:
    """The first table of these records, beside the published values of the golden files."""
    runs, _ = runs_of(records, planned)
    options = {"epoch": "best", "metrics": "paper", "title": "T", **choices}
    return tables_of(frames_of(runs), read_published(PUBLISHED), **options)[0]


def made_study(make: Make, plan: Plan) -> Study:
    noise = np.random.default_rng(7)
    records, planned = [], []

    def add(task: str, method: str, seeds: int, score: float, **fields: Any) -> None:
        for seed in range(seeds):
            jitter = round(float(noise.normal(0, 0.005)), 4)
            records.append(make(task, method, seed, round(score + jitter, 4), **fields))

    for method, score in (
        ("full", 0.78),
        ("lora", 0.75),
        ("lora4", 0.74),
        ("adalora", 0.76),
        ("autolora", 0.81),
    ):
        add("rte", method, 6, score)
    add("rte", "released", 3, 0.73)
    for method in ("lora", "autolora", "uniform"):
        tied = [make("mrpc", method, seed, {"accuracy": 0.88, "f1": 0.91}, data=SUBSET) for seed in range(3)]
        records += tied
    add("cola", "lora", 3, -0.03)
    add("cola", "autolora", 1, 0.05)
    add("mnli", "full", 2, 0.87)
    add("mnli", "lora", 3, 0.86)
    error = {
        "type": "UserError",
        "message": "no rows in data.dir",
        "mend": "give data.dir",
        "traceback": "Trace ...",
    }
    records += [make("mnli", "adalora", seed, status=Status.failed, error=error) for seed in (0, 1)]
    records.append(make("mnli", "autolora", 0, status=Status.interrupted))
    add("rte", "lora", 1, 0.6, model="minilm", limit=500)
    add("rte", "autolora", 1, 0.61, model="minilm", limit=500)
    planned = [planned_run_of(record, plan) for record in records]
    planned += [plan(task, "autolora", seed) for task in ("cola", "mnli") for seed in (1, 2)]
    return records, planned


SUBSET = {"subsets": {"train": [1000, 3668]}}


def planned_run_of(record: RunRecord, plan: Plan) -> PlannedRun:
    """The planned run that a made-up record fulfils."""
    names = _methods_by_id(record.task, record.model, **_limit(record))
    return plan(record.task, names[record.config_id], record.seed, record.model, **_limit(record))


@cache
def _methods_by_id(task: str, model: str, **data: Any) -> dict[str, str]:
    return {config_id(experiment(task, key, 0, model, "runs", **data)): key for key in METHODS}


def _limit(record: RunRecord) -> dict[str, Any]:
    limit = record.config["data"]["limit"]
    return {"limit": limit} if limit else {}


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """golden(name, text): compares with the file; the environment variable UPDATE_GOLDEN=1 rewrites it."""

    def compare(name: str, text: str) -> None:
        path = Path(__file__).parent / "golden" / name
        if os.environ.get("UPDATE_GOLDEN"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), (
            f"{name}: look at the difference, then UPDATE_GOLDEN=1"
        )

    return compare


@pytest.fixture
def searched(make: Make, tmp_path: Path) -> Collection:
    """Three seeds of one AutoLoRA cell with the artefacts of their searches, and a baseline."""
    for seed in range(3):
        record = make("rte", "autolora", seed, 0.8)
        random = np.random.default_rng(seed)
        beta = random.normal(size=(8, 8))
        alpha = np.exp(beta) / np.exp(beta).sum(axis=1, keepdims=True)
        kept = alpha >= 1 / 8
        names = [
            f"encoder.layer.{index // 2}.attention.self.{('query', 'value')[index % 2]}" for index in range(8)
        ]
        record.ranks = [
            LayerRank(n, i // 2, n.rsplit(".")[-1], int(kept[i].sum())) for i, n in enumerate(names)
        ]
        record.phases[0].artefact, record.phases[1].artefact = "search/selection.json", "threshold/ranks.json"
        folder = tmp_path / "runs" / f"seed{seed}"
        write_record(folder, record)
        for name, value in {
            "search/selection.json": {"modules": names, "beta": beta.tolist(), "alpha": alpha.tolist()},
            "threshold/ranks.json": {"kept": dict(zip(names, kept.tolist(), strict=True))},
        }.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(json.dumps(value))
        lines = [
            {"step": 10 * point, "alpha": (alpha * point / 3 + (1 - point / 3) / 8).tolist()}
            for point in range(4)
        ]
        (folder / "search/trajectory.jsonl").write_text("\n".join(map(json.dumps, lines)))
    write_record(tmp_path / "runs" / "adalora", make("rte", "adalora", 0, 0.7))
    return collect(tmp_path / "runs")
