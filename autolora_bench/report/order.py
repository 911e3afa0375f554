"""The order of methods in tables and figures."""

FAMILIES = ("full", "adapter", "bitfit", "lora", "adalora", "autolora", "control", "other")
ADAPTERS = ("adapter", "houlsby", "pfeiffer", "bottleneck")
CONTROLS = ("control", "uniform", "random", "shuffle", "from_ranks")


def family_of(method: str) -> str:
    """Which of `FAMILIES` a method's name belongs to."""
    name = method.lower()
    if name in ("full", "bitfit", "lora", "adalora"):
        return name
    if any(word in name for word in CONTROLS):
        return "control"
    if name.startswith("autolora"):
        return "autolora"
    return "adapter" if any(word in name for word in ADAPTERS) else "other"


def method_order(method: str) -> tuple[int, str]:
    """Sorting key: full, adapters, bitfit, lora, adalora, autolora and its variants, controls, others by name."""
    return FAMILIES.index(family_of(method)), method
