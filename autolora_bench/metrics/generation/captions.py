"""MS-COCO's caption scores ROUGE-L and CIDEr-D, which E2E reports, and Google's ROUGE-L under its own name.

Their tokens are those of Stanford's PTB tokenizer: lower case, punctuation tokens dropped. Its jar, which pycocoevalcap
ships, is run through pipes: pycocoevalcap's own wrapper writes a temporary file into the installed package, which fails
where that is read-only. Same command, same tokens.
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
from autolora_bench.metrics.scores import MetricUnavailableError, References, check_segments

UNREAD = 0.1
"""Share of letters beyond a to z above which rouge-score's tokens say too little of a text."""


def rouge_l(hypotheses: Sequence[str], references: References) -> float:
    """MS-COCO's ROUGE-L of tokenised texts, 0..1, mean over segments.

    Precision and recall are each the maximum over references, perhaps of different ones; beta is 1.2. One reference
    or more a segment. White space other than a no-break space parts tokens.

    Raises:
        UserError: see `check_segments`.
    """
    from pycocoevalcap.rouge.rouge import Rouge

    check_segments(hypotheses, references, tokenised=True)
    scorer = Rouge()
    # The scorer parts words at single blanks alone.
    scores = [
        scorer.calc_score([_blanks(h)], [_blanks(text) for text in r])
        for h, r in zip(hypotheses, references, strict=True)
    ]
    return float(sum(scores)) / len(scores)


def _blanks(text: str) -> str:
    return _WHITE_SPACE.sub(" ", text).strip(" ")


def rouge_l_google(hypotheses: Sequence[str], references: References) -> float:
    """rouge-score's ROUGE-L F1 of raw texts (its own tokens, no stemming): best reference, mean over segments.

    Not the E2E challenge's number: that is `rouge_l`.

    Raises:
        UserError: see `check_segments`.
        MetricUnavailableError: more than a tenth of the references' letters are not among a to z, the only ones that
            rouge-score reads: texts of other letters alone would score 0 whatever they say.
    """
    from rouge_score.rouge_scorer import RougeScorer

    check_segments(hypotheses, references)
    letters = [
        letter for candidates in references for text in candidates for letter in text if letter.isalpha()
    ]
    unread = sum(not letter.isascii() for letter in letters)
    if unread > UNREAD * len(letters):
        raise MetricUnavailableError(
            f"rouge-score reads the letters a to z alone, and {unread / len(letters):.0%} of the references' are others"
        )
    scorer = RougeScorer(["rougeL"])
    scores = [
        scorer.score_multi(list(r), h)["rougeL"].fmeasure for h, r in zip(hypotheses, references, strict=True)
    ]
    return float(sum(scores)) / len(scores)


def cider(hypotheses: Sequence[str], references: References) -> float:
    """CIDEr-D of tokenised texts, 0..10, mean over segments; 0 for a corpus of one segment, whose idf is 0.

    Raises:
        UserError: see `check_segments`.
    """
    from pycocoevalcap.cider.cider import Cider

    check_segments(hypotheses, references, tokenised=True)
    truth = {index: list(texts) for index, texts in enumerate(references)}
    outputs = {index: [text] for index, text in enumerate(hypotheses)}
    score, _ = Cider().compute_score(truth, outputs)
    return float(score)


PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)
_LINE_BREAKS = re.compile("[\n\r\x0b\x0c\u2028\u2029]")
_WHITE_SPACE = re.compile(r"[^\S\xa0\u2007\u202f]+")
"""But for the three that break no line, which PTB's tokens may hold."""


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
