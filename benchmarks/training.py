"""LoRA training in examples a second: our runner against two plain PEFT + Trainer scripts, on real GLUE files.

    python benchmarks/training.py --data DIR                   RTE and MRPC, MiniLM
    python benchmarks/training.py --data DIR --task rte --quick

The plain scripts are what people write: one pads (and truncates) to 128 tokens, one pads to the longest of the batch.
All arms draw from the complete training split with the same batch size, LoRA, optimizer and seed, train in one process,
and take turns; all but the grouped ones see the same batches. Some arms compute with `train.padding_free=true`
(unpadded) or `train.cpu_kernels=true` (kernels). What is timed is the first --steps steps: collation and logging count,
start-up does not. Grouping sorts the examples of many batches at a time, the longest first; by default there are as
many steps as that.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from rounds import Seconds, data_words, ratios, spread
from transformers import (
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    default_data_collator,
    set_seed,
)

from autolora_bench import devices
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.methods.base import PhaseContext
from autolora_bench.methods.peft_lora import lora_model
from autolora_bench.request import Request
from autolora_bench.speedups.applied import sped_up
from autolora_bench.sweeps.expansion import plan
from autolora_bench.training.finetune import Finetuning, build_trainer

BATCH = 16
FIXED, LONGEST = "plain, 128", "plain, longest"
GROUPED, KERNELS = "train.group_by_length=true", "train.cpu_kernels=true"
UNPADDED = "train.padding_free=true"
OURS = {
    "ours": (),
    "ours, unpadded": (UNPADDED,),
    "ours, grouped": (GROUPED,),
    "ours, kernels": (KERNELS,),
    "unpadded, kernels": (UNPADDED, KERNELS),
    "grouped, kernels": (GROUPED, KERNELS),
}
"""Our arms and their settings."""
LORA = {"r": 4, "lora_alpha": 16, "lora_dropout": 0.1}


class Clock(TrainerCallback):
    """Times the steps, evaluation excluded."""

    def __init__(self) -> None:
        self.steps = 0

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self.begun = Seconds.now()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.steps += 1
        self.ended = Seconds.now()

    def per_example(self) -> Seconds:
        """Mean over the steps."""
        taken, examples = self.ended.since(self.begun), BATCH * self.steps
        return Seconds(taken.wall / examples, taken.cpu / examples)


def experiment(options: argparse.Namespace, task: str, *words: str) -> ExperimentConfig:
    """The LoRA cell of a task."""
    limit = [f"train.max_steps={options.steps}"] if options.steps else []
    settings = [*limit, "device=cpu", *options.words, *words]
    return plan(Request((f"task={task}", "method=lora", *data_words(options.data), *settings)))[0].experiment


def ours(options: argparse.Namespace, task: str, round_: int, folder: Path, *words: str) -> Seconds:
    """Our training phase; evaluation comes after the clock."""
    context = PhaseContext(experiment(options, task, *words), folder, torch.device("cpu"))
    backbone = context.backbone(round_)
    model = lora_model(backbone, context, target_modules=backbone.targets, **LORA)
    clock, train = Clock(), context.experiment.train
    setup = Finetuning(
        "finetune",
        folder,
        context.task,
        context.splits,
        context.tokenizer,
        train,
        1e-4,
        round_,
        context.device,
        callbacks=(clock,),
    )
    trainer = build_trainer(model, setup)
    trainer.evaluate = lambda *_, **__: {}  # type: ignore[method-assign]
    with sped_up(model, train):
        trainer.train()
    return clock.per_example()


def plain(options: argparse.Namespace, task: str, round_: int, folder: Path, fixed: bool) -> Seconds:
    """A script as in PEFT's examples."""
    context = PhaseContext(experiment(options, task), folder, torch.device("cpu"))
    backbone = context.backbone(round_)
    tokenizer, data = context.tokenizer, context.data.splits["train"]
    texts = context.task.config.texts  # type: ignore[attr-defined]

    def encode(rows: dict[str, list[Any]]) -> dict[str, Any]:
        padding = {"padding": "max_length", "max_length": 128} if fixed else {"max_length": 256}
        encoded = tokenizer(*(rows[name] for name in texts), truncation=True, **padding)
        return {**encoded, "labels": rows["label"]}

    lora = LoraConfig(
        task_type="SEQ_CLS", target_modules=backbone.targets, modules_to_save=backbone.head_modules, **LORA
    )
    clock = Clock()
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=BATCH,
        max_steps=options.steps,
        learning_rate=1e-4,
        warmup_steps=0.06,
        use_cpu=True,
        seed=round_,
        data_seed=round_,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    set_seed(round_)
    trainer = Trainer(
        model=get_peft_model(backbone.model, lora),
        args=arguments,
        train_dataset=data.map(encode, batched=True, remove_columns=data.column_names),
        data_collator=default_data_collator if fixed else DataCollatorWithPadding(tokenizer),
        callbacks=[clock],
    )
    trainer.train()
    return clock.per_example()


def sorted_together(examples: int) -> int:
    """Batches whose examples transformers' grouping by length sorts at a time."""
    return max(1, min(50, examples // (4 * BATCH)))


def arms(options: argparse.Namespace, task: str) -> dict[str, Callable[[int, Path], Seconds]]:
    """Name -> one training; (round, folder) -> seconds per example."""

    def with_words(words: tuple[str, ...], round_: int, folder: Path) -> Seconds:
        return ours(options, task, round_, folder, *words)

    return {
        **{name: partial(with_words, words) for name, words in OURS.items()},
        FIXED: partial(plain, options, task, fixed=True),
        LONGEST: partial(plain, options, task, fixed=False),
    }


def measure(options: argparse.Namespace, task: str) -> dict[str, list[Seconds]]:
    """Every arm in every round, in an order that turns."""
    found: dict[str, list[Seconds]] = {}
    for round_ in range(options.rounds):
        order = list(arms(options, task).items())
        for name, arm in order[round_ % len(order) :] + order[: round_ % len(order)]:
            with tempfile.TemporaryDirectory() as folder:
                found.setdefault(name, []).append(arm(round_, Path(folder)))
    return found


def report(task: str, found: dict[str, list[Seconds]]) -> None:
    """Examples a second of CPU time, and how many times faster than the plain scripts."""
    print(f"{task:24}{'examples / CPU s':>17}{'against plain, 128':>27}{'against plain, longest':>27}")
    for name in (*OURS, FIXED, LONGEST):
        rate = statistics.median(1 / seconds.cpu for seconds in found[name])
        against = [spread(ratios(found[other], found[name], "cpu")) for other in (FIXED, LONGEST)]
        print(f"{name:24}{rate:17.1f}{against[0]:>27}{against[1]:>27}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder of the publishers' files; generated data without it")
    parser.add_argument("--task", nargs="*", default=["rte", "mrpc"])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="10 steps, one round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("words", nargs="*", help="more settings, key=value")
    options = parser.parse_args()
    if options.quick:
        options.steps, options.rounds = 10, 1
    torch.set_num_threads(options.threads)
    for task in options.task:
        everything = experiment(options, task)
        devices.prepare(everything)
        with tempfile.TemporaryDirectory() as folder:
            context = PhaseContext(everything, Path(folder), torch.device("cpu"))
            steps = options.steps or sorted_together(len(context.splits.train))
        report(
            f"{task}, {steps} steps", measure(argparse.Namespace(**{**vars(options), "steps": steps}), task)
        )


if __name__ == "__main__":
    main()
