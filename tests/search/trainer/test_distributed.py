"""Two processes on the CPU find what one process finds with batches twice as large."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from autolora_bench.search import ESTIMATORS

SCRIPT = Path(__file__).with_name("data_parallel.py")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(ESTIMATORS) - {"released", "reptile"}))
def test_two_processes_equal_one(runs, tmp_path, name):
    one = runs.search(tmp_path / "one", {"estimator": name}, {"dropout": 0.0})
    one.model_accepts_loss_kwargs = False
    one.train()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*command, str(SCRIPT), str(tmp_path), name],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    betas = [torch.load(tmp_path / f"beta{i}.pt", weights_only=True) for i in range(2)]
    assert torch.equal(*betas)
    torch.testing.assert_close(betas[0], one.selection.beta.detach(), rtol=1e-3, atol=2e-4)


@pytest.mark.slow
def test_released_estimator_is_refused(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*command, str(SCRIPT), str(tmp_path), "released"], capture_output=True, text=True, check=False
    )
    assert done.returncode
    assert "estimator=released runs in one process" in done.stderr
