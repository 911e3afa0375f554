"""The stateless stream of validation batches."""

from collections import Counter

import pytest

from autolora_bench.errors import UserError
from autolora_bench.search import ValidationStream

LENGTHS = [1 + (7 * i) % 101 for i in range(101)]


def stream(size: int = 10, batch: int = 4, seed: int = 0, **process: int) -> ValidationStream:
    return ValidationStream(list(range(100, 100 + size)), list, batch, seed, **process)


def test_every_pass_sees_each_example_once():
    flat = [x for step in range(15) for x in stream().batch(step)]
    passes = [flat[i : i + 10] for i in range(0, 60, 10)]
    assert all(sorted(one) == list(range(100, 110)) for one in passes)
    assert len({tuple(one) for one in passes}) == 6


def test_batches_need_no_history():
    forward = [stream().batch(step) for step in range(20)]
    assert [stream().batch(step) for step in reversed(range(20))] == forward[::-1]
    fresh = stream()
    assert [fresh.batch(step) for step in (7, 2, 19)] == [forward[7], forward[2], forward[19]]


def test_seeds_differ():
    assert stream(seed=1).batch(0) != stream(seed=2).batch(0)


def test_batch_may_exceed_the_dataset():
    assert Counter(stream(size=3, batch=7).batch(0)).most_common()[-1][1] >= 2


def test_processes_share_a_step():
    together = [x for process in range(2) for x in stream(batch=2, process=process, processes=2).batch(3)]
    assert together == stream(batch=4).batch(3)


def test_empty_data_is_refused():
    with pytest.raises(UserError, match="0 validation examples"):
        stream(size=0)


def grouped(batch: int = 4, seed: int = 0, **process: int) -> ValidationStream:
    return ValidationStream(range(101), list, batch, seed, **process, lengths=LENGTHS)


def padding(one: ValidationStream, steps: int) -> int:
    batches = [[LENGTHS[i] for i in one.batch(step)] for step in range(steps)]
    return sum(max(batch) - length for batch in batches for length in batch)


def test_grouped_passes_see_each_example_once_and_differ():
    flat = [x for step in range(101) for x in grouped().batch(step)]
    passes = [flat[i : i + 101] for i in range(0, 404, 101)]
    assert all(sorted(one) == list(range(101)) for one in passes)
    assert len({tuple(one) for one in passes}) == 4
    assert grouped(seed=1).batch(0) != grouped().batch(0)


def test_grouped_batches_waste_little_padding():
    """Sorted quarters of 101 lengths: four neighbours span 16, four at random 61."""
    assert padding(grouped(), 25) < padding(ValidationStream(range(101), list, 4, 0), 25) / 3


def test_grouped_batches_need_no_history_and_are_shared_by_processes():
    forward = [grouped().batch(step) for step in range(60)]
    assert [grouped().batch(step) for step in (57, 2, 30)] == [forward[57], forward[2], forward[30]]
    for step in range(60):
        parts = [grouped(batch=2, process=process, processes=2).batch(step) for process in range(2)]
        assert parts[0] + parts[1] == forward[step]
