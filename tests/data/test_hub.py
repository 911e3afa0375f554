"""The hub's path, with only the network replaced: a server on this machine answers as the hub does."""

import io
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from huggingface_hub import constants

from autolora_bench import cli
from autolora_bench.config.compose import compose_config, composer, search_path, to_experiment
from autolora_bench.config.data import DataConfig, Source
from autolora_bench.config.experiment import ExperimentConfig, config_id
from autolora_bench.config.task import ClassificationTask, HubSource, Layout, TaskConfig
from autolora_bench.data.load import load_data
from autolora_bench.data.schema import TaskData
from autolora_bench.errors import UserError
from autolora_bench.runner import run_experiment

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GLUE_COMMIT = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"
HUB = DataConfig(source=Source.hub)


class FakeHub:
    """(data set, revision) -> files, as the hub serves them; what it was asked for."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], dict[str, bytes]] = {}
        self.asked: list[str] = []

    def add(self, repository: str, revision: str, files: dict[str, bytes]) -> None:
        self.repositories.setdefault((repository, revision), {}).update(files)

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        self.asked.append(path)
        if path == "/":
            return 200, {}, b""
        tree = re.match(r"/api/models/(.+)/tree/(\w+)", path)
        if tree:
            files = self.repositories[tree[1], tree[2]]
            entries = [{"type": "file", "path": name, "size": len(files[name]), "oid": ""} for name in files]
            return 200, {}, json.dumps(entries).encode()
        information = re.match(r"/api/(?:datasets|models)/([^?]*)", path)
        if information:
            return self._information(information[1])
        repository, _, rest = path.lstrip("/").removeprefix("datasets/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        known = {name for name, _ in self.repositories}
        if repository not in known:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        files = self.repositories.get((repository, unquote(revision)))
        if files is None:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        commit = revision if len(revision) == 40 else COMMIT
        headers = {"X-Repo-Commit": commit, "ETag": f'"{hash((repository, file)) & 0xFFFFFF:x}"'}
        if unquote(file) not in files:
            return 404, {"X-Error-Code": "EntryNotFound", **headers}, b""
        return 200, headers, files[unquote(file)]

    def _information(self, asked: str) -> tuple[int, dict[str, str], bytes]:
        """What the hub says of a repository: its commit and the names of its files."""
        repository, _, revision = asked.partition("/revision/")
        if repository not in {name for name, _ in self.repositories}:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        files = self.repositories.get((repository, unquote(revision) or "main"))
        if files is None:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        siblings = [{"rfilename": name} for name in [".gitattributes", *files]]
        return 200, {}, json.dumps({"id": repository, "sha": COMMIT, "siblings": siblings}).encode()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    fake = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, content = fake.answer(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    point_at(f"http://127.0.0.1:{server.server_port}", tmp_path, monkeypatch)
    yield fake
    server.shutdown()
    server.server_close()


def point_at(endpoint: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def parquet(columns: dict[str, Any] | pa.Table) -> bytes:
    stream = io.BytesIO()
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), stream)
    return stream.getvalue()


def as_glue(columns: dict[str, list[Any]], names: list[str]) -> bytes:
    """As the hub stores it: with its own index column and the label names in the file's metadata."""
    rows = len(columns["label"])
    features = Features({name: Value("string") for name in columns if name != "label"})
    features |= {"label": ClassLabel(names=names), "idx": Value("int32")}
    dataset = Dataset.from_dict({**columns, "idx": list(range(rows))}, features=Features(features))
    stream = io.BytesIO()
    dataset.to_parquet(stream)
    return stream.getvalue()


def local(task: TaskConfig, folder: Path, files: dict[str, str]) -> TaskData:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8", newline="")
    return load_data(task, DataConfig(source=Source.local, dir=str(folder)))


def same(first: TaskData, second: TaskData) -> None:
    for split, rows in first.splits.items():
        assert second.splits[split][:] == rows[:]
    assert first.fingerprint == second.fingerprint
    assert first.source != second.source


RTE: dict[str, list[Any]] = {"sentence1": ["a", "n/a"], "sentence2": ['b ""', "d "], "label": [1, 0]}
LABELS = ["entailment", "not_entailment"]
RTE_TSV = 'index\tsentence1\tsentence2\tlabel\n0\ta\tb ""\tnot_entailment\n1\tn/a\td \tentailment\n'


