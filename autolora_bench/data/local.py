"""Examples from files under data.dir, in their publisher's layout or in tables."""

from collections.abc import Callable, Sequence
from pathlib import Path

from autolora_bench.config.data import DataConfig
from autolora_bench.config.task import TABLES, Layout, TaskConfig
from autolora_bench.data.e2e_csv import read_e2e_csv
from autolora_bench.data.files import local_files, local_source
from autolora_bench.data.glue_tsv import read_glue_tsv
from autolora_bench.data.iob2 import read_iob2
from autolora_bench.data.schema import Columns, Loaded
from autolora_bench.data.table_layout import read_table_layout
from autolora_bench.data.webnlg_xml import read_webnlg_xml

READERS: dict[Layout, Callable[[Sequence[Path], TaskConfig], tuple[Columns, list[str]]]] = {
    Layout.glue_tsv: read_glue_tsv,
    Layout.iob2: read_iob2,
    Layout.e2e_csv: read_e2e_csv,
    Layout.webnlg_xml: read_webnlg_xml,
    **dict.fromkeys(TABLES, read_table_layout),
}


def read_local(task: TaskConfig, data: DataConfig) -> Loaded:
    """The task's splits from local files. Raises UserError for everything that is wrong with them."""
    source = local_source(task)
    reader = READERS[source.layout]
    splits: dict[str, Columns] = {}
    notes: list[str] = []
    for split, paths in local_files(task, data).items():
        splits[split], remarks = reader(paths, task)
        notes += [f"{split}: {remark}" for remark in remarks]
    folder = Path(source.splits["train"]).parts[:-1] or (task.name,)
    return Loaded(splits, f"{'/'.join(folder)} (local files, {source.layout.name})", notes)
