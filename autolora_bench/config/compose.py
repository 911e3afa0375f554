"""From override words to checked configuration objects."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, Node, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from autolora_bench.config.any_task import SPLITS, resolve_task
from autolora_bench.config.choices import choices, schema_of
from autolora_bench.config.corrections import note_corrections
from autolora_bench.config.data import HELD_OUT
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.identity import SHUFFLED
from autolora_bench.config.model import settle_targets
from autolora_bench.config.own_folder import ENGINES
from autolora_bench.config.peft_method import resolve_peft
from autolora_bench.config.ranks import name_reference, resolve_ranks
from autolora_bench.config.registry import methods, note_code
from autolora_bench.config.store import reading_once, register_schemas
from autolora_bench.config.validate import validate
from autolora_bench.errors import UserError, nearest
from autolora_bench.paths import conf_dir

CONFIG = "config"
FAULTS = (HydraException, OmegaConfBaseException, YAMLError, ValueError, RecursionError)
"""What Hydra raises for words or files that cannot be composed."""
SEED = re.compile(r"\$\{[^}]*\bseed\b")
"""An interpolation from the seed."""
NAMED = re.compile(r"\$\{([^${}:]+)\}")
"""An interpolation from a setting."""
HALF, HALF_INSTEAD = "fp16", "bf16"
"""A number format that others offer and this project does not, and the one to say in its place."""
EMPTY_PART = re.compile(r"=\s*,|,\s*(?:,|$)")
"""In a word: a list with nothing before, between or after its commas."""
LETTERS = 10**6
LINKS = 50
"""Most that all settings are once interpolations are written out, and most interpolations one after another."""


@contextmanager
def composer() -> Iterator[None]:
    """Hydra's compose API over conf/; leaves no global state behind."""
    register_schemas()
    with reading_once(), initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield
    GlobalHydra.instance().clear()


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """The composed configuration, `hydra` node included; call inside `composer()`.

    Raises:
        UserError: an override that cannot be parsed, names no setting, or has a value of the wrong type.
    """
    try:
        return compose(CONFIG, overrides=list(overrides), return_hydra_config=True)
    except FAULTS as error:
        raise explain(error, overrides) from error
    except AssertionError as error:  # OmegaConf's, of a word inside what is null
        inside = ", ".join(word for word in overrides if "." in word.partition("=")[0])
        if not inside:
            raise
        raise UserError(
            f"configuration: {inside}: a setting is said of something that is null here",
            "autolora-bench --cfg job shows every setting and its value",
        ) from error


def to_experiment(config: DictConfig) -> ExperimentConfig:
    """Plain dataclasses, checked: no DictConfig goes further.

    Raises:
        UserError: a missing value, or values that do not go together.
    """
    return checked(to_objects(config))


def to_objects(
    config: DictConfig,
    hydra: DictConfig | None = None,
    words: Sequence[str] | None = None,
    compose_words: Callable[[Sequence[str]], ExperimentConfig] = lambda words: to_objects(
        compose_config(words)
    ),
) -> ExperimentConfig:
    """Plain dataclasses as composed. Raises UserError for a missing value.

    Args:
        config: with or without Hydra's own node.
        hydra: that node, where `config` is without it.
        words: what `config` was composed from, where Hydra's node does not say it.
        compose_words: composes the run that a control is compared with.
    """
    with _without_hydra(config):
        for name, known in _unknown(config):
            raise UserError(
                f"there is no setting {name}, so that +{name} would change nothing",
                f"{nearest(name, known)}autolora-bench --cfg job shows all",
            )
        _check_size(OmegaConf.to_container(config, resolve=False))
        try:
            experiment = cast(ExperimentConfig, OmegaConf.to_object(config))
        except OmegaConfBaseException as error:
            raise explain(error) from error
    _name_reference(experiment, hydra or config.get("hydra"), words, compose_words)
    return experiment


@contextmanager
def _without_hydra(config: DictConfig) -> Iterator[None]:
    """`config` holds the settings alone for a while, in place: a copy would take a quarter of the time of composing."""
    content = config.__dict__["_content"]
    whole = dict(content)
    content.pop("hydra", None)
    try:
        yield
    finally:
        content.clear()
        content.update(whole)


