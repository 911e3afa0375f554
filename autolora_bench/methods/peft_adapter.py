"""A configuration of PEFT put into a pretrained model, its task's head trained in full."""

import warnings
from typing import Any

import peft
import torch
from peft import PeftModel
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.multitask_prompt_tuning import MultitaskPromptEmbedding
from peft.tuners.poly.layer import PolyLayer
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LNTUNING_TARGET_MODULES_MAPPING as NORMS
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from autolora_bench.config.peft_method import PeftMethodConfig
from autolora_bench.errors import UserError
from autolora_bench.methods.peft_lora import TASK_TYPES
from autolora_bench.methods.prompts import UNSEEN, hide_virtual_positions
from autolora_bench.methods.rank_schedule import UNKNOWN
from autolora_bench.models.adapted_layers import block_and_projection
from autolora_bench.models.gpt2 import SplitProjection, has_split
from autolora_bench.models.inner import scaled_modules
from autolora_bench.models.load import Backbone, HeadKind
from autolora_bench.models.virtual import prompt_sizes
from autolora_bench.training.weight_groups import is_head
from autolora_bench.untrusted import in_a_line

PLACED = ("ADAPTION_PROMPT", "BEFT", "LN_TUNING", "SHADOW", "TRAINABLE_TOKENS")
"""Types that go elsewhere than into the linear layers that low-rank methods adapt: PEFT's table says where."""
EMBEDDED = ("CPT", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PROMPT_TUNING")
"""Types whose virtual tokens are embeddings before the input's."""
REMEMBERED = ("CARTRIDGE", "PREFIX_TUNING")
"""Types whose virtual tokens are keys and values."""
NUMBERED = ("MULTITASK_PROMPT_TUNING", "POLY")
"""Types that ask for every input's task; here there is one."""
MEND = "say other method.settings, or choose another type: autolora-bench ls methods"


def adapted_by_peft(backbone: Backbone, head: HeadKind, method: PeftMethodConfig) -> PeftModel:
    """The model that PEFT makes of `backbone.model`, in place.

    Raises:
        UserError: PEFT refuses the type or its settings on this model, with PEFT's reason; or it would train parts of
            GPT-2's `c_attn`, or nothing but the head.
    """
    settings = _configured(backbone, head, method)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "fan_in_fan_out is set to")
            config = PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(method.type)](**settings)
            model = peft.get_peft_model(backbone.model, config)
    except Exception as error:  # whatever a type's own checks raise
        raise refusal(method, error) from error
    assert isinstance(model, PeftModel)
    splits = [module for module in model.modules() if isinstance(module, SplitProjection)]
    if any(weight.requires_grad for split in splits for weight in split.parameters()):
        raise _no_parts(method, MEND)  # the export would name layers that no other GPT-2 has
    _train_head(model, backbone.head_modules)
    if not any(_trained_beside(model, backbone.head_modules)):
        raise UserError(f"{method.type} with these settings trains nothing but the head", MEND)
    if method.type in NUMBERED:
        _one_task(model)
    if method.type in EMBEDDED and head not in UNSEEN:
        hide_virtual_positions(model, int(model.active_peft_config.num_virtual_tokens), head)
    return model


def refusal(method: PeftMethodConfig, error: Exception) -> UserError:
    """One line of what PEFT says."""
    text = in_a_line(" ".join(str(error).split()) or type(error).__name__)
    return UserError(f"PEFT refuses {method.type}: {text}", MEND)


def _no_parts(method: PeftMethodConfig, mend: str) -> UserError:
    return UserError(f"{method.type} of PEFT knows no query and value of GPT-2 as layers of their own", mend)


