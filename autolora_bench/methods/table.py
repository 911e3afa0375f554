"""Configuration type -> method."""

from collections.abc import Callable
from typing import Any

from autolora_bench.config.method import (
    AdaLoraConfig,
    AdapterConfig,
    AutoLoraConfig,
    BitFitConfig,
    FullConfig,
    HeadOnlyConfig,
    LoraConfig,
    MethodConfig,
    PlantedRanksConfig,
    RankedLoraConfig,
)
from autolora_bench.config.prompts import (
    IA3Config,
    LlamaAdapterConfig,
    PrefixConfig,
    PromptConfig,
    PTuningConfig,
)
from autolora_bench.methods.adalora import AdaLora
from autolora_bench.methods.adapter import Adapter
from autolora_bench.methods.autolora import AutoLora
from autolora_bench.methods.base import Method
from autolora_bench.methods.bitfit import BitFit
from autolora_bench.methods.full import Full
from autolora_bench.methods.head_only import HeadOnly
from autolora_bench.methods.ia3 import IA3
from autolora_bench.methods.llama_adapter import LlamaAdapter
from autolora_bench.methods.prompts import Prompts
from autolora_bench.methods.ranked import RankedLora
from autolora_bench.methods.uniform import Lora

METHODS: dict[type[MethodConfig], Callable[[Any], Method]] = {
    FullConfig: Full,
    AdapterConfig: Adapter,
    BitFitConfig: BitFit,
    LoraConfig: Lora,
    RankedLoraConfig: RankedLora,
    PlantedRanksConfig: RankedLora,
    AdaLoraConfig: AdaLora,
    AutoLoraConfig: AutoLora,
    PrefixConfig: Prompts,
    PromptConfig: Prompts,
    PTuningConfig: Prompts,
    LlamaAdapterConfig: LlamaAdapter,
    IA3Config: IA3,
    HeadOnlyConfig: HeadOnly,
}


def build_method(config: MethodConfig) -> Method:
    """The method of a configuration."""
    return METHODS[type(config)](config)
