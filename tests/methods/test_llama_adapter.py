"""LLaMA-Adapter's blocks, gates and rate, beyond the contract."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from autolora_bench.config.prompts import LlamaAdapterConfig
from autolora_bench.errors import UserError
from autolora_bench.methods import finetuning
from autolora_bench.methods.llama_adapter import adapted_blocks, gated_attentions, load_llama_adapter
from autolora_bench.runner import run_experiment


@pytest.mark.parametrize(("drop", "adapted"), [(0.0, 8), (0.25, 6), (0.9, 1)])
def test_a_share_of_the_blocks_gets_no_prompt(drop: float, adapted: int) -> None:
    assert adapted_blocks(LlamaAdapterConfig(drop=drop), 8) == adapted


def test_some_block_gets_one() -> None:
    with pytest.raises(UserError, match=r"method\.drop=0\.95 leaves none of the 8 blocks a prompt"):
        adapted_blocks(LlamaAdapterConfig(drop=0.95), 8)


def test_attention_is_the_authors_formula(trained: Any) -> None:
    """softmax over the prompt alone, times tanh of each head's gate, beside the attention to the text; then o_proj."""
    run = trained("llama_adapter")
    attention = gated_attentions(run.model.eval())[-1]
    plain, heads = attention.model, attention.num_heads
    gates = torch.linspace(-2, 2, heads).view(1, heads, 1, 1)
    kept = attention.parametrizations.adaption_gate.original.detach().clone()
    seen: dict[str, Any] = {}
    handle = plain.register_forward_hook(
        lambda module, arguments, named, output: seen.update(named, output=output[0]), with_kwargs=True
    )
    inputs = torch.randn(2, 5, plain.config.hidden_size, generator=torch.Generator().manual_seed(0))
    rotary = run.model.get_base_model().model.rotary_emb
    positions = torch.arange(5)[None]
    named = {
        "hidden_states": inputs,
        "position_embeddings": rotary(inputs, positions),
        "attention_mask": None,
    }
    with torch.no_grad():
        attention.parametrizations.adaption_gate.original.copy_(gates)
        found = attention(**named, position_ids=positions)[0]
        handle.remove()
        attention.parametrizations.adaption_gate.original.copy_(kept)
        prompt = attention.adaption_prompt
        size, shared = plain.head_dim, plain.config.num_key_value_heads
        keys, values = (
            layer(prompt).view(-1, shared, size).repeat_interleave(heads // shared, dim=1).transpose(0, 1)
            for layer in (plain.k_proj, plain.v_proj)
        )
        cosine, sine = named["position_embeddings"]
        queries = plain.q_proj(inputs).view(2, 5, heads, size).transpose(1, 2)
        halves = torch.cat([-queries[..., size // 2 :], queries[..., : size // 2]], dim=-1)
        queries = queries * cosine[:, None] + halves * sine[:, None]
        weights = functional.softmax(queries @ keys.transpose(-1, -2) / size**0.5, dim=-1)
        mixed = (gates.tanh() * weights @ values).transpose(1, 2).reshape(2, 5, -1)
        expected = seen["output"] + plain.o_proj(mixed)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(found, seen["output"], atol=1e-4)


def test_the_rate_is_for_256_examples_and_prompts_and_gates_are_decayed(
    composed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """9e-3 x 8 / 256, as `blr * eff_batch_size / 256` of the authors' finetuning.py."""
    setups: list[Any] = []
    finetune = finetuning.finetune
    monkeypatch.setattr(finetuning, "finetune", lambda m, s: setups.append((m, s)) or finetune(m, s))
    words = ("method.learning_rate=9e-3", "train.max_steps=1")
    run_experiment(composed("llama_adapter", *words), tmp_path / "scaled", "", None)
    run_experiment(
        composed("llama_adapter", *words, "method.base_batch_size=null"), tmp_path / "not", "", None
    )
    assert [setup.learning_rate for _, setup in setups] == pytest.approx([2.8125e-4, 9e-3])
    from autolora_bench.training.finetune import build_trainer

    model, setup = setups[0]
    optimizer = build_trainer(model, setup).optimizer
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.02}
    assert sum(p.numel() for group in optimizer.param_groups for p in group["params"]) == sum(
        p.numel() for p in model.parameters() if p.requires_grad
    )


def test_what_is_no_export_is_refused(trained: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no LLaMA-Adapter"):
        load_llama_adapter(trained("llama_adapter").context.backbone().model, tmp_path)