def _name_reference(
    experiment: ExperimentConfig,
    composed: Any,
    words: Sequence[str] | None,
    compose_words: Callable[[Sequence[str]], ExperimentConfig],
) -> None:
    """Look up the run that a control is compared with, from the words that Hydra has composed."""
    if composed is None and HydraConfig.initialized():  # Hydra gives a job its settings alone
        composed = HydraConfig.get()
    if composed is None:
        return
    sources = [source["path"] for source in composed.runtime.config_sources if source["schema"] == "file"]
    path = ",".join(composed.searchpath or ())
    extra = [f"hydra.searchpath=[{path}]"] if path else []

    def compose_reference(words: Sequence[str]) -> ExperimentConfig:
        if GlobalHydra.instance().is_initialized():
            return checked(compose_words([*extra, *words]), reads_data=False)
        with composer():  # a launcher's worker
            return checked(compose_words([*extra, *words]), reads_data=False)

    said = words or cast(list[Any], OmegaConf.to_container(composed.overrides.task, resolve=False))
    name_reference(
        experiment,
        [str(word) for word in said],
        lambda name: schema_of("method", name, [Path(source) for source in sources]),
        compose_reference,
    )


def asks_for_the_seed(config: DictConfig) -> bool:
    """Whether a setting is interpolated from the seed."""
    settings = OmegaConf.to_container(config, resolve=False)
    assert isinstance(settings, dict)
    return any(SEED.search(str(setting)) for name, setting in settings.items() if name != "hydra")


def checked(experiment: ExperimentConfig, reads_data: bool = True) -> ExperimentConfig:
    """The experiment with what follows from its settings filled in: the task that the user's own data make, its name
    where its labels are shuffled, ranks that its method takes from elsewhere, and the split that takes the place of the
    task's own under data.held_out.

    Raises UserError for what cannot be.

    Args:
        experiment: what was composed.
        reads_data: whether it is to be run; a report of it needs no data.dir.
    """
    resolve_task(experiment)
    if experiment.data.shuffle_labels:
        experiment.task.name += SHUFFLED
        experiment.task.title += ", shuffled labels"
    settle_targets(experiment.model)
    resolve_ranks(experiment)
    resolve_peft(experiment)
    if experiment.data.held_out:
        experiment.task.evaluation, experiment.task.test = [HELD_OUT], []
    note_code(experiment.method, experiment.task)
    note_corrections(experiment)
    validate(experiment, reads_data)
    return experiment


def search_path(folder: Path) -> str:
    """The override that adds a user's own configuration folder."""
    return f"hydra.searchpath=[file://{folder.resolve()}]"


