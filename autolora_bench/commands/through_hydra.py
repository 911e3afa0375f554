"""Hydra's part in a run or a sweep, with errors as one line instead of Hydra's traceback and end of the process."""

import io
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr

import hydra
from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from autolora_bench.config.compose import CONFIG, composer, explain
from autolora_bench.config.store import reading_once, register_schemas
from autolora_bench.errors import UserError
from autolora_bench.paths import conf_dir
from autolora_bench.processes import world_size
from autolora_bench.untrusted import printable

FULL_ERROR = "HYDRA_FULL_ERROR"
OPTUNA = "hydra_plugins.hydra_optuna_sweeper._impl"
"""Who logs, in the process that runs a study, what each trial raised, in whichever process it was."""
REFUSED = "this trial is refused: "
NO_SCORE = "No trials are completed yet"
"""What Optuna's sweeper raises after the last trial where none has a score."""
Job = Callable[[DictConfig], float | None]


ALONE = ("run", "multirun", "cfg", "info")
"""Flags of which Hydra takes one."""


class RefusedTrialError(Exception):
    """Why a trial of a study cannot be run, and what to do: it leaves no record."""

    def __str__(self) -> str:
        return f"{REFUSED}{self.args[0]}"


def ask(words: Sequence[str], job: Job) -> None:
    """Give Hydra a command line. Raises UserError for words that it does not take."""
    _check_flags(words)
    register_schemas()
    try:
        with _arguments(["autolora-bench", *words]), _errors_raised(), reading_once():
            hydra.main(config_path=str(conf_dir()), config_name=CONFIG, version_base="1.3")(job)()
    except (HydraException, OmegaConfBaseException) as error:
        with composer():
            raise explain(error) from error


def _check_flags(words: Sequence[str]) -> None:
    """Raises UserError where Hydra's reader of flags would print how it is called and end the process."""
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            flags = get_args_parser().parse_args(list(words))
    except SystemExit as error:
        raise UserError(
            said.getvalue().rpartition("error: ")[2].strip(), "as in: autolora-bench --cfg job task=rte"
        ) from error
    said_flags = [f"--{name}" for name in ALONE if getattr(flags, name)]
    if len(said_flags) > 1:
        raise UserError(f"{' and '.join(said_flags)} do not go together", "leave all but one of them out")


def sweep(words: Sequence[str], job: Job) -> bool:
    """Run every job of a command line; whether the launcher came to their end. One that gives up, as when a worker of
    its is killed, is told.

    What became of the jobs is for the records on disk to say. Raises UserError as `ask` does.
    """
    try:
        ask(words, job)
        return True
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, ValueError) and str(error).startswith(NO_SCORE):
            return True
        if os.environ.get(FULL_ERROR) or world_size() > 1:
            raise
        lines = str(error).strip().splitlines() or [""]
        print(f"the launcher gave up: {type(error).__name__}: {lines[0]}", file=sys.stderr)
        print(f"the same command goes on from here; {FULL_ERROR}=1 shows the traceback", file=sys.stderr)
        return False


@contextmanager
def refusals_told() -> Iterator[list[str]]:
    """Tells why trials are refused, each reason once, and lists the reason of every one."""
    found: list[str] = []

    def is_other(record: logging.LogRecord) -> bool:
        _, refused, reason = record.getMessage().partition(REFUSED)
        if not refused or record.levelno != logging.WARNING:
            return True
        if reason not in found:
            print(printable(reason), file=sys.stderr, flush=True)
        found.append(reason)
        return False

    log = logging.getLogger(OPTUNA)
    log.addFilter(is_other)
    try:
        yield found
    finally:
        log.removeFilter(is_other)


@contextmanager
def _arguments(words: list[str]) -> Iterator[None]:
    """Hydra reads a command line from where the interpreter keeps it."""
    before, sys.argv = sys.argv, words
    try:
        yield
    finally:
        sys.argv = before


@contextmanager
def _errors_raised() -> Iterator[None]:
    before = os.environ.get(FULL_ERROR)
    os.environ[FULL_ERROR] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[FULL_ERROR]
        else:
            os.environ[FULL_ERROR] = before
