"""METEOR 1.5 (Denkowski and Lavie 2014): pycocoevalcap's jar with `-l en -norm`, as a program that stays up.

One program serves all evaluations of a process, so those of a whole sweep. Its answers are lines without a number: each
is looked at, and every conversation ends with a question whose answer is known and another one each time.
"""

import atexit
import math
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from threading import RLock
from typing import IO

from autolora_bench.metrics.generation.java import (
    JavaDiedError,
    OutOfStepError,
    complaints,
    ending,
    jar,
    java_command,
    java_environment,
    started_again,
)
from autolora_bench.metrics.scores import MetricUnavailableError, References, check_segments

BATCH = 64  # the answers to so many lines fit a pipe's buffer, so that neither side waits for the other
STATISTICS = 23
"""Numbers of a segment: lengths, matches by each module, chunks."""
PROBES = 97
"""Known answers in a row that differ."""
_SEPARATOR = re.compile(r"\|\|\||[\r\n]")


class MeteorProcess:
    """METEOR's line protocol (`-stdio`): SCORE gives a segment's statistics, EVAL the scores of many.

    Raises MetricUnavailableError where the program does not start, JavaDiedError where it has died, OutOfStepError
    where an answer is none to what was asked; after that it is of no use any more.
    """

    def __init__(self) -> None:
        command = java_command("-Xmx2G", "-jar", str(jar("meteor/meteor-1.5.jar")))
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._owner = os.getpid()
        self._probes = cycle(range(1, PROBES + 1))
        try:
            self._program = subprocess.Popen(
                [*command, "-", "-", "-stdio", "-l", "en", "-norm"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=java_environment(),
            )
        except OSError as error:
            self._errors.close()
            raise MetricUnavailableError(f"METEOR did not start: {error}") from error

    @property
    def usable(self) -> bool:
        """Whether the program still runs and is this process's own, not a forking parent's."""
        return self._owner == os.getpid() and self._program.poll() is None

    def statistics(self, hypotheses: Sequence[str], references: References) -> list[str]:
        """Sufficient statistics of each segment against its best reference; repeated references are read once."""
        lines = [
            " ||| ".join(["SCORE", *dict.fromkeys(map(_field, candidates)), _field(hypothesis)])
            for hypothesis, candidates in zip(hypotheses, references, strict=True)
        ]
        answers: list[str] = []
        for start in range(0, len(lines), BATCH):
            batch = lines[start : start + BATCH]
            self._write(batch)
            answers.extend(self._read_numbers(STATISTICS, math.inf) for _ in batch)
        return answers

    def aggregate(self, statistics: Sequence[str]) -> float:
        """Score of a set of segments, 0..1."""
        self._write([" ||| ".join(["EVAL", *statistics])])
        for _ in statistics:
            self._read_numbers(1, 1.0)
        return float(self._read_numbers(1, 1.0))

    def check_in_step(self) -> None:
        """Raises OutOfStepError where the next answer is not that to the next question: how long a text of so many
        words is."""
        words = next(self._probes)
        [answer] = self.statistics([" ".join(["a"] * words)], [["a"]])
        if float(answer.split()[0]) != words:
            raise OutOfStepError(
                f"METEOR is out of step: it found {answer.split()[0]} words where there are {words}"
            )

    def close(self) -> None:
        """End the program, if it is this process's own."""
        if self._owner == os.getpid():
            self._program.kill()
            self._program.communicate()
        self._errors.close()

    def _write(self, lines: Iterable[str]) -> None:
        assert self._program.stdin is not None
        try:
            self._program.stdin.write("".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))
            self._program.stdin.flush()
        except OSError as error:
            raise self._death() from error

    def _read(self) -> str:
        assert self._program.stdout is not None
        line = self._program.stdout.readline()
        if not line.endswith(b"\n"):
            raise self._death()
        return line.decode("utf-8").strip()

    def _read_numbers(self, count: int, most: float) -> str:
        """The next line, which holds so many numbers from 0 to `most`."""
        line = self._read()
        try:
            numbers = [float(word) for word in line.split()]
        except ValueError:
            numbers = []
        if len(numbers) != count or not all(0 <= number <= most for number in numbers):
            raise OutOfStepError(f"METEOR is out of step: {line[:80]!r} is no answer to what it was asked")
        return line

    def _death(self) -> JavaDiedError:
        status = self._program.wait()
        self._errors.seek(0)
        return JavaDiedError(f"METEOR {ending(status)}: {complaints(self._errors.read())[0]}")


def _field(text: str) -> str:
    """A text as one field of one line."""
    return " ".join(_SEPARATOR.sub(" ", text).split())


LOCK = RLock()
_shared: MeteorProcess | None = None


def shared_process() -> MeteorProcess:
    """This process's METEOR, started where there is none or it has died. Hold LOCK while talking to it."""
    global _shared
    with LOCK:
        if _shared is None or not _shared.usable:
            close_shared()
            _shared = MeteorProcess()
        return _shared


@atexit.register
def close_shared() -> None:
    """End this process's METEOR, if there is one."""
    global _shared
    with LOCK:
        if _shared is not None:
            _shared.close()
        _shared = None


def meteor(hypotheses: Sequence[str], references: References) -> float:
    """METEOR of a corpus, 0..1; the best reference of each segment counts.

    Args:
        hypotheses: N tokenised texts, tokens joined by blanks.
        references: for each its tokenised references.

    Raises:
        UserError: see `check_segments`.
        MetricUnavailableError: no Java runtime, or METEOR died or was out of step twice; the next call starts it again.
    """
    return meteor_subsets(hypotheses, references, {"all": range(len(hypotheses))})["all"]


def meteor_subsets(
    hypotheses: Sequence[str], references: References, subsets: Mapping[str, Sequence[int]]
) -> dict[str, float]:
    """METEOR of several subsets of one corpus, each given by its segments' positions; aligned only once."""
    check_segments(hypotheses, references, tokenised=True)
    return started_again(lambda: _aligned(hypotheses, references, subsets))


def _aligned(
    hypotheses: Sequence[str], references: References, subsets: Mapping[str, Sequence[int]]
) -> dict[str, float]:
    with LOCK:
        process = shared_process()
        try:
            statistics = process.statistics(hypotheses, references)
            found = {
                name: process.aggregate([statistics[i] for i in chosen]) for name, chosen in subsets.items()
            }
            process.check_in_step()
            return found
        except BaseException:
            close_shared()  # answers may be under way that the next call would take for its own
            raise
