"""A configuration of PEFT put into a pretrained model, its task's head trained in full."""

import re
import warnings
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import peft
import torch
from peft import PeftModel
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.multitask_prompt_tuning import MultitaskPromptEmbedding
from peft.tuners.poly.layer import PolyLayer
from peft.tuners.tuners_utils import BaseTuner, check_target_module_exists
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LNTUNING_TARGET_MODULES_MAPPING as NORMS
from peft.utils.other import get_pattern_key
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from autolora_bench.config.peft_method import PLACED, PeftMethodConfig
from autolora_bench.errors import UserError, nearest
from autolora_bench.methods.ia3 import scaled_modules
from autolora_bench.methods.peft_lora import TASK_TYPES
from autolora_bench.methods.prompts import UNSEEN, hide_virtual_positions
from autolora_bench.methods.rank_schedule import UNKNOWN
from autolora_bench.models.adapted_layers import block_and_projection
from autolora_bench.models.gpt2 import SplitProjection, has_split
from autolora_bench.models.load import Backbone, HeadKind
from autolora_bench.models.virtual import prompt_sizes
from autolora_bench.training.weight_groups import is_head
from autolora_bench.untrusted import in_a_line

EMBEDDED = ("CPT", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PROMPT_TUNING")
"""Types whose virtual tokens are embeddings before the input's."""
REMEMBERED = ("CARTRIDGE", "PREFIX_TUNING")
"""Types whose virtual tokens are keys and values."""
NUMBERED = ("MULTITASK_PROMPT_TUNING", "POLY")
"""Types that ask for every input's task; here there is one."""
SCALED = "say '+method.settings={target_modules: [c_attn, mlp.c_proj], feedforward_modules: [mlp.c_proj]}'"
"""Where PEFT's IA3 goes in GPT-2."""
MEND = "say other method.settings, or choose another type: autolora-bench ls methods"
HEADS = ("classifier", "score")
"""What PEFT puts into `modules_to_save` of every classifier and tagger, whatever its head is called."""


def _ends(entry: str, name: str) -> bool:
    return bool(check_target_module_exists(SimpleNamespace(target_modules=[entry]), name))


def _keyed(entry: str, name: str) -> bool:
    return bool(get_pattern_key([entry], name) == entry)


def _searched(entry: str, name: str) -> bool:
    return re.search(entry, name) is not None


NAMING: Mapping[str, Callable[[str, str], bool]] = {
    **dict.fromkeys(("target_modules", "exclude_modules", "target_parameters"), _ends),
    "modules_to_save": lambda entry, name: name.endswith(entry),
}
"""Setting whose entries name parts of a model -> PEFT's rule whether an entry means a part."""
PATTERNS = ("rank_pattern", "alpha_pattern", "lambda_pattern", "block_size_pattern", "n_frequency_pattern")
"""Settings whose entries name some of the layers and parameters that PEFT adapts."""


def adapted_by_peft(backbone: Backbone, head: HeadKind, method: PeftMethodConfig) -> PeftModel:
    """The model that PEFT makes of `backbone.model`, in place.

    Raises:
        UserError: PEFT refuses the type or its settings on this model, with PEFT's reason; settings name parts that
            the model has not; or it would train parts of GPT-2's `c_attn`, or nothing but the head.
    """
    settings = _configured(backbone, head, method)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "fan_in_fan_out is set to")
            # false of patterns of parameters, and of OSF's; where it is right _check_patterns refuses
            warnings.filterwarnings("ignore", ".*keys did not match any targeted module")
            config = PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(method.type)](**settings)
            model = peft.get_peft_model(backbone.model, config)
    except Exception as error:  # whatever a type's own checks raise
        raise refusal(method, error) from error
    assert isinstance(model, PeftModel)
    _check_patterns(model, method)
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
    unnamed = "target_modules" in known and settings.get("target_modules") is None
    if "target_modules" in known and method.type not in PLACED and has_split(model):
        if unnamed:
            raise _no_parts(method, SCALED if method.type == "IA3" else "say model.targets=[c_attn]")
        _fuse_attention(model)
    _check_names(model, method)
    if "modules_to_save" in known:
        asked = settings.get("modules_to_save") or []
        settings["modules_to_save"] = [*dict.fromkeys([*asked, *backbone.head_modules])] or None
    if "modules_to_save" in known or head in (HeadKind.language_model, HeadKind.text_to_text):
        # PEFT's classes for a classifier's task expect that a type has `modules_to_save`
        settings["task_type"] = TASK_TYPES[head]
    if unnamed:
        settings |= _places(backbone, str(method.type))
        _keep_blocks(settings, method)
    if "fan_in_fan_out" in known:
        settings.setdefault("fan_in_fan_out", _conv1d(model, settings.get("target_modules")))
    if method.type == "ADALORA":
        # the penalty is added by methods.peft_hooks: PEFT's own is lost under label smoothing
        settings |= {"total_step": UNKNOWN, "orth_reg_weight": 0.0}
    if method.info.prompts:
        settings |= prompt_sizes(model, keys=method.type in REMEMBERED)
    return settings