@pytest.fixture
def rte(hub: FakeHub) -> FakeHub:
    for split in ("train", "validation"):
        file = as_glue(RTE, LABELS)
        hub.add("nyu-mll/glue", GLUE_COMMIT, {f"rte/{split}-00000-of-00001.parquet": file})
    return hub


def test_the_same_rows_have_one_fingerprint_from_hub_and_files(
    rte: FakeHub, task_of: Callable[[str], TaskConfig], tmp_path: Path
) -> None:
    task = task_of("rte")
    found = load_data(task, HUB)
    assert found.source == f"nyu-mll/glue rte@{GLUE_COMMIT}"
    assert found.subsets == {"train": (2, 2490), "validation": (2, 277)}
    same(found, local(task, tmp_path, {"glue/RTE/train.tsv": RTE_TSV, "glue/RTE/dev.tsv": RTE_TSV}))


def test_scores_in_32_bits_are_the_files_numbers(
    hub: FakeHub, task_of: Callable[[str], TaskConfig], tmp_path: Path
) -> None:
    scores = ["3.8", "2.533", "0.0", "4.333", "1.714", "5.000"]
    columns = {
        "sentence1": ["a"] * 6,
        "sentence2": ["b"] * 6,
        "label": pa.array(map(float, scores), pa.float32()),
    }
    for split in ("train", "validation"):
        hub.add("nyu-mll/glue", GLUE_COMMIT, {f"stsb/{split}-00000-of-00001.parquet": parquet(columns)})
    tsv = "sentence1\tsentence2\tscore\n" + "".join(f"a\tb\t{score}\n" for score in scores)
    task = task_of("stsb")
    same(
        load_data(task, HUB), local(task, tmp_path, {"glue/STS-B/train.tsv": tsv, "glue/STS-B/dev.tsv": tsv})
    )


