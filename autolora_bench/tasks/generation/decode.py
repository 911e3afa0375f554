"""Decodes every prompt of a split: batches of similar length, in the order of the split, resumable."""

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

from torch import nn

from autolora_bench.config.task import DecodingConfig
from autolora_bench.errors import UserError
from autolora_bench.models.merged import merged
from autolora_bench.models.positions import positions as positions_of
from autolora_bench.models.virtual import virtual_count, virtual_tokens
from autolora_bench.speedups.packed import packed_linears
from autolora_bench.tasks.base import PARTIAL, EvaluationContext
from autolora_bench.tasks.generation.beam import beam_search
from autolora_bench.tasks.generation.collate import padded, prompt_batch
from autolora_bench.tasks.generation.finished import FinishedBatches, decoding_key
from autolora_bench.tasks.generation.stops import cut, find_stops
from autolora_bench.tasks.inference import by_length, evaluation_mode


def decode(
    model: nn.Module, prompts: Sequence[Sequence[int]], settings: DecodingConfig, context: EvaluationContext
) -> list[str]:
    """One text per prompt. Meanwhile adapters are merged, where they can be, and layers on a CPU are packed.

    Raises:
        UserError: a prompt and the longest output are more than the model has positions for.
    """
    batches = list(by_length([len(prompt) for prompt in prompts], settings.batch_size))
    path = None if context.folder is None else context.folder / f"{context.split}{PARTIAL}"
    key = "" if path is None else decoding_key(model, prompts, astuple(settings), context.bf16)
    finished = FinishedBatches(path, key)
    _check_positions(model, prompts, settings, context)
    with merged(model) as plain, packed_linears(plain, context.bf16), evaluation_mode(model, context):
        virtual = virtual_tokens(model)
        stops = find_stops(context.tokenizer, int(plain.config.vocab_size), context.device)
        for number, positions in enumerate(batches):
            if number not in finished.outputs:
                batch = padded if plain.config.is_encoder_decoder else prompt_batch
                tokens, mask = batch([prompts[p] for p in positions], _padding(context))
                outputs = beam_search(
                    plain, tokens.to(context.device), mask.to(context.device), settings, stops, virtual
                )
                finished.add(number, [cut(output, context.tokenizer) for output in outputs])
            done = min((number + 1) * settings.batch_size, len(prompts))
            context.progress(done, len(prompts))
    found: dict[int, str] = {}
    for number, positions in enumerate(batches):
        found.update(zip(positions, finished.outputs[number], strict=True))
    return [found[position] for position in range(len(prompts))]


def _padding(context: EvaluationContext) -> int:
    """The padding token; which one it is does not matter, for it is masked."""
    return int(context.tokenizer.pad_token_id)


def _check_positions(
    model: Any, prompts: Sequence[Sequence[int]], settings: DecodingConfig, context: EvaluationContext
) -> None:
    most = positions_of(model)
    longest = max(range(len(prompts)), key=lambda position: len(prompts[position]))
    tokens = len(prompts[longest]) + virtual_count(model)
    both_halves = bool(getattr(model.config, "is_encoder_decoder", False))
    if most is not None and not both_halves and tokens + settings.max_new_tokens > most:
        raise UserError(
            f"{context.split}, record {longest}: its prompt has {tokens} tokens; with "
            f"{settings.max_new_tokens} more it does not fit into the model's {most} positions",
            "lower task.decoding.max_new_tokens, or choose a model with a longer context",
        )
