"""Whole runs with `train.cpu_kernels` or `train.padding_free`: the same as without where nothing is dropped, and
resumable where it is."""

import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AlbertConfig, AlbertForMaskedLM, TrainingArguments
from transformers.models.bert.modeling_bert import BertLayer

from autolora_bench import cli
from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.experiment import config_id, run_folder
from autolora_bench.methods.evaluation import EvaluatePhase
from autolora_bench.methods.finetuning import FinetunePhase
from autolora_bench.methods.searching import SearchPhase
from autolora_bench.record import RunRecord, Status, read_record
from autolora_bench.speedups import attention, dropout, packed
from autolora_bench.speedups.layout import Layout
from autolora_bench.training.checkpoints import CheckpointPolicy

KERNELS, PADDING_FREE = "train.cpu_kernels=true", "train.padding_free=true"
SMALL = [
    "task=sst2",
    "train=reference",
    "model=any",
    "data=generated",
    "data.limit=32",
    "data.limit_evaluation=16",
    "train.epochs=2",
    "train.batch_size=8",
    "~recipe",
    "~cell",
]
SEARCH = ["method.search.epochs=2", "method.search.batch_size=8", "method.search.diagnose_steps=[1]"]
TEXTS = ["task=e2e", "task.metrics=[bleu]", "task.decoding.beams=2", "task.decoding.max_new_tokens=6"]
METHODS = {
    "full": [],
    "bitfit": [],
    "dora": [],
    "adapter": [],
    "adalora": [],
    "autolora": SEARCH,
    "lora": TEXTS,
}
QUICK = (("bitfit", PADDING_FREE),)


@pytest.fixture(autouse=True)
def _small_layers_too(module_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "SMALLEST", 1)


@pytest.fixture
def words(tiny_encoder: Path, tiny_decoder: Path) -> Callable[..., list[str]]:
    def line(results: Path, method: str, *more: str) -> list[str]:
        model = tiny_decoder if TEXTS[0] in METHODS[method] else tiny_encoder
        head = [f"method={method}", f"results={results}", f"model.checkpoint={model}", "device=cpu"]
        return [*SMALL, *METHODS[method], *head, *more]

    return line


def folder_of(line: list[str]) -> Path:
    with composer():
        return run_folder(to_experiment(compose_config(line)))


def facts(line: list[str]) -> tuple[RunRecord, dict[str, Tensor]]:
    record = read_record(folder_of(line) / "run.json")
    assert record.status is Status.completed, record.error
    weights = load_file(next(folder_of(line).glob("*/weights.safetensors")))
    return record, weights


