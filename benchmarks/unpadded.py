"""A LoRA step without padding and with kernels for a CPU, over the step of the padded batch, on any task and model.

    python benchmarks/unpadded.py --data DIR                          SST-2, MiniLM, 20 random batches of 16
    python benchmarks/unpadded.py --data DIR --task e2e --batches 5 --batch 8 -- model=smollm2_135m

First tokens an example, padded and as they are computed, over every batch of the first --examples training examples;
then seconds, the ways to compute a batch taking turns on the same model. A first pass of each way is not timed.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rounds import Seconds, data_words, ratios, several, timed
from torch import Tensor, nn

from autolora_bench import devices
from autolora_bench.config.train import TrainConfig
from autolora_bench.methods.base import PhaseContext
from autolora_bench.methods.peft_lora import lora_model
from autolora_bench.request import Request
from autolora_bench.speedups.applied import sped_up
from autolora_bench.speedups.layout import computed_tokens
from autolora_bench.sweeps.expansion import plan

WAYS = {
    "padded": TrainConfig(),
    "unpadded": TrainConfig(padding_free=True),
    "kernels": TrainConfig(cpu_kernels=True),
    "both": TrainConfig(padding_free=True, cpu_kernels=True),
}
LORA = {"r": 8, "lora_alpha": 16, "lora_dropout": 0.1}


def context_of(options: argparse.Namespace, folder: Path) -> PhaseContext:
    """The LoRA cell of the task."""
    words = [
        f"task={options.task}",
        "method=lora",
        "device=cpu",
        f"data.limit={options.examples}",
        *data_words(options.data),
        *options.words,
    ]
    experiment = plan(Request(tuple(words)))[0].experiment
    devices.prepare(experiment)
    return PhaseContext(experiment, folder, torch.device("cpu"))


def random_batches(context: PhaseContext, size: int) -> Iterator[dict[str, Tensor]]:
    """Whole ones."""
    collate, examples = context.task.collator(context.tokenizer), context.splits.train
    order = random.Random(0).sample(range(len(examples)), len(examples))
    for start in range(0, len(order) - size + 1, size):
        yield collate([examples[place] for place in order[start : start + size]])


def step(model: nn.Module, batch: dict[str, Tensor]) -> None:
    """Forward and backward."""
    model.zero_grad()
    loss: Any = model(**batch).loss
    loss.backward()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder of the publishers' files; generated data without it")
    parser.add_argument("--task", default="sst2")
    parser.add_argument("--examples", type=int, default=3000)
    parser.add_argument("--batches", type=several, default=20, help="that are timed, 2 or more")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("words", nargs="*", help="more settings, key=value")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        context = context_of(options, Path(folder))
        batches = list(random_batches(context, options.batch))
        backbone = context.backbone(0)
        model = lora_model(backbone, context, target_modules=backbone.targets, **LORA).train()
    masks = [batch["attention_mask"] for batch in batches]
    counts = [sum(of(mask) for mask in masks) for of in (Tensor.numel, computed_tokens, Tensor.sum)]
    tokens = [float(count) / (len(batches) * options.batch) for count in counts]
    print(f"{options.task}, {' '.join(options.words)}, batches of {options.batch}")
    print("tokens an example: padded {:.1f}, computed {:.1f}, real {:.1f}".format(*tokens), flush=True)
    found: dict[str, list[Seconds]] = {name: [] for name in WAYS}
    for round_, batch in enumerate(batches[: options.batches]):
        order = list(WAYS.items())
        for name, train in order[round_ % len(order) :] + order[: round_ % len(order)]:
            with sped_up(model, train):
                step(model, batch)
                found[name].append(timed(lambda batch=batch: step(model, batch)))  # type: ignore[misc]
    print(f"{'':12}{'CPU s a step':>14}{'of padded: median, quartiles':>32}")
    for name, seconds in found.items():
        against = ratios(seconds, found["padded"], "cpu")
        low, middle, high = statistics.quantiles(against, n=4)
        mean = statistics.mean(taken.cpu for taken in seconds)
        print(f"{name:12}{mean:14.3f}{f'{middle:.2f} ({low:.2f} to {high:.2f})':>32}", flush=True)


if __name__ == "__main__":
    main()