def _configured(backbone: Backbone, head: HeadKind, method: PeftMethodConfig) -> dict[str, Any]:
    """Arguments of PEFT's configuration class."""
    model, known = backbone.model, method.info.settings
    settings = dict(method.settings)
    if "target_modules" in known and method.type not in PLACED and has_split(model):
        raise _no_parts(method, "say model.targets=[c_attn]")
    if "modules_to_save" in known:
        asked = settings.get("modules_to_save") or []
        settings["modules_to_save"] = [*dict.fromkeys([*asked, *backbone.head_modules])] or None
    if "modules_to_save" in known or head in (HeadKind.language_model, HeadKind.text_to_text):
        # PEFT's classes for a classifier's task expect that a type has `modules_to_save`
        settings["task_type"] = TASK_TYPES[head]
    if "target_modules" in known and settings.get("target_modules") is None:
        settings |= _places(backbone, str(method.type))
        _keep_blocks(settings, method)
    if "fan_in_fan_out" in known:
        settings.setdefault("fan_in_fan_out", _conv1d(model, settings.get("target_modules")))
    if method.type == "ADALORA":
        # the penalty is added by methods.peft_hooks: PEFT's own is lost under label smoothing
        settings |= {"total_step": UNKNOWN, "orth_reg_weight": 0.0}
    if method.info.prompts:
        settings = prompt_sizes(model, keys=method.type in REMEMBERED) | settings
    return settings


def _places(backbone: Backbone, kind: str) -> dict[str, Any]:
    """Where a type goes if nobody says it."""
    model = backbone.model
    if kind == "IA3":
        outputs, inputs = scaled_modules(model)
        return {"target_modules": outputs + inputs, "feedforward_modules": inputs}
    if kind == "LN_TUNING" and model.config.model_type not in NORMS:
        names = [name for name, module in model.named_modules() if type(module).__name__.endswith("Norm")]
        return {"target_modules": names}
    if kind in PLACED:
        return {}
    return {"target_modules": list(backbone.targets)}


def _keep_blocks(settings: dict[str, Any], method: PeftMethodConfig) -> None:
    """Of the layers that nobody named those of `layers_to_transform`: PEFT passes it over beside whole names."""
    asked = settings.pop("layers_to_transform", None)
    if asked is None or not isinstance(settings.get("target_modules"), list):
        return
    blocks = {asked} if isinstance(asked, int) else {*asked}
    kept = [name for name in settings["target_modules"] if block_and_projection(name)[0] in blocks]
    if not kept:
        raise UserError(
            f"layers_to_transform={asked} of {method.type} is of blocks that the model has not",
            "number them from 0",
        )
    settings["target_modules"] = kept


def _conv1d(model: nn.Module, targets: Any) -> bool:
    if not isinstance(targets, list):
        return False
    return any(
        isinstance(module, Conv1D)
        for name, module in model.named_modules()
        if any(name == target or name.endswith(f".{target}") for target in targets)
    )


def _train_head(model: PeftModel, head_modules: list[str]) -> None:
    """Of a type that knows no `modules_to_save`."""
    if getattr(model.active_peft_config, "modules_to_save", None):
        return
    for name, weight in model.named_parameters():
        if is_head(name, head_modules):
            weight.requires_grad_(True)


def _trained_beside(model: PeftModel, head_modules: list[str]) -> list[bool]:
    return [w.requires_grad for name, w in model.named_parameters() if not is_head(name, head_modules)]


def _one_task(model: PeftModel) -> None:
    """Every input is of task 0 for modules that ask."""

    def number_prompt(_: nn.Module, arguments: tuple[Any, ...]) -> Any:
        indices, *tasks = arguments
        known = tasks[0] if tasks else None
        return indices, torch.zeros(
            len(indices), dtype=torch.long, device=indices.device
        ) if known is None else known

    def number_layer(_: nn.Module, arguments: tuple[Tensor, ...], named: dict[str, Any]) -> Any:
        if named.get("task_ids") is None:
            inputs = arguments[0]
            named = {**named, "task_ids": torch.zeros(len(inputs), dtype=torch.long, device=inputs.device)}
        return arguments, named

    for module in model.modules():
        if isinstance(module, MultitaskPromptEmbedding):
            module.register_forward_pre_hook(number_prompt)
        elif isinstance(module, PolyLayer):
            module.register_forward_pre_hook(number_layer, with_kwargs=True)
