"""Prompts, labels token by token, and what is refused."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import (
    BartConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    T5Config,
    TrainingArguments,
)

from autolora_bench.config.task import GenerationTask, Protocol, Serialization
from autolora_bench.data.schema import TaskData, to_dataset
from autolora_bench.errors import UserError
from autolora_bench.tasks.generation.records import pretokenize, serialize
from autolora_bench.tasks.generation.task import Generation, TextToText
from autolora_bench.tasks.table import build_task
from autolora_bench.training.trainer import MeteredTrainer

FIELDS = [["name", "The Inn"], ["eatType", "pub"], ["priceRange", "less than £20"], ["familyFriendly", "no"]]
TEXT = "name[The Inn], eatType[pub], priceRange[less than £20], familyFriendly[no]"


def data_of(task: GenerationTask, references: list[list[str]], fields: Any = None) -> TaskData:
    count = len(references)
    columns = {
        "fields": [fields or FIELDS] * count,
        "references": references,
        "category": [""] * count,
        "text": [TEXT] * count,
    }
    split = to_dataset(task, columns)
    names = ("train", "validation", "test")
    return TaskData(dict.fromkeys(names, split), str(hash(str(columns))), "test")


def test_serialisations(generation_task: GenerationTask) -> None:
    lora = "name : The Inn | Type : pub | price : less than £20 | family friendly : no"
    assert serialize(FIELDS, TEXT, generation_task) == lora
    tokenized = replace(generation_task, protocol=Protocol.tokenized)
    assert serialize(FIELDS, TEXT, tokenized) == lora.replace("£20", "£ 20")
    assert serialize(FIELDS, TEXT, replace(generation_task, serialization=Serialization.plain)) == TEXT
    triples = [["A_Bridge", "crosses", "River, The"], ["A_Bridge", "eatType", "x"]]
    assert serialize(triples, "", generation_task) == (
        "A_Bridge : crosses : River, The | A_Bridge : eatType : x"
    )


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("It isn't family-friendly, it's dear.", "It is n't family - friendly , it 's dear ."),
        ("A non-family friendly pub (£20-25).", "A non - family friendly pub ( £ 20 - 25 ) ."),
        ("a 5-star place", "a 5-star place"),
        ("Kid friendly, .The pub", "Kid friendly , .The pub"),
        ("in the centre.It is i wouldn't", "in the centre . It is i would n't"),
        ("The Inn's food costs £30!", "The Inn 's food costs £ 30 !"),
        ("You cannot; I can't", "You can not ; I ca n't"),
    ],
)
def test_pretokenised_text(raw: str, expected: str) -> None:
    """The forms that microsoft/LoRA's E2E files have for such texts."""
    assert pretokenize(raw) == expected
    assert pretokenize(expected) == expected


def test_labels_are_the_reference_and_the_end(
    generation_task: GenerationTask, byte_tokenizer: PreTrainedTokenizerBase
) -> None:
    references = [["The Inn is a pub.", "A pub."], ["It is cheap."]]
    splits = Generation(generation_task).prepare(data_of(generation_task, references), byte_tokenizer)
    end = byte_tokenizer.eos_token_id
    assert end == byte_tokenizer.pad_token_id == byte_tokenizer.bos_token_id
    text = "name : The Inn | Type : pub | price : less than £20 | family friendly : no"
    prompt = [*byte_tokenizer(text)["input_ids"], end]
    assert len(splits.train) == 3
    for row, reference in zip(splits.train, ["The Inn is a pub.", "A pub.", "It is cheap."], strict=True):
        target = [*byte_tokenizer(" " + reference)["input_ids"], end]
        assert row["input_ids"] == prompt + target
        assert row["labels"] == [-100] * len(prompt) + target
        assert row["attention_mask"] == [1] * len(row["input_ids"])
    assert splits.held_out["test"]["input_ids"][:] == [prompt, prompt]
    assert splits.held_out["test"]["references"][:] == references
    assert splits.truncated == {"train": 0, "validation": 0, "test": 0}
    assert any(note.startswith("texts: raw") for note in splits.notes)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_leaves_the_end_in_the_labels(
    side: str, generation_task: GenerationTask, byte_tokenizer: PreTrainedTokenizerBase
) -> None:
    byte_tokenizer.padding_side = side
    task = Generation(generation_task)
    splits = task.prepare(data_of(generation_task, [["A pub.", "The Inn is a dear pub."]]), byte_tokenizer)
    batch = task.collator(byte_tokenizer)([splits.train[0], splits.train[1]])
    byte_tokenizer.padding_side = "right"
    length = len(splits.train[0]["input_ids"])
    assert batch["labels"][0, length - 1] == byte_tokenizer.eos_token_id
    assert batch["labels"][0, length:].eq(-100).all()
    assert batch["input_ids"][0, length:].eq(byte_tokenizer.pad_token_id).all()
    assert batch["attention_mask"][0].tolist() == [1] * length + [0] * (batch["labels"].shape[1] - length)


