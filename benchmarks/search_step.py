"""What a search step costs, in plain LoRA steps, and where it points, against the exact hypergradient.

    python benchmarks/search_step.py                             MiniLM's size, 4 x 64 tokens
    python benchmarks/search_step.py --batch 16 --tokens 128
    python benchmarks/search_step.py --layers 12 --hidden 768 --device cuda --bf16

Weights are random and nothing is downloaded. All arms live in one process and take turns, so that whatever
else the machine does hits them alike; a ratio compares an arm with the plain step of the same round. B batch,
T tokens.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification, logging

from autolora_bench.search import ESTIMATORS, InnerStep, attach, estimator, lora_factors, selection_for
from autolora_bench.search.diagnostics import compare, exact_terms

Batch = dict[str, Tensor]
VOCABULARY = 30522


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


class PlainArm:
    """LoRA as usual: one forward, one backward, one optimizer step."""

    def __init__(self, model: PeftModel, options: argparse.Namespace) -> None:
        self.model = model
        self.options = options
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
        self.estimator = estimator(name)
        self.selection = selection_for(model)
        attach(model, self.selection)
        self.optimizer.add_param_group({"params": [self.selection.beta], "lr": 1e-3, "weight_decay": 0.0})

    def step(self, train: Batch, validation: Batch, compared: bool) -> float | None:
        """One search step; the cosine to the exact hypergradient where `compared`."""
        step = InnerStep(
            model=self.model,
            selection=self.selection,
            optimizer=self.optimizer,
            weights=self.weights,
            factors=lora_factors(self.model),
            training_loss=self.loss,
            validation_loss=self.loss,
            validation=validation,
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
    """Seconds, the device's work included, and the result."""
    wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    wait()
    start = time.perf_counter()
    result = action()
    wait()
    return time.perf_counter() - start, result


def measure(options: argparse.Namespace) -> None:
    """Run all arms in turn and print one line for each."""
    base = build(options)
    arms = {"plain": PlainArm(copy.deepcopy(base), options)}
    arms |= {name: SearchArm(copy.deepcopy(base), options, name) for name in options.estimators}
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    cosines: dict[str, list[float]] = {name: [] for name in arms}
    for step in range(1, options.steps + 1):
        train, validation = draw(options, 2 * step), draw(options, 2 * step + 1)
        compared = step in options.compare_at
        for name, arm in arms.items():
            taken, cosine = timed(partial(arm.step, train, validation, compared), options.device)
            if cosine is not None:
                cosines[name].append(cosine)
            elif step > options.warm and not compared:
                seconds[name].append(taken)
    report(options, seconds, cosines)


def report(
    options: argparse.Namespace, seconds: dict[str, list[float]], cosines: dict[str, list[float]]
) -> None:
    compared = "/".join(str(s) for s in options.compare_at if s <= options.steps)
    size = f"{options.layers} x {options.hidden}, {options.batch} x {options.tokens} tokens, r {options.rank}"
    precision = "bf16" if options.bf16 else "fp32"
    print(f"{size}, {options.device} {precision}, {torch.get_num_threads()} threads, {options.attention}")
    print(f"{'step':20} {'median s':>9} {'plain steps (quartiles)':>25}   cosine at {compared}")
    for name, values in seconds.items():
        ratios = sorted(a / b for a, b in zip(values, seconds["plain"], strict=True))
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        shown = " ".join(f"{c:.5f}" for c in cosines[name])
        spread = f"{middle:.2f} ({low:.2f} to {high:.2f})"
        print(f"{name:20} {statistics.median(values):9.4f} {spread:>25}   {shown}")


def main() -> None:
    logging.set_verbosity_error()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--warm", type=int, default=3, help="first steps that are not timed")
    parser.add_argument("--compare-at", type=int, nargs="*", default=[1, 10, 50])
    parser.add_argument("--estimators", nargs="*", default=list(ESTIMATORS), choices=list(ESTIMATORS))
    parser.add_argument("--attention", default="sdpa", choices=["sdpa", "eager"])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    measure(options)


if __name__ == "__main__":
    main()
