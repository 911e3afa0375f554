"""A handful of records, and decoders that know them by heart."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedTokenizerBase

from autolora_bench.config.task import DecodingConfig, GenerationTask
from autolora_bench.data.load import load_data
from autolora_bench.data.schema import TaskData
from autolora_bench.tasks.base import EvaluationContext, Splits
from autolora_bench.tasks.generation.task import Generation

STEPS = 60


@dataclass
class Learnt:
    """A model that was trained to give each record's only reference."""

    model: Any
    task: Generation
    splits: Splits
    context: EvaluationContext


@pytest.fixture(scope="session")
def generation_task(composed: Callable[..., Any]) -> GenerationTask:
    """E2E with quick metrics and short outputs."""
    task: GenerationTask = composed("task=e2e", "task.metrics=[bleu,nist]").task
    decoding = DecodingConfig(beams=3, max_new_tokens=60, no_repeat_ngram=0, batch_size=4)
    return replace(task, decoding=decoding, max_length=200)


@pytest.fixture(scope="session")
def few(composed: Callable[..., Any]) -> TaskData:
    """Six generated records of different lengths, one reference each; every split holds them all."""
    experiment = composed("task=e2e", "data.limit=6")
    rows = load_data(experiment.task, experiment.data).splits["train"]
    rows = rows.map(lambda row: {"references": row["references"][:1]})
    return TaskData(dict.fromkeys(("train", "validation", "test"), rows), "few", "test")


@pytest.fixture(scope="session")
def learnt(
    decoder: Callable[..., Any],
    byte_tokenizer: PreTrainedTokenizerBase,
    generation_task: GenerationTask,
    few: TaskData,
) -> Callable[[str], Learnt]:
    """Kind of decoder -> one with LoRA on some layers, trained with all its weights until it knows the records."""

    @cache
    def train(kind: str) -> Learnt:
        task = Generation(generation_task)
        splits = task.prepare(few, byte_tokenizer)
        collate = task.collator(byte_tokenizer)
        names = {"llama": ["q_proj", "v_proj", "up_proj"], "gpt2": ["c_attn", "c_fc"]}[kind]
        config = LoraConfig(target_modules=names, r=2, fan_in_fan_out=kind == "gpt2", task_type="CAUSAL_LM")
        model = get_peft_model(decoder(kind), config)
        for weight in model.parameters():
            weight.requires_grad_(True)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        batch = collate([splits.train[position] for position in range(len(splits.train))])
        for _ in range(STEPS):
            optimizer.zero_grad()
            model(**batch).loss.backward()
            optimizer.step()
        context = EvaluationContext(byte_tokenizer, torch.device("cpu"), 4)
        return Learnt(model.eval(), task, splits, context)

    return train
