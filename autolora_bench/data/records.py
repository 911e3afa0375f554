"""Data-to-text records as E2E and WebNLG write them, whatever file they came in."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autolora_bench.data.schema import Columns
from autolora_bench.tables.text_files import quote

GOOD = "good"
"""WebNLG's mark of a lexicalisation that its annotators accepted: the only ones the LoRA paper's set-up keeps."""
_FIELD = re.compile(r"([^\[\],]+)\[([^\[\]]*)\]\s*(?:,|$)")


@dataclass(frozen=True)
class Entry:
    """One WebNLG entry: triples as the publisher writes them, and (comment, text) of each lexicalisation."""

    category: str
    triples: Sequence[str]
    lexicalisations: Sequence[tuple[str, str]]


def parse_meaning(text: str) -> list[list[str]]:
    """E2E's `name[The Vaults], food[English]` -> [[name, The Vaults], [food, English]].

    Raises:
        ValueError: the text has another form.
    """
    fields: list[list[str]] = []
    position = 0
    while position < len(text):
        match = _FIELD.match(text, position)
        if match is None:
            raise ValueError(f"{quote(text)} is not of the form key[value], key[value]")
        fields.append([match[1].strip(), match[2].strip()])
        if not fields[-1][0]:
            raise ValueError(f"{quote(text)} has a value without its key")
        position = match.end()
    if not fields:
        raise ValueError("the record is blank")
    return fields


def parse_triple(text: str) -> list[str]:
    """WebNLG's `subject | relation | object` -> its three parts. Raises ValueError where there are not three."""
    parts = [part.strip() for part in text.split("|")]
    if len(parts) != 3 or not all(parts):
        raise ValueError(f"{quote(text)} is not of the form subject | relation | object")
    return parts


def group_meanings(pairs: Iterable[tuple[str, str]]) -> Columns:
    """(record, reference) pairs -> one example per distinct record, in order of first appearance.

    Raises:
        ValueError: as parse_meaning.
    """
    references: dict[str, list[str]] = {}
    for text, reference in pairs:
        references.setdefault(text, []).append(reference)
    return {
        "fields": [parse_meaning(text) for text in references],
        "references": list(references.values()),
        "category": [""] * len(references),
        "text": list(references),
    }


def entry_columns(entries: Iterable[Entry]) -> tuple[Columns, list[str]]:
    """One example per entry that has a good lexicalisation, and notes on what was left out.

    Entries are not merged: the official scores count each by itself. `text` is the triples joined by ` && `.

    Raises:
        ValueError: as parse_triple.
    """
    columns: Columns = {"fields": [], "references": [], "category": [], "text": []}
    total = kept = dropped = 0
    for entry in entries:
        good = [text.strip() for comment, text in entry.lexicalisations if comment == GOOD]
        total += len(entry.lexicalisations)
        kept += len(good)
        if not good:
            dropped += 1
            continue
        columns["fields"].append([parse_triple(triple) for triple in entry.triples])
        columns["references"].append(good)
        columns["category"].append(entry.category)
        columns["text"].append(" && ".join(triple.strip() for triple in entry.triples))
    return columns, _notes(total, kept, dropped)


def _notes(total: int, kept: int, dropped: int) -> list[str]:
    notes = []
    if kept < total:
        notes.append(f"{kept} of {total} lexicalisations kept: those marked {GOOD}")
    if dropped:
        notes.append(f"{dropped} entries left out: none of their lexicalisations is marked {GOOD}")
    return notes
