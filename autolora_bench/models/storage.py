"""How weights that are not trained are stored: in 16 bits, or in NF4; what is trained stays in single precision."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel

from autolora_bench.config.model import Dtype, ModelConfig, Quantization
from autolora_bench.models.head import POOLER, head_of

TYPES = {Dtype.fp32: torch.float32, Dtype.bf16: torch.bfloat16}


def storage_options(
    config: ModelConfig, kind: Any, stated: PreTrainedConfig, device: torch.device
) -> dict[str, Any]:
    """Arguments of `kind.from_pretrained` that store the weights as `config` says.

    Args:
        config: dtype and quantization.
        kind: one of transformers' automatic classes.
        stated: configuration of the model that is loaded.
        device: where the weights are quantised, which is where they stay.
    """
    options: dict[str, Any] = {"dtype": TYPES[config.dtype]}
    if config.quantization is Quantization.nf4:
        options["quantization_config"] = nf4(config.dtype, _left_out(kind, stated, config.untrained))
        options["device_map"] = {"": device}
    return options


def nf4(dtype: Dtype, left_out: Sequence[str]) -> BitsAndBytesConfig:
    """QLoRA's storage: NF4 in blocks of 64, their constants in 8 bits; products in bf16 where the rest is in 16."""
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32 if dtype is Dtype.fp32 else torch.bfloat16,
        llm_int8_skip_modules=[*left_out],
    )


def _left_out(kind: Any, stated: PreTrainedConfig, untrained: Sequence[str]) -> list[str]:
    """Layers that stay as they are: the head, which may be trained, poolers, and what is to be drawn anew."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        model = kind.from_config(stated)
    output = model.get_output_embeddings()
    return [
        *head_of(model),
        *(name for name, _ in model.named_modules() if name.rpartition(".")[2] == POOLER),
        *(name for name, module in model.named_modules() if output is not None and module is output),
        *untrained,
    ]


def settle_storage(model: PreTrainedModel, trained: Iterable[str]) -> None:
    """Give what is trained single precision, whatever type its inputs have; in place.

    Args:
        model: with weights as `storage_options` has them.
        trained: modules that every method trains.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # Reading in evaluation, bitsandbytes (0.50) would repack a layer for good, and pass no gradient after that.
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]
    if model.dtype is torch.float32:
        return
    for name in trained:
        module = model.get_submodule(name)
        module.float()
        module.register_forward_pre_hook(_in_single_precision)


def _in_single_precision(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        one.float() if isinstance(one, Tensor) and one.is_floating_point() else one for one in inputs
    )


def is_full(weight: Tensor) -> bool:
    """Whether an update can be added to a weight without losing most of its digits."""
    return weight.dtype in (torch.float32, torch.float64)


def count_weights(model: nn.Module) -> int:
    """Weights of a model, however they are packed."""
    return sum(_size(weight) for weight in model.parameters())


def _size(weight: Any) -> int:
    state = getattr(weight, "quant_state", None)
    return int(weight.numel()) if state is None else int(torch.Size(state.shape).numel())
