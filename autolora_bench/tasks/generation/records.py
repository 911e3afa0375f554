"""How a record becomes the text of a prompt."""

from collections.abc import Callable, Sequence

from autolora_bench.config.task import GenerationTask, Protocol, Serialization
from autolora_bench.tasks.generation.pretokenize import pretokenize

KEYS = {"eatType": "Type", "priceRange": "price", "familyFriendly": "family friendly"}
"""E2E's keys that the LoRA paper's text spells otherwise."""


def serialize(fields: Sequence[Sequence[str]], text: str, task: GenerationTask) -> str:
    """The record as the task's `serialization` and `protocol` have it.

    `lora` is the text of microsoft/LoRA@c4593f0, examples/NLG: `key : value | key : value` with three of E2E's keys
    renamed, and `subject : relation : object | ...` for triples; `plain` is the publisher's own.
    """
    if task.serialization is Serialization.plain:
        return text
    words = target_text(task)
    return " | ".join(
        " : ".join([KEYS.get(key, key), *(words(value) if len(rest) == 1 else value for value in rest)])
        for key, *rest in fields
    )


def target_text(task: GenerationTask) -> Callable[[str], str]:
    """What a reference, and a value of E2E's, is turned into before a model or a metric sees it."""
    return pretokenize if task.protocol is Protocol.tokenized else str.strip
