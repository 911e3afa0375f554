"""Every command and every piece of code in README.md and docs/ is run, or composed as a run would be.

Blocks marked `sh` hold commands. What would train is composed and checked, every value of a sweep once; commands that
read are run. Blocks marked `python` are run in the order of their page; a `text` block titled "output" behind one is
what it prints. Blocks with another title are files, written before the page's commands.
"""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from autolora_bench import cli
from autolora_bench.commands.options import COMMANDS
from autolora_bench.config.choices import choices
from autolora_bench.config.compose import checked, compose_config, composer, search_path, to_objects
from autolora_bench.paths import conf_dir
from autolora_bench.request import read_request
from autolora_bench.sweeps.expansion import parse_words, words_of_first

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
BLOCK = re.compile(r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```', re.MULTILINE | re.DOTALL)
LANGUAGES = {"sh", "python", "yaml", "text"}
OUTPUT = "output"
PLACEHOLDERS = {"FOLDER_OR_HUB_NAME": "somebody/model", "STEPS_PER_SECOND": "2", "=N": "=1"}
READERS = ("report", "stability", "status", "check", "records")
"""Commands whose words choose runs, beside options of their own."""
OPTIONS = {option.name for reader in READERS for option in COMMANDS[reader].takes} - {"results"}
NOT_COMPOSED = ("hydra/launcher=ray", "+hydra.launcher.ray")
"""Ray's launcher cannot be installed beside the others (docs/launchers.md)."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    title: str
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in BLOCK.findall(page.read_text(encoding="utf-8"))]


def name_of(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def commands(page: Path) -> list[list[str]]:
    """The words of every command in a page's `sh` blocks."""
    text = "\n".join(block.text for block in blocks(page) if block.language == "sh").replace("\\\n", " ")
    for placeholder, value in PLACEHOLDERS.items():
        text = text.replace(placeholder, value)
    lines = (shlex.split(part, comments=True) for line in text.splitlines() for part in line.split(" && "))
    return [words for words in lines if words]


@pytest.fixture
def place(own_folder: Path) -> Path:
    """A folder to stand in, with the repository's results, and an empty cache."""
    (own_folder / "results").symlink_to(REPOSITORY / "results")
    (own_folder / "DIR").mkdir()
    return own_folder


def write_files(page: Path, folder: Path) -> None:
    for block in blocks(page):
        if block.title and block.title != OUTPUT:
            path = folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_says_what_it_is(page: Path) -> None:
    assert {block.language for block in blocks(page)} <= LANGUAGES
    assert all(block.title for block in blocks(page) if block.language == "yaml"), "a file needs its name"


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=name_of)
@pytest.mark.sample(keep=("README.md", "docs/launchers.md", "docs/statistics.md"))
def test_the_commands_of_a_page(
    page: Path, place: Path, tiny_encoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(page, place)
    for words in commands(page):
        check_command(words, tiny_encoder)
    capsys.readouterr()


def check_command(words: Sequence[str], model: Path) -> None:
    """Fails for a command that is not there, or that its program would refuse; `model` stands for a reader's own."""
    program, *rest = words
    match Path(program).name:
        case "autolora-bench":
            check_words(rest, model)
        case "torchrun" | "accelerate":
            check_words(rest[rest.index("autolora_bench") + 1 :], model)
        case "make":
            targets = re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
            assert set(rest) <= set(targets)
        case "pip":
            assert rest[0] == "install"
            check_extras(rest)
        case "python" if rest[0] == "-m":
            assert rest[1] == "pytest"
        case "python":
            assert (REPOSITORY / rest[0]).is_file()
        case "mkdocs":
            assert rest[0] in ("build", "serve")
        case other:
            pytest.fail(f"{other}: no test runs such a command")


def check_extras(words: Sequence[str]) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = re.findall(r"\.\[([^\]]+)\]", " ".join(words))
    assert {extra for names in asked for extra in names.split(",")} <= set(project["optional-dependencies"])


def check_words(words: Sequence[str], model: Path) -> None:
    """What follows `autolora-bench`."""
    command, *rest = words
    if command in ("ls", "help", "--help", "score"):
        assert cli.run([command, *rest]) == 0
    elif command == "fetch":
        assert set(rest) <= set(choices("model", [conf_dir()]))
    elif command in ("report", "stability") and any(word.startswith("records=results/") for word in rest):
        assert cli.run([command, *(word for word in rest if not word.startswith(("out=", "figures=")))]) == 0
    elif command == "check" and "--config-dir" in rest:
        assert cli.run([command, *rest, "model=any", f"model.checkpoint={model}"]) == 0
    elif command in READERS:
        compose([word for word in rest if word.partition("=")[0] not in OPTIONS])
    else:
        assert "=" in command or command.startswith("-"), f"there is no command {command}"
        compose([word for word in words if word not in ("--cfg", "job")])


def compose(words: Sequence[str]) -> None:
    """Compose and check the runs: each value of a sweep once, not every combination."""
    request = read_request([word for word in words if not word.startswith(NOT_COMPOSED)])
    overrides = parse_words(request.overrides, request.folders)
    listed = [o for o in overrides if o.is_sweep_override() and not o.is_interval_sweep()]
    swept = {o.key_or_group: list(o.sweep_string_iterator()) for o in listed}
    single = [word for word in request.overrides if word.partition("=")[0] not in swept]
    extra = [search_path(request.config_dir)] if request.config_dir else []
    for turn in range(max(map(len, swept.values()), default=1)):
        chosen = [f"{name}={values[turn % len(values)]}" for name, values in swept.items()]
        words_of_one = (*extra, *words_of_first(replace(request, overrides=(*single, *chosen))))
        if words_of_one not in composed:
            with composer():
                checked(to_objects(compose_config(words_of_one)), reads_data=False)
            composed.add(words_of_one)


composed: set[tuple[str, ...]] = set()
"""The words of runs that were found to be good: pages show some of them again."""


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(b.language == "python" for b in blocks(page))], ids=name_of
)
@pytest.mark.sample(keep=("README.md", "docs/search.md"))
def test_the_code_of_a_page(
    page: Path, place: Path, capsys: pytest.CaptureFixture[str], of_a_reader: dict[str, Any]
) -> None:
    names = dict(of_a_reader)
    printed = ""
    for block in blocks(page):
        if block.language == "python":
            exec(compile(block.text, name_of(page), "exec"), names)
            printed = capsys.readouterr().out
        elif block.title == OUTPUT:
            assert printed == block.text


@pytest.fixture
def of_a_reader(tmp_path: Path) -> dict[str, Any]:
    """What a reader brings along: a PEFT model, two halves of the training data, and the Trainer's arguments."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import BertConfig, BertForSequenceClassification, TrainingArguments

    sizes = {"vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    base = BertForSequenceClassification(BertConfig(**sizes, intermediate_size=16))
    rows = torch.randint(0, 20, (32, 6)).tolist()
    examples = [{"input_ids": row, "labels": row[0] % 2} for row in rows]
    halves = {"train_dataset": examples[:16], "validation_dataset": examples[16:]}
    return {
        "halves": halves,
        "model": get_peft_model(
            base, LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["query", "value"])
        ),
        "first_half": halves["train_dataset"],
        "second_half": halves["validation_dataset"],
        "arguments": TrainingArguments(
            str(tmp_path / "search"), max_steps=3, use_cpu=True, report_to=[], save_strategy="no"
        ),
    }


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("page", "word"), [("README.md", "task=planted"), ("docs/quickstart.md", "data=generated")]
)
def test_what_needs_no_files_runs_as_it_is(page: str, word: str, place: Path) -> None:
    """Every command with the word; in the end README's drawing, or a table of both methods, with numbers masked."""
    program = shutil.which("autolora-bench", path=str(Path(sys.executable).parent))
    assert program is not None
    printed = ""
    for words in commands(REPOSITORY / page):
        if words[0] == "autolora-bench" and word in words:
            done = subprocess.run([program, *words[1:]], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            printed = done.stdout
    drawn = [block.text for block in blocks(REPOSITORY / page) if block.text.startswith("planted")]
    shown = drawn[0].splitlines() if word == "task=planted" else ["| LoRA |", "| AutoLoRA |"]
    for line in shown:
        assert masked(line) in masked(printed)


def masked(text: str) -> str:
    """Without what a machine's rounding may change: blocks of the drawing, digits, and how far apart words are."""
    return re.sub(r"\s+", " ", re.sub(r"[·▁▂▃▄▅▆▇█\d.\u2212-]+", "#", text))
