"""The order of training examples where transformers' own does not do: several processes, or methods, or the parts of an
interrupted training must agree on it, or one training goes on in that of another."""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler, DataLoader, Sampler
from transformers.trainer_pt_utils import LengthGroupedSampler, get_length_grouped_indices

from autolora_bench.search.validation import seeded


class SeededLengthGroupedSampler(LengthGroupedSampler):
    """LengthGroupedSampler whose order is a function of (seed, epoch), and not of what a process has drawn before.

    transformers' draws from the global generator. That is another one in every process and after an interruption: some
    examples would be seen twice in an epoch and others not at all. And dropout draws from it, so that methods of one
    seed would train in other orders.
    """

    def __init__(self, seed: int, **options: Any) -> None:
        super().__init__(**options)
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer before each epoch, that of a resumed training too."""
        self.generator = seeded(self.seed, epoch)


class ContinuedSampler(Sampler[int]):
    """The examples that come after the first `start` in a stream of orders of all of them, one order an epoch.

    Two trainings in parts of one stream see what one training of both lengths would: no example again before all were
    seen. Each order is a function of (seed, epoch) alone.

    Args:
        size: examples.
        seed: of the orders.
        start: how many examples of the stream were seen before.
        lengths: of the examples, where batches are grouped by length, else None.
        batch_size: of these batches.
    """

    def __init__(
        self, size: int, seed: int, start: int, lengths: list[int] | None = None, batch_size: int = 1
    ) -> None:
        self.size, self.seed, self.start = size, seed, start
        self.lengths, self.batch_size = lengths, batch_size
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer before each epoch, that of a resumed training too."""
        self.begin = self.start + epoch * self.size

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        turn, seen = divmod(self.begin, self.size)
        yield from self._order(turn)[seen:]
        yield from self._order(turn + 1)[:seen] if seen else ()

    def _order(self, turn: int) -> list[int]:
        generator = seeded(self.seed, turn)
        if self.lengths is None:
            return [int(place) for place in torch.randperm(self.size, generator=generator)]
        grouped: list[int] = get_length_grouped_indices(  # type: ignore[no-untyped-call]
            self.lengths, self.batch_size, generator=generator
        )
        return [int(place) for place in grouped]


class EvenParts(BatchSampler):
    """The batches of a sampler, where several in turn are the parts of one: the last one has parts of one size too.

    accelerate fills an epoch's last batch with the first rows of the epoch instead, so that several processes would
    train on some rows twice and compute what one does not. Where fewer rows are left than there are parts, some are
    taken again: no process can do without.

    Args:
        batches: all parts, of all batches.
        parts: of a batch.
    """

    def __init__(self, batches: BatchSampler, parts: int) -> None:
        self.batches, self.parts = batches, parts
        self.batch_size, self.drop_last = batches.batch_size, batches.drop_last

    @property
    def sampler(self) -> Any:
        """The order, whose epoch accelerate sets."""
        return self.batches.sampler

    @sampler.setter
    def sampler(self, order: Any) -> None:
        self.batches.sampler = order

    def __len__(self) -> int:
        return self.parts * math.ceil(len(self.batches) / self.parts)

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[list[int]] = []
        for part in self.batches:
            batch.append(part)
            if len(batch) == self.parts and len(part) == self.batch_size:
                yield from batch
                batch = []
        rows = [row for part in batch for row in part]
        if rows:
            size = len(rows) / self.parts
            ends = [round(size * part) for part in range(self.parts + 1)]
            yield from (rows[start:end] or rows[:1] for start, end in pairwise(ends))


def share_last_batches(loader: DataLoader[Any]) -> None:
    """Of a loader that accelerate has prepared for several processes, in place; of one process it stays as it is."""
    shard = loader.batch_sampler
    if isinstance(shard, BatchSamplerShard) and shard.num_processes > 1:
        shard.batch_sampler = EvenParts(shard.batch_sampler, shard.num_processes)
        shard.even_batches = False
