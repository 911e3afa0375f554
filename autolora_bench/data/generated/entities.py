"""Sentences with named entities: the type is in the entity's last word, so a stem alone does not give it away."""

from random import Random

from autolora_bench.config.task import TaggingTask
from autolora_bench.data.generated.draw import Draw, Row, Turn
from autolora_bench.data.generated.vocabulary import HEADS, MODIFIERS, STEMS
from autolora_bench.data.schema import tag_names
from autolora_bench.errors import UserError

TEMPLATES = (
    "We studied {} in {} .",
    "The {} binds to {} and not to {} .",
    "Expression of {} was higher than that of {} .",
    "These results show that {} regulates {} in human patients .",
    "No effect of {} was seen after two days .",
    "In mature animals , {} is required for {} .",
    "Both {} and {} were found in viral infection .",
)


def entities(task: TaggingTask) -> Draw:
    """Draws of tagged sentences; the type of their first entity takes turns.

    Raises:
        UserError: the task has more entity types than there are word lists.
    """
    if len(task.entities) > len(HEADS):
        raise UserError(
            f"task {task.name} has {len(task.entities)} entity types, the generator entities at most {len(HEADS)}",
            "use fewer types or data=local",
        )
    names = tag_names(task)

    def draw(turn: Turn) -> Row:
        tokens: list[str] = []
        tags: list[str] = []
        kind = turn.number % len(task.entities)
        for word in turn.random.choice(TEMPLATES).split():
            found = _entity(kind, turn.random) if word == "{}" else [word]
            tokens += found
            tags += _tags(task.entities[kind], len(found)) if word == "{}" else ["O"]
            if word == "{}":
                kind = turn.random.randrange(len(task.entities))
        return {"tokens": tokens, "tags": [names.index(tag) for tag in tags]}

    return draw


def _entity(kind: int, random: Random) -> list[str]:
    modifier = [random.choice(MODIFIERS)] if random.random() < 0.3 else []
    return [*modifier, random.choice(STEMS), random.choice(HEADS[kind])]


def _tags(entity: str, words: int) -> list[str]:
    return [f"B-{entity}", *[f"I-{entity}"] * (words - 1)]
