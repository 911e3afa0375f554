"""Loads a pretrained model with a task's head, and its tokenizer.

A tokenizer that is not there is refused: transformers would make one without words.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from autolora_bench.config.architectures import ENCODER_DECODERS, ENCODERS, Is, has
from autolora_bench.config.model import ALL_LINEAR, Attention, ModelConfig
from autolora_bench.config.support import check_halves
from autolora_bench.errors import UserError
from autolora_bench.models.attention import ask_registry, mpnet_with_sdpa
from autolora_bench.models.gpt2 import PARTS, split_attention
from autolora_bench.models.head import check_whole, settle_head
from autolora_bench.models.hub import available
from autolora_bench.models.locate import TOKENIZER_SETTINGS, Location, check_tokenizer_files, locate
from autolora_bench.models.preflight import check_attention
from autolora_bench.models.random_net import NumberTokenizer, random_net
from autolora_bench.models.read import read, read_config
from autolora_bench.models.storage import settle_storage, storage_options
from autolora_bench.models.targets import target_modules
from autolora_bench.models.teacher import recovering

CASED = "Hello World, naïve café: 12"
"""A text that tokenizers cut in other ways by their settings of case, accents and spaces."""

WORDS = ("the", "IL-2", "(gene)", "binds")
"""A sentence whose words tokenizers cut in pieces."""


class HeadKind(Enum):
    """What a task puts on top of the backbone."""

    sequence = AutoModelForSequenceClassification
    tokens = AutoModelForTokenClassification
    language_model = AutoModelForCausalLM
    text_to_text = AutoModelForSeq2SeqLM
    """The language model's of an encoder-decoder."""
    hidden_states = AutoModel
    """No head: the outputs are the last hidden states."""


@dataclass(frozen=True)
class HeadSpec:
    """The head a task needs; `labels` is empty for a language model, one name for a regression."""

    kind: HeadKind
    labels: tuple[str, ...] = ()
    regression: bool = False


@dataclass
class Backbone:
    """A model ready to be adapted."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    head_modules: list[str]
    """The head of a classifier or tagger, whether the checkpoint brought one or not, and what `ModelConfig.untrained`
    names: every method trains them."""
    targets: list[str]
    """Full names of the layers that low-rank methods adapt."""
    source: dict[str, Any] = field(default_factory=dict)
    """Where the weights came from, for the record; `head` says what became of a head that the checkpoint has."""


def load_tokenizer(config: ModelConfig, head: HeadSpec) -> PreTrainedTokenizerBase:
    """The model's tokenizer, with a padding token; for a token head one that takes sentences as words.

    Raises:
        UserError: the model cannot be found or read, or it has no tokenizer.
    """
    if config.random is not None:
        return NumberTokenizer(config.random)
    location = available(locate(config))
    return read_tokenizer(location, config, read_config(location, config), head.kind is HeadKind.tokens)


def stated_config(config: ModelConfig) -> PreTrainedConfig | None:
    """The model's config.json; none for random weights. Raises UserError where it cannot be found or read."""
    return None if config.random is not None else read_config(available(locate(config)), config)


def load_backbone(config: ModelConfig, head: HeadSpec, device: torch.device | None = None) -> Backbone:
    """Load the weights, draw a new head's first values from torch's global generator, find the target layers.

    Args:
        config: which model, and how its frozen weights are stored.
        head: what the task puts on it.
        device: where quantised weights are made, and stay; none means the CPU.

    Raises:
        UserError: the model cannot be found or read, it lacks weights, none of its layers matches `config.targets`, or
            `config.untrained` names something else than a linear layer.
    """
    location = available(locate(config))
    if config.random is not None:
        model: PreTrainedModel = random_net(config.random)
        _check_architecture(model.config.model_type, config)
        tokenizer: PreTrainedTokenizerBase = NumberTokenizer(config.random)
        head_modules: list[str] = []
        became = None
    else:
        place = torch.device("cpu") if device is None else device
        model, tokenizer, head_modules, became = _pretrained(location, config, head, place)
    if config.attention is Attention.sdpa and not has(model.config.model_type, Is.eager):
        ask_registry(model)
    decodes = model.config.model_type not in (*ENCODERS, *ENCODER_DECODERS)
    if tokenizer.pad_token_id is not None and (decodes or model.config.pad_token_id is None):
        # a decoder's classifier reads what precedes the padding, which is the tokenizer's whatever config.json says
        model.config.pad_token_id = tokenizer.pad_token_id
    if model.config.model_type == "gpt2" and _adapts_parts(config):
        split_attention(model)
    new = list(head_modules)
    if head.kind is HeadKind.hidden_states:
        recovering(model)
    else:
        settle_storage(model, [*head_modules, *_untrained(model, config.untrained)])
        drawn = _drawn_anew(model, config.untrained)
        new += [name for name in drawn if not any(f"{name}.".startswith(f"{m}.") for m in head_modules)]
    source = {
        "name": location.label,
        "kind": location.kind,
        "revision": location.revision,
        "commit": Path(location.source).name if location.kind == "hub" else None,
        "sha256": None if location.kind == "hub" else config.sha256,
        **({"head": became} if became else {}),
    }
    return Backbone(model, tokenizer, new, target_modules(model, config, new), source)


