"""Imports point one way, and light modules stay light: read off the source, not off a diagram."""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "autolora_bench"
LAYERS = [
    {
        "checksums",
        "errors",
        "garbage",
        "gp_sampler",
        "interruption",
        "ownership",
        "paths",
        "processes",
        "portable",
        "provenance",
        "run_files",
        "untrusted",
    },
    {"record", "json_cache"},
    {"tables"},
    {"config"},
    {"plan"},
    {"devices"},
    {"search"},
    {"metrics", "user_code", "request"},
    {"models"},
    {"speedups"},
    {"data"},
    {"tasks"},
    {"scoring"},
    {"training"},
    {"methods"},
    {"runner"},
    {"sweeps", "report", "rerun", "push"},
    {"commands"},
    {"cli", "__main__", "api"},
]
LIGHT = {
    "checksums",
    "errors",
    "interruption",
    "ownership",
    "processes",
    "config",
    "user_code",
    "paths",
    "run_files",
    "untrusted",
    "record",
    "request",
    "json_cache",
    "portable",
    "provenance",
    "plan",
    "tables",
    "sweeps",
    "rerun",
    "push",
    "commands",
    "cli",
}
HEAVY = {
    *("torch", "transformers", "peft", "datasets", "evaluate", "pandas"),
    *("pyarrow", "sklearn", "scipy", "matplotlib"),
}
VAGUE = {
    "again",
    "asked",
    "common",
    "companion",
    "decision",
    "extra",
    "extras",
    "helper",
    "helpers",
    "lib",
    "machine",
    "misc",
    "other",
    "plain",
    "shared",
    "stuff",
    "thin",
    "tidy",
    "tools",
    "util",
    "utils",
    "words",
}
MEANT = {"encode_words", "tidy_csv"}
"""Names in which such a word says what is inside: words are what is encoded, and a tidy table is a kind of table."""
REPORT_MAY_USE = {
    "errors",
    "config",
    "paths",
    "record",
    "tables",
    "plan",
    "portable",
    "metrics",
    "report",
    "untrusted",
}


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def parsed(text: str) -> ast.Module:
    return ast.parse(text)


def imports(path: Path, everywhere: bool = True, package: Path = PACKAGE) -> set[str]:
    """Names in full, those of relative imports too."""
    inside = path.relative_to(package.parent).parts[:-1]
    tree = parsed(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if everywhere else tree.body
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = inside[: len(inside) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def dotted(path: Path, package: Path) -> str:
    return ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")


def circle(files: list[Path], package: Path = PACKAGE) -> list[str]:
    """Modules of which each imports the next and the last is the first; empty where there are none."""
    modules = {dotted(path, package): path for path in files}
    graph = {
        module: {
            name if name in modules else name.rpartition(".")[0]
            for name in imports(path, package=package)
            if name in modules or name.rpartition(".")[0] in modules
        }
        for module, path in modules.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def sources() -> list[Path]:
    return [
        path for path in sorted(PACKAGE.rglob("*.py")) if path.parent != PACKAGE or path.stem != "__init__"
    ]


def test_imports_point_one_way() -> None:
    level = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    assert {part(path) for path in sources()} <= level.keys(), "a room without a place in the architecture"
    wrong = []
    for path in sources():
        own = part(path)
        ours = (name for name in imports(path) if name.startswith("autolora_bench."))
        for other in {name.split(".")[1] for name in ours} - {"__version__"}:
            if level[other] > level[own] or (own == "report" and other not in REPORT_MAY_USE):
                wrong.append(f"{path.relative_to(PACKAGE)} imports {other}")
    assert wrong == []


def test_no_file_imports_itself_through_others() -> None:
    """Nor for a type checker's sake. The package itself stands apart: its public names are imported when used."""
    assert circle(sources()) == []


def test_a_circle_is_seen_whichever_way_its_files_are_imported(tmp_path: Path) -> None:
    package = tmp_path / "own"
    for name, text in {
        "first": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from own.below.second import Second",
        "below/__init__": "",
        "below/second": "from . import third",
        "below/third": "def late():\n    import own.fourth",
        "fourth": "import json",
    }.items():
        path = package / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    files = sorted(package.rglob("*.py"))
    assert circle(files, package) == []
    (package / "fourth.py").write_text("from .first import First", encoding="utf-8")
    assert {*circle(files, package)} == {"own.first", "own.below.second", "own.below.third", "own.fourth"}


def test_light_modules_import_nothing_heavy() -> None:
    light = [path for path in sources() if part(path) in LIGHT]
    found = {path: {name.split(".")[0] for name in imports(path, everywhere=False)} & HEAVY for path in light}
    assert {str(path): names for path, names in found.items() if names} == {}


def test_files_stay_small() -> None:
    lines = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in sources()}
    assert {name: count for name, count in lines.items() if count > 400} == {}


def test_names_say_what_is_inside() -> None:
    found = {path: {*path.relative_to(PACKAGE).with_suffix("").parts} - MEANT for path in sources()}
    words = {str(path): {word for name in names for word in name.split("_")} for path, names in found.items()}
    assert {path: own & VAGUE for path, own in words.items() if own & VAGUE} == {}
