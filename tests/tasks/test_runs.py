"""Whole runs of tagging and generation: every method, from configuration to record."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.data.load import load_data
from autolora_bench.data.schema import tag_names
from autolora_bench.metrics.generation.webnlg import WebnlgProtocol, pad_references
from autolora_bench.record import RunRecord, Status
from autolora_bench.runner import run_experiment
from autolora_bench.scoring.score import score
from autolora_bench.training.method_hooks import MethodHooks
from autolora_bench.training.trainer import FinetuneTrainer

Compose = Callable[..., ExperimentConfig]
SMALL = [
    "model=any",
    "data.limit=12",
    "data.limit_evaluation=6",
    "train.epochs=1",
    "train.batch_size=8",
    "train.warmup=0",
    "train.label_smoothing=0.1",
    "device=cpu",
]
SHORT = [
    "task.decoding.max_new_tokens=8",
    "task.decoding.beams=2",
    "task.decoding.batch_size=4",
    "task.epoch_records=4",
]
SEARCH = ["method.search.diagnose_steps=[1]", "method.search.components=3", "method.search.batch_size=8"]
METHODS = ["full", "lora", "autolora", "adalora", "adapter"]
QUICK = {("gpt2", "lora"), ("gpt2", "autolora"), ("llama", "autolora"), ("llama", "adapter")}


def run(experiment: ExperimentConfig, folder: Path) -> RunRecord:
    record = run_experiment(experiment, folder, "autolora-bench ...", None)
    assert record.status is Status.completed, record.error and record.error["traceback"]
    return record


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        pytest.param(kind, method, marks=[] if (kind, method) in QUICK else pytest.mark.slow)
        for kind in ("gpt2", "llama")
        for method in METHODS
    ],
)
@pytest.mark.sample(keep=("llama-autolora",))
def test_data_to_text(
    kind: str, method: str, composed: Compose, decoder_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    words = ["task=e2e", "task.metrics=[bleu,nist]", f"method={method}", *SMALL, *SHORT]
    words += [f"model.checkpoint={decoder_folder(kind)}", *(SEARCH if method == "autolora" else [])]
    record = run(composed(*words), tmp_path)
    assert set(record.test["test"].scores) == {"bleu", "nist"}
    assert record.test["test"].note is None
    assert record.test["test"].examples == 6
    assert record.best["validation"].note == "after an epoch: 4 of 6 records"
    assert record.data["splits"] == {"train": 36, "validation": 6, "test": 6}
    assert record.data["truncated"] == {"train": 0, "validation": 0, "test": 0}
    assert any(note.startswith("texts: raw") for note in record.data["notes"])
    assert set(record.phase("evaluate").details["validation"]) == {"bleu", "nist"}  # type: ignore[union-attr]
    lines = [json.loads(line) for line in (tmp_path / "evaluate/test.jsonl").read_text("utf-8").splitlines()]
    assert len(lines) == 6
    assert all(set(line) == {"record", "output"} for line in lines)
    assert sorted(path.name for path in (tmp_path / "evaluate").iterdir()) == [
        "test.examples.jsonl",
        "test.jsonl",
        "validation.examples.jsonl",
        "validation.jsonl",
    ]
    if method in ("lora", "autolora"):
        projections = ["query", "value"] if kind == "gpt2" else ["q_proj", "v_proj"]
        found = [(layer.block, layer.projection) for layer in record.ranks]
        assert found == [(block, projection) for block in (0, 1) for projection in projections]


def test_webnlg_is_scored_for_seen_and_unseen_categories(
    composed: Compose, decoder_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    words = [
        "task=webnlg",
        "task.metrics=[bleu,ter]",
        "method=lora",
        *SMALL,
        *SHORT,
        "data.limit_evaluation=12",
    ]
    experiment = composed(*words, f"model.checkpoint={decoder_folder('llama')}")
    record = run(experiment, tmp_path)
    names = {f"{metric}{part}" for metric in ("bleu", "ter") for part in ("", "/seen", "/unseen")}
    assert set(record.test["test"].scores) == names
    split = load_data(experiment.task, experiment.data).splits["test"]
    (tmp_path / "categories").write_text("".join(f"{name}\n" for name in split["category"]))
    (tmp_path / "references").mkdir()
    padded = [pad_references(texts, WebnlgProtocol.GENERATION_EVAL) for texts in split["references"]]
    for number, column in enumerate(zip(*padded, strict=True)):
        text = "".join(f"{reference}\n" for reference in column)
        (tmp_path / "references" / f"reference{number}").write_text(text, encoding="utf-8")
    files = {"predictions": "evaluate/test.jsonl", "references": "references", "categories": "categories"}
    places = {name: str(tmp_path / file) for name, file in files.items()}
    assert score({"task": "webnlg", "metrics": "bleu,ter", **places})["scores"] == record.test["test"].scores


@pytest.mark.parametrize(
    ("words", "names", "higher"),
    [
        (["task=bionlp", "task.metrics=[f1/protein]"], {"f1", "f1/protein", "recall/DNA"}, True),
        (["task=webnlg", "task.metrics=[ter/unseen]", *SHORT, "data.limit_evaluation=12"],
         {"ter", "ter/seen", "ter/unseen"}, False),
    ],
)  # fmt: skip
@pytest.mark.sample(keep=("words1",))
def test_a_part_may_be_what_counts(
    words: list[str],
    names: set[str],
    higher: bool,
    composed: Compose,
    tiny_encoder: Path,
    tiny_decoder: Path,
    tmp_path: Path,
) -> None:
    model = tiny_encoder if words[0] == "task=bionlp" else tiny_decoder
    experiment = composed(*SMALL, "train.label_smoothing=0", *words, "method=bitfit" if higher else "method=lora",
                          f"model.checkpoint={model}")  # fmt: skip
    record = run(experiment, tmp_path)
    assert names <= set(record.test["test"].scores)
    assert record.metrics == {record.headline: higher}


def test_where_nothing_is_of_the_part_that_counts_the_whole_chooses_the_epoch(
    composed: Compose, tiny_decoder: Path, tmp_path: Path
) -> None:
    """WebNLG's validation holds seen categories alone."""
    words = ["task=webnlg", "task.metrics=[bleu/unseen]", *SHORT, "data.limit_evaluation=12", "method=lora"]
    record = run(composed(*SMALL, *words, f"model.checkpoint={tiny_decoder}"), tmp_path)
    (evaluation,) = record.history
    assert set(evaluation.scores) == {"bleu", "bleu/seen"}
    assert "no bleu/unseen here: bleu chooses the best epoch" in str(evaluation.note)
    trainer = SimpleNamespace(hooks=MethodHooks(), headline="bleu/unseen", higher_is_better=True)
    better = replace(evaluation, scores={"bleu": 0.5})
    assert FinetuneTrainer.merit(trainer, better) > FinetuneTrainer.merit(trainer, evaluation)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["lora", "autolora"])