def test_premise_and_hypothesis(hub: FakeHub, task_of: Callable[[str], TaskConfig], tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {
        "premise": ["p", "q", "r"],
        "hypothesis": ["n/a", "s", "t"],
        "label": [0, 1, 2],
    }
    names = ["entailment", "neutral", "contradiction"]
    for split in ("train", "validation_matched", "validation_mismatched"):
        file = as_glue(columns, names)
        hub.add("nyu-mll/glue", GLUE_COMMIT, {f"mnli/{split}-00000-of-00001.parquet": file})
    rows = "".join(f"{p}\t{h}\tx\t{names[label]}\n" for p, h, label in zip(*columns.values(), strict=True))
    tsv = "sentence1\tsentence2\tlabel1\tgold_label\n" + rows
    files = {f"glue/MNLI/{name}.tsv": tsv for name in ("train", "dev_matched", "dev_mismatched")}
    task = task_of("mnli")
    same(load_data(task, HUB), local(task, tmp_path, files))


def test_tags(hub: FakeHub, task_of: Callable[[str], TaskConfig], tmp_path: Path) -> None:
    columns = {
        "tokens": [["-DOCSTART-"], ["IL-2", "gene", "."], ["T", "cells"]],
        "tags": [[0], [1, 2, 0], [5, 6]],
    }
    task = task_of("bionlp")
    assert task.hub
    for split in ("train", "validation", "test"):
        file = {f"bionlp2004/{split}/0000.parquet": parquet(columns)}
        hub.add("tner/bionlp2004", str(task.hub.revision), file)
    text = "IL-2\tB-DNA\ngene\tI-DNA\n.\tO\n\nT\tB-cell_type\ncells\tI-cell_type\n"
    same(
        load_data(task, HUB),
        local(task, tmp_path, {f"bionlp2004/{s}.iob2": text for s in ("train", "validation", "test")}),
    )


def test_records(hub: FakeHub, task_of: Callable[[str], TaskConfig], tmp_path: Path) -> None:
    mr, ref = ["name[A, B]", "name[C]", "name[A, B]"], ["One.", "Two\nlines.", "Three."]
    table = {"meaning_representation": mr, "human_reference": ref}
    for split in ("train", "validation", "test"):
        hub.add(
            "tuetschek/e2e_nlg", "refs/convert/parquet", {f"default/{split}/0000.parquet": parquet(table)}
        )
    text = "mr,ref\r\n" + "".join(f'"{m}","{r}"\r\n' for m, r in zip(mr, ref, strict=True)).replace(
        "o\nl", "o\r\nl"
    )
    task = task_of("e2e")
    found = load_data(task, HUB)
    assert found.source == f"tuetschek/e2e_nlg e2e@{COMMIT}"
    same(
        found, local(task, tmp_path, {f"e2e/{f}.csv": text for f in ("trainset", "devset", "testset_w_refs")})
    )


def webnlg_table(entries: list[tuple[str, list[str], list[tuple[str, str]], str]]) -> bytes:
    """As the loading script's features become parquet: sequences of dicts as dicts of sequences."""
    return parquet(
        {
            "category": [category for category, *_ in entries],
            "modified_triple_sets": [{"mtriple_set": [triples]} for _, triples, *_ in entries],
            "lex": [
                {"comment": [c for c, _ in lex], "lid": ["Id"] * len(lex), "text": [t for _, t in lex]}
                for _, _, lex, _ in entries
            ],
            "test_category": [file for *_, file in entries],
        }
    )


def test_triples_and_only_the_test_file_with_references(
    hub: FakeHub, task_of: Callable[[str], TaskConfig], tmp_path: Path
) -> None:
    lex = [("good", "A is B."), ("toFix", "A B")]
    entry = ("Food", ["A | is | B", "B | of | C"], lex, "")
    test = [(*entry[:3], f"testdata_{name}") for name in ("no_lex", "unseen_with_lex", "with_lex")]
    for split, entries in {"train": [entry], "dev": [entry], "test": test}.items():
        file = {f"webnlg_challenge_2017/{split}/0000.parquet": webnlg_table(entries)}
        hub.add("webnlg-challenge/web_nlg", "refs/convert/parquet", file)
    xml = (
        '<benchmark><entries><entry category="Food" eid="Id1" size="2"><modifiedtripleset><mtriple>A | is | B</mtriple>'
        '<mtriple>B | of | C</mtriple></modifiedtripleset><lex comment="good" lid="Id1">A is B.</lex>'
        '<lex comment="toFix" lid="Id2">A B</lex></entry></entries></benchmark>'
    )
    files = {f"webnlg/{name}": xml for name in ("train/a.xml", "dev/a.xml", "test/testdata_with_lex.xml")}
    task = task_of("webnlg")
    found = load_data(task, HUB)
    assert len(found.splits["test"]) == 1
    assert "train: 1 of 2 lexicalisations kept: those marked good" in found.notes
    same(found, local(task, tmp_path, files))


def test_the_cache_is_enough(
    rte: FakeHub, task_of: Callable[[str], TaskConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_data(task_of("rte"), HUB)
    asked = len(rte.asked)
    assert load_data(task_of("rte"), HUB).fingerprint == first.fingerprint
    assert len(rte.asked) == asked  # nothing is asked twice
    point_at("http://127.0.0.1:9", tmp_path, monkeypatch)
    assert load_data(task_of("rte"), HUB).fingerprint == first.fingerprint
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_data(task_of("rte"), HUB).source == first.source


def test_no_network_and_no_cache_is_one_line_at_once(
    task_of: Callable[[str], TaskConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: Callable[..., UserError],
) -> None:
    point_at("http://127.0.0.1:9", tmp_path, monkeypatch)
    monkeypatch.setattr(
        time, "sleep", lambda seconds: pytest.fail(f"slept {seconds} s before another attempt")
    )
    error = refused(lambda: load_data(task_of("rte"), HUB), "nyu-mll/glue", "http://127.0.0.1:9")
    for word in ("data=local", "data=generated", "HF_HUB_OFFLINE"):
        assert word in error.mend
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    error = refused(lambda: load_data(task_of("rte"), HUB), "nyu-mll/glue", "HF_HUB_OFFLINE")
    assert "unset HF_HUB_OFFLINE" in error.mend


def test_a_hub_in_trouble(
    rte: FakeHub,
    task_of: Callable[[str], TaskConfig],
    monkeypatch: pytest.MonkeyPatch,
    refused: Callable[..., UserError],
) -> None:
    plain = rte.answer
    monkeypatch.setattr(rte, "answer", lambda path: plain(path) if path == "/" else (403, {}, b""))
    refused(lambda: load_data(task_of("rte"), HUB), "nyu-mll/glue", "failed", "403")


def test_what_the_hub_does_not_have(
    rte: FakeHub, task_of: Callable[[str], TaskConfig], refused: Callable[..., UserError]
) -> None:
    task = task_of("rte")
    assert task.hub

    def load(**changes: Any) -> Callable[[], TaskData]:
        return lambda: load_data(replace(task, hub=replace(task.hub, **changes)), HUB)  # type: ignore[type-var]

    missing = [
        refused(load(path="nobody/nothing"), "nobody/nothing"),
        refused(load(revision="elsewhere"), "nyu-mll/glue", "elsewhere"),
        refused(
            load(files={"train": ["no.parquet"], "validation": ["no.parquet"]}), "no.parquet", GLUE_COMMIT
        ),
    ]
    assert all("data=local" in error.mend for error in missing)
    refused(load(files={"train": task.hub.files["train"]}), "'validation'")
    refused(load(columns={"sentence1": "premise"}), "'premise'", "sentence1, sentence2, label, idx")


def test_labels_in_another_order_are_refused_until_they_are_named(
    hub: FakeHub, task_of: Callable[[str], TaskConfig], refused: Callable[..., UserError]
) -> None:
    for split in ("train", "validation"):
        file = as_glue(RTE, LABELS[::-1])
        hub.add("nyu-mll/glue", GLUE_COMMIT, {f"rte/{split}-00000-of-00001.parquet": file})
    task = task_of("rte")
    assert task.hub
    error = refused(lambda: load_data(task, HUB), "not_entailment, entailment")
    assert "hub.labels" in error.mend
    named = replace(task, hub=replace(task.hub, labels=LABELS[::-1]))
    assert load_data(named, HUB).splits["train"]["label"][:] == [0, 1]
    wrong = replace(task, hub=replace(task.hub, labels=["yes", "no"]))
    refused(lambda: load_data(wrong, HUB), "hub.labels", "no is none of entailment, not_entailment")


def test_labels_that_name_a_part_are_refused(
    hub: FakeHub, task_of: Callable[[str], TaskConfig], refused: Callable[..., UserError]
) -> None:
    """The number that is left out would be another class's of ours."""
    for split in ("train", "validation"):
        file = parquet({**RTE, "label": [0, 1]})
        hub.add("nyu-mll/glue", GLUE_COMMIT, {f"rte/{split}-00000-of-00001.parquet": file})
    task = task_of("rte")
    assert task.hub
    short = replace(task, hub=replace(task.hub, labels=["not_entailment"]))
    refused(lambda: load_data(short, HUB), "hub.labels has 1 of the task's 2 labels")


def test_labels_of_other_names_are_refused_until_it_is_said_which_is_which(
    hub: FakeHub, task_of: Callable[[str], TaskConfig], refused: Callable[..., UserError]
) -> None:
    for split in ("train", "validation"):
        hub.add(
            "nyu-mll/glue",
            GLUE_COMMIT,
            {f"rte/{split}-00000-of-00001.parquet": as_glue(RTE, ["contradicts", "entails"])},
        )
    task = task_of("rte")
    assert task.hub
    error = refused(lambda: load_data(task, HUB), "contradicts, entails")
    assert "in the order of contradicts, entails" in error.mend
    named = replace(task, hub=replace(task.hub, labels=LABELS[::-1]))
    assert load_data(named, HUB).splits["train"]["label"][:] == [1 - label for label in RTE["label"]]


def test_rows_are_kept_by_numbers_and_files_may_have_other_widths(
    hub: FakeHub, task_of: Callable[[str], TaskConfig], refused: Callable[..., UserError]
) -> None:
    narrow, wide, words = (
        parquet(pa.table({**RTE, "label": pa.array(RTE["label"], "int32"), "part": [1, 2]})),
        parquet(pa.table({**RTE, "part": [2, 1]})),
        parquet(pa.table({**RTE, "label": ["entailment"] * 2, "part": [1, 1]})),
    )
    task = task_of("rte")
    assert task.hub
    files = {"train": ["rte/a.parquet", "rte/b.parquet"], "validation": ["rte/a.parquet"]}
    kept = replace(
        task, hub=replace(task.hub, files=files, where={"train": {"part": "1"}, "validation": {"part": "2"}})
    )
    hub.add(
        "nyu-mll/glue", GLUE_COMMIT, {"rte/a.parquet": narrow, "rte/b.parquet": wide, "rte/c.parquet": words}
    )
    data = load_data(kept, HUB)
    assert data.splits["train"]["label"][:] == RTE["label"]
    assert data.splits["validation"]["label"][:] == RTE["label"][1:]
    assert kept.hub
    mixed = replace(kept, hub=replace(kept.hub, files={**files, "train": ["rte/a.parquet", "rte/c.parquet"]}))
    refused(lambda: load_data(mixed, HUB), "its files differ in what a column holds")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({**RTE, "label": [1, -1]}, ["row 1", "label -1", "entailment, not_entailment"]),
        ({**RTE, "label": [2, 0]}, ["row 0", "label 2"]),
        ({**RTE, "sentence1": ["a", None]}, ["row 1", "None is not a text"]),
        (
            {
                "sentence1": pa.array([], "string"),
                "sentence2": pa.array([], "string"),
                "label": pa.array([], "int64"),
            },
            ["no examples"],
        ),
    ],
)
def test_rows_that_break_the_schema(
    columns: dict[str, Any],
    words: list[str],
    hub: FakeHub,
    task_of: Callable[[str], TaskConfig],
    refused: Callable[..., UserError],
) -> None:
    for split in ("train", "validation"):
        hub.add("nyu-mll/glue", GLUE_COMMIT, {f"rte/{split}-00000-of-00001.parquet": parquet(columns)})
    refused(lambda: load_data(task_of("rte"), HUB), "nyu-mll/glue rte@", "train", *words)


def test_a_file_that_is_no_parquet(
    hub: FakeHub, task_of: Callable[[str], TaskConfig], refused: Callable[..., UserError]
) -> None:
    hub.add("nyu-mll/glue", GLUE_COMMIT, {"rte/train-00000-of-00001.parquet": json.dumps(RTE).encode()})
    refused(lambda: load_data(task_of("rte"), HUB), "rte/train-00000-of-00001.parquet", "parquet file")


LANGUAGES = {"xnli": 15, "pawsx": 7}
NLI = ["entailment", "neutral", "contradiction"]


@pytest.fixture(scope="module")
def in_all_languages(task_of: Callable[[str], TaskConfig]) -> dict[tuple[str, str], dict[str, bytes]]:
    """Both data sets as they are laid out on the hub; every text begins with its language and split."""
    files: dict[tuple[str, str], dict[str, bytes]] = {}
    for name, columns, names in (
        ("xnli", ("premise", "hypothesis"), NLI),
        ("pawsx", ("sentence1", "sentence2"), ["0", "1"]),
    ):
        task = task_of(name)
        assert isinstance(task, ClassificationTask)
        assert task.hub
        made = load_data(task, DataConfig(source=Source.generated)).splits["validation"][:24]
        for language, split in product(task.languages, ("train", "validation", "test")):
            rows: dict[str, list[Any]] = {
                column: [f"{language} {split} {text}" for text in made[ours]]
                for column, ours in zip(columns, task.texts, strict=True)
            }
            file = as_glue({**rows, "label": made["label"]}, names)
            place = files.setdefault((task.hub.path, str(task.hub.revision)), {})
            place[f"{language}/{split}-00000-of-00001.parquet"] = file
    return files


@pytest.fixture
def multilingual(hub: FakeHub, in_all_languages: dict[tuple[str, str], dict[str, bytes]]) -> FakeHub:
    for (repository, revision), files in in_all_languages.items():
        hub.add(repository, revision, files)
    return hub


def in_languages(name: str, *words: str) -> ExperimentConfig:
    with composer():
        return to_experiment(compose_config([f"task={name}", "data=hub", "model=any", *words]))


@pytest.mark.sample(keep=("pawsx",))
@pytest.mark.parametrize("name", LANGUAGES)
def test_english_is_trained_on_and_every_language_tested(name: str, multilingual: FakeHub) -> None:
    task = in_languages(name, "model.checkpoint=x").task
    assert isinstance(task, ClassificationTask)
    assert len(task.languages) == LANGUAGES[name] == len(set(task.languages))
    assert task.test == [f"test_{language}" for language in task.languages]
    made = load_data(task, DataConfig(source=Source.generated)).splits["validation"][:24]
    for split, rows in load_data(task, HUB).splits.items():
        kind, _, language = split.partition("_")
        for column in task.texts:
            assert rows[column][:] == [f"{language or 'en'} {kind} {text}" for text in made[column]]
        assert rows["label"][:] == made["label"]


def test_another_language_is_trained_on_when_it_is_said(multilingual: FakeHub) -> None:
    words = ["model.checkpoint=x", "task.language=de"]
    experiment = in_languages("pawsx", *words, "task.test=[test_ja]")
    data = load_data(experiment.task, HUB)
    first = {split: rows["sentence1"][0][:2] for split, rows in data.splits.items()}
    assert first == {"train": "de", "validation": "de", "test_ja": "ja"}
    asked = {
        path.rpartition("/resolve/")[2].split("/", 1)[1] for path in multilingual.asked if "/resolve/" in path
    }
    assert asked == {f"{place}-00000-of-00001.parquet" for place in ("de/train", "de/validation", "ja/test")}
    assert config_id(in_languages("pawsx", *words)) != config_id(in_languages("pawsx", *words[:1]))
    for task, language in (("pawsx", "ru"), ("xnli", "ja"), ("rte", "en")):
        with pytest.raises(UserError, match=f"task.language={language} with task={task}"):
            in_languages(task, "model.checkpoint=x", f"task.language={language}")


@pytest.mark.sample(keep=("pawsx",))
@pytest.mark.parametrize(("name", "language"), [("xnli", "sw"), ("pawsx", "zh")])
def test_a_tiny_xlmr_is_trained_on_english_and_scored_in_another_language(
    name: str,
    language: str,
    multilingual: FakeHub,
    tiny_xlmr: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path / "cache"))
    words = [f"task.test=[test_{language}]", f"model.checkpoint={tiny_xlmr}", "method=lora", "train.epochs=1"]
    folder = tmp_path / "run"
    record = run_experiment(in_languages(name, *words), folder, "autolora-bench ...", None)
    assert record.error is None, record.error["traceback"]
    assert [*record.best] == ["validation"]
    (split, scored), *others = record.test.items()
    assert (split, others) == (f"test_{language}", [])
    lines = (folder / f"evaluate/{split}.jsonl").read_text(encoding="utf-8").splitlines()
    task = in_languages(name, *words).task
    assert isinstance(task, ClassificationTask)
    labels = [task.labels[label] for label in load_data(task, HUB).splits[split]["label"]]
    right = sum(json.loads(line) == label for line, label in zip(lines, labels, strict=True))
    assert scored.scores["accuracy"] == pytest.approx(right / 24)


IMDB_README = b"""---
configs:
- config_name: plain_text
  data_files:
  - split: train
    path: plain_text/train-*
  - split: test
    path: plain_text/test-*
  - split: unsupervised
    path: plain_text/unsupervised-*
---
# Reviews
"""


@pytest.fixture
def imdb(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """As stanfordnlp/imdb is laid out."""
    monkeypatch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path / "cache"))
    files = {"README.md": IMDB_README, "imdb.py": b"raise SystemExit('never run')"}
    for split, count in {"train": 40, "test": 10, "unsupervised": 10}.items():
        labels = [-1] * count if split == "unsupervised" else [n % 2 for n in range(count)]
        columns = {"text": [f"{split} review {n}" for n in range(count)], "label": labels}
        files[f"plain_text/{split}-00000-of-00001.parquet"] = as_glue(columns, ["neg", "pos"])
    for revision in ("main", COMMIT):
        hub.add("stanfordnlp/imdb", revision, files)
    return hub


