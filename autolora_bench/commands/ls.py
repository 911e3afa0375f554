"""`autolora-bench ls tasks|models|methods|suites|data`: what can be chosen, a line each; `ls task NAME` explains it."""

from collections.abc import Sequence
from pathlib import Path

from autolora_bench.commands.options import bare_words, print_json, split_json
from autolora_bench.config.choices import (
    KINDS,
    check_choice,
    choices,
    explanation,
    schema_of,
    summary,
)
from autolora_bench.config.peft_method import NAME
from autolora_bench.config.peft_types import peft_types
from autolora_bench.config.registry import methods
from autolora_bench.errors import UserError, nearest

LISTS = {**KINDS, **{group: group for group in KINDS.values()}}
"""What may be said -> the group that is meant: `tasks` and `task`."""


def run(words: Sequence[str]) -> int:
    """Print the names and first comment lines of one group, or of all; or everything that a choice says of itself."""
    as_json, words = split_json(words)
    bare, request = bare_words(
        "ls", words, "lists and names are said without =", "autolora-bench ls task any"
    )
    folders = request.folders
    groups = [LISTS[word] for word in bare if word in LISTS]
    names = [word for word in bare if word not in LISTS]
    if names and not groups:
        raise UserError(
            f"ls {names[0]}: there is no such list",
            f"{nearest(names[0], KINDS)}one of: {', '.join(KINDS)}",
        )
    for name in names:
        check_choice(groups[0], name, folders)
    if as_json:
        wanted = groups or list(KINDS.values())
        print_json({kind: _plain(KINDS[kind], names, folders) for kind in KINDS if KINDS[kind] in wanted})
        return 0
    for name in names:
        print("\n".join([f"{groups[0]}={name}", *_explained(groups[0], name, folders)]))
    for group in [] if names else groups or KINDS.values():
        print(f"{next(kind for kind in KINDS if KINDS[kind] == group)}:")
        for name, path in choices(group, folders).items():
            print(f"  {name:23} {summary(path)}")
            limits = _limits(name, folders) if group == "method" else ""
            if limits:
                print(f"  {'':24}works on: {limits}")
        if group == "method":
            _print_types()
    return 0


def _plain(group: str, names: Sequence[str], folders: list[Path]) -> list[dict[str, str]]:
    """A group's choices, or those named, for programs."""
    return [
        {"name": name, "summary": summary(path), "about": "\n".join(explanation(path))}
        | ({"works_on": _limits(name, folders)} if group == "method" else {})
        for name, path in choices(group, folders).items()
        if name in names or not names
    ]


def _explained(group: str, name: str, folders: list[Path]) -> list[str]:
    lines = [f"  {line}".rstrip() for line in explanation(choices(group, folders)[name])]
    limits = _limits(name, folders) if group == "method" else ""
    lines += [f"  works on: {limits}"] if limits else []
    return lines


def _print_types() -> None:
    """The types of the installed PEFT, which method=peft takes, and what is to be set of each."""
    print(f"types of PEFT (method={NAME} method.type=...), each with its own settings:")
    for name, info in peft_types().items():
        print(f"  {name:23} {', '.join(info.own)}")


def _limits(method: str, folders: list[Path]) -> str:
    """What a method works on, where that is not everything."""
    kind = methods().get(schema_of("method", method, folders) or "")
    return kind.works_on.sentence() if kind is not None else ""
