"""What a data set repository of the hub holds: its commit, and the files of each split, by the rules of `datasets`.

Those rules (the `configs` of the repository's README, else the names of its files) are applied to empty files of the
same names, so that one list and one README are all that is asked of the hub, and nothing of a repository is executed.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from autolora_bench.errors import UserError
from autolora_bench.json_cache import JsonCache
from autolora_bench.tables.download import TIMEOUT, check_reachable, download, refusal
from autolora_bench.tables.read import BUILDERS, FORMATS

OTHERWISE = "say another data.name, or data=files data.train=FILE with a file of your own"
README = "README.md"
KEPT = JsonCache("repositories")


@dataclass(frozen=True)
class Repository:
    """One configuration of a data set at one commit."""

    name: str
    commit: str
    splits: dict[str, list[str]]
    """Split as the repository names it -> its files, in their order."""


def find_repository(name: str, subset: str | None, revision: str | None) -> Repository:
    """Ask the hub, once: the answer is kept, so that the same words mean the same commit afterwards, offline too.

    Raises:
        UserError: the hub does not answer or has no such data set, revision or configuration; several configurations
            and none is said; or no table among its files.
    """
    key = json.dumps([name, subset, revision])
    kept = KEPT.read(key, lambda plain: Repository(**plain))
    if kept is not None:
        return kept
    commit, files = _listing(name, revision)
    readme = download(name, README, commit, OTHERWISE) if README in files else None
    found = Repository(name, commit, _splits(name, subset, files, readme))
    KEPT.write(key, asdict(found))
    return found


def fetch(repository: Repository, split: str) -> list[Path]:
    """The local files of a split. Raises UserError where one can be had neither from the cache nor from the hub."""
    return [
        download(repository.name, file, repository.commit, OTHERWISE) for file in repository.splits[split]
    ]


def _listing(name: str, revision: str | None) -> tuple[str, list[str]]:
    from huggingface_hub import HfApi, constants

    check_reachable(name, OTHERWISE)
    try:
        info = HfApi(endpoint=constants.ENDPOINT).dataset_info(name, revision=revision, timeout=TIMEOUT)
    except Exception as error:
        raise refusal(error, name, revision, OTHERWISE) from error
    return str(info.sha), [sibling.rfilename for sibling in info.siblings or []]


def _splits(name: str, subset: str | None, files: list[str], readme: Path | None) -> dict[str, list[str]]:
    from datasets import get_dataset_config_names, load_dataset_builder

    tables = [file for file in files if PurePosixPath(file).suffix.lower() in BUILDERS]
    if not tables:
        raise UserError(f"{name} has no file that is a table", f"choose a data set in {FORMATS}")
    with TemporaryDirectory(prefix="autolora-bench-") as temporary:
        folder = Path(temporary).resolve() / "data"
        for file in tables:
            path = folder / file
            if not path.resolve().is_relative_to(folder):
                raise UserError(f"{name}: its file {file} lies outside of it", "choose another data set")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        if readme is not None:
            (folder / README).write_bytes(readme.read_bytes())
        try:
            names = get_dataset_config_names(str(folder))
            _check_subset(name, subset, names)
            builder = load_dataset_builder(str(folder), subset, cache_dir=str(folder.parent / "cache"))
        except UserError:
            raise
        except Exception as error:  # whatever is wrong with its README
            reason = str(error).replace(str(folder), name).partition("\n")[0]
            raise UserError(f"{name}: its splits cannot be told ({reason})", OTHERWISE) from error
        found = {
            str(split): [_inside(name, folder, file) for file in paths]
            for split, paths in (builder.config.data_files or {}).items()
        }
    return found


def _check_subset(name: str, subset: str | None, names: list[str]) -> None:
    if (subset is None and len(names) > 1 and "default" not in names) or (subset and subset not in names):
        what = "several configurations" if subset is None else f"no configuration {subset}"
        raise UserError(f"{name} has {what}: {', '.join(names[:40])}", "say one of them, as data.subset=NAME")


def _inside(name: str, folder: Path, file: str) -> str:
    path = Path(file).resolve()
    if not path.is_relative_to(folder):
        raise UserError(f"{name}: its README names a file outside of it", "choose another data set")
    return path.relative_to(folder).as_posix()
