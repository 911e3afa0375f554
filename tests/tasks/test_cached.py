"""Tokenising is done once: what a tokenizer was used for before does not matter, what changes its ids does."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import transformers
from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.task import ClassificationTask, RegressionTask
from autolora_bench.data.load import load_data
from autolora_bench.data.schema import TaskData
from autolora_bench.tasks import encode_words, labels_as_text
from autolora_bench.tasks.encode import tokenizer_fingerprint
from autolora_bench.tasks.labels_as_text import ClassificationAsText, RegressionAsText
from autolora_bench.tasks.table import build_task

Compose = Callable[..., ExperimentConfig]
TASKS = {
    "pairs": ["task=mnli", "task.max_length=8"],
    "texts": ["task=sst2", "task.max_length=6"],
    "words": ["task=bionlp", "task.max_length=8", "task.stride=2"],
    "records": ["task=e2e"],
}


def loaded(folder: Path) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    return tokenizer


@pytest.mark.parametrize("kind", TASKS)
def test_a_second_run_tokenises_nothing(
    kind: str,
    composed: Compose,
    tiny_encoder: Path,
    tiny_decoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path))
    experiment = composed(*TASKS[kind], "data.limit=16", "data.limit_evaluation=8")
    task, data = build_task(experiment), load_data(experiment.task, experiment.data)
    folder = tiny_decoder if kind == "records" else tiny_encoder
    first = task.prepare(data, loaded(folder))
    entries = sorted((tmp_path / "datasets").iterdir())
    assert len(entries) == len(data.splits)
    used = loaded(folder)
    if used.pad_token is None:
        used.pad_token = used.eos_token
    used(["a b c"], truncation=True, max_length=3)
    used(["a b c", "a"], padding=True)
    for tokenizer in (used, loaded(folder)):
        second = task.prepare(data, tokenizer)
        assert second.train[:] == first.train[:]
        assert {name: split[:] for name, split in second.held_out.items()} == {
            name: split[:] for name, split in first.held_out.items()
        }
    assert sorted((tmp_path / "datasets").iterdir()) == entries


@pytest.mark.slow
def test_another_process_gives_the_tokenizer_the_same_name(tiny_encoder: Path) -> None:
    code = (
        "import sys; from transformers import AutoTokenizer\n"
        "from autolora_bench.tasks.encode import tokenizer_fingerprint\n"
        "print(tokenizer_fingerprint(AutoTokenizer.from_pretrained(sys.argv[1])))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, str(tiny_encoder)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert answer.stdout.strip() == tokenizer_fingerprint(loaded(tiny_encoder))


def test_naming_a_tokenizer_leaves_it_as_it_was(tiny_encoder: Path) -> None:
    tokenizer = loaded(tiny_encoder)
    tokenizer(["good", "a good film"], truncation=True, max_length=3, padding=True)
    before = tokenizer.backend_tokenizer.to_str()
    tokenizer_fingerprint(tokenizer)
    assert tokenizer.backend_tokenizer.to_str() == before


CHANGES: dict[str, Callable[[PreTrainedTokenizerBase], object]] = {
    "side that is cut": lambda tokenizer: setattr(tokenizer, "truncation_side", "left"),
    "columns": lambda tokenizer: setattr(tokenizer, "model_input_names", ["input_ids", "attention_mask"]),
    "marks in a text": lambda tokenizer: setattr(tokenizer, "split_special_tokens", True),
    "vocabulary": lambda tokenizer: tokenizer.add_tokens(["zzz"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_the_ids_changes_the_name(change: str, tiny_encoder: Path) -> None:
    """Held against the ids themselves where one text shows the change."""
    text = "[SEP] zzz a b c"
    plain, changed = loaded(tiny_encoder), loaded(tiny_encoder)
    CHANGES[change](changed)
    one, other = (dict(t(text, truncation=True, max_length=5)) for t in (plain, changed))
    assert one != other
    assert tokenizer_fingerprint(loaded(tiny_encoder)) != tokenizer_fingerprint(changed)


def test_another_transformers_reads_tokenizers_anew(
    tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It decides which class a tokenizer has, and so how it cuts."""
    before = tokenizer_fingerprint(loaded(tiny_encoder))
    monkeypatch.setattr(transformers, "__version__", "4.0.0")
    assert tokenizer_fingerprint(loaded(tiny_encoder)) != before


def test_another_form_of_question_or_answer_is_tokenised_anew(
    byte_tokenizer: PreTrainedTokenizerBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What decides them lies outside of the tasks, whose code is in every key."""
    monkeypatch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path))
    data = TaskData({"train": Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]})}, "f", "here", [])
    task = ClassificationTask(name="mine", labels=["no", "yes"], texts=["text"], max_length=32)

    def read() -> list[str]:
        return byte_tokenizer.batch_decode(
            ClassificationAsText(task, 0).prepare(data, byte_tokenizer).train["input_ids"][:]
        )

    assert read() == ["mine text: a", "mine text: b"]
    monkeypatch.setattr(labels_as_text, "question", lambda task, texts: f"{texts[0]}?")
    assert read() == ["a?", "b?"]
    number = RegressionAsText(RegressionTask(name="mine", texts=["text"], max_length=32), 0)
    assert number.prepare(data, byte_tokenizer).train["class"][:] == [5, 0]
    monkeypatch.setattr(labels_as_text, "nearest_answer", lambda task, value: 7)
    assert number.prepare(data, byte_tokenizer).train["class"][:] == [7, 7]


def test_another_blank_between_words_is_tokenised_anew(
    composed: Compose,
    byte_tokenizer: PreTrainedTokenizerBase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path))
    experiment = composed("task=bionlp", "data.limit=2", "data.limit_evaluation=2")
    data = load_data(experiment.task, experiment.data)

    def read(as_text: bool) -> str:
        monkeypatch.setattr(encode_words, "cuts_words_as_text", lambda tokenizer: as_text)
        first = build_task(experiment).prepare(data, byte_tokenizer).train["input_ids"][0]
        return str(byte_tokenizer.decode(first))

    words = data.splits["train"]["tokens"][0]
    assert read(as_text=False) == "".join(f" {word}" for word in words)
    assert read(as_text=True) == "".join(words)
