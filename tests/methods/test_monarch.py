"""Monarch updates on three architectures, both kinds of linear layer: what they compute, export, count and refuse."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)
from transformers.pytorch_utils import Conv1D

from autolora_bench.config.method import MonarchConfig
from autolora_bench.errors import UserError
from autolora_bench.methods.monarch import Monarch, MonarchUpdate
from autolora_bench.models.gpt2 import split_attention
from autolora_bench.models.load import Backbone
from autolora_bench.speedups.padding_free import padding_free

TOKENS = torch.arange(1, 13).view(2, 6)
SIZES = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
UNDROPPED = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
MORE = {"intermediate_size": 64, "initializer_range": 0.2}
CASES = {
    "bert": ("query", "value", "intermediate.dense"),
    "gpt2": ("c_attn.query", "c_attn.value"),
    "gpt2 c_attn": ("c_attn", "c_fc"),
    "llama": ("q_proj", "v_proj", "down_proj"),
}
"""Model -> ends of the names of its adapted layers, rectangular ones among them."""
LOADER = """
import json, sys
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

found = {}
for name, folder in json.loads(sys.argv[1]).items():
    kind = AutoModelForSequenceClassification if name == "bert" else AutoModelForCausalLM
    with torch.no_grad():
        found[name] = kind.from_pretrained(folder).eval()(torch.arange(1, 13).view(2, 6)).logits.contiguous()
