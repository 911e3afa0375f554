"""Variants of LoRA that make no sense together."""

from autolora_bench.config.peft_method import REFUSED, check_start
from autolora_bench.config.peft_types import peft_types
from autolora_bench.config.variant import Start, VariantConfig
from autolora_bench.errors import UserError, nearest, require

OWN_SETTINGS = {
    **dict.fromkeys(("r", "rank_pattern"), "the method decides the ranks"),
    **dict.fromkeys(("lora_alpha", "alpha_pattern"), "say method.alpha and method.scaling"),
    **dict.fromkeys(("target_modules", "exclude_modules", "layers_to_transform"), "say model.targets"),
    "lora_dropout": "say method.dropout",
    "modules_to_save": "the head is trained",
    "fan_in_fan_out": "it is found out for each layer",
    "use_dora": "say method.variant.dora",
    "use_rslora": "say method.variant.rslora",
    "eva_config": "say method.variant.eva",
    "lora_ga_config": "say method.variant.lora_ga",
    "corda_config": "say method.variant.corda",
    "kasa_config": "its loss is added by method=peft method.type=LORA alone",
    "monteclora_config": "its loss is added by method=peft method.type=LORA alone",
}
"""Options of PEFT's LoRA that a method here decides otherwise -> how."""


def validate_variant(variant: VariantConfig) -> None:
    """Raises UserError at the first setting that cannot be."""
    ratio = variant.rate_ratio
    require(
        not (variant.lora_pro and variant.dora),
        "method.variant.lora_pro with method.variant.dora: LoRA-Pro's correction is that of W + scale B A alone",
        "say one of them",
    )
    require(
        not (variant.lora_pro and ratio != 1),
        f"method.variant.lora_pro with method.variant.rate_ratio={ratio}: LoRA-Pro gives A and B one learning rate",
        "say one of them",
    )
    if variant.options:
        _validate_options(variant)


def _validate_options(variant: VariantConfig) -> None:
    known = peft_types()["LORA"].settings
    for name in variant.options:
        if name not in known:
            raise UserError(
                f"method.variant.options.{name} is no option of the installed PEFT's LoRA",
                f"{nearest(name, known)}it has: {', '.join(known)}",
            )
        require(
            name not in OWN_SETTINGS and name not in REFUSED,
            f"method.variant.options.{name} cannot be said: {OWN_SETTINGS.get(name) or REFUSED.get(name)}",
            "leave it out",
        )
    check_start(variant.options.get("init_lora_weights"))
    require(
        variant.start is Start.lora or "init_lora_weights" not in variant.options,
        f"method.variant.options.init_lora_weights with method.variant.start={variant.start.value}",
        "say one of them",
    )
    require(
        not variant.start.changes_weights and not variant.lora_pro,
        f"method.variant.options={variant.options} with "
        f"{'method.variant.lora_pro' if variant.lora_pro else f'method.variant.start={variant.start.value}'}, "
        "which knows the update scale B A alone",
        "say one of them",
    )