def test_the_tokenised_protocol_is_one_format_throughout(
    generation_task: GenerationTask, byte_tokenizer: PreTrainedTokenizerBase
) -> None:
    task = replace(generation_task, protocol=Protocol.tokenized)
    splits = Generation(task).prepare(data_of(task, [["It isn't dear."]]), byte_tokenizer)
    assert splits.held_out["test"]["references"][:] == [["It is n't dear ."]]
    kept = [label for label in splits.train[0]["labels"] if label != -100]
    assert byte_tokenizer.decode(kept) == " It is n't dear .<|endoftext|>"
    assert any(note.startswith("texts: tokenized") for note in splits.notes)


def test_a_prompt_without_room_is_refused(
    generation_task: GenerationTask, byte_tokenizer: PreTrainedTokenizerBase
) -> None:
    task = replace(generation_task, max_length=20)
    with pytest.raises(
        UserError, match=r"train, record 0 \(name : The Inn .*its prompt of \d+ tokens .* within 20"
    ):
        Generation(task).prepare(data_of(task, [["A pub."]]), byte_tokenizer)


@pytest.mark.parametrize("most", [20, 20.0])
def test_the_limit_that_a_prompt_exceeds_is_named(
    most: float, generation_task: GenerationTask, byte_tokenizer: PreTrainedTokenizerBase
) -> None:
    """Raising the other would change nothing."""
    short = copy.deepcopy(byte_tokenizer)
    short.model_max_length = most
    task = replace(generation_task, max_length=100)
    with pytest.raises(
        UserError, match=r"within 20, which is model_max_length in tokenizer_config\.json"
    ) as told:
        Generation(task).prepare(data_of(task, [["A pub."]]), short)
    assert "raise model_max_length" in told.value.mend
    small = replace(task, max_length=10)
    with pytest.raises(UserError, match=r"within 10, which is task\.max_length") as told:
        Generation(small).prepare(data_of(task, [["A pub."]]), short)
    assert "raise task.max_length" in told.value.mend


def test_a_record_may_fill_the_half_that_reads_it(
    generation_task: GenerationTask, byte_tokenizer: PreTrainedTokenizerBase
) -> None:
    text = serialize(FIELDS, TEXT, generation_task)
    tokens = byte_tokenizer(text)["input_ids"]
    data = data_of(generation_task, [["A pub.", TEXT * 3]])
    fits = replace(generation_task, max_length=len(tokens))
    splits = TextToText(fits, 0).prepare(data, byte_tokenizer)
    assert splits.train["input_ids"][:] == [tokens, tokens]
    assert [len(labels) for labels in splits.train["labels"]] == [
        len(byte_tokenizer(" A pub.")["input_ids"]) + 1,
        len(tokens),
    ]
    assert splits.truncated["train"] == 1
    short = replace(generation_task, max_length=len(tokens) - 1)
    wrong = rf"its prompt of {len(tokens)} tokens is longer than {len(tokens) - 1}, which is task\.max_length"
    with pytest.raises(UserError, match=wrong):
        TextToText(short, 0).prepare(data, byte_tokenizer)


