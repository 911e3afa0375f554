"""Without padding a model computes what it computes with it, on every architecture it is stated for, and less."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import pytest
import torch
from peft import (
    AdaLoraConfig,
    AdaptionPromptConfig,
    IA3Config,
    LoraConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.pytorch_utils import Conv1D

from autolora_bench.config.architectures import DECODERS, Is, those
from autolora_bench.errors import UserError
from autolora_bench.models.attention import ask_registry, attention_replaced, mpnet_with_sdpa
from autolora_bench.speedups import padding_free as module
from autolora_bench.speedups.padding_free import BLOCKS, padding_free

SIZES = {
    **{"vocab_size": 60, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"intermediate_size": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
}
GROUPED = {**SIZES, "num_key_value_heads": 2, "head_dim": 6}
OWN: dict[str, dict[str, Any]] = {
    "electra": {**SIZES, "embedding_size": 24},
    "distilbert": {"vocab_size": 60, "dim": 24, "n_layers": 2, "n_heads": 4, "hidden_dim": 32},
    "gpt2": {"vocab_size": 60, "n_embd": 24, "n_layer": 2, "n_head": 4, "pad_token_id": 0},
    "llama": GROUPED,
    "mistral": {**GROUPED, "sliding_window": 3},
    "opt": {**SIZES, "ffn_dim": 32, "word_embed_proj_dim": 24},
    "qwen2": GROUPED,
    "qwen3": GROUPED,
}
DROPOUTS = (
    *("attention_dropout", "attention_probs_dropout_prob", "attn_pdrop", "classifier_dropout", "dropout"),
    *("embd_pdrop", "hidden_dropout_prob", "resid_pdrop", "seq_classif_dropout", "summary_first_dropout"),
)
LENGTHS = [9, 3, 8, 12, 1, 5]
HEADS: dict[str, tuple[Any, Any]] = {
    "sequence": (AutoModelForSequenceClassification, "SEQ_CLS"),
    "tokens": (AutoModelForTokenClassification, "TOKEN_CLS"),
    "language": (AutoModelForCausalLM, "CAUSAL_LM"),
}


def built(architecture: str, head: str = "sequence", dropping: bool = False) -> Any:
    torch.manual_seed(0)
    config = AutoConfig.for_model(architecture, **OWN.get(architecture, SIZES))
    if not dropping:
        for name in DROPOUTS:
            if hasattr(config, name):
                setattr(config, name, 0.0)
    with mpnet_with_sdpa():
        model = HEADS[head][0].from_config(config, attn_implementation="sdpa").train()
    ask_registry(model)
    return model


def batch(head: str = "sequence", lengths: list[int] = LENGTHS) -> dict[str, Tensor]:
    torch.manual_seed(1)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    tokens = torch.randint(5, 60, mask.shape) * mask
    labels = torch.arange(len(lengths)) % 2 if head == "sequence" else tokens % 2
    if head != "sequence":
        labels = labels.masked_fill(mask == 0, -100)
    return {"input_ids": tokens, "attention_mask": mask, "labels": labels}


def gradients(model: Any, inputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    outputs = model(**inputs)
    outputs.loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return outputs.loss.detach(), found


def assert_the_same(model: Any, inputs: dict[str, Tensor], unpadded: bool = True) -> None:
    """Loss and gradients; and the first block really saw one text, or the padded batch."""
    loss, expected = gradients(model, inputs)
    with padding_free(model), seen(model) as shapes:
        ours, found = gradients(model, inputs)
    assert {shape[0] for shape in shapes} == {1 if unpadded else len(inputs["input_ids"])}
    torch.testing.assert_close(ours, loss, rtol=1e-5, atol=0)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("architecture", those(Is.unpadded))
def test_losses_and_gradients_are_those_of_the_padded_batch(architecture: str) -> None:
    assert_the_same(built(architecture), batch())


@pytest.mark.parametrize(
    ("architecture", "head"),
    [
        ("bert", "tokens"),
        ("roberta", "tokens"),
        *((decoder, "language") for decoder in ("gpt2", "llama", "mistral")),
    ],
)
def test_so_they_are_with_other_heads(architecture: str, head: str) -> None:
    assert (head == "language") == (architecture in DECODERS)
    assert_the_same(built(architecture, head), batch(head))


PROMPT = {"num_virtual_tokens": 3, "num_layers": 2, "token_dim": 24, "num_attention_heads": 4}
PEFT: dict[str, tuple[Any, dict[str, Any]]] = {
    "lora": (LoraConfig, {"r": 2, "init_lora_weights": False}),
    "dora": (LoraConfig, {"r": 2, "init_lora_weights": False, "use_dora": True}),
    "adalora": (AdaLoraConfig, {"init_r": 3, "target_r": 2, "total_step": 10}),
    "ia3": (IA3Config, {}),
    "prompt tuning": (PromptTuningConfig, PROMPT),
    "p-tuning": (PromptEncoderConfig, {**PROMPT, "encoder_hidden_size": 12}),
    "llama adapter": (AdaptionPromptConfig, {"adapter_len": 3, "adapter_layers": 2}),
    "prefix tuning": (PrefixTuningConfig, PROMPT),
}


@pytest.mark.parametrize(
    ("kind", "head"),
    [pair for pair in product(PEFT, ["sequence", "language"]) if pair != ("llama adapter", "sequence")],
)
def test_so_they_are_with_every_kind_of_adapter(kind: str, head: str) -> None:
    """Some of PEFT's models call the model within past its hooks. Keys from before the input are computed as ever."""
    config, options = PEFT[kind]
    model = built("llama" if head == "language" else "bert", head)
    adapted = get_peft_model(model, config(task_type=HEADS[head][1], **options))
    for name, weight in adapted.named_parameters():
        if weight.requires_grad and ("lora_" in name or "adaption_" in name):
            torch.nn.init.normal_(weight)
    assert_the_same(adapted.train(), batch(head), unpadded=kind != "prefix tuning")