def explain(error: Exception, overrides: Sequence[str] = ()) -> UserError:
    """One line out of Hydra's or OmegaConf's error; `overrides` tell which settings there are to be meant."""
    text = " ".join(str(error).split())
    unknown = re.search(r"Could not override '([^']+)'|Key '([^']+)' (?:is )?not in", text)
    if unknown:
        name = unknown.group(1) or unknown.group(2)
        settings = _settings(overrides)
        if name in settings:
            return UserError(
                f"{name} has no such entry yet", f"to add entries put a plus before it, as in +{name}=..."
            )
        return UserError(
            f"there is no setting {name}{_with_choice(name, overrides)}",
            f"{nearest(name, settings)}autolora-bench --cfg job shows all{_others_have(name)}",
        )
    there = re.search(r"Could not append to config\. An item is already at '([^']+)'", text)
    if there:
        return UserError(f"+{there[1]}: there is such a setting", f"leave the plus out: {there[1]}=VALUE")
    if isinstance(error, OverrideParseException) and EMPTY_PART.search(error.override):
        return UserError(
            f"{error.override}: a part of the list is empty",
            "write a value between any two commas, and none at an end, or quotation marks around a text",
        )
    schema = re.search(r"In '([^']+)': Could not load 'schema/method/([^']+)'", text)
    if schema:
        return UserError(
            f"{schema[1]}.yaml is built on /schema/method/{schema[2]}, which nothing states",
            f"{nearest(schema[2], methods())}a method of your own is stated by a Python file in DIR/methods, "
            "with --config-dir DIR",
        )
    engine = re.search(r"Could not find 'hydra/(launcher|sweeper)/([^']+)'", text)
    if engine:
        near = [] if engine[2] in ENGINES[engine[1]] else ENGINES[engine[1]]
        return UserError(
            f"hydra/{engine[1]}={engine[2]} is not there",
            f"{nearest(engine[2], near)}launchers and sweepers are extras: pip install "
            "'autolora-bench[joblib,submitit,optuna]' (Ray: see docs/launchers.md)",
        )
    whole = f"{text}: {error.__cause__}"
    empty = re.search(r"override \+*([\w.]+)=: ", whole)
    if empty:
        return UserError(f"{empty[1]} is empty", "give it a value, or leave it out")
    choice = re.search(r"override \+*([\w.]+)=(\S+): .*Invalid value .*expected one of \[([^]]+)\]", whole)
    if choice and choice[2] == HALF and HALF_INSTEAD in choice[3]:
        return UserError(
            f"{choice[1]}={HALF}: its small gradients are 0 unless losses are scaled, which the search cannot have",
            f"say {choice[1]}={HALF_INSTEAD}, which has the range of fp32",
        )
    if choice:
        return UserError(f"{choice[1]}={choice[2]} is not known", f"say one of: {choice[3]}")
    single = re.search(r"override \+*([\w.]+)=([^{\s]\S*): .*is not a ListConfig, list or tuple", whole)
    if single:
        return UserError(
            f"{single[1]}={single[2]} is no list",
            f"put it in brackets, as in '{single[1]}=[{single[2]}]', or '{single[1]}=[A,B]' for several values",
        )
    listed = re.search(r"override \+*([\w.]+)=(\[.*?\]): .*Cannot convert 'list' to string", whole)
    if listed:
        more = " file, pattern or folder" if listed[1].removeprefix("data.") in SPLITS else ""
        what = f"{listed[1]}={listed[2]} is a list, and this setting takes one text"
        return UserError(what, f"say one{more}; for a run with each add -m and leave the brackets out")
    whole_number = re.search(r"override \+*([\w.]+)=([^{\s]\S*): .*could not be converted to Integer", whole)
    if whole_number:
        name, value = whole_number[1], whole_number[2]
        if re.fullmatch(r"\d+(\.\d+)?e\d+", value) and float(value).is_integer():
            return UserError(
                f"{name}={value} is not read as a whole number", f"write {name}={float(value):.0f}"
            )
        span = re.fullmatch(r"(\d+)(?:-|\.\.|:)(\d+)", value)
        mend = f"say {name}=N, or {name}=N,M,... for several runs"
        if span and int(span[1]) < int(span[2]):
            mend = (
                f"several are written '{name}=range({span[1]},{int(span[2]) + 1})', alone, or {name}=N,M,..."
            )
        return UserError(f"{name}={value} is no whole number", mend)
    broken = re.search(r"(In '[^']+'): \w+ raised while composing config: (.+?) full_key: (\S+)", text)
    if broken:
        return UserError(f"configuration: {broken[1]}: {broken[3]}: {broken[2]}", "correct that file")
    lines = [text if isinstance(error, YAMLError) else _first_line(error)]
    if error.__cause__ is not None:
        lines.append(_first_line(error.__cause__))
    mend = "autolora-bench --cfg job shows every setting and its value"
    if isinstance(error, OverrideParseException):
        mend = """put quotation marks around what is no plain word, as in 'task.texts=["Title (de)"]'"""
    if "Config group override must be a string" in text:
        mend = "to leave a group out, put a tilde before its name, as in ~recipe"
    return UserError(f"configuration: {': '.join(lines)}", mend)


def several_values(word: str, config: DictConfig) -> UserError:
    """Of a word with commas where one run is asked for: of a setting of any type, brackets may have been forgotten."""
    name, _, values = word.partition("=")
    parent, _, last = name.lstrip("+").rpartition(".")
    node = OmegaConf.select(config, parent) if parent else None
    setting = node._get_node(last) if isinstance(node, DictConfig) else None
    listed = isinstance(setting, Node) and setting._metadata.ref_type is Any and "(" not in values
    one = f"one list is written '{name}=[{values}]'; " if listed else ""
    return UserError(f"{word} names several values", f"{one}add -m for a sweep: autolora-bench -m ...")


