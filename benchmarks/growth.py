"""How the cost of a search step grows with layers, components and sequence length, and that of a report with records.

    python benchmarks/growth.py --out DIR                     writes growth.csv and growth.png
    python benchmarks/growth.py --out DIR --quick             fewer sizes and steps

Each sweep changes one size of a small random encoder, the others stay. The exponent is the slope of log seconds over
log size between the two largest sizes: 1 is linear, below it a fixed part still weighs. Attention is quadratic in the
length, so sequences may exceed 1. CPU seconds, median over the steps; plain steps and search steps take turns.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import search_step
from report import made_up
from rounds import timed

from autolora_bench.record import write_record
from autolora_bench.report.build import render
from autolora_bench.report.collect import collect
from autolora_bench.report.prepared import prepare

STEP, RECORDS = "closed_form", "records"
SIZES = {
    "layers": (6, 12, 24, 48),
    "rank": (4, 8, 16, 32, 64),
    "tokens": (32, 64, 128, 256, 512),
    RECORDS: (10, 100, 1000, 5000),
}
TITLES = {
    "layers": "layers",
    "rank": "components k",
    "tokens": "sequence length",
    RECORDS: "records in a report",
}


@dataclass(frozen=True)
class Point:
    """One measurement."""

    sweep: str
    size: int
    arm: str
    seconds: float


def steps(options: argparse.Namespace, sweep: str, size: int) -> list[Point]:
    """Median seconds of a plain and of a search step at one size."""
    sizes = argparse.Namespace(**{**vars(options), sweep: size})
    base = search_step.build(sizes)
    found: dict[str, list[float]] = {}
    arms = {name: search_step.arm(base, sizes, name) for name in (search_step.PLAIN, STEP)}
    for step in range(options.steps + 1):
        batches = search_step.draw(sizes, 2 * step), search_step.draw(sizes, 2 * step + 1)
        for name, one in arms.items():
            seconds = timed(partial(one.step, *batches, False)).cpu
            if step:
                found.setdefault(name, []).append(seconds)
    return [Point(sweep, size, name, statistics.median(values)) for name, values in found.items()]


def reports(sizes: tuple[int, ...]) -> list[Point]:
    """Seconds of a report over so many records."""
    points = []
    with tempfile.TemporaryDirectory() as folder:
        written = 0
        for size in sizes:
            for number in range(written, size):
                record = made_up(number)
                name = f"{record.method}-{record.config_id}"
                write_record(Path(folder) / record.task / name / f"seed{record.seed}", record)
            written = size
            seconds = timed(lambda: render(prepare(collect(Path(folder))), "markdown")).cpu
            points.append(Point(RECORDS, size, "report", seconds))
    return points


def exponent(points: list[Point]) -> float:
    """Slope between the two largest sizes of one arm."""
    a, b = sorted(points, key=lambda point: point.size)[-2:]
    return math.log(b.seconds / a.seconds) / math.log(b.size / a.size)


def write(points: list[Point], folder: Path) -> None:
    """growth.csv and growth.png."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "growth.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["sweep", "size", "arm", "cpu_seconds"])
        rows.writerows([p.sweep, p.size, p.arm, f"{p.seconds:.6f}"] for p in points)
    sweeps = list(dict.fromkeys(point.sweep for point in points))
    figure, axes = plt.subplots(
        1, len(sweeps), figsize=(3.4 * len(sweeps), 3.2), layout="constrained", squeeze=False
    )
    for axis, sweep in zip(axes[0], sweeps, strict=True):
        for (name, line), marker in zip(lines(points, sweep).items(), "osv", strict=False):
            x, y = [p.size for p in line], [p.seconds for p in line]
            axis.loglog(x, y, marker=marker, label=f"{name}, exponent {exponent(line):.2f}")
        axis.loglog(x, [y[-1] * size / x[-1] for size in x], color="0.6", linestyle=":", label="linear")
        axis.set_xticks(x, [f"{size:,}" for size in x], minor=False)
        axis.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        axis.set_xlabel(TITLES[sweep])
        axis.set_ylabel("CPU seconds")
        axis.legend(fontsize=7)
    figure.savefig(folder / "growth.png", dpi=150)


def lines(points: list[Point], sweep: str) -> dict[str, list[Point]]:
    """Arm -> its points of one sweep."""
    names = dict.fromkeys(point.arm for point in points if point.sweep == sweep)
    return {name: [p for p in points if p.sweep == sweep and p.arm == name] for name in names}


def main() -> None:
    made = search_step.parser()
    made.description = __doc__
    made.set_defaults(layers=6, hidden=64, batch=4, tokens=64, steps=7)
    made.add_argument("--out", type=Path, required=True, help="folder for growth.csv and growth.png")
    made.add_argument("--sweeps", nargs="*", default=list(SIZES), choices=list(SIZES))
    made.add_argument("--quick", action="store_true", help="the smallest and the two largest sizes, 3 steps")
    options = made.parse_args()
    search_step.prepare(options)
    options.steps = 3 if options.quick else options.steps
    points: list[Point] = []
    for sweep in options.sweeps:
        sizes = SIZES[sweep][:1] + SIZES[sweep][-2:] if options.quick else SIZES[sweep]
        found = (
            reports(sizes) if sweep == RECORDS else [p for size in sizes for p in steps(options, sweep, size)]
        )
        points += found
        for name, line in lines(found, sweep).items():
            shown = "  ".join(f"{p.size}: {p.seconds:.4f}" for p in line)
            print(f"{TITLES[sweep]:20} {name:12} exponent {exponent(line):5.2f}   {shown}", flush=True)
    write(points, options.out)


if __name__ == "__main__":
    main()
