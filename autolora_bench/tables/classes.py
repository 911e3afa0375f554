"""Which classes a column holds, in their fixed order: only where no doubt is left, as in `tables.roles`."""

import json
import re
from collections.abc import Mapping, Sequence
from shlex import quote as quoted

from autolora_bench.errors import require
from autolora_bench.tables.profile import Column, Content, as_number

PLAIN = re.compile(
    r"(?!(?:true|false|null|nan|inf|infinity)$)[a-z_][\w-]*|0|[1-9]\d*", re.IGNORECASE | re.ASCII
)
"""A class that Hydra reads as it is written."""
LISTED = 12
TRAIN = "train"


def check_read(where: str, label: Column) -> None:
    """Raises UserError where the column to be predicted is of a type that is read as no class and no number."""
    require(
        label.content is not Content.other or label.values is not None,
        f"{where}: {label.name} holds neither texts nor numbers alone, but dates or decimals, say, or several types",
        "write it as text or as numbers in the file, or name another task.label",
    )


def find_classes(where: str, named: Sequence[str], labels: Mapping[str, Column]) -> list[str]:
    """The classes in their fixed order: said, or the file's own, or numbers by size and names by the alphabet.

    Args:
        where: the table, for messages.
        named: task.labels.
        labels: split -> the column with the classes, with all its values.

    Raises:
        UserError: the column holds no classes, or there is doubt about them; with what to say.
    """
    train = labels[TRAIN]
    check_read(where, train)
    require(
        train.single or train.values == [],
        f"{where}: {train.name} holds {train.content}, and a class is a single text or number",
        "name another task.label, or say task.kind=tagging for a tag to each word",
    )
    present = (
        [train.names[int(value)] for value in _indices(where, train)] if train.names else train.values or []
    )
    said = [name.lower() for name in named] if train.content is Content.boolean else named
    names = said or train.names or _ordered(present)
    alike = [] if said or train.names else _spelled_twice(present)
    require(
        not alike,
        f"{where}: {train.name} holds {' and '.join(alike)}: one class that is spelled in several ways, or several?",
        f"spell it one way in the file; if they are several, say {_in_words(present)}",
    )
    known = {*names}
    unknown = [name for name in present if name not in known]
    require(
        not unknown,
        f"task.labels leaves out {', '.join(unknown[:LISTED])}, which {where} holds in {train.name}",
        f"name what the data hold: {_in_words(present)}",
    )
    require(
        len(names) > 1,
        f"{where}: {train.name} holds one value alone, {names[0] if names else 'nothing'}",
        "give examples of two classes or more, or name another task.label",
    )
    for split, column in labels.items():
        found = [] if column.names is not None else [v for v in column.values or [] if v not in known]
        require(
            column.names in (None, train.names) and not found,
            f"{where}: {split} has classes that train has not: {', '.join(found[:LISTED]) or column.names}",
            "mend the labels, or say all classes in task.labels=[...]",
        )
    return list(names)


def _spelled_twice(names: Sequence[str]) -> list[str]:
    """Two classes that differ in capitals alone, are one number (1 and 1.0), or are a truth value and a number; empty
    where there are none. Digits alone, 01 and 1, may be codes."""
    letters: dict[str, str] = {}
    numbers: dict[float, str] = {}
    for name in names:
        number = as_number(name)
        alike = letters.setdefault(name.lower(), name)
        equal = name if number is None else numbers.setdefault(number, name)
        if alike != name:
            return [alike, name]
        if equal != name and not (equal.isdigit() and name.isdigit()):
            return [equal, name]
    truth = [name for name in names if name.lower() in ("true", "false")]
    counted = [numbers[number] for number in (0, 1) if number in numbers]
    return [*truth[:1], *counted[:1]] if truth and counted else []


def _indices(where: str, column: Column) -> list[str]:
    names, values = column.names or [], column.values or []
    wrong = [value for value in values if not 0 <= int(value) < len(names)]
    require(
        not wrong,
        f"{where}: {column.name} holds {', '.join(wrong[:LISTED])}, the number of none of its {len(names)} classes",
        "leave out the examples without a class",
    )
    return values


def _in_words(names: Sequence[str] | set[str]) -> str:
    """The setting that names these classes, as a shell and Hydra read it: what is no plain word stands in quotes."""
    shown = [
        name if PLAIN.fullmatch(name) else json.dumps(name, ensure_ascii=False) for name in _ordered(names)
    ]
    found = f"task.labels=[{','.join(shown)}]"
    return found if shown == list(_ordered(names)) else quoted(found)


def _ordered(values: Sequence[str] | set[str]) -> list[str]:
    try:
        return sorted(values, key=lambda value: (float(value), value))
    except ValueError:
        return sorted(values)
