"""Whether a model has positions for a task's examples: asked before anything is trained."""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel

from autolora_bench.config.task import GenerationTask, TaskConfig
from autolora_bench.errors import UserError
from autolora_bench.models.positions import positions
from autolora_bench.tasks.base import Splits


def check_room(
    model: PreTrainedModel,
    task: TaskConfig,
    splits: Splits,
    virtual: int = 0,
    setting: str = "method.virtual_tokens",
) -> None:
    """Refuse a model that has not enough positions for an example, its virtual tokens and the longest output.

    Args:
        model: of transformers.
        task: its longest input and output.
        splits: the tokenised examples.
        virtual: tokens that a method reads before every input.
        setting: what says so.

    Raises:
        UserError: naming the split and the tokens of its longest example.
    """
    most = positions(model)
    generated = task.decoding.max_new_tokens if isinstance(task, GenerationTask) else 0
    if model.config.is_encoder_decoder:  # each half has all positions to itself
        check_output(model, generated)
        generated = 0
    if most is None or task.max_length + generated + virtual <= most:
        return
    for name, split in {"train": splits.train, **splits.held_out}.items():
        longest = max((_tokens(row) for row in split["input_ids"]), default=0)
        added = generated if name != "train" else 0
        if longest + added + virtual > most:
            more = [f"{setting}={virtual}"] if virtual else []
            more += [f"{added} to be generated"] if added else []
            raise UserError(
                f"{name}: its longest example has {longest} tokens; {'with ' if more else ''}{' and '.join(more)}"
                f"{' ' if more else ''}they do not fit into the model's {most} positions",
                f"lower {f'{setting}, or ' if virtual else ''}task.max_length (for texts "
                "task.decoding.max_new_tokens), or choose a model with a longer context",
            )


def check_output(model: PreTrainedModel, generated: int) -> None:
    """Raises UserError where the half of an encoder-decoder that writes has not enough positions."""
    most = positions(model)
    if most is not None and generated > most:
        raise UserError(
            f"task.decoding.max_new_tokens={generated} does not fit into the model's {most} positions",
            f"say task.decoding.max_new_tokens={most} or less",
        )


def _tokens(row: Sequence[Any]) -> int:
    """Tokens of an example, or of the longest window of a sentence."""
    return max(map(len, row)) if row and isinstance(row[0], list) else len(row)
