"""The points of the Trainer's loop at which the search acts and that a subclass cannot override."""

from __future__ import annotations

from typing import Any, Protocol

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class SearchLoop(Protocol):
    """What the callback calls."""

    def begin_search(self) -> None:
        """Training starts or resumes."""

    def selection_step(self) -> None:
        """The weights have moved and their gradients are still there."""

    def end_step(self) -> None:
        """The step is counted."""


class SelectionCallback(TrainerCallback):
    """Hands the Trainer's events to the search."""

    def __init__(self, search: SearchLoop) -> None:
        self.search = search

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.search.begin_search()

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.search.selection_step()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.search.end_step()
