"""What a task is: where its examples are, how they are labelled, which scores count."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any

from annotated_types import Interval, MinLen
from omegaconf import MISSING

from autolora_bench.config.identity import ADDED, LABEL
from autolora_bench.config.ranges import (
    Distinct,
    Names,
    Number,
    Positive,
    Rank,
    Seed,
    Share,
    Size,
    SomeNames,
    Steps,
    Text,
)
from autolora_bench.tables.roles import Kind

IGNORED = -100
"""The label of a token that has none: no loss counts it."""


class Layout(Enum):
    """File layouts that data=local reads: publishers' own, each as it is shipped, and tables of anybody's."""

    glue_tsv = "GLUE: tab-separated, no quoting, with or without a header line"
    iob2 = "CoNLL: one token and its tag per line, blank line between sentences"
    e2e_csv = "E2E NLG challenge: CSV with columns mr and ref"
    webnlg_xml = "WebNLG challenge 2017: XML entries with triples and lexicalisations"
    csv = "a table with a line of column names: CSV"
    tsv = "the same parted by tabs"
    jsonl = "a table as JSON lines"
    parquet = "a table as parquet"


TABLES = {
    Layout.csv: (".csv",),
    Layout.tsv: (".tsv",),
    Layout.jsonl: (".jsonl", ".ndjson", ".json"),
    Layout.parquet: (".parquet",),
}
"""Layouts that are tables -> endings of their files' names."""


@dataclass
class HubSource:
    """Parquet files in a data set repository of the Hugging Face hub (no loading script ever runs)."""

    path: Text = MISSING
    """The repository's name."""
    revision: str | None = None
    """Commit, tag or branch; `refs/convert/parquet` is the hub's own conversion of data sets that are scripts."""
    files: dict[str, SomeNames] = field(default_factory=dict)
    """Our split -> its files inside the repository, in their order."""
    layout: Layout | None = field(default=None, metadata=ADDED)
    """csv, tsv, jsonl or parquet: tables that spell their labels; none: parquet with the numbers of labels, as the hub
    keeps data sets. For task=any the files' names say it."""
    columns: dict[str, Any] = field(default_factory=dict)
    """Our column -> the data set's column, where the names differ; ours as in local.columns."""
    labels: SomeNames | None = None
    """What the hub's label indices or tag indices stand for, in their order, where it differs from the task's; of a
    `layout` as in local.labels."""
    where: dict[str, dict[str, str]] = field(default_factory=dict)
    """Our split -> column -> value: keeps only these rows."""


@dataclass
class LocalSource:
    """Files under data.dir, in a publisher's layout or as tables."""

    layout: Layout = MISSING
    splits: dict[str, Text] = field(default_factory=dict)
    """Our split -> file or folder, relative to data.dir; of tables a pattern too, as train-*.csv."""
    columns: dict[str, Any] = field(default_factory=dict)
    """Our column -> header name, or position from 0 (negative from the end) where there is no header. Ours are the
    task's `texts` and `label`; `tokens` and `tags`; `text` (of a table also a list of columns) and `references`."""
    labels: SomeNames | None = None
    """How the files spell the task's labels, in the task's order, where it differs (`"0"` and `"1"`, say); of tags what
    their numbers stand for."""
    header: bool = True
    """Whether the first line names the columns."""
    official_rows: dict[str, Steps] = field(default_factory=dict, metadata=LABEL)
    """Our split -> rows of the complete split; fewer rows make the run a subset, and reports say so."""


@dataclass
class GeneratedSource:
    """Deterministic, learnable examples that the project makes itself: trials, demo and tests."""

    generator: str = MISSING
    """sentences, pairs, similarity, entities, restaurants or triples."""
    rows: dict[str, Size] = field(default_factory=lambda: {"train": 512, "validation": 128})
    """Our split -> examples."""


@dataclass
class PlantedSource:
    """Random sequences of tokens, each drawn from the model's vocabulary without its special tokens."""

    length: Size = 8
    """Tokens of a sequence, special ones apart."""


@dataclass
class FilesSource:
    """Tables of the user's own, by what is in them; where they lie is said by data.train and the like."""

    sha256: dict[str, SomeNames] = field(default_factory=dict)
    """Split -> SHA-256 of each of its files."""


