"""The WebNLG challenge 2017's XML: entries with modified triples and lexicalisations."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree
from xml.parsers import expat

from autolora_bench.config.task import TaskConfig
from autolora_bench.data.records import GOOD, Entry, entry_columns, parse_triple
from autolora_bench.data.schema import Columns
from autolora_bench.errors import UserError
from autolora_bench.tables.text_files import quote, read_bytes

_DECLARED = re.compile(
    rb"(?:\xef\xbb\xbf)?\s{0,9}<\?xml[^>]{0,200}?encoding\s{0,9}=\s{0,9}['\"]([^'\"]{0,200})['\"]"
)


@dataclass(frozen=True)
class NamedEntry(Entry):
    """An entry and the id that the publisher gave it, empty where it has none."""

    eid: str = ""


def read_webnlg_xml(paths: Sequence[Path], task: TaskConfig) -> tuple[Columns, list[str]]:
    """Entries of all files with their good lexicalisations.

    Raises:
        UserError: a file is not well-formed, declares a document type, or an entry lacks what it needs.
    """
    return entry_columns(entry for path in paths for entry in read_entries(path))


def read_entries(path: Path, *, with_triples: bool = True) -> list[NamedEntry]:
    """Entries of one file, in its order.

    Args:
        path: the file.
        with_triples: refuse an entry without triples; references alone can be scored without.

    Raises:
        UserError: a file is not well-formed, declares a document type, or an entry lacks what it needs.
    """
    found = list(_parse(path).iter("entry"))
    if not found:
        raise UserError(f"{path} has no entry", "check that it is a file of the WebNLG challenge 2017")
    return [_entry(path, element, with_triples) for element in found]


def _parse(path: Path) -> ElementTree.Element:
    """The root element. A document type is refused before anything it declares can expand."""
    content = read_bytes(path)
    guard = expat.ParserCreate()
    guard.StartDoctypeDeclHandler = lambda *_: _refuse(path)
    try:
        guard.Parse(content, True)
        _check_encoding(path, content)
        return ElementTree.fromstring(content)
    except expat.ExpatError as error:
        raise UserError(
            f"{path}, line {error.lineno}: the XML is malformed ({expat.ErrorString(error.code)})",
            "download the file again, or save it as UTF-8",
        ) from error
    except (LookupError, ValueError) as error:  # what Python says of the encodings that XML does not know
        raise UserError(
            f"{path}: its encoding {quote(_encoding(content))} is none that XML can be read in",
            "save the file as UTF-8, and say so in its first line",
        ) from error


def _check_encoding(path: Path, content: bytes) -> None:
    """Refuse UTF-8 that is declared to be an encoding of single bytes: letters beyond ASCII would become others."""
    encoding = _encoding(content)
    if content.isascii() or encoding.lower().startswith("utf"):
        return
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return
    raise UserError(
        f"{path}: its first line says {quote(encoding)}, its bytes are UTF-8", "write utf-8 in its first line"
    )


def _encoding(content: bytes) -> str:
    found = _DECLARED.match(content)
    return found[1].decode("ascii", "replace") if found else "utf-8"


def _refuse(path: Path) -> NoReturn:
    raise UserError(f"{path} declares a document type", "remove the DOCTYPE: WebNLG's files have none")


def _entry(path: Path, element: ElementTree.Element, with_triples: bool) -> NamedEntry:
    name = (
        f"{path}, entry {quote(element.get('eid', '?'))[1:-1]} of {quote(element.get('category', '?'))[1:-1]}"
    )
    triples = [_text(triple) for triple in element.iterfind("modifiedtripleset/mtriple")]
    category = element.get("category")
    if category is None or (with_triples and not triples):
        raise UserError(f"{name} has no category or no modified triples", "download the file again")
    try:
        for triple in triples:
            parse_triple(triple)
    except ValueError as error:
        raise UserError(f"{name}: {error}", "correct the triple") from error
    # In the enriched edition a text stands beside its template and plan.
    texts = [(lex, lex.find("text")) for lex in element.iterfind("lex")]
    lexicalisations = [(lex.get("comment", ""), _text(lex if text is None else text)) for lex, text in texts]
    if any(comment == GOOD and not text.strip() for comment, text in lexicalisations):
        raise UserError(f"{name}: a lexicalisation marked {GOOD} is blank", "correct the entry")
    languages = sorted({lex.get("lang", "") for lex in element.iterfind("lex")} - {""})
    if len(languages) > 1:
        raise UserError(
            f"{name}: its lexicalisations are in {' and '.join(languages)}",
            "leave those of one language in the file",
        )
    return NamedEntry(category, triples, lexicalisations, element.get("eid", ""))


def _text(element: ElementTree.Element) -> str:
    """All of its text, that of marked words included."""
    return "".join(element.itertext())
