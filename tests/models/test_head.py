"""A head that a checkpoint brings along: kept where its classes have the task's names, drawn anew otherwise."""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    ModernBertConfig,
    ModernBertForMaskedLM,
    ModernBertForSequenceClassification,
    PreTrainedConfig,
    RobertaConfig,
    RobertaForSequenceClassification,
    pipeline,
)

from autolora_bench.config.architectures import DECODERS, ENCODERS
from autolora_bench.config.model import ModelConfig
from autolora_bench.models.head import head_of, order_by_name
from autolora_bench.models.load import Backbone, HeadKind, HeadSpec, load_backbone

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
NAMES = ("negative", "positive")
TEXTS = ["a good film", "a bad film", "film", "the good the bad"]
HEADS = [
    (architecture, kind)
    for architecture, kind in product([*ENCODERS, *DECODERS], [HeadKind.sequence, HeadKind.tokens])
    if type(AutoConfig.for_model(architecture)) in kind.value._model_mapping
]
"""All but tagging on OPT, which transformers has not."""
Save = Callable[..., Path]


def named(names: list[str]) -> PreTrainedConfig:
    return PreTrainedConfig(id2label=dict(enumerate(names)))


@pytest.mark.parametrize(("architecture", "kind"), HEADS)
@pytest.mark.sample(one_in=6)
def test_a_head_is_what_the_backbone_alone_has_not(architecture: str, kind: HeadKind) -> None:
    config = AutoConfig.for_model(architecture, vocab_size=50)
    with torch.device("meta"):
        model, backbone = kind.value.from_config(config), AutoModel.from_config(config)
    prefix = model.base_model_prefix
    lacking = {name for name, _ in model.named_parameters()} - {
        f"{prefix}.{name}" for name, _ in backbone.named_parameters()
    }
    assert lacking == {
        f"{name}.{weight}"
        for name in head_of(model)
        for weight, _ in model.get_submodule(name).named_parameters()
    }


@pytest.mark.parametrize(
    ("classes", "order"),
    [
        (["negative", "positive"], [0, 1]),
        (["positive", "negative"], [1, 0]),
        (["POSITIVE", "Negative "], [1, 0]),
        (["LABEL_0", "LABEL_1"], None),
        (["bad", "good"], None),
        (["negative", "neutral", "positive"], None),
        (["negative"], None),
        (["negative", "negative"], None),
    ],
)
def test_classes_are_matched_by_name(classes: list[str], order: list[int] | None) -> None:
    assert order_by_name(named(classes), NAMES) == order


def test_blanks_dashes_and_underscores_are_the_same() -> None:
    assert order_by_name(named(["not entailment", "ENTAILMENT"]), ("entailment", "not_entailment")) == [1, 0]
    assert order_by_name(named(["B-Gene", "O", "i-gene"]), ("O", "B-gene", "I-gene")) == [1, 0, 2]


@pytest.fixture
def save(tiny_encoder: Path, tmp_path: Path) -> Save:
    """Names of a head's classes -> folder of a BERT with it, its weights large; always the same function of names."""

    def write(*names: str, kind: Any = BertForSequenceClassification, config: Any = BertConfig) -> Path:
        folder = tmp_path / f"{kind.__name__} {','.join(names)}"
        AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(folder)
        torch.manual_seed(0)
        model = kind(config(vocab_size=500, pad_token_id=0, id2label=dict(enumerate(names)), **SIZES))
        output = getattr(model.classifier, "out_proj", model.classifier)
        rows = {name: torch.randn(16, generator=torch.manual_seed(sum(map(ord, name)))) for name in names}
        with torch.no_grad():
            output.weight.copy_(torch.stack([rows[name] for name in names]))
            output.bias.copy_(torch.stack([rows[name].sum() for name in names]))
        model.save_pretrained(folder)
        return folder

    return write


def load(folder: Path, labels: tuple[str, ...] = NAMES, kind: HeadKind = HeadKind.sequence) -> Backbone:
    torch.manual_seed(7)
    return load_backbone(ModelConfig(name="mine", checkpoint=str(folder)), HeadSpec(kind, labels))


def said_by(backbone: Backbone) -> list[str]:
    found = []
    for text in TEXTS:
        with torch.no_grad():
            logits = backbone.model.eval()(**backbone.tokenizer(text, return_tensors="pt")).logits
        found.append(NAMES[int(logits.argmax())])
    return found


@pytest.mark.parametrize(
    ("kind", "config"),
    [(BertForSequenceClassification, BertConfig), (RobertaForSequenceClassification, RobertaConfig)],
)
@pytest.mark.parametrize("names", [("negative", "positive"), ("positive", "negative")])
@pytest.mark.sample(one_in=2)
def test_a_kept_head_says_what_transformers_own_pipeline_says(
    names: tuple[str, ...], kind: Any, config: Any, save: Save
) -> None:
    folder = save(*names, kind=kind, config=config)
    expected = [found["label"] for found in pipeline("text-classification", str(folder))(TEXTS)]
    backbone = load(folder)
    assert said_by(backbone) == expected
    assert backbone.head_modules == ["classifier"]
    assert (
        backbone.source["head"]
        == "kept from the checkpoint, its classes matched by name (negative, positive)"
    )
    assert backbone.model.config.id2label == {0: "negative", 1: "positive"}