assert not any(name.startswith("autolora_bench") for name in sys.modules)
save_file(found, sys.argv[2])
"""


def settings(**more: Any) -> MonarchConfig:
    options = {"name": "monarch", "title": "Monarch", "learning_rate": 1e-3, "dropout": 0.0}
    return MonarchConfig(**{**options, "scale": 0.5, **more})


def plain(case: str) -> Any:
    torch.manual_seed(0)
    if case == "bert":
        config = BertConfig(**SIZES, **MORE, **UNDROPPED)
        return BertForSequenceClassification._from_config(config, attn_implementation="sdpa").eval()
    if case == "llama":
        return LlamaForCausalLM(LlamaConfig(**SIZES, **MORE, num_key_value_heads=2)).eval()
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=60, n_embd=32, n_layer=2, n_head=4)).eval()
    if case == "gpt2":
        split_attention(gpt2)
    return gpt2


def adapted(case: str, **more: Any) -> tuple[Monarch, Backbone]:
    """With updates away from zero."""
    model = plain(case)
    targets = [name for name, _ in model.named_modules() if name.endswith(CASES[case])]
    backbone = Backbone(model, None, ["classifier"] if case == "bert" else [], targets)  # type: ignore[arg-type]
    method = Monarch(settings(**more))
    method.adapt(backbone, None)  # type: ignore[arg-type]
    for name, weight in model.named_parameters():
        if name.endswith(".left"):
            nn.init.normal_(weight, std=0.3)
    return method, backbone


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(TOKENS).logits
    return found


def by_hand(update: MonarchUpdate) -> Tensor:
    """What is added to a weight (O, D), entry by entry of the definition."""
    left, right = update.left.detach(), update.right.detach()
    blocks, rows, middle = left.shape
    columns, rank = right.shape[2], middle // blocks
    matrix = torch.zeros(blocks * rows, blocks * columns)
    for out in range(blocks):
        for into in range(blocks):
            for one in range(rank):
                part = torch.outer(left[out, :, into * rank + one], right[into, one * blocks + out])
                matrix[out::blocks, into * columns : (into + 1) * columns] += part
    return update.scale * matrix


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("rank", [1, 2])
def test_a_layer_computes_with_its_weight_and_the_update(case: str, rank: int) -> None:
    _, backbone = adapted(case, block_rank=rank)
    other = plain(case)
    for name in backbone.targets:
        layer = other.get_submodule(name)
        update = by_hand(backbone.model.get_submodule(f"{name}.monarch"))
        layer.weight.data += update.T if isinstance(layer, Conv1D) else update
    assert not torch.allclose(logits(other), logits(plain(case)), atol=1e-3)
    torch.testing.assert_close(logits(backbone.model), logits(other), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_exports_load_where_nobody_knows_this_project(tmp_path: Path) -> None:
    jobs, expected = {}, {}
    for case in CASES:
        method, backbone = adapted(case)
        model: Any = backbone.model
        before = {name: weight.clone() for name, weight in model.named_parameters()}
        expected[case] = logits(model)
        jobs[case] = str(tmp_path / case.replace(" ", "_"))
        method.export(model, backbone, Path(jobs[case]))
        after = dict(model.named_parameters())
        assert after.keys() == before.keys()
        assert all(torch.equal(weight, before[name]) for name, weight in after.items())
        torch.testing.assert_close(logits(model), expected[case], rtol=0, atol=0)
        stored = load_file(Path(jobs[case]) / "model.safetensors")
        assert not [name for name in stored if "monarch" in name]
    command = [sys.executable, "-c", LOADER, json.dumps(jobs), str(tmp_path / "logits")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for case, found in load_file(tmp_path / "logits").items():
        torch.testing.assert_close(found, expected[case], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [384, 768])
@pytest.mark.parametrize(("blocks", "rank"), [(1, 4), (2, 2), (4, 1), (4, 2), (8, 1), (16, 1)])
@pytest.mark.sample(one_in=4)
def test_weights_are_as_many_as_of_a_lora_whose_rank_is_blocks_times_block_rank(
    size: int, blocks: int, rank: int
) -> None:
    lora = get_peft_model(
        nn.Sequential(nn.Linear(size, size)), LoraConfig(r=blocks * rank, target_modules=["0"])
    )
    counted = sum(weight.numel() for weight in lora.parameters() if weight.requires_grad)
    update = MonarchUpdate(size, size, settings(blocks=blocks, block_rank=rank)).double()
    assert sum(weight.numel() for weight in update.parameters()) == counted == blocks * rank * 2 * size
    nn.init.normal_(update.left)
    found = int(torch.linalg.matrix_rank(update.weight().detach()))
    assert found == min(size, blocks**2 * rank)


def test_gradients_without_padding_are_those_with_it() -> None:
    _, backbone = adapted("bert")
    model: Any = backbone.model.train().double()
    mask = (torch.arange(9) < torch.tensor([9, 3, 1, 5])[:, None]).long()
    tokens = torch.randint(3, 60, mask.shape, generator=torch.Generator().manual_seed(1)) * mask
    batch = {"input_ids": tokens, "attention_mask": mask, "labels": torch.tensor([0, 1, 0, 1])}

    def gradients() -> dict[str, Tensor]:
        model.zero_grad()
        model(**batch).loss.backward()
        return {n: w.grad.clone() for n, w in model.named_parameters() if w.requires_grad}

    expected = gradients()
    with padding_free(model):
        found = gradients()
    assert sum(".monarch." in name for name in expected) == 12
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("more", "what"),
    [({"blocks": 5}, "5 blocks do not divide"), ({"block_rank": 9}, "block rank 9 is too large")],
)
def test_blocks_that_do_not_fit_a_layer_are_refused_by_its_name(more: dict[str, int], what: str) -> None:
    with pytest.raises(UserError) as error:
        adapted("bert", **more)
    assert what in error.value.what
    assert "bert.encoder.layer.0.attention.self.query" in error.value.what
    assert error.value.mend


def test_a_weight_that_another_layer_has_too_is_refused() -> None:
    model = plain("gpt2")
    backbone = Backbone(model, None, [], ["lm_head"])  # type: ignore[arg-type]
    with pytest.raises(UserError, match="are one weight"):
        Monarch(settings(blocks=2)).adapt(backbone, None)  # type: ignore[arg-type]
