"""Windows of long sentences: they fit, they cover, and every word counts once."""

import random
from itertools import pairwise

import pytest

from autolora_bench.tasks.encode_words import owned_words, word_windows


def test_short_sentences_are_one_window() -> None:
    assert word_windows([1, 2, 3], room=6, shared=2) == [range(3)]
    assert word_windows([], room=6, shared=2) == [range(0)]


def test_neighbours_share_words() -> None:
    assert word_windows([1] * 10, room=4, shared=1) == [range(4), range(3, 7), range(6, 10)]


def test_a_shared_word_counts_where_it_has_more_context() -> None:
    windows = [range(6), range(2, 8), range(6, 10)]
    assert owned_words(windows) == [{0, 1, 2, 3}, {4, 5, 6}, {7, 8, 9}]


def test_a_word_longer_than_a_window_stands_alone() -> None:
    assert word_windows([1, 9, 1], room=3, shared=1) == [range(1), range(1, 2), range(2, 3)]


@pytest.mark.parametrize("seed", range(60))
def test_any_sentence(seed: int) -> None:
    draw = random.Random(seed)
    sizes = [draw.choice([0, 1, 1, 1, 2, 3, 7]) for _ in range(draw.randrange(1, 40))]
    room, shared = draw.randrange(1, 12), draw.randrange(9)
    windows = word_windows(sizes, room, shared)
    assert [w.start for w in windows] == sorted({w.start for w in windows})
    assert [w.stop for w in windows] == sorted({w.stop for w in windows})
    assert windows[0].start == 0
    assert windows[-1].stop == len(sizes)
    assert all(b.start <= a.stop and a.stop - b.start <= shared for a, b in pairwise(windows))
    assert all(sum(sizes[w.start : w.stop]) <= room or len(w) == 1 for w in windows)
    owned = owned_words(windows)
    assert sorted(word for words in owned for word in words) == list(range(len(sizes)))
    assert all(words <= set(window) for words, window in zip(owned, windows, strict=True))
