"""The order of methods in tables and figures."""

UNTRAINED = "untrained"
"""Stands for the method in the row of a model as it was before training."""
FAMILIES = (
    UNTRAINED,
    "full",
    "head_only",
    "adapter",
    "bitfit",
    "prompt",
    "lora",
    "variant",
    "peft",
    "adalora",
    "autolora",
    "allocator",
    "control",
    "other",
)
ADAPTERS = ("adapter", "houlsby", "pfeiffer", "bottleneck")
PROMPTS = ("prefix", "prompt", "p_tuning", "llama_adapter", "ia3")
VARIANTS = ("rslora", "dora", "pissa", "olora", "lora_plus", "lora_ga", "lora_pro", "eva")
CONTROLS = ("control", "uniform", "random", "shuffle", "from_ranks", "oracle", "reversed")
ALLOCATORS = (
    *("lora_svd_ranks", "lora_gradient_ranks", "fim", "stable_rank", "gora"),
    *("sora", "l1ra", "increlora", "dylora"),
)


def family_of(method: str) -> str:
    """Which of `FAMILIES` a method's name belongs to."""
    name = method.lower()
    if name in (UNTRAINED, "full", "head_only", "bitfit", "lora", "adalora"):
        return name
    if name == "peft" or name.startswith("peft_"):
        return "peft"
    if name.startswith(ALLOCATORS):
        return "allocator"
    if any(word in name for word in CONTROLS):
        return "control"
    if name.startswith("autolora"):
        return "autolora"
    if name.startswith(PROMPTS):
        return "prompt"
    if name.startswith(VARIANTS):
        return "variant"
    return "adapter" if any(word in name for word in ADAPTERS) else "other"


def method_order(method: str) -> tuple[int, str]:
    """Sorting key: untrained, full, the head alone, adapters, bitfit, prompts and scales, lora, its variants, types of
    PEFT, adalora, autolora and its variants, other allocators of ranks, controls, others by name."""
    return FAMILIES.index(family_of(method)), method
