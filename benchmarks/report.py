"""Times a report over many records: reading and checking every run.json, aggregation, tables.

    python benchmarks/report.py [RECORDS]

Writes RECORDS (5,000) made-up records of 30 epochs each to a temporary folder, then prints seconds for each step.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rounds import Seconds, timed

from autolora_bench.record import (
    Evaluation,
    LayerRank,
    Parameters,
    PhaseRecord,
    RunRecord,
    Status,
    write_record,
)
from autolora_bench.report.build import render
from autolora_bench.report.collect import collect
from autolora_bench.report.prepared import prepare

TASKS = ("cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst2", "stsb")
METHODS = (
    "full",
    "adapter",
    "bitfit",
    "lora",
    "adalora",
    "autolora",
    "uniform",
    "random_ranks",
    "shuffled",
    "dora",
)
EPOCHS = 30


def made_up(number: int) -> RunRecord:
    """The number-th record: tasks, methods, five configurations each, then seeds."""
    task, rest = TASKS[number % 8], number // 8
    method, rest = METHODS[rest % 10], rest // 10
    rank, seed = 1 + rest % 5, rest // 5
    scores = [{"accuracy": 0.5 + 0.01 * ((number * 7 + epoch) % 37), "f1": 0.6} for epoch in range(EPOCHS)]
    history = [
        Evaluation("finetune", "validation", e + 1.0, 156 * (e + 1), s, 277, 0.5)
        for e, s in enumerate(scores)
    ]
    config = {
        "task": {"name": task, "metrics": ["accuracy", "f1"], "evaluation": ["validation"]},
        "model": {"name": "roberta_base", "checkpoint": None},
        "method": {"name": method, "rank": rank, "learning_rate": 1e-4},
        "data": {"limit": None},
        "train": {"epochs": EPOCHS, "precision": "fp32", "keep": "best"},
    }
    return RunRecord(
        task=task,
        model="roberta_base",
        method=method,
        config_id=f"{rank:08x}",
        seed=seed,
        status=Status.completed,
        config=config,
        command=f"autolora-bench task={task} method={method} method.rank={rank} seed={seed}",
        headline="accuracy",
        metrics={"accuracy": True, "f1": True},
        phases=[PhaseRecord("finetune", Status.completed, 60.0, 50.0, 2**31, 4680, 74880, 5_000_000, 1e15)],
        history=history,
        best={"validation": history[3]},
        last={"validation": history[-1]},
        parameters=Parameters(124_000_000, 700_000, 592_130),
        ranks=[LayerRank(f"layer.{b}.{p}", b, p, rank) for b in range(12) for p in ("query", "value")],
    )


def shown(name: str, step: Callable[[], Any]) -> Any:
    """Run one step and print its seconds."""
    results: list[Any] = []
    seconds = timed(lambda: results.append(step()))
    print(f"{name:12}{seconds.cpu:8.2f} CPU s{seconds.wall:8.2f} s")
    return results[0]


def main() -> None:
    """Write, read, aggregate, render."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("count", nargs="?", type=int, default=5000, help="records that are made up")
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            record = made_up(number)
            write_record(
                Path(folder) / record.task / f"{record.method}-{record.config_id}" / f"seed{record.seed}",
                record,
            )
        begun = Seconds.now()
        collection = shown("collect", lambda: collect(Path(folder)))
        prepared = shown("aggregate", lambda: prepare(collection))
        for name in ("markdown", "csv", "latex"):
            shown(name, lambda name=name: render(prepared, name))
        whole = Seconds.now().since(begun)
        print(f"{len(collection.records)} records: {whole.cpu:.2f} CPU s, {whole.wall:.2f} s")


if __name__ == "__main__":
    main()
