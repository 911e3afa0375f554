"""Writes what docs/ and README.md say of methods, settings and commands: python scripts/docs_reference.py

A page holds text between `<!-- generated: WHAT -->` and `<!-- end -->`; this script replaces it. A test says when a
page is stale. The sources are the settings' dataclasses (types, ranges, defaults, the docstrings at their fields), the
first comment line of every YAML file under conf/, and the help and docstrings of the commands.
"""

import ast
import dataclasses
import inspect
import re
import sys
import types
from collections.abc import Callable, Iterator
from enum import Enum
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import yaml
from annotated_types import Ge, GroupedMetadata, Gt, Le, Lt, MaxLen, MinLen
from omegaconf import MISSING

from autolora_bench import cli
from autolora_bench.commands.help import help_text
from autolora_bench.config.choices import KINDS, choices, schema_of, summary
from autolora_bench.config.data import DataConfig
from autolora_bench.config.experiment import ExperimentConfig, TuningConfig
from autolora_bench.config.model import ModelConfig
from autolora_bench.config.ranges import OneOf
from autolora_bench.config.registry import FAMILIES, MethodKind, family_in, methods
from autolora_bench.config.task import TASKS, TaskConfig
from autolora_bench.config.train import TrainConfig
from autolora_bench.metrics.registry import METRICS
from autolora_bench.paths import conf_dir
from autolora_bench.report.order import method_order

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
Row = tuple[str, str, str, str]
"""Setting, default, what it may be, what it is."""


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
    (schema, limits), base = _kind(name), _extends(name)
    rows = list(_rows(schema, "method", _flat(_values(name), "method")))
    if base is not None:
        same = {(row[0], row[1]) for row in _rows(schema, "method", _flat(_values(base), "method"))}
        rows = [row for row in rows if (row[0], row[1]) not in same]
    elif name != VARIANTS_HOME:
        shown = {row[0]: row[1] for row in _rows(schema, "method", {})}
        of_variants = [row for row in rows if row[0].startswith("method.variant.")]
        changed = [row for row in of_variants if row[1] != shown[row[0]]]
        rows = [row for row in rows if row not in of_variants] + changed
        if of_variants:
            rows.append(
                (
                    "method.variant.*",
                    "LoRA's",
                    "",
                    f"Of the final LoRA: [the settings of `lora`]({VARIANTS_PAGE}).",
                )
            )
    above = [f"Works on: {limits}."] if limits else []
    above += [f"Settings as those of `{base}`, except:"] if base is not None else []
    return "\n\n".join([*above, _settings_table(rows)])


def class_settings(name: str) -> str:
    """Table of the settings of one of the shared groups, or of what a task kind has beside every task."""
    if name == "experiment":
        groups = {"task", "model", "data", "method", "train", "tuning"}
        return _settings_table(
            [row for row in _rows(ExperimentConfig, "", {}) if row[0].split(".")[0] not in groups]
        )
    if name in TASKS:
        common = {row[0] for row in _rows(TaskConfig, "task", {})}
        return _settings_table([row for row in _rows(TASKS[name], "task", {}) if row[0] not in common])
    shared = {
        "task": TaskConfig,
        "data": DataConfig,
        "model": ModelConfig,
        "train": TrainConfig,
        "tuning": TuningConfig,
    }
    return _settings_table(list(_rows(shared[name], name, {})))


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
    """Every command: what its module says of it, the options it reads."""
    parts = []
    for name in cli.COMMANDS:
        module = import_module(f"autolora_bench.commands.{name}")
        said = " ".join((module.__doc__ or "").split())
        options = getattr(module, "OPTIONS", ())
        parts.append(f"### `{name}`\n\n{said}")
        if options:
            parts.append("Options of its own: " + ", ".join(f"`{option}=`" for option in options) + ".")
    return "\n\n".join(parts)


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


def _choices(group: str) -> dict[str, Path]:
    return choices(group, [conf_dir()])


def _kind(method: str) -> tuple[type[Any], str]:
    """The dataclass of a method's settings, and what it works on where that is not everything."""
    kind = _registered(method)
    return kind.config, kind.works_on.sentence()


def _registered(method: str) -> MethodKind:
    return methods()[schema_of("method", method, [conf_dir()]) or ""]


def _extends(method: str) -> str | None:
    """The method whose YAML file a method's file extends."""
    read = yaml.safe_load(_choices("method")[method].read_text(encoding="utf-8"))
    bases = [entry.partition("@")[0] for entry in read["defaults"] if entry != "_self_"]
    return next((base for base in bases if not base.startswith("/")), None)


def _values(method: str) -> dict[str, Any]:
    """What a method's YAML file says, and the files that it extends, as they are written."""
    read = yaml.safe_load(_choices("method")[method].read_text(encoding="utf-8"))
    bases = [entry.partition("@")[0] for entry in read.pop("defaults", []) if entry != "_self_"]
    merged: dict[str, Any] = {}
    for base in bases:
        if not base.startswith("/schema/"):
            merged = _merge(merged, _values(base))
    return _merge(merged, read.get("method", read))


