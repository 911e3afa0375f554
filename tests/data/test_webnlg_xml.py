"""WebNLG's entries, beside counts of plain text in the files."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from autolora_bench.config.data import DataConfig, Source
from autolora_bench.config.task import GenerationTask, Layout, LocalSource
from autolora_bench.data.files import local_files
from autolora_bench.data.load import load_data
from autolora_bench.data.schema import TaskData
from autolora_bench.data.webnlg_xml import read_entries
from autolora_bench.errors import UserError

COUNTS = {  # shared/data/README.md: entries, good lexicalisations, all lexicalisations
    "train": (6940, 18025, 18102),
    "validation": (872, 2258, 2268),
    "test": (1862, 4928, 4928),
}


@pytest.mark.slow
def test_entries_and_good_lexicalisations_of_the_real_files(
    real: Callable[[str], TaskData], task_of: Callable[[str], GenerationTask], shared_data: Path
) -> None:
    data, task = real("webnlg"), task_of("webnlg")
    assert data.subsets == {}
    files = local_files(task, DataConfig(source=Source.local, dir=str(shared_data)))
    assert [len(files[split]) for split in COUNTS] == [52, 52, 1]
    for split, (entries, good, every) in COUNTS.items():
        text = "".join(path.read_text(encoding="utf-8") for path in files[split])
        parts = re.findall(r"<entry .*?</entry>", text, re.DOTALL)
        assert (len(parts), text.count('comment="good"'), text.count("<lex ")) == (entries, good, every)
        kept = [part for part in parts if 'comment="good"' in part]
        rows = data.splits[split]
        assert rows["category"][:] == [re.search('category="(.*?)"', part)[1] for part in kept]  # type: ignore[index]
        assert [len(r) for r in rows["references"]] == [part.count('comment="good"') for part in kept]
        assert [len(f) for f in rows["fields"]] == [part.count("<mtriple>") for part in kept]
        assert all(len(triple) == 3 for fields in rows["fields"] for triple in fields)


def test_seen_and_unseen_categories(
    real: Callable[[str], TaskData], task_of: Callable[[str], GenerationTask]
) -> None:
    seen = set(task_of("webnlg").seen_categories)
    categories = Counter(category in seen for category in real("webnlg").splits["test"]["category"])
    assert categories == {True: 971, False: 891}
    assert set(real("webnlg").splits["train"]["category"]) == seen


def test_what_was_left_out_is_said(real: Callable[[str], TaskData]) -> None:
    assert "train: 18025 of 18102 lexicalisations kept: those marked good" in real("webnlg").notes
    assert not any(note.startswith("test") for note in real("webnlg").notes)


ENTRY = """<entry category="Food" eid="Id1" size="1">
<originaltripleset><otriple>A | was | B</otriple></originaltripleset>
<modifiedtripleset><mtriple>A_x | is | "B" </mtriple><mtriple>B | of | C</mtriple></modifiedtripleset>
<lex comment="good" lid="Id1"> A &amp; B. </lex><lex comment="toFix" lid="Id2">Bad.</lex></entry>"""


def benchmark(*entries: str) -> str:
    return f"<benchmark><entries>{''.join(entries)}</entries></benchmark>"


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., TaskData]:
    def run(*contents: str | bytes) -> TaskData:
        for number, content in enumerate(contents):
            path = tmp_path / "all" / f"{number}.xml"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        source = LocalSource(layout=Layout.webnlg_xml, splits={"train": "all", "validation": "all/0.xml"})
        return load_data(
            GenerationTask(name="few", local=source), DataConfig(source=Source.local, dir=str(tmp_path))
        )

    return run


def test_one_entry(read: Callable[..., TaskData]) -> None:
    assert read(benchmark(ENTRY)).splits["train"][0] == {
        "fields": [["A_x", "is", '"B"'], ["B", "of", "C"]],
        "references": ["A & B."],
        "category": "Food",
        "text": 'A_x | is | "B" && B | of | C',
    }


def test_marked_words_are_part_of_a_text(read: Callable[..., TaskData]) -> None:
    marked = ENTRY.replace("A &amp; B.", "A <b>&amp; <i>B</i></b> C<!-- no text -->.").replace(
        "A_x | is", "A_<i>x</i> | is"
    )
    row = read(benchmark(marked)).splits["train"][0]
    assert row["references"] == ["A & B C."]
    assert row["text"] == 'A_x | is | "B" && B | of | C'


def test_files_come_in_the_order_of_their_names(read: Callable[..., TaskData]) -> None:
    data = read(*(benchmark(ENTRY.replace("Food", name)) for name in ("Second", "First")))
    assert data.splits["train"]["category"][:] == ["Second", "First"]
    assert len(data.splits["validation"]) == 1


BOMB = '<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>' + benchmark(
    ENTRY.replace("Food", "&b;")
)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (BOMB, ["document type"]),
        ('<!DOCTYPE b SYSTEM "file:///etc/passwd">' + benchmark(ENTRY), ["document type"]),
        (
            (BOMB.replace("<!DOC", '<?xml version="1.0" encoding="UTF-16"?><!DOC')).encode("utf-16"),
            ["document type"],
        ),
        (benchmark(ENTRY)[:-5], ["line 4", "malformed"]),
        (benchmark(ENTRY).encode().replace(b"Bad", b"\xe9"), ["malformed"]),
        (benchmark(), ["no entry"]),
        (benchmark(ENTRY.replace("A_x | is", "A_x is")), ["Id1 of Food", "subject | relation | object"]),
        (benchmark(ENTRY.replace("mtriple>", "x>")), ["Id1 of Food", "triples"]),
        (benchmark(ENTRY.replace("category", "kind")), ["Id1", "category"]),
        (
            benchmark(
                ENTRY.replace(
                    "</entry>", '<lex comment="good" lang="ru">A.</lex><lex lang="en">A.</lex></entry>'
                )
            ),
            ["Id1 of Food", "in en and ru"],
        ),
        ("", ["empty"]),
    ],
)
def test_mistakes_are_named(
    content: str | bytes, words: list[str], read: Callable[..., TaskData], refused: Callable[..., UserError]
) -> None:
    refused(lambda: read(content), "0.xml", *words)


def test_no_good_lexicalisation_at_all(
    read: Callable[..., TaskData], refused: Callable[..., UserError]
) -> None:
    refused(lambda: read(benchmark(ENTRY.replace('"good"', '"toFix"'))), "train", "no examples")


def declared(encoding: str) -> str:
    return f"<?xml version='1.0' encoding='{encoding}'?>" + benchmark(ENTRY.replace("Bad", "Café"))


@pytest.mark.parametrize(
    ("encoding", "codec"),
    [("utf-8", "utf-8"), ("UTF-8", "utf-8-sig"), ("UTF-16", "utf-16"), ("iso-8859-1", "latin-1")],
)
def test_encodings_of_xml_are_read(encoding: str, codec: str, read: Callable[..., TaskData]) -> None:
    content = declared(encoding).replace("A &amp; B.", "é").encode(codec)
    assert read(content).splits["train"]["references"][:] == [["é"]]


@pytest.mark.parametrize("encoding", ["utf-7", "x-evil", "rot13", "hex", "idna", "punycode", "shift_jis"])
def test_an_encoding_that_xml_cannot_have_is_named(
    encoding: str, read: Callable[..., TaskData], refused: Callable[..., UserError]
) -> None:
    refused(lambda: read(declared(encoding)), "0.xml", repr(encoding))


@pytest.mark.parametrize(
    ("encoding", "codec"),
    [
        ("iso-8859-1", "utf-8"),
        ("windows-1252", "utf-8"),
        ("us-ascii", "utf-8"),
        ("utf-8", "latin-1"),
        ("utf-16", "utf-8"),
    ],
)
def test_a_declaration_that_contradicts_the_bytes_is_refused(
    encoding: str, codec: str, read: Callable[..., TaskData], refused: Callable[..., UserError]
) -> None:
    refused(lambda: read(declared(encoding).encode(codec)), "0.xml")


def test_a_blank_good_lexicalisation_is_refused(
    read: Callable[..., TaskData], refused: Callable[..., UserError]
) -> None:
    refused(lambda: read(benchmark(ENTRY.replace(" A &amp; B. ", " "))), "0.xml", "Id1 of Food", "blank")


def test_of_the_enriched_edition_the_text_is_read(tmp_path: Path) -> None:
    """ThiagoCF05/webnlg has the plan and the template of a text beside it."""
    path = tmp_path / "enriched.xml"
    path.write_text(
        '<benchmark><entries><entry category="Airport" eid="Id1"><modifiedtripleset><mtriple>A | b | C</mtriple>'
        '</modifiedtripleset><lex comment="good"><sortedtripleset><sentence ID="1"><striple>A | b | C</striple>'
        "</sentence></sortedtripleset><text>A is of C.</text><template>AGENT-1 is of PATIENT-1.</template></lex>"
        "</entry></entries></benchmark>"
    )
    [entry] = read_entries(path)
    assert [text for _, text in entry.lexicalisations] == ["A is of C."]
