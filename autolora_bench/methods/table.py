"""Configuration type -> method."""

from collections.abc import Callable
from typing import Any

from autolora_bench.config.method import (
    AdaLoraConfig,
    AdapterConfig,
    AutoLoraConfig,
    BitFitConfig,
    FullConfig,
    LoraConfig,
    MethodConfig,
    RankedLoraConfig,
)
from autolora_bench.methods.adalora import AdaLora
from autolora_bench.methods.adapter import Adapter
from autolora_bench.methods.autolora import AutoLora
from autolora_bench.methods.base import Method
from autolora_bench.methods.bitfit import BitFit
from autolora_bench.methods.full import Full
from autolora_bench.methods.ranked import RankedLora
from autolora_bench.methods.uniform import Lora

METHODS: dict[type[MethodConfig], Callable[[Any], Method]] = {
    FullConfig: Full,
    AdapterConfig: Adapter,
    BitFitConfig: BitFit,
    LoraConfig: Lora,
    RankedLoraConfig: RankedLora,
    AdaLoraConfig: AdaLora,
    AutoLoraConfig: AutoLora,
}


def build_method(config: MethodConfig) -> Method:
    """The method of a configuration."""
    return METHODS[type(config)](config)
