"""The official scores of each GLUE task."""

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
