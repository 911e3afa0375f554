"""What a user can get wrong, and the line that says so: never a traceback, never a file's content executed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from autolora_bench import cli

GENERATED = (
    "task=sst2",
    "data=generated",
    "results={t}/runs",
    "train.max_steps=1",
    "data.limit=8",
    "data.limit_evaluation=4",
)
Prepare = Callable[[Path, Path], object]


@dataclass(frozen=True)
class Case:
    """One mistake. In its words {t} is an empty folder, {m} that of a tiny model."""

    words: tuple[str, ...]
    expected: str
    status: int = 2
    prepare: Prepare = field(default=lambda folder, model: None)
    starts: bool = False
    """Whether the mistake shows only once the run has begun: then the run's own lines stand around the message."""
    environment: dict[str, str] = field(default_factory=dict)


def bad(*words: str, expected: str, base: tuple[str, ...] = GENERATED, **more: object) -> Case:
    return Case((*base, *words), expected, **more)  # type: ignore[arg-type]


CASES = {
    # words
    "unknown task": bad("task=sst3", expected="task=sst3 is not known"),
    "unknown method": bad("method=lorra", expected="did you mean lora"),
    "unknown model": bad("model=bert", expected="model=bert is not known"),
    "unknown data": bad("data=web", expected="data=web is not known"),
    "unknown suite": bad("suite=table9", expected="suite=table9 is not known"),
    "unknown setting": bad("trian.epochs=3", expected="did you mean train.epochs"),
    "unknown setting deep": bad(
        "method.search.ruel=budget", "method=autolora", expected="there is no setting"
    ),
    "unknown option": bad("--verbose", expected="unknown option --verbose"),
    "unknown command": Case(("raport",), "did you mean report"),
    "bare word": bad("lora", expected="'lora' is no setting"),
    "several values": bad("seed=0,1", expected="add -m"),
    "unclosed bracket": bad("task.metrics=[accuracy", expected="configuration:"),
    "empty list of metrics": bad("task.metrics=[]", expected="task.metrics"),
    "unknown metric": bad("task.metrics=[accuracyy]", expected="accuracyy"),
    "empty value": bad("seed=", expected="seed"),
    "no config folder": Case(("--config-dir", "{t}/none", *GENERATED), "no such folder"),
    "group deleted": bad("~method", expected="method"),
    # values
    "epochs are text": bad("train.epochs=many", expected="could not be converted to Float"),
    "no epochs": bad("train.epochs=0", expected="train.epochs=0"),
    "epochs no number": bad("train.epochs=nan", expected="train.epochs=nan"),
    "epochs without end": bad("train.epochs=inf", expected="train.epochs=inf"),
    "no steps": bad("train.max_steps=0", expected="train.max_steps=0"),
    "no batch": bad("train.batch_size=0", expected="train.batch_size=0"),
    "accumulation does not divide": bad("train.accumulation=3", expected="does not divide"),
    "no accumulation": bad("train.accumulation=0", expected="train.accumulation=0"),
    "no evaluation batch": bad("train.evaluation_batch_size=0", expected="train.evaluation_batch_size"),
    "negative clip": bad("train.clip=-1", expected="train.clip=-1"),
    "negative decay": bad("train.weight_decay=-1", expected="train.weight_decay=-1"),
    "label smoothing": bad("train.label_smoothing=1.5", expected="train.label_smoothing=1.5"),
    "warm-up": bad("train.warmup=2", expected="train.warmup=2"),
    "no log steps": bad("train.log_steps=0", expected="train.log_steps=0"),
    "no checkpoint minutes": bad("train.checkpoint_minutes=-1", expected="train.checkpoint_minutes=-1"),
    "no threads": bad("train.threads=0", expected="train.threads=0"),
    "unknown tracker": bad("train.trackers=[abacus]", expected="abacus"),
    "unknown schedule": bad("train.schedule=sawtooth", expected="sawtooth"),
    "unknown precision": bad("train.precision=fp8", expected="fp8"),
    "negative seed": bad("seed=-1", expected="seed=-1"),
    "seed too large": bad("seed=99999999999", expected="seed=99999999999"),
    "no learning rate": bad("method.learning_rate=0", expected="method.learning_rate"),
    "dropout": bad("method.dropout=1.5", expected="method.dropout=1.5"),
    "rank": bad("method.rank=0", expected="method.rank=0"),
    "rule without budget": bad("method=autolora", "method.search.rule=budget", expected="rule=budget"),
    "limit": bad("data.limit=0", expected="data.limit=0"),
    "generated for no task": bad("task.generated=null", expected="data=generated"),
    "local without folder": bad("data=local", expected="data.dir"),
    "max length": bad("task.max_length=0", expected="task.max_length=0"),
}


@pytest.mark.parametrize("name", CASES)
def test_one_line_says_what_is_wrong_and_one_how_to_mend_it(
    name: str,
    tiny_encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    case = CASES[name]
    places = {"{t}": str(tmp_path), "{m}": str(tiny_encoder)}

    def placed(word: str) -> str:
        for mark, path in places.items():
            word = word.replace(mark, path)
        return word

    monkeypatch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path / "cache"))
    for variable, value in case.environment.items():
        monkeypatch.setenv(variable, placed(value))
    monkeypatch.chdir(tmp_path)
    case.prepare(tmp_path, tiny_encoder)
    assert cli.run([placed(word) for word in case.words]) == case.status
    said = capsys.readouterr().err
    assert placed(case.expected) in said
    assert "Traceback" not in said
    assert "should not happen" not in said
    assert len(said.strip().splitlines()) <= (6 if case.starts else 4 if "record" in name else 2), said
    assert not (tmp_path / "EXECUTED").exists()
    assert not (tmp_path.parent / "x").exists()