@dataclass
class TableSource:
    """What of a table is read, as was found for task=any."""

    inputs: SomeNames = MISSING
    """Columns that make the input; of a tagging task the one with the words."""
    label: Text = MISSING
    """Column with what is to be predicted: class, number, tags, or the text to write."""
    validation_share: Share = 0.0
    """Part of the training examples that is the validation split, chosen by seed 0; 0 where the data have one."""


@dataclass
class TaskConfig:
    """What every task has.

    Splits are named train, validation, test, or validation_<variant>. `evaluation` are scored after
    every epoch (the first chooses the best epoch), `test` once with the chosen weights.
    """

    name: str = MISSING
    title: str = field(default=MISSING, metadata=LABEL)
    metrics: SomeNames = MISSING
    """Names from metrics.registry; the first is the headline, which chooses the best epoch."""
    code: str | None = field(default=None, metadata=ADDED)
    """Of metrics of the user's own: the beginning of the SHA-256 of their files. Filled in."""
    evaluation: Names = field(default_factory=lambda: ["validation"])
    """Splits scored after every epoch."""
    test: Names = field(default_factory=list)
    """Splits scored once, at the end."""
    max_length: Size = 128
    """Longest input in tokens; longer ones are truncated and counted in the record. A text to be written is cut and
    counted likewise, and what it is written from is refused where it is longer."""
    hub: HubSource | None = None
    local: LocalSource | None = None
    generated: GeneratedSource | None = None
    planted: PlantedSource | None = field(default=None, metadata=ADDED)
    files: FilesSource | None = field(default=None, metadata=ADDED)
    table: TableSource | None = field(default=None, metadata=ADDED)


@dataclass
class ClassificationTask(TaskConfig):
    """One or two sentences -> one of `labels`."""

    labels: Annotated[list[Text], MinLen(2), Distinct()] = MISSING
    """Names of the classes, in the order of their numbers."""
    texts: SomeNames = field(default_factory=lambda: ["sentence1", "sentence2"])
    """Columns that make the input, in their order."""
    language: Text | None = field(default=None, metadata=ADDED)
    """Of a task in several languages: the one that is trained on and that the best epoch is chosen in."""
    languages: Names = field(default_factory=list, metadata=LABEL)
    """Those that there are."""


@dataclass
class RegressionTask(TaskConfig):
    """One or two sentences -> a number between `minimum` and `maximum`."""

    texts: SomeNames = field(default_factory=lambda: ["sentence1", "sentence2"])
    """Columns that make the input, in their order."""
    minimum: Number = 0.0
    """Lowest label there can be."""
    maximum: Number = 5.0
    """Highest label there can be."""


class LongSentences(Enum):
    """What becomes of a sentence with more than max_length tokens."""

    windows = "split into windows; every word is read in the one that shows most of its context"
    truncate = "cut off; words past the end are predicted as O, and the sentences are counted"


@dataclass
class TaggingTask(TaskConfig):
    """Words -> one IOB2 tag each."""

    entities: SomeNames = MISSING
    """Entity types; the tags are O, then B-<type> and I-<type> of each in this order."""
    long: LongSentences = LongSentences.windows
    stride: Annotated[int, Interval(ge=0, le=1_000_000)] = 0
    """Words that neighbouring windows share."""


class Serialization(Enum):
    """How a record becomes the prompt."""

    lora = "the LoRA paper's text: `key : value | key : value`, triples as `subject : relation : object`"
    plain = "the publisher's own text"


RENAMED_KEYS = {"eatType": "Type", "priceRange": "price", "familyFriendly": "family friendly"}
"""E2E's keys that the LoRA paper's text spells otherwise."""


class Protocol(Enum):
    """Text format that a generation task trains and scores on."""

    raw = "the publisher's text"
    tokenized = "the LoRA repository's pre-tokenised text"


class Scorer(Enum):
    """Whose scores a generation task reports."""

    e2e = "the E2E NLG challenge's e2e-metrics"
    webnlg = "WebNLG's GenerationEval, over all, seen and unseen categories"


