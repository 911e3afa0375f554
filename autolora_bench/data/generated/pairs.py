"""Pairs of sentences: what happened, and a second sentence that agrees, disagrees or leaves it open."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any

from autolora_bench.config.task import ClassificationTask, RegressionTask
from autolora_bench.data.generated.draw import Draw, Row, Turn, other, text_row
from autolora_bench.data.generated.vocabulary import (
    CITIES,
    COLOURS,
    DEALS,
    MANNERS,
    MATTERS,
    PEOPLE,
    STATEMENTS,
    STRANGERS,
    THINGS,
    TIMES,
    VENUES,
)
from autolora_bench.errors import UserError

SLOTS: dict[str, tuple[Any, ...]] = {
    "person": PEOPLE,
    "deal": DEALS,
    "thing": THINGS,
    "city": CITIES,
    "time": TIMES,
}
ELSEWHERE: dict[str, tuple[Any, ...]] = {
    "person": STRANGERS,
    "deal": STATEMENTS,
    "thing": MATTERS,
    "city": VENUES,
    "time": MANNERS,
}
"""Values from another walk of life: a change that a small model sees after a hundred steps."""


@dataclass(frozen=True)
class Event:
    """Who did what with which thing, where and when; `deal` is (verb, another verb of the same meaning)."""

    person: str
    deal: tuple[str, str]
    thing: str
    city: str
    time: str
    colour: str


Role = Callable[[Event, Random], str]
"""Makes the second sentence of one label."""


def random_event(random: Random) -> Event:
    """Any event."""
    return Event(
        colour=random.choice(COLOURS), **{slot: random.choice(values) for slot, values in SLOTS.items()}
    )


def changed(event: Event, slots: list[str], values: dict[str, tuple[Any, ...]], random: Random) -> Event:
    """The event with other values in these slots."""
    return replace(event, **{slot: other(values[slot], getattr(event, slot), random) for slot in slots})


def first_sentence(event: Event) -> str:
    """The event in plain words."""
    return f"{event.person} {event.deal[0]} a {event.colour} {event.thing} in {event.city} {event.time}."


def second_sentence(event: Event, random: Random) -> str:
    """The same event, told in another way."""
    return random.choice(
        (
            f"In {event.city}, {event.person} {event.deal[1]} a {event.thing} {event.time}.",
            f"It was {event.person} who {event.deal[1]} a {event.thing} in {event.city} {event.time}.",
            f"A {event.thing} was what {event.person} {event.deal[1]} {event.time} in {event.city}.",
        )
    )


def pairs(task: ClassificationTask) -> Draw:
    """Draws of two sentences: with two labels the second agrees or not, with three it agrees, is open or contradicts.

    Of two labels, one that begins with `not` is the disagreement (else the second is). Further labels have one part
    each that is replaced.

    Raises:
        UserError: the task has fewer than two labels or more than there are relations.
    """
    roles = _roles(task)

    def draw(turn: Turn) -> Row:
        number, random = turn.number, turn.random
        label = number % len(roles)
        event = random_event(random)
        texts = [first_sentence(event), roles[label](event, random)]
        return text_row(task, texts, label)

    return draw


def _roles(task: ClassificationTask) -> list[Role]:
    count = len(task.labels)
    if count == 2:
        return (
            [disagreeing, second_sentence]
            if task.labels[0].startswith("not")
            else [second_sentence, disagreeing]
        )
    roles: list[Role] = [second_sentence, unrelated, denied, *(partial(altered, slot) for slot in SLOTS)]
    if not 2 < count <= len(roles):
        raise UserError(
            f"task {task.name} has {count} labels, the generator pairs makes two to {len(roles)}",
            "choose another generated.generator in the task's YAML",
        )
    return roles[:count]


def disagreeing(event: Event, random: Random) -> str:
    """Told with two of its parts wrong."""
    return second_sentence(
        changed(event, random.sample(["person", "thing", "city"], 2), SLOTS, random), random
    )


def unrelated(event: Event, random: Random) -> str:
    """Another event of the same person."""
    return second_sentence(changed(event, ["deal", "thing", "city", "time"], SLOTS, random), random)


def denied(event: Event, random: Random) -> str:
    """The event denied."""
    if random.random() < 0.5:
        return f"{event.person} never {event.deal[1]} a {event.thing} in {event.city}."
    return f"Nobody {event.deal[1]} a {event.thing} in {event.city} {event.time}."


def altered(slot: str, event: Event, random: Random) -> str:
    """Told with this part from another walk of life."""
    return second_sentence(changed(event, [slot], ELSEWHERE, random), random)


def similarity(task: RegressionTask) -> Draw:
    """Draws of two sentences whose label grows with the number of parts they share, from minimum to maximum."""
    grades = len(SLOTS) + 1

    def draw(turn: Turn) -> Row:
        number, random = turn.number, turn.random
        shared = number % grades
        event = random_event(random)
        second = changed(event, random.sample(list(SLOTS), len(SLOTS) - shared), ELSEWHERE, random)
        label = task.minimum + (task.maximum - task.minimum) * shared / len(SLOTS)
        return text_row(task, [first_sentence(event), second_sentence(second, random)], label)

    return draw