def any_task(name: str, *words: str) -> ExperimentConfig:
    with composer():
        return to_experiment(
            compose_config(
                ["task=any", "data=hub", f"data.name={name}", "model=any", "model.checkpoint=x", *words]
            )
        )


def test_any_data_set_by_its_name(imdb: FakeHub) -> None:
    experiment = any_task("stanfordnlp/imdb")
    task = experiment.task
    assert isinstance(task, ClassificationTask)
    assert task.hub
    assert (task.name, task.labels, task.texts, task.test) == ("imdb", ["neg", "pos"], ["text"], ["test"])
    assert task.hub.revision == COMMIT
    data = load_data(task, experiment.data)
    assert {split: len(rows) for split, rows in data.splits.items()} == {
        "train": 36,
        "validation": 4,
        "test": 10,
    }
    assert data.source == f"stanfordnlp/imdb@{COMMIT}"
    assert any("no validation split" in note for note in data.notes)
    assert not any("imdb.py" in path for path in imdb.asked)


def test_the_same_words_mean_the_same_commit_offline_and_later(
    imdb: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = any_task("stanfordnlp/imdb")
    loaded = load_data(first.task, first.data)
    asked = len(imdb.asked)
    imdb.repositories["stanfordnlp/imdb", "main"] = {}
    assert config_id(any_task("stanfordnlp/imdb")) == config_id(first)
    assert len(imdb.asked) == asked
    point_at("http://127.0.0.1:9", tmp_path, monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = any_task("stanfordnlp/imdb")
    assert load_data(again.task, again.data).fingerprint == loaded.fingerprint
    assert config_id(again) == config_id(first)


def test_configurations_of_a_data_set_are_listed_and_chosen(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., UserError]
) -> None:
    monkeypatch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path / "cache"))
    names = ("cola", "rte")
    entries = "".join(f"- config_name: {name}\n  data_dir: {name}\n" for name in names)
    files = {"README.md": f"---\nconfigs:\n{entries}---\n".encode()}
    for name in names:
        for split in ("train", "dev"):
            lines = ["text,label", *(f"{name} {split} {n},{'ab'[n % 2]}" for n in range(12))]
            files[f"{name}/{split}.csv"] = "\n".join(lines).encode()
    for revision in ("main", COMMIT):
        hub.add("someone/glue", revision, files)
    error = refused(lambda: any_task("someone/glue"), "several configurations: cola, rte")
    assert "data.subset" in error.mend
    refused(lambda: any_task("someone/glue", "data.subset=rtee"), "no configuration rtee")
    experiment = any_task("someone/glue", "data.subset=rte")
    assert experiment.task.name == "glue-rte"
    data = load_data(experiment.task, experiment.data)
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 12, "validation": 12}
    assert data.splits["train"]["text"][0] == "rte train 0"


