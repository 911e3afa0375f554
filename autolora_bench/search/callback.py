"""The points of the Trainer's loop at which the search acts and that a subclass cannot override."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from autolora_bench.errors import require

if TYPE_CHECKING:
    from autolora_bench.search.trainer import SearchTrainer


class SelectionCallback(TrainerCallback):
    """Moves beta after each weight step, and writes what the search leaves behind."""

    def __init__(self, trainer: SearchTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Open the trajectory, anew or where the resumed run stood. Raises UserError where no step would move beta."""
        interval = self.trainer.options.interval
        require(
            interval <= state.max_steps,
            f"interval={interval} in a search of {state.max_steps} steps: the selection variables would never move",
            f"say {state.max_steps} or less, or search longer",
        )
        if state.is_world_process_zero:
            self.trainer.trajectory.begin(state.global_step, state.max_steps)
            if state.global_step == 0:
                self.trainer.trajectory.record(0, self.trainer.selection.current)

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """The weights have moved and their gradients are still there."""
        self.trainer.selection_step()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Write what became known in a step that is now counted."""
        if self.trainer.diagnosis:
            self.trainer.log(self.trainer.diagnosis)
            self.trainer.diagnosis = {}
        if state.is_world_process_zero:
            self.trainer.trajectory.record(state.global_step, self.trainer.selection.current)
