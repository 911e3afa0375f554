"""Every method on every kind of model, task and checkpoint: its losses by their closed forms, and the head it trains.

Nothing is trained: a run's phases are made as ever, and where a training would begin its trainer is asked for losses.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

from autolora_bench.config.choices import schema_of
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.registry import methods
from autolora_bench.config.support import UnsupportedError, check_support
from autolora_bench.config.task import ClassificationTask, GenerationTask, TaggingTask
from autolora_bench.data.load import load_data
from autolora_bench.data.schema import tag_names
from autolora_bench.methods import base, search_training
from autolora_bench.methods.base import PhaseContext, build_method, count_parameters
from autolora_bench.models.head import head_of
from autolora_bench.paths import conf_dir
from autolora_bench.search import SearchTrainer
from autolora_bench.training import finetune
from autolora_bench.training.checkpoints import train_or_resume

ENCODERS, DECODERS = ("bert", "roberta"), ("gpt2", "llama")
ARCHITECTURES = ("bert", "gpt2", "roberta", "llama")
TASKS = {"sst2": ClassificationTask, "bionlp": TaggingTask, "e2e": GenerationTask}


def tasks_of(method: str) -> set[Any]:
    """Kinds of task that a method works on."""
    return set(methods()[str(schema_of("method", method, [conf_dir()]))].works_on.tasks)


METHODS = [
    name
    for name in sorted(path.stem for path in (conf_dir() / "method").glob("*.yaml"))
    if tasks_of(name) & set(TASKS.values()) and name != "peft"
]
"""Types of PEFT are in test_peft_types.py."""
HEADS = ("absent", "present", "other size")
D, ROWS = 16, 6
SIZES = {"hidden_size": D, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
UNDROPPED = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
ENDS = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 0)
OTHER_CLASSES = {0: "contradiction", 1: "neutral", 2: "entailment"}
SHORT = ["data.limit=16", "data.limit_evaluation=4", "train.batch_size=4", "train.epochs=5"]
HEAD_WEIGHTS: dict[str, Callable[[int], int]] = {
    "bert": lambda labels: (D + 1) * labels,
    "roberta": lambda labels: (D + 1) * D + (D + 1) * labels,
    "gpt2": lambda labels: D * labels,
    "llama": lambda labels: D * labels,
}
"""Of sequence heads; those of taggers are one layer with biases on all four."""


def quick(method: str, architecture: str) -> bool:
    """One architecture for every method, each in turn; all for the methods of virtual tokens."""
    turn = METHODS.index(method) % len(ARCHITECTURES)
    return architecture == ARCHITECTURES[turn] or method in ("prefix_tuning", "prompt_tuning", "p_tuning")


CASES = [
    pytest.param(*case, marks=[] if quick(*case) else pytest.mark.slow)
    for case in product(METHODS, ARCHITECTURES)
]


class ReachedError(Exception):
    """The last training would begin."""


@dataclass
class Seen:
    """What a trainer computes before its first step."""

    loss: float
    of_parts: float
    """Sum over the batch's two halves, as of two micro-batches of one optimizer step."""
    expected: Callable[[float], float]
    """Label smoothing -> the loss by its closed form."""
    trainable: int
    head: int
    drawn: dict[str, Tensor]
    """The head's weights."""


def save_words(folder: Path, words: list[str], roberta: bool) -> int:
    """A tokenizer of whole words in the manner of BERT or RoBERTa; returns how many it knows."""
    marks = ["<s>", "<pad>", "</s>", "<unk>"] if roberta else ["[CLS]", "[PAD]", "[SEP]", "[UNK]"]
    vocabulary = {word: number for number, word in enumerate([*marks, *words])}
    first, last, unknown = marks[0], marks[2], marks[3]
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        f"{first} $A {last}", special_tokens=[(first, 0), (last, 2)]
    )
    names = dict(zip(("cls_token", "pad_token", "sep_token", "unk_token"), marks, strict=True))
    inputs = ["input_ids", "attention_mask", *([] if roberta else ["token_type_ids"])]
    PreTrainedTokenizerFast(tokenizer_object=backend, model_input_names=inputs, **names).save_pretrained(
        folder
    )
    return len(vocabulary)


