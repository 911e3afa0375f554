"""What it costs to compose one run in a process that has composed before: a job of a sweep, or a run from Python.

    python benchmarks/compose.py [ROUNDS]

Prints the median and the quartiles, over rounds of 20 compositions that differ in a value, of CPU milliseconds for one:
Hydra's part, and with the objects that are made of it.
"""

import argparse
import statistics
import time
from collections.abc import Callable

from rounds import several

from autolora_bench.config.compose import compose_config, composer, to_objects

WORDS = ["task=sst2", "data=generated", "method=autolora", "data.limit=8"]
EACH = 20


def milliseconds(work: Callable[[int], object]) -> float:
    """Of one call, mean over `EACH`."""
    begun = time.process_time()
    for number in range(EACH):
        work(number)
    return 1000 * (time.process_time() - begun) / EACH


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rounds", nargs="?", type=several, default=9, help="in turns, 2 or more")
    rounds = parser.parse_args().rounds

    def composed(number: int) -> object:
        with composer():
            return compose_config([*WORDS, f"train.max_steps={number + 1}"])

    def objects(number: int) -> object:
        with composer():
            return to_objects(compose_config([*WORDS, f"train.max_steps={number + 1}"]))

    for name, work in (("composition", composed), ("with its objects", objects)):
        work(0)
        found = [milliseconds(work) for _ in range(rounds)]
        low, middle, high = statistics.quantiles(found, n=4)
        print(f"{name:18} {middle:6.1f} ({low:.1f} to {high:.1f}) ms")


if __name__ == "__main__":
    main()