@pytest.mark.parametrize(
    ("files", "words", "said"),
    [
        ({"readme.txt": b""}, [], "no file that is a table"),
        ({"test.csv": b"text,label\na,b\n"}, [], "no split train; it has test"),
        ({"train.csv": b"text,label\na,b\nb,c\n"}, ["data.revision=elsewhere"], "no revision elsewhere"),
        (
            {
                "all.csv": b"text,label\na,b\nb,c\n",
                "README.md": b"---\nconfigs:\n- config_name: x\n  data_files:\n  - split: train\n    path: all.csv\n"
                b"  - split: test\n    path: '*.csv'\n---\n",
            },
            [],
            "its splits train and test share a file",
        ),
        (
            {
                "train.csv": b"",
                "README.md": b"---\nconfigs:\n- config_name: x\n  data_files: /etc/*.csv\n---\n",
            },
            [],
            "",
        ),
    ],
)
def test_what_a_repository_lacks(
    files: dict[str, bytes],
    words: list[str],
    said: str,
    hub: FakeHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: Callable[..., UserError],
) -> None:
    monkeypatch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path / "cache"))
    for revision in ("main", COMMIT):
        hub.add("someone/data", revision, files)
    refused(lambda: any_task("someone/data", *words), "someone/data", said)
    refused(lambda: any_task("nobody/nothing"), "no data set nobody/nothing")


