"""Shows a training phase's progress: a bar on a terminal, a line per log elsewhere."""

import sys
import time
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

LINE_SECONDS = 20.0
"""Time between lines of a long evaluation where there is no terminal."""


class EvaluationProgress:
    """Shows how far a long evaluation is: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.begun = self.shown = time.monotonic()
        self.bar: Progress | None = None

    def __call__(self, done: int, total: int) -> None:
        """Take note of `done` of `total` examples."""
        if sys.stderr.isatty():
            self._move_bar(done, total)
        elif time.monotonic() - self.shown >= LINE_SECONDS:
            self.shown = time.monotonic()
            left = (self.shown - self.begun) / done * (total - done)
            print(f"  {self.name} {done}/{total}  {left:.0f} s left", file=sys.stderr, flush=True)

    def _move_bar(self, done: int, total: int) -> None:
        if self.bar is None:
            columns = (
                TextColumn("  {task.description}"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total}"),
            )
            self.bar = Progress(*columns, TimeRemainingColumn(), transient=True)
            self.task = self.bar.add_task(self.name, total=total)
            self.bar.start()
        self.bar.update(self.task, completed=done)
        if done >= total:
            self.bar.stop()
            self.bar = None


class ProgressDisplay(TrainerCallback):
    """Loss, mean rank where there is one, scores, and the time left."""

    def __init__(self, phase: str) -> None:
        self.phase = phase
        self.bar: Progress | None = None
        self.begun = (0.0, 0)
        self.facts = ""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Open the bar."""
        self.begun = (time.monotonic(), state.global_step)
        if sys.stderr.isatty():
            columns = (
                TextColumn("  {task.description}"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total}"),
            )
            self.bar = Progress(
                *columns, TimeRemainingColumn(), TextColumn("{task.fields[facts]}"), transient=True
            )
            self.task = self.bar.add_task(
                self.phase, total=state.max_steps, completed=state.global_step, facts=""
            )
            self.bar.start()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Move the bar."""
        if self.bar is not None:
            self.bar.update(self.task, completed=state.global_step, facts=self.facts)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Take the newest figures; print them where there is no bar."""
        wanted = {
            k: v
            for k, v in (logs or {}).items()
            if k in ("loss", "mean_rank") or (k.startswith("eval_") and "/" not in k)
        }
        if not wanted:
            return
        self.facts = "  ".join(f"{name.removeprefix('eval_')} {value:.4f}" for name, value in wanted.items())
        if self.bar is None:
            left = self._seconds_left(state)
            end = f"  {left:.0f} s left" if left else ""
            print(
                f"  {self.phase} {state.global_step}/{state.max_steps}  {self.facts}{end}",
                file=sys.stderr,
                flush=True,
            )

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.stop()

    def _seconds_left(self, state: TrainerState) -> float:
        seconds, step = self.begun
        done = state.global_step - step
        return (time.monotonic() - seconds) / done * (state.max_steps - state.global_step) if done else 0.0