def test_second_derivatives_are_the_same() -> None:
    model = built("bert")
    inputs = batch()
    weights = [p for name, p in model.named_parameters() if "query.weight" in name]

    def curvature() -> tuple[Tensor, ...]:
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            first = torch.autograd.grad(model(**inputs).loss, weights, create_graph=True)
            return torch.autograd.grad(sum((g**2).sum() for g in first), weights)

    expected = curvature()
    with padding_free(model):
        found = curvature()
    assert all(float(part.abs().max()) > 0 for part in expected)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-9)


@contextmanager
def seen(model: Any) -> Iterator[list[tuple[int, ...]]]:
    """Shapes of what the first block's first linear layer reads."""
    shapes: list[tuple[int, ...]] = []
    block = next(module for module in model.modules() if isinstance(module, BLOCKS))
    layer = next(module for module in block.modules() if isinstance(module, torch.nn.Linear | Conv1D))
    handle = layer.register_forward_hook(lambda _, inputs, __: shapes.append(tuple(inputs[0].shape)))
    yield shapes
    handle.remove()


def seen_by(model: Any, inputs: dict[str, Tensor]) -> tuple[int, ...]:
    with padding_free(model), seen(model) as shapes:
        model(**inputs)
    assert len(shapes) == 1
    return shapes[0]


def test_only_tokens_are_computed_and_only_while_the_model_trains() -> None:
    model = built("bert")
    assert seen_by(model, batch()) == (1, sum([12, 9, 9, 5, 3, 1]), 24)  # the text of 8 beside that of 9
    assert seen_by(model, batch(lengths=[7, 7])) == (2, 7, 24)
    assert seen_by(model.eval(), batch()) == (6, 12, 24)


def test_one_pass_knows_nothing_of_the_one_before() -> None:
    model, inputs = built("bert"), batch()
    with padding_free(model), seen(model) as shapes:
        model(**inputs)
        model(**{**inputs, "attention_mask": None})
        model(**batch(lengths=[4, 12]))
    assert shapes == [(1, 39, 24), (6, 12, 24), (1, 16, 24)]


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama"])
def test_a_decoder_leaves_out_padding_in_front_too(architecture: str) -> None:
    """An encoder's classifier reads the first column."""
    flipped = {name: t.flip(1) if t.ndim > 1 else t for name, t in batch().items()}
    assert_the_same(built(architecture), flipped, unpadded=architecture in DECODERS)


def test_masks_are_cut_once_a_pass_and_only_where_they_hide_something(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, cut, read = built("bert"), [], []
    cutting = module._mask
    monkeypatch.setattr(module, "_mask", lambda *arguments: cut.append(1) or cutting(*arguments))

    def watching(usual: Any, layer: Any, query: Tensor, *others: Any, **options: Any) -> Any:
        read.append((tuple(query.shape), others[2] is not None))
        return usual(layer, query, *others, **options)

    with attention_replaced(watching), padding_free(model):
        model(**batch())
    shapes = [(1, 4, 12, 6), (2, 4, 9, 6), (1, 4, 5, 6), (1, 4, 3, 6), (1, 4, 1, 6)]
    assert len(cut) == len(shapes)
    assert read == 2 * [(shape, shape[0] == 2) for shape in shapes]


def test_the_head_of_a_language_model_reads_tokens_with_a_label() -> None:
    model, inputs = built("llama", "language"), batch("language")
    with padding_free(model):
        assert model(**inputs).logits.shape == (1, sum(LENGTHS) - len(LENGTHS), 60)
        inputs.pop("labels")
        assert model(**inputs).logits.shape == (6, 12, 60)


def test_a_model_that_may_skip_its_last_block_is_refused() -> None:
    model = built("opt")
    model.config.layerdrop = 0.1
    with pytest.raises(UserError, match=r"layerdrop=0\.1"), padding_free(model):
        pass


def test_dropout_is_drawn_for_the_tokens_that_are_computed() -> None:
    model, inputs = built("bert", dropping=True), batch()
    with padding_free(model):
        torch.manual_seed(2)
        first = model(**inputs).loss
        second = model(**inputs).loss
        torch.manual_seed(2)
        again = model(**inputs).loss
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_a_failed_pass_leaves_nothing_behind() -> None:
    model, inputs = built("bert"), batch()
    usual = ALL_ATTENTION_FUNCTIONS["sdpa"]
    loss = model(**inputs).loss
    with padding_free(model):
        with pytest.raises(IndexError):
            model(**{**inputs, "input_ids": inputs["input_ids"] + 60})
        torch.testing.assert_close(model(**inputs).loss, loss)
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is usual
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


def test_attention_that_does_not_ask_the_registry_fails() -> None:
    """What a table of architectures cannot know: another version of transformers."""
    model = built("bert")
    model.set_attn_implementation("eager")
    with padding_free(model), pytest.raises(RuntimeError, match="must match"):
        model(**batch())
