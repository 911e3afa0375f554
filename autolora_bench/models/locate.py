"""Finds a model's weights: a folder, an installed package, fetched weights, the hub's cache or the hub."""

import json
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from autolora_bench.checksums import sha256
from autolora_bench.config.choices import choices
from autolora_bench.config.model import ModelConfig, PackageSource
from autolora_bench.errors import UserError
from autolora_bench.paths import cache_dir, conf_dir

WEIGHTS = "model.safetensors"
TOKENIZER_SETTINGS = "tokenizer_config.json"
"""Not every model has one; without it transformers takes its own settings for the tokenizer's."""
TOKENIZERS = (
    "tokenizer.json",
    "vocab.txt",
    "vocab*",
    "*.model",
    "*.spm",
    "*.tiktoken",
    "tekken.json",
    "bpe.codes",
)
"""Files that hold a tokenizer's words, whatever kind it is: the first two are those of nearly all models."""
ORIGIN = "origin.json"
"""Beside weights made from a GGUF file: the SHA-256 of that file and of the weights."""
READ = re.compile(
    r"(generation_|adapter_)?config\.json|(model.*|adapter_model)\.safetensors(\.index\.json)?|tokenizer.*|vocab.*"
    r"|merges\.txt|special_tokens_map\.json|added_tokens\.json|.*\.(model|spm|tiktoken)|tekken\.json|bpe\.codes"
)
"""The files of a model's folder that transformers reads."""


@dataclass(frozen=True)
class Location:
    """Where a model is loaded from."""

    source: str
    """Folder or hub name, as transformers takes it."""
    kind: str
    """folder, package, fetched, hub or drawn."""
    label: str
    """What a record says of it: no path of this machine."""
    revision: str | None = None
    otherwise: str = ""
    """What a user can do where a model of the hub is not to be had from it."""


def fetched_folder(model: ModelConfig) -> Path:
    """Where `autolora-bench fetch` puts this model."""
    return cache_dir() / "models" / model.name


def fetching(model: ModelConfig) -> str:
    """The command that fetches this model; of one of the user's own with the folder that says what it is."""
    own = "" if model.name in choices("model", [conf_dir()]) else " --config-dir DIR"
    return f"autolora-bench fetch {model.name}{own}"


def locate(model: ModelConfig) -> Location:
    """The first place, in the order of ModelConfig, that has the model's weights.

    Packages hold one revision, so that whoever asks for one gets a named copy of it or the hub's.

    Raises:
        UserError: a named folder without a model in it, weights whose checksum is wrong, or a revision of a folder that
            is not a copy of a model of the hub.
    """
    if model.random is not None:
        return Location("", "drawn", f"random weights, seed {model.random.seed}")
    if model.checkpoint is not None and _is_path(model.checkpoint):
        if model.revision is not None:
            raise UserError(
                f"model.revision={model.revision} is of a model of the hub, and model.checkpoint is a folder",
                "leave model.revision out, or name the hub's model",
            )
        folder = _verified(_model_folder(model.checkpoint, "model.checkpoint"), model)
        return Location(str(folder), "folder", folder.name)
    if model.checkpoint is not None:
        folder_instead = "say model.checkpoint=FOLDER, one that save_pretrained wrote"
        return Location(model.checkpoint, "hub", model.checkpoint, model.revision, folder_instead)
    if model.path is not None:
        folder = _verified(_model_folder(model.path, "model.path"), model)
        return Location(str(folder), "folder", folder.name)
    package, fetched = _package_folder(model), fetched_folder(model)
    if model.package is not None and model.revision is None:
        if package is not None:
            return Location(str(_verified(package, model)), "package", _packages(model.package))
        if (fetched / "config.json").is_file():
            return Location(str(_verified(fetched, model)), "fetched", _packages(model.package))
    if model.hub is None:
        fetched_first = f"run: {fetching(model)}, or " if model.package is not None else ""
        raise UserError(
            f"no weights of model {model.name!r} were found",
            f"{fetched_first}say model.checkpoint=FOLDER_OR_HUB_NAME",
        )
    fetched_too = model.package is not None and model.revision is None
    fetched_first = f"run: {fetching(model)}, or " if fetched_too else ""
    folder_instead = f"{fetched_first}say model.path=FOLDER, one that save_pretrained wrote"
    return Location(model.hub, "hub", model.hub, model.revision, folder_instead)


