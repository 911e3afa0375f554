"""Rules of methods that replaced others after runs had been recorded.

A mended rule gives the same settings other numbers. For the old and the new runs not to share a `config_id`, the names
of the corrections that apply are written into `method.corrections` before the configuration is hashed. A record without
a name that would apply to it was made by the earlier rule: `earlier_rules` says which, for a reader of its scores.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from autolora_bench.config.experiment import ExperimentConfig, experiment_identity
from autolora_bench.errors import UserError


@dataclass(frozen=True)
class Correction:
    """One rule that was mended."""

    name: str
    applies: Callable[[Mapping[str, Any]], bool]
    """Whether it changes the numbers of a run with this identity, as `RunRecord.config` has it."""
    earlier: str
    """What runs did without it, as a clause."""


def _part(config: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """A node of an identity, empty where it has none."""
    for name in names:
        found: Any = config.get(name)
        config = found if isinstance(found, Mapping) else {}
    return config


def _decays(config: Mapping[str, Any]) -> bool:
    """Whether the method's own weights are decayed."""
    own = _part(config, "method").get("weight_decay")
    return bool(_part(config, "train").get("weight_decay") if own is None else own)


def _decays_otherwise(config: Mapping[str, Any]) -> bool:
    """Whether the method's own weights, or DoRA's magnitudes, are to be decayed in another way than the rest."""
    own, shared = _part(config, "method").get("weight_decay"), _part(config, "train").get("weight_decay")
    return own not in (None, shared) or (_has_magnitudes(config) and _decays(config))


def _has_head(config: Mapping[str, Any]) -> bool:
    return "decoding" not in _part(config, "task")


def _has_magnitudes(config: Mapping[str, Any]) -> bool:
    return bool(_part(config, "method", "variant").get("dora"))


def _takes_off(config: Mapping[str, Any]) -> bool:
    """Whether LoRA starts from a part of the pretrained weights (config.variant.Start.changes_weights)."""
    return _part(config, "method", "variant").get("start") in ("pissa", "olora", "lora_ga")


def _smooths(config: Mapping[str, Any]) -> bool:
    return bool(_part(config, "train").get("label_smoothing"))


def _looks_at_gradients(config: Mapping[str, Any]) -> bool:
    """Whether ranks or first values follow from the loss's gradients before the training."""
    method = _part(config, "method")
    start = _part(method, "variant").get("start")
    return method.get("name") in ("fim", "gora", "lora_gradient_ranks") or start in ("lora_ga", "gora")


def _looks_in_parts(config: Mapping[str, Any]) -> bool:
    """Whether it does so in micro-batches, of the training's size."""
    parts = _part(config, "train").get("accumulation")
    starts = _part(config, "method", "variant").get("start") == "gora"
    looks = _is(config, "fim", "gora", "lora_gradient_ranks") or starts
    return looks and isinstance(parts, int) and parts > 1


def _starts_from_parts(config: Mapping[str, Any]) -> bool:
    """Whether LoRA-GA's examples come in several batches, which may have other numbers of labels."""
    variant, size = _part(config, "method", "variant"), _part(config, "train").get("batch_size")
    examples = _part(variant, "lora_ga").get("examples", LORA_GA_EXAMPLES)
    return variant.get("start") == "lora_ga" and isinstance(size, int) and bool(examples > size)


def _groups(config: Mapping[str, Any]) -> bool:
    """Whether batches are of similar lengths; a balanced truncation always had one order for both of its parts."""
    return bool(_part(config, "train").get("group_by_length")) and "gathered" not in _part(config, "method")


def _settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """PEFT's own, of method=peft."""
    return _part(config, "method", "settings")


def _adapts_tied(config: Mapping[str, Any]) -> bool:
    """Whether a decoded model has adapters on layers that many models tie: the head, or the embeddings of tokens."""
    named = [_part(config, "model").get("targets"), _settings(config).get("target_modules")]
    layers = [str(name).rpartition(".")[2] for one in named if isinstance(one, list | tuple) for name in one]
    return not _has_head(config) and any(name in TIED for name in layers)


def _is_byte_level(config: Mapping[str, Any]) -> bool:
    """Whether its tokenizer knows bytes and blanks, and is neither GPT-2's nor RoBERTa's."""
    called = _called(config)
    return any(word in called for word in ("qwen", "modernbert", "llama32", "llama-3"))


def _reads_beyond_512(config: Mapping[str, Any]) -> bool:
    """Whether it is a T5 that writes texts, whose tokenizers state 512 tokens and which itself has no limit."""
    called = _called(config)
    length = _part(config, "task").get("max_length")
    return "decoding" in _part(config, "task") and "t5" in called and isinstance(length, int) and length > 512


def _called(config: Mapping[str, Any]) -> str:
    """All that its model is called: an identity has no architecture."""
    model = _part(config, "model")
    return " ".join(str(model.get(name) or "") for name in ("name", "hub", "checkpoint")).lower()


def _is(config: Mapping[str, Any], *methods: str) -> bool:
    """Whether it is one of the product's own methods, whose settings conf/method states."""
    return _part(config, "method").get("name") in methods


