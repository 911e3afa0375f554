"""Methods and metrics in a folder of the user's own, as CONTRIBUTING.md shows them, go through all that ours do."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from peft import PeftModel
from transformers import AutoModelForSequenceClassification

from autolora_bench import cli, load_metric
from autolora_bench.config.method import LoraConfig
from autolora_bench.config.registry import check_settings, methods
from autolora_bench.errors import UserError
from autolora_bench.metrics.registry import METRICS
from autolora_bench.record import RunRecord, Status, find_records, read_record
from autolora_bench.user_code import read_own

CONTRIBUTING = Path(__file__).resolve().parent.parent / "CONTRIBUTING.md"
BLOCK = re.compile(r" *```\w+\n *# mine/(\S+)\n(.*?)\n *```", re.DOTALL)
SMALL = [
    *("task=sst2", "model=any", "data=generated", "data.limit=32", "data.limit_evaluation=16", "device=cpu"),
    *("train.epochs=2", "train.batch_size=8", "~recipe", "~cell"),
]
Words = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def _nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path / "cache"))
    yield
    read_own(None)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The folder that CONTRIBUTING.md shows, file by file."""
    for name, text in BLOCK.findall(CONTRIBUTING.read_text(encoding="utf-8")):
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text) + "\n", encoding="utf-8")
    return tmp_path / "mine"


@pytest.fixture
def words(mine: Path, tiny_encoder: Path) -> Words:
    def line(results: Path, *more: str) -> list[str]:
        own = ["--config-dir", str(mine), *SMALL, "method=top_lora"]
        return [*own, f"model.checkpoint={tiny_encoder}", f"results={results}", *more]

    return line


def records(results: Path) -> list[RunRecord]:
    return [read_record(path) for path in find_records(results)]


def test_it_is_listed_and_checked(
    mine: Path, words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["ls", "methods", "--config-dir", str(mine)]) == 0
    assert (
        "top_lora                LoRA in the last block only.\n"
        f"  {'':24}works on: classification, regression\n" in capsys.readouterr().out
    )
    for _ in range(2):  # the second time from the plan cache
        assert cli.run(["check", "-m", *words(tmp_path / "runs", "seed=0,1")]) == 0
        assert "2 runs, 0 problems" in capsys.readouterr().out
    assert cli.run(["check", *words(tmp_path / "runs", "task=e2e")]) == 2
    assert "does not work on generation (task=e2e): nobody has tried it" in capsys.readouterr().err
    assert cli.run(["check", *words(tmp_path / "runs", "method.blocks=0")]) == 2
    assert "method.blocks=0" in capsys.readouterr().err
    assert cli.run(["check", *words(tmp_path / "runs", "method.code=0123")]) == 2
    assert "method.code=0123 is filled in by the program" in capsys.readouterr().err
    assert cli.run(["ls", "methods"]) == 0
    assert "top_lora" not in capsys.readouterr().out
    assert "top_lora" not in methods()


