"""What a search step costs, in plain LoRA steps, and where it points, against the exact hypergradient.

    python benchmarks/search_step.py                             MiniLM's size, 4 x 64 tokens
    python benchmarks/search_step.py --batch 16 --tokens 128
    python benchmarks/search_step.py --layers 12 --hidden 768 --device cuda --bf16
    python benchmarks/search_step.py --arms closed_form closed_form/4 closed_form/half closed_form/half/4

An arm is an estimator, or `plain`; `/4` moves the selection variables at every 4th step only and is averaged over four,
`/half` draws validation batches of half the size, `/kernels` computes with `train.cpu_kernels=true`. What they are
compared with is stock PEFT.

Weights are random and nothing is downloaded. All arms live in one process and take turns, so that whatever else the
machine does hits them alike; a ratio compares an arm with the plain steps of the same rounds, in CPU seconds on a CPU.
B batch, T tokens.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification, logging

from autolora_bench.config.train import Precision, TrainConfig
from autolora_bench.search import ESTIMATORS, InnerStep, attach, estimator, lora_factors, selection_for
from autolora_bench.search.trainer import compare, exact_terms
from autolora_bench.speedups.applied import sped_up

Batch = dict[str, Tensor]
VOCABULARY = 30522
PLAIN = "plain"


def build(options: argparse.Namespace) -> PeftModel:
    """A random encoder with LoRA on query and value, as in the paper's search."""
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=options.hidden,
        num_hidden_layers=options.layers,
        num_attention_heads=max(1, options.hidden // 32),
        intermediate_size=4 * options.hidden,
        attn_implementation=options.attention,
    )
    lora = LoraConfig(task_type="SEQ_CLS", r=options.rank, lora_alpha=16, target_modules=["query", "value"])
    return get_peft_model(BertForSequenceClassification(config), lora).to(options.device).train()


def draw(options: argparse.Namespace, seed: int) -> Batch:
    """A batch (B, T) whose labels can be learnt: the first token is even or odd."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, VOCABULARY, (options.batch, options.tokens), generator=generator)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids[:, 0] % 2}
    return {name: tensor.to(options.device) for name, tensor in batch.items()}


def interval_of(arm: str) -> int:
    """Weight steps a selection step, which an arm's name says: closed_form/4."""
    return next((int(word) for word in arm.split("/")[1:] if word.isdigit()), 1)


class PlainArm:
    """LoRA as usual: one forward, one backward, one optimizer step."""

    interval = 1

    def __init__(self, model: PeftModel, options: argparse.Namespace) -> None:
        self.model = model
        self.options = options
        self.kernels = ExitStack()
        self.weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(self.weights.values(), lr=1e-4)

    def loss(self, model: torch.nn.Module, batch: Batch) -> Tensor:
        with torch.autocast(self.options.device, torch.bfloat16, enabled=self.options.bf16):
            loss: Tensor = model(**batch).loss
        return loss

    def step(self, train: Batch, validation: Batch, compared: bool) -> float | None:
        self.loss(self.model, train).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return None


class SearchArm(PlainArm):
    """The same, and one step on the selection variables."""

    def __init__(self, model: PeftModel, options: argparse.Namespace, name: str) -> None:
        super().__init__(model, options)
        self.interval = interval_of(name)
        name, *variants = name.split("/")
        self.rows = options.batch // 2 if "half" in variants else options.batch
        self.steps = 0
        self.estimator = estimator(name)
        self.selection = selection_for(model)
        self.factors = lora_factors(model)
        attach(model, self.selection)
        self.optimizer.add_param_group({"params": [self.selection.beta], "lr": 1e-3, "weight_decay": 0.0})

    def step(self, train: Batch, validation: Batch, compared: bool) -> float | None:
        """One search step; the cosine to the exact hypergradient where `compared`."""
        self.steps += 1
        if self.steps % self.interval:
            return super().step(train, validation, compared)
        step = InnerStep(
            model=self.model,
            selection=self.selection,
            optimizer=self.optimizer,
            weights=self.weights,
            factors=self.factors,
            training_loss=self.loss,
            validation_loss=self.loss,
            validation={name: tensor[: self.rows] for name, tensor in validation.items()},
            half_precision=self.options.bf16,
            remember=self.estimator.remembers or compared,
        )
        self.estimator.prepare(step)
        step.record(train)
        self.estimator.training_pass(step, train)
        self.optimizer.step()
        exact = exact_terms(step) if compared else None
        terms = self.estimator.terms(step)
        self.optimizer.zero_grad()
        self.selection.beta.grad = self.selection.pull_back(terms.total)
        self.optimizer.step()
        self.selection.beta.grad = None
        self.selection.refresh()
        self.estimator.finish(step)
        self.optimizer.zero_grad()
        return None if exact is None else compare(terms, exact)["hypergradient_cosine"]


