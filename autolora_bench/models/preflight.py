"""What a run would refuse of a model, told from its small files: config.json, the weights' header, the tokenizer.

torch and transformers are not imported: `autolora-bench check` reads the files of every model of a suite in a moment.
"""

import json
import math
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer

from autolora_bench.config.architectures import ENCODER_DECODERS, Is, has, query_and_value
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.method import Allocation, LoraConfig, MonarchConfig, RankedLoraConfig
from autolora_bench.config.model import ALL_LINEAR, Attention, ModelConfig
from autolora_bench.config.support import check_halves
from autolora_bench.config.task import GenerationTask
from autolora_bench.config.validate import check_on_architecture
from autolora_bench.errors import UserError
from autolora_bench.models.adapted_layers import IN_BLOCK, check_blocks, matched_ranks
from autolora_bench.models.hub import INDEX, cached, check_reachable
from autolora_bench.models.locate import WEIGHTS, locate

Layers = dict[str, tuple[int, int]]
"""Name of a layer whose weight is a matrix -> its outputs and inputs."""
COUNTS = ("num_hidden_layers", "n_layer", "n_layers")
"""What architectures call the number of their blocks in config.json."""
OTHERWISE = ("albert", *ENCODER_DECODERS)
"""Architectures whose blocks are not one list of so many."""
VOCABULARIES = ("tokenizer.json", "vocab*", "*.model", "*.spm", "*.tiktoken", "tekken.json", "bpe.codes")
SPECIAL_TOKENS = ("tokenizer_config.json", "special_tokens_map.json")
TABLES = ("auto_mappings.py", "configuration_auto.py")
"""Files of transformers that name its architectures."""
SAYS_SDPA = "_supports_sdpa = True"
FILED = ("folder", "package", "fetched", "hub")
"""Kinds of location whose model is files."""
HEAD = "lm_head"
"""The head of models that write. Files lack one whose weight is the embeddings' too, or call it otherwise."""
OTHER_HEADS = {
    "biogpt": "output_projection",
    "fsmt": "output_projection",
    "gpt_neox_japanese": "embed_out",
    "trocr": "output_projection",
}
"""Architectures that call it otherwise."""
OWN_TOKENS = ("PreTrainedTokenizerFast", "TokenizersBackend")
"""Tokenizer classes without special tokens of their own: what their files do not name, they have not."""


def check_model(experiment: ExperimentConfig) -> None:
    """Raise what a run would raise for its model, as far as the small files of this machine tell.

    Raises:
        UserError: no weights, or files that cannot be read, or an architecture that the method, the task or a setting
            does not work on, or more texts than it reads, or layers that are not there or that the method does not fit.
    """
    method, task, random = experiment.method, experiment.task, experiment.model.random
    if random is not None and isinstance(method, MonarchConfig):
        check_blocks("a layer", random.units, random.units, method.blocks, method.block_rank)
    folder = _folder(experiment)
    if folder is None:
        return
    architecture = _architecture(folder, experiment)
    if _lacks_sdpa(architecture):
        check_attention(experiment.model, architecture)
    check_on_architecture(experiment, architecture)
    writes = isinstance(task, GenerationTask) or architecture in ENCODER_DECODERS
    _check_tokenizer(folder, writes)
    layers = _layers(folder, architecture)
    head = OTHER_HEADS.get(architecture, HEAD) if writes else None
    _check_targets(experiment, architecture, layers, head)
    if head is not None:
        _check_head(experiment, head, [name for name, _ in _shapes(folder)])
    if isinstance(method, MonarchConfig):
        for name, (outputs, inputs) in _adapted(experiment, architecture, layers).items():
            check_blocks(f"{name}, a layer", outputs, inputs, method.blocks, method.block_rank)


def check_attention(model: ModelConfig, architecture: str) -> None:
    """Raises UserError where a model that has none is asked for PyTorch's attention."""
    if model.attention is Attention.sdpa and not has(architecture, Is.eager):
        raise UserError(
            f"transformers has no model.attention=sdpa for a {architecture} model",
            "say model.attention=eager",
        )


def check_ranks(experiment: ExperimentConfig) -> None:
    """Raise where ranks are given for other blocks or projections than the model's files have; of layers outside of the
    blocks loading it tells.

    Raises:
        UserError: as `matched_ranks` and `check_model`.
    """
    method, folder = experiment.method, _folder(experiment)
    if folder is None or not isinstance(method, RankedLoraConfig) or method.allocation is Allocation.uniform:
        return  # of uniform ranks the total alone counts
    architecture = architecture_of(folder)
    adapted = _adapted(experiment, architecture, _layers(folder, architecture))
    inside = {key: rank for key, rank in method.ranks.items() if key.partition(".")[0].isdigit()}
    if inside and adapted:
        matched_ranks(inside, [*adapted])


