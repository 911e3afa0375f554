"""Beam search over a batch of prompts; with one beam, greedy search.

The algorithm is that of transformers' `generate` with early_stopping="never", whose best output it finds: the best
hypothesis of all that the beams ever complete, as microsoft/LoRA@c4593f0 (gpt2_beam.py) takes it. It is leaner: each
prompt is read once and not once per beam, and a beam is followed only while it can still become its record's best.
(That is exact: what takes the place of a hopeless beam ranks below it, and is as hopeless.) A token that would repeat
an n-gram is excluded among the generated tokens alone; the prompt's may be repeated. An output ends with an end token
or, where the settings say so, a blank line, as microsoft/LoRA@c4593f0 cuts it (gpt2_decode.py).

Shapes: B records, K beams, T prompt tokens, t generated tokens, V vocabulary, C candidates per record; rows are the
beams that are followed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from autolora_bench.config.task import DecodingConfig
from autolora_bench.models.virtual import VirtualTokens
from autolora_bench.tasks.generation.model import EncoderDecoderStep, StepModel

NEVER = -math.inf
MARGIN = 3
"""Candidates per beam: so many that enough of them go on where some end, by either of two end tokens."""
CACHED = 1 << 19
"""Logits that are handled at a time on a CPU: two MiB in single precision."""


END_TEXT = "<|endoftext|>"
BLANK_LINE = "\n\n"


@dataclass(frozen=True)
class Stops:
    """What ends an output, as tables over the vocabulary (V,)."""

    ends: Tensor
    """End tokens, and tokens with a blank line inside."""
    closes_line: Tensor
    """Tokens whose text ends with a line break."""
    opens_line: Tensor
    """Tokens whose text begins with a line break: after one that closes a line they make a blank line."""

    def reached(self, previous: Tensor | None, token: Tensor) -> Tensor:
        """Whether outputs end with these tokens, given the generated token before each, if any."""
        ended = self.ends[token]
        return ended if previous is None else ended | (self.closes_line[previous] & self.opens_line[token])


def find_stops(
    tokenizer: PreTrainedTokenizerBase, vocabulary: int, device: torch.device, blank_line: bool = True
) -> Stops:
    """The stops of a model with `vocabulary` outputs; tokens that the tokenizer does not know end nothing.

    Args:
        tokenizer: the model's.
        vocabulary: V.
        device: of the tables.
        blank_line: whether a blank line is one.
    """
    texts = tokenizer.batch_decode(
        [[token] for token in range(len(tokenizer))], clean_up_tokenization_spaces=False
    )
    ends, closes, opens = (torch.zeros(max(vocabulary, len(texts)), dtype=torch.bool) for _ in range(3))
    for token, text in enumerate(texts):
        if blank_line and "\n" in text:
            ends[token] = BLANK_LINE in text
            closes[token], opens[token] = text.endswith("\n"), text.startswith("\n")
    ends[end_tokens(tokenizer)] = True
    return Stops(ends.to(device), closes.to(device), opens.to(device))


def end_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The end-of-text token, and GPT-2's by name where another model has it too."""
    found = {tokenizer.eos_token_id, tokenizer.get_vocab().get(END_TEXT)}
    return sorted(token for token in found if token is not None)


