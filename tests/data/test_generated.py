"""Generated examples: the same for a seed, balanced, no example twice, not given away by one word, learnable."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from seqeval.metrics.sequence_labeling import get_entities
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline

from autolora_bench.config.data import DataConfig, Source
from autolora_bench.config.task import (
    ClassificationTask,
    GeneratedSource,
    GenerationTask,
    RegressionTask,
    TaggingTask,
    TaskConfig,
)
from autolora_bench.data.generated.source import GENERATORS
from autolora_bench.data.load import load_data
from autolora_bench.data.records import parse_meaning, parse_triple
from autolora_bench.data.schema import TaskData, tag_names
from autolora_bench.errors import UserError

GENERATED = DataConfig(source=Source.generated)
TASKS = ["cola", "sst2", "mrpc", "stsb", "rte", "qnli", "qqp", "mnli", "bionlp", "e2e", "webnlg"]
INPUTS = {"sentence", "sentence1", "sentence2", "question", "question1", "question2", "tokens", "text"}


def classification(
    generator: str, labels: list[str], texts: list[str], rows: int = 512
) -> ClassificationTask:
    source = GeneratedSource(generator=generator, rows={"train": rows, "validation": 256})
    return ClassificationTask(name="any", labels=labels, texts=texts, generated=source)


def inputs(data: TaskData) -> list[str]:
    found = []
    for rows in data.splits.values():
        columns = [rows[name][:] for name in rows.column_names if name in INPUTS]
        found += [str(values) for values in zip(*columns, strict=True)]
    return found


@pytest.mark.sample(keep=("sst2", "stsb", "bionlp", "webnlg"))
@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_its_own_examples(name: str, task_of: Callable[[str], TaskConfig]) -> None:
    task = task_of(name)
    assert task.generated
    data = load_data(task, GENERATED)
    assert {split: len(rows) for split, rows in data.splits.items()} == task.generated.rows
    assert len(set(inputs(data))) == len(inputs(data))  # disjoint, within and across the splits
    assert load_data(task, replace(GENERATED, generator_seed=1)).fingerprint != data.fingerprint
    again = load_data(task, GENERATED)
    assert again is not data
    assert again.fingerprint == data.fingerprint
    assert data.subsets == {}
    assert any("generated" in note for note in data.notes)


@pytest.mark.sample(keep=("cola", "rte", "mnli"))
@pytest.mark.parametrize("name", ["cola", "sst2", "mrpc", "rte", "qnli", "qqp", "mnli"])
def test_labels_are_balanced_in_every_split(name: str, task_of: Callable[[str], TaskConfig]) -> None:
    for rows in load_data(task_of(name), GENERATED).splits.values():
        counts = Counter(rows["label"])
        assert max(counts.values()) - min(counts.values()) <= 1
        assert len(set(rows["label"][:20])) > 1  # shuffled


@pytest.mark.parametrize("count", range(2, 9))
@pytest.mark.parametrize(("generator", "texts"), [("sentences", ["text"]), ("pairs", ["first", "second"])])
def test_any_number_of_labels(count: int, generator: str, texts: list[str]) -> None:
    task = classification(generator, [f"label{i}" for i in range(count)], texts, rows=64)
    train = load_data(task, GENERATED).splits["train"]
    assert set(train["label"]) == set(range(count))
    assert train.column_names == [*texts, "label"]


def bag_of_words(task: ClassificationTask, ngrams: tuple[int, int]) -> float:
    """Accuracy of a linear model of the second text's words."""
    data = load_data(task, GENERATED)
    model = make_pipeline(CountVectorizer(ngram_range=ngrams), LogisticRegression(C=10, max_iter=500))
    train, held_out = data.splits["train"], data.splits["validation"]
    model.fit(train[task.texts[-1]][:], train["label"][:])
    return float(model.score(held_out[task.texts[-1]][:], held_out["label"][:]))


def test_one_word_does_not_give_a_label_away() -> None:
    for task in (
        classification("sentences", ["bad", "good"], ["text"]),
        classification("pairs", ["same", "other"], ["a", "b"]),
        classification("pairs", ["not_same", "same"], ["a", "b"]),
    ):
        data = load_data(task, GENERATED).splits["train"]
        labels = np.array(data["label"][:])
        words = CountVectorizer(binary=True).fit_transform(data[task.texts[-1]][:]).toarray()
        agreement = [max(np.mean(column == labels), np.mean(column != labels)) for column in words.T]
        assert max(agreement) < 0.7


def test_words_without_the_first_sentence_do_not_solve_a_pair() -> None:
    assert bag_of_words(classification("pairs", ["same", "other"], ["a", "b"]), (1, 2)) < 0.62
    assert bag_of_words(classification("pairs", ["yes", "open", "no"], ["a", "b"]), (1, 2)) < 0.8


@pytest.mark.parametrize("labels", [["bad", "good"], ["a", "b", "c", "d", "e"]])
def test_sentences_can_be_learnt(labels: list[str]) -> None:
    assert bag_of_words(classification("sentences", labels, ["text"]), (1, 3)) > 0.75