@pytest.mark.parametrize("names", [("a", "b", "c"), ("LABEL_0", "LABEL_1"), ("bad", "good"), ("score",)])
@pytest.mark.sample(one_in=2)
def test_another_head_is_drawn_as_if_there_were_none(names: tuple[str, ...], save: Save) -> None:
    folder = save(*names)
    found = load(folder)
    weights = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if "classifier" not in k},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    expected = load(folder)
    assert "head" not in expected.source
    assert found.source["head"].startswith("drawn anew: that of the checkpoint has other classes (")
    assert ("without names" if "LABEL_0" in names else ", ".join(names)) in found.source["head"]
    assert found.head_modules == expected.head_modules == ["classifier"]
    ours, theirs = found.model.state_dict(), expected.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_head_that_the_whole_model_draws_is_drawn_as_if_there_were_none(save: Save) -> None:
    """ModernBERT's last layer has a spread of its own."""
    folder = save("a", "b", "c", kind=ModernBertForSequenceClassification, config=ModernBertConfig)
    found = load(folder)
    weights = load_file(folder / "model.safetensors")
    backbone = {k: v for k, v in weights.items() if k.startswith("model.")}
    save_file(backbone, folder / "model.safetensors", {"format": "pt"})
    expected = load(folder)
    assert found.source["head"].startswith("drawn anew")
    assert "head" not in expected.source
    ours, theirs = found.model.state_dict(), expected.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert all(torch.equal(ours[name], weight) for name, weight in backbone.items())


def test_a_head_that_lacks_weights_is_drawn_anew(save: Save) -> None:
    folder = save(*NAMES, kind=RobertaForSequenceClassification, config=RobertaConfig)
    weights = load_file(folder / "model.safetensors")
    del weights["classifier.dense.bias"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    backbone = load(folder)
    assert backbone.source["head"] == "drawn anew: that of the checkpoint lacks weights"
    for name in ("dense", "out_proj"):
        weight = backbone.model.get_submodule(f"classifier.{name}").weight
        assert not torch.equal(weight, weights[f"classifier.{name}.weight"])


@pytest.mark.parametrize("kind", [HeadKind.sequence, HeadKind.tokens])
def test_what_a_language_model_shares_with_a_classifier_is_kept_as_transformers_keeps_it(
    kind: HeadKind, tiny_encoder: Path, tmp_path: Path
) -> None:
    """ModernBERT's masked language model has the classifier's dense layer and norm, and no last layer."""
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(tmp_path)
    torch.manual_seed(0)
    config = ModernBertConfig(
        vocab_size=500,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        cls_token_id=1,
        sep_token_id=2,
        **SIZES,
    )
    saved = ModernBertForMaskedLM(config)
    saved.save_pretrained(tmp_path)
    torch.manual_seed(7)
    stock = kind.value.from_pretrained(tmp_path, num_labels=2).state_dict()
    found = load(tmp_path, kind=kind)
    ours = found.model.state_dict()
    assert torch.equal(ours["head.dense.weight"], saved.head.dense.weight)
    assert all(torch.equal(ours[name], stock[name]) for name in stock if "classifier" not in name)
    assert ours["classifier.weight"].std() > 0
    assert found.head_modules == ["head", "classifier"]
    assert found.source["head"] == "head.dense, head.norm kept from the checkpoint, the last layer drawn anew"


def test_tags_are_matched_by_name_too(save: Save) -> None:
    tags = ("O", "B-protein", "I-protein")
    folder = save(*reversed(tags), kind=BertForTokenClassification)
    kept = load(folder, tags, HeadKind.tokens)
    rows = load_file(folder / "model.safetensors")["classifier.weight"]
    assert torch.equal(kept.model.classifier.weight, rows.flip(0))
    assert kept.head_modules == ["classifier"]
    assert load(folder, (*tags, "B-cell", "I-cell"), HeadKind.tokens).source["head"].startswith("drawn anew")


def test_a_number_is_told_by_a_head_of_that_name_alone(save: Save) -> None:
    spec = HeadSpec(HeadKind.sequence, ("score",), regression=True)
    kept = load_backbone(ModelConfig(name="mine", checkpoint=str(save("score"))), spec)
    assert kept.source["head"].startswith("kept")
    for names in (["LABEL_0"], ["contradiction", "neutral", "entailment"]):
        drawn = load_backbone(ModelConfig(name="mine", checkpoint=str(save(*names))), spec)
        assert drawn.source["head"].startswith("drawn anew")
        assert drawn.model.classifier.weight.shape == (1, 16)


def test_the_loss_is_the_tasks_whatever_the_checkpoint_was_trained_for(save: Save) -> None:
    """A head of several labels at once, or of a number, would compute another loss of the same logits."""
    folder = save(*NAMES)
    config = json.loads((folder / "config.json").read_text())
    for kind in ("multi_label_classification", "regression"):
        (folder / "config.json").write_text(json.dumps({**config, "problem_type": kind}))
        backbone = load(folder)
        batch = backbone.tokenizer(TEXTS[:2], return_tensors="pt", padding=True)
        found = backbone.model.eval()(**batch, labels=torch.tensor([0, 1]))
        expected = torch.nn.functional.cross_entropy(found.logits, torch.tensor([0, 1]))
        torch.testing.assert_close(found.loss, expected)
