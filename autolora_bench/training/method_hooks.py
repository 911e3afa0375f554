"""A method's own part in a training phase, beside the gradient steps."""

from typing import Any

from torch import Tensor
from transformers import TrainerCallback


class MethodHooks(TrainerCallback):
    """Acts at the Trainer's events, adds to the loss, has state that checkpoints keep. This one does nothing."""

    def penalty(self) -> Tensor | None:
        """What is added to the loss of every optimizer step: a scalar with its graph."""
        return None

    def may_keep(self, step: int) -> bool:
        """Whether the weights after `step` optimizer steps may be the ones that the phase leaves behind."""
        return True

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold beside weights and optimizer, for training to go on bit for bit."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` gave."""

    def finish(self) -> None:
        """Change the model for good, once it holds the weights that are kept and before they are saved."""

    def details(self) -> dict[str, Any]:
        """What the record says of it, as JSON."""
        return {}
