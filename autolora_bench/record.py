"""The record of one run: run.json, versioned, written whole or not at all."""

import codecs
import dataclasses
import errno
import json
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Len, Predicate

from autolora_bench.errors import UserError, reason
from autolora_bench.paths import RECORD
from autolora_bench.untrusted import check_plain, in_a_line, read_bytes

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

VERSION = 1
Name = Annotated[str, Len(1, 100), Predicate(str.isprintable)]
"""Becomes part of tables and of file names."""
STRICT = {"strict": True, "extra": "forbid", "allow_inf_nan": False}
"""How records are read, in pydantic's words: no conversion of types, no unknown field, no number that is none."""


FULL = (errno.ENOSPC, errno.EDQUOT)
MEND = "move it away; its run starts again"
CUT_OFF = "EOF while parsing"
"""What pydantic says of JSON without its end."""
WRONG = {
    "int_type": "is not a whole number",
    "float_type": "is not a number (undefined scores are null)",
    "finite_number": "is not a number (undefined scores are null)",
    "string_type": "is not text",
    "bool_type": "is neither true nor false",
    "dict_type": "is not a mapping",
    "list_type": "is not a list",
    "dataclass_type": "is not a mapping",
    "missing": "is missing",
    "unexpected_keyword_argument": "is unknown",
    "too_long": "is longer than a name may be",
    "string_too_long": "is longer than a name may be",
    "too_short": "is empty",
    "string_too_short": "is empty",
    "predicate_failed": "has characters that cannot be printed",
}
"""pydantic's kinds of errors, in plain words."""
PRETRAINED = "pretrained model"
"""Of `RunRecord.inputs`: what the model was loaded from."""


class TornRecordError(UserError):
    """A record that is no JSON, as a power cut may leave it."""


class Status(StrEnum):
    """What became of a run or a phase."""

    running = "running"
    completed = "completed"
    failed = "failed"
    interrupted = "interrupted"


@dataclass
class Evaluation:
    """Scores of one split at one moment of one phase."""

    __pydantic_config__ = STRICT
    phase: Name
    split: Name
    epoch: float
    step: int
    scores: dict[Name, float | None]
    """Metric -> value in the metric's own unit (metrics.registry); None where it is not defined."""
    examples: int
    train_loss: float | None = None
    """Mean training loss since the evaluation before."""
    note: str | None = None
    """What a reader must know, e.g. that only a part of the split was scored."""
    largest_class: float | None = None
    """Of an accuracy: share of the split's most frequent label, which is what always saying it scores. Older records
    have none."""


@dataclass
class PhaseRecord:
    """One phase of a method: search, threshold, retrain, finetune, evaluate."""

    __pydantic_config__ = STRICT
    name: Name
    status: Status
    seconds: float = 0.0
    """Wall-clock time of all attempts, loading included."""
    train_seconds: float | None = None
    """Wall-clock time of optimizer steps alone."""
    peak_memory_bytes: int | None = None
    """CUDA: peak allocated; CPU: peak resident set of the process."""
    steps: int | None = None
    examples: int | None = None
    """Examples seen by forward and backward passes, padding rows excluded."""
    tokens: int | None = None
    """Tokens computed by forward and backward passes, padding included where it is computed."""
    flops: float | None = None
    """Floating-point operations, estimated as transformers does (6 x weights x tokens)."""
    artefact: Name | None = None
    """File or folder inside the run's folder."""
    details: dict[str, Any] = field(default_factory=dict)
    """What the phase reports beyond this, e.g. budget schedule, diagnostics."""
    train_cpu_seconds: float | None = None
    """Processor time of the main process, all its threads, in optimizer steps alone; hardly changes where other
    programs share the machine, as wall-clock time does. Older records have none."""
    checksums: dict[str, int] = field(default_factory=dict)
    """File in the phase's folder -> CRC-32, of what the completed phase left for later ones and for readers."""


@dataclass
class LayerRank:
    """The rank of one adapted layer; 0 where it was dropped."""

    __pydantic_config__ = STRICT
    module: Name
    block: int | None
    projection: Name
    rank: int


@dataclass
class Parameters:
    """Numbers of weights."""

    __pydantic_config__ = STRICT
    total: int
    """Of the pretrained model with its head, without adapters."""
    trainable: int
    head: int
    """Trainable weights of the task's head, which every method trains; papers leave them out."""

    @property
    def method(self) -> int:
        """Trainable weights the method adds or tunes, without the head."""
        return self.trainable - self.head


