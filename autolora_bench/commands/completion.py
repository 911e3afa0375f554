"""`autolora-bench completion bash|zsh`: a script for the shell, which asks `completion words LINE` what may follow."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from autolora_bench.commands.options import COMMANDS, JSON, VALUED
from autolora_bench.config.choices import GROUPS, KINDS, OPTIONAL_GROUPS, choices, schema_of
from autolora_bench.errors import UserError, nearest
from autolora_bench.paths import conf_dir
from autolora_bench.request import CONFIG_DIR

BASH = r"""_autolora_bench() {
    local line="${COMP_LINE:0:COMP_POINT}" word prefix found
    word="${line##* }"
    prefix="${word%"${word##*[=:]}"}"
    COMPREPLY=()
    while IFS= read -r found; do
        COMPREPLY+=("${found#"$prefix"}")
    done < <(autolora-bench completion words "$line" 2>/dev/null)
    [[ ${#COMPREPLY[@]} -ge 1 && "${COMPREPLY[0]}" == *[=.] ]] && compopt -o nospace
}
complete -o default -F _autolora_bench autolora-bench
"""
ZSH = r"""#compdef autolora-bench
_autolora_bench() {
    local -a found open closed
    found=("${(@f)$(autolora-bench completion words "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    open=(${(M)found:#*[=.]})
    closed=(${found:#*[=.]})
    (( ${#open} )) && compadd -S '' -- $open
    (( ${#closed} )) && compadd -- $closed
    (( ${#found[1]} )) || _files
}
compdef _autolora_bench autolora-bench
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH}
WORDS = "words"
OTHER = ("seed=", "results=", "rerun=", "push=", "device=")
DEVICES = ("auto", "cpu", "cuda", "mps")
SETTINGS = ("task.", "method.", "model.", "data.", "train.")


def run(words: Sequence[str]) -> int:
    """Print a shell's script, or what may come next on a command line, a line each."""
    if words[:1] == [WORDS] and len(words) == 2:
        print("\n".join(candidates(words[1])))
        return 0
    if len(words) != 1 or words[0] not in SCRIPTS:
        said = words[0] if words else ""
        raise UserError(
            f"completion {said}: for which shell?" if words else "completion: for which shell?",
            f'{nearest(said, SCRIPTS)}bash or zsh, as in: eval "$(autolora-bench completion bash)"',
        )
    print(SCRIPTS[words[0]], end="")
    return 0


def candidates(line: str) -> list[str]:
    """What the last word of a command line, up to the cursor, may become; words that end in `=` or `.` go on."""
    before, word = line.split()[1:], ""
    if not line.endswith((" ", "\t")) and before:
        before, word = before[:-1], before[-1]
    if before[-1:] and before[-1] in VALUED:
        return []
    folders = [*_own_folder(before), conf_dir()]
    return [found for found in _possible(before, word, folders) if found.startswith(word) and found != word]


def _own_folder(words: Sequence[str]) -> list[Path]:
    said = [word.partition("=")[2] for word in words if word.startswith("--config-dir=")]
    said += [words[place + 1] for place, word in enumerate(words[:-1]) if word in CONFIG_DIR]
    return [Path(name).expanduser() for name in said[-1:]]


def _possible(before: Sequence[str], word: str, folders: list[Path]) -> Iterator[str]:
    command = next((one for one in before if one in COMMANDS), None)
    name, given, value = word.partition("=")
    if given:
        yield from (f"{name}={one}" for one in _values(command, name, value, before, folders))
        return
    if command is None:
        yield from COMMANDS
    if word.startswith("-"):
        yield from ("--config-dir", "--help", *([] if command else ["--cfg", "--version", "--multirun"]))
        if command and COMMANDS[command].json:
            yield JSON
        return
    match command:
        case "ls":
            group = _group(before)
            yield from (choices(group, folders) if group else (*KINDS, *KINDS.values()))
        case "fetch":
            yield from choices("model", folders)
        case "completion":
            yield from SCRIPTS
        case "help":
            yield from (*COMMANDS, *(f"{group}=" for group in ("task", "method", "model", "data")), *SETTINGS)
            yield from _settings(before, word, folders, end="")
        case "score":
            yield from (f"{option.name}=" for option in COMMANDS["score"].takes)
        case _:
            options = COMMANDS[command].takes if command else ()
            yield from (f"{option.name}=" for option in options)
            yield from (f"{group}=" for group in (*GROUPS, *OPTIONAL_GROUPS))
            yield from OTHER
            yield from SETTINGS
            yield from _settings(before, word, folders)


def _group(before: Sequence[str]) -> str | None:
    return next((KINDS.get(one, one) for one in before if one in KINDS or one in KINDS.values()), None)


def _values(
    command: str | None, name: str, value: str, before: Sequence[str], folders: list[Path]
) -> Iterator[str]:
    """What the part after the last comma may become."""
    done, comma, _ = value.rpartition(",")
    options = {option.name: option.choices for option in COMMANDS[command].takes} if command else {}
    if options.get(name):
        found: Sequence[str] = options[name]
    elif name in (*GROUPS, *OPTIONAL_GROUPS):
        found = list(choices(name, folders))
    else:
        found = DEVICES if name == "device" else _choices(name, before, folders)
    yield from (f"{done}{comma}{one}" for one in found)


def _settings(before: Sequence[str], word: str, folders: list[Path], end: str = "=") -> Iterator[str]:
    """The dotted settings below what has been typed of one."""
    group, dot, _ = word.partition(".")
    if not dot:
        return
    hints = _hints(group, before, folders)
    inside = word.rpartition(".")[0]
    for part in inside.split(".")[1:]:
        hints = get_type_hints(kind, include_extras=True) if (kind := _node(hints.get(part))) else {}
    for name, hint in hints.items():
        yield f"{inside}.{name}{'.' if _node(hint) else end}"


def _choices(name: str, before: Sequence[str], folders: list[Path]) -> list[str]:
    from autolora_bench.config.describe import choices_of
    from autolora_bench.config.experiment import ExperimentConfig

    if "." not in name:
        return choices_of(get_type_hints(ExperimentConfig).get(name))
    group, *parts = name.split(".")
    hints = _hints(group, before, folders)
    for part in parts[:-1]:
        hints = get_type_hints(kind, include_extras=True) if (kind := _node(hints.get(part))) else {}
    return choices_of(hints[parts[-1]]) if parts and parts[-1] in hints else []


def _node(hint: Any) -> type | None:
    return hint if isinstance(hint, type) and dataclasses.is_dataclass(hint) else None


def _hints(group: str, before: Sequence[str], folders: list[Path]) -> dict[str, Any]:
    """The fields of a group's schema: of the task and method that the line has chosen, else of the defaults."""
    from autolora_bench.config.data import DataConfig
    from autolora_bench.config.model import ModelConfig
    from autolora_bench.config.registry import methods
    from autolora_bench.config.task import TASKS
    from autolora_bench.config.train import TrainConfig

    plain: dict[str, type] = {"data": DataConfig, "model": ModelConfig, "train": TrainConfig}
    if group in plain:
        return get_type_hints(plain[group], include_extras=True)
    default = {"task": "rte", "method": "lora"}.get(group)
    if default is None:
        return {}
    said = [word.partition("=")[2].partition(",")[0] for word in before if word.startswith(f"{group}=")]
    kinds: dict[str, Any] = (
        dict(TASKS) if group == "task" else {name: kind.config for name, kind in methods().items()}
    )
    kind = kinds.get(schema_of(group, (said or [default])[-1], folders) or "")
    return get_type_hints(kind, include_extras=True) if kind else {}
