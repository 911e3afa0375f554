"""The E2E NLG challenge's five scores: tuetschek/e2e-metrics@1b9c4d8, measure_scores.py."""

from collections.abc import Callable, Sequence
from functools import cache

from autolora_bench.errors import UserError
from autolora_bench.metrics.generation.bleu import mteval_bleu
from autolora_bench.metrics.generation.captions import cider, ptb_tokenize, rouge_l, rouge_l_google
from autolora_bench.metrics.generation.meteor import meteor
from autolora_bench.metrics.generation.mteval import MtevalMode
from autolora_bench.metrics.generation.nist import nist
from autolora_bench.metrics.scores import MetricScores, References, check_segments, collect

E2E_METRICS = ("bleu", "nist", "meteor", "rouge_l", "cider")
OPTIONAL_METRICS = ("rouge_l_google",)


def score_e2e(
    hypotheses: Sequence[str],
    references: References,
    mode: MtevalMode = MtevalMode.CLEAN,
    metrics: Sequence[str] = E2E_METRICS,
) -> MetricScores:
    """Scores of raw texts; BLEU and NIST from mteval tokens, the others from the PTB tokenizer's.

    Args:
        hypotheses: N generated texts; an empty one is an empty output.
        references: for each its references; blank ones, which fill up shorter lists, are left out.
        mode: for BLEU and NIST, `clean` or one of the official implementations with its quirks.
        metrics: names out of `E2E_METRICS` and `OPTIONAL_METRICS`.

    Raises:
        UserError: see `check_segments`; a metric this protocol does not have.
    """
    check_segments(hypotheses, references)
    references = [[text for text in texts if text.strip()] for texts in references]

    @cache
    def tokens() -> tuple[list[str], list[list[str]]]:
        return _ptb_tokens(hypotheses, references)

    functions: dict[str, Callable[[], float]] = {
        "bleu": lambda: mteval_bleu(hypotheses, references, mode),
        "nist": lambda: nist(hypotheses, references, mode),
        "meteor": lambda: meteor(*tokens()),
        "rouge_l": lambda: rouge_l(*tokens()),
        "cider": lambda: cider(*tokens()),
        "rouge_l_google": lambda: rouge_l_google(hypotheses, references),
    }
    unknown = [name for name in metrics if name not in functions]
    if unknown:
        raise UserError(f"E2E has no metric {unknown[0]!r}", f"choose from {', '.join(functions)}")
    return collect({name: functions[name] for name in metrics})


def _ptb_tokens(hypotheses: Sequence[str], references: References) -> tuple[list[str], list[list[str]]]:
    flat = iter(ptb_tokenize([*hypotheses, *(text for texts in references for text in texts)]))
    return [next(flat) for _ in hypotheses], [[next(flat) for _ in texts] for texts in references]
