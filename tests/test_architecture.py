"""Imports point one way, and light modules stay light: read off the source, not off a diagram."""

import ast
from pathlib import Path

import pytest

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
    {"sweeps", "plan_cache", "studies", "fair", "report", "rerun", "push"},
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
    "plan_cache",
    "studies",
    "fair",
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


def imports(path: Path, everywhere: bool = True) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if everywhere else tree.body
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def sources() -> list[Path]:
    return [
        path for path in sorted(PACKAGE.rglob("*.py")) if path.parent != PACKAGE or path.stem != "__init__"
    ]


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    level = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    own = part(path)
    assert own in level, f"{own} has no place in the architecture"
    for name in imports(path):
        if name.startswith("autolora_bench.") and name != "autolora_bench.__version__":
            other = name.split(".")[1]
            assert level[other] <= level[own], f"{own} imports {other}"
            assert own != "report" or other in REPORT_MAY_USE, f"report imports {other}"


@pytest.mark.parametrize(
    "path", [p for p in sources() if part(p) in LIGHT], ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_light_modules_import_nothing_heavy(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path, everywhere=False)} & HEAVY


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_stay_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_names_say_what_is_inside(path: Path) -> None:
    assert not {*path.relative_to(PACKAGE).with_suffix("").parts} & VAGUE
