"""Bottleneck adapters: Houlsby et al. (2019), Pfeiffer et al. (2021), Lin et al. (2020), AdapterDrop (2021).

Trained: the adapters, the task's head, and with `layer_norms` the model's own layer norms. Weights of the method,
without the head (LoRA paper, section 5.1): N (2 D M + M + D) + 2 D L, with N adapters of M units, D the hidden size,
L trained layer norms, those of placement `lin` included. RoBERTa-base (12 blocks, D = 768):

    0.3M   houlsby M=8 (313,536; 351,936 with layer norms)   pfeiffer M=16 (304,320)   drop=2/3 M=48 (298,176)
    0.9M   houlsby M=24 (903,744; 942,144 with layer norms)  pfeiffer M=48 (894,528)   lin M=48 (912,960)
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from autolora_bench.config.method import Activation, AdapterConfig, Placement
from autolora_bench.errors import UserError
from autolora_bench.methods.base import PhaseContext
from autolora_bench.methods.bottleneck import insert_adapters
from autolora_bench.methods.finetuning import OneTraining
from autolora_bench.models.load import Backbone
from autolora_bench.record import write_atomically
from autolora_bench.training.weights import load_trainable, save_trainable

CONFIG = "bottleneck_adapter.json"
WEIGHTS = "bottleneck_adapter.safetensors"


@dataclass(frozen=True)
class Adapter(OneTraining):
    """Adapters in a frozen model."""

    config: AdapterConfig

    def adapt(self, backbone: Backbone, context: PhaseContext) -> PreTrainedModel:
        """Adapters in every block that gets some."""
        return adapted(backbone.model, self.config, backbone.head_modules)

    def export(self, model: Any, backbone: Backbone, folder: Path) -> None:
        """What `load_adapter` reads."""
        save_adapter(model, self.config, backbone.head_modules, folder)


def adapted(model: PreTrainedModel, config: AdapterConfig, head_modules: Sequence[str]) -> PreTrainedModel:
    """`model` with adapters, in place: adapters, head and (if asked for) layer norms can be trained, nothing else.

    Raises:
        UserError: an architecture whose sub-layers are not known.
    """
    model.requires_grad_(False)
    norms = [module for module in model.modules() if type(module).__name__.endswith("Norm")]
    trained: list[nn.Module] = [*insert_adapters(model, config)]
    trained += [model.get_submodule(name) for name in head_modules]
    if config.layer_norms:
        trained += norms
    for module in trained:
        module.requires_grad_(True)
    return model


def save_adapter(
    model: PreTrainedModel, config: AdapterConfig, head_modules: Sequence[str], folder: Path
) -> None:
    """Write what was trained as safetensors, and a JSON file that says how to insert it again."""
    settings = {
        name: value.name if isinstance(value, Enum) else value for name, value in asdict(config).items()
    }
    described = {
        "architecture": model.config.model_type,
        "head_modules": list(head_modules),
        "adapter": settings,
    }
    save_trainable(model, folder / WEIGHTS)
    write_atomically(folder / CONFIG, json.dumps(described, indent=1) + "\n")


def load_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Insert a saved adapter, with its head, into a freshly loaded model of the same architecture and head.

    Raises:
        UserError: no adapter in `folder`, or one of another model.
    """
    try:
        described = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        settings = described["adapter"]
        config = AdapterConfig(
            **{
                **settings,
                "placement": Placement[settings["placement"]],
                "activation": Activation[settings["activation"]],
            }
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} holds no adapter: {error}", f"name a folder with {CONFIG}") from error
    loaded = adapted(model, config, described["head_modules"])
    load_trainable(loaded, folder / WEIGHTS)
    return loaded
