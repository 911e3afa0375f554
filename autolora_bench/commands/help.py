"""`autolora-bench` without words and --help; `help COMMAND`; `help method=autolora`: every setting of a choice."""

import textwrap
from collections.abc import Sequence

from autolora_bench.commands.options import COMMANDS, WIDTH, command_help
from autolora_bench.config.choices import choices
from autolora_bench.errors import UserError, nearest
from autolora_bench.paths import conf_dir
from autolora_bench.request import CONFIG_DIR

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
settings: autolora-bench help method=lora (task=rte, train, seed, suite=fair, ...) explains them;
--cfg job shows all with their values
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
    """Print the help, that of commands, or the settings that words name.

    Raises:
        UserError: a word that names none of these.
    """
    bare = [word for word in words if word in COMMANDS]
    rest = [word for word in words if word not in bare]
    if not rest:
        print("\n".join(command_help(name) for name in bare) if bare else help_text(), end="")
        return 0
    # Hydra, which the help does without
    from autolora_bench.commands.settings import known_names, settings_text

    known = known_names()
    asked = [word for word in rest if word.partition("=")[0].partition(".")[0] in known]
    flags = [word for word in rest if word not in asked]
    values = [word for place, word in enumerate(flags) if place and flags[place - 1] in CONFIG_DIR]
    unknown = [
        word
        for word in flags
        if not word.startswith("-") and word not in values and not (asked and "=" in word)
    ]
    if unknown:
        raise UserError(
            f"help {unknown[0]}: there is no such command or setting",
            f"{nearest(unknown[0], [*COMMANDS, *known])}as in: help report, help method=autolora, help train.epochs",
        )
    print(settings_text(asked, flags) if asked else help_text(), end="")
    return 0
