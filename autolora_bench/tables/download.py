"""Files of a data set repository: from the hub's cache if they are there, else downloaded, else one clear error.

Also whether the hub answers at all, for data sets and models alike: it is asked once, not before every file.
"""

import math
import time
from pathlib import Path

from huggingface_hub import constants, get_session, hf_hub_download
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from autolora_bench.errors import UserError

TIMEOUT = 5.0
"""Seconds to wait for the hub's first answer; its own client would repeat for minutes, once for every file."""
REMEMBERED = 60.0
"""Seconds for which the answer holds: a notebook that was offline may be online later."""
_answers: dict[str, tuple[float, str]] = {}
"""Endpoint -> when it was asked, and what hinders."""


def download(repository: str, file: str, revision: str | None, otherwise: str) -> Path:
    """The local path of one file at a revision; a cached file is used without asking the hub.

    Args:
        otherwise: what else a user may do, for messages.

    Raises:
        UserError: the file is neither in the cache nor to be had from the hub.
    """
    found = cached(repository, file, revision)
    if found is not None:
        return found
    check_reachable(repository, otherwise)
    try:
        return _download(repository, file, revision, local_files_only=False)
    except Exception as error:
        raise refusal(error, repository, revision, otherwise, file) from error


def cached(repository: str, file: str, revision: str | None) -> Path | None:
    """The file in the hub's cache, if it is there."""
    try:
        return _download(repository, file, revision, local_files_only=True)
    except LocalEntryNotFoundError:
        return None


def refusal(
    error: Exception, repository: str, revision: str | None, otherwise: str, file: str = "its list of files"
) -> UserError:
    """What a failed request means; transport errors differ between versions, and some are no OSError."""
    match error:
        case GatedRepoError():
            return UserError(f"{repository} is gated", "ask for access on its page and log in: hf auth login")
        case RepositoryNotFoundError():
            return UserError(f"the hub has no data set {repository}", otherwise)
        case RevisionNotFoundError():
            return UserError(f"{repository} has no revision {revision}", otherwise)
        case RemoteEntryNotFoundError():
            return UserError(f"{repository} has no file {file} at {revision or 'main'}", otherwise)
    reason = str(error.__cause__ or error).partition("\n")[0]
    return UserError(f"{repository}: the download of {file} failed ({reason})", otherwise)


def hub_problem() -> str:
    """Why the hub cannot be asked; empty where it answers."""
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE forbids to ask the hub"
    when, problem = _answers.get(constants.ENDPOINT, (-math.inf, ""))
    if time.monotonic() - when > REMEMBERED:
        problem = "" if _answers_now() else f"{constants.ENDPOINT} does not answer"
        _answers[constants.ENDPOINT] = time.monotonic(), problem
    return problem


def check_reachable(repository: str, otherwise: str) -> None:
    """Raises UserError where the hub may not be asked, or does not answer."""
    problem = hub_problem()
    if problem:
        mend = (
            f"unset HF_HUB_OFFLINE, or {otherwise}"
            if constants.HF_HUB_OFFLINE
            else f"{otherwise} (HF_HUB_OFFLINE=1 skips the attempt)"
        )
        raise UserError(f"{repository} is not in the hub's cache, and {problem}", mend)


def _answers_now() -> bool:
    try:
        get_session().head(constants.ENDPOINT, timeout=TIMEOUT)
    except Exception:  # transport errors differ between versions, and some are no OSError
        return False
    return True


def _download(repository: str, file: str, revision: str | None, local_files_only: bool) -> Path:
    return Path(
        hf_hub_download(
            repository, file, repo_type="dataset", revision=revision, local_files_only=local_files_only
        )
    )
