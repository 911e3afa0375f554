"""GLUE's files, read beside plain splitting of their bytes; every trap they hold, and every mistake."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autolora_bench.config.data import DataConfig, Source
from autolora_bench.config.task import ClassificationTask, Layout, LocalSource, RegressionTask, TaskConfig
from autolora_bench.data.load import load_data
from autolora_bench.data.schema import TaskData
from autolora_bench.errors import UserError

Read = Callable[..., TaskData]

ROWS = {  # shared/data/README.md
    "cola": {"train": 8551, "validation": 1043},
    "sst2": {"train": 67349, "validation": 872},
    "mrpc": {"train": 3668, "validation": 408},
    "stsb": {"train": 5749, "validation": 1500},
    "rte": {"train": 2490, "validation": 277},
    "qnli": {"train": 18869, "validation": 5463},
    "qqp": {"train": 19833, "validation": 1000},
    "mnli": {"train": 36932, "validation": 9815, "validation_mismatched": 1000},
}
OFFICIAL = {"qnli": [104743, 5463], "qqp": [363846, 40430], "mnli": [392702, 9815, 9832]}
FILES = {
    "cola": ["CoLA/train.tsv", "CoLA/dev.tsv"],
    "sst2": ["SST-2/train.tsv", "SST-2/dev.tsv"],
    "mrpc": ["MRPC/train.tsv", "MRPC/dev.tsv"],
    "stsb": ["STS-B/train.tsv", "STS-B/dev.tsv"],
    "rte": ["RTE/train.tsv", "RTE/dev.tsv"],
    "qnli": ["QNLI/train.tsv", "QNLI/dev.tsv"],
    "qqp": ["QQP/train.tsv", "QQP/dev.tsv"],
    "mnli": ["MNLI/train.tsv", "MNLI/dev_matched.tsv", "MNLI/dev_mismatched.tsv"],
}
POSITIONS = {  # texts and label, counted by hand in the files; a label is its own spelling there
    "cola": ([3], 1, ["0", "1"]),
    "sst2": ([0], 1, ["0", "1"]),
    "mrpc": ([3, 4], 0, ["0", "1"]),
    "stsb": ([7, 8], 9, None),
    "rte": ([1, 2], 3, ["entailment", "not_entailment"]),
    "qnli": ([1, 2], 3, ["entailment", "not_entailment"]),
    "qqp": ([3, 4], 5, ["0", "1"]),
    "mnli": ([8, 9], -1, ["entailment", "neutral", "contradiction"]),
}


@pytest.mark.sample(keep=("cola", "mrpc", "stsb", "rte"))
@pytest.mark.parametrize("name", ROWS)
def test_every_row_of_the_real_files_is_read_as_it_stands(
    name: str, real: Callable[[str], TaskData], shared_data: Path
) -> None:
    data = real(name)
    assert {split: len(rows) for split, rows in data.splits.items()} == ROWS[name]
    texts, label, labels = POSITIONS[name]
    for (split, rows), file in zip(data.splits.items(), FILES[name], strict=True):
        content = (shared_data / "glue" / file).read_bytes()
        lines = content.removesuffix(b"\n").split(b"\n")[0 if name == "cola" else 1 :]
        cells = [line.decode().split("\t") for line in lines]
        columns = [name for name in rows.column_names if name != "label"]
        for column, position in zip(columns, texts, strict=True):
            assert rows[column][:] == [row[position] for row in cells], (split, column)
        expected = [row[label] for row in cells]
        read = [labels[i] for i in rows["label"]] if labels else rows["label"][:]
        assert read == (expected if labels else [float(value) for value in expected])


@pytest.mark.sample(keep=("rte", "qnli"))
@pytest.mark.parametrize("name", ROWS)
def test_a_subset_is_said_to_be_one(name: str, real: Callable[[str], TaskData]) -> None:
    official = dict(zip(ROWS[name], OFFICIAL.get(name, ROWS[name].values()), strict=True))
    few = {s: (rows, official[s]) for s, rows in ROWS[name].items() if rows < official[s]}
    assert real(name).subsets == few


@pytest.mark.slow
def test_mnli_keeps_the_hypotheses_n_a(real: Callable[[str], TaskData], shared_data: Path) -> None:
    plain = sum(
        line.split(b"\t")[9] == b"n/a"
        for file in FILES["mnli"]
        for line in (shared_data / "glue" / file).read_bytes().splitlines()
    )
    assert plain >= 1
    assert sum(rows["sentence2"][:].count("n/a") for rows in real("mnli").splits.values()) == plain


def test_mrpc_starts_with_a_byte_order_mark_and_loses_no_row_to_quotes(shared_data: Path) -> None:
    content = (shared_data / "glue" / "MRPC" / "train.tsv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    assert content.count(b'"') % 2 == 1  # a reader with quoting would swallow lines here


@pytest.mark.slow
def test_qqp_keeps_doubled_quotes_and_sst2_its_blank_at_the_end(real: Callable[[str], TaskData]) -> None:
    assert sum(text.count('""') for text in real("qqp").splits["train"]["question1"]) > 100
    assert Counter(text[-1:] for text in real("sst2").splits["train"]["sentence"])[" "] > 60000


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads one small file as train and validation of a two-sentence task."""

    def run(content: str | bytes, task: type[TaskConfig] = ClassificationTask, **local: Any) -> TaskData:
        path = tmp_path / "few.tsv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        source = LocalSource(
            layout=Layout.glue_tsv, splits={"train": "few.tsv", "validation": "few.tsv"}, **local
        )
        labels: dict[str, Any] = {"labels": ["no", "yes"]} if task is ClassificationTask else {}
        return load_data(
            task(name="few", local=source, **labels), DataConfig(source=Source.local, dir=str(tmp_path))
        )

    return run


