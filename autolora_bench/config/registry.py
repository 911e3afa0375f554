"""Every kind of method, stated once beside its settings: what runs it, what it works on, where it stands in tables.

    @method("adapter", runs="autolora_bench.methods.adapter:Adapter", family="adapter", works_on=Support(...))
    @dataclass
    class AdapterConfig(MethodConfig): ...

The list of methods, the schemas, the checks and the order of tables read it. Nothing here needs torch: `runs` is
imported when a run starts.
"""

import hashlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import MISSING

from autolora_bench.config.identity import ADDED, LABEL
from autolora_bench.config.ranges import Amount, Positive
from autolora_bench.config.task import (
    TASKS,
    AnyTask,
    ClassificationTask,
    RegressionTask,
    TaskConfig,
)
from autolora_bench.errors import UserError, require

UNTRAINED = "untrained"
"""Stands for the method in the row of a model as it was before training."""
FAMILIES = (
    UNTRAINED,
    "full",
    "head_only",
    "adapter",
    "bitfit",
    "prompt",
    "lora",
    "variant",
    "peft",
    "adalora",
    "autolora",
    "allocator",
    "control",
    "other",
)
"""Families of methods, in the order of tables."""
KINDS = {kind: name for name, kind in TASKS.items() if kind is not AnyTask}
"""Task kinds as they are spoken of; `AnyTask` becomes one of them."""
DIGITS = 8
"""Of a digest in a configuration."""
Config = TypeVar("Config", bound=type)


@dataclass
class MethodConfig:
    """What every method has."""

    name: str = MISSING
    title: str = field(default=MISSING, metadata=LABEL)
    learning_rate: Positive = MISSING
    """Peak learning rate of the training that makes the final weights."""
    weight_decay: Amount | None = field(default=None, metadata=ADDED)
    """Of what the method trains beside the head, biases never; none takes train.weight_decay, as the head does."""
    corrections: list[str] = field(default_factory=list, metadata=ADDED)
    """Rules by which the same settings now give other numbers than before (config.corrections). Filled in."""
    code: str | None = field(default=None, metadata=ADDED)
    """Of a method of the user's own: the beginning of the SHA-256 of its file, so that runs of two versions of it are
    not taken for one another. Filled in."""

    def check(self) -> None:
        """Raises UserError at the first settings that make no sense together; each alone is in its range by then."""


@dataclass(frozen=True)
class Support:
    """What a kind of method works on."""

    tasks: tuple[type[TaskConfig], ...] = tuple(KINDS)
    architectures: tuple[str, ...] | None = None
    """model_type of transformers' configurations; none: every architecture."""
    reason: str = ""
    """Why not the others, in a few words."""
    labels_on: tuple[str, ...] | None = None
    """Architectures for classification and regression, where they are fewer."""
    never_on: tuple[str, ...] = ()
    """Architectures it has nothing to do on, where it works on every other."""
    no_recovery: str = "it compares hidden states with those of a teacher that has no prompts"
    """Why not recovery, where that is not among its tasks."""
    starts_unchanged: bool = True
    """Whether the model first puts out what the pretrained one does; if not, it does so without its virtual tokens."""
    encoder_decoders: bool = False
    """Whether it is proved on encoder-decoders (config.support.ENCODER_DECODERS)."""
    needs_padding: str = ""
    """Why it does not work with train.padding_free, as a clause after its name; empty: it does."""

    def models(self, task: TaskConfig) -> tuple[str, ...] | None:
        """Architectures for a task; none: every one."""
        labels = isinstance(task, ClassificationTask | RegressionTask) and self.labels_on is not None
        return self.labels_on if labels else self.architectures

    def sentence(self) -> str:
        """What it works on, for a reader; empty where that is everything."""
        kinds = [] if set(self.tasks) == set(KINDS) else [KINDS[task] for task in self.tasks]
        labels = [f"labels on {', '.join(self.labels_on)}"] if self.labels_on else []
        never = [f"all but {', '.join(self.never_on)}"] if self.never_on else []
        parts = (kinds, self.architectures or (), labels, never)
        return "; ".join(", ".join(names) for names in parts if names)


@dataclass(frozen=True)
class MethodKind:
    """A kind of method, on which files of conf/method are built: one of its name, others with settings of their own."""

    name: str
    """The schema, as in `/schema/method/lora@_here_`."""
    config: type[MethodConfig]
    runs: str
    """`package.module:attribute`, which makes a method (methods.base.Method) of its settings."""
    family: str
    """One of `FAMILIES`."""
    variants: str
    """Family of the files that are built on it under other names."""
    works_on: Support
    digests: dict[str, str] = field(default_factory=dict)
    """File -> SHA-256 of a method of the user's own (autolora_bench.user_code); empty for the project's."""

    @property
    def code(self) -> str | None:
        """The beginning of the file's SHA-256, or of that of several; none for the project's methods."""
        return _code(self.digests)

    def build(self, settings: MethodConfig) -> Any:
        """The method with its settings. Raises UserError where `runs` names nothing."""
        module, _, attribute = self.runs.partition(":")
        try:
            make = getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise UserError(
                f"method {self.name} is run by {self.runs}, which cannot be imported: {error}",
                "name a module and what makes the method in it, as in runs=package.module:Class",
            ) from error
        return make(settings)


