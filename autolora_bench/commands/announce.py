"""What is printed of runs: which are to be done, and what each gave."""

import sys
from collections import Counter

from autolora_bench.config.any_task import describe
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.record import Evaluation, RunRecord
from autolora_bench.sweeps.expansion import Plan
from autolora_bench.sweeps.tuned_settings import untied
from autolora_bench.untrusted import printable


def label(experiment: ExperimentConfig) -> str:
    """A run in a line, without its settings."""
    e = experiment
    return f"{e.task.name} {e.method.name} on {e.model.name}, {e.data.source.name} data, seed {e.seed}"


def announce(planned: Plan, pending: int, refused: int, done: int) -> None:
    """What of a plan is to be done; `refused` runs are not, `done` ones are completed."""
    for line in planned.left_out:
        print(f"left out: {line}", file=sys.stderr)
    for line in dict.fromkeys(describe(entry.experiment.task) for entry in planned):
        if line:
            print(printable(line), file=sys.stderr)
    for line in dict.fromkeys(note for entry in planned for note in untied(entry.experiment)):
        print(f"note: {line}", file=sys.stderr)
    left = len(planned) - pending - refused - done
    skipped = f", {done} done before (rerun=all runs them again)" if done else ""
    skipped += f", {left} left as they are (rerun=missing runs them)" if left else ""
    skipped += f", {refused} refused" if refused else ""
    print(f"{pending} of {len(planned)} runs to do{skipped}", file=sys.stderr)


def show(record: RunRecord) -> None:
    """Scores, sizes, ranks and times of a run, or why it failed."""
    if record.error is not None:
        print(printable(f"failed: {record.error['message']}"), file=sys.stderr)
        print(record.error["mend"] or "the traceback is in run.json", file=sys.stderr)
        return
    for split, evaluation in record.best.items():
        print(f"  {split}: {_scores(evaluation)}  (best epoch {evaluation.epoch:g})")
    for split, evaluation in record.test.items():
        print(f"  {split}: {_scores(evaluation)}")
    if record.parameters is not None:
        p = record.parameters
        trained = f"{p.trainable:,} ({p.method:,} without the head)"
        print(f"  trainable weights: {trained}; the model with its head: {p.total:,}")
    head = (record.provenance.get("source") or {}).get("head")
    if head:
        print(f"  head: {head}")
    if record.ranks:
        counts = Counter(layer.rank for layer in record.ranks)
        histogram = ", ".join(f"{counts[rank]} of rank {rank}" for rank in sorted(counts))
        print(f"  ranks: {histogram}; total {sum(layer.rank for layer in record.ranks)}")
    seconds = ", ".join(f"{phase.name} {phase.seconds:.0f} s" for phase in record.phases)
    print(f"  {seconds}", flush=True)


def _scores(evaluation: Evaluation) -> str:
    """The scores of the whole split, and the note; scores of its parts are in the record."""
    whole = {name: v for name, v in evaluation.scores.items() if v is not None and "/" not in name}
    note = f"  ({evaluation.note})" if evaluation.note else ""
    return "  ".join(f"{name} {value:.4f}" for name, value in whole.items()) + note
