"""Training from the start or from where it was interrupted."""

from pathlib import Path

import torch
import torch.distributed as dist
from transformers import Trainer
from transformers.trainer_utils import TrainOutput

from autolora_bench.interruption import deferred_signals
from autolora_bench.processes import on_main
from autolora_bench.training.checkpoints import last_checkpoint


def train_or_resume(trainer: Trainer, identity: str) -> TrainOutput:
    """Train to the end, from the last whole checkpoint of the run `identity` if there is one.

    Each of several processes draws dropout masks of its own.

    Raises:
        Interrupted: SIGTERM or Ctrl-C, once a checkpoint is written.
    """
    checkpoint = on_main(lambda: last_checkpoint(Path(str(trainer.args.output_dir)), identity))
    if trainer.args.world_size > 1:
        dist.barrier()
        if checkpoint is None:
            torch.manual_seed(trainer.args.seed * trainer.args.world_size + trainer.args.process_index)
    with deferred_signals():
        return trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
