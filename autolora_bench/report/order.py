"""The order of methods in tables and figures: by family, as each method states its own (config.registry)."""

from functools import cache

from autolora_bench.config.choices import schema_of
from autolora_bench.config.peft_method import NAME
from autolora_bench.config.registry import FAMILIES, UNTRAINED, MethodKind, family_in, methods
from autolora_bench.paths import conf_dir
from autolora_bench.record import RunRecord

OTHER = "other"


def family_of(record: RunRecord) -> str:
    """The family of a record's method: as this project states it, else as the record itself says; or `other`."""
    kind = shipped_kind(record.method)
    if kind is not None:
        return family_in(kind, record.method)
    said = record.provenance.get("method")
    family = said.get("family") if isinstance(said, dict) else None
    return family if family in FAMILIES[1:] else OTHER


def method_order(method: str, family: str) -> tuple[int, str]:
    """Sorting key: by family, in the order of `FAMILIES`, then by name."""
    return FAMILIES.index(UNTRAINED if method == UNTRAINED else family), method


@cache
def shipped_kind(method: str) -> MethodKind | None:
    """The kind that a method of conf/method is built on."""
    if method.startswith(f"{NAME}_"):
        return methods()[NAME]
    return methods().get(schema_of("method", method, [conf_dir()]) or "")
