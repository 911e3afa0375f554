"""`autolora-bench` without words and --help; `help COMMAND`; `help method=autolora`: every setting of a choice."""

import textwrap
from collections.abc import Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from autolora_bench.commands.options import COMMANDS, command_help
from autolora_bench.config.choices import check_choice, choices, schema_of, summary
from autolora_bench.errors import UserError, nearest
from autolora_bench.paths import conf_dir
from autolora_bench.request import CONFIG_DIR, read_request

GROUPS = ("task", "method", "model", "data", "train")
"""Those with settings."""
WIDTH = 110

TEXT = """\
autolora-bench: honest, fast, reproducible benchmarking of low-rank fine-tuning

  autolora-bench task=TASK method=METHOD [model=MODEL] [data=DATA] [seed=N] [SETTING=VALUE ...]
  autolora-bench -m task=A,B method=X,Y seed=0,1,2        a sweep: every combination
  autolora-bench suite=SUITE                              a table of the paper, or what is missing of it

commands (after most of them the same words choose what they are about); help COMMAND explains one with its options
{commands}
--json after {json} prints for programs

where and again
  results=DIR       where runs are written and looked for (runs/)
  records=DIR,...   report and stability read records from there instead; merge=DIR,... beside it
  rerun=missing|failed|all|never      which runs a command makes: missing and failed ones (the default), ...
  push=USER/NAME    sends the completed run's export to a model hub, which makes a private repository of it
  --config-dir DIR  your own tasks, models, methods and suites, in a folder laid out like conf/; the Python files in
                    DIR/methods and DIR/metrics are run: they state methods and metrics of your own (CONTRIBUTING.md)

examples
  autolora-bench task=sst2 method=autolora model=roberta_base
  autolora-bench task=rte method=autolora model=minilm data=local data.dir=DIR train.epochs=3
  autolora-bench suite=demo

choices
{choices}
settings: autolora-bench help method=lora (task=rte, train, ...) explains them; --cfg job shows all with their values
"""


def help_text() -> str:
    """The whole help."""
    lines = [
        f"  {group:7}{', '.join(choices(group, [conf_dir()]))}\n"
        for group in ("task", "method", "model", "data", "suite")
    ]
    width = max(map(len, COMMANDS)) + 2
    said = [
        textwrap.fill(
            f"{name:{width}}{command.summary}",
            WIDTH,
            initial_indent="  ",
            subsequent_indent=" " * (width + 2),
        )
        for name, command in COMMANDS.items()
    ]
    *most, last = [name for name, command in COMMANDS.items() if command.json]
    return TEXT.format(
        choices="".join(lines), commands="\n".join(said) + "\n", json=f"{', '.join(most)} and {last}"
    )


def run(words: Sequence[str]) -> int:
    """Print the help, that of commands, or the settings that words name."""
    bare = [word for word in words if word in COMMANDS]
    asked = [
        word for word in words if word not in bare and word.partition("=")[0].partition(".")[0] in GROUPS
    ]
    flags = [word for word in words if word not in bare and word not in asked]
    unknown = [word for word in flags if "=" not in word and not word.startswith("-")]
    folder = [word for place, word in enumerate(flags) if place and flags[place - 1] in CONFIG_DIR]
    if [word for word in unknown if word not in folder]:
        name = next(word for word in unknown if word not in folder)
        raise UserError(
            f"help {name}: there is no such command or setting",
            f"{nearest(name, [*COMMANDS, *GROUPS])}as in: help report, help method=autolora, help train.epochs",
        )
    if asked:
        print(settings_text(asked, flags), end="")
    elif bare:
        print("\n".join(command_help(name) for name in bare), end="")
    else:
        print(help_text(), end="")
    return 0


def settings_text(asked: Sequence[str], flags: Sequence[str] = ()) -> str:
    """Settings with their values, what they may be, and what they mean.

    Args:
        asked: `method=autolora` (all of a choice's), `train` (a group's), `train.epochs` (one, or those below a name).
        flags: further words of the command line.

    Raises:
        UserError: a choice or setting that is not there.
    """
    from autolora_bench.config.compose import compose_config, composer, search_path
    from autolora_bench.config.describe import settings_of

    chosen = [word for word in asked if "=" in word]
    request = read_request([*flags, *chosen])
    for word in chosen:
        group, _, choice = word.partition("=")
        if group in GROUPS:
            check_choice(group, choice, request.folders)
    extra = [search_path(request.config_dir)] if request.config_dir else []
    with composer():
        config = compose_config([*extra, *request.overrides])
        found = {group: list(settings_of(config[group], group)) for group in GROUPS}
    lines: list[str] = []
    for word in asked:
        said, given, choice = word.partition("=")
        group = said.partition(".")[0]
        whole = bool(given) and said == group
        below = [setting for setting in found[group] if f"{setting.name}.".startswith(f"{said}.")]
        shown = found[group] if whole else below
        if not shown:
            choice_made = f"{group}={config.hydra.runtime.choices[group]}"
            having = _having(said, request.folders) if group == "method" else None
            raise UserError(
                f"help {word}: there is no such setting with {choice_made}",
                f"say help {group}={having} {word}"
                if having
                else f"{nearest(word, [setting.name for setting in found[group]])}help {group} shows all",
            )
        if whole:
            lines.append(f"{word}: {summary(choices(group, request.folders)[choice])}")
        for setting in shown:
            lines.append(f"  {setting.name}={setting.default}    {setting.kind}")
            lines += textwrap.wrap(setting.meaning, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines) + "\n"


def _having(setting: str, folders: list[Path]) -> str | None:
    """The first method, by name, whose settings hold this one."""
    from autolora_bench.config.registry import methods  # OmegaConf, which the bare call does without

    for name in choices("method", folders):
        schema: Any = methods()[str(schema_of("method", name, folders))].config
        for part in setting.split(".")[1:]:
            schema = get_type_hints(schema).get(part) if is_dataclass(schema) else None
        if schema is not None:
            return name
    return None