HEADER = "sentence1\tsentence2\tlabel\n"


def test_small_files_with_every_trap(read: Read) -> None:
    rows = [
        ("n/a", "NA", "yes"),
        ('"unbalanced', 'two "" quotes', "no"),
        ("trailing blank ", " leading", "yes"),
        ("line\u2028separator", "next\x85line \x0b and \x0c", "no"),
        ("", "null", "yes"),
    ]
    text = HEADER + "\n".join("\t".join(row) for row in rows)
    for content in (text, text + "\n", "\ufeff" + text, text.replace("\n", "\r\n")):
        split = read(content).splits["train"]
        assert list(zip(split["sentence1"], split["sentence2"], strict=True)) == [row[:2] for row in rows]
        assert split["label"][:] == [1, 0, 1, 0, 1]


def test_no_header_and_positions_from_both_ends(read: Read) -> None:
    columns = {"sentence1": 1, "sentence2": 2, "label": -1}
    split = read("x\ta\tb\t?\tyes\nx\tc\td\tno\n", header=False, columns=columns).splits["train"]
    assert split["sentence1"][:] == ["a", "c"]
    assert split["label"][:] == [1, 0]


def test_without_a_header_a_further_tab_is_refused(read: Read, refused: Callable[..., UserError]) -> None:
    columns = {"sentence1": 1, "sentence2": 2, "label": 0}
    good = "yes\ta\tb\tx\nno\tc\td\ty\n"
    assert read(good, header=False, columns=columns).splits["train"]["sentence2"][:] == ["b", "d"]
    for line, count in [("no\tc\te\td\ty\n", "5"), ("no\tc\td\n", "3")]:
        refused(
            lambda line=line: read(good + line, header=False, columns=columns),
            "few.tsv, line 3",
            f"{count} columns where 4",
        )


def test_other_spellings_of_the_labels(read: Read) -> None:
    assert read(HEADER + "a\tb\t1\nc\td\t0\n", labels=["0", "1"]).splits["train"]["label"][:] == [1, 0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (HEADER + "a\tb\tyes\na\tno\n", ["few.tsv, line 3", "2 columns where 3"]),
        (HEADER + "a\tb\tyes\na\tb\tc\tno\n", ["few.tsv, line 3", "4 columns where 3"]),
        (HEADER + "a\tb\tmaybe\n", ["few.tsv, line 2", "'maybe'", "no, yes"]),
        (HEADER + "a\tb\tYes\n", ["few.tsv, line 2", "'Yes'"]),
        ("sentence1\tlabel\na\tyes\n", ["few.tsv", "'sentence2'", "sentence1, label"]),
        (HEADER, ["few.tsv", "no rows"]),
        ("", ["few.tsv", "empty"]),
        ("\n\n", ["few.tsv", "empty"]),
        (HEADER.encode() + b"a\tb\tyes\ncaf\xe9\tb\tno\n", ["few.tsv, line 3", "0xe9", "UTF-8"]),
    ],
)
def test_mistakes_are_named(
    content: str | bytes, words: list[str], read: Read, refused: Callable[..., UserError]
) -> None:
    refused(lambda: read(content), *words)


@pytest.mark.parametrize("value", ["five", "", "nan", "inf", "5.1", "-0.2", "n/a"])
def test_a_bad_number_is_named(value: str, read: Read, refused: Callable[..., UserError]) -> None:
    refused(
        lambda: read(HEADER + f"a\tb\t2.5\na\tb\t{value}\n", RegressionTask),
        "few.tsv, line 3",
        repr(value),
        "0 to 5",
    )


def test_numbers_are_read(read: Read) -> None:
    assert read(HEADER + "a\tb\t2.533\na\tb\t5\n", RegressionTask).splits["train"]["label"][:] == [2.533, 5.0]