@pytest.mark.slow
def test_listing_it_needs_no_torch(mine: Path) -> None:
    code = (
        "import sys; from autolora_bench import cli;"
        f"cli.run(['ls', 'methods', '--config-dir', {str(mine)!r}]);"
        "print([name for name in ('torch', 'transformers', 'peft') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "top_lora" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_it_runs_is_cut_off_goes_on_and_is_reported_where_nobody_has_it(
    words: Words,
    mine: Path,
    tiny_encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    signalled: Callable[..., None],
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert cli.run(words(whole)) == 0
    signalled(monkeypatch, 3)
    assert cli.run(words(cut)) == 143
    assert [record.status for record in records(cut)] == [Status.interrupted]
    assert cli.run(words(cut)) == 0
    ((one,), (two,)) = records(whole), records(cut)
    assert one.status is two.status is Status.completed
    assert (one.config_id, one.history, one.ranks) == (two.config_id, two.history, two.ranks)
    assert [(layer.block, layer.rank) for layer in one.ranks] == [(0, 0), (0, 0), (1, 4), (1, 4)]
    weights = [next(folder.rglob("weights.safetensors")).read_bytes() for folder in (whole, cut)]
    assert weights[0] == weights[1]

    assert one.config["method"]["code"]
    files = {f"methods/{path.name}" for path in (mine / "methods").glob("_*.py")} | {"methods/top_lora.py"}
    said = one.provenance["method"]
    assert (said["title"], said["family"], set(said["files"])) == ("LoRA, top blocks", "lora", files)

    export = next(whole.rglob("adapter_config.json")).parent
    plain = AutoModelForSequenceClassification.from_pretrained(tiny_encoder, num_labels=2)
    adapted = PeftModel.from_pretrained(plain, export)
    assert sum("lora_A" in name for name, _ in adapted.named_parameters()) == 2

    capsys.readouterr()
    assert cli.run(["records", f"results={whole}", f"to={tmp_path / 'small'}"]) == 0
    shutil.rmtree(mine)
    assert cli.run(["report", f"records={tmp_path / 'small'}"]) == 0
    assert "| LoRA, top blocks |" in capsys.readouterr().out
    (small,) = records(tmp_path / "small")
    assert "--config-dir DIR" in small.command


def test_beside_ours_it_stands_in_its_familys_place(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [
        word for word in words(tmp_path, "method=autolora,top_lora,lora,full") if word != "method=top_lora"
    ]
    assert cli.run(["report", "-m", *line]) == 0
    rows = [row.split(" |")[0] for row in capsys.readouterr().out.splitlines() if row.startswith("| ")]
    shown = [
        row for row in rows if row in ("| Full fine-tuning", "| LoRA", "| LoRA, top blocks", "| AutoLoRA")
    ]
    assert shown[-3:] == ["| LoRA", "| LoRA, top blocks", "| AutoLoRA"]


def test_another_version_of_it_is_another_run(
    words: Words, mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = set()
    for number in range(3):
        assert cli.run(["check", *words(tmp_path / "runs")]) == 0
        folders.add(re.search(r"top_lora-(\w{8})", capsys.readouterr().out)[1])  # type: ignore[index]
        changed = mine / "methods" / ("top_lora.py", "_top_lora.py")[number % 2]
        changed.write_text(changed.read_text() + "# " + "x" * (number + 1) + "\n")
    assert len(folders) == 3


def test_a_file_that_it_imports_is_part_of_it_and_others_are_not(
    words: Words, mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = mine / "methods"
    (place / "lib").mkdir()
    other = (place / "top_lora.py").read_text().replace('"top_lora"', '"other_lora"')
    (place / "lib" / "__init__.py").write_text("from ..zzz import A\n")
    (place / "top_lora.py").write_text((place / "top_lora.py").read_text() + "\nfrom .lib import A\n")
    (place / "zzz.py").write_text(other + "\nA = 1\n")

    def folder() -> str:
        assert cli.run(["check", *words(tmp_path / "runs")]) == 0
        return str(re.search(r"top_lora-(\w{8})", capsys.readouterr().out)[1])  # type: ignore[index]

    first = folder()
    (place / "zzz.py").write_text(other + "\nA = 2\n")
    second = folder()
    (place / "lib" / "__init__.py").write_text("from ..zzz import A\nB = 1\n")
    third = folder()
    (place / "apart.py").write_text(other.replace("other_lora", "apart_lora"))
    assert len({first, second, third}) == 3
    assert folder() == third


def test_what_the_file_that_runs_it_imports_is_part_of_it(mine: Path) -> None:
    """However deep it lies; the digests of a method without such files are those that it always had."""
    place = mine / "methods"

    def files(name: str = "top_lora") -> dict[str, str]:
        read_own(mine)
        return methods()[name].digests

    plain = {f"methods/{path.name}" for path in place.glob("_*.py")} | {"methods/top_lora.py"}
    assert files() == {name: hashlib.sha256((mine / name).read_bytes()).hexdigest() for name in plain}
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(files().items()))
    assert methods()["top_lora"].code == hashlib.sha256(lines.encode()).hexdigest()[:8]

    (place / "_lib" / "inner").mkdir(parents=True)
    (place / "_lib" / "__init__.py").write_text("")
    (place / "_lib" / "deep.py").write_text("from .inner import leaf\nSHIFT = 1\n")
    (place / "_lib" / "inner" / "leaf.py").write_text("A = 1\n")
    (place / "_lib" / "unused.py").write_text("A = 1\n")
    runs = place / "_top_lora.py"
    runs.write_text(f"from ._lib.deep import SHIFT\nfrom .top_lora import TopLoraConfig\n{runs.read_text()}")
    more = {f"methods/_lib/{name}" for name in ("__init__.py", "deep.py", "inner/leaf.py")}
    assert set(files()) == plain | more
    others = {path.name for path in place.glob("*.py") if not path.name.startswith("_")} - {"top_lora.py"}
    for name in others:
        found = files(name.removesuffix(".py"))
        assert "methods/top_lora.py" not in found, "it is what another method states"
        assert more <= set(found), "an underscore file is everybody's, with what it imports"
    codes = []
    for name in ("deep.py", "inner/leaf.py"):
        (place / "_lib" / name).write_text((place / "_lib" / name).read_text() + "B = 2\n")
        codes.append((files(), methods()["top_lora"].code)[1])
    assert len({*codes, methods()["top_lora"].code}) == 2


def test_a_method_may_be_run_by_a_file_in_a_folder(mine: Path) -> None:
    place = mine / "methods"
    (place / "_lib").mkdir()
    (place / "_lib" / "run.py").write_text("from .deep import A\n" + (place / "_top_lora.py").read_text())
    (place / "_lib" / "deep.py").write_text("A = 1\n")
    stated = (place / "top_lora.py").read_text()
    (place / "top_lora.py").write_text(stated.replace("._top_lora:", "._lib.run:"))
    read_own(mine)
    assert {"methods/_lib/run.py", "methods/_lib/deep.py"} <= set(methods()["top_lora"].digests)


def test_status_says_which_files_made_finished_runs_missing(
    words: Words, mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = words(tmp_path / "runs", "train.max_steps=1")
    assert cli.run(line) == 0
    capsys.readouterr()
    assert cli.run(["status", *line]) == 0
    assert "note:" not in capsys.readouterr().out
    (mine / "methods" / "_x.py").write_text("X = 1\n")
    assert cli.run(["status", *line]) == 0
    assert (
        "1 runs: 1 missing\nnote: 1 of the missing ones are completed with other versions of your own files "
        "(methods/_x.py)"
    ) in capsys.readouterr().out
    assert cli.run(["status", *line, "method.blocks=2"]) == 0
    assert "note:" not in capsys.readouterr().out


def test_what_a_helper_states_for_a_file_is_the_files(mine: Path) -> None:
    place = mine / "metrics"
    (place / "_helper.py").write_text("def score(predictions, references):\n    return 0.5\n")
    text = "from autolora_bench.metrics.registry import metric\nfrom . import _helper\n"
    (place / "made.py").write_text(text + "metric('made', tasks=['classification'])(_helper.score)\n")
    read_own(mine)
    assert {"made", "worst_class"} <= METRICS.keys()
    assert "top_lora" in methods()


def test_it_refuses_what_makes_no_sense_together(
    words: Words, mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = mine / "methods" / "top_lora.py"
    check = (
        "    def check(self):\n        from autolora_bench.errors import require\n"
        "        require(self.rank * self.blocks < 9, 'too many weights', 'say less')\n"
    )
    path.write_text(path.read_text() + check)
    assert cli.run(["check", *words(tmp_path, "method.blocks=2")]) == 0
    assert cli.run(["check", *words(tmp_path, "method.blocks=3")]) == 2
    assert capsys.readouterr().err.splitlines() == ["autolora-bench: too many weights", "say less"]


def test_a_check_that_fails_is_told_as_the_files_fault(
    words: Words, mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = mine / "methods" / "top_lora.py"
    path.write_text(path.read_text() + "    def check(self):\n        raise ValueError('blocks')\n")
    for line in (["check", *words(tmp_path)], words(tmp_path)):
        assert cli.run(line) == 2
        what, mend = capsys.readouterr().err.splitlines()
        assert what == f"autolora-bench: {path}: the check of method=top_lora failed: ValueError: blocks"
        assert "raise UserError(" in mend


def test_a_fault_of_the_projects_own_check_is_nobodys_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LoraConfig, "check", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        check_settings(LoraConfig(name="lora"))


RUN_BY = {
    "class TopLora:\n    pass\n": "",
    "from ._other import TopLora\n": "",
    "import _other as TopLora\n": "",
    "TopLora = make()\n": "",
    "TopLora: type = make()\n": "",
    "if True:\n    def TopLora(config): ...\n": "",
    "try:\n    import fast\nexcept ImportError:\n    TopLora = None\n": "",
    "from ._other import *\n": "",
    "def __getattr__(name): ...\n": "",
    "globals()['Top' + 'Lora'] = 1\n": "",
    "def load():\n    global TopLora\n    TopLora = 1\nload()\n": "",
    "import sys\nclass Top:\n    setattr(sys.modules[__name__], 'Top' + 'Lora', 1)\n": "",
    "class TopLra:\n    TopLora = 1\n": "is run by autolora_bench.user_code._top_lora:TopLora, which is not there",
    "def make():\n    TopLora = 1\n": "is run by autolora_bench.user_code._top_lora:TopLora, which is not there",
    "x = 1\ndef broken(:\n": "_top_lora.py, line 2: invalid syntax",
    "from ._broken import TopLora\n": "_broken.py, line 1: ",
}


@pytest.mark.parametrize("text", RUN_BY)
def test_what_runs_a_method_is_looked_for_without_running_it(text: str, mine: Path) -> None:
    (mine / "methods" / "_top_lora.py").write_text(text)
    (mine / "methods" / "_other.py").write_text("raise SystemExit('nobody imports it here')\n")
    (mine / "methods" / "_broken.py").write_text("class\n")
    said = RUN_BY[text]
    with pytest.raises(UserError, match=re.escape(said)) if said else nullcontext():
        read_own(mine)


def test_a_package_whose_own_import_is_not_there_is_told_by_it(mine: Path) -> None:
    (mine / "methods" / "_top_lora").mkdir()
    (mine / "methods" / "_top_lora" / "__init__.py").write_text("import not_there_at_all\n")
    (mine / "methods" / "_top_lora" / "inner.py").write_text("class TopLora: ...\n")
    stated = mine / "methods" / "top_lora.py"
    stated.write_text(stated.read_text().replace("._top_lora:", "._top_lora.inner:"))
    with pytest.raises(UserError, match=r"cannot be imported: .*not_there_at_all"):
        read_own(mine)
    stated.write_text(stated.read_text().replace("._top_lora.inner:", "._nowhere.inner:"))
    with pytest.raises(UserError, match="which is not there"):
        read_own(mine)


def test_a_metric_of_ones_own_scores_runs_and_is_reported_where_nobody_has_it(
    words: Words, mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = words(
        tmp_path / "runs", "task.metrics=[accuracy,worst_class]", "train.epochs=1", "data.limit_evaluation=32"
    )
    assert cli.run(line) == 0
    (record,) = records(tmp_path / "runs")
    assert record.metrics == {"accuracy": True, "worst_class": True}
    files = {"methods/_top_lora.py", "methods/_norm_ranks.py", "metrics/worst_class.py"}
    digests = {name: hashlib.sha256((mine / name).read_bytes()).hexdigest() for name in files}
    assert record.provenance["metrics"]["worst_class"]["files"] == digests
    assert record.config["task"]["code"]
    (evaluation,) = record.best.values()
    predicted = next((tmp_path / "runs").rglob("evaluate/validation.jsonl")).read_text().splitlines()
    assert len(set(predicted)) == 1, "a model that is not trained says the same of every example"
    assert evaluation.scores["worst_class"] == 0.0
    assert evaluation.note is None
    assert 0 < evaluation.scores["accuracy"] < 1  # type: ignore[operator]

    assert cli.run([*line, "task.metrics=[worst_clas]"]) == 2
    assert "did you mean worst_class?" in capsys.readouterr().err
    shutil.rmtree(mine)
    assert cli.run(["report", f"records={tmp_path / 'runs'}", "metrics=all"]) == 0
    assert "worst class" in capsys.readouterr().out
    assert "worst_class" not in METRICS


def test_where_no_epoch_has_the_score_that_chooses_the_best_it_is_said(
    words: Words, mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = mine / "metrics" / "worst_class.py"
    path.write_text(path.read_text().replace("    hits =", "    return float('nan')\n    hits ="))
    assert cli.run(words(tmp_path / "runs", "task.metrics=[worst_class,accuracy]", "data.limit=8")) == 0
    said = "no worst_class in any epoch that may be kept: the first of them is taken"
    assert f"{said})  (best epoch 1)" in capsys.readouterr().out
    (record,) = records(tmp_path / "runs")
    assert [said in str(one.note) for one in (*record.best.values(), *record.last.values())] == [True, False]


def test_a_metric_of_ones_own_in_a_loop_of_ones_own(mine: Path) -> None:
    module = load_metric("worst_class", config_dir=mine)
    module.add_batch(predictions=["a", "a", "b"], references=["a", "b", "b"])
    assert module.compute() == {"worst_class": 0.5}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def score(p, r): return 1\n", "states no metric"),
        (
            "@metric('ter', tasks=['tagging'])\ndef score(p, r): return 1\n",
            "states a metric 'ter', which there is",
        ),
        ("@metric('a/b', tasks=['tagging'])\ndef score(p, r): return 1\n", "'a/b', which is no name"),
        ("@metric('mine', tasks='tagging')\ndef score(p, r): return 1\n", "is for tasks='tagging'"),
        ("@metric('mine', tasks=['chess'])\ndef score(p, r): return 1\n", "is for tasks=['chess']"),
    ],
)
def test_a_bad_metric_is_told_in_two_lines(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "mine.py").write_text(
        "from autolora_bench.metrics.registry import metric\n" + text
    )
    assert cli.run(["ls", "tasks", "--config-dir", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert said in lines[0]


def test_two_files_of_one_name_are_told(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(mine / "metrics" / "worst_class.py", mine / "methods")
    assert cli.run(["ls", "tasks", "--config-dir", str(mine)]) == 2
    assert "worst_class.py has the name of" in capsys.readouterr().err


STATED = """
from dataclasses import dataclass, field
from pathlib import Path
from autolora_bench.config.method import MethodConfig
from autolora_bench.config.ranges import Size
from autolora_bench.config.registry import method

{stated}
{dataclass}
class Mine({base}):
    size: {size} = 1

def make(config): ...
"""
RIGHT = {
    "stated": "@method('mine', runs=':make')",
    "dataclass": "@dataclass",
    "base": "MethodConfig",
    "size": "Size",
}


def test_the_bad_files_are_good_but_for_one_thing(tmp_path: Path) -> None:
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "mine.py").write_text(STATED.format(**RIGHT))
    read_own(tmp_path)
    assert methods()["mine"].runs == "autolora_bench.user_code.mine:make"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("mine", "def broken(:\n", "cannot be imported: SyntaxError: invalid syntax"),
        (
            "mine",
            "import nothing_of_that_name\n",
            "ModuleNotFoundError: No module named 'nothing_of_that_name'",
        ),
        ("mine", "raise SystemExit(3)\n", "cannot be imported: SystemExit"),
        ("mine", "x = 1\n", "states no method"),
        ("my-file", "x = 1\n", "is no name of a module"),
        (
            "mine",
            {"stated": "@method('lora', runs=':make')"},
            "states a method 'lora', which there is already",
        ),
        ("mine", {"stated": "@method('mine', runs=':make', family='best')"}, "is of a family 'best'"),
        ("mine", {"stated": "@method('mine', runs=':made')"}, "is run by autolora_bench.user_code.mine:made"),
        ("mine", {"stated": "@method('mine', runs='nowhere.at.all:make')"}, "is run by nowhere.at.all:make"),
        ("mine", {"size": "int"}, "Mine.size is a number without a range"),
        ("mine", {"size": "list[float]"}, "Mine.size is a number without a range"),
        ("mine", {"size": "set[str]"}, "cannot be a configuration"),
        ("mine", {"dataclass": ""}, "which is no dataclass"),
        (
            "mine",
            {"size": "'Nowhere'"},
            "the types of Mine's settings are not all there when it is run: NameError",
        ),
        ("mine", {"base": "object"}, "which is no MethodConfig"),
    ],
)
@pytest.mark.parametrize(
    "command", [["ls", "methods"], ["check", *SMALL, "method=lora"], [*SMALL, "method=lora"]]
)
def test_a_bad_file_is_told_in_two_lines(
    command: list[str],
    name: str,
    text: str | dict[str, str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "methods").mkdir()
    content = text if isinstance(text, str) else STATED.format(**{**RIGHT, **text})
    (tmp_path / "methods" / f"{name}.py").write_text(content)
    assert cli.run([*command, "--config-dir", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert said in lines[0]
    assert f"{name}.py" in lines[0] or said == "cannot be a configuration"
    assert "mine" not in methods()


def test_settings_without_the_file_that_states_them_are_told(
    mine: Path, words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(mine / "methods")
    assert cli.run(["check", *words(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "method/top_lora.yaml is built on /schema/method/top_lora, which nothing states" in said
    assert len(said.splitlines()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_a_launchers_workers_find_it(launcher: str, words: Words, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher" if launcher == "joblib" else "submitit")
    line = ["-m", *words(tmp_path / "runs", "seed=0,1"), f"hydra/launcher={launcher}"]
    done = subprocess.run(
        [sys.executable, "-m", "autolora_bench", *line],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert {(r.seed, r.status) for r in records(tmp_path / "runs")} == {
        (0, Status.completed),
        (1, Status.completed),
    }
    assert len({r.config_id for r in records(tmp_path / "runs")}) == 1


@pytest.mark.slow
def test_two_processes_of_one_run_find_it(words: Words, tmp_path: Path) -> None:
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    line = [*start, "-m", "autolora_bench", *words(tmp_path / "runs")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    (record,) = records(tmp_path / "runs")
    assert record.provenance["processes"] == 2
    assert record.status is Status.completed


def test_an_allocator_stands_beside_ours_on_plants(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [f"--config-dir={mine}", "suite=arena_small", "method=norm_ranks,lora_uniform", "task.mode=equal"]
    line += ["train.max_steps=1", "method.learning_rate=1e-2", f"results={tmp_path / 'runs'}"]
    line.append("task.rows={train: 64, validation: 16, test: 16}")
    assert cli.run(["-m", *line]) == 0
    capsys.readouterr()
    assert cli.run(["report", *line]) == 0
    assert "| LoRA, ranks by norm |" in capsys.readouterr().out
    [record] = [one for one in records(tmp_path / "runs") if one.method == "norm_ranks"]
    assert (record.config["method"]["mean_rank"], record.config["method"]["dropout"]) == (4.0, 0.0)
    assert sum(layer.rank for layer in record.ranks) == 48


BROKEN = {
    "found = None": "the allocator found None",
    "scores = -scores": "ranks are in proportion to scores from 0 on",
    "found = Found(found.ranks, scores * float('nan'))": "are to be finite numbers for 12 layers",
    "found = Found(found.ranks, scores[1:])": "scores of shape (11,)",
    "ranks[0] = 3.5": " has 3.5",
    "ranks[0] = float('nan')": " has nan",
    "ranks[0] = -1": " has -1",
    "ranks = ranks[1:]": "11 ranks for 12 layers",
    "names[1] = names[0]": "12 ranks for 12 layers, 11 names",
    "names, ranks, scores = names[1:], ranks[1:], scores[1:]": "are not of the layers that are adapted",
    "names[0] = 'layer.99.query'": "are not of the layers that are adapted",
    "ranks[0] = 9": "lie from 0 to 8: ",
    "ranks = [8] * 12": "sum to 96, the budget is 48",
}


@pytest.mark.parametrize("mistake", BROKEN)
@pytest.mark.sample(keep=("found = None", "ranks = [8] * 12"))
def test_ranks_that_there_cannot_be_are_refused(
    mistake: str, mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """None is trained with as if it had been meant."""
    file = mine / "methods" / "_norm_ranks.py"
    code = file.read_text(encoding="utf-8")
    before, after = code.split("        return Found(")
    own = mistake if mistake.startswith(("names", "ranks")) else "pass"
    late = mistake if mistake.startswith("found") else "pass"
    first = mistake if mistake.startswith("scores") else "pass"
    tail = after.partition("\n")[2]
    file.write_text(
        "from autolora_bench.search import RankAllocation\n"
        + before
        + textwrap.indent(
            f"{first}\nnames = list(look.budget.modules)\nranks = list(look.budget.proportional(scores).ranks)\n{own}\n"
            f"found = Found(RankAllocation.from_ranks(names, ranks), scores)\n{late}\nreturn found\n",
            " " * 8,
        )
        + tail,
        encoding="utf-8",
    )
    line = [f"--config-dir={mine}", "task=planted", "model=small", "method=norm_ranks", "train.max_steps=1"]
    line.append("task.rows={train: 64, validation: 16, test: 16}")
    assert cli.run([*line, f"results={tmp_path / 'runs'}"]) == 2
    said = capsys.readouterr().err
    assert BROKEN[mistake] in said
    assert "Traceback" not in said