def cut(tokens: Sequence[int], tokenizer: PreTrainedTokenizerBase, blank_line: bool = True) -> str:
    """The output's text up to its end; in one line where a blank line is an end."""
    ends = set(end_tokens(tokenizer))
    kept = next((tokens[:place] for place, token in enumerate(tokens) if token in ends), tokens)
    text = tokenizer.decode(list(kept), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert isinstance(text, str)
    text = text.split(END_TEXT)[0]
    return " ".join(text.split(BLANK_LINE)[0].split()) if blank_line else text.strip()


@dataclass
class _Best:
    """Each record's best complete output so far."""

    scores: Tensor
    """(B,) log-probability divided by length ** length_penalty."""
    tokens: list[list[int]]


@torch.inference_mode()
def beam_search(
    model: Any,
    prompts: Tensor,
    mask: Tensor,
    settings: DecodingConfig,
    stops: Stops,
    virtual: VirtualTokens | None = None,
) -> list[list[int]]:
    """The best output of each prompt, its end token included where it has one.

    Args:
        model: a causal language model of transformers, or an encoder-decoder.
        prompts: (B, T) tokens, padded at the front; for an encoder-decoder at the end.
        mask: (B, T) 1 for tokens, 0 for padding.
        settings: beams, length penalty, n-grams, longest output.
        stops: what ends an output.
        virtual: what the model reads before every prompt.
    """
    beams = settings.beams
    both_halves = model.config.is_encoder_decoder
    step = (EncoderDecoderStep if both_halves else StepModel)(model, mask, virtual)
    logits = step.first(prompts)
    best = _Best(torch.full((len(prompts),), NEVER, device=prompts.device), [[] for _ in prompts])
    records = torch.arange(len(prompts), device=prompts.device)
    scores = torch.zeros(len(prompts), 1, device=prompts.device)
    history = torch.empty(len(prompts), 0, dtype=torch.long, device=prompts.device)
    for length in range(1, settings.max_new_tokens + 1):
        exclude_repeats(logits, history, settings.no_repeat_ngram)
        candidates, rows, tokens = _candidates(logits, scores, MARGIN * beams)
        ended = stops.reached(history[rows, -1] if length > 1 else None, tokens)
        ended |= length == settings.max_new_tokens
        outputs = torch.cat([history[rows], tokens.unsqueeze(-1)], dim=-1)
        _keep_best(best, records, candidates[:, :beams], ended[:, :beams], outputs[:, :beams], settings)
        scores, chosen = candidates.masked_fill(ended, NEVER).topk(min(beams, candidates.shape[-1]))
        hopeful = _can_improve(best.scores[records], scores, length, settings)
        if beams == 1:
            hopeful &= ~ended[:, :1]
        going_on = hopeful.any(dim=-1)
        if not bool(going_on.any()):
            break
        places = torch.arange(len(records), device=prompts.device).unsqueeze(-1), chosen
        rows, history = rows[places][hopeful], outputs[places][hopeful]
        records, scores = records[going_on], scores.masked_fill(~hopeful, NEVER)[going_on]
        logits = step.next(rows, history[:, -1:])
    return best.tokens


def _candidates(logits: Tensor, scores: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The best continuations of each record, best first.

    Args:
        logits: (rows, V) of the next token; a row for every beam with a score above -inf, in their order.
        scores: (B, K) log-probabilities of the beams; one beam at the first step.
        count: C.

    Returns:
        (B, C) log-probabilities, the rows that they continue, and their tokens.
    """
    followed = scores > NEVER
    values, ids = _best_tokens(logits, min(count, logits.shape[-1]))
    total = values.new_full((*scores.shape, values.shape[-1]), NEVER)
    total[followed] = values + scores[followed].unsqueeze(-1)
    tokens = ids.new_zeros(total.shape)
    tokens[followed] = ids
    row = (followed.flatten().cumsum(dim=0) - 1).clamp(min=0).view_as(scores)
    found, places = total.flatten(1).topk(min(count, total[0].numel()))
    return found, row.gather(1, places // values.shape[-1]), tokens.flatten(1).gather(1, places)


def _best_tokens(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(rows, count) the highest log-probabilities of every row, best first, and their tokens.

    A processor takes a few rows at a time, which stay in its cache.
    """
    size = max(1, CACHED // logits.shape[-1]) if logits.device.type == "cpu" else len(logits)
    values, tokens = [], []
    for part in torch.split(logits, size):
        part = part.float()
        highest, ids = part.topk(count)
        values.append(highest - part.logsumexp(dim=-1, keepdim=True))
        tokens.append(ids)
    return torch.cat(values), torch.cat(tokens)


def _keep_best(
    best: _Best, records: Tensor, scores: Tensor, ended: Tensor, outputs: Tensor, settings: DecodingConfig
) -> None:
    """Take over completed hypotheses; only a candidate among the K best may complete."""
    normalised = scores / float(outputs.shape[-1] ** settings.length_penalty)
    values, places = normalised.masked_fill(~ended, NEVER).max(dim=-1)
    better = values > best.scores[records]
    best.scores[records[better]] = values[better]
    for record, output in zip(
        records[better].tolist(), outputs[better, places[better]].tolist(), strict=True
    ):
        best.tokens[record] = output


def _can_improve(best: Tensor, scores: Tensor, length: int, settings: DecodingConfig) -> Tensor:
    """(B, K) whether beams may yet end better than the best (B,): log-probabilities only fall, and a positive penalty
    favours the longest output."""
    longest = settings.max_new_tokens if settings.length_penalty > 0 else length + 1
    return (scores / float(longest**settings.length_penalty)).gt(best.unsqueeze(-1))


def exclude_repeats(logits: Tensor, history: Tensor, size: int) -> None:
    """Give -inf to every token that would complete an n-gram that the row has generated before; 0 excludes nothing.

    Args:
        logits: (rows, V), changed in place before they are normalised, as microsoft/LoRA@c4593f0 does.
        history: (rows, t) generated tokens.
        size: n.
    """
    if size < 1 or history.shape[1] < size:
        return
    grams = history.unfold(1, size, 1)
    context = history[:, history.shape[1] - size + 1 :]
    seen = (grams[..., :-1] == context.unsqueeze(1)).all(dim=-1)
    rows, places = seen.nonzero(as_tuple=True)
    logits[rows, grams[rows, places, -1]] = NEVER