def _fuse_attention(model: nn.Module) -> None:
    """Give GPT-2 its own `c_attn` again, in place: settings name its layers as everybody knows them."""
    for module in list(model.modules()):
        split = getattr(module, "c_attn", None)
        if isinstance(split, SplitProjection):
            module.c_attn = split.fused()


def _check_names(model: nn.Module, method: PeftMethodConfig) -> None:
    """Raises UserError for an entry that names nothing: PEFT passes it over where others name something."""
    modules = [name for name, _ in model.named_modules(remove_duplicate=False) if name]
    weights = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    for setting, means in NAMING.items():
        entries = method.settings.get(setting)
        if setting == "modules_to_save" and isinstance(entries, str):  # PEFT would take its letters for names
            raise UserError(f"modules_to_save={entries} is no list", f"say modules_to_save: [{entries}]")
        if not isinstance(entries, list | dict):  # nothing, or one pattern for all names
            continue
        there = weights if setting == "target_parameters" else modules
        for entry in map(str, entries):
            if setting == "modules_to_save" and entry in HEADS:
                continue
            if not any(means(entry, name) for name in there):
                ends = {end for name in there if not (end := name.rpartition(".")[2]).isdecimal()}
                raise _names_nothing(method, setting, entry, "the model", ends)
    _check_blocks(modules, method)


def _check_patterns(model: PeftModel, method: PeftMethodConfig) -> None:
    """Raises UserError for a pattern that matches nothing of what PEFT has adapted: PEFT warns, or says nothing."""
    asked = {name: entries for name in PATTERNS if (entries := method.settings.get(name))}
    if not asked:
        return
    assert isinstance(model.base_model, BaseTuner)
    layers, weights = model.base_model.targeted_module_names, model.base_model.targeted_parameter_names
    means = _searched if method.type == "OSF" else _keyed
    for setting, entries in asked.items():
        for entry in map(str, entries):
            try:
                found = any(means(entry, name) for name in [*layers, *weights])
            except re.error as error:
                raise refusal(method, error) from error
            if not found:
                ends = {name.rpartition(".")[2] for name in layers}
                ends |= {".".join(name.split(".")[-2:]) for name in weights}
                raise _names_nothing(method, setting, entry, "the adapted layers", ends)


def _names_nothing(
    method: PeftMethodConfig, setting: str, entry: str, where: str, known: set[str]
) -> UserError:
    nothing = "null" if method.info.settings[setting] is None else "{}"
    return UserError(
        f"{setting} of {method.type}: nothing of {where} is called {in_a_line(entry)}",
        f"{nearest(entry, sorted(known))}choose among: {', '.join(sorted(known))}; or leave it out "
        f"(said by a file: '+method.settings={{{setting}: {nothing}}}')",
    )


def _check_blocks(modules: list[str], method: PeftMethodConfig) -> None:
    """Raises UserError for a block that the model has not, beside others that it has."""
    asked, pattern = method.settings.get("layers_to_transform"), method.settings.get("layers_pattern")
    ends = {name.rpartition(".")[2] for name in modules}
    inner = [name for name in modules if name not in ends]  # of whole names PEFT does not look at the block
    for block in asked if isinstance(asked, list) else [] if asked is None else [asked]:
        which = SimpleNamespace(target_modules=ends, layers_to_transform=[block], layers_pattern=pattern)
        try:
            found = any(check_target_module_exists(which, name) for name in inner)
        except (re.error, TypeError) as error:  # of layers_pattern
            raise refusal(method, error) from error
        if not found:
            raise UserError(
                f"layers_to_transform={asked} of {method.type} is of blocks that the model has not: {block}",
                "number them from 0",
            )


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
    """Of every weight that is none of the head's, whether it is trained; an empty one is nothing to train."""
    return [
        weight.requires_grad and weight.numel() > 0
        for name, weight in model.named_parameters()
        if not is_head(name, head_modules)
    ]


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
