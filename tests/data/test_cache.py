"""The cache of tokenised data: whole entries, broken ones rebuilt, several writers, no place to write."""

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from datasets import Dataset

from autolora_bench.data import cache as module
from autolora_bench.data.cache import CHECKSUMS, cached_dataset
from autolora_bench.errors import UserError

KEY = {"fingerprint": "abc", "split": "train"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Builder:
    """Counts how often it builds."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> Dataset:
        self.calls += 1
        return Dataset.from_dict({"input_ids": [[1, 2], [3]], "label": [0, 1]})


ROWS = {"input_ids": [[1, 2], [3]], "label": [0, 1]}


def entries(cache: Path) -> list[Path]:
    return sorted((cache / "datasets").iterdir())


def test_the_second_time_it_is_read(cache: Path) -> None:
    build = Builder()
    for _ in range(3):
        assert cached_dataset(KEY, build)[:] == ROWS
    assert build.calls == 1
    assert len(entries(cache)) == 1


def test_every_part_of_the_key_counts_and_their_order_does_not() -> None:
    build = Builder()
    cached_dataset(KEY, build)
    cached_dataset(dict(reversed(KEY.items())), build)
    assert build.calls == 1
    for other in ({**KEY, "split": "test"}, {**KEY, "more": ""}, {"fingerprint": "abcsplit", "": "train"}):
        cached_dataset(other, build)
    assert build.calls == 4


def test_another_version_of_the_code_reads_nothing_of_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    build = Builder()
    cached_dataset(KEY, build)
    monkeypatch.setattr(module, "_code", lambda: "another")
    cached_dataset(KEY, build)
    assert build.calls == 2


def test_a_cached_data_set_can_be_worked_on() -> None:
    found = [cached_dataset(KEY, Builder()) for _ in range(2)][1]
    assert found.remove_columns("label").column_names == ["input_ids"]
    assert found.select([1])["input_ids"][:] == [[3]]


def flipped(data: bytes) -> bytes:
    """The bytes of a file of ROWS with one of the values changed, as long as before."""
    place = data.rindex((3).to_bytes(8, "little"))
    return data[:place] + (4).to_bytes(8, "little") + data[place + 8 :]


@pytest.mark.parametrize("damage", ["truncate", "empty", "state", "stray", "flipped", "unmarked"])
def test_a_broken_entry_is_rebuilt(damage: str, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    build = Builder()
    cached_dataset(KEY, build)
    entry = entries(cache)[0]
    arrow = next(entry.glob("*.arrow"))
    if damage == "truncate":
        arrow.write_bytes(arrow.read_bytes()[: arrow.stat().st_size // 2])
    elif damage == "empty":
        arrow.write_bytes(b"")
    elif damage == "flipped":
        arrow.write_bytes(flipped(arrow.read_bytes()))
    elif damage == "unmarked":
        (entry / CHECKSUMS).unlink()
    elif damage == "state":
        (entry / "state.json").write_text("{")
    else:
        for file in entry.iterdir():
            file.unlink()
    with caplog.at_level(logging.WARNING):
        assert cached_dataset(KEY, build)[:] == ROWS
    assert build.calls == 2
    assert "built anew" in caplog.text
    assert cached_dataset(KEY, build)[:] == ROWS
    assert build.calls == 2
    assert entries(cache) == [entry]


def test_writers_at_the_same_time_share_one_entry(cache: Path) -> None:
    together = Barrier(4)

    def build() -> Dataset:
        together.wait(timeout=30)
        return Builder()()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: cached_dataset(KEY, build)[:], range(4)))
    assert found == [ROWS] * 4
    assert len(entries(cache)) == 1


def test_what_killed_writers_left_goes_after_a_day(cache: Path) -> None:
    old, new = (cache / "datasets" / name for name in (".0123-old", ".0123-new"))
    for path in (old, new):
        path.mkdir(parents=True)
        (path / "half.arrow").write_bytes(b"half")
    os.utime(old, (0, 0))
    cached_dataset(KEY, Builder())
    assert not old.exists()
    assert new.exists()


def test_a_failing_build_leaves_nothing(cache: Path) -> None:
    def build() -> Dataset:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        cached_dataset(KEY, build)
    assert not cache.exists()


def test_without_a_place_to_write_it_stays_in_memory(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache.write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        assert cached_dataset(KEY, Builder())[:] == ROWS
    assert "AUTOLORA_BENCH_CACHE" in caplog.text


def test_a_failed_write_leaves_no_rubbish(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Dataset, folder: Path) -> None:
        (folder / "half.arrow").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Dataset, "save_to_disk", full)
    assert cached_dataset(KEY, Builder())[:] == ROWS
    assert entries(cache) == []


def test_the_cache_has_a_bound_and_what_was_not_used_for_longest_goes(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [{"fingerprint": name} for name in "abcd"]
    found: list[Path] = []
    for moment, key in enumerate(keys[:3]):
        cached_dataset(key, Builder())
        found += [entry for entry in entries(cache) if entry not in found]
        os.utime(found[-1], (moment, moment))
    size = sum(file.stat().st_size for file in found[0].iterdir())
    monkeypatch.setenv("AUTOLORA_BENCH_CACHE_GIB", repr(3.5 * size / 2**30))
    build = Builder()
    cached_dataset(keys[0], build)
    assert build.calls == 0
    cached_dataset(keys[3], Builder())
    left = entries(cache)
    assert len(left) == 3
    assert found[0] in left, "it was read last of the three"
    assert found[1] not in left
    assert found[2] in left


def test_what_was_just_made_stays_however_small_the_bound(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOLORA_BENCH_CACHE_GIB", "0")
    for name in "ab":
        assert cached_dataset({"fingerprint": name}, Builder())[:] == ROWS
    assert len(entries(cache)) == 1


def test_a_bound_that_is_no_number_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOLORA_BENCH_CACHE_GIB", "much")
    with pytest.raises(UserError, match="AUTOLORA_BENCH_CACHE_GIB=much"):
        cached_dataset(KEY, Builder())
