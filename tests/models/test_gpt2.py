"""GPT-2's fused projection: adapted in parts, exported whole, loaded by stock PEFT."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import AdaLoraConfig, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoConfig, GPT2Config, GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D

from autolora_bench.config.model import ModelConfig
from autolora_bench.config.peft_method import PeftMethodConfig
from autolora_bench.errors import UserError
from autolora_bench.methods.factors import start_from
from autolora_bench.methods.peft_adapter import adapted_by_peft
from autolora_bench.methods.peft_lora import lora_model
from autolora_bench.models.adapted_layers import block_and_projection
from autolora_bench.models.export import export
from autolora_bench.models.gpt2 import split_attention
from autolora_bench.models.load import HeadKind, HeadSpec, load_backbone
from autolora_bench.models.merged import merged
from autolora_bench.models.targets import target_modules
from autolora_bench.search import RankAllocation, rank_pattern, selection_for, verify_applied
from autolora_bench.search.layers import lora_factors, lora_layers

WIDTH = 24
PARTS = [
    "transformer.h.0.attn.c_attn.query",
    "transformer.h.0.attn.c_attn.value",
    "transformer.h.1.attn.c_attn.value",
]
TOKENS = torch.arange(18).view(2, 9)
LOADED = """
import sys, torch
from peft import PeftModel
from transformers import GPT2LMHeadModel
model = GPT2LMHeadModel.from_pretrained(sys.argv[1])
model = PeftModel.from_pretrained(model, sys.argv[2]).eval()
with torch.no_grad():
    torch.save(model(torch.arange(18).view(2, 9)).logits, sys.argv[3])
assert not any(name.startswith("autolora_bench") for name in sys.modules)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An original GPT-2."""
    config = GPT2Config(
        vocab_size=50, n_embd=WIDTH, n_layer=2, n_head=3, n_positions=32, bos_token_id=0, eos_token_id=0
    )
    torch.manual_seed(0)
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    path = tmp_path_factory.mktemp("gpt2")
    model.save_pretrained(path)
    return path


def original(folder: Path) -> Any:
    return GPT2LMHeadModel.from_pretrained(folder).eval()


def split(folder: Path) -> Any:
    model = original(folder)
    split_attention(model)
    return model


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(TOKENS).logits
    return found


def disturb(model: Any) -> None:
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.normal_(std=0.3)


def by_peft(folder: Path, adapter: Path) -> torch.Tensor:
    """Logits of the original GPT-2 with the adapter."""
    return logits(PeftModel.from_pretrained(original(folder), adapter))


def elsewhere(folder: Path, adapter: Path, tmp_path: Path) -> torch.Tensor:
    """The same, in a process that does not know this package."""
    answer = tmp_path / "logits.pt"
    command = [sys.executable, "-c", LOADED, str(folder), str(adapter), str(answer)]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    found: torch.Tensor = torch.load(answer, weights_only=True)
    return found


def test_the_split_model_computes_the_same(folder: Path) -> None:
    assert torch.equal(logits(split(folder)), logits(original(folder)))


@pytest.mark.parametrize("kind", ["lora", "other ranks and scales", "adalora"])
def test_the_export_loads_in_stock_peft_with_the_same_logits(kind: str, folder: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"target_modules": PARTS, "task_type": "CAUSAL_LM", "lora_alpha": 16}
    if kind == "adalora":
        config: Any = AdaLoraConfig(init_r=6, target_r=3, total_step=10, **options)
    elif kind == "lora":
        config = LoraConfig(r=3, **options)
    else:
        patterns = {"^transformer.h.0.attn.c_attn.value": 5}
        options["target_modules"] = [*PARTS, "transformer.h.0.mlp.c_proj"]
        config = LoraConfig(r=2, rank_pattern=patterns, use_rslora=True, **options)
    model = get_peft_model(split(folder), config)
    disturb(model)
    export(model, tmp_path / "export")
    expected = logits(model)
    assert not torch.allclose(expected, logits(original(folder)), atol=1e-2)
    torch.testing.assert_close(by_peft(folder, tmp_path / "export"), expected)


@pytest.mark.slow
def test_the_export_loads_where_nobody_knows_this_package(folder: Path, tmp_path: Path) -> None:
    model = get_peft_model(split(folder), LoraConfig(r=3, target_modules=PARTS, task_type="CAUSAL_LM"))
    disturb(model)
    export(model, tmp_path / "export")
    assert torch.equal(by_peft(folder, tmp_path / "export"), elsewhere(folder, tmp_path / "export", tmp_path))


def test_the_exported_update_leaves_the_key_alone(folder: Path, tmp_path: Path) -> None:
    model = get_peft_model(split(folder), LoraConfig(r=3, target_modules=PARTS, task_type="CAUSAL_LM"))
    disturb(model)
    export(model, tmp_path)
    state = load_file(tmp_path / "adapter_model.safetensors")
    prefix = "base_model.model.transformer.h.{}.attn.c_attn.lora_{}.weight"
    assert sorted(state) == sorted(prefix.format(block, factor) for block in (0, 1) for factor in "AB")
    for block, rank in ((0, 6), (1, 3)):
        a, b = (state[prefix.format(block, factor)] for factor in "AB")
        assert a.shape == (rank, WIDTH)
        assert b.shape == (3 * WIDTH, rank)
        query, key, value = b.chunk(3)
        assert not key.any()
        assert value.any()
        assert query.any() == (block == 0)
    assert not state[prefix.format(0, "B")].chunk(3)[0][:, 3:].any()
    assert not state[prefix.format(0, "B")].chunk(3)[2][:, :3].any()
    config = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["fan_in_fan_out"] is True
    assert set(config["rank_pattern"].values()) == {3, 6}


def test_training_moves_query_and_value_only(folder: Path, tmp_path: Path) -> None:
    """One optimizer step of LoRA on the loaded backbone, merged: the key's rows of c_attn are bit for bit the same."""
    backbone = backbone_of(folder)
    model = lora(backbone)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    for _ in range(2):
        model(TOKENS, labels=TOKENS).loss.backward()
        optimizer.step()
    before = original(folder).transformer.h[1].attn.c_attn.weight
    after = model.merge_and_unload().transformer.h[1].attn.c_attn.fused().weight
    assert torch.equal(before.chunk(3, dim=1)[1], after.chunk(3, dim=1)[1])
    assert not torch.equal(before.chunk(3, dim=1)[0], after.chunk(3, dim=1)[0])
    assert not torch.equal(before.chunk(3, dim=1)[2], after.chunk(3, dim=1)[2])


