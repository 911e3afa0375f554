"""The same layers for every low-rank method, whatever they are: a comparison over all linear layers is a fair one."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from autolora_bench.methods.adapter_ranks import adapter_ranks
from autolora_bench.methods.autolora import AutoLora
from autolora_bench.methods.base import PhaseContext, build_method
from autolora_bench.models.adapted_layers import block_and_projection
from autolora_bench.search import lora_layers

ALL = "model.targets=[all_linear]"
NAMES = ("query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense")
LAYERS = [(block, name) for block in range(2) for name in NAMES]


@pytest.mark.parametrize(
    ("method", "words", "total"),
    [
        ("lora", ["method.rank=2"], 24),
        ("adalora", ["method.initial_rank=5"], 60),
        ("lora_uniform", ["method.source=null", "method.total=30"], 30),
        ("lora_random_ranks", ["method.source=null", "method.total=30"], 30),
    ],
)
def test_baselines_adapt_them_all(
    method: str, words: list[str], total: int, composed: Any, tmp_path: Path
) -> None:
    experiment = composed(method, ALL, *words)
    context = PhaseContext(experiment, tmp_path, torch.device("cpu"))
    *before, training = build_method(experiment.method).phases()
    for phase in before:
        phase.run(context)
    backbone = context.backbone()
    model = training.adapt(backbone, context)  # type: ignore[attr-defined]
    assert set(lora_layers(model)) == set(backbone.targets)
    ranks = adapter_ranks(model, backbone.targets)
    assert sorted((layer.block, layer.projection) for layer in ranks) == sorted(LAYERS)
    assert sum(layer.rank for layer in ranks) == total


def test_a_search_over_all_of_them_drops_layers(composed: Any, tmp_path: Path) -> None:
    """Rank 0 by the rule: no adapter in the model, 0 in the record, nothing in the saved adapter."""
    experiment = composed("autolora_all_linear", "train.epochs=1", "method.search.mean_rank=2")
    context = PhaseContext(experiment, tmp_path, torch.device("cpu"))
    modules = context.backbone().targets
    alpha = [[0.9 - 0.1 * j if i % 2 else 0.01 for j in range(8)] for i in range(len(modules))]
    context.phase_folder("search")
    (tmp_path / "search/selection.json").write_text(
        json.dumps({"modules": modules, "beta": alpha, "alpha": alpha})
    )
    _, threshold, *_, retrain = AutoLora(experiment.method).phases()  # type: ignore[arg-type]
    threshold.run(context)
    result = retrain.run(context)
    assert [layer.rank for layer in result.ranks] == [0, 4] * 6
    assert [block_and_projection(name) for name in modules] == [(r.block, r.projection) for r in result.ranks]
    saved = json.loads((tmp_path / "retrain/export/adapter_config.json").read_text())["rank_pattern"]
    assert len(saved) == 6
    assert not [
        name
        for name, layer in zip(modules, result.ranks, strict=True)
        if not layer.rank and name in str(saved)
    ]


def test_layers_that_are_drawn_anew_are_trained_in_full_and_have_no_adapter(
    composed: Any, tmp_path: Path
) -> None:
    experiment = composed("lora", "model.untrained=[0.attention.self.query]")
    context = PhaseContext(experiment, tmp_path, torch.device("cpu"))
    [training] = build_method(experiment.method).phases()
    model = training.adapt(context.backbone(), context)  # type: ignore[attr-defined]
    assert [block_and_projection(name) for name in lora_layers(model)] == [
        (0, "value"),
        (1, "query"),
        (1, "value"),
    ]
    whole = {
        name for name, weight in model.named_parameters() if weight.requires_grad and "lora_" not in name
    }
    assert any("0.attention.self.query" in name for name in whole)