LORA_GA_EXAMPLES = 8
"""Where an identity does not say their number: it is the default (config.variant.LoraGaConfig)."""
TIED = ("lm_head", "embed_tokens", "wte", "shared", "embed_out", "word_embeddings")
"""Last parts of the names of heads and embeddings that have one weight in many models."""
CORRECTIONS = (
    Correction(
        "own_draw",
        lambda config: _part(config, "method").get("allocation") in ("random", "shuffled"),
        "ranks were drawn by the seed alone, so that all tasks shared its draw, and random ones had the total but not "
        "the spread of the ranks that they are compared with",
    ),
    Correction(
        "start_not_dropped",
        lambda config: _takes_off(config) and bool(_part(config, "method").get("dropout")),
        "dropout removed parts of the pretrained weights, which the adapter starts from",
    ),
    Correction(
        "magnitudes_not_decayed",
        lambda config: _has_magnitudes(config) and _decays(config),
        "weight decay pulled DoRA's magnitudes towards 0",
    ),
    Correction(
        "head_outside_ratio",
        lambda config: _part(config, "method", "variant").get("rate_ratio", 1) != 1 and _has_head(config),
        "LoRA+'s ratio was also that of the head's biases",
    ),
    Correction(
        "gate_of_each_head",
        lambda config: {"virtual_tokens", "drop"} <= _part(config, "method").keys(),
        "LLaMA-Adapter had one gate a block, without tanh",
    ),
    Correction(
        "smoothed_next_tokens",
        lambda config: (
            _smooths(config) and not _has_head(config) and "virtual_tokens" in _part(config, "method")
        ),
        "label smoothing behind virtual tokens taught each token to predict itself",
    ),
    Correction(
        "smoothed_look",
        lambda config: _smooths(config) and _looks_at_gradients(config),
        "gradients before the training were those of the loss without label smoothing",
    ),
    Correction(
        "grouped_by_seed",
        _groups,
        "batches of similar lengths came in an order of each method's own from the second epoch on, and a run that was "
        "interrupted in such an epoch saw some of its examples twice and others not",
    ),
    Correction(
        "decayed_as_trained",
        lambda config: "rates" in _part(config, "method") and _decays_otherwise(config),
        "the search of rates decayed the head by the method's weight decay, and DoRA's magnitudes",
    ),
    Correction(
        "held_out_by_input",
        lambda config: bool(_part(config, "data").get("held_out") and _part(config, "task").get("table")),
        "examples with the same input could be both trained on and held out",
    ),
    Correction(
        "look_by_labels",
        _looks_in_parts,
        "gradients before the training weighed micro-batches alike, however many examples and labels they had",
    ),
    Correction(
        "blocks_as_asked",
        lambda config: (
            "layers_to_transform" in _settings(config) and "target_modules" not in _settings(config)
        ),
        "layers_to_transform was passed over where no target_modules were named: all blocks had adapters",
    ),
    Correction(
        "tied_as_trained",
        _adapts_tied,
        "texts were decoded with the update of the head or of the embeddings in both, where these share a weight",
    ),
    Correction(
        "words_as_text",
        lambda config: "entities" in _part(config, "task") and _is_byte_level(config),
        "words were cut as if there were no blanks between them, or blanks inside of them",
    ),
    Correction(
        "start_by_labels",
        _starts_from_parts,
        "LoRA-GA's start weighed batches of its examples alike, however many examples and labels they had",
    ),
    Correction(
        "whole_references",
        _reads_beyond_512,
        "texts to be written were cut at the 512 tokens that T5's tokenizer states, whatever task.max_length said",
    ),
)
"""Every mended rule. A new one is added at the end: the order is part of identities."""
SETTINGS = (
    Correction(
        "weight_decay",
        lambda config: _is(config, "pissa", "olora", "lora_ga") and _takes_off(config) and _decays(config),
        "A and B were decayed, towards 0 and not towards their start; their authors decay nothing",
    ),
    Correction(
        "weight_decay",
        lambda config: _is(config, "ia3") and _decays(config),
        "IA3's factors were decayed, towards 0 and not towards 1; its authors decay nothing",
    ),
    Correction(
        "variant.rslora",
        lambda config: _is(config, "lora_pro") and not _part(config, "method", "variant").get("rslora"),
        "LoRA-Pro was scaled by alpha / rank, not by alpha / sqrt(rank) as in its authors' commands",
    ),
    Correction(
        "base_batch_size",
        lambda config: _is(config, "llama_adapter") and "base_batch_size" not in _part(config, "method"),
        "LLaMA-Adapter's rate was not scaled with the batch, as its authors' is",
    ),
)
"""Settings whose value in conf/method was another one. They need no name in an identity: they are in it themselves."""


def note_corrections(experiment: ExperimentConfig) -> None:
    """Fill in `method.corrections`. Raises UserError where others were given."""
    method = experiment.method
    given, method.corrections = method.corrections, []
    config = experiment_identity(experiment)
    method.corrections = [correction.name for correction in CORRECTIONS if correction.applies(config)]
    if given and given != method.corrections:
        raise UserError(
            f"method.corrections={given} is filled in by the program", "leave method.corrections out"
        )


def earlier_rules(config: Mapping[str, Any]) -> list[str]:
    """What a recorded run did by rules or settings that have been mended since, as clauses for a reader.

    Empty for a run of today with a method's own settings.

    Args:
        config: `RunRecord.config`.
    """
    named = _part(config, "method").get("corrections", [])
    rules = [c.earlier for c in CORRECTIONS if c.name not in named and c.applies(config)]
    return rules + [c.earlier for c in SETTINGS if c.applies(config)]
