"""What a stranger's config.json says of code and kernels is not obeyed; what cannot be read so is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import integrations

from autolora_bench.config.model import Attention, ModelConfig
from autolora_bench.errors import UserError
from autolora_bench.models.load import Backbone, HeadKind, HeadSpec, load_backbone
from autolora_bench.models.locate import Location
from autolora_bench.models.read import read_config

KERNEL = "stranger/attention"
CHOICES: dict[str, Any] = {
    "attention": {"_attn_implementation": KERNEL},
    "attention of a revision": {"attn_implementation": f"{KERNEL}@main:flash"},
    "attention by part": {"_attn_implementation": {"": KERNEL, "text_config": KERNEL}},
    "internal attention": {"_attn_implementation_internal": KERNEL},
    "experts": {"_experts_implementation": KERNEL, "experts_implementation": KERNEL},
    "code": {"auto_map": {"AutoConfig": "mine.Config", "AutoModel": f"{KERNEL}--mine.Model"}},
    "code that generates": {"custom_generate": KERNEL, "custom_pipelines": {"x": {"impl": "mine.X"}}},
    "kernels": {"kernel_config": {"RMSNorm": KERNEL}, "use_kernels": True},
    "fused layers": {"fusion_config": {"patch_embeddings": True}},
    "another file": {"transformers_weights": "other.safetensors"},
    "other outputs": {"return_dict": False, "output_hidden_states": True, "output_attentions": True},
}


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are as if their package were there: asking for one fails the test."""

    def asked(*_: Any, **__: Any) -> None:
        raise AssertionError("a kernel was asked for")

    for name in ("load_and_register_attn_kernel", "get_kernel", "lazy_load_kernel"):
        monkeypatch.setattr(integrations.hub_kernels, name, asked)


@pytest.fixture(params=["tiny_encoder", "tiny_decoder"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a tiny model."""
    shutil.copytree(request.getfixturevalue(request.param), tmp_path / "copy")
    return tmp_path / "copy"


def state(folder: Path, **entries: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**entries, **config, **entries}))


def load(folder: Path, attention: Attention = Attention.sdpa) -> Backbone:
    torch.manual_seed(0)
    config = ModelConfig(name="mine", checkpoint=str(folder), attention=attention)
    return load_backbone(config, HeadSpec(HeadKind.sequence, ("no", "yes")))


def logits(backbone: Backbone) -> Tensor:
    batch = backbone.tokenizer(["a good film"], return_tensors="pt")
    with torch.no_grad():
        found: Tensor = backbone.model.eval()(**batch).logits
    return found


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("attention", [Attention.eager, Attention.sdpa])
@pytest.mark.sample(one_in=6)
def test_numbers_are_those_without_it(choice: str, attention: Attention, folder: Path) -> None:
    expected = logits(load(folder, attention))
    state(folder, **CHOICES[choice])
    found = load(folder, attention)
    assert torch.equal(logits(found), expected)
    assert found.model.config._attn_implementation == attention.name


def test_the_model_is_saved_without_it(folder: Path, tmp_path: Path) -> None:
    for name, entries in CHOICES.items():
        if name != "other outputs":
            state(folder, **entries)
    load(folder).model.save_pretrained(tmp_path / "saved")
    saved = (tmp_path / "saved" / "config.json").read_text()
    assert KERNEL not in saved
    assert "mine.Model" not in saved


def test_it_is_not_obeyed_in_parts_of_a_config(folder: Path) -> None:
    part = {"_attn_implementation": KERNEL, "auto_map": {"AutoModel": "mine.Model"}}
    (folder / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": part}))
    found = read_config(Location(str(folder), "folder", "copy"), ModelConfig(name="mine"))
    text = found.text_config
    assert text._attn_implementation is None
    assert not hasattr(text, "auto_map")


def test_generation_config_runs_nothing(tiny_decoder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny_decoder, folder)
    (folder / "custom_generate").mkdir()
    mark = tmp_path / "EXECUTED"
    (folder / "custom_generate" / "generate.py").write_text(
        f"open({str(mark)!r}, 'w')\ndef generate(*a, **b): ...\n"
    )
    settings = {"custom_generate": KERNEL, "trust_remote_code": True, "eos_token_id": 0}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    load_backbone(ModelConfig(name="mine", checkpoint=str(folder)), HeadSpec(HeadKind.language_model))
    assert not mark.exists()


@pytest.mark.parametrize("where", ["config", "part"])
def test_quantised_weights_are_refused(where: str, folder: Path) -> None:
    quantised = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    if where == "config":
        state(folder, **quantised)
    else:
        (folder / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": quantised}))
    with pytest.raises(UserError, match="quantization_config"):
        read_config(Location(str(folder), "folder", "copy"), ModelConfig(name="mine"))


def test_an_adapter_beside_the_weights_is_refused(folder: Path) -> None:
    """transformers would put it into the model without a word."""
    (folder / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": KERNEL, "peft_type": "LORA"})
    )
    with pytest.raises(UserError, match=r"adapter_config\.json"):
        load(folder)


@pytest.mark.parametrize(
    "entries",
    [{"hidden_size": "wide"}, {"to_dict": "x"}, {"model_type": "no-such-model"}, {"id2label": 3}],
    ids=str,
)
def test_a_config_that_says_nonsense_is_refused(entries: dict[str, Any], folder: Path) -> None:
    state(folder, **entries)
    with pytest.raises(UserError, match="cannot load a model"):
        load(folder)
