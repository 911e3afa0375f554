"""Which pretrained model, and where its weights may come from."""

import json
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from autolora_bench.config.identity import ADDED, LABEL, LOCATION
from autolora_bench.config.ranges import Names, Seed, Size, SomeNames, Text
from autolora_bench.errors import require

ALL_LINEAR = "all_linear"
"""Stands in `targets` for every linear layer of every block."""
ALL_LINEAR_WORDS = ("all-linear", "all_linear")
"""How that is said, the first as in PEFT."""


class Attention(Enum):
    """Attention implementations of transformers."""

    sdpa = "torch's scaled_dot_product_attention"
    eager = "plain matrix products"
    flash_attention_2 = "FlashAttention-2 (Dao, 2023), in 16 bits on an NVIDIA GPU; needs flash-attn"


class Dtype(Enum):
    """How weights that are not trained are stored; LoRA, head and selection variables are in fp32 whatever it is.

    No fp16: its small gradients are 0 unless losses are scaled, which the search cannot have.
    """

    fp32 = "single precision"
    bf16 = "bfloat16: half the memory, and the arithmetic of the frozen layers"


class Quantization(Enum):
    """How the matrices of a model's blocks are stored."""

    none = "as model.dtype says"
    nf4 = "4-bit NormalFloat with quantised constants, as QLoRA (Dettmers et al., 2023); needs bitsandbytes"


@dataclass
class PackageSource:
    """Weights inside installed Python packages: one package with a folder, or parts of one zip archive."""

    names: SomeNames = MISSING
    """Packages of the registry, in the order of their parts."""
    version: str = MISSING
    """The one whose checksum is known."""
    folder: str | None = None
    """Folder inside the single package that holds the model."""
    archive: str | None = None
    """Pattern of the archive's part inside each package; `autolora-bench fetch` joins and unpacks them."""
    gguf: str | None = None
    """GGUF file inside the single package; `autolora-bench fetch` dequantises it once."""


class Blocks(Enum):
    """What the blocks of a random network are."""

    residual = "one linear layer each"
    bert = "BERT's, with as many units inside as outside: six linear layers of one size, in which a rank costs the same"


@dataclass
class RandomNet:
    """A network with weights drawn from a seed: it has no checkpoint and reads no text."""

    blocks: Size = 12
    units: Size = 48
    """Width of the residual stream; a multiple of 4 for BERT's blocks, which have 4 heads."""
    vocabulary: Size = 1024
    """Tokens there are."""
    seed: Seed = 0
    """Draws the weights."""
    kind: Blocks = field(default=Blocks.residual, metadata=ADDED)


@dataclass
class ModelConfig:
    """A pretrained model, or a random one.

    Weights are looked for in this order: `path`, the installed package, the project's own cache of fetched
    weights, the hub's cache or the hub. A `revision` passes over the package and what was fetched of it.
    """

    name: str = MISSING
    hub: Text | None = None
    """Name on the Hugging Face hub."""
    checkpoint: Text | None = None
    """Any other model, by folder or hub name; replaces everything this configuration says about weights."""
    revision: Text | None = None
    """Commit, tag or branch on the hub."""
    path: Text | None = field(default=None, metadata=LOCATION)
    """Folder that holds these very weights."""
    package: PackageSource | None = None
    sha256: str | None = None
    """Of model.safetensors in a package or in the project's cache; of the GGUF file where weights are made from one."""
    targets: Any = None
    """Layers that low-rank methods adapt: a list of ends of names, or the word all-linear: every linear layer of the
    blocks (no embedding, pooler or head). None means the architecture's query and value projections; PEFT's own choice
    where those are not known here, and all linear layers where they are not known there either."""
    untrained: Names = field(default_factory=list)
    """Linear layers, by the end of their name, that the checkpoint lacks, or that were never trained for use there, as
    a sentence encoder's pooler: drawn anew and trained with the head, where the task's head has them."""
    random: RandomNet | None = field(default=None, metadata=ADDED)
    """Weights are drawn, not loaded; for recovery tasks alone, with data=planted."""
    attention: Attention = Attention.sdpa
    dtype: Dtype = field(default=Dtype.fp32, metadata=ADDED)
    quantization: Quantization = field(default=Quantization.none, metadata=ADDED)
    """Of the linear layers but the head; what they are multiplied in, and all other weights, has model.dtype."""
    architecture: str | None = field(default=None, metadata=LABEL)
    """model_type of transformers' configuration: what a method does not work on then shows before weights are read."""
    note: str | None = field(default=None, metadata=LABEL)
    """What a reader of its scores must know; printed under tables."""


def known_architecture(model: ModelConfig) -> str | None:
    """model_type as the configuration says it or, where it says none, as config.json of the folder that it names does.

    None where neither is there: what is wrong with a folder is told where the model is looked for.
    """
    named = model.checkpoint or model.path
    if model.architecture is not None or named is None:
        return model.architecture
    try:
        text = (Path(named).expanduser() / "config.json").read_text(encoding="utf-8")
        said = json.loads(text).get("model_type")
    except (OSError, ValueError, RuntimeError, AttributeError):
        return None
    return said if isinstance(said, str) and said else None


def settle_targets(model: ModelConfig) -> None:
    """Make a list of `targets`, however it was said. Raises UserError where it is neither text nor a list of names."""
    model.targets = layer_names(model.targets, "model.targets")


def layer_names(said: Any, setting: str) -> list[str] | None:
    """Ends of layers' names, or ALL_LINEAR alone, however a setting says them; none where it says nothing.

    Raises:
        UserError: it is neither text nor a list of names.
    """
    if said is None:
        return None
    names = [said] if isinstance(said, str) else said
    require(names != [], f"{setting} is empty", f"name 1 or more, or say {setting}=all-linear")
    require(
        isinstance(names, list) and bool(names) and all(isinstance(name, str) and name for name in names),
        f"{setting}={said} names no layers",
        f"say {setting}=all-linear, or names as in {setting}=[query,value]",
    )
    double = next((name for name in names if names.count(name) > 1), None)
    require(double is None, f"{setting} names {double} twice", "name it once")
    found = [ALL_LINEAR if name in ALL_LINEAR_WORDS else name for name in names]
    require(
        ALL_LINEAR not in found or len(found) == 1,
        f"{setting}=[{','.join(found)}] names layers beside {ALL_LINEAR}",
        f"say {setting}=all-linear alone, or names alone",
    )
    return found
