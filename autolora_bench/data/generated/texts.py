"""Records and what people would write about them: restaurants as key and value, facts as triples."""

from autolora_bench.config.task import GenerationTask
from autolora_bench.data.generated.draw import Draw, Row, Turn
from autolora_bench.data.generated.vocabulary import CITIES, PEOPLE, PLACES, RESTAURANT_FIELDS, listed

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
