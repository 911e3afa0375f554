"""Labels in the files that GLUE itself ships, such as dev.tsv."""

from pathlib import Path

from autolora_bench.config.task import ClassificationTask
from autolora_bench.data.files import local_source
from autolora_bench.data.glue_tsv import read_glue_tsv
from autolora_bench.data.text_files import read_text
from autolora_bench.metrics.columns import Value

VARIANTS = {"mnli_mm": "mnli"}
"""Scored under a name of its own -> the task whose files have its layout."""


def is_glue_file(path: Path) -> bool:
    """Whether the file has columns, as GLUE's have; labels alone have none."""
    return "\t" in read_text(path).partition("\n")[0].strip()


def read_glue_labels(path: Path, task: str, *, named: bool) -> list[Value]:
    """The labels of one of the task's files, as data=local reads them.

    Args:
        path: the file.
        task: name of the GLUE task.
        named: write classes by name also where the file has their numbers.

    Raises:
        UserError: the file is malformed, or is not of this task; with its line.
    """
    from autolora_bench.config.compose import compose_config, composer, to_objects

    with composer():
        config = to_objects(compose_config([f"task={VARIANTS.get(task, task)}"])).task
    columns, _ = read_glue_tsv([path], config)
    labels: list[Value] = columns["label"]
    if isinstance(config, ClassificationTask) and (named or local_source(config).labels is None):
        return [config.labels[int(label)] for label in labels]
    return labels
