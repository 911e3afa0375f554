"""Names the machine a run was made on, so that times are only compared on the same one."""

from autolora_bench.record import RunRecord


def hardware(record: RunRecord) -> str:
    """The accelerator's name; on a processor its name, threads used and cores; `unknown machine` without either."""
    facts = record.provenance
    device, processor = facts.get("device"), facts.get("processor")
    if isinstance(device, str) and device not in ("cpu", "mps"):
        return device
    if not processor:
        return "unknown machine"
    threads, cores = facts.get("threads"), facts.get("cores")
    used = [f"{threads} of {cores} cores" if threads and cores else "", "mps" if device == "mps" else ""]
    return ", ".join([str(processor), *filter(None, used)])