def check_all_blocks(experiment: ExperimentConfig) -> None:
    """Raise where the files lack the query or value projection of a block that config.json states.

    Of other weights, and of these by the model's own names, loading it tells.

    Raises:
        UserError: naming the first weight, or as `check_model`.
    """
    folder = _folder(experiment)
    architecture = "" if folder is None else architecture_of(folder)
    if folder is None or architecture in OTHERWISE or not query_and_value(architecture):
        return
    said, layers = _json(folder / "config.json"), _layers(folder, architecture)
    count = next((said[name] for name in COUNTS if isinstance(said.get(name), int)), 0)
    for ending in query_and_value(architecture):
        whole = ending.partition(".")[0]
        there = {
            int(at[1]): name for name in layers if _named(name, whole) and (at := re.search(IN_BLOCK, name))
        }
        like = next(iter(there.values()), "")
        lacking = [
            re.sub(IN_BLOCK, f".{block}.", like, count=1) for block in range(count) if block not in there
        ]
        name = next((name for name in lacking if not _is_drawn(name, experiment)), "")
        if like and name:
            raise UserError(
                f"the checkpoint of {experiment.model.name!r} lacks weights of its model: {name}.weight",
                "name a whole checkpoint; linear layers that are to be drawn at random can be named in model.untrained",
            )


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


def _folder(experiment: ExperimentConfig) -> Path | None:
    """Where the model's files are on this machine; None where it has none, or the hub is to be asked for them."""
    location = locate(experiment.model)
    if location.kind == "hub":
        check_reachable(location)
    there = cached(location) if location.kind == "hub" else location
    return None if there is None or there.kind not in FILED else Path(there.source)


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
    if query_and_value(architecture) or spec is None or spec.origin is None:
        return True
    tables = Path(spec.origin).parent / "models" / "auto"
    texts = [path.read_text(encoding="utf-8") for path in map(tables.joinpath, TABLES) if path.is_file()]
    return any(f'("{architecture}", ' in text for text in texts)


def _lacks_sdpa(architecture: str) -> bool:
    """Whether transformers' own code says of no part of the architecture that it has PyTorch's attention."""
    spec = find_spec("transformers")
    if query_and_value(architecture) or spec is None or spec.origin is None:
        return False
    models = Path(spec.origin).parent / "models"
    tables = [path.read_text(encoding="utf-8") for name in TABLES for path in (models / "auto").glob(name)]
    elsewhere = [
        name for text in tables for name in re.findall(rf'\("{re.escape(architecture)}", "(\w+)"\)', text)
    ]
    own = [models / name for name in (architecture.replace("-", "_"), *elsewhere)]
    texts = [path.read_text(encoding="utf-8") for folder in own for path in folder.glob("modeling_*.py")]
    return bool(texts) and not any(SAYS_SDPA in text for text in texts)


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


def _layers(folder: Path, architecture: str) -> Layers:
    """The layers whose weights are matrices, in the order of the files."""
    found: Layers = {}
    for name, shape in _shapes(folder):
        if len(shape) == 2 and "embed" not in name:
            outputs, inputs = reversed(shape) if architecture == "gpt2" else shape
            found[name.rpartition(".")[0]] = (outputs, inputs)
    return found


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


def _named(name: str, ending: str) -> bool:
    return f".{name}".endswith(f".{ending}")


def _adapted(experiment: ExperimentConfig, architecture: str, layers: Layers) -> Layers:
    """The layers of the blocks that a method adapts, as far as names tell: none for all-linear, or where PEFT's table
    decides. Of those outside of them (a pooler, another task's head) files do not tell whether the model has them."""
    endings = experiment.model.targets or query_and_value(architecture)
    if architecture == "gpt2" and experiment.model.targets is None:  # its files have them in one matrix
        return {
            f"{name}.{part}": (outputs // 3, inputs)
            for name, (outputs, inputs) in layers.items()
            for whole, _, part in (ending.partition(".") for ending in endings)
            if _named(name, whole)
        }
    return {
        name: size
        for name, size in layers.items()
        if any(_named(name, ending) for ending in endings)
        and re.search(IN_BLOCK, name)
        and not _is_drawn(name, experiment)
    }


def _is_drawn(name: str, experiment: ExperimentConfig) -> bool:
    return any(_named(name, one) for one in experiment.model.untrained)


def _check_targets(experiment: ExperimentConfig, architecture: str, layers: Layers, head: str | None) -> None:
    """`head` is that of a model that writes; whether the files' one is its own, loading it tells."""
    known = sorted({name.rpartition(".")[2] for name in layers} | ({head} if head else set()))
    endings = experiment.model.targets
    for ending in endings or ():
        there = any(_named(name, ending) for name in layers) or ending == head
        if ending != ALL_LINEAR and architecture != "gpt2" and not there:
            raise UserError(
                f"model.targets: no linear layer of {experiment.model.name!r} is called {ending!r}",
                f"choose among: {', '.join(known)}; or say model.targets=all-linear",
            )


def _check_head(experiment: ExperimentConfig, head: str, weights: Sequence[str]) -> None:
    """Raises UserError where a method that needs a weight of the head's own is to adapt one that the files lack."""
    method = experiment.method
    needed = isinstance(method, MonarchConfig) or (
        isinstance(method, LoraConfig) and method.variant.start.changes_weights
    )
    own = _is_drawn(head, experiment) or any(
        _named(weight, f"{name}.weight") for weight in weights for name in (HEAD, *OTHER_HEADS.values())
    )
    if needed and head in (experiment.model.targets or ()) and not own:
        raise UserError(
            f"{head} of {experiment.model.name!r} has its weight in common with the embeddings: "
            f"method={method.name} cannot change it alone",
            "name other layers with model.targets=[...]",
        )
