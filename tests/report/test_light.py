"""The reporter reads records alone: it never loads what trains."""

import subprocess
import sys

import pytest


def test_a_text_report_does_without_the_library_of_figures() -> None:
    code = "import autolora_bench.report.build, sys; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.slow
def test_no_torch_no_transformers() -> None:
    code = (
        "import autolora_bench.report.build, autolora_bench.report.page, sys;"
        "print([m for m in ('torch', 'transformers', 'peft', 'datasets', 'hydra') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
