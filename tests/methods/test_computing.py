"""Other ways to compute a run: attention by name."""

import json
import runpy
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

from autolora_bench import devices
from autolora_bench.commands import check
from autolora_bench.config import computing
from autolora_bench.config.experiment import ExperimentConfig, config_id
from autolora_bench.errors import UserError

SHORT = ["train=reference", "train.epochs=2", "data.limit=32", "data.limit_evaluation=8", "method.dropout=0"]
EAGER, FLASH, BF16 = "model.attention=eager", "model.attention=flash_attention_2", "train.precision=bf16"
GPU = "device=auto"


@pytest.fixture(scope="session")
def without_dropout(tiny_decoder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of a tiny BERT and a tiny Llama that draw nothing while they train."""
    script = Path(__file__).resolve().parents[2] / "scripts" / "tiny_encoder.py"
    save = runpy.run_path(str(script))["save_tiny_encoder"]
    return {"bert": save(tmp_path_factory.mktemp("encoder"), 0.0), "llama": tiny_decoder}


def same_training(one: Any, other: Any, phase: str = "finetune") -> None:
    """The same losses, scores and weights, up to rounding."""
    for a, b in zip(one.record.history, other.record.history, strict=True):
        assert a.train_loss == pytest.approx(b.train_loss, rel=1e-4)
        assert a.scores == b.scores
    ours, theirs = (load_file(run.folder / phase / "weights.safetensors") for run in (one, other))
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_eager_attention_trains_as_sdpa_does(
    kind: str, trained: Callable[..., Any], without_dropout: dict[str, Path]
) -> None:
    model = f"model.checkpoint={without_dropout[kind]}"
    fused, plain = trained("lora", *SHORT, model), trained("lora", *SHORT, model, EAGER)
    assert fused.model.config._attn_implementation == "sdpa"
    assert plain.model.config._attn_implementation == "eager"
    torch.testing.assert_close(plain.first_logits, fused.first_logits)
    same_training(plain, fused)


def test_an_export_does_not_say_how_attention_was_computed(trained: Callable[..., Any]) -> None:
    run = trained("full", *SHORT[:-1], EAGER)
    said = json.loads((run.folder / "finetune/export/config.json").read_text(encoding="utf-8"))
    assert not [name for name in said if "attn" in name]


def flash(composed: Callable[..., ExperimentConfig], method: str, *words: str) -> ExperimentConfig:
    return composed(method, *SHORT[:-1], GPU, BF16, FLASH, *words)


def test_attention_by_name_is_part_of_a_run(composed: Callable[..., ExperimentConfig]) -> None:
    runs = [
        composed("lora", *SHORT, GPU, BF16, *more)
        for more in ([], ["model.attention=sdpa"], [EAGER], [FLASH])
    ]
    assert [config_id(run) for run in runs[:2]] == [config_id(runs[0])] * 2
    assert len({config_id(run) for run in runs}) == 3


@pytest.mark.parametrize(
    ("method", "words", "what"),
    [
        ("lora", ["device=cpu"], "device=cpu"),
        ("lora", ["train.precision=fp32"], "are fp32"),
        ("lora", ["model.architecture=deberta-v2"], "architecture deberta-v2"),
        ("lora", ["model.architecture=t5"], "architecture t5"),
        ("lora", ["train.padding_free=true"], "train.padding_free=true"),
        ("lora", ["train.cpu_kernels=true", "device=cpu"], "device=cpu"),
        ("adapter", [], "method=adapter"),
        ("prefix_tuning", [], "method=prefix_tuning"),
        ("pissa", [], "start=pissa"),
        ("lora_gradient_ranks", [], "method=lora_gradient_ranks"),
        ("autolora", ["method.search.estimator=unrolled"], "estimator=unrolled"),
        ("autolora", ["method.search.diagnose_steps=[1]"], "diagnose_steps"),
        ("lora", ["task=e2e"], "task=e2e"),
    ],
)
def test_flash_attention_is_refused_where_it_is_not_proved(
    method: str, words: list[str], what: str, composed: Callable[..., ExperimentConfig]
) -> None:
    with pytest.raises(UserError) as error:
        flash(composed, method, *words)
    assert what in error.value.what
    assert error.value.mend


@pytest.mark.parametrize("method", ["lora", "autolora", "full"])
def test_flash_attention_composes_where_weights_or_passes_are_in_16_bits(
    method: str, composed: Callable[..., ExperimentConfig]
) -> None:
    flash(composed, method)
    if method != "full":
        flash(composed, method, "train.precision=fp32", "model.dtype=bf16", "model.quantization=nf4")


def test_a_missing_package_is_told_before_anything_is_loaded(
    composed: Callable[..., ExperimentConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(computing, "find_spec", lambda name: None)
    computing.check_machine(composed("lora"))
    with pytest.raises(UserError) as error:
        computing.check_machine(flash(composed, "lora"))
    assert "flash_attn, which is not installed" in error.value.what
    assert "pip install flash-attn" in error.value.mend
    assert computing.check_machine in check.CHECKS


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_machine_without_a_gpu_is_told_by_the_run_and_by_check(
    composed: Callable[..., ExperimentConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "find_spec", lambda name: object())
    for ask in (devices.device, check._check_device):
        with pytest.raises(UserError, match="is for an NVIDIA GPU, and device=auto is cpu here"):
            ask(flash(composed, "lora"))
        ask(composed("lora"))


def test_the_architectures_are_those_of_transformers() -> None:
    modules = {"gemma3_text": "gemma3", "xlm-roberta": "xlm_roberta"}
    for architecture in computing.FLASH_ARCHITECTURES:
        name = modules.get(architecture, architecture)
        module = import_module(f"transformers.models.{name}.modeling_{name}")
        bases = [
            kind
            for kind in vars(module).values()
            if isinstance(kind, type)
            and issubclass(kind, transformers.PreTrainedModel)
            and kind.__module__ == module.__name__
        ]
        assert bases
        assert all(kind._supports_flash_attn for kind in bases), architecture
