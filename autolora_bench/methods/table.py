"""Configuration type -> method."""

from collections.abc import Callable
from typing import Any

from autolora_bench.config.allocators import (
    DyLoraConfig,
    FimConfig,
    GoraRanksConfig,
    IncreLoraConfig,
    L1raConfig,
    LoraGradientRanksConfig,
    LoraSvdRanksConfig,
    SoraConfig,
    StableRankConfig,
)
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
from autolora_bench.config.peft_method import PeftMethodConfig
from autolora_bench.config.prompts import (
    IA3Config,
    LlamaAdapterConfig,
    PrefixConfig,
    PromptConfig,
    PTuningConfig,
)
from autolora_bench.methods.adalora import AdaLora
from autolora_bench.methods.adapter import Adapter
from autolora_bench.methods.allocators.dylora import dylora
from autolora_bench.methods.allocators.fim import fim
from autolora_bench.methods.allocators.gora import gora
from autolora_bench.methods.allocators.gradient_ranks import lora_gradient_ranks
from autolora_bench.methods.allocators.increlora import increlora
from autolora_bench.methods.allocators.l1ra import l1ra
from autolora_bench.methods.allocators.sora import sora
from autolora_bench.methods.allocators.stable_rank import stable_ranks
from autolora_bench.methods.allocators.svd_ranks import lora_svd_ranks
from autolora_bench.methods.autolora import AutoLora
from autolora_bench.methods.base import Method
from autolora_bench.methods.bitfit import BitFit
from autolora_bench.methods.full import Full
from autolora_bench.methods.head_only import HeadOnly
from autolora_bench.methods.ia3 import IA3
from autolora_bench.methods.llama_adapter import LlamaAdapter
from autolora_bench.methods.peft_config import PeftMethod
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
    PeftMethodConfig: PeftMethod,
    LoraSvdRanksConfig: lora_svd_ranks,
    LoraGradientRanksConfig: lora_gradient_ranks,
    FimConfig: fim,
    StableRankConfig: stable_ranks,
    GoraRanksConfig: gora,
    SoraConfig: sora,
    L1raConfig: l1ra,
    IncreLoraConfig: increlora,
    DyLoraConfig: dylora,
}


def build_method(config: MethodConfig) -> Method:
    """The method of a configuration."""
    return METHODS[type(config)](config)
