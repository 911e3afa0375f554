"""When an output has ended: an end token, or a blank line, as microsoft/LoRA@c4593f0 cuts it (gpt2_decode.py)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

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


def find_stops(tokenizer: PreTrainedTokenizerBase, vocabulary: int, device: torch.device) -> Stops:
    """The stops of a model with `vocabulary` outputs; tokens that the tokenizer does not know end nothing."""
    texts = tokenizer.batch_decode(
        [[token] for token in range(len(tokenizer))], clean_up_tokenization_spaces=False
    )
    ends, closes, opens = (torch.zeros(max(vocabulary, len(texts)), dtype=torch.bool) for _ in range(3))
    for token, text in enumerate(texts):
        if "\n" in text:
            ends[token] = BLANK_LINE in text
            closes[token], opens[token] = text.endswith("\n"), text.startswith("\n")
    ends[end_tokens(tokenizer)] = True
    return Stops(ends.to(device), closes.to(device), opens.to(device))


def end_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The end-of-text token, and GPT-2's by name where another model has it too."""
    found = {tokenizer.eos_token_id, tokenizer.get_vocab().get(END_TEXT)}
    return sorted(token for token in found if token is not None)


def cut(tokens: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> str:
    """The output's text up to its end, in one line."""
    ends = set(end_tokens(tokenizer))
    kept = next((tokens[:place] for place, token in enumerate(tokens) if token in ends), tokens)
    text = tokenizer.decode(list(kept), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert isinstance(text, str)
    return " ".join(text.split(END_TEXT)[0].split(BLANK_LINE)[0].split())
