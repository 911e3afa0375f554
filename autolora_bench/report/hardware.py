"""Names the machine a run was made on, and how it was used, so that times are only compared where they can be."""

from autolora_bench.record import RunRecord
from autolora_bench.report.stated import setting

WAYS = ("cpu_kernels", "padding_free")
"""Settings of `train` that change the time of the same computation."""


def hardware(record: RunRecord) -> str:
    """The accelerator's name; on a processor its name, threads used, cores; and which of WAYS were on;
    `unknown machine` without either."""
    facts = record.provenance
    ways = [name for name in WAYS if setting(record, "train", name)]
    device, processor = facts.get("device"), facts.get("processor")
    if isinstance(device, str) and device not in ("cpu", "mps"):
        return ", ".join([device, *ways])
    if not processor:
        return "unknown machine"
    threads, cores = facts.get("threads"), facts.get("cores")
    used = [f"{threads} of {cores} cores" if threads and cores else "", "mps" if device == "mps" else ""]
    return ", ".join([str(processor), *filter(None, used), *ways])