def _first_line(error: BaseException) -> str:
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    key = getattr(error, "full_key", None)
    return f"{key}: {line}" if key and key not in line else line


def _with_choice(name: str, overrides: Sequence[str]) -> str:
    """The choice that has no such setting, as a sweep over several may have one that does."""
    group = name.partition(".")[0]
    chosen = [word for word in overrides if word.partition("=")[0] == group and "," not in word]
    return f" with {chosen[-1]}" if "." in name and chosen else ""


def _others_have(name: str) -> str:
    """Some methods that have a setting which the chosen one lacks: a sweep over both cannot say it."""
    group, *path = name.split(".")
    if group != "method" or not path:
        return ""
    kinds = {choice: schema_of("method", choice, [conf_dir()]) for choice in choices("method", [conf_dir()])}
    having = {
        kind.name for kind in methods().values() if path[0] in {one.name for one in fields(kind.config)}
    }
    found = [choice for choice, kind in kinds.items() if kind in having]
    shown = f"{', '.join(found[:3])}{' and others' if len(found) > 3 else ''}"
    return f"; {shown} have it: give them a command of their own" if found else ""


def _settings(overrides: Sequence[str]) -> list[str]:
    """All settings of the task, method and model that were chosen."""
    chosen = [
        word for word in overrides if re.fullmatch(r"(?:task|method|model)=\w+|hydra.searchpath=.*", word)
    ]
    try:
        config = compose(CONFIG, chosen)
    except (HydraException, OmegaConfBaseException):  # what was chosen is itself at fault
        config = compose(CONFIG)
    return list(_leaves(OmegaConf.to_container(OmegaConf.create(config), resolve=False)))


def _unknown(node: DictConfig, prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """Names that words have added to what a schema knows, each with those that it knows there."""
    schema = OmegaConf.get_type(node)
    known = [field.name for field in fields(schema)] if is_dataclass(schema) else None
    for name in map(str, node):
        inner = node._get_node(name)
        if known is not None and name not in known:
            yield f"{prefix}{name}", [f"{prefix}{one}" for one in known]
        elif isinstance(inner, DictConfig) and isinstance(inner._content, dict):
            yield from _unknown(inner, f"{prefix}{name}.")


def _check_size(settings: Any) -> None:
    """Raises UserError where interpolations name each other in a ring, or would be written out without end."""
    sizes: dict[str, int] = {}
    inside: list[str] = []

    def size(at: str) -> int:
        if at in inside or len(inside) > LINKS:
            ring = "itself" if at in inside else f"more than {LINKS} others"
            raise UserError(f"{at} is interpolated from {ring}", "give one of them a value")
        if at not in sizes:
            inside.append(at)
            sizes[at] = measure(_select(settings, at), at)
            inside.pop()
        return sizes[at]

    def measure(node: Any, at: str) -> int:
        if isinstance(node, dict | list):
            entries = node.items() if isinstance(node, dict) else enumerate(node)
            return sum(1 + measure(value, f"{at}.{name}".lstrip(".")) for name, value in entries)
        named = NAMED.findall(node) if isinstance(node, str) else []
        return len(str(node)) + sum(size(_absolute(name, at)) for name in named)

    if measure(settings, "") > LETTERS:
        longest = max(sizes, key=lambda at: sizes[at], default="configuration")
        raise UserError(f"{longest} is too long once its interpolations are written out", "give it a value")


def _absolute(name: str, at: str) -> str:
    """The setting that `${name}` means in the setting `at`: leading dots count from its parent."""
    path = name.lstrip(".")
    up = len(name) - len(path)
    parts = [*at.split(".")[: len(at.split(".")) - up], path] if up else [path]
    return ".".join(parts).replace("[", ".").replace("]", "")


def _select(settings: Any, at: str) -> Any:
    for part in at.split("."):
        if isinstance(settings, list) and part.isdecimal() and int(part) < len(settings):
            settings = settings[int(part)]
        else:
            settings = settings.get(part) if isinstance(settings, dict) else None
    return settings


def _leaves(node: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            yield f"{prefix}{name}"
            yield from _leaves(value, f"{prefix}{name}.")
