"""The command line as a user meets it: output and exit status, of a process of its own where that may differ."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from autolora_bench import cli
from autolora_bench.commands import ls
from autolora_bench.commands.help import help_text
from autolora_bench.commands.options import COMMANDS

LIGHT = """
import sys
from autolora_bench.cli import run
for words in {lines!r}:
    run(words)
    print(words, "torch" in sys.modules, file=sys.stderr)
"""
Answer = subprocess.CompletedProcess[str]
Bench = Callable[..., Answer]


def process(*words: str, cwd: Path) -> Answer:
    return subprocess.run(
        [sys.executable, "-m", "autolora_bench", *words], cwd=cwd, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Bench:
    """Words -> what this very process answers to them, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def answer(*words: str) -> Answer:
        capsys.readouterr()
        status = cli.run(list(words))
        return Answer(words, status, *capsys.readouterr())

    return answer


SPELT = "75.3 ± 1.3 \N{MINUS SIGN}0.1† 0.1\N{EN DASH}0.2 ·▁▄█ ↓ café 中 😀"
WORDS = {
    "ls": ["methods"],
    "check": [],
    "status": ["suite=demo"],
    "report": ["results=."],
    "stability": ["results=."],
    "records": ["results=.", "to=thin"],
    "score": ["task=sst2", "predictions=none", "references=none"],
    "fetch": ["nothing"],
    "completion": ["bash"],
    "help": [],
}
"""Words with which every command goes as far as it can in an empty folder."""


def test_light_commands_do_not_import_torch(tiny_encoder: Path, tmp_path: Path) -> None:
    check = ["task=rte", "data=generated", "model=any", f"model.checkpoint={tiny_encoder}"]
    words = WORDS | {"check": check}
    lines = [[], ["--help"], *([name, *words[name]] for name in COMMANDS)]
    answer = subprocess.run(
        [sys.executable, "-c", LIGHT.format(lines=lines)], cwd=tmp_path, capture_output=True, text=True
    )
    said = answer.stderr.splitlines()
    assert [line for words in lines for line in said if line.startswith(f"{words} ")] == [
        f"{words} False" for words in lines
    ]


def test_a_folder_of_data_may_be_for_a_part_of_a_sweep(bench: Bench, tmp_path: Path) -> None:
    words = ["-m", "task=rte", "method=lora", "data=local,hub", f"data.dir={tmp_path}"]
    assert "is not read" not in bench("check", *words).stderr
    answer = bench("check", "-m", "task=rte", "method=lora", "data=generated,hub", f"data.dir={tmp_path}")
    assert answer.returncode == 2
    assert "is not read by data=generated, hub" in answer.stderr


@pytest.mark.parametrize(
    ("words", "without"),
    [
        ([], {"hydra", "omegaconf", "huggingface_hub"}),
        (["--help"], {"hydra", "omegaconf", "huggingface_hub"}),
        (["ls"], {"hydra", "huggingface_hub", "pandas"}),
        (["status", "suite=table1", "task=cola", "data=generated"], {"huggingface_hub", "pandas"}),
        (["report", "records=results/records"], {"hydra", "huggingface_hub", "scipy", "matplotlib"}),
    ],
)
def test_short_commands_import_what_they_need(words: list[str], without: set[str]) -> None:
    code = f"import sys; from autolora_bench.cli import run; run({words!r}); print(*{without!r} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""


@pytest.mark.slow
def test_a_run_begins_without_the_libraries_of_reports() -> None:
    code = "import sys, autolora_bench.commands.launch; print(*{'torch', 'pandas', 'scipy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", r"75.3 +/- 1.3 -0.1# 0.1-0.2 .148 (down) caf\u00e9 \u4e2d \ud83d\ude00"),
        ("latin-1", r"75.3 ± 1.3 -0.1# 0.1-0.2 ·148 (down) café \u4e2d \ud83d\ude00"),
        ("cp1252", "75.3 ± 1.3 -0.1† 0.1\N{EN DASH}0.2 ·148 (down) café \\u4e2d \\ud83d\\ude00"),
        ("utf-8", SPELT),
    ],
)  # fmt: skip
def test_what_an_output_cannot_spell_is_written_in_ascii(
    encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signs of ours by what is near them, others' letters as JSON escapes them: output as JSON stays what it was."""
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding=encoding) for name in ("stdout", "stderr")}

    def both(words: list[str]) -> int:
        for stream in (sys.stdout, sys.stderr):
            print(SPELT, file=stream, end="", flush=True)
        return 0

    monkeypatch.setattr(cli, "run", both)
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    with pytest.raises(SystemExit):
        cli.main()
    assert {one.buffer.getvalue() for one in streams.values()} == {shown.encode(encoding)}
    assert json.loads(f'"{shown}"').endswith("café 中 😀")


