"""`autolora-bench records ... to=DIR`: what reports need of every run, small and without weights, to be committed."""

from collections.abc import Sequence
from pathlib import Path

from autolora_bench.commands.asked import find_asked
from autolora_bench.commands.request import split_options
from autolora_bench.errors import UserError
from autolora_bench.record import Status

OPTIONS = ("to",)
ENDED = (Status.completed, Status.failed)


def run(words: Sequence[str]) -> int:
    """Write the chosen records that have come to an end, and say what was left out."""
    options, rest = split_options(words, OPTIONS)
    if not options.get("to"):
        raise UserError("records: where to?", "as in: autolora-bench records suite=table1 to=results/records")
    asked = find_asked(rest)
    from autolora_bench.report.export_records import thin_folder, write_thin

    root = Path(options["to"]).expanduser()
    wanted = None if asked.planned is None else {entry.identity for entry in asked.planned}
    chosen = [r for r in asked.collection.records if wanted is None or r.identity in wanted]
    ended = [record for record in chosen if record.status in ENDED]
    folders = [asked.collection.folders[record.identity] for record in ended]
    targets = [thin_folder(root, folder, record) for folder, record in zip(folders, ended, strict=True)]
    staying = [
        line
        for target, folder, record in zip(targets, folders, ended, strict=True)
        for line in write_thin(target, folder, record)
    ]
    for line in dict.fromkeys(staying):
        print(f"note: {line} names a folder and is part of what was run: it stays as it is")
    for problem in [*asked.collection.conflicts, *asked.collection.unreadable]:
        print(f"note: {problem}")
    left = len(chosen) - len(ended)
    print(f"{len(ended)} records in {root}" + (f"; {left} not ended, left out" if left else ""))
    return 0