@dataclass
class DecodingConfig:
    """How outputs are decoded."""

    beams: Annotated[int, Interval(ge=1, le=1000)] = 10
    """1 is greedy search."""
    length_penalty: Number = 0.9
    """Scores of complete outputs are log-probabilities divided by length ** length_penalty."""
    no_repeat_ngram: Annotated[int, Interval(ge=0, le=1000)] = 4
    """No n-gram of generated tokens occurs twice in an output; 0 allows all."""
    max_new_tokens: Size = 100
    """Longest output."""
    batch_size: Size = 16
    """Records decoded side by side."""
    blank_line_ends: bool = field(default=True, metadata=ADDED)
    """Whether an output ends at its first blank line, and is then one line, as in microsoft/LoRA's E2E; else at its end
    of text. Not for a task=any, whose texts may have paragraphs."""


@dataclass
class GenerationTask(TaskConfig):
    """A record of fields -> text, scored against several references."""

    serialization: Serialization = Serialization.lora
    protocol: Protocol = Protocol.raw
    scorer: Scorer = Scorer.e2e
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    seen_categories: Names = field(default_factory=list)
    """Categories whose test records count as seen; empty where a task has no such division."""
    epoch_records: Size = 100
    """Records decoded after an epoch; a score on fewer than all is labelled as such. The test is complete."""


@dataclass
class AnyTask(TaskConfig):
    """A table of the user's own, or any data set of the hub. What is not said is read off the columns where they leave
    no doubt; `config.any_task` makes one of the other kinds of it before a run is planned."""

    metrics: Names = field(default_factory=list)
    """None: accuracy, macro_f1; spearman, pearson; f1, precision, recall of entities; bleu, rouge_l_google."""
    max_length: Size = 256
    kind: Kind | None = None
    texts: Names = field(default_factory=list)
    """Columns that make the input, in their order: one, two for a pair; the one with the words of a tagging task."""
    label: str | None = None
    """Column with what is to be predicted: class, number, tags, or the text to write."""
    labels: Names = field(default_factory=list)
    """The classes in their order, as the data spell them. None: the order that the file states, else numbers by size
    and names by the alphabet."""
    decoding: DecodingConfig = field(default_factory=lambda: DecodingConfig(blank_line_ends=False))
    epoch_records: Size = 100
    """As of a generation task."""
    long: LongSentences = LongSentences.windows
    stride: Annotated[int, Interval(ge=0, le=1_000_000)] = 0
    """As of a tagging task."""


class PlantMode(Enum):
    """How strongly each planted layer changes the model's output."""

    equal = "every planted component alone by the same amount: a layer's change grows with its rank"
    size = "every planted layer by the same amount, whatever its rank: rank is not size"


@dataclass
class RecoveryTask(TaskConfig):
    """Inputs -> the hidden states of a teacher: the same frozen model with low-rank updates of known ranks.

    Splits are cut from the source's inputs, each of which counts once; see `rows`.
    """

    texts: SomeNames = field(default_factory=lambda: ["sentence1", "sentence2"])
    """Columns of the source; every text in them is an input of its own."""
    rows: dict[str, Size] = field(default_factory=lambda: {"train": 2048, "validation": 512, "test": 512})
    """Split -> inputs. They are disjoint; validation is the part of the training data that chooses settings."""
    mode: PlantMode = PlantMode.equal
    truth: Any = "graded"
    """Ranks of the layers before the plant's seed permutes them (config.truth): graded, uniform, none, or a list."""
    rank: Rank = 4
    """Mean rank of the truth over the layers that are planted in."""
    layers: Any = field(default=None, metadata=ADDED)
    """Layers that are planted in, named as model.targets names those that are adapted; none: the same ones."""
    budget: Rank = field(default=MISSING, metadata=LABEL)
    """Mean rank over the adapted layers that the arena's methods have: task.rank, unless the planted layers are others
    and the same total is another mean."""
    change: Positive = 0.35
    """Root mean square of the planted change of the output, over the output's standard deviation, if the parts of the
    change were uncorrelated."""
    plant_seed: Seed | None = None
    """Draws the truth and the planted updates; none means the run's seed."""


TASKS: dict[str, type[TaskConfig]] = {
    "classification": ClassificationTask,
    "regression": RegressionTask,
    "tagging": TaggingTask,
    "generation": GenerationTask,
    "recovery": RecoveryTask,
    "any": AnyTask,
}
"""Schema, and the name by which a kind is spoken of -> settings."""