@pytest.mark.parametrize(
    ("config", "unlimited"),
    [(T5Config(decoder_start_token_id=0), True), (BartConfig(), False), (LlamaConfig(), False)],
    ids=["t5", "bart", "llama"],
)
def test_a_tokenizers_limit_is_that_of_positions(
    config: PreTrainedConfig,
    unlimited: bool,
    composed: Callable[..., Any],
    byte_tokenizer: PreTrainedTokenizerBase,
) -> None:
    """T5 has none: its tokenizer's limit is the length that it was pretrained at."""
    short = copy.deepcopy(byte_tokenizer)
    short.model_max_length = 20
    task = build_task(composed("task=e2e", "task.max_length=200"), config)
    data = data_of(task.config, [["A pub." * 10]])  # type: ignore[arg-type]
    if not unlimited:
        with pytest.raises(UserError, match="which is model_max_length"):
            task.prepare(data, short)
        return
    splits = task.prepare(data, short)
    assert len(splits.train["input_ids"][0]) > 20
    assert len(splits.train["labels"][0]) > 20
    assert splits.truncated["train"] == 0


def test_long_references_are_truncated_without_an_end(
    generation_task: GenerationTask, byte_tokenizer: PreTrainedTokenizerBase
) -> None:
    prompt = len(byte_tokenizer(serialize(FIELDS, TEXT, generation_task))["input_ids"]) + 1
    short = len(byte_tokenizer(" A")["input_ids"])
    task = replace(generation_task, max_length=prompt + 4)
    data = data_of(task, [["The Inn is a pub that serves Chinese food near the river.", "A"]])
    splits = Generation(task).prepare(data, byte_tokenizer)
    assert splits.truncated == {"train": 1, "validation": 0, "test": 0}
    assert [len(row) for row in splits.train["input_ids"]] == [prompt + 4, prompt + short + 1]
    assert splits.train[0]["labels"][-1] != byte_tokenizer.eos_token_id
    assert splits.train[1]["labels"][-1] == byte_tokenizer.eos_token_id


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("adapted", [False, True])
def test_label_smoothing_counts_the_reference_alone(
    kind: str,
    adapted: bool,
    generation_task: GenerationTask,
    byte_tokenizer: PreTrainedTokenizerBase,
    decoder: Callable[..., Any],
    tmp_path: Any,
) -> None:
    """(1 - e) cross-entropy + e (mean over the vocabulary), over the positions before each label."""
    from peft import LoraConfig, get_peft_model

    task = Generation(generation_task)
    splits = task.prepare(data_of(generation_task, [["A pub.", "The Inn is a dear pub."]]), byte_tokenizer)
    model = decoder(kind)
    if adapted:
        names = ["q_proj"] if kind == "llama" else ["c_proj"]
        model = get_peft_model(
            model, LoraConfig(target_modules=names, fan_in_fan_out=kind == "gpt2", task_type="CAUSAL_LM")
        )
    model.eval()
    arguments = TrainingArguments(str(tmp_path), use_cpu=True, report_to="none")
    trainer = MeteredTrainer(model, arguments, next_tokens=True, label_smoothing=0.1)
    batch = task.collator(byte_tokenizer)([splits.train[0], splits.train[1]])
    with torch.no_grad():
        loss = trainer.compute_loss(model, dict(batch))
        logs = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits.log_softmax(-1)
    parts = [
        0.9 * -logs[row, place - 1, label] + 0.1 * -logs[row, place - 1].mean()
        for row in range(2)
        for place, label in enumerate(batch["labels"][row].tolist())
        if label != -100
    ]
    torch.testing.assert_close(loss, torch.stack(parts).mean())