def test_bare_call_names_every_command_and_choice(bench: Bench) -> None:
    answer = bench()
    assert answer.returncode == 0
    for word in (*COMMANDS, "autolora", "minilm", "suite=demo"):
        assert word in answer.stdout


def test_help_names_every_command_and_what_all_of_them_take() -> None:
    lines = {line.split()[0] for line in help_text().splitlines() if line.startswith("  ")}
    assert {*COMMANDS} <= lines
    assert {"results=DIR", "records=DIR,...", "rerun=missing|failed|all|never"} <= lines
    assert "--config-dir" in help_text()
    assert all(kind in help_text() for kind in ls.KINDS)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["task=rtee"], ["task=rtee is not known", "did you mean rte"]),
        (["task=rte_shuffled"], ["task=rte with shuffled labels", "say task=rte data.shuffle_labels=true"]),
        (["task=rte", "method=lorra"], ["method=lorra is not known", "did you mean lora"]),
        (["model=minilmm"], ["did you mean minilm"]),
        (
            ["task=any", "task.texts=[Titel (de)]"],
            ["put quotation marks around", 'task.texts=["Title (de)"]'],
        ),
        (["trian.epochs=3"], ["there is no setting trian.epochs", "did you mean train.epochs"]),
        (
            ["-m", "method=autolora,lora", "method.search.interval=2", "task=rte"],
            [
                "there is no setting method.search.interval with method=lora",
                "have it: give them a command of their own",
            ],
        ),
        (["train.epochs=many"], ["train.epochs", "could not be converted to Float"]),
        (["train.epochs=0"], ["train.epochs=0", "above 0"]),
        (["task=rte,cola"], ["names several values", "add -m"]),
        (["data=local"], ["data=local needs data.dir", "data.dir=FOLDER"]),
        (["task=rte", "data.validation_share=0.2"], ["data.validation_share=0.2", "data.held_out=0.2"]),
        (["task=rte", "data.generator_seed=3"], ["data.generator_seed=3 with data=hub", "seed=N"]),
        (["method=lora", "method.variant.eva.rho=3"], ["method.variant.eva with method.variant.start=lora"]),
        (["method=lora", "tuning.rates=[1e-3,1e-2]"], ["tuning.rates", "suite=fair"]),
        (["task=cola", "data=generated", "task.planted.length=3"], ["task.planted.length=3", "null here"]),
        (["data.dir=here"], ["data.dir=here is not read by data=hub", "add data=local"]),
        (
            ["-m", "seed=0,1", "data=generated", "hydra/launcher=jobib"],
            ["hydra/launcher=jobib is not there", "did you mean joblib"],
        ),
        (["repport"], ["there is no command 'repport'", "did you mean report"]),
        (["task=rte", "oops"], ["'oops' is no setting", "key=value"]),
        (["--frobnicate", "task=rte"], ["unknown option --frobnicate"]),
        (["ls", "taskz"], ["did you mean tasks"]),
        (["ls", "tasks", "foo=3"], ["ls foo=3: lists and names are said without =", "ls task any"]),
        (["-m", "method=lora,", "task=rte"], ["method=lora,: a part of the list is empty", "two commas"]),
        (["-m", "method=lora,,autolora"], ["method=lora,,autolora: a part of the list is empty"]),
        (["-m", "seed=,1"], ["seed=,1: a part of the list is empty"]),
        (["task=rte", "seed="], ["seed is empty", "give it a value"]),
        (
            ["task=rte", "+train.epochs=2"],
            ["+train.epochs: there is such", "leave the plus out: train.epochs=VALUE"],
        ),
        (["--cfg", "jbo", "task=rte"], ["invalid choice: 'jbo'", "as in: autolora-bench --cfg job"]),
        (["--cfg"], ["--cfg/-c: expected one argument", "as in: autolora-bench --cfg job"]),
        (
            ["fetch", "model=minilm"],
            ["fetch model=minilm: a model is said by its name alone", "fetch minilm"],
        ),
        (
            ["help", "method=lora", "method=autolora"],
            ["help method=lora method=autolora: settings are shown of one method", "say help method=lora"],
        ),
        (["fetch"], ["which model"]),
        (["--config-dir", "nowhere", "task=rte"], ["nowhere: no such folder"]),
        (["method=autolora", "method.search.rule=budget"], ["rule=budget", "go together"]),
        (["method=lora", "method.rank=0"], ["method.rank=0", "1 or more"]),
    ],
)
def test_bad_words_give_one_line_and_how_to_mend_it(
    words: list[str], expected: list[str], bench: Bench, tmp_path: Path
) -> None:
    answer = bench(*words)
    assert answer.returncode == 2
    lines = answer.stderr.strip().splitlines()
    assert len(lines) <= 2, answer.stderr
    for part in expected:
        assert part in answer.stderr
    assert "Traceback" not in answer.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["suite=generated_text", "task.decoding.beams=2", "-p", "task.decoding"], "beams: 2"),
        (["suite=figure3", "method.search.interval=3", "--package=method.search"], "interval: 3"),
        (["--config-dir", "mine", "task=jokes", "data=generated", "-p", "task"], "title: Jokes"),
        (["task=rte", "task=cola", "-p", "task"], "name: cola"),
    ],
)
@pytest.mark.sample(keep=("interval: 3", "title: Jokes"))
def test_cfg_shows_the_settings_of_a_run(words: list[str], shown: str, bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "mine" / "task").mkdir(parents=True)
    (tmp_path / "mine" / "task" / "jokes.yaml").write_text(
        "# Is the joke funny?\ndefaults:\n  - sst2\nname: jokes\ntitle: Jokes\n"
    )
    answer = bench("--cfg", "job", *words)
    assert answer.returncode == 0, answer.stderr
    assert shown in answer.stdout


