"""Words of a tagged sentence have the tokens that they have in a text, whatever kind of tokenizer a model has."""

from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from autolora_bench.models.load import cuts_words_as_text
from autolora_bench.tasks.encode_words import words_to_cut

GPT2_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
TEXTS = ["the IL-2 (gene) binds SIGMA2 in virus receptor", "The alpha-2 chain (p55) of IL-2R binds"] * 4


def trained(*steps: Any) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(list(steps))
    trainer = trainers.BpeTrainer(
        vocab_size=330, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


SPLIT = pre_tokenizers.Split(Regex(GPT2_PIECES), "isolated")
LAYOUTS = {
    "llama 3": (SPLIT, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)),
    "modernbert": (pre_tokenizers.ByteLevel(add_prefix_space=False),),
    "qwen, with its blanks": (SPLIT, pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)),
}


@pytest.mark.parametrize("layout", ["llama 3", "modernbert"])
def test_words_have_the_tokens_of_the_text(layout: str) -> None:
    tokenizer = trained(*LAYOUTS[layout])
    assert not cuts_words_as_text(tokenizer)
    words = ["the", "IL-2R", "(p55)", "binds", "alpha-2"]
    encoded = tokenizer(words_to_cut(tokenizer)([words]), is_split_into_words=True, add_special_tokens=False)
    assert encoded["input_ids"][0] == tokenizer(" " + " ".join(words))["input_ids"]
    pieces = [
        [t for t, w in zip(encoded["input_ids"][0], encoded.word_ids(0), strict=True) if w == n]
        for n in range(5)
    ]
    assert [tokenizer.decode(ids).strip() for ids in pieces] == words


def test_blanks_inside_of_words_are_seen() -> None:
    """What Qwen's tokenizer does to words and texts once it is told to put blanks before words."""
    told, plain = trained(*LAYOUTS["qwen, with its blanks"]), trained(*LAYOUTS["llama 3"])
    words = {"is_split_into_words": True, "add_special_tokens": False}
    assert "".join(told.convert_ids_to_tokens(told(["IL-2"], **words)["input_ids"])) == "ĠILĠ-Ġ2"
    assert not cuts_words_as_text(told, plain)


def test_what_works_is_left_as_it_is() -> None:
    """RoBERTa's way: a blank before each word, and nowhere else."""
    tokenizer = trained(pre_tokenizers.ByteLevel(add_prefix_space=True))
    assert cuts_words_as_text(tokenizer)
    assert words_to_cut(tokenizer)([["the", "IL-2"]]) == [["the", "IL-2"]]
