"""`autolora-bench help method=autolora`, `help train.epochs`, `help seed`, `help suite=fair`: settings explained."""

import textwrap
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from omegaconf import OmegaConf

from autolora_bench.commands.options import WIDTH
from autolora_bench.config.choices import GROUPS, check_choice, choices, explanation, schema_of, summary
from autolora_bench.config.compose import compose_config, composer, search_path
from autolora_bench.config.describe import Setting, settings_of
from autolora_bench.config.experiment import ExperimentConfig, TuningConfig
from autolora_bench.config.registry import methods
from autolora_bench.config.task import TASKS
from autolora_bench.errors import UserError, nearest
from autolora_bench.request import read_request
from autolora_bench.sweeps.expansion import words_of_first

SUITE = "suite"


def known_names() -> list[str]:
    """First names of what can be asked about: groups, suites among them, and the settings of no group."""
    return [*GROUPS, *(f.name for f in fields(ExperimentConfig) if f.name not in GROUPS)]


def settings_text(asked: Sequence[str], flags: Sequence[str]) -> str:
    """Settings with their values, what they may be, and what they mean.

    Args:
        asked: `method=autolora` (all of a choice's), `suite=fair` (what it runs, and its own), `train` (a group's),
            `train.epochs` (one, or those below a name), `seed`.
        flags: further words of the command line.

    Raises:
        UserError: a choice or setting that is not there, or two choices of one group.
    """
    chosen = [word for word in dict.fromkeys(asked) if "=" in word]
    request = read_request([*flags, *chosen])
    for word in chosen:
        group, _, choice = word.partition("=")
        if group in GROUPS:
            check_choice(group, choice, request.folders)
        same = [other for other in chosen if other.startswith(f"{group}=")]
        if len(same) > 1:
            raise UserError(
                f"help {' '.join(same)}: settings are shown of one {group} at a time", f"say help {same[0]}"
            )
    extra = [search_path(request.config_dir)] if request.config_dir else []
    with composer():
        config = compose_config([*extra, *words_of_first(request)])
        found = _found(config)
    lines: list[str] = []
    for word in asked:
        said, given, choice = word.partition("=")
        group = said.partition(".")[0]
        whole = bool(given) and said == group and group in GROUPS
        if whole and group != SUITE:
            lines.append(f"{word}: {summary(choices(group, request.folders)[choice])}")
        if whole and group == SUITE:
            lines += _of_suite(word, choices(group, request.folders)[choice], config)
            shown = [*found["compare"], *(found["tuning"] if config.tuning is not None else [])]
        else:
            below = [one for one in found.get(group, []) if f"{one.name}.".startswith(f"{said}.")]
            shown = found[group] if whole else below
        if not shown:
            raise _no_setting(word, config, found.get(group, []), request.folders)
        for setting in shown:
            lines.append(f"  {setting.name}={setting.default}    {setting.kind}")
            lines += textwrap.wrap(setting.meaning, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines) + "\n"


def _found(config: Any) -> dict[str, list[Setting]]:
    """First name -> the settings below it, as composed; those of tuning as they are where no suite tunes."""
    found: dict[str, list[Setting]] = {}
    for setting in settings_of(config, ""):
        found.setdefault(setting.name.partition(".")[0], []).append(setting)
    if config.tuning is None:
        found["tuning"] = list(settings_of(OmegaConf.structured(TuningConfig), "tuning"))
    return found


def _of_suite(word: str, path: Path, config: Any) -> list[str]:
    """What a suite says of itself and sweeps over, as words, and the suites beside it."""
    about = textwrap.wrap(f"{word}: {' '.join(explanation(path))}", WIDTH, subsequent_indent=" " * 2)
    swept = [f"  {name}={values}" for name, values in (config.hydra.sweeper.get("params") or {}).items()]
    return [*about, *swept, *(f"  and suite={name}" for name in config.beside)]


def _no_setting(word: str, config: Any, known: Sequence[Setting], folders: list[Path]) -> UserError:
    """Of a word that names no setting; it says of which task or method there is one."""
    setting = word.partition("=")[0]
    group = setting.partition(".")[0]
    if group == SUITE:
        return UserError(
            f"help {word}: of suites one is shown", "as in help suite=fair; autolora-bench ls suites"
        )
    choice = config.hydra.runtime.choices.get(group)
    having = _having(group, setting, folders)
    return UserError(
        f"help {word}: there is no such setting{f' with {group}={choice}' if choice else ''}",
        f"say help {group}={having} {word}"
        if having
        else f"{nearest(word, [one.name for one in known])}help {group} shows all",
    )


def _having(group: str, setting: str, folders: list[Path]) -> str | None:
    """The first task or method, by name, whose settings hold this one."""
    known: dict[str, dict[str, Any]] = {
        "task": {**TASKS},
        "method": {name: kind.config for name, kind in methods().items()},
    }
    for name in choices(group, folders) if group in known else ():
        schema = known[group].get(str(schema_of(group, name, folders)))
        for part in setting.split(".")[1:]:
            schema = get_type_hints(schema).get(part) if is_dataclass(schema) else None
        if schema is not None:
            return name
    return None
