"""Which columns of a table are read, which is to be predicted, and what kind of task that makes: only where no doubt
is left. In doubt nothing is guessed: the columns are listed, with the settings that say it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from autolora_bench.errors import UserError, listed, nearest
from autolora_bench.tables.profile import Column, Content, as_number, spells_number

TEXTS = (
    *("text", "sentence", "review", "content", "comment", "utterance", "tweet", "document", "message"),
    *("question", "premise", "query"),
)
"""Names of a column that holds the text of a classification, in small letters."""
PAIRS = (
    *(("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("text1", "text2")),
    *(("text_a", "text_b"), ("sentence_a", "sentence_b"), ("sent1", "sent2"), ("question", "sentence")),
    *(("query", "passage"), ("query", "document"), ("question", "passage"), ("question", "context")),
)
LABELS = (
    *(
        "label",
        "labels",
        "class",
        "target",
        "gold",
        "gold_label",
        "sentiment",
        "category",
        "intent",
        "emotion",
    ),
    *("is_duplicate", "score", "similarity", "similarity_score", "rating", "stars"),
)
SCALES = ("score", "similarity", "similarity_score", "rating", "stars")
"""Labels whose whole numbers may be a scale, however they are counted."""
WRITTEN = (
    *(("input", "output"), ("source", "target"), ("prompt", "completion"), ("prompt", "response")),
    *(("instruction", "output"), ("instruction", "response"), ("mr", "ref"), ("text", "summary")),
    *(("meaning_representation", "human_reference"), ("document", "summary"), ("article", "highlights")),
)
"""Names of a text and of what is to be written."""
WORDS = ("tokens", "words")
TAGS = ("tags", "ner_tags", "labels", "ner")
INDICES = ("id", "idx", "index", "guid", "uid", "uuid")
SHORT = 4
"""Words of a name of a class, on average, at most."""
EACH = 2
"""Examples of each class, on average, at least."""
SHOWN = 20


class Kind(Enum):
    """What kind of task a table of the user's own makes."""

    classification = "a text or a pair (of T5 and BART any number) -> one of some classes"
    regression = "a text or a pair (of T5 and BART any number) -> a number"
    tagging = "words -> a tag each: O, B-type, I-type"
    generation = "a text -> a text"


@dataclass(frozen=True)
class Roles:
    """How a table is read."""

    kind: Kind
    inputs: tuple[str, ...]
    label: str


def find_roles(
    where: str, columns: Sequence[Column], kind: Kind | None, inputs: Sequence[str], label: str | None
) -> Roles:
    """What is said, completed by what the columns leave no doubt about.

    Args:
        where: the table, for messages.
        columns: of the training table.
        kind: task.kind.
        inputs: task.texts.
        label: task.label.

    Raises:
        UserError: a column that is said is not there; or there is doubt, with the columns and what to say.
    """
    table = {column.name: column for column in columns}
    for setting, name in [*(("task.texts", name) for name in inputs), ("task.label", label)]:
        if name is not None and name not in table:
            raise UserError(
                f"{setting}: {where} has no column {name!r}; it has {_shown(columns)}",
                f"{nearest(name, table)}name one of its columns",
            )
    if label in inputs:
        raise UserError(
            f"task.label={label} is among task.texts: it would be read off the input", "name two columns"
        )
    if not inputs or label is None:
        found = _by_name(table, kind, inputs, label) or _by_content(columns, kind, inputs, label)
        if found is None:
            raise _doubt(where, columns)
        inputs, label = found
    return Roles(kind or _kind(where, [table[name] for name in inputs], table[label]), tuple(inputs), label)


def _shown(columns: Sequence[Column]) -> str:
    """The columns with what they hold."""
    return listed([f"{column.name} ({column.content})" for column in columns], SHOWN)


def _doubt(where: str, columns: Sequence[Column]) -> UserError:
    return UserError(
        f"{where}: what is read and what is to be predicted is not clear among its columns {_shown(columns)}",
        "say task.texts=[COLUMN] (two for a pair) and task.label=COLUMN",
    )


Found = tuple[Sequence[str], str] | None


def _by_name(table: dict[str, Column], kind: Kind | None, inputs: Sequence[str], label: str | None) -> Found:
    """Columns whose names say what they are; exactly one reading, or none."""
    names = {name.lower().strip(): name for name in table}
    readings: list[tuple[Sequence[str], str]] = []
    words = [names[name] for name in WORDS if name in names]
    tags = [names[name] for name in TAGS if name in names]
    if kind in (None, Kind.tagging) and len(words) == len(tags) == 1 and _may_be_tags(table[tags[0]]):
        readings.append((words, tags[0]))
    elif kind is not Kind.tagging:
        written = [(names[a], names[b]) for a, b in WRITTEN if a in names and b in names]
        texts = [pair for pair in written if all(_is_text(table[name]) for name in pair)]
        if kind is not Kind.generation:
            target = label or _named(table, names)
            if target is not None:
                readings += [(source, target) for source in _texts(table, names, inputs, target)]
        if kind is Kind.generation or (kind is None and not readings):
            readings += [([source], target) for source, target in texts]
    fitting = [
        (inputs or source, label or target)
        for source, target in readings
        if (not inputs or list(inputs) == list(source)) and label in (None, target)
    ]
    return fitting[0] if len(fitting) == 1 else None


def _named(table: dict[str, Column], names: dict[str, str]) -> str | None:
    """The column that is named as a label: `label` before all others; another name where no column is a rival."""
    found = [names[name] for name in LABELS if name in names and table[names[name]].single]
    if not found or found[0].lower().strip() == "label":
        return found[0] if found else None
    rivals = [c for c in table.values() if c.single and not _is_prose(c) and not _is_index(c)]
    return found[0] if [c.name for c in rivals if c.name not in _read(names)] in ([found[0]], []) else None


