"""Beams that share what their prompts left against transformers' own keys and values."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    DeepseekV32Config,
    DeepseekV32ForCausalLM,
    DiffLlamaConfig,
    DiffLlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from autolora_bench.models.virtual import VirtualTokens
from autolora_bench.tasks.generation import model as step_model
from autolora_bench.tasks.generation.beam_attention import BeamLayer, Beams, Spare, beam_attention
from autolora_bench.tasks.generation.model import StepModel

STEPS = [
    (torch.tensor([0, 0, 1, 1, 1, 2]), torch.tensor([[3], [4], [5], [6], [7], [8]])),
    (torch.tensor([1, 0, 4, 2, 5]), torch.tensor([[8], [9], [3], [4], [7]])),
    (torch.tensor([3, 3, 4]), torch.tensor([[5], [6], [3]])),
    (torch.tensor([0, 2, 0, 1]), torch.tensor([[4], [7], [8], [9]])),
    (torch.tensor([1]), torch.tensor([[3]])),
]
"""Former rows and next tokens; rows multiply, change places and drop out, and so do prompts."""
PROMPTS = torch.tensor([[0, 0, 3, 4, 5, 6], [3, 8, 7, 8, 9, 3], [0, 5, 4, 4, 7, 9]])
MASK = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1]])


SIZES = {
    "vocab_size": 40,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
HEADS = {"qk_nope_head_dim": 16, "v_head_dim": 16, "first_k_dense_replace": 2}
LATENT = {"num_key_value_heads": 4, "kv_lora_rank": 24, "q_lora_rank": 16, "qk_rope_head_dim": 8}
INDEXED = {"index_topk": 3, "index_n_heads": 2, "index_head_dim": 16}
KINDS: dict[str, Callable[[], Any]] = {
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "mixtral": lambda: MixtralForCausalLM(MixtralConfig(**SIZES, num_local_experts=2)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=4)),
    "diffllama": lambda: DiffLlamaForCausalLM(DiffLlamaConfig(**SIZES)),
    "deepseek_v3": lambda: DeepseekV3ForCausalLM(DeepseekV3Config(**SIZES | LATENT, **HEADS)),
    "deepseek_v32": lambda: DeepseekV32ForCausalLM(DeepseekV32Config(**SIZES | LATENT | INDEXED, **HEADS)),
}
"""Beside those of the other tests: one whose experts ask for more in name only, one that forgets, two that change
keys or values after they were remembered, one that chooses tokens itself."""


@pytest.fixture
def build(decoder: Callable[..., Any]) -> Callable[[str], Any]:
    """Kind -> a random decoder in double precision whose scores are far from equal."""

    def sharpened(kind: str) -> Any:
        torch.manual_seed(0)
        model = KINDS[kind]().eval() if kind in KINDS else decoder(kind, 40)
        if kind == "mixtral":
            model.set_experts_implementation("eager")  # the other knows no double precision
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.dim() > 1:
                    weight.copy_(torch.randn(weight.shape, generator=generator) * 0.25)
        return model.double()

    return sharpened


def run(model: Any, virtual: VirtualTokens | None = None) -> tuple[list[Tensor], StepModel]:
    """Logits of every step."""
    step = StepModel(model, MASK, virtual)
    with torch.inference_mode():
        return [step.first(PROMPTS), *(step.next(rows, tokens) for rows, tokens in STEPS)], step


def run_plainly(
    model: Any, monkeypatch: pytest.MonkeyPatch, virtual: VirtualTokens | None = None
) -> list[Tensor]:
    """The same with transformers' layers and PyTorch's attention."""
    with monkeypatch.context() as patch:
        patch.setattr(step_model, "can_share", lambda model: False)
        logits, step = run(model, virtual)
    assert not any(type(layer) is BeamLayer for layer in step.cache.layers)
    return logits


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2", "mixtral"])
def test_logits_are_those_of_the_plain_cache(
    kind: str, build: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(kind)
    ours, step = run(model)
    plain = run_plainly(model, monkeypatch)
    assert all(type(layer) is BeamLayer for layer in step.cache.layers)
    assert model.config._attn_implementation == "sdpa"
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)
    assert step.cache.get_seq_length() == PROMPTS.shape[1] + len(STEPS)
    assert len(step.cache.layers[0].prompt_keys) == 1


@pytest.mark.parametrize("kept", ["embeddings", "keys and values"])
def test_virtual_tokens_are_shared_too(
    kept: str, build: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build("llama")

    def cache(rows: int) -> DynamicCache:
        generator = torch.Generator().manual_seed(5)
        found = DynamicCache()
        for layer in range(2):
            states = torch.randn(2, 1, 2, 3, 16, generator=generator, dtype=torch.double).expand(
                2, rows, -1, -1, -1
            )
            found.update(states[0], states[1], layer)
        return found

    embeddings = torch.randn(3, 64, dtype=torch.double)
    virtual = VirtualTokens(3, embeddings) if kept == "embeddings" else VirtualTokens(3, cache=cache)
    ours, step = run(model, virtual)
    assert step.cache.layers[0].prompt_keys.shape[-2] == 3 + PROMPTS.shape[1]
    for a, b in zip(ours, run_plainly(model, monkeypatch, virtual), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_half_precision_loses_no_more_than_pytorchs_attention(
    kind: str, build: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = run_plainly(build(kind), monkeypatch)
    model = build(kind).float()
    with torch.autocast("cpu", torch.bfloat16):
        ours, step = run(model)
        plain = run_plainly(model, monkeypatch)
    assert step.cache.layers[0].keys.dtype is torch.float32

    def error(found: list[Tensor]) -> float:
        return sum((a.double() - b).pow(2).mean().item() for a, b in zip(found, exact, strict=True)) ** 0.5

    assert 0 < error(ours) < 1.2 * error(plain)


@pytest.mark.parametrize("kind", ["mistral", "diffllama", "deepseek_v3", "deepseek_v32"])
def test_models_of_another_attention_keep_their_own(
    kind: str, build: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(kind)
    ours, step = run(model)
    assert not any(type(layer) is BeamLayer for layer in step.cache.layers)
    assert all(torch.equal(a, b) for a, b in zip(ours, run_plainly(model, monkeypatch), strict=True))


def asking(**more: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A layer's attention that is called with more."""
    return lambda usual: lambda *args, **kwargs: usual(*args, **{**kwargs, **more})


