"""Two processes on the CPU (gloo) find what one finds with the same global batch, and only one of them writes."""

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from autolora_bench import cli
from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.experiment import run_folder
from autolora_bench.record import RunRecord, Status, read_record

pytestmark = pytest.mark.slow

SMALL = [
    *("task=sst2", "model=any", "data=generated", "data.limit=32", "data.limit_evaluation=16", "device=cpu"),
    *("train.epochs=2", "train.batch_size=8", "method.dropout=0", "~recipe", "~cell"),
]
MODULE = ["-m", "autolora_bench"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
STARTERS = {
    "torchrun": [*TORCHRUN, *MODULE],
    "accelerate": [
        *("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
        *("--mixed_precision", "no", "--dynamo_backend", "no", *MODULE),
    ],
}


@pytest.fixture(scope="module")
def without_dropout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny encoder whose passes do not depend on how a batch is split."""
    script = Path(__file__).resolve().parent.parent / "scripts" / "tiny_encoder.py"
    folder: Path = runpy.run_path(str(script))["save_tiny_encoder"](tmp_path_factory.mktemp("encoder"), 0.0)
    return folder


@pytest.fixture(scope="module")
def one(without_dropout: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Method -> folder of its run in one process."""
    found: dict[str, Path] = {}

    def run(method: str) -> Path:
        if method not in found:
            line = words(method, without_dropout, tmp_path_factory.mktemp("one"))
            assert cli.run(line) == 0
            found[method] = folder_of(line)
        return found[method]

    return run


def words(method: str, encoder: Path, results: Path) -> list[str]:
    return [*SMALL, f"method={method}", f"model.checkpoint={encoder}", f"results={results}"]


def folder_of(line: list[str]) -> Path:
    with composer():
        return run_folder(to_experiment(compose_config(line)))


def started(starter: list[str], line: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Two processes of one thread each, when they have ended."""
    return subprocess.run(
        [sys.executable, *starter, *line],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def in_two(line: list[str], starter: list[str] = STARTERS["torchrun"], **environment: str) -> str:
    """What two processes say that end well."""
    answer = started(starter, line, **environment)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def cut_off(line: list[str], script: Path, **environment: str) -> None:
    """Two processes that a script interrupts, as their record says."""
    answer = started([*TORCHRUN, str(script)], line, **environment)
    assert answer.returncode != 0
    assert read_record(folder_of(line) / "run.json").status is Status.interrupted, answer.stderr


def one_and_two(method: str, encoder: Path, results: Path, *more: str) -> tuple[Path, Path]:
    """Folders of a run in one process and of the same in two."""
    one, two = ([*words(method, encoder, results / name), *more] for name in ("one", "two"))
    assert cli.run(one) == 0
    in_two(two)
    return folder_of(one), folder_of(two)


def record_of(folder: Path) -> RunRecord:
    record = read_record(folder / "run.json")
    assert record.status is Status.completed, record.error
    return record


FSDP = "train.fsdp=true"
RANDOM = ["method.reference=null", "method.allocation_seed=0"]
BF16 = ["train.precision=bf16", "model.dtype=bf16"]


@pytest.mark.parametrize(
    ("kind", "method", "more"),
    [("llama", "lora", []), ("bert", "lora_random_ranks", RANDOM), ("bert", "lora", BF16)],
    ids=["llama", "random ranks", "bf16"],
)
def test_frozen_weights_in_parts_train_the_same(
    kind: str, method: str, more: list[str], without_dropout: Path, tiny_decoder: Path, tmp_path: Path
) -> None:
    """Two processes that keep half of them find what one finds; in 16 bits, where sums are of other parts, nearly."""
    base = without_dropout if kind == "bert" else tiny_decoder
    one = [*words(method, base, tmp_path / "one"), *more, "train=reference"]
    two = [*words(method, base, tmp_path / "two"), *more, "train=reference", FSDP]
    assert cli.run(one) == 0
    in_two(two)
    single, parts = record_of(folder_of(one)), record_of(folder_of(two))
    assert parts.parameters == single.parameters
    assert parts.ranks == single.ranks
    assert [(p.steps, p.examples) for p in parts.phases] == [(p.steps, p.examples) for p in single.phases]
    losses = ([entry.train_loss for entry in record.history] for record in (parts, single))
    found, expected = map(torch.tensor, losses)
    torch.testing.assert_close(found, expected, rtol=2e-2 if more is BF16 else 1e-4, atol=0)
    if more is not BF16:
        assert [entry.scores for entry in parts.history] == [entry.scores for entry in single.history]
        near(*(load_file(folder_of(line) / "finetune/weights.safetensors") for line in (two, one)))


@pytest.mark.parametrize(
    ("starter", "method", "more"),
    [
        ("torchrun", "lora", []),
        ("torchrun", "autolora", []),
        ("torchrun", "autolora", ["train.padding_free=true"]),
        ("torchrun", "lora", ["train.fsdp=true", "train.accumulation=2"]),
        ("accelerate", "lora", []),
    ],
)
def test_two_processes_equal_one(
    starter: str,
    method: str,
    more: list[str],
    without_dropout: Path,
    one: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    line = [*words(method, without_dropout, tmp_path), *more]
    said = in_two(line, STARTERS[starter])
    assert said.count("trainable weights:") == 1
    two, single = record_of(folder_of(line)), record_of(one(method))
    assert two.provenance["processes"] == 2
    assert [layer.rank for layer in two.ranks] == [layer.rank for layer in single.ranks]
    assert [entry.scores for entry in two.history] == [entry.scores for entry in single.history]
    for phase in ("finetune", "retrain"):
        if (one(method) / phase).is_dir():
            near(*(load_file(f / phase / "weights.safetensors") for f in (folder_of(line), one(method))))
    if method == "autolora":
        near(*(selection(f) for f in (folder_of(line), one(method))))
    assert not list(tmp_path.rglob("run.lock"))


@pytest.mark.parametrize("method", ["lora", "autolora"])
def test_the_last_batch_of_an_epoch_is_that_of_one_process(
    method: str, without_dropout: Path, tmp_path: Path
) -> None:
    """accelerate fills it with the epoch's first rows, where their number is no multiple of the batch's."""
    folders = one_and_two(method, without_dropout, tmp_path, "data.limit=35", "train=reference")
    one, two = map(record_of, folders)
    assert [(p.steps, p.examples) for p in two.phases] == [(p.steps, p.examples) for p in one.phases]
    losses = ([entry.train_loss for entry in record.history] for record in (two, one))
    torch.testing.assert_close(*map(torch.tensor, losses), rtol=1e-4, atol=0)
    last = "retrain" if method == "autolora" else "finetune"
    if method == "lora":
        near(*(load_file(folder / last / "weights.safetensors") for folder in folders))


@pytest.mark.parametrize("method", ["autolora", "lora_balanced"])
def test_what_is_searched_in_tokens_counts_each_once(
    method: str, without_dropout: Path, tmp_path: Path
) -> None:
    """Sentences have other numbers of tokens, so that two halves of a batch have other numbers of labels."""
    more = ("task=bionlp", "data.limit=24", "method.learning_rate=1e-2", "train=reference")
    one, two = (folder / "search" for folder in one_and_two(method, without_dropout, tmp_path, *more))
    if method == "autolora":
        found, expected = (selection(folder.parent)["beta"] for folder in (two, one))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    else:
        found, expected = (
            torch.tensor(list(json.loads((folder / "scores.json").read_text()).values()))
            for folder in (two, one)
        )
        assert expected.max() > 0
        torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-3 * float(expected.max()))


STOPPING = """
import os, sys
from autolora_bench import cli
from autolora_bench.training.checkpoints import CheckpointPolicy

on_step_end = CheckpointPolicy.on_step_end

def watching(self, args, state, control, **more):
    control = on_step_end(self, args, state, control, **more)
    if state.global_step == int(os.environ["STOP"]):
        control.should_save = True
    if state.global_step == int(os.environ["STOP"]) + 1:
        raise KeyboardInterrupt
    return control

CheckpointPolicy.on_step_end = watching
sys.exit(cli.run(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "more", [["method=lora", "train.group_by_length=true"], ["method=lora_balanced"], ["method=lora"]]
)
def test_a_run_that_was_stopped_in_its_second_epoch_goes_on_in_that_epochs_order(
    more: list[str], without_dropout: Path, tmp_path: Path
) -> None:
    (tmp_path / "stopping.py").write_text(STOPPING)
    lines = {name: [*words("lora", without_dropout, tmp_path / name), *more] for name in ("whole", "stopped")}
    cut_off(lines["stopped"], tmp_path / "stopping.py", STOP="5")
    for line in lines.values():
        in_two(line)
    ours, theirs = (
        sorted(folder_of(lines[name]).rglob("weights.safetensors")) for name in ("stopped", "whole")
    )
    assert ours
    assert [one.read_bytes() for one in ours] == [one.read_bytes() for one in theirs]
    records = [record_of(folder_of(lines[name])) for name in ("stopped", "whole")]
    assert records[0].history == records[1].history
    counts = [[(p.examples, p.tokens) for p in record.phases] for record in records]
    assert counts[0] == counts[1]


SEEING = """
import os, sys
from autolora_bench import cli
from autolora_bench.training.trainer import MeteredTrainer

count = MeteredTrainer.count

def counting(self, inputs):
    with open(os.path.join(os.environ["SEEN"], os.environ["RANK"]), "a") as file:
        for tokens, mask in zip(inputs["input_ids"], inputs["attention_mask"]):
            print(tokens[mask > 0].tolist(), file=file)
    count(self, inputs)

MeteredTrainer.count = counting
sys.exit(cli.run(sys.argv[1:]))
"""


def test_two_processes_that_group_by_length_share_the_examples(without_dropout: Path, tmp_path: Path) -> None:
    """Each sees half of them in every epoch, whatever it has drawn before."""
    (tmp_path / "seeing.py").write_text(SEEING)
    line = [*words("lora", without_dropout, tmp_path / "runs"), "train.group_by_length=true"]
    in_two(line, [*TORCHRUN, str(tmp_path / "seeing.py")], SEEN=str(tmp_path))
    seen = [(tmp_path / str(rank)).read_text().splitlines() for rank in (0, 1)]
    first, second = ([text for half in seen for text in half[start : start + 16]] for start in (0, 16))
    assert len(first) == 32
    assert sorted(first) == sorted(second)
    assert first != second
    assert len(set(first)) > 25, "too many generated texts are alike to tell"


IN_PARTS = """
import json, os, sys
from torch.distributed.tensor import DTensor
from autolora_bench import cli
from autolora_bench.training.checkpoints import CheckpointPolicy

on_step_end = CheckpointPolicy.on_step_end

def watching(self, args, state, control, model=None, **more):
    control = on_step_end(self, args, state, control, model=model, **more)
    if state.global_step == 2:
        weights = list(model.named_parameters())
        here = {
            "frozen": sum(w.numel() for _, w in weights if not w.requires_grad),
            "kept": sum(w.to_local().numel() for _, w in weights if isinstance(w, DTensor)),
            "trained in parts": [name for name, w in weights if w.requires_grad and isinstance(w, DTensor)],
        }
        with open(os.path.join(os.environ["SEEN"], os.environ["RANK"]), "w") as file:
            json.dump(here, file)
        control.should_save = True
    if state.global_step == 3:
        raise KeyboardInterrupt
    return control

CheckpointPolicy.on_step_end = watching
sys.exit(cli.run(sys.argv[1:]))
"""


def test_frozen_weights_in_parts_go_on_from_a_checkpoint(without_dropout: Path, tmp_path: Path) -> None:
    """Each of two processes keeps half of what is frozen; a run that was stopped ends as one that was not, and what it
    exports is a plain LoRA."""
    (tmp_path / "stopping.py").write_text(IN_PARTS)
    lines = {
        name: [*words("lora", without_dropout, tmp_path / name), "train.fsdp=true", "method.dropout=0.1"]
        for name in ("whole", "stopped")
    }
    cut_off(lines["stopped"], tmp_path / "stopping.py", SEEN=str(tmp_path))
    for rank in (0, 1):
        seen = json.loads((tmp_path / str(rank)).read_text())
        assert seen["trained in parts"] == []
        assert 0.45 < seen["kept"] / seen["frozen"] < 0.6
    for line in lines.values():
        in_two(line)
        record_of(folder_of(line))
    ours, theirs = (folder_of(lines[name]) / "finetune" for name in ("stopped", "whole"))
    assert (ours / "weights.safetensors").read_bytes() == (theirs / "weights.safetensors").read_bytes()
    base = AutoModelForSequenceClassification.from_pretrained(without_dropout)
    model = PeftModel.from_pretrained(base, ours / "export").eval()
    trained = load_file(ours / "weights.safetensors")
    loaded = {name: weight for name, weight in model.named_parameters() if name in trained}
    assert loaded.keys() == trained.keys()
    near(loaded, trained)


def selection(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "search/selection.json").read_text())
    return {name: torch.tensor(found[name]) for name in ("beta", "alpha")}


def near(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=1e-5)
