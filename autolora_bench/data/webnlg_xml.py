"""The WebNLG challenge 2017's XML: entries with modified triples and lexicalisations."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree
from xml.parsers import expat

from autolora_bench.config.task import TaskConfig
from autolora_bench.data.files import read_bytes
from autolora_bench.data.records import Entry, entry_columns, parse_triple
from autolora_bench.data.schema import Columns
from autolora_bench.errors import UserError


def read_webnlg_xml(paths: Sequence[Path], task: TaskConfig) -> tuple[Columns, list[str]]:
    """Entries of all files with their good lexicalisations.

    Raises:
        UserError: a file is not well-formed, declares a document type, or an entry lacks what it needs.
    """
    return entry_columns(entry for path in paths for entry in _entries(path))


def _entries(path: Path) -> Iterator[Entry]:
    found = list(_parse(path).iter("entry"))
    if not found:
        raise UserError(f"{path} has no entry", "check that it is a file of the WebNLG challenge 2017")
    return (_entry(path, element) for element in found)


def _parse(path: Path) -> ElementTree.Element:
    """The root element. A document type is refused before anything it declares can expand."""
    content = read_bytes(path)
    guard = expat.ParserCreate()
    guard.StartDoctypeDeclHandler = lambda *_: _refuse(path)
    try:
        guard.Parse(content, True)
        return ElementTree.fromstring(content)
    except expat.ExpatError as error:
        raise UserError(
            f"{path}, line {error.lineno}: the XML is malformed ({expat.ErrorString(error.code)})",
            "download the file again",
        ) from error


def _refuse(path: Path) -> NoReturn:
    raise UserError(f"{path} declares a document type", "remove the DOCTYPE: WebNLG's files have none")


def _entry(path: Path, element: ElementTree.Element) -> Entry:
    name = f"{path}, entry {element.get('eid', '?')} of {element.get('category', '?')}"
    triples = [triple.text or "" for triple in element.iterfind("modifiedtripleset/mtriple")]
    category = element.get("category")
    if category is None or not triples:
        raise UserError(f"{name} has no category or no modified triples", "download the file again")
    try:
        for triple in triples:
            parse_triple(triple)
    except ValueError as error:
        raise UserError(f"{name}: {error}", "correct the triple") from error
    lexicalisations = [(lex.get("comment", ""), lex.text or "") for lex in element.iterfind("lex")]
    return Entry(category, triples, lexicalisations)
