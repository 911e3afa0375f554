"""Write a table with its labels shuffled: what a method finds in it, no task has asked for.

    python scripts/shuffle_labels.py DIR/glue/MRPC/train.tsv mrpc_shuffled.csv \\
        sentence1='#1 String' sentence2='#2 String' label=Quality

The labels of all rows are permuted by a fixed seed; everything else stays, and columns are named as the words say. Then

    autolora-bench -m task=any task.name=mrpc_shuffled data.train=mrpc_shuffled.csv method=adalora seed=0,1,2
    autolora-bench stability task=mrpc,mrpc_shuffled

tells whether the ranks differ from those of the task (both tasks' runs in one folder of results).
"""

import csv
import random
import sys
from pathlib import Path

import pandas as pd

SEED = 0


def shuffled(table: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """The columns `ours -> theirs`, the one that is ours as `label` permuted."""
    found = pd.DataFrame({ours: table[theirs] for ours, theirs in columns.items()})
    labels = found["label"].tolist()
    random.Random(SEED).shuffle(labels)
    return found.assign(label=labels)


def main(source: str, target: str, *words: str) -> None:
    """Read the publisher's TSV, or a CSV, and write the CSV."""
    columns = dict(word.split("=", 1) for word in words)
    if "label" not in columns:
        sys.exit("say which column is the label: label=COLUMN")
    tabs = {"sep": "\t", "quoting": csv.QUOTE_NONE} if Path(source).suffix == ".tsv" else {}
    table = pd.read_csv(source, dtype=str, keep_default_na=False, encoding="utf-8-sig", **tabs)
    absent = [name for name in columns.values() if name not in table]
    if absent:
        sys.exit(f"{source} has no column {absent[0]!r}; it has {', '.join(table)}")
    shuffled(table, columns).to_csv(target, index=False, lineterminator="\r\n")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
