"""Every number among the settings has a range, every list a say in what may stand in it, and both are refused alike."""

import dataclasses
import math
import subprocess
import sys
import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import annotated_types as at
import pytest

from autolora_bench import cli
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.ranges import Distinct, check_ranges
from autolora_bench.config.registry import methods
from autolora_bench.config.task import TASKS
from autolora_bench.config.train import TrainConfig
from autolora_bench.errors import UserError

KINDS = [*(kind.config for kind in methods().values()), *TASKS.values(), ExperimentConfig]
GENERATED = ("data=generated", "data.limit=16", "data.limit_evaluation=4", "train.epochs=1")


def settings(kind: type) -> Iterator[tuple[str, Any]]:
    """Dotted name and type of every setting of a configuration class, those of its own nodes included."""
    for name, hint in get_type_hints(kind, include_extras=True).items():
        for inner in get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,):
            if dataclasses.is_dataclass(inner):
                yield from ((f"{name}.{more}", one) for more, one in settings(inner))  # type: ignore[arg-type]
            elif inner is not types.NoneType:
                yield name, inner


def numbers(hint: Any) -> Iterator[Any]:
    """The numbers that a setting holds, as they are stated."""
    base = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if base in (int, float):
        yield hint
    for inner in get_args(base):
        yield from numbers(inner)


def bounds(hint: Any) -> list[Any]:
    return [one for stated in hint.__metadata__ for one in stated]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_number_has_two_bounds_that_its_default_keeps(kind: type) -> None:
    for name, hint in settings(kind):
        for number in numbers(hint):
            assert get_origin(number) is Annotated, f"{kind.__name__}.{name} has no range"
            stated = bounds(number)
            assert any(isinstance(one, at.Ge | at.Gt) for one in stated), name
            assert any(isinstance(one, at.Le | at.Lt) for one in stated), name


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("value", [10**40, -(10**40), math.nan, math.inf])
def test_no_number_is_beyond_its_bounds(kind: Any, value: float) -> None:
    for field in dataclasses.fields(kind):
        hint = get_type_hints(kind, include_extras=True)[field.name]
        if len(list(numbers(hint))) == 1 and get_origin(hint) is Annotated:
            node = kind()
            check_ranges(node)
            setattr(node, field.name, value)
            with pytest.raises(UserError) as error:
                check_ranges(node)
            assert error.value.what.startswith(f"{field.name}={value}")
            assert error.value.mend.startswith("say ")


@dataclasses.dataclass
class Inner:
    share: Annotated[float, at.Interval(ge=0, lt=1)] = 0.0


@dataclasses.dataclass
class Node:
    count: Annotated[int, at.Interval(ge=1, le=9000)] | None = None
    pair: Annotated[list[Annotated[float, at.Interval(gt=0, lt=1)]], at.MinLen(2), at.MaxLen(2)] = (
        dataclasses.field(default_factory=lambda: [0.5, 0.5])
    )
    named: dict[str, Annotated[int, at.Interval(ge=0, le=5)]] = dataclasses.field(default_factory=dict)
    words: Annotated[list[str], at.MinLen(1), Distinct()] = dataclasses.field(default_factory=lambda: ["a"])
    inner: Inner = dataclasses.field(default_factory=Inner)
    top: Annotated[float, at.Interval(ge=0, le=math.inf)] = 0.0


@pytest.mark.parametrize(
    ("values", "what", "mend"),
    [
        ({"count": 0}, "node.count=0", "say 1 or more, at most 9,000"),
        ({"count": 9001}, "node.count=9001", "say 1 or more, at most 9,000"),
        ({"pair": [0.5]}, "node.pair=[0.5] is too short", "name 2 or more"),
        ({"pair": [0.5] * 3}, "node.pair=[0.5, 0.5, 0.5] is too long", "name 2"),
        ({"pair": [0.5, 1.0]}, "node.pair[1]=1.0", "say a number above 0, below 1"),
        ({"named": {"x": 6}}, "node.named.x=6", "say 0 or more, at most 5"),
        ({"words": []}, "node.words is empty", "name 1 or more"),
        ({"words": ["a", "b", "a"]}, "node.words=['a', 'b', 'a'] names a twice", "name it once"),
        ({"words": ["a\0"]}, "node.words[0] holds a null byte", "say it without"),
        ({"inner": Inner(1.0)}, "node.inner.share=1.0", "say 0 or more, below 1"),
        ({"top": math.inf}, "node.top=inf is no finite number", "say a finite one"),
        ({"inner": Inner(math.nan)}, "node.inner.share=nan is no finite number", "say a finite one"),
    ],
)
def test_what_is_said(values: dict[str, Any], what: str, mend: str) -> None:
    check_ranges(Node(), "node")
    with pytest.raises(UserError) as error:
        check_ranges(dataclasses.replace(Node(), **values), "node")
    assert (error.value.what, error.value.mend) == (what, mend)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["train.threads=100000000"], "train.threads=100000000"),
        (["train.batch_size=99999999999999999999"], "train.batch_size=9"),
        (["train.epochs=1e300"], "train.epochs=1e+300"),
        (["method=autolora_sigmoid", "method.search.interval=1000"], "method.search.interval=1000"),
        (["method=autolora", "+method.search.max_steps=3", "method.search.interval=4"], "search of 3 steps"),
        (["task=mnli", "task.labels=[entailment,neutral,entailment]"], "names entailment twice"),
        (["task.labels=[one]"], "task.labels=['one'] is too short"),
        (["task.evaluation=[train]"], "'train' is no split"),
        (["task.evaluation=[../../validation]"], "'../../validation' is no split"),
        (["task.evaluation=[validation_two]"], "says nothing of a split validation_two with data=generated"),
        (["task.test=[validation,validation]"], "names validation twice"),
        (["task.metrics=[accuracy,accuracy]"], "names accuracy twice"),
        (["task.texts=[]"], "task.texts is empty"),
        (["task=bionlp", "task.entities=[DNA,DNA]"], "names DNA twice"),
        (["task=stsb", "task.minimum=5"], "task.minimum=5 with task.maximum=5"),
        (["model.targets=[]"], "model.targets is empty"),
        (["model.targets=[query,query]"], "names query twice"),
        (["train.trackers=[wandb,wandb]"], "names wandb twice"),
        (["results="], "results is empty"),
        (["device=tpu"], "device=tpu"),
        (["task.generated.rows.train=99999999999"], "task.generated.rows.train=99999999999"),
    ],
)
@pytest.mark.sample(one_in=4)
def test_check_and_a_run_refuse_it_alike(
    words: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    for command in (["check"], []):
        assert cli.run([*command, "task=rte", "method=lora", *GENERATED, *words]) == 2
        said.append(capsys.readouterr().err)
    assert said[0] == said[1]
    assert named in said[0]
    assert len(said[0].splitlines()) == 2


@pytest.mark.slow
def test_the_refusal_comes_before_torch_is_imported() -> None:
    words = ["task=rte", *GENERATED, "train.threads=100000000"]
    program = f"import sys; from autolora_bench import cli; print(cli.run({words}), 'torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["2", "False"]


def test_the_checked_classes_are_all_there_are() -> None:
    assert TrainConfig in {type(value) for value in vars(ExperimentConfig()).values()}
