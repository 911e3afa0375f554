"""Stanford's PTB tokenizer as MS-COCO's caption scorers use it: lower case, punctuation tokens dropped.

Runs the jar that pycocoevalcap ships, through pipes: its own wrapper writes a temporary file into the installed
package, which fails where that is read-only. Same command, same tokens.
"""

import re
import subprocess
from collections.abc import Sequence

from autolora_bench.metrics.generation.java import (
    JavaDiedError,
    complaints,
    ending,
    jar,
    java_command,
    java_environment,
    started_again,
)
from autolora_bench.metrics.scores import MetricUnavailableError

PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)
_LINE_BREAKS = re.compile("[\n\r\x0b\x0c\u2028\u2029]")


def ptb_tokenize(texts: Sequence[str]) -> list[str]:
    """Tokens of each text, joined by blanks; one start of a JVM for all of them.

    The bracket names are compared in upper case, after lower-casing, as in pycocoevalcap 1.2: brackets stay.

    Raises:
        MetricUnavailableError: no Java runtime, or the tokenizer failed.
    """
    classpath = ("-cp", str(jar("tokenizer/stanford-corenlp-3.4.1.jar")))
    command = java_command(
        *classpath, "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"
    )
    lines = [_LINE_BREAKS.sub(" ", text) for text in texts]
    tokenized = started_again(lambda: _answers(command, lines))
    # Not split(): a token may hold a no-break space.
    return [
        " ".join(word for word in line.rstrip().split(" ") if word not in PUNCTUATION) for line in tokenized
    ]


def _answers(command: Sequence[str], lines: Sequence[str]) -> list[str]:
    try:
        process = subprocess.run(
            command, input=_encode(lines), capture_output=True, check=False, env=java_environment()
        )
    except OSError as error:
        raise MetricUnavailableError(f"the PTB tokenizer did not start: {error}") from error
    tokenized = process.stdout.decode("utf-8", "replace").split("\n")[:-1]
    if process.returncode or len(tokenized) != len(lines):
        reason = complaints(process.stderr)[-1]
        count = f"{len(tokenized)} lines for {len(lines)}"
        raise JavaDiedError(f"the PTB tokenizer {ending(process.returncode)} after {count}: {reason}")
    return tokenized


def _encode(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