def test_results_folder_that_cannot_be_written(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    answer = bench("task=rte", "data=generated", "results=file/runs")
    assert answer.returncode == 2
    assert "cannot write results to file/runs" in answer.stderr
    assert "results=DIR" in answer.stderr


def test_a_missing_data_file_is_named_by_check(bench: Bench, tmp_path: Path) -> None:
    words = ["task=rte", "model=minilm", "data=local", f"data.dir={tmp_path}"]
    checked = bench("check", *words)
    assert checked.returncode == 2
    assert "train.tsv" in checked.stdout
    status = bench("status", *words)
    assert "1 missing" in status.stdout


@pytest.mark.slow
def test_a_missing_data_file_is_recorded_by_a_run(bench: Bench, tmp_path: Path) -> None:
    words = ["task=rte", "model=minilm", "data=local", f"data.dir={tmp_path}"]
    ran = process(*words, cwd=tmp_path)
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[1].startswith("rte lora on minilm"), "no library talks before"
    assert "train.tsv" in ran.stderr
    assert "Traceback" not in ran.stderr
    status = bench("status", *words)
    assert "failed" in status.stdout


def test_user_folder_adds_a_task(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "task"
    folder.mkdir(parents=True)
    (folder / "jokes.yaml").write_text(
        "# Is it funny?\n"
        "defaults:\n  - /schema/task/classification@_here_\n"
        "name: jokes\ntitle: Jokes\nmetrics: [accuracy]\nlabels: [dull, funny]\ntexts: [sentence]\n"
        "local:\n  layout: glue_tsv\n  splits: {train: train.tsv, validation: dev.tsv}\n"
        "  columns: {sentence: text, label: funny}\n"
    )
    listed = bench("ls", "tasks", "--config-dir", "mine")
    assert "Is it funny?" in listed.stdout
    planned = bench("status", "--config-dir", "mine", "task=jokes", "data=local", f"data.dir={tmp_path}")
    assert "1 runs: 1 missing" in planned.stdout
    assert "--config-dir mine task=jokes" in planned.stdout