def check_tokenizer_files(location: Location) -> None:
    """Raises UserError where the weights' folder has no file of a tokenizer; what a hub has is seen when it is read."""
    folder = Path(location.source)
    if location.kind != "hub" and not any(file for name in TOKENIZERS for file in folder.glob(name)):
        raise UserError(
            f"{folder} has no tokenizer: neither {' nor '.join(TOKENIZERS[:2])} nor any other of its files",
            "put the model's own beside its weights, as save_pretrained of its tokenizer writes it",
        )


def model_digests(model: ModelConfig) -> dict[str, str]:
    """SHA-256 of every file that loading the model or its tokenizer reads, by name; empty for one of the hub, whose
    commit says as much, and for drawn weights, which their seed gives.

    Raises:
        UserError: as `locate`, or a file cannot be read.
    """
    location = locate(model)
    if location.kind in ("hub", "drawn"):
        return {}
    folder = Path(location.source)
    shards = {name for index in folder.glob("*.safetensors.index.json") for name in shards_of(index)}
    files = [
        path
        for path in folder.iterdir()
        if path.is_file() and (READ.fullmatch(path.name) or path.name in shards)
    ]
    return {path.name: sha256(path) for path in sorted(files)}


def shards_of(index: Path) -> set[str]:
    """The files that a checkpoint's index names; empty where it cannot be read."""
    try:
        return set(map(str, json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return set()


def _packages(package: PackageSource) -> str:
    return f"{', '.join(package.names)} {package.version}"


def _is_path(checkpoint: str) -> bool:
    """A folder, or what can be nothing else: hub names begin with neither a dot, a slash nor a tilde."""
    return checkpoint.startswith((".", "/", "~")) or Path(checkpoint).is_dir()


def _model_folder(folder: str, setting: str) -> Path:
    path = Path(folder).expanduser()
    if not (path / "config.json").is_file():
        raise UserError(
            f"{path} holds no model (no config.json)", f"point {setting} at a folder saved by save_pretrained"
        )
    return path


def _package_folder(model: ModelConfig) -> Path | None:
    if model.package is None or model.package.folder is None:
        return None
    try:
        distribution = metadata.distribution(model.package.names[0])
    except metadata.PackageNotFoundError:
        return None
    folder = Path(str(distribution.locate_file(model.package.folder)))
    return folder if (folder / "config.json").is_file() else None


def is_whole(folder: Path, model: ModelConfig) -> bool:
    """Whether the folder holds the weights that the configuration expects, undamaged."""
    try:
        _verified(folder, model)
    except UserError:
        return False
    return (folder / WEIGHTS).is_file() and model.sha256 is not None


def _verified(folder: Path, model: ModelConfig) -> Path:
    """The folder, after its weights' checksum was compared with the configuration's, once per process."""
    weights = folder / WEIGHTS
    if model.sha256 is None:
        return folder
    if not weights.is_file():
        raise UserError(f"{folder} holds no {WEIGHTS}", f"delete it and run: {fetching(model)}")
    expected, found = _expected(folder, model), sha256(weights)
    if found != expected:
        raise UserError(
            f"{weights} has the wrong checksum: sha256 {found}, expected {expected}",
            f"it is damaged or another model: delete it and run: {fetching(model)}",
        )
    return folder


def _expected(folder: Path, model: ModelConfig) -> str | None:
    """Checksum that the folder's weights must have: for weights made from a GGUF file, what was noted then."""
    if model.package is None or model.package.gguf is None:
        return model.sha256
    try:
        origin = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
        gguf, weights = origin["gguf"], origin["weights"]
    except (OSError, ValueError, KeyError, TypeError):
        gguf, weights = "unknown", None
    if gguf != model.sha256:
        raise UserError(
            f"the weights in {folder} were made from another file: sha256 {gguf}, expected {model.sha256}",
            f"run: {fetching(model)}, or name them with model.checkpoint={folder}",
        )
    return str(weights)