@pytest.mark.sample(keep=("autolora",))
def test_named_entities(method: str, composed: Compose, tiny_encoder: Path, tmp_path: Path) -> None:
    words = ["task=bionlp", "task.max_length=12", "task.stride=2", f"method={method}", *SMALL]
    words += [f"model.checkpoint={tiny_encoder}", *(SEARCH if method == "autolora" else [])]
    record = run(composed(*words), tmp_path)
    assert {"f1", "precision", "recall", "f1/DNA", "recall/protein"} <= set(record.test["test"].scores)
    assert any("read in windows" in note for note in record.data["notes"])
    assert len(record.ranks) == 4
    tags = [json.loads(line) for line in (tmp_path / "evaluate/test.jsonl").read_text("utf-8").splitlines()]
    assert len(tags) == 6
    assert all(isinstance(tag, str) for sentence in tags for tag in sentence)


def labels(split: Any, task: Any) -> str:
    names = getattr(task, "labels", None)
    return "".join(f"{names[label] if names else label}\n" for label in split["label"])


def iob2(split: Any, task: Any) -> str:
    sentences = [
        zip(tokens, tags, strict=True) for tokens, tags in zip(split["tokens"], split["tags"], strict=True)
    ]
    names = tag_names(task)
    return "\n".join("".join(f"{word}\t{names[tag]}\n" for word, tag in pairs) for pairs in sentences)


