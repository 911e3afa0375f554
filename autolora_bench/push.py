"""Sends the exports of completed runs to a model hub: `push=USER/NAME`.

What stands in its way is said before anything is trained. What fails afterwards leaves the run as it is: the same
command sends it then, and trains nothing. A repository is made private; one that is there stays as it is.
"""

import json
import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autolora_bench import __version__
from autolora_bench.config.choices import GROUPS
from autolora_bench.config.experiment import Rerun, config_id
from autolora_bench.config.trackers import run_name
from autolora_bench.errors import UserError
from autolora_bench.ownership import owned
from autolora_bench.plan import PUSH, PlannedRun, State
from autolora_bench.processes import on_main
from autolora_bench.run_files import EXPORT, EXPORTED, RUN
from autolora_bench.untrusted import in_a_line

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelInfo

TAG = "autolora-bench"
"""On the card of every export: what was sent there before."""
WEIGHTS = re.compile(r"config\.json|.+\.(safetensors|bin|gguf|pt|pth|h5|msgpack|onnx)")
"""Files that say that a repository holds a model."""
LOADED_BY_NAME = re.compile(r"[\w.-]+\.safetensors(\.index\.json)?|\w*adapter\w*\.json")
"""Files of an export that loaders look for: one that an earlier export left would be loaded in place of this one."""
LATER = "leave push= out: with it, the same command sends the completed run later"


class PushFailedError(UserError):
    """Exports that did not reach the hub; their runs are completed."""

    status = 1


def check_push(planned: Sequence[PlannedRun]) -> None:
    """Look whether what is asked for can be sent; asks the hub, once.

    Raises:
        UserError: a name that no repository can have, one for several runs, a completed run without an export, a hub
            that is switched off or does not answer, nobody or somebody else logged in, or a repository that holds a
            model from elsewhere.
    """
    wanted = [entry for entry in planned if entry.experiment.push is not None]
    if not wanted:
        return
    for entry in wanted:
        _check_name(_name(entry))
    _check_one_each(wanted)
    for entry in wanted:
        if entry.experiment.rerun is not Rerun.all and entry.state() is State.completed:
            _files(entry)
    _check_hub([_name(entry) for entry in wanted])


def push_exports(completed: Sequence[PlannedRun]) -> None:
    """Send the export of every run that is to be sent, and print where it is then; what fails stops no other.

    Args:
        completed: runs with a completed record.

    Raises:
        PushFailedError: an export was not sent, in one line.
    """
    wanted = [entry for entry in completed if entry.experiment.push is not None]
    failed: list[tuple[str, str]] = []
    for entry in wanted:
        try:
            with owned(entry.folder):
                url = on_main(lambda entry=entry: _send(entry))  # type: ignore[misc]
        except UserError as error:
            failed.append((_name(entry), error.what))
        except (
            Exception
        ) as error:  # of the network: its errors differ between versions, and some are no OSError
            failed.append((_name(entry), _reason(error)))
        else:
            print(f"{run_name(entry.experiment)}  ->  {url}", flush=True)
    if failed:
        name, reason = failed[0]
        more = f"; nor were {len(failed) - 1} more of {len(wanted)}" if len(failed) > 1 else ""
        whose = "runs are" if len(failed) > 1 else "run is"
        raise PushFailedError(
            f"{name} was not sent: {reason}{more}",
            f"the {whose} completed: the same command sends what is left",
        )


def _reason(error: Exception) -> str:
    """In the hub's own words, where it has answered."""
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        said = f": {error.server_message}" if error.server_message else ""
        return in_a_line(f"the hub answers {error.response.status_code}{said}")
    return in_a_line(str(error) or type(error).__name__)


def refuse_push(name: str | None, what: str) -> None:
    """Raises UserError where `push` is asked of `what`, whose runs are chosen as it goes."""
    if name is not None:
        raise UserError(
            f"{PUSH}={name} with {what}, whose runs are chosen as it goes",
            f"leave it out, and afterwards add {PUSH}= to the command of the run that is to be sent (status shows it)",
        )


