"""Other ways to compute a run: attention by name, torch.compile; frozen weights in parts are in test_distributed."""

import json
import re
import runpy
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch._dynamo.utils import counters

from autolora_bench import cli, devices
from autolora_bench.commands import check
from autolora_bench.config import computing, validate
from autolora_bench.config.architectures import Is, those
from autolora_bench.config.experiment import ExperimentConfig, config_id
from autolora_bench.errors import UserError
from autolora_bench.methods.base import PhaseContext
from autolora_bench.models.preflight import check_model
from autolora_bench.speedups.auto import decide_ways
from autolora_bench.training import arguments

SHORT = ["train=reference", "train.epochs=2", "data.limit=32", "data.limit_evaluation=8", "method.dropout=0"]
EAGER, FLASH, BF16 = "model.attention=eager", "model.attention=flash_attention_2", "train.precision=bf16"
GPU = "device=auto"
TEXTS = (
    "task=e2e",
    "task.metrics=[bleu]",
    "task.epoch_records=2",
    "task.decoding.beams=1",
    "task.decoding.max_new_tokens=4",
)


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


@pytest.mark.parametrize("kind", ["bert", pytest.param("llama", marks=pytest.mark.slow)])
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
@pytest.mark.sample(one_in=4)
def test_flash_attention_is_refused_where_it_is_not_proved(
    method: str, words: list[str], what: str, composed: Callable[..., ExperimentConfig]
) -> None:
    with pytest.raises(UserError) as error:
        flash(composed, method, *words)
    assert what in error.value.what
    assert error.value.mend


@pytest.mark.parametrize("method", ["lora", "autolora", "full"])
@pytest.mark.sample(keep=("lora",))
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
    for checks in (check.CHECKS, check.BEFORE_A_RUN):
        assert computing.check_machine in checks


def test_loaded_and_stated_models_are_asked_what_is_asked_of_a_composed_run_whose_folder_says_its_architecture(
    composed: Callable[..., ExperimentConfig], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str | None] = []
    for name in ("support", "padding_free", "peft", "memory", "computing"):
        monkeypatch.setattr(validate, f"check_{name}", lambda *known: asked.append(known[-1]))
    experiment = composed("lora")
    assert asked == ["bert"] * 5
    check_model(experiment)
    assert asked[5:] == ["bert"] * 5
    PhaseContext(experiment, tmp_path, torch.device("cpu")).backbone()
    assert asked[10:] == ["bert"] * 5


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
    for architecture in those(Is.flash):
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


COMPILE, PARTS = "train.compile=true", "train.fsdp=true"


class Graphs:
    """How many graphs torch.compile has made so far."""

    @property
    def made(self) -> int:
        return int(counters["stats"]["unique_graphs"])


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Graphs:
    """aot_eager traces both passes as inductor does, and leaves the kernels to torch: seconds, not minutes."""
    monkeypatch.setattr(arguments, "BACKEND", "aot_eager")
    return Graphs()


