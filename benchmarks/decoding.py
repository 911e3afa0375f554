"""Decoding E2E's test records by beam search: our batches against one record at a time.

    python benchmarks/decoding.py --data DIR                   SmolLM2, 32 records, beam 10
    python benchmarks/decoding.py --data DIR --records 16 --tune 0

The model first learns how a description looks and ends, by --tune LoRA steps. One record at a time is decoded twice:
by `generate` of transformers, and by our decoder with batches of one. `generate` has early_stopping="never" and
leaves out what our search leaves out, so that its outputs are the same; how many are is printed. Turns are taken on
every chunk of records, of which --alone, evenly spaced, are decoded one at a time; a ratio is of seconds a record.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from datasets import Dataset
from peft import PeftModel
from rounds import Seconds, data_words, ratios, spread, timed
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from autolora_bench import devices
from autolora_bench.config.task import DecodingConfig
from autolora_bench.config.train import Precision
from autolora_bench.methods.base import PhaseContext
from autolora_bench.methods.peft_lora import lora_model
from autolora_bench.models.merged import merged
from autolora_bench.request import Request
from autolora_bench.sweeps.expansion import plan
from autolora_bench.tasks.base import EvaluationContext
from autolora_bench.tasks.generation.beam import cut, exclude_repeats, find_stops
from autolora_bench.tasks.generation.decode import decode
from autolora_bench.tasks.inference import evaluation_mode
from autolora_bench.training.finetune import Finetuning, build_trainer

BATCHED, ALONE, GENERATE = "ours, batched", "ours, one at a time", "generate, one at a time"
Prompts = Sequence[Sequence[int]]


class NoRepeats(LogitsProcessor):
    """Our rule on repeated n-grams for `generate`, whose own counts the prompt's n-grams too; normalised after it."""

    def __init__(self, prompt: int, size: int) -> None:
        self.prompt = prompt
        self.size = size

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        exclude_repeats(scores, input_ids[:, self.prompt :], self.size)
        return scores.log_softmax(dim=-1)


def tuned(context: PhaseContext, steps: int) -> PeftModel:
    """The model with LoRA after so many steps."""
    backbone = context.backbone()
    model = lora_model(
        backbone, context, target_modules=backbone.targets, r=4, lora_alpha=32, lora_dropout=0.0
    )
    train = replace(context.experiment.train, max_steps=steps, batch_size=8, epochs=1)
    setup = Finetuning(
        "finetune",
        context.folder,
        context.task,
        context.splits,
        context.tokenizer,
        train,
        1e-3,
        0,
        context.device,
    )
    if steps:
        trainer = build_trainer(model, setup)
        trainer.evaluate = lambda *_, **__: {}  # type: ignore[method-assign]
        trainer.train()
    return model


def ours(
    model: PeftModel, settings: DecodingConfig, context: EvaluationContext, size: int, prompts: Prompts
) -> list[str]:
    """Our decoder; merging and packing count."""
    return decode(model, prompts, replace(settings, batch_size=size), context)


def generate(
    model: PeftModel, settings: DecodingConfig, context: EvaluationContext, prompts: Prompts
) -> list[str]:
    """transformers' decoder on the merged model."""
    found = []
    with merged(model) as plain, evaluation_mode(model, context):
        stops = find_stops(context.tokenizer, int(plain.config.vocab_size), context.device)
        config = GenerationConfig(
            num_beams=settings.beams,
            do_sample=False,
            max_new_tokens=settings.max_new_tokens,
            length_penalty=settings.length_penalty,
            early_stopping="never",
            eos_token_id=stops.ends.nonzero().flatten().tolist(),
            pad_token_id=context.tokenizer.pad_token_id,
        )
        for prompt in prompts:
            tokens = torch.tensor([prompt])
            rule = LogitsProcessorList([NoRepeats(len(prompt), settings.no_repeat_ngram)])
            outputs = plain.generate(
                tokens,
                attention_mask=torch.ones_like(tokens),
                generation_config=config,
                logits_processor=rule,
            )
            found.append(cut(outputs[0, len(prompt) :].tolist(), context.tokenizer))
    return found