def groups(split: Any, task: Any) -> str:
    return "\n\n".join("\n".join(references) for references in split["references"])


@pytest.mark.parametrize(
    ("task", "write", "words"),
    [
        ("mrpc", labels, []),
        ("stsb", labels, ["train.label_smoothing=0"]),
        ("bionlp", iob2, ["task.max_length=12", "task.stride=2"]),
        ("e2e", groups, ["task.metrics=[bleu,nist]", *SHORT]),
    ],
)
@pytest.mark.sample(keep=("e2e",))
def test_a_runs_predictions_score_as_its_record_says(
    task: str,
    write: Callable[[Any, Any], str],
    words: list[str],
    composed: Compose,
    tiny_encoder: Path,
    decoder_folder: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    folder = decoder_folder("llama") if task == "e2e" else tiny_encoder
    experiment = composed(f"task={task}", "method=lora", *SMALL, *words, f"model.checkpoint={folder}")
    record = run(experiment, tmp_path)
    wanted = {"validation": record.phase("evaluate").details["validation"]}  # type: ignore[union-attr]
    wanted |= {split: evaluation.scores for split, evaluation in record.test.items()}
    data = load_data(experiment.task, experiment.data)
    for split, scores in wanted.items():
        (tmp_path / "references").write_text(write(data.splits[split], experiment.task), encoding="utf-8")
        arguments = {"predictions": str(tmp_path / "evaluate" / f"{split}.jsonl")}
        arguments |= {"metrics": ",".join(experiment.task.metrics)} if task != "bionlp" else {}
        found = score({"task": task, "references": str(tmp_path / "references"), **arguments})
        assert found["scores"] == scores
        assert found["n"] == len(data.splits[split])


def test_a_prompt_without_room_fails_the_run_with_a_reason(
    composed: Compose, decoder_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    words: list[Any] = ["task=e2e", "method=lora", "task.max_length=10", *SMALL, *SHORT]
    experiment = composed(*words, f"model.checkpoint={decoder_folder('gpt2')}")
    record = run_experiment(experiment, tmp_path, "autolora-bench ...", None)
    assert record.status is Status.failed
    assert record.error is not None
    assert "leaves no room" in record.error["message"]
    assert "task.max_length" in record.error["mend"]


@pytest.mark.parametrize(
    ("most", "words", "what"),
    [
        (24, ["task.max_length=512"], r"train: its longest example has \d+ tokens; they do not fit into"),
        (
            100,
            ["task.decoding.max_new_tokens=95"],
            r"validation: .* tokens; with 95 to be generated they do not",
        ),
    ],
)
def test_a_model_with_too_few_positions_is_refused_before_training(
    most: int,
    words: list[str],
    what: str,
    composed: Compose,
    short_decoder: Callable[[int], Path],
    tmp_path: Path,
) -> None:
    base = f"model.checkpoint={short_decoder(most)}"
    experiment = composed("task=e2e", "method=lora", *SMALL, *SHORT, *words, base)
    record = run_experiment(experiment, tmp_path, "autolora-bench ...", None)
    assert record.error is not None
    assert re.search(what, record.error["message"])
    assert f"the model's {most} positions" in record.error["message"]
    assert "task.decoding.max_new_tokens" in record.error["mend"]
    assert not record.history