def test_the_disagreement_is_the_label_that_says_not() -> None:
    """Shared words tell the two labels apart, whichever comes first."""
    for labels, agreeing in ((["entailment", "not_entailment"], 0), (["not_equivalent", "equivalent"], 1)):
        rows = load_data(classification("pairs", labels, ["a", "b"]), GENERATED).splits["train"]
        shared: dict[int, list[int]] = {0: [], 1: []}
        for first, second, label in zip(rows["a"], rows["b"], rows["label"], strict=True):
            shared[label].append(len(set(first.split()) & set(second.split())))
        assert np.mean(shared[agreeing]) > np.mean(shared[1 - agreeing]) + 1


def test_similarity_grows_with_what_is_shared() -> None:
    source = GeneratedSource(generator="similarity", rows={"train": 512, "validation": 256})
    task = RegressionTask(name="any", minimum=-1.0, maximum=4.0, generated=source)
    data = load_data(task, GENERATED)
    assert set(data.splits["train"]["label"]) == {-1.0, 0.0, 1.0, 2.0, 3.0, 4.0}
    model = make_pipeline(CountVectorizer(), Ridge())
    train, held_out = data.splits["train"], data.splits["validation"]
    model.fit(train["sentence2"][:], train["label"][:])
    assert np.corrcoef(model.predict(held_out["sentence2"][:]), held_out["label"][:])[0, 1] > 0.8


@pytest.mark.parametrize("count", [1, 3, 5, 8])
def test_tags_are_valid_iob2_and_every_type_appears(count: int) -> None:
    source = GeneratedSource(generator="entities", rows={"train": 128, "validation": 16})
    task = TaggingTask(name="any", entities=[f"T{i}" for i in range(count)], generated=source)
    rows = load_data(task, GENERATED).splits["train"]
    names = tag_names(task)
    kinds: Counter[str] = Counter()
    for tags in rows["tags"]:
        spelt = [names[tag] for tag in tags]
        assert not any(
            tag.startswith("I-") and before[1:] != tag[1:]
            for before, tag in zip(["O", *spelt], spelt, strict=False)
        )
        kinds.update(kind for kind, *_ in get_entities(spelt))
    assert set(kinds) == set(task.entities)


def test_a_stem_alone_does_not_give_its_type_away(task_of: Callable[[str], TaskConfig]) -> None:
    rows = load_data(task_of("bionlp"), GENERATED).splits["train"]
    types: dict[str, set[int]] = {}
    for tokens, tags in zip(rows["tokens"], rows["tags"], strict=True):
        for token, tag in zip(tokens, tags, strict=True):
            types.setdefault(token, set()).add(tag)
    assert len(types["CD28"]) > 4
    assert 0 in types["viral"]
    assert len(types["viral"]) > 3
    assert types["kinase"] == {4}


def test_records_say_every_field(task_of: Callable[[str], TaskConfig]) -> None:
    rows = load_data(task_of("e2e"), GENERATED).splits["train"]
    for fields, references, text in zip(rows["fields"], rows["references"], rows["text"], strict=True):
        assert parse_meaning(text) == fields
        assert len(set(references)) == 3
        said = dict(fields)
        for reference in references:
            assert all(
                said[key] in reference for key in ("name", "eatType", "food", "area", "near") if key in said
            )
            assert not set("  {}") & set(reference.replace(" ", "", reference.count(" ")))


def test_triples_have_an_unseen_category_only_in_the_test(task_of: Callable[[str], GenerationTask]) -> None:
    task = task_of("webnlg")
    data = load_data(task, GENERATED)
    for split, rows in data.splits.items():
        unseen = sum(category not in task.seen_categories for category in rows["category"])
        assert unseen == (len(rows) // 4 if split == "test" else 0)
        for fields, text in zip(rows["fields"], rows["text"], strict=True):
            assert [parse_triple(triple) for triple in text.split(" && ")] == fields


def test_mistakes_are_named(refused: Callable[..., UserError]) -> None:
    def load(task: TaskConfig) -> Callable[[], TaskData]:
        return lambda: load_data(task, GENERATED)

    task = classification("pairs", ["a", "b"], ["x", "y"])
    refused(load(replace(task, generated=None)), "any", "generator")
    error = refused(load(replace(task, generated=GeneratedSource(generator="poems"))), "'poems'")
    assert all(name in error.mend for name in GENERATORS)
    refused(load(replace(task, test=["test"])), "generated.rows", "'test'")
    refused(load(replace(task, texts=["x"])), "1 texts", "makes 2")
    refused(load(classification("pairs", [str(i) for i in range(9)], ["x", "y"])), "9 labels")
    refused(load(classification("sentences", [str(i) for i in range(9)], ["x"])), "9 labels")
    refused(load(classification("pairs", ["a"], ["x", "y"])), "1 labels")
    source = GeneratedSource(generator="entities")
    refused(
        load(TaggingTask(name="any", entities=[str(i) for i in range(9)], generated=source)), "9 entity types"
    )


def test_more_rows_than_examples(monkeypatch: pytest.MonkeyPatch, refused: Callable[..., UserError]) -> None:
    monkeypatch.setitem(
        GENERATORS, "three", lambda task: lambda turn: {"x": str(turn.number % 3), "label": 0}
    )
    task = classification("three", ["a"], ["x"], rows=4)
    refused(lambda: load_data(task, GENERATED), "no further different example")