def test_without_network_a_new_data_set_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., UserError]
) -> None:
    monkeypatch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path / "cache"))
    point_at("http://127.0.0.1:9", tmp_path, monkeypatch)
    error = refused(lambda: any_task("stanfordnlp/imdb"), "stanfordnlp/imdb", "does not answer")
    assert "data=files" in error.mend
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused(lambda: any_task("stanfordnlp/imdb"), "HF_HUB_OFFLINE")


JOKES = b"id,joke,verdict\n1,Why?,1\n2,So be it.,0\n3,draft,1\n"


@pytest.mark.parametrize("layout", ["csv", "parquet"])
def test_a_table_on_the_hub_that_a_task_describes(
    layout: str, hub: FakeHub, task_of: Callable[[str], TaskConfig], refused: Callable[..., UserError]
) -> None:
    frame = pd.read_csv(io.BytesIO(JOKES), dtype=str)
    content = JOKES if layout == "csv" else parquet(pa.Table.from_pandas(frame))
    names = {"train": [f"train.{layout}"], "validation": [f"dev.{layout}"]}
    hub.add("somebody/jokes", "main", {file: content for files in names.values() for file in files})
    source = HubSource(
        path="somebody/jokes",
        layout=Layout[layout],
        files=names,
        columns={"sentence": "joke", "label": "verdict"},
        labels=["0", "1"],
        where={"validation": {"id": "2"}},
    )
    task = replace(task_of("sst2"), labels=["dull", "funny"], hub=source)
    found = load_data(task, HUB)
    assert found.splits["train"][:] == {"sentence": ["Why?", "So be it.", "draft"], "label": [1, 0, 1]}
    assert found.splits["validation"][:] == {"sentence": ["So be it."], "label": [0]}
    assert found.source == f"somebody/jokes sst2@{COMMIT}"
    if layout == "parquet":
        plain = replace(source, layout=None, where={})
        error = refused(lambda: load_data(replace(task, hub=plain), HUB), "the label are texts")
        assert "layout: parquet" in error.mend


