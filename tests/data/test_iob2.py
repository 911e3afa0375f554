"""Sentences with tags, counted beside plain lines."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from autolora_bench.config.data import DataConfig, Source
from autolora_bench.config.task import Layout, LocalSource, TaggingTask
from autolora_bench.data.load import load_data
from autolora_bench.data.schema import TaskData, tag_names
from autolora_bench.errors import UserError

ROWS = {"train": 16619, "validation": 1927, "test": 3856}


@pytest.mark.slow
def test_every_token_of_the_real_files(
    real: Callable[[str], TaskData], task_of: Callable[[str], TaggingTask], shared_data: Path
) -> None:
    data, names = real("bionlp"), tag_names(task_of("bionlp"))
    assert {split: len(rows) for split, rows in data.splits.items()} == ROWS
    assert data.subsets == {}
    for split, rows in data.splits.items():
        lines = (shared_data / "bionlp2004" / f"{split}.iob2").read_text(encoding="utf-8").split("\n")
        expected = [tuple(line.split("\t")) for line in lines if line]
        sentences = zip(rows["tokens"][:], rows["tags"][:], strict=True)
        found = [
            (token, names[tag]) for tokens, tags in sentences for token, tag in zip(tokens, tags, strict=True)
        ]
        assert found == expected
        assert sum(not line for line in lines[:-1]) == len(rows)


def test_tag_order_is_the_hubs(task_of: Callable[[str], TaggingTask]) -> None:
    # tner/label2id, files/bionlp2004.json
    assert tag_names(task_of("bionlp")) == [
        "O", "B-DNA", "I-DNA", "B-protein", "I-protein", "B-cell_type", "I-cell_type",
        "B-cell_line", "I-cell_line", "B-RNA", "I-RNA",
    ]  # fmt: skip


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], TaskData]:
    def run(content: str) -> TaskData:
        (tmp_path / "few.iob2").write_text(content, encoding="utf-8", newline="")
        source = LocalSource(layout=Layout.iob2, splits={"train": "few.iob2", "validation": "few.iob2"})
        task = TaggingTask(name="few", entities=["A", "B"], local=source)
        return load_data(task, DataConfig(source=Source.local, dir=str(tmp_path)))

    return run


def test_blank_lines_and_line_ends(read: Callable[[str], TaskData]) -> None:
    text = "a\tB-A\nb\tI-A\n\n\nc\tB-B\nd\tB-B\ne\tO"
    for content in (text, text + "\n", text + "\n\n", text.replace("\n", "\r\n"), "\n" + text):
        split = read(content).splits["train"]
        assert split["tokens"][:] == [["a", "b"], ["c", "d", "e"]]
        assert split["tags"][:] == [[1, 2], [3, 3, 0]]


def test_lines_that_name_an_abstract_are_no_tokens(read: Callable[[str], TaskData]) -> None:
    split = read("###MEDLINE:95369245\n\na\tB-A\n###MEDLINE:95333264\nb\tB-A\n###\tO\n").splits["train"]
    assert split["tokens"][:] == [["a"], ["b", "###"]]


@pytest.mark.parametrize(
    "mark", ["-DOCSTART-", "-DOCSTART-\tO", "-DOCSTART- O", "-DOCSTART- -X- O O", "-DOCSTART- (95369245)\tO"]
)
def test_marks_of_documents_are_no_sentences(mark: str, read: Callable[[str], TaskData]) -> None:
    split = read(f"{mark}\n\na\tB-A\n{mark}\nb\tO\n\n{mark}\n\nDOCSTART\tO\n").splits["train"]
    assert split["tokens"][:] == [["a"], ["b"], ["DOCSTART"]]


def test_odd_tokens_stay(read: Callable[[str], TaskData]) -> None:
    tokens = ["n/a", '"', "\u2028", "a b", "\u00a0", "\u2003", "\u3000x"]
    split = read("".join(f"{token}\tO\n" for token in tokens)).splits["train"]
    assert split["tokens"][0] == tokens
    assert Counter(split["tags"][0]) == {0: 7}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a\tO\nb O\n", ["line 2", "'b O'"]),
        ("a\tO\nb\n", ["line 2", "a tab and a tag"]),
        ("a\tO\tO\n", ["line 1"]),
        ("\tO\n", ["line 1"]),
        ("a\tO\n\u00a0\nb\tO\n", ["line 2", "a tab and a tag"]),
        ("a\tB-C\n", ["line 1", "'B-C'", "O, B-A, I-A, B-B, I-B"]),
        ("a\tO\nb\tI-A\n", ["line 2", "I-A follows O"]),
        ("a\tB-B\nb\tI-A\n", ["line 2", "I-A follows B-B"]),
        ("a\tB-A\n\nb\tI-A\n", ["line 3", "I-A follows O"]),
        ("\n", ["empty"]),
    ],
)
def test_mistakes_are_named(
    content: str, words: list[str], read: Callable[[str], TaskData], refused: Callable[..., UserError]
) -> None:
    refused(lambda: read(content), "few.iob2", *words)
