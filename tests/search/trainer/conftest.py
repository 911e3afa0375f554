"""Short runs of the search on a toy task."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import TrainingArguments, set_seed

from autolora_bench.search import SearchOptions, SearchTrainer, selection_for

ROWS, TOKENS = 32, 6


class Runs:
    """Makes searches and reads what they leave behind."""

    def __init__(self, toys: Any) -> None:
        self.toys = toys

    def search(
        self,
        folder: Path,
        options: dict[str, Any] | None = None,
        model: Any = None,
        data: tuple[Any, Any] | None = None,
        selection: dict[str, Any] | None = None,
        collator: Any = None,
        trainer: dict[str, Any] | None = None,
        **changes: Any,
    ) -> SearchTrainer:
        """A search of six steps; `model` is one, or arguments of the toy model; `selection` says which
        variables; `changes` go to the Trainer's arguments, `trainer` to the Trainer itself."""
        train, validation = data or (self.task(1), self.task(2))
        if not isinstance(model, torch.nn.Module):
            model = self.toys.model(**{"trained": False, **(model or {})}).float()
        args = self.arguments(folder, **changes)
        set_seed(args.seed)
        return SearchTrainer(
            model=model,
            args=args,
            train_dataset=train,
            validation_dataset=validation,
            selection=selection_for(model, **(selection or {})),
            options=SearchOptions(
                **{"diagnose_steps": (), "selection_learning_rate": 1e-2, **(options or {})}
            ),
            data_collator=collator,
            **(trainer or {}),
        )

    @staticmethod
    def task(seed: int) -> list[dict[str, Any]]:
        """Is token 1 or token 2 among the words?"""
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randint(3, 50, (ROWS, TOKENS), generator=generator)
        labels = torch.randint(0, 2, (ROWS,), generator=generator)
        rows[:, 1] = 1 + labels
        return [
            {"input_ids": row.tolist(), "attention_mask": [1] * TOKENS, "labels": int(label)}
            for row, label in zip(rows, labels, strict=True)
        ]

    @staticmethod
    def arguments(folder: Path, **changes: Any) -> TrainingArguments:
        defaults = {
            "max_steps": 6,
            "per_device_train_batch_size": 4,
            "learning_rate": 1e-2,
            "logging_steps": 2,
            "save_strategy": "no",
            "report_to": [],
            "use_cpu": True,
            "disable_tqdm": True,
            "seed": 5,
            "label_names": ["labels"],
            "remove_unused_columns": False,
        }
        return TrainingArguments(output_dir=str(folder), **{**defaults, **changes})

    @staticmethod
    def everything(trainer: SearchTrainer) -> list[Tensor]:
        """All that a run leaves behind: weights, beta, moments, generators."""
        optimizer = trainer.optimizer.state_dict()["state"]
        moments = [state[key] for _, state in sorted(optimizer.items()) for key in sorted(state)]
        weights = [p.detach() for p in trainer.model.parameters()]
        return [*weights, trainer.selection.beta.detach(), *moments, torch.get_rng_state()]

    @staticmethod
    def same(a: list[Tensor], b: list[Tensor]) -> bool:
        return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))

    @staticmethod
    def trajectory(trainer: SearchTrainer) -> list[dict[str, Any]]:
        return [json.loads(line) for line in trainer.trajectory.path.read_text().splitlines()]


@pytest.fixture(scope="session")
def runs(toys: Any) -> Runs:
    return Runs(toys)
