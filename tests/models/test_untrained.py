"""Layers of a checkpoint that were never trained."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, BertConfig, BertModel, BertTokenizer

from autolora_bench.config.model import ModelConfig
from autolora_bench.errors import UserError
from autolora_bench.models.load import Backbone, HeadKind, HeadSpec, load_backbone

SEQUENCE = HeadSpec(HeadKind.sequence, ("no", "yes"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny BERT whose pooler is zero."""
    config = BertConfig(
        vocab_size=8, hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    model = BertModel(config)
    torch.nn.init.zeros_(model.pooler.dense.weight)
    model.save_pretrained(tmp_path)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    return tmp_path


def load(folder: Path, head: HeadSpec, untrained: list[str]) -> Backbone:
    torch.manual_seed(0)
    return load_backbone(ModelConfig(name="tiny", path=str(folder), untrained=untrained), head)


def test_they_are_part_of_the_head(folder: Path) -> None:
    assert load(folder, SEQUENCE, []).head_modules == ["classifier"]
    assert load(folder, SEQUENCE, ["pooler.dense"]).head_modules == ["classifier", "bert.pooler.dense"]


def test_they_are_drawn_anew_and_nothing_else_is(folder: Path) -> None:
    kept = load(folder, SEQUENCE, []).model.state_dict()
    drawn = load(folder, SEQUENCE, ["pooler.dense"]).model.state_dict()
    differing = {name for name in kept if not torch.equal(kept[name], drawn[name])}
    assert differing == {"bert.pooler.dense.weight"}
    assert drawn["bert.pooler.dense.weight"].std().item() == pytest.approx(0.02, rel=0.1)


def test_a_head_without_them_is_as_it_was(folder: Path) -> None:
    assert load(folder, HeadSpec(HeadKind.tokens, ("O", "B")), ["pooler.dense"]).head_modules == [
        "classifier"
    ]


def test_other_modules_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="LayerNorm is not a linear layer"):
        load(folder, SEQUENCE, ["embeddings.LayerNorm"])


def test_weights_in_common_are_not_drawn(tiny_decoder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_decoder, tmp_path / "tied")
    config = AutoConfig.from_pretrained(folder, tie_word_embeddings=True)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    with pytest.raises(UserError, match="in common with"):
        load(folder, HeadSpec(HeadKind.language_model), ["lm_head"])