STATED_IN = ("method", "prompts", "rates", "allocators", "peft_method")
"""Modules of config that state the project's methods."""
_methods: dict[str, MethodKind] = {}
own_folders: list[Path] = []
"""The configuration folder of the user's own that was read; none where the command line names none."""
metric_digests: dict[str, dict[str, str]] = {}
"""Metric of the user's own -> file -> SHA-256."""


def methods() -> dict[str, MethodKind]:
    """Name -> every kind of method: the project's, and those of the user's own that were read."""
    for module in STATED_IN:
        if f"autolora_bench.config.{module}" not in sys.modules:
            import_module(f"autolora_bench.config.{module}")
    return _methods


def method(
    name: str,
    *,
    runs: str,
    family: str = "other",
    variants: str | None = None,
    works_on: Support | None = None,
) -> Callable[[Config], Config]:
    """States a kind of method: goes above the dataclass of its settings.

    Args:
        name: of its schema, and as a rule of its file in conf/method.
        runs: what makes the method of its settings, as `package.module:attribute`; `.module:attribute` is beside the
            dataclass's own module, `:attribute` in it. Imported when a run starts.
        family: where it stands in tables, one of `FAMILIES`.
        variants: the family of the files that are built on it under other names; none: the same.
        works_on: tasks and models; none: all.

    Raises:
        UserError: the name is taken, the family is not known, or what it is put on is no dataclass.
    """

    def state(config: Config) -> Config:
        where = inspect.getfile(config)
        require(
            name not in _methods,
            f"{where} states a method {name!r}, which there is already",
            "choose another name for it",
        )
        require(
            "__dataclass_fields__" in vars(config),
            f"{where}: method {name!r} is put on {config.__name__}, which is no dataclass",
            "write @dataclass between @method(...) and the class",
        )
        for one in (family, variants or family):
            require(
                one in FAMILIES[1:],
                f"{where}: method {name!r} is of a family {one!r}, which tables do not have",
                f"choose among: {', '.join(FAMILIES[1:])}",
            )
        beside = config.__module__ if runs.startswith(":") else config.__module__.rpartition(".")[0]
        place = f"{beside}{runs}" if runs.startswith((":", ".")) else runs
        _methods[name] = MethodKind(
            name, config, place, family, variants or family, Support() if works_on is None else works_on
        )
        return config

    return state


def kind_of(settings: MethodConfig) -> MethodKind:
    """The kind of method that settings are of."""
    return next(kind for kind in _methods.values() if kind.config is type(settings))


def check_settings(method: MethodConfig) -> None:
    """The method's own check. Raises UserError as it does, and where the check of a method of the user's own fails."""
    try:
        method.check()
    except UserError:
        raise
    except Exception as error:
        if not kind_of(method).digests:
            raise
        raise UserError(
            f"{inspect.getfile(type(method))}: the check of method={method.name} failed: "
            f"{type(error).__name__}: {' '.join(str(error).split())}",
            "refuse settings by raise UserError(what is wrong, how to mend it), from autolora_bench.errors; otherwise "
            "mend the check (HYDRA_FULL_ERROR=1: the traceback)",
        ) from error


def note_code(method: MethodConfig, task: TaskConfig) -> None:
    """Fill in their `code`. Raises UserError where another one was given."""
    digests: dict[str, str] = {}
    for metric in task.metrics:
        digests |= metric_digests.get(metric, {})
    for name, settings, code in (("method", method, kind_of(method).code), ("task", task, _code(digests))):
        given, settings.code = settings.code, code
        require(
            given is None or given == code,
            f"{name}.code={given} is filled in by the program",
            f"leave {name}.code out",
        )


def _code(digests: dict[str, str]) -> str | None:
    if len(digests) < 2:
        return next((digest[:DIGITS] for digest in digests.values()), None)
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:DIGITS]


def described(settings: MethodConfig) -> dict[str, Any]:
    """What a record says of its method, for readers who do not have it: title, family, and its files where it is a
    method of the user's own."""
    kind = kind_of(settings)
    files = {"files": kind.digests} if kind.digests else {}
    return {"title": settings.title, "family": family_in(kind, settings.name), **files}


def family_in(kind: MethodKind, name: str) -> str:
    """The family of the method `name`, which is built on `kind`."""
    return kind.family if name == kind.name else kind.variants
