"""Several processes have the parts of one process's batches, in an epoch's last batch too."""

import pytest
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler, SequentialSampler

from autolora_bench.training.order import EvenParts


def shards(rows: int, size: int, processes: int) -> list[list[list[int]]]:
    """What every process gets, batch by batch."""
    found = []
    for process in range(processes):
        batches = BatchSampler(SequentialSampler(range(rows)), size, drop_last=False)
        parts = EvenParts(batches, processes)
        shard = BatchSamplerShard(parts, processes, process, even_batches=False)
        own = list(shard)
        assert len(own) == len(shard)
        found.append(own)
    return found


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
@pytest.mark.parametrize("rows", [8, 24, 26, 29, 31, 47, 48])
def test_every_row_is_in_one_part_of_the_batch_it_is_in_on_one_process(rows: int, processes: int) -> None:
    size = 2
    found = shards(rows, size, processes)
    whole = BatchSampler(SequentialSampler(range(rows)), size * processes, drop_last=False)
    left = rows % (size * processes)
    for number, batch in enumerate(whole):
        parts = [own[number] for own in found]
        assert all(parts)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        together = [row for part in parts for row in part]
        if len(batch) >= processes:
            assert sorted(together) == batch
        else:
            assert left < processes
            assert {*together} == {*batch}


def test_the_order_below_is_found() -> None:
    """accelerate sets its epoch."""
    order = SequentialSampler(range(9))
    parts = EvenParts(BatchSampler(order, 2, drop_last=False), 2)
    assert parts.sampler is order
    other = SequentialSampler(range(5))
    parts.sampler = other
    assert sum(map(len, parts)) == 6  # 4, and one row that both parts have