def _merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    both = {key: _merge(old[key], new[key]) for key in old.keys() & new.keys() if isinstance(new[key], dict)}
    return {**old, **new, **both}


def _flat(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}.{key}"
        found |= _flat(value, name) if isinstance(value, dict) else {name: value}
    return found


def _rows(schema: type[Any], prefix: str, values: dict[str, Any]) -> Iterator[Row]:
    """One row for each setting, those of nested groups after the group's place."""
    hints, docs = get_type_hints(schema, include_extras=True), _field_docs(schema)
    for field in dataclasses.fields(schema):
        name = f"{prefix}.{field.name}".lstrip(".")
        said = docs.get(field.name, "")
        kind = _without_none(hints[field.name])
        if dataclasses.is_dataclass(kind):
            yield from _rows(kind, name, values)
            continue
        if (
            field.name in ("title", "corrections", "origin")
            or said.endswith("Filled in.")
            or field.name == "name"
        ):
            continue
        yield name, _shown(values.get(name, _default(field))), _range(hints[field.name]), _meaning(kind, said)


def _settings_table(rows: list[Row]) -> str:
    if not rows:
        return "It has no settings."
    lines = ["| setting | default | may be | what |", "| :--- | :--- | :--- | :--- |"]
    lines += [
        f"| `{name}` | {_cell(value)} | {_cell(may)} | {_cell(what)} |" for name, value, may, what in rows
    ]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _shown(value: Any) -> str:
    if isinstance(value, Enum):
        value = value.name
    if value is MISSING or value == MISSING:
        return "(to be said)"
    if isinstance(value, str) and (link := re.fullmatch(r"\$\{(.+)\}", value)):
        return f"that of `{link.group(1)}`"
    if isinstance(value, float):
        return f"`{value:g}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list | dict) and not value:
        return "none"
    return "none" if value is None else f"`{value}`"


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else MISSING


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(one for one in get_args(hint) if one is not types.NoneType)
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _range(hint: Any) -> str:
    """What a value may be, in a few words."""
    parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    none = ", or none" if types.NoneType in parts else ""
    hint = next(one for one in parts if one is not types.NoneType)
    kind, *stated = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(f"`{one.name}`" for one in kind) + none
    if kind is bool:
        return "`true`, `false`" + none
    few = [word for one in stated if isinstance(one, OneOf) for word in one.words()]
    if few:
        return ", ".join(f"`{word}`" for word in few) + none
    words = {int: "whole number", float: "number", str: "text", Any: "see the text"}
    origin = get_origin(kind) or kind
    name = words.get(kind) or {list: "list", dict: "map"}.get(origin) or getattr(kind, "__name__", str(kind))
    bounds = [bound for one in stated for bound in _bounds(one)]
    return f"{name} {', '.join(bounds)}".strip() + none


def _bounds(stated: Any) -> list[str]:
    found = []
    parts = list(stated) if isinstance(stated, GroupedMetadata) else [stated]
    least = next((one.ge for one in parts if isinstance(one, Ge) and one.ge > -1e5), None)
    most = next((one.le for one in parts if isinstance(one, Le) and one.le < 1e5), None)
    found += [f"{least:g} to {most:g}"] if least is not None and most is not None else []
    found += [f"{least:g} or more"] if least is not None and most is None else []
    for one in parts:
        match one:
            case Gt(gt):
                found.append(f"above {gt:g}")
            case Lt(lt) if lt < 1e5:
                found.append(f"below {lt:g}")
            case MinLen(few) if few > 1:
                found.append(f"of {few} or more")
            case MaxLen(many):
                found.append(f"of at most {many}")
    return found


def _meaning(kind: Any, said: str) -> str:
    """What a field's docstring says (of a choice, else what its class says), and what each choice means."""
    if not (isinstance(kind, type) and issubclass(kind, Enum)):
        return said
    head, *rest = (inspect.getdoc(kind) or "").split("\n\n")
    meanings = {one.name: str(one.value) for one in kind if one.value != one.name}
    pairs = re.findall(r"^(\w+): (.+?)(?=^\w+: |\Z)", "\n".join(rest), re.MULTILINE | re.DOTALL)
    meanings |= {name: " ".join(what.split()).rstrip(".") for name, what in pairs}
    choices = "; ".join(f"`{name}`: {what}" for name, what in meanings.items())
    return f"{said or ' '.join(head.split())} {choices}{'.' if choices else ''}".strip()


@cache
def _field_docs(schema: type[Any]) -> dict[str, str]:
    """Field -> the docstring under it, those of base classes included."""
    docs: dict[str, str] = {}
    for base in reversed(schema.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        for node in ast.walk(_module(base.__module__)):
            if isinstance(node, ast.ClassDef) and node.name == base.__name__:
                docs |= _under_fields(node)
    return docs


@cache
def _module(name: str) -> ast.Module:
    return ast.parse(inspect.getsource(import_module(name)))


def _under_fields(node: ast.ClassDef) -> dict[str, str]:
    found = {}
    for field, after in zip(node.body, node.body[1:], strict=False):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[field.target.id] = inspect.cleandoc(str(after.value.value))
    return found


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
