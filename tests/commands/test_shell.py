"""The command line for people and programs: help of each command, settings explained, JSON, completion in a shell."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autolora_bench import cli
from autolora_bench.commands.completion import SCRIPTS, candidates
from autolora_bench.commands.options import COMMANDS
from autolora_bench.config.choices import choices
from autolora_bench.config.compose import compose_config, composer
from autolora_bench.config.describe import settings_of
from autolora_bench.config.model import ModelConfig
from autolora_bench.errors import UserError
from autolora_bench.models import fetch
from autolora_bench.models.locate import locate
from autolora_bench.paths import conf_dir
from autolora_bench.report.build import FORMATS
from autolora_bench.report.prepared import EPOCHS, METRICS

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_explains_itself(name: str, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([name, flag]) == 0
    out = capsys.readouterr().out
    if name == "help":
        assert "commands" in out
        return
    assert out.startswith(f"autolora-bench {name}")
    for option in COMMANDS[name].takes:
        assert f"{option.name}=" in out
        assert option.meaning in out
    assert ("--json" in out) == COMMANDS[name].json
    assert cli.run([flag, name]) == 0
    assert capsys.readouterr().out == out
    assert cli.run(["help", name]) == 0
    assert capsys.readouterr().out == out


def test_the_help_knows_the_options_that_are_read() -> None:
    stated = {option.name: option.choices for option in COMMANDS["report"].options}
    assert {*stated["format"]} == {*FORMATS}
    assert {*stated["epoch"]} == {*EPOCHS}
    assert {*stated["metrics"]} == {*METRICS}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["method=autolora"],
            ["method.search.estimator=closed_form", "first_order|", "k: rank-1 components"],
        ),
        (["method=lora", "task=rte"], ["method.rank=4", "whole number from 1 to 65,536", "task.labels="]),
        (["train.epochs"], ["train.epochs=30", "number above 0"]),
        (["train"], ["train.batch_size=16", "train.label_smoothing"]),
        (["method.search", "method=autolora"], ["method.search.interval="]),
        (["task=any"], ["task.kind=null", "classification|regression", "Columns that make the input"]),
        (["seed", "device", "push"], ["seed=0", "whole number 0 or more", "device=auto", "push=null"]),
        (["compare"], ["compare=[autolora:lora,", "tests and corrects together"]),
        (["tuning"], ["tuning.rates=[0.0001,0.0003,0.001,0.003,0.01]", "tuning.extensions=4"]),
        (["suite=fair", "tuning.rates"], ["tuning.rates=[0.0003,0.001,0.003]", "each above 0"]),
        (
            ["suite=fair"],
            ["then five fresh seeds", "task=stsb,mrpc,cola", "compare=[full:lora,", "tuning.seeds=[1000]"],
        ),
        (["suite=arena_small"], ["task.mode=equal,size", "on one plant"]),
        (["task=e2e", "task.decoding.beams"], ["task.decoding.beams=10"]),
    ],
)
def test_settings_are_explained(
    words: list[str], said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["help", *words]) == 0
    out = capsys.readouterr().out
    for part in said:
        assert part in out


def test_every_setting_that_the_reference_lists_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    page = conf_dir().parent / "docs/reference/settings.md"
    if not page.is_file():
        pytest.skip("an installed package has no pages")
    listed = re.findall(r"^\| `(\w+(?:\.\w+)?)", page.read_text(encoding="utf-8"), re.MULTILINE)
    names = list(dict.fromkeys(name for name in listed if not name.startswith("task.")))
    assert cli.run(["help", *names]) == 0
    shown = re.findall(r"^  ([\w.]+)=", capsys.readouterr().out, re.MULTILINE)
    assert not [name for name in names if not any(f"{one}.".startswith(f"{name}.") for one in shown)]


def test_lists_of_a_damaged_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "conf"
    for group in ("method", "task"):
        (folder / group / "mine.yaml").mkdir(parents=True)
        assert cli.run(["ls", f"{group}s", "--config-dir", str(folder)]) == 0
        assert "  mine " not in capsys.readouterr().out
    (folder / "method/odd.yaml").write_text('# Odd.\ndefaults: [lora@_here_]\ntitle: "\\ud800"\n')
    assert cli.run(["ls", "methods", "--config-dir", str(folder)]) == 2
    said = capsys.readouterr().err
    assert f"configuration: {folder / 'method/odd.yaml'} cannot be read: " in said
    assert said.splitlines()[1:] == ["mend it, or compare it with conf/"]
    (folder / "method/odd.yaml").write_text("# Odd.\ndefaults: 3\n")
    assert cli.run(["ls", "methods", "--config-dir", str(folder)]) == 0
    assert "Odd." in capsys.readouterr().out


@pytest.mark.parametrize("method", choices("method", [conf_dir()]))
@pytest.mark.sample(one_in=8)
def test_every_setting_of_every_method_has_a_value_and_a_kind(method: str) -> None:
    with composer():
        node = compose_config([f"method={method}"]).method
        found = list(settings_of(node, "method"))
    assert len({setting.name for setting in found}) == len(found) > 2
    assert not [setting.name for setting in found if not setting.kind or setting.kind == "any value"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["help", "rprt"], "did you mean report"),
        (["help", "train.epoch"], "did you mean train.epochs"),
        (["help", "method=lorra"], "did you mean lora"),
        (["help", "method.search.rule"], "say help method=autolora method.search.rule"),
        (["help", "task.decoding.beams"], "say help task=any task.decoding.beams"),
        (["help", "task.entities"], "say help task=bionlp task.entities"),
        (["help", "seeds"], "did you mean seed"),
        (["help", "suite=fiar"], "did you mean fair"),
        (["help", "suite"], "as in help suite=fair"),
        (["help", "cell=rte/lora"], "there is no such command or setting"),
        (["completion"], "bash or zsh"),
        (["completion", "fish"], "fish"),
        (["reprt", "task=rte"], "did you mean report"),
        (["task=rte", "oops"], "'oops' is no setting"),
    ],
)
def test_what_is_not_there_is_said(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(words) == 2
    assert said in capsys.readouterr().err


def answer(words: list[str], capsys: pytest.CaptureFixture[str], status: int = 0) -> Any:
    capsys.readouterr()
    assert cli.run(words) == status
    return json.loads(capsys.readouterr().out)


RUN = ["-m", "task=sst2", "data=generated", "method=lora,autolora", "seed=0,1"]


def test_what_programs_read(capsys: pytest.CaptureFixture[str]) -> None:
    runs = answer(["status", *RUN, "--json"], capsys)["runs"]
    assert [(run["method"], run["seed"], run["state"]) for run in runs] == [
        (method, seed, "missing") for method in ("lora", "autolora") for seed in (0, 1)
    ]
    assert answer(["--json", *RUN, "status"], capsys)["runs"] == runs
    lists = answer(["ls", "--json"], capsys)
    assert [entry["name"] for entry in lists["tasks"]] == list(choices("task", [conf_dir()]))
    assert answer(["ls", "methods", "--json"], capsys) == {"methods": lists["methods"]}
    assert "works_on" in lists["methods"][0]
    checked = answer(["check", "task=sst2", "data=local", "data.dir=.", "--json"], capsys, status=2)
    assert len(checked["runs"]) == 1
    assert any("train.tsv" in problem for problem in checked["problems"])


def test_a_report_as_json_has_the_numbers_of_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    committed = conf_dir().parent / "results" / "records"
    if not committed.is_dir():
        pytest.skip("an installed package has no records")
    words = ["report", f"records={committed}", "model=minilm", "task=rte", "method=lora,autolora"]
    found = answer([*words, "--json"], capsys)
    assert found == answer([*words, "format=json"], capsys)
    line = next(one for one in found["scores"] if one["method"] == "lora" and one["mean"] is not None)
    assert line["n"] == len(line["seeds"]) >= 3
    assert isinstance(line["mean"], float)
    assert cli.run([*words, "format=markdown"]) == 0
    assert f"{line['mean']:.2f}" in capsys.readouterr().out
    assert found["tables"]
    assert found["remarks"] is not None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("autolora-bench rep", ["report"]),
        ("autolora-bench task=st", ["task=stsb"]),
        ("autolora-bench -m task=rte,st", ["task=rte,stsb"]),
        ("autolora-bench report format=l", ["format=latex"]),
        ("autolora-bench report format=markdown ep", ["epoch="]),
        ("autolora-bench ls met", ["methods", "method"]),
        ("autolora-bench ls task an", ["any"]),
        ("autolora-bench fetch minil", ["minilm"]),
        ("autolora-bench method=autolora method.search.est", ["method.search.estimator="]),
        ("autolora-bench method=autolora method.search.estimator=u", ["method.search.estimator=unrolled"]),
        ("autolora-bench method=autolora method.sea", ["method.search."]),
        ("autolora-bench train.batch", ["train.batch_size="]),
        ("autolora-bench train.cpu_kernels=t", ["train.cpu_kernels=true"]),
        ("autolora-bench completion ", ["bash", "zsh"]),
        ("autolora-bench help method", ["method=", "method."]),
        ("autolora-bench --config-dir ", []),
        ("autolora-bench report --j", ["--json"]),
        ("autolora-bench data.train=rev", []),
    ],
)
def test_candidates(line: str, expected: list[str]) -> None:
    assert candidates(line) == expected


def test_choices_of_ones_own_folder_are_completed(tmp_path: Path) -> None:
    (tmp_path / "mine" / "task").mkdir(parents=True)
    (tmp_path / "mine" / "task" / "jokes.yaml").write_text("# Is it funny?\n")
    assert candidates("autolora-bench --config-dir mine task=jo") == ["task=jokes"]


def test_a_model_of_ones_own_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine" / "model").mkdir(parents=True)
    content = (
        "defaults:\n  - /schema/model@_here_\nname: own\npackage: {names: [one], version: 0.1, folder: x}\n"
    )
    (tmp_path / "mine" / "model" / "own.yaml").write_text(content)
    fetched: list[ModelConfig] = []
    monkeypatch.setattr(fetch, "_fetch", lambda package, model, target: fetched.append(model))
    assert cli.run(["fetch", "own", "--config-dir", "mine"]) == 0
    assert [(one.name, one.package and one.package.names) for one in fetched] == [("own", ["one"])]
    assert capsys.readouterr().out == f"{tmp_path / 'cache' / 'models' / 'own'}\n"
    with pytest.raises(UserError, match="no weights of model 'own'") as caught:
        locate(fetched[0])
    assert caught.value.mend.startswith("run: autolora-bench fetch own --config-dir DIR, or ")


@pytest.mark.parametrize(("model", "said"), [("small", "random weights"), ("any", "names no weights")])
def test_a_model_without_weights_is_not_said_to_be_on_the_hub(
    model: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["fetch", model]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "from the hub" not in told


def test_a_folder_may_have_the_name_of_a_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tasks" / "task").mkdir(parents=True)
    (tmp_path / "tasks" / "task" / "jokes.yaml").write_text("# Is it funny?\n")
    assert cli.run(["ls", "--config-dir", "tasks", "tasks"]) == 0
    assert "jokes" in capsys.readouterr().out


def test_completing_choices_imports_no_heavy_library() -> None:
    code = "import sys; from autolora_bench.cli import run; run(['completion', 'words', 'autolora-bench task=r']); "
    code += "print([name for name in ('torch', 'hydra', 'datasets', 'pandas') if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-2:] == ["task=rte", "[]"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("autolora-bench rep", "report"),
        ("autolora-bench task=st", "stsb"),
        ("autolora-bench -m task=rte,st", "rte,stsb"),
    ],
)
def test_the_script_completes_in_bash(line: str, expected: str, tmp_path: Path) -> None:
    """Bash takes `=` as the beginning of a word: the script gives what comes after it."""
    command = tmp_path / "bin" / "autolora-bench"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m autolora_bench "$@"\n')
    command.chmod(0o755)
    (tmp_path / "script").write_text(SCRIPTS["bash"])
    code = f'source ./script; COMP_LINE="{line}"; COMP_POINT={len(line)}; _autolora_bench; echo "${{COMPREPLY[@]}}"'
    found = subprocess.run(
        ["bash", "-c", code],
        capture_output=True,
        text=True,
        env={"PATH": f"{command.parent}:/usr/bin:/bin", "AUTOLORA_BENCH_CACHE": str(tmp_path)},
    )
    assert found.stdout.strip() == expected, found.stderr


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh")
def test_the_script_is_one_for_zsh(tmp_path: Path) -> None:
    (tmp_path / "script").write_text(SCRIPTS["zsh"])
    subprocess.run(["zsh", "-n", "script"], check=True)