def masking(usual: Callable[..., Any]) -> Callable[..., Any]:
    """A layer's attention that has a mask of its own, which hides nothing yet."""

    def hidden(*args: Any, attention_mask: Tensor, **kwargs: Any) -> Any:
        return usual(*args, attention_mask=attention_mask.clone(), **kwargs)

    return hidden


@pytest.mark.parametrize("change", [asking(position_bias=torch.zeros(1, 1, 1, 1)), asking(window=3), masking])
def test_a_layer_that_asks_for_more_keeps_its_own(
    change: Callable[[Callable[..., Any]], Any], build: Callable[[str], Any]
) -> None:
    model = build("llama").float()
    last = model.model.layers[1].self_attn
    last.forward = change(last.forward)
    step = StepModel(model, MASK)
    with torch.inference_mode():
        step.first(PROMPTS)
    assert all(type(layer) is DynamicLayer for layer in step.cache.layers)


@pytest.mark.parametrize(("hidden", "shared"), [([], True), ([0], False)])
def test_a_mask_of_more_than_padding_keeps_the_plain_layers(hidden: list[int], shared: bool) -> None:
    cache = DynamicCache()
    cache.update(torch.randn(2, 2, 3, 4), torch.randn(2, 2, 3, 4), 0)
    beams = Beams(torch.tensor([[0, 1, 1], [1, 1, 1]]))
    mask = torch.tensor([[0, 1, 1], [1, 1, 1]]).bool()[:, None, None]
    mask[1, ..., hidden] = False
    beams.note(0, cache.layers[0].keys, cache.layers[0].values, mask)
    assert beams.take_over(cache) == shared


