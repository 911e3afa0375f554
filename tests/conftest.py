"""Fixtures shared by every test: where the real data and the metric cases are, if they are there at all."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def _beside_checkout(variable: str, folder: str) -> Path:
    path = Path(os.environ.get(variable, REPOSITORY.parent / "shared" / folder))
    if not path.is_dir():
        pytest.skip(f"{folder} not found: set {variable} to its folder")
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data sets in their publishers' layouts (README: "Data"); skips where absent."""
    return _beside_checkout("AUTOLORA_BENCH_DATA", "data")


@pytest.fixture(scope="session")
def metric_cases() -> Path:
    """Folder of inputs and expected values from the official scorers; skips where absent."""
    return _beside_checkout("AUTOLORA_BENCH_METRIC_CASES", "metric_cases")


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random two-layer BERT encoder whose vocabulary is that of the generated English tasks."""
    from autolora_bench.config.compose import compose_config, composer, to_experiment
    from autolora_bench.data.load import load_data

    words: set[str] = set()
    with composer():
        for task in ("sst2", "rte", "stsb"):
            experiment = to_experiment(compose_config([f"task={task}", "data=generated"]))
            for split in load_data(experiment.task, experiment.data).splits.values():
                for text in experiment.task.texts:
                    words |= {word for row in split[text] for word in row.lower().replace(".", " . ").split()}
    return _save_tiny_encoder(tmp_path_factory.mktemp("tiny_encoder"), sorted(words))


def _save_tiny_encoder(folder: Path, words: list[str]) -> Path:
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    vocabulary = {word: number for number, word in enumerate([*names.values(), *words])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]",
        "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(mark, vocabulary[mark]) for mark in ("[CLS]", "[SEP]")],
    )
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, model_input_names=inputs, **names)
    tokenizer.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    return folder