def measure(
    arms: dict[str, Callable[[Prompts], list[str]]], prompts: Prompts, chunk: int, alone: int
) -> tuple[dict[str, list[Seconds]], dict[str, dict[int, str]]]:
    """By arm: seconds a record of every chunk, and outputs by the record's number."""
    seconds: dict[str, list[Seconds]] = {name: [] for name in arms}
    outputs: dict[str, dict[int, str]] = {name: {} for name in arms}
    for start in range(0, len(prompts), chunk):
        records = range(start, min(start + chunk, len(prompts)))
        for name, arm in arms.items():
            chosen = records if name == BATCHED else records[:: max(1, len(records) // alone)][:alone]
            found: list[str] = []
            taken = timed(
                lambda arm=arm, chosen=chosen, found=found: found.extend(arm([prompts[r] for r in chosen]))
            )
            seconds[name].append(Seconds(taken.wall / len(chosen), taken.cpu / len(chosen)))
            outputs[name].update(zip(chosen, found, strict=True))
    return seconds, outputs


def choices(purpose: str | None) -> argparse.ArgumentParser:
    """What to decode, by which model."""
    parser = argparse.ArgumentParser(
        description=purpose, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder of the publishers' files; generated data without it")
    parser.add_argument("--records", type=int, default=32, help="evenly spaced over the test split")
    parser.add_argument("--tune", type=int, default=20, help="LoRA steps of 8 examples")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("words", nargs="*", help="more settings, key=value, as task.decoding.batch_size=32")
    return parser


def prepare(options: argparse.Namespace) -> tuple[PhaseContext, PeftModel, Dataset]:
    """The experiment, its tuned model, and the records."""
    torch.set_num_threads(options.threads)
    source = data_words(options.data)
    words = ("task=e2e", "model=smollm2_135m", "method=lora", "device=cpu", *source, *options.words)
    experiment = plan(Request(words))[0].experiment
    devices.prepare(experiment)
    with tempfile.TemporaryDirectory() as folder:
        context = PhaseContext(experiment, Path(folder), torch.device("cpu"))
        model = tuned(context, options.tune)
    split = context.splits.held_out["test"]
    chosen = range(0, len(split), max(1, len(split) // options.records))
    return context, model, split.select(chosen[: options.records])


def main() -> None:
    parser = choices(__doc__)
    parser.add_argument("--alone", type=int, default=4, help="of every chunk, decoded one at a time")
    parser.add_argument("--arms", nargs="*", default=[ALONE, GENERATE], choices=[ALONE, GENERATE])
    options = parser.parse_args()
    context, model, split = prepare(options)
    prompts = list(split["input_ids"])
    settings = context.task.config.decoding  # type: ignore[attr-defined]
    half = context.experiment.train.precision is Precision.bf16
    evaluation = EvaluationContext(context.tokenizer, context.device, settings.batch_size, bf16=half)
    arms = {
        BATCHED: partial(ours, model, settings, evaluation, settings.batch_size),
        ALONE: partial(ours, model, settings, evaluation, 1),
        GENERATE: partial(generate, model, settings, evaluation),
    }
    chosen = {name: arm for name, arm in arms.items() if name in (BATCHED, *options.arms)}
    seconds, outputs = measure(chosen, prompts, settings.batch_size, options.alone)
    lengths = [len(context.tokenizer(text)["input_ids"]) for text in outputs[BATCHED].values()]
    print(
        f"{len(prompts)} records in chunks of {settings.batch_size}, beam {settings.beams}, outputs of "
        f"{sum(lengths) / len(lengths):.0f} tokens on average, {torch.get_num_threads()} threads"
    )
    print(f"{'decoder':26}{'CPU s a record':>16}{'times ours, batched':>28}{'same outputs':>14}")
    for name, values in seconds.items():
        same = sum(outputs[BATCHED][record] == text for record, text in outputs[name].items())
        cost = sum(value.cpu for value in values) / len(values)
        shown = spread(ratios(values, seconds[BATCHED], "cpu"))
        print(f"{name:26}{cost:16.3f}{shown:>28}{same:>9} / {len(outputs[name])}")


if __name__ == "__main__":
    main()
