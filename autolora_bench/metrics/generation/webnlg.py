"""WebNLG 2017's scores over all, seen and unseen categories."""

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from enum import StrEnum

from autolora_bench.errors import UserError
from autolora_bench.metrics.generation.bleu import bleu
from autolora_bench.metrics.generation.meteor import meteor_subsets
from autolora_bench.metrics.generation.ter import segment_rates, tercom_subsets
from autolora_bench.metrics.scores import MetricScores, MetricUnavailableError, References, check_segments

WEBNLG_METRICS = ("bleu", "meteor", "ter")
SEEN_CATEGORIES = frozenset(
    [
        *("Airport", "Astronaut", "Building", "City", "ComicsCharacter"),
        *("Food", "Monument", "SportsTeam", "University", "WrittenWork"),
    ]
)
UNSEEN_CATEGORIES = frozenset(["Artist", "Athlete", "CelestialBody", "MeanOfTransportation", "Politician"])
"""Of the test set of 2017."""
NEAR = 0.8
"""Share of letters (difflib's ratio) from which a category is taken for another's misspelling."""
Subsets = Mapping[str, Sequence[int]]


class WebnlgProtocol(StrEnum):
    """Whose scores to give.

    GENERATION_EVAL: WebNLG/GenerationEval@8067849 eval.py on six references, as the LoRA paper.
    CHALLENGE_2017: the challenge's own scripts: three references, ASCII, multi-bleu.perl -lc, tercom.
    """

    GENERATION_EVAL = "generation_eval"
    CHALLENGE_2017 = "challenge_2017"

    @property
    def reference_count(self) -> int:
        """How many references a record has; further ones are not used."""
        return 6 if self is WebnlgProtocol.GENERATION_EVAL else 3


def pad_references(references: Sequence[str], protocol: WebnlgProtocol) -> list[str]:
    """A record's references, as many as the protocol takes: missing ones repeat the first, or are blank in 2017."""
    count = protocol.reference_count
    filler = references[0] if protocol is WebnlgProtocol.GENERATION_EVAL else ""
    return [*references, *[filler] * count][:count]


def seen_subsets(
    categories: Sequence[str] | None, count: int, seen: Collection[str] = SEEN_CATEGORIES
) -> dict[str, list[int]]:
    """Positions of all records (key ""), and with categories those of `/seen` and `/unseen` ones, where there are any.

    Raises:
        UserError: not one category for each record, or one that is nearly that of a seen category.
    """
    subsets = {"": list(range(count))}
    if categories is None:
        return subsets
    if len(categories) != count:
        raise UserError(
            f"{len(categories)} categories for {count} records", "give one category for each record"
        )
    for position, category in enumerate(map(str.strip, categories)):
        _check_spelling(category, position, seen)
        subsets.setdefault("/seen" if category in seen else "/unseen", []).append(position)
    return subsets


def _check_spelling(category: str, position: int, seen: Collection[str]) -> None:
    """A category that is misspelled would make its records unseen ones."""
    if category in seen or category in UNSEEN_CATEGORIES:
        return
    plain = {re.sub(r"[\s_-]", "", name).casefold(): name for name in seen}
    near = get_close_matches(re.sub(r"[\s_-]", "", category).casefold(), plain, 1, NEAR)
    if near:
        raise UserError(
            f"category {position + 1} is {category!r}, which is not seen in training, and {plain[near[0]]!r} is",
            "spell categories as the challenge does; rename one of your own that is meant to be another",
        )


