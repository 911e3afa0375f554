"""Layers that follow beams against transformers' own, number for number."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from autolora_bench.tasks.generation import model
from autolora_bench.tasks.generation.cache import BeamLayer, follow_beams
from autolora_bench.tasks.generation.model import StepModel

STEPS = [
    (torch.tensor([0, 0, 1, 1, 1]), torch.tensor([[3], [4], [5], [6], [7]])),
    (torch.tensor([1, 0, 4, 2]), torch.tensor([[8], [9], [3], [4]])),
    (torch.tensor([3, 3]), torch.tensor([[5], [6]])),
]
"""Former rows and next tokens; rows multiply, change places and drop out."""
PROMPTS = torch.tensor([[3, 4, 5, 6], [7, 8, 9, 3]])


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("bf16", [False, True])
def test_logits_are_those_of_the_plain_cache(
    kind: str, bf16: bool, decoder: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def logits() -> tuple[list[torch.Tensor], Any]:
        step = StepModel(decoder(kind, 40), torch.ones_like(PROMPTS))
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            found = [step.first(PROMPTS), *(step.next(rows, tokens) for rows, tokens in STEPS)]
        return found, step.cache.layers[0]

    ours, layer = logits()
    monkeypatch.setattr(model, "follow_beams", lambda cache: None)
    plain, theirs = logits()
    assert isinstance(layer, BeamLayer)
    assert type(theirs) is DynamicLayer
    assert all(torch.equal(a, b) for a, b in zip(ours, plain, strict=True))
    assert layer.keys.dtype is layer.values.dtype is (torch.bfloat16 if bf16 else torch.float32)


def test_reorderings_add_up() -> None:
    states = torch.randn(3, 2, 4, 5)
    layer = BeamLayer(states, -states)
    layer.reorder_cache(torch.tensor([2, 0, 1]))
    layer.reorder_cache(torch.tensor([0, 0]))
    keys, values = layer.update(torch.zeros(2, 2, 1, 5), torch.ones(2, 2, 1, 5))
    assert torch.equal(keys, torch.cat([states[[2, 2]], torch.zeros(2, 2, 1, 5)], dim=2))
    assert torch.equal(values, torch.cat([-states[[2, 2]], torch.ones(2, 2, 1, 5)], dim=2))


def test_other_kinds_of_layers_stay() -> None:
    cache = DynamicCache()
    cache.update(torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 4), 0)
    sliding = DynamicSlidingWindowLayer(sliding_window=2)
    cache.layers.append(sliding)
    follow_beams(cache)
    assert [type(layer) for layer in cache.layers] == [BeamLayer, DynamicSlidingWindowLayer]
