"""The command line's words as arguments: what comes back are records, what is wrong is raised."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import autolora_bench as ab
from autolora_bench import api, cli
from autolora_bench.config.compose import compose_config, composer
from autolora_bench.interruption import Interrupted
from autolora_bench.methods.finetuning import FinetunePhase
from autolora_bench.record import Status, find_records, read_record
from autolora_bench.training.checkpoints import CheckpointPolicy

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture
def small(tiny_encoder: Path) -> dict[str, Any]:
    return {
        "task": "sst2",
        "data": "generated",
        "model": "any",
        "device": "cpu",
        "~recipe": None,
        "~cell": None,
        "model.checkpoint": tiny_encoder,
        "train": {"epochs": 1, "batch_size": 16, "checkpoint_minutes": 1e-9},
        "data.limit": 32,
        "data.limit_evaluation": 16,
    }


def test_a_number_does_not_hang_on_the_default_precision_of_the_caller() -> None:
    """Searches too: their variables would not move in bf16, whose numbers near 1 are 2^-7 apart."""
    words = {
        "task": "planted",
        "model": "small",
        "method": "autolora",
        "train": {"max_steps": 4},
        "task.rows": {"train": 64, "validation": 16, "test": 16},
        "method.search.diagnose_steps": [],
        "device": "cpu",
    }
    single = ab.run(**words, results="single")
    for dtype in (torch.float64, torch.bfloat16):
        torch.set_default_dtype(dtype)
        try:
            other = ab.run(**words, results=str(dtype))
            assert torch.get_default_dtype() is dtype
        finally:
            torch.set_default_dtype(torch.float32)
        assert other.test == single.test
        selections = [
            next(Path(place).rglob("selection.json")).read_text() for place in ("single", str(dtype))
        ]
        assert selections[0] == selections[1]


def test_a_run_gives_its_record_and_is_not_run_again(
    small: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = list(sys.argv)
    record = ab.run(method="lora", seed=np.int64(3), **{"method.rank": 2}, **small)
    assert (record.status, record.seed, record.config["method"]["rank"]) == (Status.completed, 3, 2)
    assert record == read_record(next(find_records(Path("runs"))))
    assert "--multirun" not in record.command
    capsys.readouterr()
    again = ab.run(method="lora", seed=3, **{"method.rank": 2}, **small)
    assert again == record
    assert "0 of 1 runs to do" in capsys.readouterr().err
    assert sys.argv == arguments


@pytest.mark.parametrize("apart", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_command_of_a_record_is_that_run(
    apart: bool, small: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process or one of its own."""
    record = ab.run(**small)
    words = shlex.split(record.command)[1:]
    capsys.readouterr()
    if apart:
        command = [sys.executable, "-m", "autolora_bench", *words]
        answer = subprocess.run(command, capture_output=True, text=True)
        status, said = answer.returncode, answer.stderr
    else:
        status, said = cli.run(words), capsys.readouterr().err
    assert status == 0, said
    assert "0 of 1 runs to do" in said


def test_a_sweep_gives_every_record_in_order(small: dict[str, Any]) -> None:
    records = ab.sweep(method=["lora", "bitfit"], seed=range(2), **small)
    assert [(r.method, r.seed) for r in records] == [("lora", 0), ("lora", 1), ("bitfit", 0), ("bitfit", 1)]
    assert all(record.status is Status.completed for record in records)
    frame = ab.load_results("runs")
    assert {*frame["method"]} == {"lora", "bitfit"}
    targets = ab.sweep(**small, **{"model.targets": [["query"], ["query", "value"]]})
    assert [record.config["model"]["targets"] for record in targets] == [["query"], ["query", "value"]]