def test_layers_that_forget_stay() -> None:
    cache = DynamicCache()
    cache.update(torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 4), 0)
    cache.layers.append(DynamicSlidingWindowLayer(sliding_window=2))
    beams = Beams(torch.ones(1, 3))
    for number, layer in enumerate(cache.layers):
        beams.note(number, layer.keys, layer.values, None)
    assert not beams.take_over(cache)
    assert [type(layer) for layer in cache.layers] == [DynamicLayer, DynamicSlidingWindowLayer]
    assert not beams.layers


def test_an_attention_of_the_users_choice_stays(
    build: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build("llama").float()
    expected = run_plainly(model, monkeypatch)
    model.set_attn_implementation("eager")
    found, step = run(model)
    assert model.config._attn_implementation == "eager"
    assert all(type(layer) is DynamicLayer for layer in step.cache.layers)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_reorderings_add_up() -> None:
    states = torch.randn(3, 2, 4, 5)
    layer = BeamLayer(states, -states, Spare(), Spare())
    first, second = torch.randn(3, 2, 1, 5), torch.randn(2, 2, 1, 5)
    layer.update(first, -first)
    layer.reorder_cache(torch.tensor([2, 0, 1]))
    layer.reorder_cache(torch.tensor([0, 0]))
    keys, values = layer.update(second, -second)
    assert torch.equal(keys, torch.cat([first[[2, 2]], second], dim=2))
    assert torch.equal(values, -keys)
    assert torch.equal(layer.prompt_keys, states)


def test_memory_goes_round_and_nothing_is_lost() -> None:
    generator = torch.Generator().manual_seed(0)
    spares = Spare(), Spare()
    layers = [BeamLayer(torch.zeros(2, 1, 3, 4), torch.zeros(2, 1, 3, 4), *spares) for _ in range(3)]
    expected = [torch.zeros(2, 1, 0, 4) for _ in layers]
    rows = [[0, 0, 1, 1], [3, 1], [1, 0, 0, 1, 1], [4], [0, 0, 0]]
    for chosen in rows:
        for number, layer in enumerate(layers):
            new = torch.randn(len(chosen), 1, 1, 4, generator=generator)
            layer.reorder_cache(torch.tensor(chosen))
            layer.update(new, 2 * new)
            expected[number] = torch.cat([expected[number][chosen], new], dim=2)
        for layer, states in zip(layers, expected, strict=True):
            assert torch.equal(layer.keys, states)
            assert torch.equal(layer.values, 2 * states)


def test_rows_of_a_prompt_come_together_and_apart() -> None:
    beams = Beams(torch.ones(3, 2))
    beams.follow(torch.tensor([2, 0, 2, 2, 0]))
    rows = torch.randn(5, 2, 3, 4)
    together = beams.by_prompt(rows)
    assert torch.equal(together[0], torch.cat([rows[1], rows[4], torch.zeros(2, 3, 4)], dim=1))
    assert torch.equal(together[1], torch.cat([rows[0], rows[2], rows[3]], dim=1))
    assert torch.equal(beams.by_row(together), rows)


def test_the_usual_attention_is_back_after_an_interruption() -> None:
    usual = ALL_ATTENTION_FUNCTIONS["sdpa"]

    def interrupted() -> None:
        with beam_attention(Beams(torch.ones(1, 2))):
            assert ALL_ATTENTION_FUNCTIONS["sdpa"] is not usual
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is usual


def test_memory_of_another_type_is_not_taken() -> None:
    spare = Spare()
    spare.exchange(torch.zeros(8, dtype=torch.bfloat16), (2,))
    assert spare.exchange(torch.zeros(1), (2,)).dtype is torch.float32
