"""What train.cpu_kernels=auto and train.padding_free=auto come to, and that a run keeps to it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from autolora_bench import cli, devices
from autolora_bench.config import registry
from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.experiment import ExperimentConfig, run_folder
from autolora_bench.record import RunRecord, Status, read_record
from autolora_bench.speedups import packed
from autolora_bench.speedups.auto import BYTES, COPIES, PART, WHY, decide_ways
from autolora_bench.speedups.layout import Layout
from autolora_bench.training.checkpoints import CheckpointPolicy

CPU = torch.device("cpu")
PLENTY = 2**60
BOTH = {"cpu_kernels": True, "padding_free": True}
NEITHER = {"cpu_kernels": False, "padding_free": False}
RUN = [
    "task=sst2",
    "model=any",
    "data=generated",
    "data.limit=24",
    "data.limit_evaluation=16",
    "train.epochs=2",
    "train.batch_size=8",
    "~recipe",
    "~cell",
    "device=cpu",
]


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets how much is free; at first plenty, whatever this machine has."""
    free = [float(PLENTY)]
    monkeypatch.setattr(devices, "free_memory", lambda: free[0])
    return lambda size: free.__setitem__(0, size)


@pytest.fixture
def cell(tiny_encoder: Path) -> Callable[..., ExperimentConfig]:
    def made(*words: str) -> ExperimentConfig:
        with composer():
            return to_experiment(
                compose_config([*RUN, "method=lora", f"model.checkpoint={tiny_encoder}", *words])
            )

    return made


def test_both_are_taken_where_they_are_proved(cell: Callable[..., ExperimentConfig]) -> None:
    assert decide_ways(cell(), CPU) == BOTH


@pytest.mark.parametrize(
    "words", [["train=reference"], ["train.cpu_kernels=false", "train.padding_free=false"]]
)
def test_reference_takes_neither(cell: Callable[..., ExperimentConfig], words: list[str]) -> None:
    assert decide_ways(cell(*words), CPU) == NEITHER


def test_copies_take_a_quarter_of_the_free_memory_at_most(
    cell: Callable[..., ExperimentConfig], tiny_encoder: Path, memory: Callable[[float], None]
) -> None:
    weights = sum(tensor.numel() for tensor in load_file(tiny_encoder / "model.safetensors").values())
    least = COPIES * BYTES * weights / PART
    memory(least)
    assert decide_ways(cell(), CPU) == BOTH
    memory(least - 4)
    found = decide_ways(cell(), CPU)
    assert (found["cpu_kernels"], found["padding_free"]) == (False, True)
    assert "more than a quarter" in found[WHY]["cpu_kernels"]
    assert decide_ways(cell("train.cpu_kernels=true"), CPU)["cpu_kernels"]


def test_what_was_noted_stays_whatever_memory_is_free_by_then(
    cell: Callable[..., ExperimentConfig], memory: Callable[[float], None]
) -> None:
    memory(1)
    assert decide_ways(cell(), CPU, BOTH) == BOTH
    noted = decide_ways(cell(), CPU)
    memory(PLENTY)
    assert decide_ways(cell(), CPU, noted) == noted
    assert decide_ways(cell(), CPU, "nonsense") == BOTH


def test_a_setting_goes_before_what_was_noted(cell: Callable[..., ExperimentConfig]) -> None:
    assert decide_ways(cell("train.padding_free=false"), CPU, BOTH) == BOTH | {"padding_free": False}


def test_an_accelerator_takes_neither(cell: Callable[..., ExperimentConfig]) -> None:
    found = decide_ways(cell("device=cuda"), torch.device("cuda"))
    assert {way: found[way] for way in NEITHER} == NEITHER
    assert decide_ways(cell("device=cuda"), torch.device("cuda"), BOTH)["cpu_kernels"] is False


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["method=prefix_tuning"], "prefix_tuning"),
        (["method=peft", "method.type=LILY", "+method.settings={r: 2}"], "LILY"),
        (["model.attention=eager"], "model.attention=eager"),
    ],
)
def test_padding_is_computed_where_that_is_not_proved_to_be_superfluous(
    cell: Callable[..., ExperimentConfig], words: list[str], why: str
) -> None:
    found = decide_ways(cell(*words), CPU)
    assert (found["cpu_kernels"], found["padding_free"]) == (True, False)
    assert why in found[WHY]["padding_free"]


@pytest.mark.parametrize(
    ("entry", "why"), [({"model_type": "albert"}, "albert"), ({"layerdrop": 0.1}, "layerdrop=0.1")]
)
def test_the_weights_own_files_say_what_model_it_is(
    cell: Callable[..., ExperimentConfig], tiny_encoder: Path, tmp_path: Path, entry: dict[str, Any], why: str
) -> None:
    for path in tiny_encoder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    said = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(said | entry))
    found = decide_ways(cell(f"model.checkpoint={tmp_path}"), CPU)
    assert not found["padding_free"]
    assert why in found[WHY]["padding_free"]


