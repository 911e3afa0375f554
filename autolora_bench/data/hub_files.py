"""Files of a hub data set: from the hub's cache if they are there, else downloaded, else one clear error at once."""

from pathlib import Path

from huggingface_hub import constants, get_session, hf_hub_download
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from autolora_bench.config.task import HubSource, TaskConfig
from autolora_bench.data.files import hub_source, split_names
from autolora_bench.errors import UserError

TIMEOUT = 5.0
"""Seconds to wait for the hub's first answer; its own client would repeat for minutes."""
OTHERWISE = "use data=local data.dir=FOLDER with the publisher's files, or data=generated for a trial"


def fetch(source: HubSource, file: str) -> Path:
    """The local path of one file of the repository at its revision; a cached file is used without asking the hub.

    Raises:
        UserError: the file is neither in the cache nor to be had from the hub.
    """
    try:
        return _download(source, file, local_files_only=True)
    except LocalEntryNotFoundError:
        pass
    _check_reachable(source)
    try:
        return _download(source, file, local_files_only=False)
    except GatedRepoError as error:
        raise UserError(
            f"{source.path} is gated", "ask for access on its page and log in: hf auth login"
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(f"the hub has no data set {source.path}", OTHERWISE) from error
    except RevisionNotFoundError as error:
        raise UserError(f"{source.path} has no revision {source.revision}", OTHERWISE) from error
    except RemoteEntryNotFoundError as error:
        raise UserError(
            f"{source.path} has no file {file} at {source.revision or 'main'}", OTHERWISE
        ) from error
    except Exception as error:  # transport errors differ between versions, and some are no OSError
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise UserError(f"{source.path}: the download of {file} failed ({reason})", OTHERWISE) from error


def check_there(task: TaskConfig) -> None:
    """Raises UserError where a file of the task is neither in the hub's cache nor to be asked for now."""
    source = hub_source(task)
    for file in (file for split in split_names(task) for file in source.files.get(split, [])):
        try:
            _download(source, file, local_files_only=True)
        except LocalEntryNotFoundError:
            _check_reachable(source)
            return


def _download(source: HubSource, file: str, local_files_only: bool) -> Path:
    return Path(
        hf_hub_download(
            source.path,
            file,
            repo_type="dataset",
            revision=source.revision,
            local_files_only=local_files_only,
        )
    )


def commit_of(path: Path) -> str:
    """The commit that a file in the hub's cache belongs to: .../snapshots/<commit>/<file>."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else "unknown"


def _check_reachable(source: HubSource) -> None:
    if constants.HF_HUB_OFFLINE:
        raise UserError(
            f"{source.path} is not in the hub's cache, and HF_HUB_OFFLINE forbids to download it",
            f"unset HF_HUB_OFFLINE, or {OTHERWISE}",
        )
    try:
        get_session().head(constants.ENDPOINT, timeout=TIMEOUT)
    except Exception as error:
        raise UserError(
            f"{source.path} is not in the hub's cache, and {constants.ENDPOINT} does not answer",
            f"{OTHERWISE} (HF_HUB_OFFLINE=1 skips the attempt)",
        ) from error
