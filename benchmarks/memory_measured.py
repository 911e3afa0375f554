"""Peak memory of LoRA and search steps on SmolLM2-135M beside what memory_on_paper.py says.

    autolora-bench fetch smollm2_135m && python benchmarks/memory_measured.py
    python benchmarks/memory_measured.py --stored fp32 bf16 --tokens 64

Real weights with a classifier's head, batches of random tokens, one thread; every arm in a process of its own, two
optimizer steps. On a CPU memory is the peak resident set of those steps less what the process had before it loaded the
model; libraries allocate in the first step too, so that a tenth of a GiB says nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from itertools import product

import memory_on_paper as paper
import psutil
import torch
from peft import LoraConfig, get_peft_model
from search_step import PLAIN, Batch, PlainArm, SearchArm

from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.model import Dtype, Quantization
from autolora_bench.devices import peak_memory, reset_peak_memory
from autolora_bench.models.load import HeadKind, HeadSpec, load_backbone

STORED = {
    "fp32": (Dtype.fp32, Quantization.none),
    "bf16": (Dtype.bf16, Quantization.none),
    "nf4 and bf16": (Dtype.bf16, Quantization.nf4),
}
RANKS = {PLAIN: 4, "closed_form": 8}


def measured(options: argparse.Namespace) -> float:
    """GiB of one arm, in this process."""
    torch.set_num_threads(1)
    with composer():
        model = to_experiment(compose_config(["model=smollm2_135m", "task=rte", "method=lora"])).model
    dtype, quantization = STORED[options.of_stored]
    before = psutil.Process().memory_info().rss
    torch.manual_seed(0)
    backbone = load_backbone(
        replace(model, dtype=dtype, quantization=quantization), HeadSpec(HeadKind.sequence, ("no", "yes"))
    )
    lora = LoraConfig(
        task_type="SEQ_CLS",
        r=RANKS[options.of],
        lora_alpha=16,
        target_modules=backbone.targets,
        modules_to_save=backbone.head_modules,
    )
    adapted = get_peft_model(backbone.model, lora).train()
    if options.again:
        adapted.gradient_checkpointing_enable({"use_reentrant": False})
    options.device, options.bf16 = "cpu", dtype is Dtype.bf16
    one = PlainArm(adapted, options) if options.of == PLAIN else SearchArm(adapted, options, options.of)
    reset_peak_memory(torch.device("cpu"))
    for step in range(2):
        one.step(drawn(options, 2 * step), drawn(options, 2 * step + 1), False)
    return ((peak_memory(torch.device("cpu")) or 0) - before) / paper.GIB


def drawn(options: argparse.Namespace, seed: int) -> Batch:
    """A batch (B, T) of random tokens."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 49000, (options.batch, options.tokens), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids[:, 0] % 2}


def main() -> None:
    """One line per storage."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--stored", nargs="*", default=list(STORED), choices=STORED)
    made.add_argument("--batch", type=int, default=16)
    made.add_argument("--tokens", type=int, default=128)
    made.add_argument("--of", help=argparse.SUPPRESS)
    made.add_argument("--of-stored", help=argparse.SUPPRESS)
    made.add_argument("--again", action="store_true", help=argparse.SUPPRESS)
    options = made.parse_args()
    if options.of:
        print(json.dumps(measured(options)))
        return
    paper.TOKENS = options.batch * options.tokens
    print(f"SmolLM2-135M, {options.batch} x {options.tokens} tokens, GiB: measured (on paper)", flush=True)
    for stored, again, of in product(options.stored, (False, True), RANKS):
        arm = ["--of", of, "--of-stored", stored, *(["--again"] if again else [])]
        done = subprocess.run(
            [sys.executable, *sys.argv, *arm], stdout=subprocess.PIPE, text=True, check=True
        )
        said = paper.total(paper.MODELS[0], stored, of != PLAIN, again)
        what = f"{'LoRA' if of == PLAIN else 'search'}, {stored}{', recomputed' if again else ''}"
        print(f"{what:32} {json.loads(done.stdout.splitlines()[-1]):5.2f} ({said:.2f})", flush=True)


if __name__ == "__main__":
    main()
