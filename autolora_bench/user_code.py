"""Methods and metrics of the user's own: the Python files of DIR/methods and DIR/metrics, for --config-dir DIR.

Unlike the folder's settings (config.own_folder), which may be a stranger's, these files are run: only a folder that
the command line names is read. Each file states methods (config.registry.method) or metrics (metrics.registry.metric)
and is imported when any command starts, so that it had better leave torch to what `runs` names; files whose name
begins with an underscore are left to those that import them.

The files are modules of this one, `autolora_bench.user_code.FILE`. That is the name by which a launcher's worker, which
gets its job from another process, imports them; the environment tells it where they lie, and it reads them all.
"""

import ast
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from autolora_bench.checksums import sha256
from autolora_bench.config.method import MethodConfig
from autolora_bench.config.ranges import without_range
from autolora_bench.config.registry import MethodKind, method, methods, metric_digests, own_folders
from autolora_bench.config.store import forget_method, register_method
from autolora_bench.errors import UserError
from autolora_bench.metrics.registry import METRICS, forget_metric, metric, own_metrics

FOLDERS = {"methods": "method", "metrics": "metric"}
"""Folder of such files -> what they state."""
PLACE = "AUTOLORA_BENCH_OWN"
"""Environment variable: DIR, for processes that a launcher starts."""
HOMES = {"method": method.__module__, "metric": metric.__module__}
"""Where the decorators live."""
MEND = "mend the file, or take it out of the folder; CONTRIBUTING.md shows one (HYDRA_FULL_ERROR=1: the traceback)"
DYNAMIC = {"*", "__getattr__", "globals", "locals", "vars", "modules", "setattr", "exec"}
"""Words in a file that may state names which its text does not show."""
__path__: list[str] = []
"""Where Python looks for `autolora_bench.user_code.FILE`."""


def read_own(folder: Path | None) -> None:
    """Read the methods and metrics of a configuration folder, in place of those that were read before.

    Raises:
        UserError: a file cannot be imported, states nothing or what there is already, or a number among a method's
            settings has no range.
    """
    _forget()
    own_folders[:] = [] if folder is None else [folder.resolve()]
    places = [] if folder is None else [folder.resolve() / name for name in FOLDERS]
    files = [path for place in places for path in sorted(place.glob("*.py"))]
    if folder is None or not files:
        return
    os.environ[PLACE] = str(folder.resolve())
    __path__[:] = map(str, places)
    importlib.invalidate_caches()
    try:
        _check_names(files)
        for path in files:
            if not path.name.startswith("_"):
                _read(path)
    except BaseException:
        _forget()
        raise


def _check_names(files: list[Path]) -> None:
    """Every file is to be a module of its own."""
    known: dict[str, Path] = {}
    for path in files:
        if not path.stem.isidentifier():
            raise UserError(f"{path} is no name of a module", "name it as Python names things: my_method.py")
        if path.stem in known:
            raise UserError(f"{path} has the name of {known[path.stem]}", "give one of them another name")
        known[path.stem] = path


def _read(path: Path) -> None:
    known, known_metrics = set(methods()), set(METRICS)
    with _told(f"{path} cannot be imported"):
        importlib.import_module(f"{__name__}.{path.stem}")
    stated = [kind for name, kind in methods().items() if _states(path, kind.config, name not in known)]
    measured = [
        n for n, one in METRICS.items() if one.score and _states(path, one.score, n not in known_metrics)
    ]
    what = FOLDERS[path.parent.name]
    if not (stated if what == "method" else measured):
        above = {"method": "a dataclass", "metric": "a function"}[what]
        raise UserError(
            f"{path} states no {what}",
            f"put @{what}(...) from {HOMES[what]} above {above} in it, or begin its name with _",
        )
    for kind in stated:
        _check(kind, path)
        methods()[kind.name] = replace(kind, digests=_digests(path, *_files(kind.runs.partition(":")[0])))
        register_method(methods()[kind.name])
    metric_digests.update(dict.fromkeys(measured, _digests(path)))