def _name(entry: PlannedRun) -> str:
    return str(entry.experiment.push)


def _check_name(name: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    if name.count("/") != 1:
        raise UserError(
            f"{PUSH}={name} is no name of a repository",
            f"say whose and which, as in {PUSH}=USER/{Path(name).name}",
        )
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UserError(f"{PUSH}={name}: {in_a_line(str(error))}", f"say another {PUSH}=USER/NAME") from error


def _check_one_each(wanted: Sequence[PlannedRun]) -> None:
    runs: dict[str, list[PlannedRun]] = defaultdict(list)
    for entry in wanted:
        runs[_name(entry).lower()].append(entry)
    for same in runs.values():
        if len(same) > 1:
            name, parts = _name(same[0]), _differing(same)
            raise UserError(
                f"{PUSH}={name} is asked of {len(same)} runs, and each would overwrite the one before",
                f"say a name for each, as in {PUSH}='{'-'.join([name, *parts])}'",
            )


def _differing(runs: Sequence[PlannedRun]) -> list[str]:
    """Interpolations of what the words of runs say differently."""
    said = [dict(word.lstrip("+").partition("=")[::2] for word in entry.overrides) for entry in runs]
    names = dict.fromkeys(
        name for one in said for name in one if len({other.get(name) for other in said}) > 1
    )
    named = [f"{name}.name" if name in ("task", "model", "method") else name for name in names]
    found = [
        "data.source" if name == "data" else name for name in named if name == "data" or name not in GROUPS
    ]
    return [f"${{{name}}}" for name in found] or ["${task.name}", "${method.name}", "${seed}"]


def _check_hub(names: Sequence[str]) -> None:
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import HfHubHTTPError

    from autolora_bench.tables.download import hub_problem

    said, problem = f"{PUSH}={names[0]}", hub_problem()
    if problem:
        mend = "unset HF_HUB_OFFLINE" if constants.HF_HUB_OFFLINE else "go online"
        raise UserError(f"{said}: {problem}", f"{mend}, or {LATER}")
    log_in = "hf auth login, or set HF_TOKEN to a token that may write"
    if get_token() is None:
        raise UserError(f"{said}, and nobody is logged in to {constants.ENDPOINT}", f"{log_in}; or {LATER}")
    api = _api()
    try:
        account = api.whoami(cache=True)
    except Exception as error:
        refused = isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403)
        what = f"does not know the token: {error}" if refused else f"does not say who is logged in: {error}"
        raise UserError(
            in_a_line(f"{said}: {constants.ENDPOINT} {what}"),
            f"{log_in if refused else 'try again'}; or {LATER}",
        ) from error
    _check_account(account, names, log_in)
    for name in dict.fromkeys(names):
        info = _information(api, name)
        if info is not None:
            _check_ours(name, info)
            if info.private is False:
                print(f"note: {name} is public, and so will be what is sent there", file=sys.stderr)


def _check_account(account: dict[str, Any], names: Sequence[str], log_in: str) -> None:
    """Raises UserError where the token may only read, or a name begins with nobody it may write for."""
    if ((account.get("auth") or {}).get("accessToken") or {}).get("role") == "read":
        raise UserError(f"{PUSH}={names[0]}: the token may only read", log_in)
    groups = [group["name"] for group in account.get("orgs") or [] if group.get("roleInOrg") != "read"]
    own = [account["name"], *groups]
    for name in names:
        user, _, rest = name.partition("/")
        if user.lower() not in {one.lower() for one in own}:
            raise UserError(
                f"{PUSH}={name}: {account['name']} is logged in, who may not write for {user}",
                f"say one of: {', '.join(f'{PUSH}={one}/{rest}' for one in own)}; or log in as {user}: {log_in}",
            )


