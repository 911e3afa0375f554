"""E2E's records and references, beside Python's own CSV reader and a count of brackets."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from autolora_bench.config.data import DataConfig, Source
from autolora_bench.config.task import GenerationTask, Layout, LocalSource
from autolora_bench.data.load import load_data
from autolora_bench.data.schema import TaskData
from autolora_bench.errors import UserError

FILES = {
    "train": ("trainset.csv", 4862, 42061),
    "validation": ("devset.csv", 547, 4672),
    "test": ("testset_w_refs.csv", 630, 4693),
}


@pytest.mark.slow
def test_every_reference_of_the_real_files(real: Callable[[str], TaskData], shared_data: Path) -> None:
    data = real("e2e")
    assert data.subsets == {}
    for split, (file, records, references) in FILES.items():
        rows = data.splits[split]
        with (shared_data / "e2e" / file).open(encoding="utf-8", newline="") as stream:
            pairs = [(row["mr"], row["ref"].replace("\r\n", "\n")) for row in csv.DictReader(stream)]
        assert (len(rows), len(pairs)) == (records, references)
        grouped: dict[str, list[str]] = {}
        for record, reference in pairs:
            grouped.setdefault(record, []).append(reference)
        assert list(zip(rows["text"][:], rows["references"][:], strict=True)) == list(grouped.items())
        for record, fields in zip(rows["text"][:], rows["fields"][:], strict=True):
            assert ", ".join(f"{key}[{value}]" for key, value in fields) == record
            assert len(fields) == record.count("[")


def test_two_training_references_hold_a_line_break(real: Callable[[str], TaskData]) -> None:
    broken = [r for references in real("e2e").splits["train"]["references"] for r in references if "\n" in r]
    assert len(broken) == 2
    assert not any("\r" in reference for reference in broken)


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], TaskData]:
    def run(content: str) -> TaskData:
        (tmp_path / "few.csv").write_text(content, encoding="utf-8", newline="")
        source = LocalSource(layout=Layout.e2e_csv, splits={"train": "few.csv", "validation": "few.csv"})
        return load_data(
            GenerationTask(name="few", local=source), DataConfig(source=Source.local, dir=str(tmp_path))
        )

    return run


def test_quotes_commas_and_line_ends(read: Callable[[str], TaskData]) -> None:
    text = 'mr,ref\n"name[A, B], near[C]",One.\n"name[D]","He said ""no"".\nTwice."\n"name[A, B], near[C]",Two.\n'
    for content in (text, text.replace("\n", "\r\n"), "\ufeff" + text, '"mr","ref"' + text[6:]):
        split = read(content).splits["train"]
        assert split["fields"][:] == [[["name", "A, B"], ["near", "C"]], [["name", "D"]]]
        assert split["references"][:] == [["One.", "Two."], ['He said "no".\nTwice.']]
        assert split["category"][:] == ["", ""]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("mr,text\na,b\n", ["'ref'", "mr, text"]),
        ("mr,ref\nname[A],one,two\n", ["line 2", "3 columns where 2"]),
        ("mr,ref\nname[A]\n", ["line 2", "1 columns where 2"]),
        ("mr,ref\nname[A],fine\nname A,text\n", ["line 3", "'name A'", "key[value]"]),
        ("mr,ref\n,text\n", ["line 2", "blank"]),
        ("mr,ref\nname[A],fine\nname[A], \n", ["line 3", "the reference is blank"]),
        ('mr,ref\nname[A],"never closed\n', ["line 2"]),
        ("mr,ref\nname[A],fine\n\nname[B],one, two\n", ["line 4", "3 columns where 2"]),
        ("mr,ref\n[A],text\n", ["line 2", "not of the form"]),
        ("mr,ref\n [A],text\n", ["line 2", "a value without its key"]),
        ("mr,mr,ref\nname[A],name[A],x\n", ["more than one column 'mr'"]),
        ("mr,ref\n", ["no rows"]),
        ("", ["empty"]),
    ],
)
def test_mistakes_are_named(
    content: str, words: list[str], read: Callable[[str], TaskData], refused: Callable[..., UserError]
) -> None:
    refused(lambda: read(content), "few.csv", *words)


@pytest.mark.parametrize(
    "record", [" " * 400_000, "a" * 120_000, "a[" * 60_000, "name[A]" + " " * 120_000 + "x"]
)
def test_of_a_long_record_the_message_shows_the_beginning(
    record: str, read: Callable[[str], TaskData], refused: Callable[..., UserError]
) -> None:
    error = refused(lambda: read(f'mr,ref\nname[A],fine\n"{record}",x\n'), "few.csv", "line 3")
    assert len(error.what) < 400


def test_a_first_line_longer_than_a_cell_may_be(
    read: Callable[[str], TaskData], refused: Callable[..., UserError]
) -> None:
    assert len(refused(lambda: read("m" * 200_000 + ",ref\nname[A],x\n"), "few.csv", "line 1").what) < 400
    assert len(refused(lambda: read(",".join(["col"] * 50_000) + "\n"), "no column 'mr'").what) < 1000


def test_blank_lines_and_further_columns_are_no_mistake(read: Callable[[str], TaskData]) -> None:
    split = read("mr,id,ref\nname[A],1,One.\n\nname[B],2,Two.\n\n").splits["train"]
    assert split["references"][:] == [["One."], ["Two."]]
