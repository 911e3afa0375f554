"""A random two-layer BERT whose vocabulary is that of the generated English tasks: for tests and trials."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.data.load import load_data


def generated_words() -> list[str]:
    """Every word of the generated tasks, sorted."""
    words: set[str] = set()
    split_up = pre_tokenizers.Whitespace().pre_tokenize_str
    with composer():
        for task in ("sst2", "rte", "stsb", "bionlp"):
            experiment = to_experiment(compose_config([f"task={task}", "data=generated"]))
            for split in load_data(experiment.task, experiment.data).splits.values():
                for column in getattr(experiment.task, "texts", ["tokens"]):
                    for row in split[column]:
                        text = row if isinstance(row, str) else " ".join(row)
                        words |= {word for word, _ in split_up(text.lower())}
    return sorted(words)


def save_tiny_encoder(folder: Path, dropout: float = 0.1) -> Path:
    """Save model and tokenizer in `folder`, and return it."""
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    vocabulary = {word: number for number, word in enumerate([*names.values(), *generated_words()])}
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
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    return folder
