"""Variants of LoRA that make no sense, alone or together."""

from autolora_bench.config.bounds import require
from autolora_bench.config.variant import VariantConfig


def validate_variant(variant: VariantConfig) -> None:
    """Raises UserError at the first setting that cannot be."""
    ratio, ga, eva, gora = variant.rate_ratio, variant.lora_ga, variant.eva, variant.gora
    require(ratio > 0, f"method.variant.rate_ratio={ratio}", "say a number above 0; LoRA+ takes 16")
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
    require(ga.examples >= 1, f"method.variant.lora_ga.examples={ga.examples}", "say 1 or more")
    require(ga.gamma > 0, f"method.variant.lora_ga.gamma={ga.gamma}", "say a number above 0")
    require(eva.rho >= 1, f"method.variant.eva.rho={eva.rho}", "say 1 or more")
    require(0 < eva.tau < 1, f"method.variant.eva.tau={eva.tau}", "say a cosine between 0 and 1")
    for name in ("batch_size", "most_batches"):
        value = getattr(eva, name)
        require(value >= 1, f"method.variant.eva.{name}={value}", "say 1 or more")
    require(gora.batches >= 1, f"method.variant.gora.batches={gora.batches}", "say 1 or more")
    rate = gora.learning_rate
    require(rate > 0, f"method.variant.gora.learning_rate={rate}", "say a number above 0")
