"""Commands and texts without the folders of the machine that they come from: for records that others read."""

import re
import shlex

DIR = "DIR"
"""Stands for a folder in a command, as in the documentation."""
FOLDERS = ("data.dir", "model.path", "--config-dir", "-cd")
ABSOLUTE = re.compile(
    r"""(?<=["'])~?/(?:[^"'/\n]+/)+|(?:(?<=file://)|(?<![\w.:/*~)\]}]))~?/(?:[^\s/'"<>|,;]+/)+"""
)
"""The folders of an absolute path, quoted or not; not those of an address on the network."""


def portable_command(command: str) -> str:
    """The command with DIR for the machine's folders, without results=, and with other absolute paths cut."""
    words: list[str] = []
    try:
        given_words = shlex.split(command)
    except ValueError:  # a command of somebody else's, with a quotation that never ends
        return without_folders(command)
    for word in given_words:
        name, given, _ = word.partition("=")
        if words and words[-1] in FOLDERS:
            words.append(DIR)
        elif given and name in FOLDERS:
            words.append(f"{name}={DIR}")
        elif name != "results":
            words.append(without_folders(word))
    return shlex.join(words)


def without_folders(text: str) -> str:
    """The text with every absolute path in it cut to its last part."""
    return ABSOLUTE.sub(".../", text)