def test_files_that_are_no_parquet_need_a_layout(refused: Callable[..., UserError], tmp_path: Path) -> None:
    (tmp_path / "task").mkdir()

    def compose(layout: str, file: str) -> ExperimentConfig:
        text = (
            "defaults:\n  - /schema/task/classification@_here_\nname: jokes\ntitle: Jokes\nmetrics: [accuracy]\n"
            f"labels: [a, b]\nhub:\n  path: somebody/jokes\n  layout: {layout}\n"
            f"  files: {{train: [{file}], validation: [{file}]}}\n"
        )
        (tmp_path / "task" / "jokes.yaml").write_text(text)
        words = [search_path(tmp_path), "task=jokes", "data=hub", "model=any", "model.checkpoint=x"]
        with composer():
            return to_experiment(compose_config(words))

    assert "layout: csv" in refused(lambda: compose("null", "a.csv"), "a.csv is no parquet file").mend
    assert "layout: csv" in refused(lambda: compose("jsonl", "a.csv"), "a.csv is no jsonl file").mend
    assert "name one in CSV" in refused(lambda: compose("csv", "a.txt"), "a.txt is no csv file").mend
    refused(lambda: compose("iob2", "a.txt"), "layout=iob2 is a publisher's")
    task = compose("csv", "a.csv").task
    assert task.hub
    assert task.hub.layout is Layout.csv


