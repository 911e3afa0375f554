"""What a user pays: whole commands, from the shell's prompt to its return, against scripts that do the same.

    python benchmarks/whole_command.py --data DIR [--rounds 5] [--examples 1000]

MRPC with MiniLM, one epoch, one thread. `autolora-bench method=lora` as typed stands against plain_script.py (PEFT and
the Trainer), `method=autolora` as typed against lean_loop.py (two passes a search step, written by hand). Every command
is a process of its own with an empty results folder; arms take turns in an order that turns, after a command of one
step that is not counted, which fills the cache of tokenised data. CPU seconds: of the process and its children.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rounds import Seconds, ratios, spread

from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.models.locate import locate

HERE = Path(__file__).resolve().parent
PLAIN, LEAN = "plain PEFT + Trainer script", "lean loop of two passes"
LORA, AUTOLORA = "method=lora", "method=autolora"
REFERENCE = "train=reference"
BF16 = "train.precision=bf16"
AGAINST = {
    LORA: PLAIN,
    f"{LORA} {REFERENCE}": PLAIN,
    f"{LORA} {BF16}": PLAIN,
    AUTOLORA: LEAN,
    f"{AUTOLORA} {REFERENCE}": LEAN,
    f"{AUTOLORA} {BF16}": LEAN,
}
"""What is typed beside task, model and data -> the script that it is held against."""


def commands(options: argparse.Namespace, folder: Path, seed: int) -> dict[str, list[str]]:
    """Arm -> the command that it is."""
    with composer():
        model = to_experiment(compose_config(["task=mrpc", "model=minilm"])).model
    weights, glue = locate(model).source, str(Path(options.data) / "glue")
    sizes = ["--examples", str(options.examples), "--seed", str(seed)]
    words = [
        *("task=mrpc", "model=minilm", "data=local", f"data.dir={options.data}"),
        *(f"data.limit={options.examples}", "train.epochs=1", "device=cpu"),
        *(f"seed={seed}", f"results={folder}"),
    ]
    ours = {arm: [sys.executable, "-m", "autolora_bench", *words, *arm.split()] for arm in AGAINST}
    return {
        PLAIN: [sys.executable, str(HERE / "plain_script.py"), weights, glue, str(folder), *sizes],
        LEAN: [sys.executable, str(HERE / "lean_loop.py"), weights, glue, str(folder), *sizes],
        **ours,
    }


def seconds(command: list[str]) -> Seconds:
    """Of one process and its children, from start to end."""
    used, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return Seconds(time.perf_counter() - begun, cpu)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="folder of the publishers' files")
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--arms", nargs="*", help="only these, and what they are held against")
    options = parser.parse_args()
    chosen = options.arms or list(AGAINST)
    arms = [*dict.fromkeys(AGAINST[arm] for arm in chosen), *chosen]
    found: dict[str, list[Seconds]] = {arm: [] for arm in arms}
    with tempfile.TemporaryDirectory() as folder:
        seconds([*commands(options, Path(folder), 0)[LORA], "train.max_steps=1"])
    for number in range(options.rounds):
        turn = number % len(arms)
        for arm in arms[turn:] + arms[:turn]:
            with tempfile.TemporaryDirectory() as folder:
                found[arm].append(seconds(commands(options, Path(folder), number)[arm]))
        print(f"round {number}: " + ", ".join(f"{arm} {found[arm][-1].cpu:.1f}" for arm in arms), flush=True)
    print(f"\n{'command':36}{'CPU s':>8}{'over':>6}{'ratio of CPU seconds':>28}{'of wall seconds':>24}")
    for arm in arms:
        cpu = statistics.median(one.cpu for one in found[arm])
        against = AGAINST.get(arm)
        shown = (
            [spread(ratios(found[arm], found[against], clock)) for clock in ("cpu", "wall")]
            if against
            else ["", ""]
        )
        print(f"{arm:36}{cpu:8.1f}{'its script' if against else '':>12}{shown[0]:>22}{shown[1]:>24}")


if __name__ == "__main__":
    main()
