"""Methods on tiny random models of architectures beside BERT: XLM-R, and Llama-like ones with tied embeddings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from autolora_bench.methods.base import build_method

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
LLAMA_LIKE = {
    **SIZES,
    "vocab_size": 257,
    "num_key_value_heads": 2,
    "max_position_embeddings": 640,
    "tie_word_embeddings": True,
    **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 0),
}
SHORT = ["train.epochs=1", "data.limit=24", "data.limit_evaluation=8"]
TEXTS = [
    "task=e2e",
    "task.metrics=[bleu]",
    "task.epoch_records=4",
    "task.decoding.beams=1",
    "task.decoding.max_new_tokens=4",
]
QUICK = {
    ("xlmr", "sst2", "bitfit"),
    ("xlmr", "sst2", "adapter"),
    ("qwen2", "sst2", "autolora"),
    ("qwen2", "e2e", "full"),
    ("llama", "sst2", "lora"),
    ("llama", "e2e", "autolora"),
    ("llama", "e2e", "monarch"),
    ("llama", "sst2", "autolora_all_linear"),
}
ENCODED = [
    "full",
    "bitfit",
    "adapter",
    "adapter_l",
    "prefix_tuning",
    "prompt_tuning",
    "ia3",
    "lora",
    "autolora",
]
LABELLED = [
    "full",
    "adapter_pfeiffer",
    "prefix_tuning",
    "ia3",
    "lora",
    "dora",
    "monarch",
    "autolora",
    "adalora",
]
GENERATED = [*LABELLED, "prompt_tuning", "p_tuning", "llama_adapter"]
CASES = [
    *(("xlmr", "sst2", method) for method in ENCODED),
    *(("xlmr", "bionlp", method) for method in ("lora", "adapter")),
    *((kind, "sst2", method) for kind in ("llama", "qwen2") for method in LABELLED),
    *(("llama", "e2e", method) for method in GENERATED),
    *(("qwen2", "e2e", method) for method in [*GENERATED[:-1], "bitfit"]),
    ("qwen2", "sst2", "bitfit"),
    ("llama", "sst2", "autolora_all_linear"),
]


@pytest.fixture(scope="session")
def folders(tiny_xlmr: Path, tiny_decoder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Kind -> folder of a random model."""
    found = {kind: tmp_path_factory.mktemp(kind) for kind in ("llama", "qwen2")}
    for kind, model in (
        ("llama", lambda: LlamaForCausalLM(LlamaConfig(**LLAMA_LIKE))),
        ("qwen2", lambda: Qwen2ForCausalLM(Qwen2Config(**LLAMA_LIKE))),
    ):
        AutoTokenizer.from_pretrained(tiny_decoder).save_pretrained(found[kind])
        torch.manual_seed(0)
        model().save_pretrained(found[kind])
    return {"xlmr": tiny_xlmr, **found}


@pytest.fixture(scope="session")
def run_of(trained: Callable[..., Any], folders: dict[str, Path]) -> Callable[..., Any]:
    """Kind, task, method -> a finished run."""

    def find(kind: str, task: str, method: str) -> Any:
        words = TEXTS if task == "e2e" else [f"task={task}"]
        return trained(method, f"model.checkpoint={folders[kind]}", *words, *SHORT)

    return find


@pytest.mark.parametrize(
    ("kind", "task", "method"),
    [pytest.param(*case, marks=[] if case in QUICK else pytest.mark.slow) for case in CASES],
)
@pytest.mark.sample(keep=("llama-sst2-lora", "xlmr-sst2-bitfit", "qwen2-e2e-full"))
def test_runs_and_is_rebuilt(kind: str, task: str, method: str, run_of: Callable[..., Any]) -> None:
    run = run_of(kind, task, method)
    assert ("token_type_ids" in run.batch) is False
    assert run.record.best["validation"].scores
    rebuilt = build_method(run.experiment.method).rebuild(run.context)
    torch.testing.assert_close(run.logits_of(rebuilt), run.logits, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["xlmr", "qwen2"])
@pytest.mark.sample(keep=("xlmr",))
def test_padding_changes_no_label(kind: str, run_of: Callable[..., Any]) -> None:
    """A decoder's classifier reads the last token that is no padding; XLM-R counts positions past it."""
    run = run_of(kind, "sst2", {"xlmr": "bitfit", "qwen2": "autolora"}[kind])
    lengths = run.batch["attention_mask"].sum(dim=1)
    assert len(set(lengths.tolist())) > 1
    together, rows = run.logits, run.batch
    for row, length in enumerate(lengths.tolist()):
        alone = {name: tensor[row : row + 1, :length] for name, tensor in rows.items() if name != "labels"}
        run.model.eval()
        with torch.no_grad():
            found = run.model(**alone).logits[0]
        torch.testing.assert_close(found, together[row], rtol=1e-5, atol=1e-6)


def test_tied_embeddings_stay_tied(run_of: Callable[..., Any]) -> None:
    """Full fine-tuning trains the one matrix, counted once, and its export has it once."""
    run = run_of("qwen2", "e2e", "full")
    assert run.model.lm_head.weight is run.model.model.embed_tokens.weight
    assert run.record.parameters.trainable == run.record.parameters.total
    assert run.record.parameters.total == sum(
        p.numel() for p in Qwen2ForCausalLM(Qwen2Config(**LLAMA_LIKE)).parameters()
    )
    exported = Qwen2ForCausalLM.from_pretrained(run.folder / "finetune/export").eval()
    torch.testing.assert_close(run.logits_of(exported), run.logits, rtol=0, atol=1e-6)