@pytest.fixture
def unpadded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tokens of every pass that left out padding."""
    found: list[int] = []
    pad = Layout.pad

    def watched(self: Layout, states: Tensor) -> Tensor:
        found.append(states.shape[1])
        return pad(self, states)

    monkeypatch.setattr(Layout, "pad", watched)
    return found


@pytest.fixture
def nothing_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = torch.nn.functional.scaled_dot_product_attention

    def keeping(*arguments: Tensor, **options: object) -> Tensor:
        return usual(*arguments, **{**options, "dropout_p": 0.0})  # type: ignore[arg-type]

    for module in (attention, dropout):
        monkeypatch.setattr(module, "dropout", lambda inputs, p: inputs)
    monkeypatch.setattr(torch.nn.functional, "dropout", lambda inputs, *_, **__: inputs)
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", keeping)


@pytest.mark.parametrize(
    ("method", "way"),
    [
        pytest.param(*pair, marks=[] if pair in QUICK else pytest.mark.slow)
        for pair in product(METHODS, (KERNELS, PADDING_FREE))
    ],
)
def test_a_run_in_which_nothing_is_dropped_is_the_same_up_to_rounding(
    words: Callable[..., list[str]],
    nothing_dropped: None,
    unpadded: list[int],
    method: str,
    way: str,
    tmp_path: Path,
) -> None:
    usual, ours = words(tmp_path, method), words(tmp_path, method, way)
    assert cli.run(usual) == cli.run(ours) == 0
    (expected, their), (found, our) = facts(usual), facts(ours)
    assert found.config_id != expected.config_id
    tokens = sum(phase.tokens or 0 for phase in found.phases)
    assert sum(unpadded) >= tokens if way == PADDING_FREE else not unpadded
    for one, other in zip(found.history, expected.history, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-4)
        assert one.scores == other.scores
    for name, weight in their.items():
        torch.testing.assert_close(our[name], weight, rtol=1e-3, atol=2e-4)


@pytest.mark.slow
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(
    words: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = (
        words(tmp_path / name, "autolora", KERNELS, PADDING_FREE, "train.checkpoint_minutes=1e-9")
        for name in "ab"
    )
    assert cli.run(whole) == 0
    begin, cut_at = CheckpointPolicy.on_step_begin, [3]

    def once(self: CheckpointPolicy, args: object, state: object, control: object, **more: object) -> object:
        if [state.global_step] == cut_at:  # type: ignore[attr-defined]
            cut_at.clear()
            raise KeyboardInterrupt
        return begin(self, args, state, control, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(CheckpointPolicy, "on_step_begin", once)
    assert cli.run(cut) == 130
    assert cli.run(cut) == 0
    (expected, their), (found, our) = facts(whole), facts(cut)
    assert found.history == expected.history
    assert all(torch.equal(our[name], weight) for name, weight in their.items())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.sample(one_in=2)
def test_every_phase_computes_with_every_kernel(
    words: Callable[..., list[str]], precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search, the retraining with its evaluations, the last evaluation; no dropout in evaluations."""
    seen: dict[str, set[str]] = {}
    kinds: set[torch.dtype] = set()
    phase = [""]

    def watched(name: str, function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            seen.setdefault(phase[0], set()).add(name if torch.is_grad_enabled() else f"{name}, reading")
            kinds.update(a.dtype for a in arguments if isinstance(a, Tensor) and name == "product")
            return function(*arguments)

        return call

    def in_phase(name: str, run: Any) -> Any:
        def begin(self: object, context: object) -> object:
            phase[0] = name
            return run(self, context)

        return begin

    for module, name in ((packed, "_product"), (dropout, "_draw"), (attention, "attend")):
        monkeypatch.setattr(module, name, watched(name.strip("_"), getattr(module, name)))
    for kind, name in ((SearchPhase, "search"), (FinetunePhase, "retrain"), (EvaluatePhase, "evaluate")):
        monkeypatch.setattr(kind, "run", in_phase(name, kind.run))
    line = words(tmp_path, "autolora", "method.search.diagnose_steps=[]", f"train.precision={precision}")
    assert cli.run(line) == 0
    assert not seen
    assert cli.run([*line, KERNELS]) == 0
    training = {"product, reading", "draw", "attend"}  # products of a training are those of a Function
    assert seen == {"search": training, "retrain": training, "evaluate": {"product, reading"}}
    bf16 = precision == "bf16" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert kinds == {torch.bfloat16 if bf16 else torch.float32}


def test_each_way_is_part_of_a_runs_identity(words: Callable[..., list[str]], tmp_path: Path) -> None:
    with composer():
        found = {
            config_id(to_experiment(compose_config(words(tmp_path, "bitfit", *more))))
            for more in ((), (KERNELS,), (PADDING_FREE,), (KERNELS, PADDING_FREE))
        }
    assert len(found) == 4


def test_an_accelerator_is_refused_and_a_completed_record_kept(
    words: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = words(tmp_path, "bitfit", KERNELS)
    assert cli.run(line) == 0
    before = (folder_of(line) / "run.json").read_bytes()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    again = [word if word != "device=cpu" else "device=auto" for word in line]
    capsys.readouterr()
    assert cli.run([*again, "rerun=all"]) == 2
    assert "train.cpu_kernels=true is for a CPU, and device=auto is cuda here" in capsys.readouterr().err
    assert (folder_of(line) / "run.json").read_bytes() == before
    shutil.rmtree(folder_of(line))
    assert cli.run(again) == 2
    assert "say device=cpu" in capsys.readouterr().err
    assert cli.run(["check", *(word.replace("device=auto", "device=cuda") for word in again)]) == 2
    assert "not for device=cuda" in capsys.readouterr().err


def test_padding_is_left_out_of_the_search_and_the_retraining_alone_and_not_counted(
    words: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, int, int]] = []
    forward = BertLayer.forward

    def watched(self: BertLayer, hidden: Tensor, *arguments: object, **options: object) -> Tensor:
        if self.attention.self.layer_idx == 0:
            seen.append((self.training, *hidden.shape[:2]))
        return forward(self, hidden, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(BertLayer, "forward", watched)
    usual = words(tmp_path, "autolora", "method.search.diagnose_steps=[]")
    assert cli.run(usual) == 0
    assert {texts for _, texts, _ in seen} == {8, 16}
    seen.clear()
    assert cli.run([*usual, PADDING_FREE]) == 0
    assert {(training, texts) for training, texts, _ in seen} == {(True, 1), (False, 16)}
    (padded, _), (found, _) = facts(usual), facts([*usual, PADDING_FREE])
    tokens = sum(phase.tokens or 0 for phase in found.phases)
    assert tokens == sum(length for training, _, length in seen if training)
    for before, now in zip(padded.phases, found.phases, strict=True):
        if before.tokens and before.flops:
            assert (now.tokens or 0) < 0.9 * before.tokens
            same = before.name == "search"  # other masks may lead to other ranks, so to a few other weights
            expected = pytest.approx((now.tokens or 0) / before.tokens, rel=1e-6 if same else 0.02)
            assert (now.flops or 0) / before.flops == expected


def test_several_devices_in_one_process_are_refused(
    words: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(TrainingArguments, "n_gpu", property(lambda _: 2))
    assert cli.run(words(tmp_path, "bitfit", PADDING_FREE)) == 2
    assert "one device per process, and this one has 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("method", "more", "message"),
    [
        ("lora", "model.architecture=deberta-v2", "the architecture deberta-v2"),
        ("lora", "model=mpnet_base", "model.attention=eager (model=mpnet_base)"),
        ("prefix_tuning", "task=sst2", "method=prefix_tuning, whose keys and values are not the tokens'"),
    ],
)
@pytest.mark.sample(one_in=2)
def test_what_cannot_do_without_padding_is_refused(
    method: str, more: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["task=sst2", "model=minilm", "data=generated", f"method={method}", more, f"results={tmp_path}"]
    assert cli.run([*line, PADDING_FREE]) == 2
    said = capsys.readouterr().err
    assert f"train.padding_free=true does not work with {message}" in said
    assert "leave it out" in said
    assert not list(tmp_path.iterdir())


def test_weights_that_turn_out_to_be_of_another_architecture_are_refused_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_encoder: Path
) -> None:
    folder = tmp_path / "albert"
    shutil.copytree(tiny_encoder, folder)
    AlbertForMaskedLM(
        AlbertConfig(
            vocab_size=500, hidden_size=32, embedding_size=16, intermediate_size=32, num_attention_heads=2
        )
    ).save_pretrained(folder)
    line = [*SMALL, "method=lora", f"results={tmp_path}", f"model.checkpoint={folder}", "device=cpu"]
    assert cli.run([*line, PADDING_FREE]) == 2
    assert "does not work with the architecture albert" in capsys.readouterr().err
