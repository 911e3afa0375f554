"""A random two-layer T5 or BART that reads and writes bytes: for tests and trials."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

MARKS = {"bart": ["<s>", "<pad>", "</s>", "<unk>"], "t5": ["<pad>", "</s>", "<unk>"]}
"""Kind -> its special tokens, in the order of their numbers."""
SIZES = {"layers": 2, "attention_heads": 4, "ffn_dim": 64}


def save_tiny_encoder_decoder(kind: str, folder: Path) -> Path:
    """Save model and tokenizer of a `kind` in MARKS in `folder`, and return it."""
    marks = MARKS[kind]
    letters = [*marks, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE({letter: place for place, letter in enumerate(letters)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    frame = "<s> $A </s>" if kind == "bart" else "$A </s>"
    special = [(mark, place) for place, mark in enumerate(marks)]
    backend.add_special_tokens(marks)
    backend.post_processor = processors.TemplateProcessing(frame, special_tokens=special)
    begin = {"bos_token": "<s>"} if kind == "bart" else {}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", **begin
    )
    tokenizer.save_pretrained(folder)
    tiny_encoder_decoder(kind, len(letters)).save_pretrained(folder)
    return folder


def tiny_encoder_decoder(
    kind: str, vocabulary: int
) -> T5ForConditionalGeneration | BartForConditionalGeneration:
    """The model alone, for a number of tokens."""
    torch.manual_seed(0)
    if kind == "t5":
        t5 = T5Config(vocab_size=vocabulary, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
        t5.decoder_start_token_id = 0
        return T5ForConditionalGeneration(t5)
    sizes = {f"{half}_{name}": size for half in ("encoder", "decoder") for name, size in SIZES.items()}
    bart = BartConfig(vocab_size=vocabulary, d_model=32, max_position_embeddings=640, dropout=0.0, **sizes)
    bart.forced_eos_token_id = None
    return BartForConditionalGeneration(bart)
