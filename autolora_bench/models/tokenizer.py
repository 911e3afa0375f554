"""Reads a model's tokenizer, and refuses one that is not there: transformers would make one without words."""

from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from autolora_bench.config.model import ModelConfig
from autolora_bench.errors import UserError
from autolora_bench.models.locate import Location, check_tokenizer_files
from autolora_bench.models.read import read


def read_tokenizer(
    location: Location, config: ModelConfig, stated: PreTrainedConfig, of_words: bool
) -> PreTrainedTokenizerBase:
    """The tokenizer beside a model's weights, with a padding token.

    Args:
        location: of the weights.
        config: the model's.
        stated: what its config.json states.
        of_words: it is to take sentences as words.

    Raises:
        UserError: there is none, or one without words or outside of the tokenizers library.
    """
    check_tokenizer_files(location)
    tokenizer = read(AutoTokenizer, location, config.name, config=stated)
    if of_words and getattr(tokenizer, "add_prefix_space", True) is False:
        tokenizer = read(AutoTokenizer, location, config.name, config=stated, add_prefix_space=True)
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    if not tokenizer.is_fast:
        raise UserError(
            f"the tokenizer of {location.source} is a {type(tokenizer).__name__}, which has no fast form",
            "choose a model whose tokenizer the tokenizers library can read",
        )
    if set(tokenizer.get_vocab()) <= {str(token) for token in tokenizer.added_tokens_decoder.values()}:
        raise UserError(
            f"the tokenizer of {location.source} has no words: its files are empty or not there",
            "put the model's own beside its weights (tokenizer.json, for instance)",
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
