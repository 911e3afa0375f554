"""Files of a task's hub data set: from the hub's cache if they are there, else downloaded."""

from pathlib import Path

from autolora_bench.config.task import HubSource, TaskConfig
from autolora_bench.data.files import hub_source, split_names
from autolora_bench.tables.download import cached, check_reachable, download

OTHERWISE = "use data=local data.dir=FOLDER with the publisher's files, or data=generated for a trial"


def fetch(source: HubSource, file: str) -> Path:
    """The local path of one file of the repository at its revision; a cached file is used without asking the hub.

    Raises:
        UserError: the file is neither in the cache nor to be had from the hub.
    """
    return download(source.path, file, source.revision, OTHERWISE)


def check_there(task: TaskConfig) -> None:
    """Raises UserError where a file of the task is neither in the hub's cache nor to be asked for now."""
    source = hub_source(task)
    for file in (file for split in split_names(task) for file in source.files.get(split, [])):
        if cached(source.path, file, source.revision) is None:
            check_reachable(source.path, OTHERWISE)
            return


def commit_of(path: Path) -> str:
    """The commit that a file in the hub's cache belongs to: .../snapshots/<commit>/<file>."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else "unknown"
