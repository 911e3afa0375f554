"""Random inputs of a recovery task: sequences of whole numbers, which the task maps to tokens of the model at hand."""

from math import ceil
from random import Random

from autolora_bench.config.data import DataConfig
from autolora_bench.config.task import RecoveryTask, TaskConfig
from autolora_bench.data.files import planted_source
from autolora_bench.data.schema import Loaded
from autolora_bench.errors import UserError

NUMBERS = 2**31
CAVEAT = "the inputs are random sequences of tokens"


def read_planted(task: TaskConfig, data: DataConfig) -> Loaded:
    """As many sequences as task.rows asks for, as texts of numbers; the same seed gives the same ones.

    Raises:
        UserError: the task is no recovery task, or says nothing of random inputs.
    """
    if not isinstance(task, RecoveryTask):
        raise UserError(
            f"task {task.name} needs texts, and data=planted draws random tokens", "choose another data"
        )
    length = planted_source(task).length
    random = Random(f"{data.generator_seed}/planted")
    count = ceil(sum(task.rows.values()) / len(task.texts))
    columns = {
        name: [" ".join(str(random.randrange(NUMBERS)) for _ in range(length)) for _ in range(count)]
        for name in task.texts
    }
    return Loaded({"train": columns}, f"random tokens (seed {data.generator_seed})", [CAVEAT])
