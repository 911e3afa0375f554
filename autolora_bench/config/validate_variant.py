"""Variants of LoRA that make no sense together."""

from autolora_bench.config.variant import VariantConfig
from autolora_bench.errors import require


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
