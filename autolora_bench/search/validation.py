"""The search's validation batches: a pure function of (seed, step), so that a resumed run needs no position."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers.trainer_pt_utils import get_length_grouped_indices

from autolora_bench.errors import UserError


class ValidationStream:
    """Endless batches of a dataset, reshuffled in every pass; a batch may straddle two passes, none is short.

    Args:
        dataset: anything with a length and integer indexing.
        collate: makes a batch of a list of examples.
        batch_size: examples per process.
        seed: orders of different seeds are unrelated.
        process: this process's number; each of the `processes` takes its own part of a step's examples.
        lengths: tokens of every example; with them a step's examples are of similar length, as the Trainer groups
            its training batches.

    Raises:
        UserError: empty dataset or no examples per batch.
    """

    def __init__(
        self,
        dataset: Any,
        collate: Callable[[list[Any]], Any],
        batch_size: int,
        seed: int,
        process: int = 0,
        processes: int = 1,
        lengths: Sequence[int] | None = None,
    ) -> None:
        if len(dataset) == 0 or batch_size < 1:
            raise UserError(
                f"{len(dataset)} validation examples in batches of {batch_size}",
                "give the search validation data",
            )
        self.dataset = dataset
        self.collate = collate
        self.batch_size = batch_size
        self.seed = seed
        self.process = process
        self.processes = processes
        self.lengths = None if lengths is None else list(lengths)
        self._orders: dict[int, list[int]] = {}

    def indices(self, step: int) -> list[int]:
        """Which examples this process sees at selection step `step` (from 0)."""
        first = (step * self.processes + self.process) * self.batch_size
        size = len(self.dataset)
        return [self._order(p // size)[p % size] for p in range(first, first + self.batch_size)]

    def batch(self, step: int) -> Any:
        """The collated batch of selection step `step`."""
        indices = self.indices(step)
        return self.collate(_fetch(self.dataset, indices))

    def _order(self, turn: int) -> list[int]:
        if turn not in self._orders:
            generator = seeded(self.seed, turn)
            self._orders = {k: v for k, v in self._orders.items() if k == turn - 1}
            self._orders[turn] = self._shuffled(generator)
        return self._orders[turn]

    def _shuffled(self, generator: torch.Generator) -> list[int]:
        if self.lengths is None:
            return torch.randperm(len(self.dataset), generator=generator).tolist()
        together = self.batch_size * self.processes
        grouped = get_length_grouped_indices(self.lengths, together, generator=generator)  # type: ignore[no-untyped-call]
        return [int(i) for i in grouped]


def token_counts(dataset: Any) -> list[int]:
    """Tokens of every example.

    Raises:
        UserError: examples without `input_ids`.
    """
    try:
        by_column = hasattr(dataset, "column_names")
        rows = (
            dataset["input_ids"]
            if by_column
            else (one["input_ids"] for one in _fetch(dataset, range(len(dataset))))
        )
        return [len(tokens) for tokens in rows]
    except (KeyError, TypeError, IndexError) as error:
        raise UserError(
            "validation examples without input_ids have no length to be grouped by",
            "leave group_by_length out",
        ) from error


def seeded(seed: int, turn: int) -> torch.Generator:
    """For what is drawn at one turn (a step, an epoch) of a run: the same in every process, and after a resumption."""
    return torch.Generator().manual_seed((seed * 1_000_003 + turn) % 2**63)


def _fetch(dataset: Any, indices: Sequence[int]) -> list[Any]:
    fetch_many = getattr(dataset, "__getitems__", None)
    return list(fetch_many(list(indices))) if fetch_many else [dataset[i] for i in indices]