def _pretrained(
    location: Location, config: ModelConfig, head: HeadSpec, device: torch.device
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, list[str], str | None]:
    """The model, its tokenizer, its head's modules, and what became of the head that the checkpoint has."""
    stated = read_config(location, config)
    _check_architecture(stated.model_type, config)
    check_halves(stated.model_type, bool(stated.is_encoder_decoder))
    tokenizer = read_tokenizer(location, config, stated, head.kind is HeadKind.tokens)
    generator = torch.get_rng_state()
    with mpnet_with_sdpa():
        model, loading = _load_weights(location, config, head, stated, device)
        check_whole(model, loading, bool(head.labels), _untrained(model, config.untrained), config.name)
        return model, tokenizer, *settle_head(model, loading, head.labels, stated, generator)


def _load_weights(
    location: Location, config: ModelConfig, head: HeadSpec, stated: PreTrainedConfig, device: torch.device
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The model with the task's head, and transformers' report on its weights."""
    wanted = copy.deepcopy(stated)
    if head.labels:
        wanted.id2label = dict(enumerate(head.labels))
        wanted.label2id = {label: index for index, label in enumerate(head.labels)}
        wanted.problem_type = "regression" if head.regression else None
    built = head.kind.value._model_mapping.get(type(wanted), None)
    if getattr(built, "_supports_sdpa", True) is False:
        check_attention(config, stated.model_type)
    found: tuple[PreTrainedModel, dict[str, Any]] = read(
        head.kind.value,
        location,
        config.name,
        config=wanted,
        attn_implementation=(Attention.eager if has(stated.model_type, Is.eager) else config.attention).name,
        use_safetensors=True,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        **storage_options(config, head.kind.value, wanted, device),
    )
    return found


def _check_architecture(found: str, config: ModelConfig) -> None:
    """Raises UserError where the weights are not of the architecture that the configuration states."""
    if config.architecture not in (None, found):
        raise UserError(
            f"model={config.name} states model.architecture={config.architecture}, its weights are of a {found} model",
            f"say model.architecture={found}, or name other weights",
        )


def _adapts_parts(config: ModelConfig) -> bool:
    """Whether query, key or value of GPT-2 are adapted by themselves, and not `c_attn` as a whole."""
    return config.targets in (None, [ALL_LINEAR]) or any(
        target.split(".")[-1] in PARTS for target in config.targets or []
    )


def _untrained(model: PreTrainedModel, endings: list[str]) -> list[str]:
    return [
        name
        for name, _ in model.named_modules()
        if any(f".{name}".endswith(f".{ending}") for ending in endings)
    ]


def _drawn_anew(model: PreTrainedModel, endings: list[str]) -> list[str]:
    """Give the linear layers with these endings first values, as transformers gives a new head; their names."""
    found = _untrained(model, endings)
    for name in found:
        module = model.get_submodule(name)
        if not isinstance(module, nn.Linear):
            raise UserError(f"model.untrained: {name} is not a linear layer", "name linear layers")
        named = model.named_parameters(remove_duplicate=False)
        shared = [one.removesuffix(".weight") for one, weight in named if weight is module.weight]
        others = [one for one in shared if one != name]
        if others:
            raise UserError(
                f"model.untrained: {name} has its weight in common with {others[0]}",
                "name layers whose weights are their own",
            )
        nn.init.normal_(module.weight, std=model.config.initializer_range)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    return found


def read_tokenizer(
    location: Location, config: ModelConfig, stated: PreTrainedConfig, of_words: bool
) -> PreTrainedTokenizerBase:
    """The tokenizer beside a model's weights, with a padding token; it gives what the model reads.

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
    _check_settings(tokenizer, Path(location.source))
    if of_words and getattr(tokenizer, "add_prefix_space", True) is False:
        blank = read(AutoTokenizer, location, config.name, config=stated, add_prefix_space=True)
        tokenizer = blank if cuts_words_as_text(blank, tokenizer) else tokenizer
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
        if tokenizer.eos_token is None:
            raise UserError(
                f"the tokenizer of {location.source} has neither a padding token nor an end of text",
                f"name its pad_token in {TOKENIZER_SETTINGS} beside its weights",
            )
        tokenizer.pad_token = tokenizer.eos_token
    # Others number positions from the padding on where it comes first, so that what an example is given would follow
    # from the longest of its batch.
    tokenizer.padding_side = "left" if has(stated.model_type, Is.padded_at_the_left) else "right"
    names = _input_names(tokenizer.model_input_names, stated)
    if names != tokenizer.model_input_names:
        tokenizer.model_input_names = names
        tokenizer.init_kwargs["model_input_names"] = names  # these alone are exported with it
    return tokenizer


def _input_names(named: list[str], stated: PreTrainedConfig) -> list[str]:
    """What a tokenizer is to give, of what it would.

    Always a mask: without one a model reads padding as text. Types of tokens only to a model that knows several: GPT-2
    looks them up among its tokens, and a RoBERTa has one type.
    """
    typed = has(stated.model_type, Is.segmented) or (getattr(stated, "type_vocab_size", 0) or 0) > 1
    found = [name for name in named if typed or name != "token_type_ids"]
    return found if "attention_mask" in found else [*found, "attention_mask"]


def cuts_words_as_text(
    tokenizer: PreTrainedTokenizerBase, of_text: PreTrainedTokenizerBase | None = None
) -> bool:
    """Whether a list of words has the tokens that the text has, by `of_text` or by the tokenizer itself.

    Of byte-level tokenizers some leave out the blank before a word, as if all were one, and some put one before every
    piece of a word, whatever `add_prefix_space` says (transformers 5.23: the generic class of Llama 3 and ModernBERT,
    and Qwen's).
    """
    split = tokenizer(list(WORDS), is_split_into_words=True, add_special_tokens=False)["input_ids"]
    reader, text = of_text or tokenizer, " ".join(WORDS)
    return split in [reader(one, add_special_tokens=False)["input_ids"] for one in (text, f" {text}")]


def special_frame(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The tokens that the tokenizer itself puts before and after a single text.

    Raises:
        UserError: it gives no text a token.
    """
    _, ids, special = any_text(tokenizer)
    first = special.index(0)
    last = len(special) - special[::-1].index(0)
    return ids[:first], ids[last:]


def any_text(tokenizer: PreTrainedTokenizerBase) -> tuple[str, list[int], list[int]]:
    """A text that has tokens, all its ids, and 1 for each that the tokenizer itself put there, 0 for the text's."""
    for text in _texts(tokenizer):
        encoded = tokenizer(text, return_special_tokens_mask=True)
        special = list(encoded["special_tokens_mask"])
        if 0 in special:
            return text, list(encoded["input_ids"]), special
    raise UserError(
        "the model's tokenizer gives no text a token: not even what its own tokens stand for",
        "put the model's own beside its weights (tokenizer.json, for instance)",
    )


def _texts(tokenizer: PreTrainedTokenizerBase) -> Iterator[str]:
    """A letter, which a vocabulary of DNA or of another script may lack, then what the vocabulary has."""
    yield "a"
    special = set(tokenizer.all_special_ids)
    for token in sorted(tokenizer.get_vocab().values()):
        if token not in special:
            yield str(tokenizer.decode([token]))


def _check_settings(tokenizer: Any, folder: Path) -> None:
    """Raises UserError where transformers cuts words otherwise than tokenizer.json says, and no file tells it to.

    Without tokenizer_config.json, which a half-filled cache may lack, a cased BERT would be read in lower case.
    """
    file = folder / "tokenizer.json"
    if not tokenizer.is_fast or not file.is_file() or (folder / TOKENIZER_SETTINGS).is_file():
        return
    own, taken = Tokenizer.from_file(str(file)), tokenizer.backend_tokenizer
    if own.encode(CASED, add_special_tokens=False).ids != taken.encode(CASED, add_special_tokens=False).ids:
        raise UserError(
            f"{folder} has no {TOKENIZER_SETTINGS}, and without it words are cut otherwise than tokenizer.json says",
            "put the model's own there, or delete the folder if it is a part of a cache, and fetch it again",
        )