def test_a_method_of_the_users_own_is_computed_as_it_was_written(
    cell: Callable[..., ExperimentConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = cell()
    monkeypatch.setitem(registry.kind_of(experiment.method).digests, "mine.py", "0" * 64)
    found = decide_ways(experiment, CPU)
    assert {way: found[way] for way in NEITHER} == NEITHER


def test_random_networks_are_small_and_have_no_padding(memory: Callable[[float], None]) -> None:
    with composer():
        planted = to_experiment(
            compose_config(["task=planted", "data=planted", "model=small", "method=lora"])
        )
    found = decide_ways(planted, CPU)
    assert (found["cpu_kernels"], found["padding_free"]) == (True, False)


def test_free_memory_is_the_control_groups_where_that_is_less(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.undo()
    (tmp_path / "limit").write_text("4096\n")
    (tmp_path / "used").write_text("1096\n")
    (tmp_path / "max").write_text("max\n")
    groups = [
        (str(tmp_path / "max"), str(tmp_path / "used")),
        (str(tmp_path / "none"), str(tmp_path / "none")),
    ]
    monkeypatch.setattr(devices, "CONTROL_GROUPS", groups)
    assert devices.free_memory() > 4096
    monkeypatch.setattr(
        devices, "CONTROL_GROUPS", [*groups, (str(tmp_path / "limit"), str(tmp_path / "used"))]
    )
    assert devices.free_memory() == 3000


def line(tiny_encoder: Path, results: Path, *more: str) -> list[str]:
    search = ["method.search.batch_size=8", "method.search.diagnose_steps=[1]"]
    return [*RUN, "method=autolora", *search, f"model.checkpoint={tiny_encoder}", f"results={results}", *more]


def record_of(words: list[str]) -> tuple[RunRecord, Path]:
    with composer():
        folder = run_folder(to_experiment(compose_config(words)))
    return read_record(folder / "run.json"), folder


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The ways in which something was computed."""
    found: set[str] = set()
    pad, product = Layout.pad, packed._product

    def padded(self: Layout, states: torch.Tensor) -> torch.Tensor:
        found.add("padding_free")
        return pad(self, states)

    def multiplied(*arguments: Any) -> torch.Tensor:
        found.add("cpu_kernels")
        return product(*arguments)

    monkeypatch.setattr(packed, "SMALLEST", 1)
    monkeypatch.setattr(Layout, "pad", padded)
    monkeypatch.setattr(packed, "_product", multiplied)
    return found


def test_a_run_computes_as_auto_decides_and_its_record_says_so(
    tiny_encoder: Path, tmp_path: Path, used: set[str], memory: Callable[[float], None]
) -> None:
    lora = [*RUN, "method=lora", f"model.checkpoint={tiny_encoder}", f"results={tmp_path}"]
    plain = [*lora, "train=reference"]
    assert cli.run(plain) == 0
    assert not used
    assert record_of(plain)[0].provenance["ways"] == NEITHER
    words = lora
    assert cli.run(words) == 0
    assert used == set(BOTH)
    assert record_of(words)[0].provenance["ways"] == BOTH
    memory(1)
    used.clear()
    assert cli.run([*words, "rerun=all"]) == 0
    assert used == {"padding_free"}
    found, _ = record_of(words)
    assert found.provenance["ways"].items() >= {"cpu_kernels": False, "padding_free": True}.items()
    assert found.config["train"]["cpu_kernels"] == "auto"


@pytest.mark.parametrize("phase", ["search", "retrain"])
@pytest.mark.sample(one_in=2)
def test_a_resumed_run_keeps_to_it_bit_for_bit_however_much_memory_is_left(
    phase: str,
    tiny_encoder: Path,
    tmp_path: Path,
    used: set[str],
    memory: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, cut = (line(tiny_encoder, tmp_path / name, "train.checkpoint_minutes=1e-9") for name in "ab")
    assert cli.run(whole) == 0
    begin, armed = CheckpointPolicy.on_step_begin, [True]

    def once(self: CheckpointPolicy, args: Any, state: Any, control: Any, **more: Any) -> Any:
        if armed and state.global_step == 2 and f"/{phase}/" in args.output_dir:
            armed.clear()
            raise KeyboardInterrupt
        return begin(self, args, state, control, **more)

    monkeypatch.setattr(CheckpointPolicy, "on_step_begin", once)
    assert cli.run(cut) == 130
    assert record_of(cut)[0].status is Status.interrupted
    memory(1)
    used.clear()
    assert cli.run(cut) == 0
    assert used == set(BOTH)
    (expected, theirs), (found, ours) = record_of(whole), record_of(cut)
    assert found.provenance["ways"] == BOTH
    assert found.history == expected.history
    weights = load_file(ours / "retrain" / "weights.safetensors")
    for name, weight in load_file(theirs / "retrain" / "weights.safetensors").items():
        assert torch.equal(weights[name], weight), name
