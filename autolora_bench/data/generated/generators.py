"""The generators, each a function from a turn to one example of its kind of task.

`sentences` draws single sentences with a label: reviews for two labels, topics for more. `pairs` and `similarity` draw
what happened, and a second sentence that agrees, disagrees or leaves it open. `entities` draws sentences with named
entities: the type is in the entity's last word, so a stem alone does not give it away. `restaurants` and `triples` draw
records and what people would write about them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any

from autolora_bench.config.task import ClassificationTask, GenerationTask, RegressionTask, TaggingTask
from autolora_bench.data.generated.vocabulary import (
    BLAME,
    CITIES,
    COLOURS,
    DEALS,
    DEGREES,
    HEADS,
    MANNERS,
    MATTERS,
    MODIFIERS,
    PEOPLE,
    PLACES,
    PRAISE,
    RESTAURANT_FIELDS,
    REVIEWED,
    STATEMENTS,
    STEMS,
    STRANGERS,
    THINGS,
    TIMES,
    TOPICS,
    VENUES,
    listed,
)
from autolora_bench.data.schema import tag_names
from autolora_bench.errors import UserError

Row = dict[str, Any]


@dataclass(frozen=True)
class Turn:
    """What an example is made from."""

    number: int
    """Position in the split: labels take turns by it."""
    random: Random
    held_out: bool
    """Whether the split is a test split, which may hold what the others do not."""


Draw = Callable[[Turn], Row]


def text_row(task: ClassificationTask | RegressionTask, texts: Sequence[str], label: int | float) -> Row:
    """An example with these texts in the task's columns. Raises UserError where their numbers differ."""
    if len(texts) != len(task.texts):
        raise UserError(
            f"task {task.name} has {len(task.texts)} texts, its generator makes {len(texts)}",
            "choose another generated.generator in the task's YAML",
        )
    return {**dict(zip(task.texts, texts, strict=True)), "label": label}


def other(values: Sequence[Any], value: Any, random: Random) -> Any:
    """One of the values that is not this one."""
    return random.choice([each for each in values if each != value])


def sentences(task: ClassificationTask) -> Draw:
    """Draws for a task of one text; the label of draw number i is i modulo the number of labels."""
    count = len(task.labels)
    if count > len(TOPICS):
        raise UserError(
            f"task {task.name} has {count} labels, the generator sentences at most {len(TOPICS)}",
            "use fewer labels or data=local",
        )

    def draw(turn: Turn) -> Row:
        number, random = turn.number, turn.random
        label = number % count
        text = review(label == 1, random) if count == 2 else topic(label, random)
        return text_row(task, [text], label)

    return draw


def review(good: bool, random: Random) -> str:
    """A judgement. Half of the sentences hold words of the other side too: a negation, or a concession."""
    noun, other = random.sample(REVIEWED, 2)
    fitting, opposite = (PRAISE, BLAME) if good else (BLAME, PRAISE)
    degree = random.choice(DEGREES)
    judged = f"{degree}{random.choice(fitting)}"
    match random.randrange(4):
        case 0:
            return f"The {noun} was not {random.choice(opposite)}, and the {other} was {judged}."
        case 1:
            return f"Although the {other} was {random.choice(opposite)}, the {noun} was {judged}."
        case 2:
            return f"I found the {noun} {judged}."
    return f"The {noun} was {random.choice(fitting)} and the {other} was {judged}."


def topic(label: int, random: Random) -> str:
    """A sentence with two words of the topic and one of another."""
    first, second = random.sample(TOPICS[label], 2)
    stray = random.choice(TOPICS[random.choice([i for i in range(len(TOPICS)) if i != label])])
    person, city = random.choice(PEOPLE), random.choice(CITIES)
    return random.choice(
        (
            f"In {city}, {person} spoke of the {first} and the {second}, not of the {stray}.",
            f"{person} forgot the {stray} and thought about the {first} and the {second} in {city}.",
            f"The {first} and the {second} in {city} interest {person} more than the {stray}.",
        )
    )


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


UNSEEN = "Painter"
FACTS = {
    "Astronaut": (
        ("birthPlace", "was born in {o}", CITIES),
        ("mission", "flew on {o}", listed("Apollo_11, Apollo_12, Soyuz_9")),
    ),
    "University": (
        ("city", "is in {o}", CITIES),
        ("students", "has {o} students", listed("5000, 12000, 20000")),
    ),
    "City": (
        ("country", "lies in {o}", listed("Spain, France, Italy, Japan")),
        ("leader", "is led by {o}", PEOPLE),
    ),
    UNSEEN: (
        ("museum", "is shown in {o}", CITIES),
        ("style", "painted in the style of {o}", listed("cubism, realism")),
    ),
}
"""Category -> relations: name, how it is said, possible objects."""


def restaurants(task: GenerationTask) -> Draw:
    """Draws of E2E-like records of three to six fields with three references each."""

    def draw(turn: Turn) -> Row:
        number, random = turn.number, turn.random
        chosen = random.sample(list(RESTAURANT_FIELDS), 2 + number % 4)
        fields = [["name", random.choice(PLACES)]]
        fields += [[key, random.choice(RESTAURANT_FIELDS[key])] for key in RESTAURANT_FIELDS if key in chosen]
        text = ", ".join(f"{key}[{value}]" for key, value in fields)
        return {"fields": fields, "references": _describe(dict(fields)), "category": "", "text": text}

    return draw


def _describe(record: dict[str, str]) -> list[str]:
    name, kind = record["name"], record.get("eatType", "place")
    food = f" {record['food']} food" if "food" in record else " food"
    price = {"cheap": "cheap", "moderate": "fairly priced", "high": "expensive"}.get(
        record.get("priceRange", ""), ""
    )
    where = f" in the {record['area']}" if "area" in record else ""
    near = f" near {record['near']}" if "near" in record else ""
    family = {"yes": "Families are welcome.", "no": "It is not for children."}.get(
        record.get("familyFriendly", ""), ""
    )
    return [
        f"{name} is a {kind}{where}{near} that serves {price}{food}. {family}".replace("  ", " ").strip(),
        f"There is a {kind} called {name}{near}{where}. It has {price}{food}. {family}".replace(
            "  ", " "
        ).strip(),
        f"For {price}{food} go to {name}, a {kind}{near}{where}. {family}".replace("  ", " ").strip(),
    ]


def triples(task: GenerationTask) -> Draw:
    """Draws of WebNLG-like records of one or two triples; a quarter of a test split is of an unseen category."""
    seen = [category for category in FACTS if category in task.seen_categories] or list(FACTS)[:-1]

    def draw(turn: Turn) -> Row:
        number, random = turn.number, turn.random
        category = UNSEEN if turn.held_out and number % 4 == 3 else seen[number % len(seen)]
        subject = f"{random.choice(PEOPLE)}_{random.choice(CITIES)}"
        facts = random.sample(FACTS[category], 1 + random.randrange(2))
        chosen = [(relation, said, random.choice(objects)) for relation, said, objects in facts]
        fields = [[subject, relation, thing] for relation, _, thing in chosen]
        said = [words.format(o=thing.replace("_", " ")) for _, words, thing in chosen]
        name = subject.replace("_", " ")
        references = [f"{name} {' and '.join(said)}.", " ".join(f"{name} {each}." for each in said)]
        text = " && ".join(" | ".join(triple) for triple in fields)
        return {
            "fields": fields,
            "references": list(dict.fromkeys(references)),
            "category": category,
            "text": text,
        }

    return draw