def _read(names: dict[str, str]) -> list[str]:
    """Columns whose names say that they are an input."""
    return [names[name] for name in (*TEXTS, *(one for pair in PAIRS for one in pair)) if name in names]


def _texts(
    table: dict[str, Column], names: dict[str, str], inputs: Sequence[str], label: str
) -> list[Sequence[str]]:
    """The input that the columns' names speak of: a pair, or the one text."""
    if inputs:
        return [inputs]
    pairs = [[names[a], names[b]] for a, b in PAIRS if a in names and b in names]
    whole = [pair for pair in pairs if label not in pair and all(_is_text(table[name]) for name in pair)]
    if whole:
        return list(whole)
    single = [names[name] for name in TEXTS if name in names and names[name] != label]
    texts = [name for name in single if _is_text(table[name])]
    if len(texts) == 1:
        return [texts]
    others = [name for name, column in table.items() if name != label and _is_text(column)]
    return [others] if not texts and len(others) == 1 else []


def _by_content(
    columns: Sequence[Column], kind: Kind | None, inputs: Sequence[str], label: str | None
) -> Found:
    """One column of texts beside one of classes or numbers, and nothing else but an index."""
    rest = [
        column
        for column in columns
        if column.name not in inputs and column.name != label and not _is_index(column)
    ]
    if kind is Kind.tagging or any(column.content in (Content.texts, Content.wholes) for column in rest):
        words = [c.name for c in rest if c.content is Content.texts]
        tags = [c.name for c in rest if _may_be_tags(c)]
        return (words, tags[0]) if len(rest) == 2 and len(words) == 1 and len(tags) == 1 else None
    if kind is Kind.generation:
        texts = [column.name for column in rest if _is_text(column)]
        if label is not None or inputs:
            return (inputs or texts, label or texts[0]) if len(texts) == 1 else None
        return None  # which of two texts is written nobody can tell
    labels = [column.name for column in rest if column.single and not _is_prose(column)]
    texts = [column.name for column in rest if _is_text(column) and column.name not in labels]
    if label is not None:
        return (texts, label) if len(texts) == len(rest) == 1 else None
    if inputs:
        return (inputs, labels[0]) if len(labels) == len(rest) == 1 else None
    return (texts, labels[0]) if len(rest) == 2 and len(texts) == 1 and len(labels) == 1 else None


def _kind(where: str, inputs: Sequence[Column], label: Column) -> Kind:
    """The kind that the column to be predicted leaves no doubt about."""
    if label.content in (Content.texts, Content.wholes) or (
        inputs[0].content is Content.texts and label.content is Content.text
    ):
        return Kind.tagging
    if label.content is Content.text and inputs[0].name.lower() in WORDS and label.name.lower() in TAGS:
        return Kind.tagging
    if label.content is Content.number and not _is_counted(label):
        return Kind.regression
    if _has_gaps(label):
        raise UserError(
            f"{where}: {label.name} holds numbers beside {_listed_gaps(label)}: names of classes, or numbers of which "
            "some are missing?",
            "say task.kind=classification, or leave those rows out",
        )
    if label.content is Content.text and _is_prose(label):
        if (inputs[0].name.lower(), label.name.lower()) in WRITTEN:
            return Kind.generation
        raise UserError(
            f"{where}: {label.name} holds {_amount(label)} different texts: names of classes, or texts to write?",
            "say task.kind=classification or task.kind=generation",
        )
    if label.content is Content.number or (
        label.content is Content.whole and label.names is None and not _is_binary(label)
    ):
        numbers = sorted(int(float(value)) for value in label.values or ["-1"])
        counted = (
            label.content is Content.whole
            and numbers == list(range(len(numbers)))
            and len(numbers) * EACH <= label.rows
        )
        if not counted or label.name.lower() in SCALES:
            raise UserError(
                f"{where}: {label.name} holds {_amount(label)} whole numbers from {label.minimum:g} to "
                f"{label.maximum:g}: classes, or a scale?",
                "say task.kind=classification or task.kind=regression",
            )
    return Kind.classification


def _is_counted(column: Column) -> bool:
    """Numbers that are all whole, as pandas writes class numbers beside a gap: 0.0, 1.0."""
    return bool(column.values) and all(float(value).is_integer() for value in column.values or ())


def _has_gaps(column: Column) -> bool:
    """Spellings of numbers, some of them of none: nan or inf among 1.5 and 2.5."""
    if column.content is not Content.text or not column.values:
        return False
    finite = [as_number(value) is not None for value in column.values]
    return any(finite) and not all(finite) and all(map(spells_number, column.values))


def _listed_gaps(column: Column) -> str:
    return ", ".join(value for value in column.values or () if as_number(value) is None)


def _is_binary(column: Column) -> bool:
    return column.values is not None and len(column.values) == 2


def _amount(column: Column) -> str:
    return f"{len(column.values):,}" if column.values is not None else "very many"


def _is_text(column: Column) -> bool:
    return column.content is Content.text


def _is_prose(column: Column) -> bool:
    """Texts that are too many or too long to be names of classes."""
    if column.content is not Content.text:
        return False
    return column.values is None or column.words > SHORT or len(column.values) * EACH > column.rows


def _may_be_tags(column: Column) -> bool:
    if column.content is Content.wholes:
        return column.names is not None
    return column.content is Content.text or (column.content is Content.texts and column.values is not None)


def _is_index(column: Column) -> bool:
    name = column.name.lower().strip()
    counts = column.content is Content.whole and column.ascending and column.rows > 1
    return counts or name in INDICES or name.startswith("unnamed:") or name.endswith("_id")
