"""From a training configuration to transformers' TrainingArguments."""

from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from autolora_bench.config.train import Precision, TrainConfig
from autolora_bench.errors import UserError

BACKEND = "inductor"
"""Of torch.compile."""


def training_arguments(
    train: TrainConfig, folder: Path, *, learning_rate: float, seed: int, device: torch.device, **changes: Any
) -> TrainingArguments:
    """Arguments of one training phase; `folder` takes its checkpoints.

    Batches are in `train.batch_size` examples per optimizer step over all processes, so that a run on two
    processes computes what a run on one does.
    """
    options: dict[str, Any] = {
        "output_dir": str(folder),
        "num_train_epochs": train.epochs,
        "max_steps": train.max_steps or -1,
        "gradient_accumulation_steps": train.accumulation,
        "learning_rate": learning_rate,
        "weight_decay": train.weight_decay,
        "warmup_steps": train.warmup,
        "lr_scheduler_type": train.schedule.name,
        "max_grad_norm": train.clip,
        "bf16": train.precision is Precision.bf16,
        "gradient_checkpointing": train.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False} if train.gradient_checkpointing else None,
        "torch_compile": train.compile,
        "torch_compile_backend": BACKEND if train.compile else None,
        # beside torch.compile transformers would round the inputs of products on a GPU
        "tf32": False if train.compile else None,
        "use_cpu": device.type == "cpu",
        "seed": seed,
        "data_seed": seed,
        "train_sampling_strategy": "group_by_length" if train.group_by_length else "random",
        "dataloader_pin_memory": device.type == "cuda",
        "logging_steps": train.log_steps,
        "logging_nan_inf_filter": False,
        "save_strategy": "epoch",
        "report_to": "none",  # training.trackers reports, over all phases of a run
        "disable_tqdm": True,
    }
    arguments = TrainingArguments(**{**options, **changes})
    parts = train.accumulation * arguments.world_size
    if train.batch_size % parts:
        raise UserError(
            f"batches of {train.batch_size} do not divide into {train.accumulation} micro-batches "
            f"on each of {arguments.world_size} processes",
            "choose another batch size, accumulation or number of processes",
        )
    arguments.per_device_train_batch_size = train.batch_size // parts
    return arguments
