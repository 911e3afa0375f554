"""The official scores of each GLUE task, and its classes."""

from collections.abc import Mapping
from types import MappingProxyType

GLUE_METRICS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "cola": ("matthews_correlation",),
        "sst2": ("accuracy",),
        "mrpc": ("accuracy", "f1"),
        "stsb": ("pearson", "spearman"),
        "qqp": ("accuracy", "f1"),
        "mnli": ("accuracy",),
        "mnli_mm": ("accuracy",),
        "qnli": ("accuracy",),
        "rte": ("accuracy",),
    }
)
_ENTAILMENT = ("entailment", "not_entailment")
_NLI = ("entailment", "neutral", "contradiction")
GLUE_CLASSES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "cola": ("unacceptable", "acceptable"),
        "sst2": ("negative", "positive"),
        "mrpc": ("not_equivalent", "equivalent"),
        "qqp": ("not_duplicate", "duplicate"),
        "mnli": _NLI,
        "mnli_mm": _NLI,
        "qnli": _ENTAILMENT,
        "rte": _ENTAILMENT,
    }
)
"""Names of a task's classes in the order of their numbers; where F1 is scored the second is the positive one."""
