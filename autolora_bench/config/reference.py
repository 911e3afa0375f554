"""The run that a control is compared with: that of another method with the same task, model, settings and seed.

A control such as random ranks takes its total and its spread from that run, so that a comparison of the two is about
nothing else. Which run it is follows from the words of the control's own command, with the other method in its place:
so it has a name, `task/model/method-id`, before it has been run, and a sweep over both needs no second command.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

from autolora_bench.config.allocators import AllocatorConfig
from autolora_bench.config.experiment import ExperimentConfig, config_id, run_folder
from autolora_bench.config.method import AdaLoraConfig, AutoLoraConfig, RankedLoraConfig
from autolora_bench.config.registry import methods
from autolora_bench.errors import UserError

OWN = ("name", "title", "corrections")
"""Settings of a method that are never another's."""


def name_reference(
    experiment: ExperimentConfig,
    words: Sequence[str],
    schema_of: Callable[[str], str | None],
    compose: Callable[[Sequence[str]], ExperimentConfig],
) -> None:
    """Fill in `cell` and `source` of a method that has a `reference`; take the reference out where ranks are given.

    Args:
        experiment: as composed.
        words: what it was composed from.
        schema_of: name of a method -> name of its schema.
        compose: words -> the experiment that they stand for, checked.

    Raises:
        UserError: the words do not make a run of the reference, or it is a method without ranks of its own.
    """
    method = experiment.method
    if not isinstance(method, RankedLoraConfig) or method.reference is None:
        return
    if method.source is not None or method.ranks or method.total is not None or method.cell is not None:
        method.reference = None
        return
    reference, mend = method.reference, "say method.source=FOLDER_OF_A_FINISHED_RUN, or method.reference=null"
    schema = schema_of(reference)
    kind = methods().get(schema or "")
    if kind is None or not issubclass(kind.config, AutoLoraConfig | AdaLoraConfig | AllocatorConfig):
        raise UserError(f"method.reference={reference} is no method that learns ranks", mend)
    known = {f.name for f in fields(kind.config)}
    try:
        found = compose(words_of_reference(words, method.name, reference, known))
    except UserError as error:
        raise UserError(f"method.reference={reference} with the same words: {error.what}", mend) from error
    method.cell = f"{found.task.name}/{found.model.name}/{found.method.name}-{config_id(found)}"
    method.source = str(Path(run_folder(found)).parent)


def words_of_reference(words: Sequence[str], control: str, reference: str, known: set[str]) -> list[str]:
    """`words` of a run of `control` as those of a run of `reference`, whose method has the settings `known`."""
    kept = []
    for word in words:
        name, _, value = word.partition("=")
        name = name.lstrip("+~")
        setting = name.split(".")[1] if name.startswith("method.") else None
        if name == "cell" and value.rpartition("/")[2] == control:
            kept.append(f"cell={value.removesuffix(control)}{reference}")
        elif name != "method" and (setting is None or (setting in known and setting not in OWN)):
            kept.append(word)
    return [*kept, f"method={reference}"]
