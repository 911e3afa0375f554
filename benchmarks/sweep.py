"""What the second and later jobs of a sweep cost before their first training step, against the first job.

    python benchmarks/sweep.py --data DIR                     MiniLM, RTE, five seeds of LoRA
    python benchmarks/sweep.py --data DIR --task mrpc --method lora,autolora

The first job's overhead counts from the start of its process: imports, weights, tokenised data. A later job's counts
from the end of the job before it. --cold begins with an empty cache of tokenised data, as a first run ever does.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from rounds import data_words

CHILD = "--in-child"


def observe(words: list[str], begun: float) -> list[dict[str, float]]:
    """Run a sweep in this process; wall and CPU seconds of every job from its start to its first training step."""
    from autolora_bench import cli, runner
    from autolora_bench.training.trainer import MeteredTrainer

    marks: list[dict[str, float]] = []
    last = {"wall": begun, "cpu": 0.0}
    open_job = True
    step, run = MeteredTrainer.training_step, runner.run_experiment

    def first_step(*args: Any, **options: Any) -> Any:
        nonlocal open_job
        if open_job:
            marks.append({"wall": time.time() - last["wall"], "cpu": time.process_time() - last["cpu"]})
            open_job = False
        return step(*args, **options)

    def whole_run(*args: Any, **options: Any) -> Any:
        nonlocal open_job
        record = run(*args, **options)
        last.update(wall=time.time(), cpu=time.process_time())
        open_job = True
        return record

    MeteredTrainer.training_step = first_step  # type: ignore[method-assign]
    runner.run_experiment = whole_run
    status = cli.run(words)
    if status:
        sys.exit(status)
    return marks


def sweep(options: argparse.Namespace) -> list[dict[str, float]]:
    """One sweep in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        seeds = ",".join(str(seed) for seed in range(options.jobs))
        words = [
            *[
                "-m",
                f"task={options.task}",
                f"method={options.method}",
                f"seed={seeds}",
                f"results={folder}/runs",
            ],
            *[
                "train.epochs=1",
                "train.max_steps=1",
                "data.limit_evaluation=16",
                "device=cpu",
                *options.words,
            ],
        ]
        words += data_words(options.data)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if options.cold:
            environment["AUTOLORA_BENCH_CACHE"] = f"{folder}/cache"
        command = [sys.executable, __file__, CHILD, str(time.time()), *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        found: list[dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
        return found


def report(rounds: list[list[dict[str, float]]]) -> None:
    """Seconds of the first job and the median of the later ones, and their ratio, per round and over the rounds."""
    for clock in ("wall", "cpu"):
        firsts = [jobs[0][clock] for jobs in rounds]
        later = [statistics.median(job[clock] for job in jobs[1:]) for jobs in rounds]
        ratios = [b / a for a, b in zip(firsts, later, strict=True)]
        print(
            f"{clock:5} first {statistics.median(firsts):6.2f} s  later {statistics.median(later):6.2f} s  "
            f"ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        )


def main() -> None:
    if sys.argv[1:2] == [CHILD]:
        print(json.dumps(observe(sys.argv[3:], float(sys.argv[2]))))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder of the publishers' files; generated data without it")
    parser.add_argument("--task", default="rte")
    parser.add_argument("--method", default="lora")
    parser.add_argument("--jobs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("words", nargs="*", help="more settings, key=value")
    options = parser.parse_args()
    report([sweep(options) for _ in range(options.rounds)])


if __name__ == "__main__":
    main()