def test_a_fully_trained_model_is_saved_as_gpt2(folder: Path, tmp_path: Path) -> None:
    model = split(folder)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    export(model, tmp_path)
    assert torch.equal(logits(GPT2LMHeadModel.from_pretrained(tmp_path)), logits(model))
    assert set(load_file(tmp_path / "model.safetensors")) == set(load_file(folder / "model.safetensors"))


def backbone_of(folder: Path, **settings: Any) -> Any:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="a").save_pretrained(folder)
    config = ModelConfig(name="any", checkpoint=str(folder), **settings)
    return load_backbone(config, HeadSpec(HeadKind.language_model))


def lora(backbone: Any) -> Any:
    context: Any = SimpleNamespace(task=SimpleNamespace(head=lambda: HeadSpec(HeadKind.language_model)))
    return lora_model(backbone, context, r=2, lora_alpha=8, target_modules=backbone.targets)


def test_the_backbone_adapts_query_and_value(folder: Path) -> None:
    backbone = backbone_of(folder)
    assert backbone.targets == [
        f"transformer.h.{block}.attn.c_attn.{p}" for block in (0, 1) for p in ("query", "value")
    ]
    assert [block_and_projection(name) for name in backbone.targets] == [
        (0, "query"), (0, "value"), (1, "query"), (1, "value")
    ]  # fmt: skip


