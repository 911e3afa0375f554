"""Reads a pretrained model's files without obeying what they say of code to run or of kernels to compute with."""

from typing import Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, PreTrainedConfig
from transformers.utils.peft_utils import find_adapter_config_file

from autolora_bench.config.model import ModelConfig
from autolora_bench.errors import UserError
from autolora_bench.models.locate import Location

PASSED_OVER = (
    *(
        "auto_map",
        "custom_generate",
        "custom_pipelines",
        "fusion_config",
        "kernel_config",
        "transformers_weights",
    ),
    *("distributed_config", "output_hidden_states", "return_dict", "problem_type"),
)
"""Entries of a config.json by which a model would choose whose code computes it, which file its weights are, or what
forms its outputs and losses have."""
QUANTISED = ("quantization_config", "compression_config")
"""Entries that say how to read weights that are not plain numbers."""
UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ImportError,
    SafetensorError,
    StrictDataclassError,
)
"""What transformers raises for files that are damaged, missing, or not what their config.json says."""


def read_config(location: Location, config: ModelConfig) -> PreTrainedConfig:
    """The model's config.json, without attention, experts or code of its own choice, in its parts neither.

    Raises:
        UserError: it cannot be read, its weights are quantised, or they are an adapter's.
    """
    if find_adapter_config_file(location.source, revision=location.revision) is not None:
        raise UserError(
            f"{location.source} holds a PEFT adapter (adapter_config.json), not a model alone",
            "merge the adapter into its model and save that, or name the model without it",
        )
    found: PreTrainedConfig = read(AutoConfig, location, config.name)
    _forget_choices(found, location)
    return found


def _forget_choices(config: PreTrainedConfig, location: Location) -> None:
    for name in QUANTISED:
        if getattr(config, name, None) is not None:
            raise UserError(
                f"the weights of {location.source} are quantised: {name} in its config.json",
                "name a checkpoint with plain weights",
            )
    for name in [name for name in vars(config) if name in PASSED_OVER]:
        delattr(config, name)
    config._attn_implementation = config._experts_implementation = None
    config._output_attentions = False
    for part in list(vars(config).values()):
        if isinstance(part, PreTrainedConfig):
            _forget_choices(part, location)


def read(kind: Any, location: Location, model: str, **options: Any) -> Any:
    """`kind.from_pretrained` at `location`.

    Args:
        kind: a class of transformers.
        location: of the files.
        model: its name, for messages.
        options: of from_pretrained.

    Raises:
        UserError: transformers cannot make of the files what `kind` is.
    """
    try:
        return kind.from_pretrained(
            location.source, revision=location.revision, trust_remote_code=False, **options
        )
    except UNREADABLE as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        first = " ".join(" ".join(lines[: 2 if lines[0].endswith(":") else 1]).split())
        raise UserError(
            f"cannot load a model from {location.source}: {first}", "see docs/models.md"
        ) from error
