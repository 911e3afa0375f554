"""Models of the Hugging Face hub: from its cache if they are whole there, else fetched; the hub is asked once."""

from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

from huggingface_hub import snapshot_download

from autolora_bench.errors import UserError
from autolora_bench.models.locate import TOKENIZER_SETTINGS, WEIGHTS, Location, shards_of
from autolora_bench.tables.download import hub_problem

INDEX = f"{WEIGHTS}.index.json"
WANTED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.spm", "*.jinja", "*.tiktoken"]
"""Configuration, weights and tokenizer."""
UNWANTED = ["*/*", "consolidated*"]
"""Folders of other formats, and a second copy of the same weights."""


def cached(location: Location) -> Location | None:
    """The folder of the hub's cache that holds the whole model; None where something is lacking."""
    try:
        folder = Path(_snapshot(location, local_files_only=True))
    except Exception:  # not in the cache, or a name that no repository can have
        return None
    return replace(location, source=str(folder)) if _is_whole(folder) else None


def check_reachable(location: Location) -> None:
    """Raises UserError where a model of the hub is not in its cache and the hub cannot be asked for it."""
    problem = "" if cached(location) is not None else hub_problem()
    if problem:
        raise UserError(
            f"the model {location.source} is not on this machine, and {problem}",
            f"go online once, or {location.otherwise}",
        )


def available(location: Location) -> Location:
    """A location whose source is a folder of this machine; what is on the hub is fetched first.

    Raises:
        UserError: the hub does not answer, or has no such model.
    """
    if location.kind != "hub":
        return location
    found = cached(location)
    if found is not None:
        return found if (Path(found.source) / TOKENIZER_SETTINGS).is_file() else _completed(found)
    check_reachable(location)
    try:
        return replace(location, source=str(_snapshot(location, local_files_only=False)))
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"the model {location.source} was not to be had from the hub: {reason}", location.otherwise
        ) from error


@cache
def _completed(found: Location) -> Location:
    """The same commit's folder, with what the cache may lack of it where the hub answers."""
    if not hub_problem():
        with suppress(Exception):  # what is there is enough
            _snapshot(
                replace(found, source=found.label, revision=Path(found.source).name), local_files_only=False
            )
    return found


def _snapshot(location: Location, local_files_only: bool) -> str:
    return str(
        snapshot_download(
            location.source,
            revision=location.revision,
            allow_patterns=WANTED,
            ignore_patterns=UNWANTED,
            local_files_only=local_files_only,
        )
    )


def _is_whole(folder: Path) -> bool:
    """Whether configuration, weights and a tokenizer are there, which one file each may have been asked for alone."""
    tokenizer = any(any(folder.glob(name)) for name in ("tokenizer.json", "vocab*", "*.model", "*.spm"))
    if not tokenizer or not (folder / "config.json").is_file():
        return False
    if (folder / WEIGHTS).is_file():
        return True
    shards = shards_of(folder / INDEX)
    return bool(shards) and all((folder / shard).is_file() for shard in shards)
