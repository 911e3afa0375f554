"""Grouped orders that all share: a permutation of similar lengths, by seed and epoch alone."""

import torch

from autolora_bench.training.order import SeededLengthGroupedSampler

LENGTHS = [(7 * number) % 101 for number in range(400)]


def sampler(seed: int) -> SeededLengthGroupedSampler:
    return SeededLengthGroupedSampler(seed, batch_size=8, lengths=LENGTHS)


def orders(seed: int, epochs: tuple[int, ...]) -> list[list[int]]:
    made, found = sampler(seed), []
    for epoch in epochs:
        made.set_epoch(epoch)
        torch.rand(epoch + seed + 1)
        found.append([int(index) for index in made])
    return found


def test_an_order_is_that_of_its_seed_and_epoch() -> None:
    first, second = orders(0, (0, 1))
    torch.manual_seed(5)
    assert orders(0, (1,)) == [second]
    assert first != second
    assert orders(1, (0,)) != [first]
    assert sorted(first) == sorted(second) == list(range(400))


def test_batches_are_of_similar_lengths() -> None:
    (order,) = orders(0, (0,))
    spans = [
        max(LENGTHS[i] for i in order[start : start + 8]) - min(LENGTHS[i] for i in order[start : start + 8])
        for start in range(0, 400, 8)
    ]
    assert sum(spans) / len(spans) < 10
