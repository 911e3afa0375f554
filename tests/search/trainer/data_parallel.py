"""One process of a data-parallel search: `torchrun data_parallel.py FOLDER ESTIMATOR`; saves every process's beta."""

import runpy
import sys
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent


def main(folder: Path, estimator: str) -> None:
    toys = runpy.run_path(str(HERE.parent / "conftest.py"))["Toys"]
    runs = runpy.run_path(str(HERE / "conftest.py"))["Runs"](toys)
    options = {"estimator": estimator, "validation_batch_size": 2, "diagnose_steps": (3,)}
    search = runs.search(
        folder, options, {"dropout": 0.0}, per_device_train_batch_size=2, ddp_backend="gloo", save_steps=6
    )
    search.model_accepts_loss_kwargs = False
    search.train()
    torch.save(search.selection.beta.detach(), folder / f"beta{search.args.process_index}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