def test_one_failed_run_is_raised_and_never_stops_a_sweep(
    small: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = FinetunePhase.run

    def failing(self: FinetunePhase, context: Any) -> Any:
        if context.experiment.seed == 1:
            raise RuntimeError("out of luck")
        return inner(self, context)

    monkeypatch.setattr(FinetunePhase, "run", failing)
    records = ab.sweep(seed=[0, 1, 2], **small)
    assert [record.status for record in records] == [Status.completed, Status.failed, Status.completed]
    with pytest.raises(ab.RunFailedError, match="out of luck") as caught:
        ab.run(seed=1, **small)
    assert "out of luck" in (caught.value.record.error or {})["traceback"]
    assert isinstance(caught.value, ab.UserError)


def test_a_stopped_run_goes_on_with_the_same_call(
    small: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    save = CheckpointPolicy.on_save

    def stopping(self: CheckpointPolicy, *more: Any, **options: Any) -> Any:
        save(self, *more, **options)
        raise Interrupted(2)

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointPolicy, "on_save", stopping)
        with pytest.raises(KeyboardInterrupt):
            ab.run(**small)
    assert read_record(next(find_records(Path("runs")))).status is Status.interrupted
    assert ab.run(**small).status is Status.completed
    ab.run(results="fresh", **small)
    kept, fresh = (next(Path(name).rglob("weights.safetensors")).read_bytes() for name in ("runs", "fresh"))
    assert kept == fresh


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"task": "rtee"}, "did you mean rte"),
        ({"task": ["rte", "cola"]}, "sweep"),
        ({"suite": "demo"}, "sweep"),
        ({"task": "rte", "train": {"epoch": 1}}, "did you mean train.epochs"),
        ({"task": "rte", "train.epochs": 0}, "above 0"),
        ({"task": "rte", "train.epochs": float("nan")}, "finite"),
        ({"task": "rte", "train.epochs": object()}, "cannot be"),
        ({"task": "rte", "data": "local"}, "data.dir"),
        ({"task": "rte", "two\nlines": 1}, "no name of a setting"),
        ({"config_dir": "nowhere"}, "no such folder"),
    ],
)
def test_a_mistake_is_raised_with_how_to_mend_it(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ab.UserError) as caught:
        ab.run(**settings)
    assert said in f"{caught.value.what} {caught.value.mend}"
    assert caught.value.mend
    assert not list(Path("runs").glob("**/run.json"))


@pytest.mark.parametrize(
    "text",
    [
        *("plain", "it's", 'a "b"', "a=b", "a,b", "[x]", "{x: y}", "true", "null", "1.5", "1e3", "007", "-3"),
        *(
            "",
            " a ",
            "back\\slash",
            "end\\",
            "\\'",
            "a b",
            "#",
            "é",
            "a:b",
            "(x)",
            "~x",
            "%",
            "./x/*.csv",
            ".5",
            "a $",
        ),
    ],
)
@pytest.mark.sample(one_in=3)
def test_text_stands_for_itself(text: str) -> None:
    with composer():
        config = compose_config([*api._words({"model": {"note": text}, "model.hub": None})])
    assert config.model.note == text


def test_numbers_of_other_libraries_are_numbers() -> None:
    assert api._words({"train.epochs": np.float64(0.5), "seed": np.int64(3)}) == [
        "train.epochs=0.5",
        "seed=3",
    ]
    with pytest.raises(ab.UserError, match="ndarray"):
        api._words({"train.epochs": np.array([0.5])})


@pytest.mark.parametrize("value", [True, False, None, 3, -2, 0.1, 1e-7, 1e22])
def test_values_keep_their_type(value: Any) -> None:
    with composer():
        found = compose_config(api._words({"task": "planted", "task.truth": value})).task.truth
    assert (found, type(found)) == (value, type(value))


def test_importing_the_package_imports_no_library() -> None:
    code = "import sys, json; before = set(sys.modules); import autolora_bench as ab; dir(ab); "
    code += "print(json.dumps(sorted({name.split('.')[0] for name in set(sys.modules) - before})))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "hydra", "omegaconf", "pandas", "numpy", "datasets"} & {*json.loads(answer.stdout)}
    assert {"run", "sweep", "load_metric", "load_results"} <= {*dir(ab)}
    assert callable(ab.sweep)
