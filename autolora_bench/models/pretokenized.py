"""Sentences that are given as words: whether a tokenizer cuts these as it cuts them in a running text."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

SAMPLE = ("the", "IL-2", "(gene)", "binds")


def cuts_words_as_text(
    tokenizer: PreTrainedTokenizerBase, of_text: PreTrainedTokenizerBase | None = None
) -> bool:
    """Whether a list of words has the tokens that the text has, by `of_text` or by the tokenizer itself.

    Of byte-level tokenizers some leave out the blank before a word, as if all were one, and some put one before every
    piece of a word, whatever `add_prefix_space` says (transformers 5.23: the generic class of Llama 3 and ModernBERT,
    and Qwen's).
    """
    words, text = list(SAMPLE), " ".join(SAMPLE)
    split = tokenizer(words, is_split_into_words=True, add_special_tokens=False)["input_ids"]
    reader = of_text or tokenizer
    whole = [reader(one, add_special_tokens=False)["input_ids"] for one in (text, f" {text}")]
    return split in whole


def words_to_cut(tokenizer: PreTrainedTokenizerBase, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
    """The sentences as `tokenizer(..., is_split_into_words=True)` is to have them: where it would not cut them as text
    each word with the blank before it."""
    blank = "" if cuts_words_as_text(tokenizer) else " "
    return [[f"{blank}{word}" for word in words] for words in sentences]