@pytest.mark.parametrize(
    ("kind", "method", "words"),
    [
        ("bert", "lora", ()),
        ("bert", "autolora", ("method.search.epochs=2",)),
        ("bert", "full", ()),
        ("bert", "bitfit", ()),
        ("bert", "head_only", ()),
        ("bert", "adalora", ()),
        ("bert", "lora", ("train.group_by_length=true", "train.accumulation=2")),
        ("bert", "lora", ("train.label_smoothing=0.1",)),
        ("bert", "lora", (BF16,)),
        ("bert", "lora", ("model.dtype=bf16",)),
        ("llama", "lora", ()),
        ("llama", "lora", TEXTS),
        ("llama", "autolora", ("method.search.epochs=2", "method.search.estimator=first_order")),
    ],
)
@pytest.mark.slow
def test_a_compiled_training_is_the_same(
    kind: str,
    method: str,
    words: tuple[str, ...],
    trained: Callable[..., Any],
    without_dropout: dict[str, Path],
    graphs: Graphs,
) -> None:
    line = [*SHORT, f"model.checkpoint={without_dropout[kind]}", *words]
    line = [word for word in line if method in ("lora", "autolora") or word != "method.dropout=0"]
    plain, before = trained(method, *line), graphs.made
    assert graphs.made == before
    compiled = trained(method, *line, COMPILE)
    assert before < graphs.made <= before + 4 * sum(p.steps is not None for p in compiled.record.phases)
    phase = "retrain" if method == "autolora" else "finetune"
    same_training(compiled, plain, phase)
    assert compiled.record.ranks == plain.record.ranks
    if method == "autolora":
        found, expected = (
            json.loads((r.folder / "search/selection.json").read_text()) for r in (compiled, plain)
        )
        moved = torch.tensor(expected["alpha"])
        torch.testing.assert_close(torch.tensor(found["alpha"]), moved, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(moved, moved[0, 0].expand_as(moved), rtol=1e-3)
    saved = [name for file in compiled.folder.rglob("*.safetensors") for name in load_file(file)]
    assert saved
    assert not [name for name in saved if "_orig_mod" in name]
    made = graphs.made
    trained("lora", *SHORT, "seed=3")
    assert graphs.made == made, "the run after a compiled one is not compiled"


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_a_compiled_training_goes_on_where_it_was_stopped(
    backend: str,
    composed: Callable[..., ExperimentConfig],
    without_dropout: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    interrupt_every_training_once: Any,
    resumed: Any,
) -> None:
    """With the kernels of inductor, which are made for the lengths that a process sees, up to rounding."""
    monkeypatch.setattr(arguments, "BACKEND", backend)
    experiment = composed("lora", *SHORT[:-1], f"model.checkpoint={without_dropout['bert']}", COMPILE)
    whole = resumed(experiment, tmp_path / "whole")
    assert interrupt_every_training_once(step=2) == []
    again = resumed(experiment, tmp_path / "again")
    assert [entry.scores for entry in again.history] == [entry.scores for entry in whole.history]
    ours, theirs = (tmp_path / name / "finetune/weights.safetensors" for name in ("again", "whole"))
    if backend == "aot_eager":
        assert ours.read_bytes() == theirs.read_bytes()
    near = load_file(theirs)
    for name, weight in load_file(ours).items():
        torch.testing.assert_close(weight, near[name], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_inductor_trains_the_same(trained: Callable[..., Any], without_dropout: dict[str, Path]) -> None:
    line = [*SHORT, f"model.checkpoint={without_dropout['bert']}"]
    plain, compiled = trained("lora", *line), trained("lora", *line, COMPILE, "seed=0")
    same_training(compiled, plain)


@pytest.mark.parametrize(
    ("method", "words", "what"),
    [
        ("lora", [COMPILE, "train.padding_free=true"], "train.compile=true, whose graphs"),
        ("lora", [COMPILE, "train.cpu_kernels=true"], "train.cpu_kernels=true"),
        ("lora", [COMPILE, "device=mps"], "device=mps"),
        ("lora", [COMPILE, "train.gradient_checkpointing=true"], "train.gradient_checkpointing=true"),
        ("lora", [COMPILE, "model.quantization=nf4"], "quantization=nf4"),
        ("lora", [COMPILE, "model.architecture=albert"], "architecture albert"),
        ("lora", [COMPILE, "model.architecture=t5"], "architecture t5"),
        ("lora", [COMPILE, "train.precision=bf16", FLASH, "device=auto"], "flash_attention_2"),
        ("adapter", [COMPILE], "method=adapter"),
        ("lora_learned_rates", [COMPILE], "method=lora_learned_rates"),
        ("dora", [COMPILE], "variant.dora"),
        ("autolora", [COMPILE, "method.search.estimator=central_difference"], "estimator=central_difference"),
        ("autolora", [COMPILE, "method.search.diagnose_steps=[1]"], "cannot repeat the dropout"),
        ("lora", [PARTS, "train.padding_free=true"], "train.fsdp=true"),
        ("lora", [PARTS, "train.cpu_kernels=true"], "copies of whole weights"),
        ("lora", [PARTS, COMPILE], "train.compile=true"),
        ("lora", [PARTS, "train.gradient_checkpointing=true"], "train.gradient_checkpointing=true"),
        ("lora", [PARTS, "model.quantization=nf4"], "quantization=nf4"),
        ("lora", [PARTS, "model.architecture=gpt2"], "architecture gpt2"),
        ("lora", [PARTS, "task=e2e"], "task=e2e"),
        ("full", [PARTS], "freezes no weights"),
        ("head_only", [PARTS], "method=head_only"),
        ("autolora", [PARTS], "method=autolora"),
        ("pissa", [PARTS], "start=pissa"),
    ],
)
@pytest.mark.sample(one_in=5)
def test_what_is_not_proved_is_refused(
    method: str, words: list[str], what: str, composed: Callable[..., ExperimentConfig]
) -> None:
    with pytest.raises(UserError) as error:
        composed(method, *SHORT[:-1], *words)
    assert what in error.value.what
    assert error.value.mend


def test_auto_leaves_its_ways_off(composed: Callable[..., ExperimentConfig]) -> None:
    for asked in (COMPILE, PARTS):
        ways = decide_ways(composed("lora", "train=default", asked), torch.device("cpu"))
        assert {name: ways[name] for name in ("cpu_kernels", "padding_free")} == {
            "cpu_kernels": False,
            "padding_free": False,
        }
        assert set(ways["why"].values()) == {f"not proved for {asked}"}


@pytest.mark.parametrize(
    ("lacking", "what"), [("g++", "there is no g++"), ("Python.h", "there is no Python.h")]
)
def test_a_machine_that_cannot_compile_is_told_before_anything_is_loaded(
    lacking: str,
    what: str,
    composed: Callable[..., ExperimentConfig],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    if lacking == "g++":
        monkeypatch.setattr(computing.shutil, "which", lambda name: None)
    else:
        monkeypatch.setattr(computing.shutil, "which", lambda name: f"/usr/bin/{name}")
        monkeypatch.setattr(computing.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    computing.check_machine(composed("lora"))
    with pytest.raises(UserError, match=re.escape(what)):
        computing.check_machine(composed("lora", COMPILE))


def asked_of_processes(experiment: ExperimentConfig) -> None:
    computing.check_accelerate(experiment)
    computing.check_processes(experiment)


@pytest.mark.parametrize(
    ("words", "variables", "what"),
    [
        ([], {"ACCELERATE_USE_FSDP": "true"}, "ACCELERATE_USE_FSDP=true asks accelerate for FSDP"),
        ([PARTS], {"ACCELERATE_USE_FSDP": "true", "WORLD_SIZE": "2"}, "ACCELERATE_USE_FSDP=true"),
        ([], {"ACCELERATE_USE_DEEPSPEED": "True"}, "for DeepSpeed"),
        ([], {"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, "ACCELERATE_DYNAMO_BACKEND=INDUCTOR"),
        ([], {"ACCELERATE_MIXED_PRECISION": "bf16"}, "asks accelerate to compute in bf16"),
        (["train.precision=bf16"], {"ACCELERATE_MIXED_PRECISION": "fp16"}, "train.precision is bf16"),
        ([COMPILE], {"WORLD_SIZE": "2"}, "2 processes"),
        ([PARTS], {}, "is for several processes"),
    ],
)
@pytest.mark.sample(one_in=2)
def test_processes_that_are_not_for_it_are_refused(
    words: list[str],
    variables: dict[str, str],
    what: str,
    composed: Callable[..., ExperimentConfig],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    experiment = composed("lora", *words)
    for name, value in {"WORLD_SIZE": "1", **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as error:
        asked_of_processes(experiment)
    assert what in error.value.what
    monkeypatch.setenv("WORLD_SIZE", "2" if PARTS in words else "1")
    for name in variables.keys() - {"WORLD_SIZE"}:
        monkeypatch.setenv(name, "false" if "USE" in name else "NO")
    asked_of_processes(experiment)


def test_accelerate_s_precision_may_be_the_run_s_own(
    composed: Callable[..., ExperimentConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    asked_of_processes(composed("lora", "train.precision=bf16"))


def test_accelerate_s_wish_for_fsdp_ends_a_run_before_it_begins(
    composed: Callable[..., ExperimentConfig],
    tiny_encoder: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    line = ["task=sst2", "model=any", f"model.checkpoint={tiny_encoder}", "data=generated", "method=lora"]
    assert cli.run([*line, "~recipe", "~cell", f"results={tmp_path}"]) == 2
    assert "asks accelerate for FSDP" in capsys.readouterr().err
    assert not list(tmp_path.rglob("run.json"))
