"""What a recovery task's teacher puts out: computed once for a model, its inputs and a plant, then read from the cache.

Shapes: T tokens of an input, H hidden size.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import transformers
from datasets import Dataset
from torch import Tensor, nn
from transformers import DataCollatorWithPadding, PreTrainedModel, PreTrainedTokenizerBase

from autolora_bench.config.task import RecoveryTask
from autolora_bench.config.truth import Truth
from autolora_bench.data.cache import cached_dataset
from autolora_bench.models import teacher
from autolora_bench.models.load import Backbone
from autolora_bench.models.teacher import calibrated, draw_updates, hidden_states, layer_inputs, planted

NAMES = ("_name_or_path", "transformers_version")
"""Settings of a model that say where it is from."""
WHITENING, CALIBRATION = 256, 32
"""Training inputs, the first ones, that the updates' directions are whitened on, and that their scales are measured on:
once for all layers, and some hundred times."""
FORWARD = 64
"""Inputs of a forward pass."""


@dataclass(frozen=True)
class Plant:
    """What is planted, and where."""

    task: RecoveryTask
    ranks: Mapping[str, int]
    """Layer -> true rank."""
    seed: int


@dataclass(frozen=True)
class Teacher:
    """The teacher's outputs for a data set of inputs."""

    states: Tensor
    """(sum of T, H) of all inputs one after the other, fp32."""
    starts: list[int]
    """Where each input's states begin, and where the last's end."""
    changes: list[float]
    """Of every input, the squared change that was planted, summed over its tokens and hidden units."""

    def of(self, row: int) -> Tensor:
        """(T, H) of one input."""
        return self.states[self.starts[row] : self.starts[row + 1]]

    def variance(self, rows: Sequence[int]) -> float:
        """Mean squared change of one hidden unit at one token: the mean squared error of an untrained student."""
        tokens = sum(self.starts[row + 1] - self.starts[row] for row in rows)
        return sum(self.changes[row] for row in rows) / (tokens * self.states.shape[1])


def read_teacher(
    backbone: Backbone, plant: Plant, inputs: Dataset, tokenizer: PreTrainedTokenizerBase, train: int
) -> Teacher:
    """The teacher's outputs, from the cache or computed.

    Args:
        backbone: the pretrained model, without adapters; it is the same afterwards.
        plant: what the teacher has and the model has not.
        inputs: tokens of all splits, those of train first.
        tokenizer: pads them.
        train: number of training inputs.

    Raises:
        UserError: the model has no room for the plant.
    """
    task = plant.task
    tokens = inputs["input_ids"][:]
    key = {
        "kind": "teacher",
        "model": _fingerprint(backbone.model),
        "inputs": hashlib.sha256(
            str([(name, inputs[name][:]) for name in sorted(inputs.column_names)]).encode()
        ).hexdigest(),
        "padding": f"{tokenizer.padding_side} {tokenizer.pad_token_id}",
        "computed by": f"torch {torch.__version__}, transformers {transformers.__version__}, {_code()}",
        "train": str(train),
        "plant": str([plant.seed, dict(plant.ranks), task.mode.name, str(task.truth), task.change]),
    }
    outputs = cached_dataset(key, lambda: _outputs(backbone.model, plant, inputs, tokenizer, train))
    values = outputs.data.column("states").combine_chunks().flatten().to_numpy(zero_copy_only=False)
    starts = [0, *accumulate(map(len, tokens))]
    states = torch.from_numpy(np.array(values)).view(starts[-1], -1)
    return Teacher(states, starts, outputs["change"][:])


def _outputs(
    model: nn.Module, plant: Plant, inputs: Dataset, tokenizer: PreTrainedTokenizerBase, train: int
) -> Dataset:
    """`states`, every input's hidden states in one list, and `change`."""
    model.eval()
    batches = list(_batches(inputs, tokenizer))
    base = hidden_states(model, batches)
    if plant.task.truth == Truth.none:
        states = base + plant.task.change * base.std(dim=0) * _noise(base, plant.seed)
    else:
        many, few = (
            list(_batches(inputs.select(range(min(count, train))), tokenizer))
            for count in (WHITENING, CALIBRATION)
        )
        updates = draw_updates(layer_inputs(model, list(plant.ranks), many), plant.ranks, plant.seed)
        updates = calibrated(model, updates, few, plant.task.mode, plant.task.change)
        with planted(model, {name: update.delta() for name, update in updates.items()}):
            states = hidden_states(model, batches)
    lengths = [len(tokens) for tokens in inputs["input_ids"]]
    squares = (states - base).double().square().sum(dim=1)
    changes = [float(part.sum()) for part in torch.split(squares, lengths)]
    starts = np.array([0, *accumulate(lengths)], dtype=np.int64) * states.shape[1]
    flat = pa.LargeListArray.from_arrays(starts, states.flatten().numpy())
    return Dataset(pa.table({"states": flat, "change": pa.array(changes)}))


def _batches(inputs: Dataset, tokenizer: PreTrainedTokenizerBase) -> Iterator[dict[str, Tensor]]:
    """Padded batches in the inputs' order."""
    pad = DataCollatorWithPadding(tokenizer)
    examples = inputs.remove_columns("labels")
    for start in range(0, len(examples), FORWARD):
        columns: dict[str, list[Any]] = examples[start : start + FORWARD]
        rows = zip(*columns.values(), strict=True)
        yield dict(pad([dict(zip(columns, row, strict=True)) for row in rows]))


def _noise(like: Tensor, seed: int) -> Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=like.dtype)


def _fingerprint(model: PreTrainedModel) -> str:
    """SHA-256 of the class, its settings and all weights: a folder's name does not tell which they are, and with the
    same weights another number of heads is another network."""
    settings = {k: v for k, v in model.config.to_dict().items() if k not in NAMES}
    attention = model.config._attn_implementation
    digest = hashlib.sha256(
        repr((type(model).__name__, attention, sorted(settings.items(), key=str))).encode()
    )
    for name, weight in (*model.named_parameters(), *model.named_buffers()):
        digest.update(name.encode())
        digest.update(weight.detach().contiguous().numpy().data)
    return digest.hexdigest()


def _code() -> str:
    """Of what plants: that of the tasks is part of every key."""
    return hashlib.sha256(Path(teacher.__file__).read_bytes()).hexdigest()
