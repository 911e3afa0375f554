"""Single sentences with a label: reviews for two labels, topics for more."""

from random import Random

from autolora_bench.config.task import ClassificationTask
from autolora_bench.data.generated.draw import Draw, Row, Turn, text_row
from autolora_bench.data.generated.vocabulary import BLAME, CITIES, DEGREES, PEOPLE, PRAISE, REVIEWED, TOPICS
from autolora_bench.errors import UserError


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
