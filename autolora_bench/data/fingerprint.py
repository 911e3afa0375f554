"""One hash for the same examples, wherever they came from."""

import hashlib
import json
from collections.abc import Mapping

from datasets import Dataset


def fingerprint(splits: Mapping[str, Dataset]) -> str:
    """SHA-256 over split names, column names and rows in their order; floats by their shortest decimal form."""
    digest = hashlib.sha256()
    for split, dataset in sorted(splits.items()):
        names = sorted(dataset.column_names)
        digest.update(json.dumps([split, names, len(dataset)]).encode())
        columns = dataset[:]
        for row in zip(*(columns[name] for name in names), strict=True):
            digest.update(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