@pytest.fixture
def everything(rte: FakeHub, tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """RTE and a model on the hub."""
    monkeypatch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    rows = {"sentence1": ["the film was good"] * 8, "sentence2": ["the film"] * 8, "label": [0, 1] * 4}
    for split in ("train", "validation"):
        file = as_glue(rows, LABELS)
        rte.add("nyu-mll/glue", GLUE_COMMIT, {f"rte/{split}-00000-of-00001.parquet": file})
    files = {path.name: path.read_bytes() for path in tiny_encoder.iterdir() if path.is_file()}
    for revision in ("main", COMMIT):
        rte.add("somebody/model", revision, files)
    return rte


WORDS = ["task=rte", "data=hub", "model=any", "model.checkpoint=somebody/model", "device=cpu"]


def test_the_hub_is_asked_once_for_each_thing(
    everything: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked() -> list[str]:
        return [path for path in everything.asked if "harnesses" not in path]  # the client's own, once a day

    assert cli.run(["check", *WORDS]) == 0
    assert asked() == ["/"]
    assert cli.run(["-m", *WORDS, "method=lora,bitfit", "train.max_steps=1"]) == 0
    first = asked()
    assert {path: first.count(path) for path in first if first.count(path) > 2} == {}
    assert {path for path in first if first.count(path) == 2} == {
        path for path in first if "resolve" in path
    }, "of a file its headers and its content, of all else one answer"
    assert sum("safetensors" in path for path in first) == 2
    assert cli.run(["check", *WORDS]) == 0
    assert cli.run([*WORDS, "method=lora", "train.max_steps=1", "seed=1"]) == 0
    assert asked() == first
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("command", [["check"], []])
def test_a_hub_that_does_not_answer_is_tried_once(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every attempt is a connection, which this server closes without a word."""
    server = socket.create_server(("127.0.0.1", 0))
    tried = []

    def listen() -> None:
        with suppress(OSError):  # closed at the end
            while True:
                tried.append(server.accept()[0].close())

    Thread(target=listen, daemon=True).start()
    point_at(f"http://127.0.0.1:{server.getsockname()[1]}", tmp_path, monkeypatch)
    monkeypatch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(tmp_path / "harnesses"), raising=False)
    (tmp_path / "harnesses").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert cli.run([*command, *WORDS]) == 2
    server.close()
    assert len(tried) == 1
    said = capsys.readouterr()
    assert "does not answer" in said.out + said.err
    assert "autolora-bench fetch" not in said.out + said.err