def score_webnlg(
    hypotheses: Sequence[str],
    references: References,
    categories: Sequence[str] | None = None,
    protocol: WebnlgProtocol = WebnlgProtocol.GENERATION_EVAL,
    metrics: Sequence[str] = WEBNLG_METRICS,
    *,
    seen: Collection[str] = SEEN_CATEGORIES,
    prepare: bool = True,
) -> MetricScores:
    """`bleu`, `meteor`, `ter` of all records; with categories also `bleu/seen`, `bleu/unseen` and so on.

    Args:
        hypotheses: N generated texts.
        references: for each its references, already as many as wanted (`pad_references`); blank ones count.
        categories: N category names, or None.
        protocol: whose definitions.
        metrics: names out of `WEBNLG_METRICS`.
        seen: categories that count as seen.
        prepare: lower-case and split the texts as the protocol does (`split_at_non_words`, for 2017 also
            `fold_to_ascii`); False for texts to be scored as they are.

    Raises:
        UserError: see `check_segments`; a metric this protocol does not have; not one category for each record.
    """
    unknown = [name for name in metrics if name not in WEBNLG_METRICS]
    if unknown:
        raise UserError(f"WebNLG has no metric {unknown[0]!r}", f"choose from {', '.join(WEBNLG_METRICS)}")
    check_segments(hypotheses, references)
    subsets = seen_subsets(categories, len(hypotheses), seen)
    if prepare:
        hypotheses, references = _prepare(hypotheses, references, protocol)
    functions = _functions(hypotheses, references, subsets, protocol)
    scores = MetricScores()
    for name in metrics:
        try:
            values = functions[name]()
        except MetricUnavailableError as unavailable:
            scores.missing.update({f"{name}{subset}": str(unavailable) for subset in subsets})
        else:
            scores.values.update({f"{name}{subset}": value for subset, value in values.items()})
    return scores


def _prepare(
    hypotheses: Sequence[str], references: References, protocol: WebnlgProtocol
) -> tuple[list[str], list[list[str]]]:
    if protocol is WebnlgProtocol.GENERATION_EVAL:
        return [split_at_non_words(h) for h in hypotheses], [
            [split_at_non_words(r) for r in rs] for rs in references
        ]
    # The 2017 scripts fold outputs before they split them, and references after.
    return (
        [split_at_non_words(fold_to_ascii(h)) for h in hypotheses],
        [[fold_to_ascii(split_at_non_words(r)) for r in rs] for rs in references],
    )


def _functions(
    hypotheses: Sequence[str], references: References, subsets: Subsets, protocol: WebnlgProtocol
) -> dict[str, Callable[[], dict[str, float]]]:
    """For each metric, the function that gives its value on every subset."""

    def on_subsets(score: Callable[[Sequence[str], References], float]) -> dict[str, float]:
        return {
            name: score([hypotheses[i] for i in chosen], [references[i] for i in chosen])
            for name, chosen in subsets.items()
        }

    def mean_rates() -> dict[str, float]:
        rates = segment_rates(hypotheses, references)
        return {name: sum(rates[i] for i in chosen) / len(chosen) for name, chosen in subsets.items()}

    challenge = protocol is WebnlgProtocol.CHALLENGE_2017
    tokenizer = "none" if challenge else "13a"
    return {
        "bleu": lambda: on_subsets(lambda h, r: bleu(h, r, lowercase=challenge, tokenizer=tokenizer)),
        "meteor": lambda: meteor_subsets(hypotheses, references, subsets),
        "ter": lambda: tercom_subsets(hypotheses, references, subsets) if challenge else mean_rates(),
    }


_WORD_OR_SIGN = re.compile(r"\w+|[^\w\s]")
_TO_ASCII = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
        **dict.fromkeys("\u2018\u2019\u201a\u2032", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u2033", '"'),
        **{
            "æ": "ae",
            "œ": "oe",
            "ø": "o",
            "ß": "ss",
            "đ": "d",
            "ð": "d",
            "þ": "th",
            "ł": "l",
            "\u0131": "i",
            "ə": "@",
        },
    }
)


def split_at_non_words(text: str) -> str:
    """Lower case, split at every non-word character, joined by single blanks.

    What microsoft/LoRA@c4593f0 gpt2_decode.py does with `--tokenize --lower` before WebNLG is scored. Applied to its
    own result it changes nothing.
    """
    return " ".join(_WORD_OR_SIGN.findall(text.lower()))


def fold_to_ascii(text: str) -> str:
    """Lower case without accents, typographic dashes and quotation marks as ASCII has them.

    Stands for the WebNLG 2017 scripts' unidecode: equal on every letter of the corpus; scripts other than Latin
    stay as they are.
    """
    decomposed = unicodedata.normalize("NFKD", text.lower().translate(_TO_ASCII))
    return "".join(character for character in decomposed if not unicodedata.combining(character))
