"""A whole AutoLoRA cell (search, threshold, retrain, evaluate) against AdaLoRA's and against a grid of 16 LoRA ranks.

    python benchmarks/cell.py --data DIR                      MRPC, MiniLM
    python benchmarks/cell.py --data DIR --task rte --examples 512 --epochs 3

The same examples, epochs and settings for all, without ways of computing of our own unless `train=default` is said; the
cells run in one process and take turns. The grid is taken as 16 times one LoRA run. The search's comparisons with the
exact hypergradient are left out: four of them are nothing beside a real search and much beside a short one.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from rounds import Seconds, data_words, ratios, spread, timed

from autolora_bench.record import Status
from autolora_bench.request import Request
from autolora_bench.runner import run_experiment
from autolora_bench.sweeps.expansion import plan

METHODS = ("lora", "adalora", "autolora")
GRID = 16


def run(options: argparse.Namespace, method: str, seed: int) -> Seconds:
    """One whole cell."""
    words = [
        f"task={options.task}",
        f"method={method}",
        f"seed={seed}",
        "device=cpu",
        *data_words(options.data),
        *([] if any(word.startswith("train=") for word in options.words) else ["train=reference"]),
        *options.words,
    ]
    words += [f"data.limit={options.examples}", "data.limit_evaluation=32", f"train.epochs={options.epochs}"]
    words += ["method.search.diagnose_steps=[]"] if method == "autolora" else []
    experiment = plan(Request(tuple(words)))[0].experiment
    with tempfile.TemporaryDirectory() as folder:
        outcome = []
        seconds = timed(lambda: outcome.append(run_experiment(experiment, Path(folder), "", None)))
        if outcome[0].status is not Status.completed:
            raise SystemExit(f"{method}: {outcome[0].error}")
        return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder of the publishers' files; generated data without it")
    parser.add_argument("--task", default="mrpc")
    parser.add_argument("--examples", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="128 examples, one round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("words", nargs="*", help="more settings, key=value")
    options = parser.parse_args()
    if options.quick:
        options.examples, options.rounds = 128, 1
    torch.set_num_threads(options.threads)
    found: dict[str, list[Seconds]] = {method: [] for method in METHODS}
    run(argparse.Namespace(**{**vars(options), "examples": 16, "epochs": 1}), "lora", 0)  # imports, caches
    for seed in range(options.rounds):
        for method in METHODS:
            found[method].append(run(options, method, seed))
    print(f"{options.task}, {options.examples} examples, {options.epochs} epochs")
    for clock in ("cpu", "wall"):
        over_adalora = ratios(found["autolora"], found["adalora"], clock)
        over_grid = [r / GRID for r in ratios(found["autolora"], found["lora"], clock)]
        print(
            f"{clock:5}autolora / adalora {spread(over_adalora)}   autolora / LoRA grid {spread(over_grid)}"
        )


if __name__ == "__main__":
    main()