def _information(api: "HfApi", name: str) -> "ModelInfo | None":
    """What the hub says of a repository; None where there is none. Raises UserError where it does not say."""
    from huggingface_hub.errors import RepositoryNotFoundError

    from autolora_bench.tables.download import TIMEOUT

    try:
        return api.model_info(name, timeout=TIMEOUT)
    except RepositoryNotFoundError:
        return None
    except Exception as error:
        raise UserError(
            in_a_line(f"{PUSH}={name}: the hub does not say what is there: {error}"), f"try again, or {LATER}"
        ) from error


def _check_ours(name: str, info: "ModelInfo") -> None:
    """Raises UserError where a repository holds a model that no export was."""
    model = [one.rfilename for one in info.siblings or [] if WEIGHTS.fullmatch(one.rfilename)]
    if model and TAG not in (info.tags or []):
        raise UserError(
            f"{PUSH}={name}: there is a model that autolora-bench did not send ({model[0]})",
            f"say another {PUSH}=USER/NAME, which need not be there yet",
        )


def _files(entry: PlannedRun) -> list[Path]:
    """The files of a completed run's export and nothing else. Raises UserError where there is none."""
    record = entry.record()
    phases = [phase.name for phase in record.phases if RUN.inside(phase.name)] if record is not None else []
    folders = [entry.folder / phase / EXPORTED for phase in phases]
    for folder in reversed(folders):
        if folder.is_dir() and not folder.is_symlink():
            found = sorted(folder.iterdir())
            files = [
                path for path in found if path.is_file() and not path.is_symlink() and _is_exported(path.name)
            ]
            _check_weights(entry, files)
            return files
    raise UserError(
        f"{PUSH}={_name(entry)}: there is no export in {entry.folder}",
        "say rerun=all as well, which makes it again, or leave push= out",
    )


def _check_weights(entry: PlannedRun, files: Sequence[Path]) -> None:
    """Raises UserError where an export is without its weights, or they are cut off: the hub would have an empty model,
    and lose what it has."""
    from safetensors import SafetensorError, safe_open

    weights = [path for path in files if path.suffix == ".safetensors"]
    mend = "say rerun=all as well, which makes it again, or leave push= out"
    named = {
        name
        for path in files
        if path.name.endswith(".safetensors.index.json")
        for name in json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()
    }
    gone = sorted(named - {path.name for path in weights})
    if gone or not weights:
        which = gone[0] if gone else "weights"
        raise UserError(f"{PUSH}={_name(entry)}: the export in {entry.folder} has no {which}", mend)
    for path in weights:
        try:
            with safe_open(str(path), "pt"):
                pass
        except (OSError, SafetensorError) as error:
            raise UserError(in_a_line(f"{PUSH}={_name(entry)}: {path} is damaged: {error}"), mend) from error


def _is_exported(name: str) -> bool:
    return not name.startswith(".") and EXPORT.owns(name)


def _send(entry: PlannedRun) -> str:
    """Send one export in one commit, so that it is there whole or not at all; the address of its page."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    name, files, api = _name(entry), _files(entry), _api()
    url = api.create_repo(name, private=True, exist_ok=True)
    there = _information(api, name)
    if there is not None:
        _check_ours(name, there)
    names = {path.name for path in files}
    old = [one.rfilename for one in (there.siblings if there is not None else None) or []]
    stale = [one for one in old if LOADED_BY_NAME.fullmatch(one) and one not in names]
    experiment = entry.experiment
    api.create_commit(
        name,
        [
            *(CommitOperationAdd(path.name, path) for path in files),
            *(CommitOperationDelete(one) for one in stale),
        ],
        commit_message=f"{run_name(experiment)} of {experiment.model.name}, configuration {config_id(experiment)}",
    )
    return str(url)


def _api() -> "HfApi":
    from huggingface_hub import constants

    return _api_of(constants.ENDPOINT)


@cache
def _api_of(endpoint: str) -> "HfApi":
    """One for all runs of a process: it remembers who is logged in, which hubs do not like to be asked often."""
    from huggingface_hub import HfApi

    return HfApi(endpoint=endpoint, library_name=TAG, library_version=__version__)
