"""Commands and texts without the folders of the machine that they come from: for records that others read."""

import os
import re
import shlex
from collections.abc import Iterable

DIR = "DIR"
"""Stands for a folder in a command, as in the documentation."""
FOLDERS = ("data.dir", "model.path", "--config-dir", "-cd")
PREFIXES = "+~"
"""What Hydra takes before a setting's name, to add it or to take it away."""
ROOT = r"(?:~?/|~[\w.-]+(?=/))"
"""How a place begins that is the machine's, or somebody's home."""
PARTS = r"""(?:[^\s/'"<>|,;]+/)"""
ABSOLUTE = re.compile(
    rf"""(?:(?<=")|(?<="file://))~?/(?:[^"/\n]+/)+|(?:(?<=')|(?<='file://))~?/(?:[^'/\n]+/)+"""
    rf"""|(?:(?<=file://)|(?<![\w.:/*~)\]}}]))~?/{PARTS}+"""
)
"""The folders of an absolute path in a text, quoted or not; not those of an address on the network."""
WHOLE = re.compile(rf"()((?:file://)?)({ROOT}.*/)(.*)", re.DOTALL)
"""A setting's value that is a place: what is before it, `file://`, its folders, its last part, blanks and all."""
ELEMENT = re.compile(
    rf"""([\[{{(,:]\s*["']?)((?:file://)?)((?!//){ROOT}(?:\\.|[^,\[\]{{}}\\])*/)([^,\[\]{{}}/"']*)""",
    re.DOTALL,
)
"""The same of a place in a list or a mapping."""
CUT = r"\1\2.../\4"


def portable_command(command: str) -> str:
    """The command with DIR for the machine's folders, without results=, and with other absolute paths cut."""
    words: list[str] = []
    try:
        given_words = shlex.split(command)
    except ValueError:  # a command of somebody else's, with a quotation that never ends
        return without_folders(command)
    for word in given_words:
        name, value = _setting(word)
        setting = name.lstrip(PREFIXES).removesuffix("=")
        if words and words[-1] in FOLDERS:
            words.append(DIR)
        elif name.endswith("=") and setting in FOLDERS:
            words.append(f"{name}{DIR}")
        elif setting != "results":
            words.append(f"{name}{portable_value(value)}")
    return shlex.join(words)


def portable_value(value: str) -> str:
    """A setting's value, as one would type it, with every absolute path in it cut to its last part."""
    cut = WHOLE.sub(CUT, value) if WHOLE.match(value) else ELEMENT.sub(CUT, value)
    return without_folders(cut)


def places_of(command: str) -> set[str]:
    """The absolute paths that a command names."""
    try:
        words = shlex.split(command)
    except ValueError:
        return set()
    return places_in(_setting(word)[1] for word in words)


def places_in(values: Iterable[str]) -> set[str]:
    """The absolute paths among settings' values, as one would type them."""
    found = set()
    for value in values:
        whole = WHOLE.match(value)
        found |= {match[3] + match[4] for match in ([whole] if whole else ELEMENT.finditer(value))}
    return found


def without_folders(text: str, places: Iterable[str] = ()) -> str:
    """The text with every absolute path in it cut to its last part.

    Args:
        text: any. Nothing in it says where a path with blanks ends that is not quoted.
        places: absolute paths that it may name, or name files of: these are found with their blanks.
    """
    known = {form for place in places for form in (place, os.path.expanduser(place))}
    folders = {
        folder for place in known for folder in (place.rstrip("/"), os.path.dirname(place.rstrip("/")))
    }
    longest_first = sorted(folders - {"", "/", "~"}, key=lambda folder: (-len(folder), folder))
    if longest_first:
        either = "|".join(map(re.escape, longest_first))
        text = re.sub(rf"(?:(?<=file://)|(?<![\w./*~)\]}}]))(?:{either})/{PARTS}*", ".../", text)
    return ABSOLUTE.sub(".../", text)


def _setting(word: str) -> tuple[str, str]:
    """A word's name with its `=`, and its value; of one without `=`, which may be a place, the latter alone."""
    name, given, value = word.partition("=")
    if given:
        return name + given, value
    taken_away = word.startswith("~") and not word.startswith("~/")
    return (word, "") if taken_away else ("", word)
