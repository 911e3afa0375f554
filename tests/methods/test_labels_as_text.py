"""Encoder-decoders answer sentence tasks in words: the loss and the scores are those of plain transformers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import PeftModel
from scipy.stats import spearmanr
from torch.nn import functional
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from autolora_bench.config.label_texts import answers, nearest_answer, question
from autolora_bench.config.task import IGNORED, ClassificationTask, RegressionTask
from autolora_bench.data.schema import TaskData
from autolora_bench.errors import UserError
from autolora_bench.methods.base import build_method
from autolora_bench.speedups import packed
from autolora_bench.speedups.packed import packed_linears
from autolora_bench.tasks.base import EvaluationContext
from autolora_bench.tasks.labels_as_text import ClassificationAsText

STSB = RegressionTask(name="stsb")
KINDS = ["t5", "bart"]
TASKS = {"t5": "sst2", "bart": "stsb"}
METHODS = ["lora", "autolora", "adalora", "full", "ia3", "prefix_tuning", "prompt_tuning", "p_tuning"]
PROMPTS = METHODS[-3:]
QUICK = {("t5", "autolora"), ("bart", "lora")}
WORDS = ["train.epochs=1", "data.limit=16", "data.limit_evaluation=6", "train.batch_size=4"]
SEARCH = ["method.search.epochs=1", "method.search.batch_size=4"]


@pytest.fixture(scope="session")
def run_of(trained: Callable[..., Any], encoder_decoders: dict[str, Path]) -> Callable[..., Any]:
    def find(kind: str, method: str, *more: str) -> Any:
        search = SEARCH if method == "autolora" else []
        model = f"model.checkpoint={encoder_decoders[kind]}"
        return trained(method, model, f"task={TASKS[kind]}", *WORDS, *search, *more)

    return find


def test_what_is_read_and_what_may_be_answered() -> None:
    """T5's own forms (appendix D), and its steps of .2 (section 2.4)."""
    cola = ClassificationTask(name="cola", labels=["unacceptable", "acceptable"], texts=["sentence"])
    assert question(cola, ["John made Bill."]) == "cola sentence: John made Bill."
    assert question(STSB, ["A.", "B."]) == "stsb sentence1: A. sentence2: B."
    assert answers(cola) == ["unacceptable", "acceptable"]
    steps = answers(STSB)
    assert steps[:3] == ["0.0", "0.2", "0.4"]
    assert steps[-1] == "5.0"
    assert len(steps) == 26
    for value in (0.0, 0.3, 1.1, 2.5, 2.57, 3.25, 3.5, 4.917, 5.0):
        assert steps[nearest_answer(STSB, value)] == f"{round(value * 5) / 5:.1f}"
    for minimum, maximum in ((0.0, 1.0), (-3.0, 1000.0), (0.0, 1e-4)):
        task = RegressionTask(name="own", minimum=minimum, maximum=maximum)
        assert len({*answers(task)}) == 26
        for place, text in enumerate(answers(task)):
            assert nearest_answer(task, float(text)) == place


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        pytest.param(kind, method, marks=[] if (kind, method) in QUICK else pytest.mark.slow)
        for kind in KINDS
        for method in METHODS
    ],
)
@pytest.mark.sample(keep=("bart",))
def test_trained_resumed_exported_and_scored_as_by_hand(
    kind: str,
    method: str,
    run_of: Callable[..., Any],
    encoder_decoders: dict[str, Path],
    tmp_path: Path,
    interrupt_every_training_once: Any,
    resumed: Any,
) -> None:
    run = run_of(kind, method)
    rebuilt = build_method(run.experiment.method).rebuild(run.context)
    torch.testing.assert_close(run.logits_of(rebuilt), run.logits, rtol=0, atol=0)
    phase = "retrain" if method == "autolora" else "finetune"
    export = run.folder / phase / "export"
    base = export if method == "full" else encoder_decoders[kind]
    theirs: Any = AutoModelForSeq2SeqLM.from_pretrained(base)
    if method != "full":
        theirs = PeftModel.from_pretrained(theirs, export)
    torch.testing.assert_close(run.logits_of(theirs), run.logits, rtol=1e-5, atol=1e-6)
    card = (export / "README.md").read_text()
    assert f"It reads `{TASKS[kind]} sentence" in card
    plain = theirs if method in ("full", *PROMPTS) else theirs.get_base_model()
    compare_scores(plain.eval(), AutoTokenizer.from_pretrained(export), run)

    interrupt_every_training_once(step=2)
    resumed(run.experiment, tmp_path)
    weights = f"{phase}/weights.safetensors"
    assert (tmp_path / weights).read_bytes() == (run.folder / weights).read_bytes()
    for path in (tmp_path / "evaluate").glob("*.jsonl"):
        assert path.read_bytes() == (run.folder / "evaluate" / path.name).read_bytes()