@pytest.fixture(scope="session")
def words(composed: Any) -> list[str]:
    """Every word of the tasks for encoders."""
    found: set[str] = set()
    for task, column in (("sst2", "sentence"), ("bionlp", "tokens")):
        experiment = composed("full", f"task={task}", *SHORT)
        for split in load_data(experiment.task, experiment.data).splits.values():
            for row in split[column]:
                found.update(word.lower() for word in (row.split() if isinstance(row, str) else row))
    return sorted(found)


@pytest.fixture(scope="session")
def plain(
    words: list[str], tiny_decoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Architecture -> folder of a random model without a task's head, and its tokenizer."""
    letters = AutoTokenizer.from_pretrained(tiny_decoder)

    @cache
    def save(architecture: str) -> Path:
        folder = tmp_path_factory.mktemp(architecture)
        torch.manual_seed(0)
        if architecture in ENCODERS:
            size = save_words(folder, words, architecture == "roberta")
            kinds = {"bert": (BertConfig, BertModel), "roberta": (RobertaConfig, RobertaModel)}
            config, model = kinds[architecture]
            more = {"max_position_embeddings": 274, "pad_token_id": 1, **SIZES, **UNDROPPED}
            model(config(vocab_size=size, **more)).save_pretrained(folder)
        else:
            letters.save_pretrained(folder)
            sizes = {"n_embd": D, "n_layer": 2, "n_head": 2, "n_positions": 640}
            sizes |= dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop", "classifier_dropout"), 0.0)
            if architecture == "gpt2":
                model = GPT2LMHeadModel(GPT2Config(vocab_size=len(letters), **sizes, **ENDS))
            else:
                more = {"max_position_embeddings": 640, **SIZES, **ENDS}
                model = LlamaForCausalLM(LlamaConfig(vocab_size=len(letters), **more))
            model.save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="session")