@dataclass
class RunRecord:
    """Everything a report needs to know of one run."""

    __pydantic_config__ = STRICT
    task: Name
    model: Name
    method: Name
    config_id: Name
    seed: int
    status: Status
    config: dict[str, Any]
    """The configuration that was hashed into config_id (config.experiment.experiment_identity)."""
    command: str
    """The command that reproduces this run."""
    version: int = VERSION
    locations: dict[str, Any] = field(default_factory=dict)
    """Where things lay on the machine: data.dir; and the device that was asked for."""
    started: str | None = None
    finished: str | None = None
    """ISO 8601, UTC."""
    headline: Name | None = None
    """The metric that chooses the best epoch."""
    metrics: dict[Name, bool] = field(default_factory=dict)
    """Metric -> whether higher is better."""
    phases: list[PhaseRecord] = field(default_factory=list)
    history: list[Evaluation] = field(default_factory=list)
    """Every evaluation of the training that makes the final weights."""
    best: dict[Name, Evaluation] = field(default_factory=dict)
    """Evaluation split -> evaluation at the best epoch (chosen on the first evaluation split)."""
    last: dict[Name, Evaluation] = field(default_factory=dict)
    """Evaluation split -> evaluation at the last epoch."""
    test: dict[Name, Evaluation] = field(default_factory=dict)
    """Test split -> evaluation with the weights that were kept."""
    parameters: Parameters | None = None
    ranks: list[LayerRank] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    """source, fingerprint (of the examples), files (hash of what they were read from), splits (rows), subsets
    (split -> [rows, official rows]), truncated (split -> examples cut), limit, notes."""
    inputs: dict[str, dict[str, str]] = field(default_factory=dict)
    """What was read (data, pretrained model) -> file -> SHA-256, noted before it was used: a resumption compares."""
    provenance: dict[str, Any] = field(default_factory=dict)
    error: dict[str, str] | None = None
    """type, message, mend, traceback of the failure."""

    @property
    def identity(self) -> tuple[str, str, str, str, int]:
        """Task, model, method, config_id, seed."""
        return self.task, self.model, self.method, self.config_id, self.seed

    @property
    def diverged(self) -> bool:
        """Whether it failed because a loss or an output was no number (training.trainer.DivergenceError)."""
        return self.status is Status.failed and (self.error or {}).get("type") == "DivergenceError"

    @property
    def last_headline(self) -> float | None:
        """Headline score after the last epoch on the first evaluation split; None where it is undefined."""
        evaluation = next(iter(self.last.values()), None)
        return evaluation.scores.get(str(self.headline)) if evaluation is not None else None

    def phase(self, name: str) -> PhaseRecord | None:
        """The phase of that name, if it has begun."""
        return next((phase for phase in self.phases if phase.name == name), None)


def now() -> str:
    """The present moment as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_atomically(path: Path, content: str | bytes, elsewhere: str = "results=DIR") -> None:
    """Replace the file's content whole or not at all: temporary file beside it, fsync, rename.

    The temporary file always has the same name, so that what a kill left of it goes with the next attempt.

    Args:
        path: the file; its folder is made.
        content: text is written as UTF-8.
        elsewhere: the words that choose another folder, for the error.

    Raises:
        UserError: the folder cannot be written or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)  # not written through, should somebody have put a link there
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        full = "free some space or " if error.errno in FULL else ""
        raise UserError(
            f"cannot write {path}: {reason(error)}", f"{full}choose another folder with {elsewhere}"
        ) from error


def write_record(folder: Path, record: RunRecord, elsewhere: str = "results=DIR") -> None:
    """Write `folder`/run.json. Raises UserError where the folder cannot be written; `elsewhere` as above.

    Raises ValueError for a number that is none, but of a run that failed, which may have failed for it: null then.
    """
    plain: Any = dataclasses.asdict(record)
    if record.status is Status.failed:
        plain = _finite(plain)
    text = json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(folder / RECORD, text + "\n", elsewhere)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_record(path: Path) -> RunRecord:
    """Read a run.json, whoever wrote it.

    Raises:
        TornRecordError: JSON without its end: cut off in writing.
        UserError: not a file, not a record, another version, or a field missing, unknown, of another type or with a
            value that no record has.
    """
    try:
        content = read_bytes(path).removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise UserError(f"{path} is not a readable record: {error.strerror or error}", MEND) from error
    from pydantic import ValidationError

    try:
        record = _adapter().validate_json(content)
        check_plain(record)
    except ValidationError as error:
        raise _refusal(path, content, error) from error
    except ValueError as error:
        raise UserError(f"{path} is not a readable record: {error}", MEND) from error
    if record.version != VERSION:
        raise _other_version(path, record.version)
    return record


def _refusal(path: Path, content: bytes, error: "ValidationError") -> UserError:
    """Why the content is no record: the first thing that is wrong with it."""
    from pydantic_core import from_json

    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        torn = not content.strip() or content.endswith(b"\0") or CUT_OFF in first["msg"]
        refusal = TornRecordError if torn else UserError
        return refusal(f"{path} is not a readable record: {in_a_line(first['msg'])}", MEND)
    values = from_json(content)
    version = values.get("version", VERSION) if isinstance(values, dict) else VERSION
    if version != VERSION:
        return _other_version(path, version)
    *above, last = ["record", *map(str, first["loc"])]
    where = (
        f"score {last} of {'.'.join(above[1:-1])}"
        if above[-1:] == ["scores"]
        else ".".join([*above[1:], last])
    )
    wrong = WRONG.get(first["type"], f"is refused: {first['msg']}")
    return UserError(f"{path} is not a readable record: {in_a_line(f'{where} {wrong}')}", MEND)


def _other_version(path: Path, version: object) -> UserError:
    return UserError(
        f"{path} is a record of version {in_a_line(repr(version))}; this program reads version {VERSION!r}",
        "use the autolora-bench that wrote it, or move it away",
    )


@cache
def _adapter() -> "TypeAdapter[RunRecord]":
    """Made when the first record is read: commands that read none do without the time that pydantic takes to load."""
    from pydantic import TypeAdapter

    return TypeAdapter(RunRecord)


def find_records(root: Path, links: list[Path] | None = None) -> Iterator[Path]:
    """Every run.json below `root`, in the order of their paths; a folder of that name too, which is told when read.

    Args:
        root: a folder.
        links: takes the links to other folders below it, which are not followed.
    """
    for folder, folders, files in os.walk(root):
        folders.sort()
        if links is not None:
            links += [path for name in folders if (path := Path(folder, name)).is_symlink()]
        if RECORD in (*files, *folders):
            yield Path(folder) / RECORD
        if RECORD in files:
            folders.clear()


def record_from(values: dict[str, Any]) -> RunRecord:
    """The record that `dataclasses.asdict` took apart. Raises ValueError where it is none."""
    return _adapter().validate_json(json.dumps(values))
