"""Every method of conf/method, trained once on generated data with a tiny random BERT, and watched while it is."""

import runpy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from autolora_bench.config.choices import schema_of
from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.registry import MethodKind, methods
from autolora_bench.config.task import ClassificationTask
from autolora_bench.methods import finetuning
from autolora_bench.methods.base import PhaseContext
from autolora_bench.paths import conf_dir
from autolora_bench.record import RunRecord
from autolora_bench.runner import run_experiment

ENCODER_DECODER = Path(__file__).resolve().parents[2] / "scripts" / "tiny_encoder_decoder.py"
SMALL = [
    "train=reference",
    "task=sst2",
    "model=any",
    "data=generated",
    "data.limit=48",
    "data.limit_evaluation=16",
    "train.epochs=3",
    "train.batch_size=8",
    "train.warmup=0",
    "~recipe",
    "~cell",
    "device=cpu",
    "method.learning_rate=5e-3",
]
TEXTS = [
    "task=e2e",
    "task.metrics=[bleu]",
    "task.epoch_records=4",
    "task.decoding.beams=1",
    "task.decoding.max_new_tokens=6",
    "data.limit=8",
    "data.limit_evaluation=4",
    "method.learning_rate=5e-2",
]
"""For methods that work on language models alone."""
SEARCH = [
    "method.search.epochs=3",
    "method.search.batch_size=8",
    "method.search.learning_rate=5e-3",
    "method.search.selection_learning_rate=1e-2",
    "method.search.diagnose_steps=[]",
]
"""For methods that search."""
RANKS = "layer,projection,rank\n0,query,3\n0,value,0\n1,query,1\n1,value,2\n"
"""For methods that take ranks from a file: those of the tiny BERT's layers."""

STARTS_FROM = {"pissa": "weights", "olora": "weights", "cur": "weights", "lora_ga": "data", "corda": "data"}

ALIKE = {"stable_rank": "fim", "lora_gradient_ranks": "fim", "l1ra": "sora"}
"""Allocators that do as another but for their scores or gates, which are tested by themselves in
test_one_pass_allocators.py and test_trained_allocators.py."""

Compose = Callable[..., ExperimentConfig]


@cache
def implementation(method: str) -> tuple[str, str]:
    """What runs a method, and what the start of LoRA that it has is made from; test_variants.py has every start."""
    schema = methods()[str(schema_of("method", ALIKE.get(method, method), [conf_dir()]))]
    settings = OmegaConf.load(conf_dir() / "method" / f"{method}.yaml")
    start = str(OmegaConf.select(settings, "variant.start"))
    return str(schema.runs), STARTS_FROM.get(start, start)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the methods that share an implementation the first is tried among the quick tests, the others with -m slow."""
    first: dict[tuple[str, str, str], str] = {}
    for item in items:
        if item.get_closest_marker("every_method"):
            method = item.callspec.params["method"]  # type: ignore[attr-defined]
            test = item.nodeid.partition("[")[0]
            if first.setdefault((test, *implementation(method)), method) != method:
                item.add_marker(pytest.mark.slow)


@dataclass
class Trained:
    """A finished run, and what its last training did to the model."""

    experiment: ExperimentConfig
    folder: Path
    record: RunRecord
    model: Any = None
    before: dict[str, Tensor] = field(default_factory=dict)
    """Weights before the training that makes the final ones."""
    first_logits: Tensor | None = None
    batch: dict[str, Tensor] = field(default_factory=dict)

    @property
    def context(self) -> PhaseContext:
        """A fresh context of the run."""
        return PhaseContext(self.experiment, self.folder, torch.device("cpu"))

    @property
    def logits(self) -> Tensor:
        """The trained model's."""
        return self.logits_of(self.model)

    def logits_of(self, model: Any) -> Tensor:
        """(B, labels) on `batch`, without dropout; the model's mode is as before afterwards."""
        training = model.training
        model.eval()
        with torch.no_grad():
            found: Tensor = model(**{k: v for k, v in self.batch.items() if k != "labels"}).logits
        model.train(training)
        return found


@pytest.fixture(scope="session")
def tiny_encoder_decoder() -> Callable[..., Any]:
    """Kind and number of tokens -> a random two-layer model."""
    made: Callable[..., Any] = runpy.run_path(str(ENCODER_DECODER))["tiny_encoder_decoder"]
    return made


@pytest.fixture(scope="session")
def encoder_decoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Kind -> folder of a random two-layer T5 or BART that reads and writes bytes."""
    save = runpy.run_path(str(ENCODER_DECODER))["save_tiny_encoder_decoder"]
    return {kind: save(kind, tmp_path_factory.mktemp(kind)) for kind in ("bart", "t5")}


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def composed(tiny_encoder: Path, tiny_decoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Compose:
    """Method name, more overrides -> a small cell of it, with what its kind of method needs."""
    ranks = tmp_path_factory.mktemp("ranks") / "ranks.csv"
    ranks.write_text(RANKS, encoding="utf-8")

    @cache
    def stated(method: str) -> MethodKind:
        return methods()[str(schema_of("method", method, [conf_dir()]))]

    def needed(method: str) -> list[str]:
        settings = {one.name for one in fields(stated(method).config)}
        search = SEARCH if "search" in settings else []
        return [*search, f"method.source={ranks}"] if "source" in settings else search

    def classifies(method: str) -> bool:
        return ClassificationTask in stated(method).works_on.tasks

    def compose(method: str, *more: str) -> ExperimentConfig:
        with composer():
            base = tiny_encoder if classifies(method) else tiny_decoder
            words = [*SMALL, f"method={method}", f"model.checkpoint={base}", *needed(method)]
            words += [] if classifies(method) else TEXTS
            return to_experiment(compose_config([*words, *more]))

    return compose


@pytest.fixture(scope="session")
def trained(composed: Compose, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Trained]:
    """Method name, more overrides -> its run, made when first asked for."""

    @cache
    def run(method: str, *more: str) -> Trained:
        experiment = composed(method, *more)
        found = Trained(experiment, tmp_path_factory.mktemp(method), RunRecord(*[""] * 4, 0, "", {}, ""))  # type: ignore[arg-type]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(finetuning, "finetune", watched(finetuning.finetune, found))
            found.record = run_experiment(experiment, found.folder, "autolora-bench ...", None)
        assert found.record.error is None, found.record.error["traceback"]
        return found

    return run


def watched(finetune: Callable[..., Any], found: Trained) -> Callable[..., Any]:
    """`finetune` that also keeps what it was given and what it made of it."""

    def watch(model: Any, setup: Any) -> Any:
        split = setup.splits.train
        found.batch = setup.task.collator(setup.tokenizer)([split[i] for i in range(8)])
        found.first_logits = found.logits_of(model)
        found.before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
        outcome = finetune(model, setup)
        found.model = model
        return outcome

    return watch
