"""Turns a GGUF file into an ordinary model folder, once, so that everything else loads it like any other model."""

import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
from transformers.utils import logging

from autolora_bench.checksums import sha256
from autolora_bench.models.locate import ORIGIN, WEIGHTS


def dequantise(gguf: Path, folder: Path) -> Path:
    """Write the model of a GGUF file in fp32, its tokenizer and its origin to `folder`, and return it.

    The values are exactly those that the quantised blocks stand for; half precision would round them. The file's
    conversion is not byte for byte the same in every version of transformers, so the checksum of the result is
    noted beside it with that of the file.
    """
    name = {"gguf_file": gguf.name}
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, dtype=torch.float32, quantization_config=GgufConfig(**name, dequantize=True), **name
    )
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **name)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    origin = {"gguf": sha256(gguf), "weights": sha256(folder / WEIGHTS)}
    (folder / ORIGIN).write_text(json.dumps(origin, indent=1) + "\n", encoding="utf-8")
    return folder
