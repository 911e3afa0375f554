"""Labels as texts, for models that write them: what an encoder-decoder reads of an example, and what it may answer.

As T5 does (Raffel et al. 2020, section 2.4 and appendix D): `sst2 sentence: It moves.` is answered by `positive`, and
scores are written in steps, those of STS-B in steps of .2.
"""

import math
from collections.abc import Sequence

from autolora_bench.config.identity import SHUFFLED
from autolora_bench.config.task import ClassificationTask, RegressionTask

STEPS = 25
"""Of a regression's range: STS-B's 0 to 5 by .2."""


def question(task: ClassificationTask | RegressionTask, texts: Sequence[str]) -> str:
    """What the model reads of an example: the task's name, and every text after the name of its column."""
    named = (f"{name}: {text}" for name, text in zip(task.texts, texts, strict=True))
    return " ".join([task.name.removesuffix(SHUFFLED), *named])


def answers(task: ClassificationTask | RegressionTask) -> list[str]:
    """The texts that stand for labels: the names of the classes in their order, or numbers from the least upwards."""
    if isinstance(task, ClassificationTask):
        return list(task.labels)
    step = (task.maximum - task.minimum) / STEPS
    digits = max(1, math.ceil(-math.log10(step)))
    return [f"{task.minimum + step * place:.{digits}f}" for place in range(STEPS + 1)]


def nearest_answer(task: RegressionTask, value: float) -> int:
    """Place among `answers` of the one that is nearest to a number; between two the even place, as T5's own code."""
    place = round((value - task.minimum) * (STEPS / (task.maximum - task.minimum)))
    return min(max(place, 0), STEPS)