def checkpoint(plain: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Architecture, head, names of the task's classes, whether they are tags -> folder of a model with such a head."""

    @cache
    def save(architecture: str, head: str, labels: tuple[str, ...], tags: bool) -> Path:
        if head == "absent" or not labels:
            return plain(architecture)
        folder = tmp_path_factory.mktemp("head")
        kind = AutoModelForTokenClassification if tags else AutoModelForSequenceClassification
        names = dict(enumerate(reversed(labels))) if head == "present" else OTHER_CLASSES
        torch.manual_seed(1)
        model = kind.from_pretrained(plain(architecture), id2label=names)
        for name in head_of(model):
            for weights in model.get_submodule(name).parameters():
                torch.nn.init.normal_(weights)
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(plain(architecture)).save_pretrained(folder)
        return folder

    return save


def classes(experiment: ExperimentConfig) -> tuple[str, ...]:
    task = experiment.task
    if isinstance(task, ClassificationTask):
        return tuple(task.labels)
    return tuple(tag_names(task)) if isinstance(task, TaggingTask) else ()


@pytest.fixture(scope="session")
def cell(composed: Any, plain: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Method, architecture, task -> its configuration; none where there is no such run."""
    llama = tmp_path_factory.mktemp("ranks") / "ranks.csv"
    llama.write_text("layer,projection,rank\n0,q_proj,3\n0,v_proj,0\n1,q_proj,1\n1,v_proj,2\n")

    @cache
    def compose(method: str, task: str) -> ExperimentConfig:
        words = [f"task={task}", *(["task.metrics=[bleu]"] if task == "e2e" else []), *SHORT]
        found: ExperimentConfig = composed(method, *words)
        return found

    @cache
    def on_llama(method: str, task: str) -> ExperimentConfig:
        found: ExperimentConfig = composed(method, f"task={task}", *SHORT, f"method.source={llama}")
        return found

    def find(method: str, architecture: str, task: str) -> ExperimentConfig | None:
        if TASKS[task] not in tasks_of(method) or (task == "e2e" and architecture not in DECODERS):
            return None
        try:
            found = compose(method, task)
            if architecture == "llama" and getattr(found.method, "ranks", None):
                found = on_llama(method, task)
            check_support(found.method, found.task, architecture)
        except UnsupportedError:
            return None
        return found

    return find


@pytest.fixture(scope="session")
def seen(checkpoint: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Seen]]:
    """A configuration, architecture and head -> what each of the method's trainers computes, the search's first."""
    prepared: dict[tuple[str, str], PhaseContext] = {}

    def look(experiment: ExperimentConfig, architecture: str, head: str, smoothing: float) -> list[Seen]:
        labels = classes(experiment)
        folder = checkpoint(architecture, head, labels, isinstance(experiment.task, TaggingTask))
        experiment = replace(
            experiment,
            model=replace(experiment.model, checkpoint=str(folder)),
            train=replace(experiment.train, label_smoothing=smoothing),
        )
        context = PhaseContext(experiment, tmp_path_factory.mktemp("run"), torch.device("cpu"))
        shared = prepared.setdefault((architecture, experiment.task.name), context)
        context.data, context.tokenizer, context.splits = shared.data, shared.tokenizer, shared.splits
        return watched(context)

    return look


def watched(context: PhaseContext) -> list[Seen]:
    """The trainers of a run's phases, none of which takes a step."""
    found: list[Seen] = []
    backbones: list[Any] = []
    load = base.load_backbone

    def loaded(*arguments: Any) -> Any:
        backbones.append(load(*arguments))
        return backbones[-1]

    def measured(trainer: Any, identity: str) -> Any:
        found.append(measure(trainer, backbones[-1], context))
        if not isinstance(trainer, SearchTrainer):
            raise ReachedError
        with torch.no_grad():
            trainer.selection.beta.add_(
                torch.arange(trainer.selection.beta.numel()).view_as(trainer.selection.beta)
            )
        return SimpleNamespace(global_step=1)

    def searched(trainer: Any, identity: str) -> Any:
        return (measured if isinstance(trainer, SearchTrainer) else train_or_resume)(trainer, identity)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "load_backbone", loaded)
        patch.setattr(finetune, "train_or_resume", measured)
        patch.setattr(search_training, "train_or_resume", searched)
        with suppress(ReachedError):
            for phase in build_method(context.experiment.method).phases():
                phase.run(context)
    return found


def measure(trainer: Any, backbone: Any, context: PhaseContext) -> Seen:
    """Losses on the first training examples. Padding is left out in training alone; these models drop nothing."""
    rows = [context.splits.train[row] for row in range(ROWS)]
    collate = context.task.collator(context.tokenizer)
    batch, parts = collate(rows), [collate(rows[:1]), collate(rows[1:])]
    model = trainer.model.train(context.train.padding_free is True)
    items = trainer._get_num_items_in_batch(parts, torch.device("cpu"))
    trainer.current_gradient_accumulation_steps = len(parts)
    hooks = getattr(trainer, "hooks", None)
    penalty = hooks.penalty() if hooks else None
    with torch.no_grad():
        loss = trainer.compute_loss(model, dict(batch))
        of_parts = sum(trainer.compute_loss(model, dict(part), num_items_in_batch=items) for part in parts)
        logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits
        added = 0.0 if penalty is None else float(penalty)
    counted = count_parameters(0, model, backbone.head_modules)
    drawn = {name: w.detach().clone() for name, w in backbone.model.named_parameters()}
    in_head = {
        name: weight
        for name, weight in drawn.items()
        if any(f".{module}." in f".{name}" for module in backbone.head_modules)
        and "original_module" not in name
    }
    expected = closed_form(logits, batch["labels"], isinstance(context.experiment.task, GenerationTask))
    return Seen(
        float(loss) - added, float(of_parts) - added, expected, counted.trainable, counted.head, in_head
    )


def closed_form(logits: Tensor, labels: Tensor, texts: bool) -> Callable[[float], float]:
    """(1 - e) x cross-entropy + e x mean of -log p over the classes, mean over the labels; a text's label is the next
    token."""
    logs = logits.double().log_softmax(-1)
    if labels.dim() == 1:
        pairs = [(logs[row], int(label)) for row, label in enumerate(labels)]
    else:
        pairs = [
            (logs[row, place - int(texts)], label)
            for row in range(len(labels))
            for place, label in enumerate(labels[row].tolist())
            if label != -100
        ]

    def loss(smoothing: float) -> float:
        of_each = [-(1 - smoothing) * p[label] - smoothing * p.mean() for p, label in pairs]
        return float(torch.stack(of_each).mean())

    return loss


def assert_losses(found: list[Seen], smoothing: float, task: str) -> None:
    """Of every trainer, in one pass and as the sum of two micro-batches of an optimizer step."""
    for trainer in found:
        assert trainer.loss == pytest.approx(trainer.expected(smoothing), rel=1e-5), (task, smoothing)
        assert trainer.of_parts == pytest.approx(trainer.loss, rel=1e-5), (task, smoothing)


LED = ("gora", "lora_balanced")
"""Their last training begins where the smoothed loss led: its losses at two smoothings are of two models."""


@pytest.mark.every_method
@pytest.mark.parametrize(("method", "architecture"), CASES)
@pytest.mark.sample(keep=("autolora",))
def test_losses_are_smoothed_by_the_closed_form(method: str, architecture: str, cell: Any, seen: Any) -> None:
    """The loss is linear in the smoothing, whatever puts out the logits."""
    for task in TASKS:
        experiment = cell(method, architecture, task)
        if experiment is None:
            continue
        hardly, really = (seen(experiment, architecture, "absent", smoothing) for smoothing in (1e-6, 0.1))
        assert_losses(hardly, 1e-6, task)
        assert_losses(really, 0.1, task)
        if method not in LED:
            assert hardly[-1].loss == pytest.approx(really[-1].expected(0.0), rel=1e-5)


@pytest.mark.every_method
@pytest.mark.parametrize(("method", "architecture"), CASES)
@pytest.mark.sample(keep=("full",))
def test_every_head_is_trained_and_counted(method: str, architecture: str, cell: Any, seen: Any) -> None:
    """As many weights whether the checkpoint has a head or not; one of other classes is as if there were none."""
    for task in TASKS:
        experiment = cell(method, architecture, task)
        if experiment is None:
            continue
        found = [seen(experiment, architecture, head, 0.0) for head in HEADS[: 1 if task == "e2e" else None]]
        for trainers in found:
            assert_losses(trainers, 0.0, task)
        labels = len(classes(experiment))
        weights = HEAD_WEIGHTS[architecture](labels) if task == "sst2" else (D + 1) * labels
        absent = found[0][-1]
        for trainers in found:
            assert all(trainer.head == weights for trainer in trainers)
            assert trainers[-1].trainable == absent.trainable >= weights
        for name, drawn in absent.drawn.items():
            assert not torch.equal(drawn, found[1][-1].drawn[name])
            assert torch.equal(drawn, found[2][-1].drawn[name])


@pytest.mark.parametrize("method", ["full", "prompt_tuning", "p_tuning"])
@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
@pytest.mark.sample(keep=("bert-full", "gpt2-p_tuning"))
def test_so_they_are_without_padding(method: str, architecture: str, cell: Any, seen: Any) -> None:
    for task, smoothing in product(TASKS, (0.0, 0.1)):
        experiment = cell(method, architecture, task)
        if experiment is not None:
            experiment = replace(experiment, train=replace(experiment.train, padding_free=True))
            assert_losses(seen(experiment, architecture, "absent", smoothing), smoothing, task)
