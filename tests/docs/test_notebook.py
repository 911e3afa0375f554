"""docs/search.ipynb runs as it is, and prints what is kept in it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "search.ipynb"


@pytest.mark.slow
def test_the_notebook_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """The planted ranks beat uniform ones, or the example would be none; numbers are the machine's own."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {"__name__": "__main__"}
    threads = torch.get_num_threads()
    try:
        for number, cell in enumerate(cell for cell in cells if cell["cell_type"] == "code"):
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
            printed = capsys.readouterr().out
            kept = "".join(line for output in cell["outputs"] for line in output["text"])
            assert [line.split()[0] for line in printed.splitlines()] == [
                line.split()[0] for line in kept.splitlines()
            ]
    finally:
        torch.set_num_threads(threads)
    errors = names["errors"]
    assert errors["planted"] < 0.7 * errors["uniform"]
    assert sum(names["topk"].ranks) == names["TOTAL"]
