"""Long sentences in windows: which words each window holds, and which of them count there."""

from collections.abc import Sequence


def word_windows(sizes: Sequence[int], room: int, shared: int) -> list[range]:
    """Ranges of words that together cover a sentence.

    Args:
        sizes: sub-words of each word.
        room: most sub-words in a window. A word that alone is longer has a window to itself.
        shared: so many words at the end of a window are repeated in the next, or as many as leave room for a new one.
    """
    found: list[range] = []
    start = 0
    while True:
        stop = _last(sizes, start, room)
        found.append(range(start, stop))
        if stop >= len(sizes):
            return found
        start = max(start + 1, stop - shared)
        while start < stop and sum(sizes[start : stop + 1]) > room:
            start += 1


def owned_words(windows: Sequence[range]) -> list[set[int]]:
    """For each window the words that count there: those with more context in it than in any other, each word once."""
    end = windows[-1].stop
    owner: dict[int, tuple[float, int]] = {}
    for number, window in enumerate(windows):
        for word in window:
            before = word - window.start if window.start else end
            after = window.stop - 1 - word if window.stop < end else end
            owner.setdefault(word, (-1, number))
            if min(before, after) > owner[word][0]:
                owner[word] = (min(before, after), number)
    return [
        {word for word, (_, chosen) in owner.items() if chosen == number} for number in range(len(windows))
    ]


def _last(sizes: Sequence[int], start: int, room: int) -> int:
    """End of the longest range of words from `start` that fits; at least one word."""
    used = 0
    for word in range(start, len(sizes)):
        used += sizes[word]
        if used > room and word > start:
            return word
    return len(sizes)
