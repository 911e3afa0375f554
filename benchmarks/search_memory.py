"""Peak memory of search steps against plain LoRA steps, every arm in a process of its own.

    python benchmarks/search_memory.py --batch 16 --tokens 128
    python benchmarks/search_memory.py --layers 12 --hidden 768 --arms closed_form unrolled

On a CPU it is the peak resident set of the process as the kernel keeps it, on CUDA what torch has allocated; `above the
model` is that less what was there before the first step: gradients, moments, activations. Arms as in search_step.py.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import torch
from search_step import PLAIN, arm, build, describe, draw, parser, prepare

from autolora_bench.devices import peak_memory, reset_peak_memory


def memory_of(options: argparse.Namespace, name: str) -> dict[str, int]:
    """Bytes before the first step and at the peak of the steps."""
    one = arm(build(options), options, name)
    device = torch.device(options.device)
    reset_peak_memory(device)
    before = peak_memory(device) or 0
    for step in range(max(options.steps, one.interval)):
        one.step(draw(options, 2 * step), draw(options, 2 * step + 1), False)
    return {"before": before, "peak": peak_memory(device) or 0}


def measure(options: argparse.Namespace) -> None:
    """One line for each arm."""
    describe(options)
    print(f"{'step':20} {'peak MB':>9} {'over plain':>11} {'above the model, MB':>20} {'over plain':>11}")
    found: dict[str, dict[str, int]] = {}
    for name in (PLAIN, *options.arms):
        command = [sys.executable, *sys.argv, "--of", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[name] = json.loads(done.stdout.splitlines()[-1])
        peak, step = found[name]["peak"], found[name]["peak"] - found[name]["before"]
        plain = found[PLAIN]["peak"], found[PLAIN]["peak"] - found[PLAIN]["before"]
        shown = f"{peak / 1e6:9.0f} {peak / plain[0]:11.2f} {step / 1e6:20.0f} {step / plain[1]:11.2f}"
        print(f"{name:20} {shown}", flush=True)


def main() -> None:
    made = parser()
    made.description = __doc__
    made.set_defaults(steps=3)
    made.add_argument("--of", help=argparse.SUPPRESS)
    options = made.parse_args()
    prepare(options)
    if options.of:
        print(json.dumps(memory_of(options, options.of)))
    else:
        measure(options)


if __name__ == "__main__":
    main()
