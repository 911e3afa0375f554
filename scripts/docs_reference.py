"""Writes what docs/ and README.md say of methods, settings and commands: python scripts/docs_reference.py

A page holds text between `<!-- generated: WHAT -->` and `<!-- end -->`; this script replaces it. A test says when a
page is stale. The sources are the settings' dataclasses (types, ranges, defaults, the docstrings at their fields), the
first comment line of every YAML file under conf/, and the help and docstrings of the commands.
"""

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf

from autolora_bench.commands.help import help_text
from autolora_bench.commands.options import COMMANDS, command_help
from autolora_bench.config.choices import KINDS, choices, schema_of, summary
from autolora_bench.config.data import DataConfig
from autolora_bench.config.describe import Setting, settings_of
from autolora_bench.config.experiment import ExperimentConfig, TuningConfig
from autolora_bench.config.model import ModelConfig
from autolora_bench.config.registry import FAMILIES, MethodKind, family_in, methods
from autolora_bench.config.task import TASKS, TaskConfig
from autolora_bench.config.train import TrainConfig
from autolora_bench.metrics.registry import METRICS
from autolora_bench.paths import conf_dir
from autolora_bench.report.runs import method_order

REPOSITORY = Path(__file__).resolve().parent.parent
MARKED = re.compile(r"(<!-- generated: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
FAMILY_NAMES = {
    "full": "everything, or the head alone",
    "head_only": "everything, or the head alone",
    "adapter": "adapters and biases",
    "bitfit": "adapters and biases",
    "prompt": "prompts and factors",
    "lora": "LoRA and its variants",
    "variant": "LoRA and its variants",
    "peft": "any other type of PEFT",
    "adalora": "allocators of ranks",
    "autolora": "AutoLoRA",
    "allocator": "allocators of ranks",
    "control": "controls",
    "other": "others",
}
"""How a reader calls the families of the report."""
VARIANTS_HOME = "lora"
VARIANTS_PAGE = "lora.md#lora"
"""The method, and where on the methods' pages, with whose settings those of LoRA's variants stand."""
NAMES = ("task.name", "model.name", "method.name")
"""Settings that name a choice."""
LABELS = ("title", "corrections", "origin")
"""Last part of settings that say what is shown of a choice, or where it is from."""


def texts() -> dict[Path, str]:
    """Every page with generated parts, as it should be."""
    pages = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
    read = {path: path.read_text(encoding="utf-8") for path in pages}
    return {path: MARKED.sub(_fill, text) for path, text in read.items() if MARKED.search(text)}


def _fill(found: re.Match[str]) -> str:
    kind, _, name = found.group(2).partition(" ")
    return f"{found.group(1)}\n{PARTS[kind](name).strip()}\n\n{found.group(3)}"


def method_settings(name: str) -> str:
    """Table of a method's settings: its dataclass, with the values of its YAML file.

    A method that extends another shows what it changes; LoRA's variants are shown once, with LoRA.
    """
    limits, base = _registered(name).works_on.sentence(), _extends(name)
    found = _of_method(name)
    if base is not None:
        same = {(one.name, one.default) for one in _of_method(base)}
        found = [one for one in found if (one.name, one.default) not in same]
    elif name != VARIANTS_HOME:
        shown = {one.name: one.default for one in _of_schema(_registered(name).config, "method")}
        of_variants = [one for one in found if one.name.startswith("method.variant.")]
        changed = [one for one in of_variants if one.default != shown[one.name]]
        found = [one for one in found if one not in of_variants] + changed
    above = [f"Works on: {limits}."] if limits else []
    above += [f"Settings as those of `{base}`, except:"] if base is not None else []
    table = _settings_table(found)
    if base is None and name != VARIANTS_HOME and of_variants:
        table += f"\n| `method.variant.*` | LoRA's | | Of the final LoRA: [the settings of `lora`]({VARIANTS_PAGE}). |"
    return "\n\n".join([*above, table])


def class_settings(name: str) -> str:
    """Table of the settings of one of the shared groups, or of what a task kind has beside or unlike every task."""
    if name == "experiment":
        groups = {"task", "model", "data", "method", "train", "tuning"}
        found = _of_schema(ExperimentConfig, "")
        return _settings_table([one for one in found if one.name.split(".")[0] not in groups])
    if name in TASKS:
        common = {(one.name, one.default) for one in _of_schema(TaskConfig, "task")}
        own = _of_schema(TASKS[name], "task")
        return _settings_table([one for one in own if (one.name, one.default) not in common])
    shared = {
        "task": TaskConfig,
        "data": DataConfig,
        "model": ModelConfig,
        "train": TrainConfig,
        "tuning": TuningConfig,
    }
    return _settings_table(_of_schema(shared[name], name))


def listing(kind: str) -> str:
    """Table of what there is of a kind: tasks, models, suites, data, methods."""
    lines = ["| name | what |", "| :--- | :--- |"]
    lines += [f"| `{name}` | {_cell(summary(path))} |" for name, path in _choices(KINDS[kind]).items()]
    return "\n".join(lines)


def method_names(_: str) -> str:
    """All methods by family, a line each family."""
    families: dict[str, list[str]] = {}
    stated = {name: family_in(_registered(name), name) for name in _choices("method")}
    for name in sorted(stated, key=lambda name: method_order(name, stated[name])):
        families.setdefault(FAMILY_NAMES[stated[name]], []).append(f"`{name}`")
    known = list(dict.fromkeys(FAMILY_NAMES[name] for name in FAMILIES if name in FAMILY_NAMES))
    return "\n".join(f"- {family}: {', '.join(families[family])}" for family in known if family in families)


def commands(_: str) -> str:
    """What `autolora-bench help COMMAND` prints of every command."""
    return "\n\n".join(f"### `{name}`\n\n```text\n{command_help(name).rstrip()}\n```" for name in COMMANDS)


def help_page(_: str) -> str:
    """What `autolora-bench --help` prints."""
    return f"```text\n{help_text().rstrip()}\n```"


def metrics(_: str) -> str:
    """Every metric: which way is better, and what the tables multiply it by."""
    lines = ["| metric | better | in tables |", "| :--- | :--- | :--- |"]
    for name, metric in METRICS.items():
        way = "higher" if metric.higher_is_better else "lower"
        lines.append(f"| `{name}` | {way} | x {metric.published_scale:g} |")
    return "\n".join(lines)


PARTS: dict[str, Callable[[str], str]] = {
    "method": method_settings,
    "settings": class_settings,
    "list": listing,
    "method-names": method_names,
    "commands": commands,
    "help": help_page,
    "metrics": metrics,
}
"""First word of a marker -> what stands there."""


@cache
def _choices(group: str) -> dict[str, Path]:
    return choices(group, [conf_dir()])


@cache
def _registered(method: str) -> MethodKind:
    return methods()[schema_of("method", method, [conf_dir()]) or ""]


def _extends(method: str) -> str | None:
    """The method whose YAML file a method's file extends."""
    read = yaml.safe_load(_choices("method")[method].read_text(encoding="utf-8"))
    bases = [entry.partition("@")[0] for entry in read["defaults"] if entry != "_self_"]
    return next((base for base in bases if not base.startswith("/")), None)


@cache
def _of_method(name: str) -> list[Setting]:
    """What `autolora-bench help method=NAME` prints; a composition of its own would take longer."""
    node = OmegaConf.merge(OmegaConf.structured(_registered(name).config), _values(name))
    assert isinstance(node, DictConfig)
    return _asked_of_users(settings_of(node, "method"))


def _values(method: str) -> DictConfig | ListConfig:
    """What a method's YAML file says, and the files that it extends."""
    read = yaml.safe_load(_choices("method")[method].read_text(encoding="utf-8"))
    bases = [entry.partition("@")[0] for entry in read.pop("defaults", []) if entry != "_self_"]
    extended = [_values(base) for base in bases if not base.startswith("/schema/")]
    return OmegaConf.merge(*extended, read.get("method", read))


def _of_schema(schema: type[Any], prefix: str) -> list[Setting]:
    return _asked_of_users(settings_of(OmegaConf.structured(schema), prefix))


def _asked_of_users(settings: Iterable[Setting]) -> list[Setting]:
    """Without what names a choice and what the program fills in."""
    return [
        one
        for one in settings
        if one.name not in NAMES
        and one.name.rpartition(".")[2] not in LABELS
        and not one.meaning.endswith("Filled in.")
    ]


def _settings_table(settings: Sequence[Setting]) -> str:
    if not settings:
        return "It has no settings."
    lines = ["| setting | default | may be | what |", "| :--- | :--- | :--- | :--- |"]
    lines += [
        f"| `{one.name}` | {_default(one.default)} | {_cell(one.kind)} | {_cell(one.meaning)} |"
        for one in settings
    ]
    return "\n".join(lines)


def _default(value: str) -> str:
    if value == MISSING:
        return "(to be said)"
    if link := re.fullmatch(r"\$\{(.+)\}", value):
        return f"that of `{link.group(1)}`"
    return "none" if value in ("null", "[]", "{}") else f"`{value}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def main() -> int:
    """Write what has changed; with --check write nothing, and say whether something has."""
    stale = [path for path, text in texts().items() if path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(path.relative_to(REPOSITORY))
        if "--check" not in sys.argv:
            path.write_text(texts()[path], encoding="utf-8")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
