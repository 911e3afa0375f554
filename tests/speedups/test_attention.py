"""Attention with dropout is PyTorch's where nothing is dropped, and drops weights where something is."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.bert.modeling_bert import eager_attention_forward

from autolora_bench.speedups import attention
from autolora_bench.speedups.attention import attend, dropping_attention

TOKENS = 6


def drawn(heads: int = 3, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(2, heads, TOKENS, 4, dtype=dtype) for _ in range(3)]


def padding() -> Tensor:
    """(2, 1, T, T): the second text has two tokens less."""
    mask = torch.ones(2, 1, TOKENS, TOKENS, dtype=torch.bool)
    mask[1, :, :, -2:] = False
    return mask


MASKS = {
    "none": None,
    "padding": padding(),
    "added": torch.linspace(-3, 3, TOKENS).expand(TOKENS, TOKENS),
    "causal": torch.ones(TOKENS, TOKENS).tril() > 0,
}


@pytest.mark.parametrize("name", MASKS)
def test_without_dropout_it_is_pytorchs(name: str) -> None:
    query, key, value = drawn()
    mask = MASKS[name]
    found = attend(query, key, value, mask, 0.0, 0.7)
    torch.testing.assert_close(found, scaled_dot_product_attention(query, key, value, mask, scale=0.7))


def test_a_row_that_is_masked_whole_attends_to_everything_as_in_transformers() -> None:
    query, key, value = (10 * tensor for tensor in drawn())
    mask = padding()
    mask[0, :, 2] = False
    mask[0, :, 3, :-1] = False
    hidden = torch.zeros(mask.shape).masked_fill_(~mask, torch.finfo(torch.float32).min)
    module = nn.Module().eval()
    expected, _ = eager_attention_forward(module, query, key, value, hidden, scaling=100.0)
    found = attend(query, key, value, mask, 0.0, 100.0)
    torch.testing.assert_close(found.transpose(1, 2), expected)
    torch.testing.assert_close(found[0, :, 2], value[0].mean(-2))
    torch.testing.assert_close(found[0, :, 3], value[0, :, -1])


def test_in_bfloat16_the_softmax_is_in_single_precision() -> None:
    query, key, value = drawn(dtype=torch.bfloat16)
    scores = (query @ key.transpose(-2, -1)).float()
    expected = torch.softmax(scores, -1).bfloat16() @ value
    assert torch.equal(attend(query, key, value, None, 0.0, 1.0), expected)


def test_dropped_are_weights_of_attention_and_the_others_grow() -> None:
    query, key, _ = drawn()
    identity = torch.eye(TOKENS).expand(2, 3, TOKENS, TOKENS)
    kept = attend(query, key, identity, padding(), 0.0, 0.5)
    found = attend(query, key, identity, padding(), 0.25, 0.5)
    assert 0 < int((found == 0).sum()) - int((kept == 0).sum()) < found.numel() / 2
    torch.testing.assert_close(found[found > 0], kept[found > 0] / 0.75, rtol=1e-4, atol=1e-6)


def bert() -> Any:
    config = BertConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.5,
    )
    return BertModel(config)


def gpt2() -> Any:
    return GPT2Model(
        GPT2Config(
            vocab_size=50, n_embd=24, n_layer=2, n_head=3, embd_pdrop=0.0, resid_pdrop=0.0, attn_pdrop=0.5
        )
    )


@pytest.mark.parametrize("build", [bert, gpt2])
@pytest.mark.parametrize("padded", [False, True])
def test_a_model_attends_as_ever_but_for_what_is_dropped(
    build: Any, padded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing dropped inside `attend`, a training model's outputs are those of the evaluated model."""
    torch.manual_seed(0)
    model = build()
    tokens, mask = torch.arange(20).view(2, 10), torch.ones(2, 10, dtype=torch.long)
    mask[1, 7:] = 1 - int(padded)
    expected = model.eval()(tokens, attention_mask=mask).last_hidden_state
    seen: list[float] = []
    monkeypatch.setattr(attention, "dropout", lambda weights, p: seen.append(p) or weights)
    with dropping_attention(model):
        found = model.train()(tokens, attention_mask=mask).last_hidden_state
    assert seen == [0.5, 0.5]
    torch.testing.assert_close(found[mask > 0], expected[mask > 0], rtol=1e-4, atol=1e-5)


def test_other_models_and_evaluation_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model, other = bert(), bert()
    usual = ALL_ATTENTION_FUNCTIONS["sdpa"]
    tokens = torch.arange(20).view(2, 10)
    monkeypatch.setattr(attention, "attend", lambda *_: pytest.fail("called"))
    with dropping_attention(model):
        other.train()(tokens)
        model.eval()(tokens)
        assert ALL_ATTENTION_FUNCTIONS["sdpa"] is not usual
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is usual


@pytest.mark.parametrize("name", attention.BEYOND)
def test_what_it_cannot_do_is_left_to_pytorch(name: str) -> None:
    query, key, value = drawn()
    module = nn.Linear(1, 1)
    called: list[dict[str, Any]] = []

    def usual(*arguments: Any, **options: Any) -> tuple[Tensor, None]:
        called.append(options)
        return value, None

    for others in ({name: 1.0}, {}):
        attention._forward(
            frozenset([module]),
            usual,
            module,
            query,
            key,
            value,
            None,
            dropout=0.5,
            is_causal=False,
            **others,
        )
    assert [options[name] for options in called] == [1.0]
    attention._forward(frozenset([module]), usual, module, query, key[:, :1], value[:, :1], None, dropout=0.5)
    assert len(called) == 2
