"""`autolora-bench records ... to=DIR`: what reports need of every run, small and without weights, to be committed."""

from collections.abc import Sequence
from pathlib import Path

from autolora_bench.commands.chosen_records import find_asked
from autolora_bench.commands.options import COMMANDS, split_options
from autolora_bench.errors import UserError
from autolora_bench.record import RunRecord, Status
from autolora_bench.untrusted import printable

ENDED = (Status.completed, Status.failed)


def run(words: Sequence[str]) -> int:
    """Write the chosen records that have come to an end, and say what was left out; 1 where one could not be read."""
    options, rest = split_options(words, COMMANDS["records"].options)
    if not options.get("to"):
        raise UserError("records: where to?", "as in: autolora-bench records suite=table1 to=results/records")
    asked = find_asked(rest)
    from autolora_bench.report.artefacts import UnreadableArtefactError
    from autolora_bench.report.export_records import StrayRecordError, thin_folder, write_thin

    root = Path(options["to"]).expanduser()
    wanted = None if asked.planned is None else {entry.identity for entry in asked.planned}
    chosen = [r for r in asked.collection.records if wanted is None or r.identity in wanted]
    ended = [record for record in chosen if record.status in ENDED]
    staying: list[str] = []
    problems: list[str] = [str(one) for one in [*asked.collection.conflicts, *asked.collection.unreadable]]
    targets: list[tuple[Path, Path, RunRecord]] = []
    for record in ended:
        folder = asked.collection.folders[record.identity]
        try:
            targets.append((thin_folder(root, folder, record), folder, record))
        except StrayRecordError as error:
            problems.append(f"{error.what}: it is left out")
    written = 0
    for target, folder, record in targets:
        try:
            staying += write_thin(target, folder, record)
            written += 1
        except UnreadableArtefactError as error:
            problems.append(f"{error.what}: its run is left out")
    for line in dict.fromkeys(staying):
        print(printable(f"note: {line} names a folder and is part of what was run: it stays as it is"))
    for problem in problems:
        print(printable(f"note: {problem}"))
    left = len(chosen) - len(ended)
    print(f"{written} records in {root}" + (f"; {left} not ended, left out" if left else ""))
    return 1 if problems else 0