@pytest.mark.parametrize("target", ["c_attn", "c_proj", "c_fc"])
@pytest.mark.filterwarnings("error::UserWarning")
def test_whole_convolutions_can_be_adapted(target: str, folder: Path, tmp_path: Path) -> None:
    """Conv1D stores its weight the other way round: PEFT must be told, and merged is what unmerged was."""
    backbone = backbone_of(folder, targets=[target])
    assert all(isinstance(backbone.model.get_submodule(name), Conv1D) for name in backbone.targets)
    model = lora(backbone)
    disturb(model)
    before = logits(model)
    model.save_pretrained(tmp_path / "adapter")
    torch.testing.assert_close(by_peft(folder, tmp_path / "adapter"), before)
    model.merge_adapter()
    torch.testing.assert_close(logits(model), before)


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        (GPT2Config(n_layer=24, n_head=16, n_embd=1024), 48),
        (
            AutoConfig.for_model(
                "llama", num_hidden_layers=30, hidden_size=64, num_attention_heads=4, vocab_size=9
            ),
            60,
        ),
    ],
)
def test_every_block_has_two_layers_to_select(config: Any, layers: int) -> None:
    """GPT2-medium and SmolLM2, without their weights."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
        if config.model_type == "gpt2":
            split_attention(model)
        targets = target_modules(model, ModelConfig(name="m"))
        adapted = get_peft_model(model, LoraConfig(r=8, target_modules=targets))
    selection = selection_for(adapted)
    assert selection.modules_selected == tuple(targets)
    assert len(targets) == layers
    assert sorted({block_and_projection(name)[0] for name in targets}) == list(range(layers // 2))


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize(
    ("dropped", "left"),
    [
        ((), 8),
        (("query", "c_fc"), 7),
        (("query", "key", "value"), 7),
        (("attn.c_proj", "mlp.c_proj", "c_fc"), 5),
    ],
)
def test_ranks_over_all_linear_layers_survive_the_export(
    dropped: tuple[str, ...], left: int, folder: Path, tmp_path: Path
) -> None:
    """Linear parts of c_attn beside Conv1D, each with its rank, 0 among them: stock PEFT gives the same logits."""
    backbone = backbone_of(folder, targets=["all_linear"])
    assert len(backbone.targets) == 12
    places = [block_and_projection(name) for name in backbone.targets]
    ranks = [0 if name in dropped and block == 1 else 1 + i % 3 for i, (block, name) in enumerate(places)]
    allocation = RankAllocation.from_ranks(backbone.targets, ranks)
    context: Any = SimpleNamespace(task=SimpleNamespace(head=lambda: HeadSpec(HeadKind.language_model)))
    model = lora_model(backbone, context, **rank_pattern(allocation, "constant", 2.0))
    verify_applied(model, allocation)
    disturb(model)
    expected = logits(model)
    export(model, tmp_path)
    torch.testing.assert_close(by_peft(folder, tmp_path), expected)
    saved = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))["rank_pattern"]
    assert len(saved) == left
    with merged(model) as folded:
        torch.testing.assert_close(logits(folded), expected)


def test_adalora_that_prunes_a_plain_layer_to_nothing_loads_in_stock_peft(
    folder: Path, tmp_path: Path
) -> None:
    """PEFT takes no rank of 0 in its pattern."""
    targets = [*PARTS, "mlp.c_proj"]
    config = AdaLoraConfig(
        init_r=4, target_r=2, total_step=10, target_modules=targets, task_type="CAUSAL_LM", lora_alpha=16
    )
    model = get_peft_model(split(folder), config)
    disturb(model)
    for name, layer in model.named_modules():
        if hasattr(layer, "lora_E") and name.endswith("mlp.c_proj"):
            for factor, kept in (
                (layer.lora_A, slice(0)),
                (layer.lora_E, slice(0)),
                (layer.lora_B, (slice(None), slice(0))),
            ):
                factor["default"] = torch.nn.Parameter(factor["default"][kept].detach())
            layer.ranknum["default"].fill_(0)
    expected = logits(model)
    export(model, tmp_path)
    torch.testing.assert_close(by_peft(folder, tmp_path), expected, rtol=1e-4, atol=1e-5)
    saved = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert "mlp" not in saved["target_modules"]
    assert 0 not in saved["rank_pattern"].values()


@pytest.mark.parametrize("kind", ["dora", "a start that changes the weights", "both"])
def test_variants_of_lora_load_on_the_original_weights(kind: str, folder: Path, tmp_path: Path) -> None:
    dora = kind != "a start that changes the weights"
    config = LoraConfig(r=3, lora_alpha=6, target_modules=PARTS, task_type="CAUSAL_LM", use_dora=dora)
    model = get_peft_model(split(folder), config)
    disturb(model)
    taken_off = None
    if kind != "dora":
        for _, b in lora_factors(model):
            torch.nn.init.zeros_(b)
        shapes = {n: (layer.in_features, layer.out_features) for n, layer in lora_layers(model).items()}
        taken_off = {n: (torch.randn(3, d), torch.randn(o, 3) * 0.1) for n, (d, o) in shapes.items()}
        before = logits(model)
        start_from(model, taken_off, take_off=True)
        torch.testing.assert_close(logits(model), before, rtol=0, atol=1e-4)
        disturb(model)
    expected = logits(model)
    export(model, tmp_path / "export", taken_off)
    torch.testing.assert_close(by_peft(folder, tmp_path / "export"), expected, rtol=1e-4, atol=1e-4)
    with merged(model) as plain:
        torch.testing.assert_close(logits(plain), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(logits(model), expected)


def by_type(folder: Path, kind: str, settings: dict[str, Any]) -> Any:
    method = PeftMethodConfig(name="peft", title=kind, type=kind, settings=settings)
    return adapted_by_peft(backbone_of(folder), HeadKind.language_model, method)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("BEFT", {"target_modules": ["value"]}),
        ("LN_TUNING", {"target_modules": ["c_attn.query"]}),
        ("LN_TUNING", {"target_modules": ["c_attn"]}),
        ("LN_TUNING", {"modules_to_save": ["attn"]}),
    ],
)
def test_a_type_of_peft_that_would_train_parts_is_refused(
    kind: str, settings: dict[str, Any], folder: Path
) -> None:
    """Its export would name weights that a GPT-2 of transformers has not."""
    names = [name for name, _ in original(folder).named_parameters()]
    assert not [name for name in names if "query" in name or "value" in name]
    with pytest.raises(UserError, match=f"{kind} of PEFT knows no query and value of GPT-2") as refused:
        by_type(folder, kind, settings)
    assert "model.targets" not in refused.value.mend, "which these types pass over"


@pytest.mark.parametrize(
    ("kind", "settings"), [("LN_TUNING", {}), ("TRAINABLE_TOKENS", {"token_indices": [1, 7]})]
)
def test_a_type_of_peft_that_goes_elsewhere_loads_in_stock_peft(
    kind: str, settings: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    model = by_type(folder, kind, settings)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.3)
    expected = logits(model)
    assert not torch.allclose(expected, logits(original(folder)), atol=0.1)
    export(model, tmp_path)
    torch.testing.assert_close(by_peft(folder, tmp_path), expected, rtol=1e-4, atol=1e-5)
