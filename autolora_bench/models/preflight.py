"""What a run would refuse of a model, told from its small files: config.json, the weights' header, the tokenizer.

torch and transformers are not imported: `autolora-bench check` reads the files of every model of a suite in a moment.
"""

import json
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer

from autolora_bench.config.allocators import AllocatorConfig
from autolora_bench.config.computing import check_computing
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.memory import check_memory
from autolora_bench.config.method import AdaLoraConfig, AutoLoraConfig, LoraConfig, RankedLoraConfig
from autolora_bench.config.model import ALL_LINEAR
from autolora_bench.config.padding import check_padding_free
from autolora_bench.config.peft_support import check_peft
from autolora_bench.config.support import ENCODER_DECODERS, check_architecture, check_halves
from autolora_bench.config.task import GenerationTask
from autolora_bench.errors import UserError
from autolora_bench.models.architectures import QUERY_AND_VALUE
from autolora_bench.models.hub import INDEX, cached, check_reachable
from autolora_bench.models.locate import WEIGHTS, locate

LOW_RANK = (LoraConfig, AutoLoraConfig, RankedLoraConfig, AdaLoraConfig, AllocatorConfig)
VOCABULARIES = ("tokenizer.json", "vocab*", "*.model", "*.spm", "*.tiktoken", "tekken.json", "bpe.codes")
SPECIAL_TOKENS = ("tokenizer_config.json", "special_tokens_map.json")
TABLES = ("auto_mappings.py", "configuration_auto.py")
"""Files of transformers that name its architectures."""
FILED = ("folder", "package", "fetched", "hub")
"""Kinds of location whose model is files."""
OWN_TOKENS = ("PreTrainedTokenizerFast", "TokenizersBackend")
"""Tokenizer classes without special tokens of their own: what their files do not name, they have not."""


def check_model(experiment: ExperimentConfig) -> None:
    """Raise what a run would raise for its model, as far as the small files of this machine tell.

    Raises:
        UserError: no weights, or files that cannot be read, or an architecture that the method, the task or a setting
            does not work on.
    """
    location = locate(experiment.model)
    if location.kind not in FILED:
        return
    if location.kind == "hub":
        check_reachable(location)
        there = cached(location)
        if there is None:
            return
        location = there
    folder = Path(location.source)
    architecture = _architecture(folder, experiment)
    check_architecture(experiment.method, architecture, experiment.task)
    check_padding_free(experiment, architecture)
    check_peft(experiment, architecture)
    check_memory(experiment, architecture)
    check_computing(experiment, architecture)
    writes = isinstance(experiment.task, GenerationTask) or architecture in ENCODER_DECODERS
    _check_tokenizer(folder, writes)
    layers = _layers(folder)
    if isinstance(experiment.method, LOW_RANK):
        _check_targets(experiment, architecture, layers)


def architecture_of(folder: Path) -> str:
    """model_type of a model's config.json; empty where it states none. Raises UserError where it cannot be read."""
    return str(_json(folder / "config.json").get("model_type") or "")


def layerdrop_of(folder: Path) -> float:
    """How often the model skips a block while it trains. Raises UserError as `architecture_of`."""
    said = _json(folder / "config.json").get("layerdrop")
    return float(said) if isinstance(said, int | float) else 0.0


def weights_of(folder: Path) -> int:
    """How many weights a model's files hold, from their headers. Raises UserError where they cannot be read."""
    return sum(math.prod(shape) for _, shape in _shapes(folder))


def _architecture(folder: Path, experiment: ExperimentConfig) -> str:
    said = _json(folder / "config.json").get("model_type")
    if not isinstance(said, str) or not _is_known(said):
        raise UserError(
            f"{folder / 'config.json'}: model_type {said!r} is no architecture of the installed transformers",
            "name another model, or install a transformers that knows it",
        )
    check_halves(said, bool(_json(folder / "config.json").get("is_encoder_decoder")))
    stated = experiment.model.architecture
    if stated not in (None, said):
        raise UserError(
            f"model={experiment.model.name} states model.architecture={stated}, its weights are of a {said} model",
            f"say model.architecture={said}, or name other weights",
        )
    return said


def _is_known(architecture: str) -> bool:
    """Whether transformers' own tables name it: their text is read, as importing them imports torch."""
    spec = find_spec("transformers")
    if architecture in QUERY_AND_VALUE or spec is None or spec.origin is None:
        return True
    tables = Path(spec.origin).parent / "models" / "auto"
    texts = [path.read_text(encoding="utf-8") for path in map(tables.joinpath, TABLES) if path.is_file()]
    return any(f'("{architecture}", ' in text for text in texts)


def _json(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot load a model from {path.parent}: {path.name}: {error}", "see docs/models.md"
        ) from error
    if not isinstance(said, dict):
        raise UserError(
            f"cannot load a model from {path.parent}: {path.name} is no JSON object", "see docs/models.md"
        )
    return said


def _layers(folder: Path) -> set[str]:
    """Names of the layers whose weights are matrices."""
    matrices = [name for name, shape in _shapes(folder) if len(shape) == 2]
    return {name.rpartition(".")[0] for name in matrices if "embed" not in name}


def _shapes(folder: Path) -> list[tuple[str, list[int]]]:
    """Name and shape of all weights, from the header of every file of weights."""
    files = [folder / WEIGHTS]
    if not files[0].is_file() and (folder / INDEX).is_file():
        shards = _json(folder / INDEX).get("weight_map")
        files = (
            sorted({folder / str(name) for name in shards.values()}) if isinstance(shards, dict) else files
        )
    found: list[tuple[str, list[int]]] = []
    for path in files:
        if not path.is_file():
            raise UserError(
                f"cannot load a model from {folder}: there is no {path.name}",
                "weights are read from safetensors alone: save the model with save_pretrained",
            )
        try:
            with safe_open(path, framework="np") as weights:
                found += [(name, weights.get_slice(name).get_shape()) for name in weights.keys()]  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"cannot load a model from {folder}: {path.name}: {error}", "see docs/models.md"
            ) from error
    return found


def _check_tokenizer(folder: Path, writes: bool) -> None:
    if not any(any(folder.glob(name)) for name in VOCABULARIES):
        raise UserError(
            f"{folder} has no tokenizer: neither {VOCABULARIES[0]} nor another file of one",
            "put the model's own beside its weights, as save_pretrained of its tokenizer writes it",
        )
    if (folder / VOCABULARIES[0]).is_file():
        try:
            Tokenizer.from_file(str(folder / VOCABULARIES[0]))
        except Exception as error:  # the library has no class of its own for it
            raise UserError(
                f"cannot load a model from {folder}: {VOCABULARIES[0]}: {error}", "see docs/models.md"
            ) from error
    said = [_json(path) for path in map(folder.joinpath, SPECIAL_TOKENS) if path.is_file()]
    own = said and said[0].get("tokenizer_class") in OWN_TOKENS
    if writes and own and not any(one.get("eos_token") for one in said):
        raise UserError(
            "the model's tokenizer has no end-of-text token", "choose a model that generates text"
        )


def _check_targets(experiment: ExperimentConfig, architecture: str, layers: set[str]) -> None:
    known = sorted({name.rpartition(".")[2] for name in layers})
    endings = experiment.model.targets
    for ending in endings or ():
        there = any(name == ending or name.endswith(f".{ending}") for name in layers)
        if ending != ALL_LINEAR and architecture != "gpt2" and not there:
            raise UserError(
                f"model.targets: no linear layer of {experiment.model.name!r} is called {ending!r}",
                f"choose among: {', '.join(known)}; or say model.targets=all-linear",
            )
