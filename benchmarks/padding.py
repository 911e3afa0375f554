"""What grouping by length and leaving out padding save in the search: tokens and CPU seconds over both halves.

    python benchmarks/padding.py --data DIR                    STS-B, MiniLM, 40 steps of 16

Searches take turns: batches at random, training batches grouped (train.group_by_length=true), both halves grouped
(method.search.group_by_length=true as well), and the first and the last of these with train.padding_free=true. As many
examples as the steps need, so that each is seen once.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from rounds import Seconds, data_words, ratios, spread, timed

from autolora_bench import devices
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.methods import search_training, searching
from autolora_bench.methods.base import PhaseContext
from autolora_bench.request import Request
from autolora_bench.sweeps.expansion import plan

BATCH = 16
TRAIN, VALIDATION = "train.group_by_length=true", "method.search.group_by_length=true"
UNPADDED = "train.padding_free=true"
ARMS: dict[str, tuple[str, ...]] = {
    "at random": (),
    "training grouped": (TRAIN,),
    "both grouped": (TRAIN, VALIDATION),
    "at random, unpadded": (UNPADDED,),
    "both, unpadded": (TRAIN, VALIDATION, UNPADDED),
}


def experiment(options: argparse.Namespace, seed: int, *words: str) -> ExperimentConfig:
    """AutoLoRA's cell, of which only the search is run."""
    source = data_words(options.data)
    settings = [f"task={options.task}", "method=autolora", f"seed={seed}", "device=cpu", *source, *words]
    settings += [
        f"data.limit={2 * BATCH * options.steps}",
        "train.epochs=1",
        "method.search.diagnose_steps=[]",
    ]
    return plan(Request((*settings, *options.words)))[0].experiment


def search(options: argparse.Namespace, seed: int, words: tuple[str, ...]) -> tuple[int, Seconds]:
    """Tokens that were computed, and seconds of the training loop."""
    chosen = experiment(options, seed, *words)
    devices.prepare(chosen)
    clocked: list[Seconds] = []
    train = search_training.train_or_resume

    def clock(*arguments: Any) -> Any:
        result: list[Any] = []
        clocked.append(timed(lambda: result.append(train(*arguments))))
        return result[0]

    search_training.train_or_resume = clock
    try:
        with tempfile.TemporaryDirectory() as folder:
            context = PhaseContext(chosen, Path(folder), torch.device("cpu"))
            found = searching.SearchPhase(chosen.method.search).run(context)  # type: ignore[attr-defined]
    finally:
        search_training.train_or_resume = train
    return int(found.tokens or 0), clocked[0]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder of the publishers' files; generated data without it")
    parser.add_argument("--task", default="stsb")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("words", nargs="*", help="more settings, key=value")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found: dict[str, list[tuple[int, Seconds]]] = {name: [] for name in ARMS}
    for seed in range(options.rounds):
        for name, words in ARMS.items():
            found[name].append(search(options, seed, words))
    print(f"{options.task}, {options.steps} steps of {BATCH} + {BATCH} examples, {options.rounds} seeds")
    print(f"{'batches':20}{'tokens an example':>20}{'CPU s a step':>14}{'of at random':>26}")
    base = [seconds for _, seconds in found["at random"]]
    for name, runs in found.items():
        tokens = statistics.mean(count for count, _ in runs) / (2 * BATCH * options.steps)
        cpu = statistics.median(seconds.cpu for _, seconds in runs) / options.steps
        shown = spread(ratios([seconds for _, seconds in runs], base, "cpu"))
        print(f"{name:20}{tokens:20.1f}{cpu:14.3f}{shown:>26}")


if __name__ == "__main__":
    main()