def test_kernels_do_not_multiply_by_weights_from_before_the_adapter(
    run_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adapters are merged to be scored: what was packed for the training are the pretrained weights."""
    monkeypatch.setattr(packed, "SMALLEST", 1)
    run = run_of("bart", "lora")
    model = build_method(run.experiment.method).rebuild(run.context)
    context = run.context
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    setup = EvaluationContext(context.tokenizer, torch.device("cpu"), 4)
    split = context.splits.held_out["validation"]
    expected = context.task.outputs(model, split, setup)
    with packed_linears(model, only_frozen=True):
        found = context.task.outputs(model, split, setup)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def compare_scores(model: Any, tokenizer: Any, run: Any) -> None:
    """Each label's likelihood from the logits that the plain model gives for its tokens as labels."""
    task = run.experiment.task
    lines = (run.folder / "evaluate" / "validation.examples.jsonl").read_text().splitlines()
    texts = answers(task)
    written = tokenizer(texts, return_tensors="pt", padding=True)
    labels = written["input_ids"].masked_fill(written["attention_mask"] == 0, IGNORED)
    gold, found = [], []
    for line in map(json.loads, lines):
        asked = question(task, [line[name] for name in task.texts])
        read = tokenizer(asked, return_tensors="pt", truncation=True, max_length=task.max_length)["input_ids"]
        with torch.no_grad():
            logits = model(input_ids=read.expand(len(texts), -1), labels=labels).logits
        losses = functional.cross_entropy(
            logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none"
        )
        scores = (-losses.sum(1)).softmax(0)
        best = int(scores.argmax())
        predicted = line["prediction"]
        assert predicted == (texts[best] if isinstance(task, ClassificationTask) else float(texts[best]))
        assert line["probability"] == pytest.approx(float(scores[best]), abs=2e-4)
        gold.append(line["gold"])
        found.append(predicted)
    record = run.record.best["validation"].scores
    if isinstance(task, ClassificationTask):
        assert record["accuracy"] == sum(a == b for a, b in zip(gold, found, strict=True)) / len(gold)
    else:
        expected = None if len(set(found)) == 1 else pytest.approx(spearmanr(gold, found).statistic)
        assert record["spearman"] == expected


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_that_of_a_plain_loop(kind: str, run_of: Callable[..., Any]) -> None:
    """The batch from the texts alone, with transformers' own labels: the same loss and the same gradient."""
    run = run_of(kind, "lora")
    task, context = run.experiment.task, run.context
    tokenizer = context.tokenizer
    rows = [context.data.splits["train"][place] for place in range(8)]
    read = [question(task, [row[name] for name in task.texts]) for row in rows]
    if isinstance(task, ClassificationTask):
        written = [task.labels[row["label"]] for row in rows]
    else:
        written = [f"{round(row['label'] * 5) / 5:.1f}" for row in rows]
    cut = {"truncation": True, "max_length": task.max_length}
    plain = tokenizer(read, padding=True, return_tensors="pt", **cut)
    labels = tokenizer(written, padding=True, return_tensors="pt")
    labels = labels["input_ids"].masked_fill(labels["attention_mask"] == 0, IGNORED)
    model = run.model.eval()
    losses = [
        model(input_ids=plain["input_ids"], attention_mask=plain["attention_mask"], labels=labels).loss,
        model(**run.batch).loss,
    ]
    weight = next(weight for weight in model.parameters() if weight.requires_grad)
    gradients = [torch.autograd.grad(loss, weight)[0] for loss in losses]
    torch.testing.assert_close(losses[1], losses[0])
    torch.testing.assert_close(gradients[1], gradients[0])


def test_labels_that_the_tokenizer_cannot_tell_apart_are_refused(encoder_decoders: dict[str, Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(encoder_decoders["t5"])
    task = ClassificationTask(name="own", labels=["yes", "yes"], texts=["text"])
    with pytest.raises(UserError, match="are the same tokens"):
        ClassificationAsText(task, 0).targets(tokenizer)
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="no end-of-text token"):
        ClassificationAsText(task, 0).targets(tokenizer)


def test_any_number_of_texts_is_asked_and_one_token_of_them_at_least(
    encoder_decoders: dict[str, Path],
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(encoder_decoders["t5"])
    rows = {name: [f"text {name}"] for name in "abc"}
    data = TaskData({"train": Dataset.from_dict({**rows, "label": [1]})}, "fingerprint", "here", [])
    task = ClassificationTask(name="own", labels=["yes", "no"], texts=[*"abc"])
    read = ClassificationAsText(task, 0).prepare(data, tokenizer).train[0]["input_ids"]
    assert read == tokenizer("own a: text a b: text b c: text c")["input_ids"]
    task.max_length = len(tokenizer("")["input_ids"])
    with pytest.raises(UserError, match="leaves no room for a token"):
        ClassificationAsText(task, 0).prepare(data, tokenizer)


@pytest.mark.slow
def test_micro_batches_add_up(run_of: Callable[..., Any]) -> None:
    """Texts of labels differ in length: the whole batch's mean loss weighs tokens, not micro-batches."""
    words = ["method.dropout=0", "train.max_steps=2"]
    whole, parts = (run_of("bart", "lora", *words, f"train.accumulation={n}") for n in (1, 2))
    for name, weight in whole.model.named_parameters():
        if weight.requires_grad:
            torch.testing.assert_close(
                dict(parts.model.named_parameters())[name], weight, rtol=1e-2, atol=1e-4
            )