def timed(action: Callable[[], float | None], device: str) -> tuple[float, float | None]:
    """CPU seconds, on a device the seconds until its work is done, and the result."""
    wait, clock = (
        (torch.cuda.synchronize, time.perf_counter) if device == "cuda" else (int, time.process_time)
    )
    wait()
    start = clock()
    result = action()
    wait()
    return clock() - start, result


def arm(base: PeftModel, options: argparse.Namespace, name: str) -> PlainArm:
    """By its name, on its own copy of the model, with its own kernels as long as it lives."""
    model = copy.deepcopy(base)
    kind, *variants = name.split("/")
    made = PlainArm(model, options) if kind == PLAIN else SearchArm(model, options, name)
    if "kernels" in variants and options.device != "cpu":
        raise SystemExit(f"{name}: these kernels are for a CPU")
    precision = Precision.bf16 if options.bf16 else Precision.fp32
    made.kernels.enter_context(
        sped_up(model, TrainConfig(cpu_kernels="kernels" in variants, precision=precision))
    )
    return made


def measure(options: argparse.Namespace) -> None:
    """Run all arms in turn and print one line for each."""
    base = build(options)
    arms = {name: arm(base, options, name) for name in (PLAIN, *options.arms)}
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    cosines: dict[str, list[float]] = {name: [] for name in arms}
    for step in range(1, options.steps + 1):
        train, validation = draw(options, 2 * step), draw(options, 2 * step + 1)
        compared = step in options.compare_at
        for name, one in arms.items():
            taken, cosine = timed(partial(one.step, train, validation, compared), options.device)
            if cosine is not None:
                cosines[name].append(cosine)
            if step > options.warm and not compared:
                seconds[name].append(taken)
    report(options, {name: one.interval for name, one in arms.items()}, seconds, cosines)


def plain_steps(seconds: list[float], plain: list[float], interval: int) -> list[float]:
    """Sorted ratios of an arm to the plain step over the same `interval` rounds, which hold one selection step."""
    starts = range(0, len(plain) - interval + 1, interval)
    return sorted(sum(seconds[i : i + interval]) / sum(plain[i : i + interval]) for i in starts)


def report(
    options: argparse.Namespace,
    intervals: dict[str, int],
    seconds: dict[str, list[float]],
    cosines: dict[str, list[float]],
) -> None:
    compared = "/".join(str(s) for s in options.compare_at if s <= options.steps)
    describe(options)
    print(f"{'step':20} {'mean s':>9} {'plain steps (quartiles)':>25}   cosine at {compared}")
    for name, values in seconds.items():
        ratios = plain_steps(values, seconds[PLAIN], intervals[name])
        low, middle, high = statistics.quantiles([*ratios, *ratios], n=4, method="inclusive")
        shown = " ".join(f"{c:.5f}" for c in cosines[name])
        spread = f"{middle:.2f} ({low:.2f} to {high:.2f})"
        print(f"{name:20} {statistics.mean(values):9.4f} {spread:>25}   {shown}")


def describe(options: argparse.Namespace) -> None:
    size = f"{options.layers} x {options.hidden}, {options.batch} x {options.tokens} tokens, r {options.rank}"
    precision = "bf16" if options.bf16 else "fp32"
    print(f"{size}, {options.device} {precision}, {torch.get_num_threads()} threads, {options.attention}")


def parser() -> argparse.ArgumentParser:
    """Arguments of a benchmark of search steps; `search_memory` has the same."""
    made = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--layers", type=int, default=6)
    made.add_argument("--hidden", type=int, default=384)
    made.add_argument("--rank", type=int, default=8)
    made.add_argument("--batch", type=int, default=4)
    made.add_argument("--tokens", type=int, default=64)
    made.add_argument("--steps", type=int, default=60)
    made.add_argument("--warm", type=int, default=3, help="first steps that are not timed")
    made.add_argument("--compare-at", type=int, nargs="*", default=[1, 10, 50])
    made.add_argument(
        "--arms",
        nargs="*",
        default=[*sorted(set(ESTIMATORS) - {"reptile"}), "closed_form/4", "closed_form/half"],
    )
    made.add_argument("--attention", default="sdpa", choices=["sdpa", "eager"])
    made.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    made.add_argument("--bf16", action="store_true")
    made.add_argument("--threads", type=int, default=1)
    return made


def prepare(options: argparse.Namespace) -> None:
    """Process-wide settings."""
    logging.set_verbosity_error()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)


def main() -> None:
    made = parser()
    made.description = __doc__
    options = made.parse_args()
    timed_steps, longest = options.steps - options.warm, max(map(interval_of, options.arms))
    if timed_steps < longest:
        made.error(
            f"{timed_steps} timed steps hold no {longest}: say --steps {options.warm + longest} or more"
        )
    prepare(options)
    measure(options)


if __name__ == "__main__":
    main()
