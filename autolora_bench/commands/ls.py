"""`autolora-bench ls tasks|models|methods|suites|data`: what can be chosen, a line each."""

from collections.abc import Sequence
from pathlib import Path

from autolora_bench.commands.request import read_request
from autolora_bench.config.choices import KINDS, choices, nearest, schema_of, summary
from autolora_bench.config.peft_method import NAME
from autolora_bench.config.peft_types import peft_types
from autolora_bench.config.store import METHODS
from autolora_bench.config.support import SUPPORT
from autolora_bench.errors import UserError


def run(words: Sequence[str]) -> int:
    """Print the names and first comment lines of one group, or of all."""
    kinds = [word for word in words if not word.startswith("-") and "=" not in word and word in KINDS]
    unknown = [w for w in words if w not in KINDS and not w.startswith("-") and _is_bare(words, w)]
    if unknown:
        raise UserError(
            f"ls {unknown[0]}: there is no such list",
            f"{nearest(unknown[0], list(KINDS))}one of: {', '.join(KINDS)}",
        )
    folders = read_request([word for word in words if word not in kinds]).folders
    for kind in kinds or KINDS:
        print(f"{kind}:")
        for name, path in choices(KINDS[kind], folders).items():
            print(f"  {name:24}{summary(path)}")
            limits = _limits(name, folders) if kind == "methods" else ""
            if limits:
                print(f"  {'':24}works on: {limits}")
        if kind == "methods":
            _print_types()
    return 0


def _print_types() -> None:
    """The types of the installed PEFT, which method=peft takes, and what is to be set of each."""
    print(f"types of PEFT (method={NAME} method.type=...), each with its own settings:")
    for name, info in peft_types().items():
        print(f"  {name:24}{', '.join(info.own)}")


def _limits(method: str, folders: list[Path]) -> str:
    """What a method works on, where that is not everything."""
    schema = METHODS.get(schema_of("method", method, folders) or "")
    return SUPPORT[schema].sentence() if schema is not None else ""


def _is_bare(words: Sequence[str], word: str) -> bool:
    position = list(words).index(word)
    return position == 0 or words[position - 1] not in ("--config-dir", "-cd")