@contextmanager
def _told(what: str, mend: str = MEND) -> Iterator[None]:
    """What the user's code raises is told in two lines."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        said = " ".join(str(error).split())
        raise UserError(f"{what}: {type(error).__name__}: {said}", mend) from error


def _states(path: Path, stated: Any, new: bool) -> bool:
    """Whether a file states it: by itself, or by a helper, and then it was not there before.

    What another file states that this one imports is that file's, which may be read later.
    """
    *_, home = str(stated.__module__).rpartition(".")
    ours = any((Path(place) / f"{home}.py").is_file() for place in __path__) and not home.startswith("_")
    inside = str(stated.__module__).startswith(f"{__name__}.")
    return home == path.stem if inside and ours else new


def _digests(path: Path, *runs: Path) -> dict[str, str]:
    """File -> SHA-256 of all that decides what a method or metric does: its own files, the underscore files, which it
    may import in ways that their text does not say, and what any of these import.

    Args:
        path: what states it.
        runs: what makes a method of its settings.
    """
    shared = list(_shared(path))
    files = _imported([path, *runs]) + _imported(shared, lambda file: not _states_something(file))
    return {file.relative_to(path.parent.parent).as_posix(): sha256(file) for file in files}


def _imported(files: Iterable[Path], wanted: Callable[[Path], bool] = Path.is_file) -> list[Path]:
    """The files, and the wanted ones of the folder that they import, or that these import, as their text says."""
    found = list(dict.fromkeys(files))
    waiting = [*found]
    while waiting:
        for file in filter(wanted, _named(waiting.pop())):
            if file not in found:
                found.append(file)
                waiting.append(file)
    return found


def _states_something(file: Path) -> bool:
    """Whether a file is of another method or metric, as far as one that does not import it is concerned."""
    return str(file.parent) in __path__ and not file.name.startswith("_")


def _named(path: Path) -> Iterator[Path]:
    """Files of the folder that the import statements of one of them name."""
    place = next(place for place in map(Path, __path__) if path.is_relative_to(place))
    package = [__name__, *path.relative_to(place).parent.parts]
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            home = ".".join([*above, *filter(None, [node.module])])
            modules = [home, *(f"{home}.{alias.name}" for alias in node.names)]
        else:
            continue
        for module in modules:
            yield from _files(module)


def _files(module: str) -> Iterator[Path]:
    """The folder's files that are run where a module is imported; none where it is of elsewhere."""
    prefix = f"{__name__}."
    parts = module.removeprefix(prefix).split(".") if module.startswith(prefix) else []
    for depth in range(1, len(parts) + 1):
        inside = Path(*parts[:depth])
        for place in map(Path, __path__):
            for one in (inside.with_suffix(".py"), inside / "__init__.py"):
                if (place / one).is_file():
                    yield place / one


def _shared(path: Path) -> Iterator[Path]:
    """The folder's files that it may import: those of both kinds are modules of one place."""
    for kind in FOLDERS:
        yield from sorted((path.parent.parent / kind).glob("_*.py"))


def _check(kind: MethodKind, path: Path) -> None:
    if not issubclass(kind.config, MethodConfig):
        raise UserError(
            f"{path}: method {kind.name!r} is put on {kind.config.__name__}, which is no MethodConfig",
            f"derive it: class {kind.config.__name__}(MethodConfig), from autolora_bench.config.method",
        )
    with _told(
        f"{path}: the types of {kind.config.__name__}'s settings are not all there when it is run",
        "import what they name for the run too, not under TYPE_CHECKING alone",
    ):
        unbounded = without_range(kind.config)
    if unbounded:
        raise UserError(
            f"{path}: {kind.config.__name__}.{unbounded[0]} is a number without a range",
            "state one, as in Share or Annotated[int, Interval(ge=1, le=100)] (autolora_bench.config.ranges)",
        )
    with _told(f"{path}: method {kind.name!r} is run by {kind.runs}, which cannot be imported"):
        there = _is_there(*kind.runs.partition(":")[::2])
    if not there:
        raise UserError(
            f"{path}: method {kind.name!r} is run by {kind.runs}, which is not there",
            "name what makes the method of its settings, as in runs='._file:MyMethod' or 'package.module:MyMethod'",
        )


def _is_there(module: str, attribute: str) -> bool:
    """Whether a module has it, as far as that shows without importing what is not imported yet.

    Raises:
        UserError: a file of the folder that would be run is not Python.
    """
    if module in sys.modules:
        return bool(attribute) and hasattr(sys.modules[module], attribute)
    try:
        found = find_spec(module)
    except ValueError:
        found = None
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):  # what its package imports is not there
            raise
        found = None
    if found is None or not attribute:
        return False
    for file in _imported(_files(module)):
        _parsed(file)
    home = Path(found.origin or "")
    if home.suffix != ".py" or not any(home.is_relative_to(place) for place in __path__):
        return True
    tree = _parsed(home)
    return attribute in {*_stated(tree)} or not DYNAMIC.isdisjoint(_words(tree))


def _parsed(file: Path) -> ast.Module:
    """Raises UserError where it is not Python."""
    try:
        return ast.parse(file.read_bytes())
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        said = error.msg if isinstance(error, SyntaxError) else error
        raise UserError(f"{file}{line}: {said}", "mend the file, or take it out of the folder") from error


def _stated(node: ast.AST) -> Iterator[str]:
    """Names that a module's own lines state or use; inside of functions and classes, what they state for all of it."""
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield inner.name
            yield from (
                name for deep in ast.walk(inner) if isinstance(deep, ast.Global) for name in deep.names
            )
        elif isinstance(inner, ast.alias):
            yield inner.asname or inner.name.partition(".")[0]
        elif isinstance(inner, ast.Name):
            yield inner.id
        else:
            yield from _stated(inner)


def _words(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        yield from (
            word for field in ("id", "attr", "name") if isinstance(word := getattr(node, field, None), str)
        )


def _forget() -> None:
    """Nothing of a folder that was read before may enter a command that does not name it."""
    inside = f"{__name__}."
    for kind in [kind for kind in methods().values() if kind.config.__module__.startswith(inside)]:
        del methods()[kind.name]
        forget_method(kind)
    for name in own_metrics(list(METRICS)):
        forget_metric(name)
    metric_digests.clear()
    own_folders.clear()
    for name in [name for name in sys.modules if name.startswith(inside)]:
        del sys.modules[name]
    os.environ.pop(PLACE, None)
    __path__.clear()


if os.environ.get(PLACE):
    read_own(Path(os.environ[PLACE]))
