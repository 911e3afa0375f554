"""Where IA3 (Liu et al., 2022, section 3.3) puts its factors: keys, values (those of both halves and between them too),
the feed-forward layers' inside."""

import re

from transformers import PreTrainedModel

from autolora_bench.errors import UserError

BERT = (("key", "value"), r"\.\d+\.output\.dense")
LLAMA = (("k_proj", "v_proj"), r"\.down_proj")
SCALED: dict[str, tuple[tuple[str, str], str]] = {
    "albert": (("key", "value"), r"\.ffn_output"),
    "bart": (("k_proj", "v_proj"), r"\.fc2"),
    "bert": BERT,
    "deberta-v2": (("key_proj", "value_proj"), BERT[1]),
    "distilbert": (("k_lin", "v_lin"), r"\.ffn\.lin2"),
    "electra": BERT,
    "gemma2": LLAMA,
    "gpt2": (("c_attn.key", "c_attn.value"), r"\.mlp\.c_proj"),
    "llama": LLAMA,
    "mistral": LLAMA,
    "mpnet": (("attn.k", "attn.v"), BERT[1]),
    "opt": (("k_proj", "v_proj"), r"\.fc2"),
    "qwen2": LLAMA,
    "qwen3": LLAMA,
    "roberta": BERT,
    "t5": (("k", "v"), r"\.wo"),
    "xlm-roberta": BERT,
}
"""Architecture -> ends of the names of the key and value projections; end, as a pattern, of that of the layer whose
input is the feed-forward layers' inside."""


def scaled_modules(model: PreTrainedModel) -> tuple[list[str], list[str]]:
    """Full names of the layers whose outputs, and of those whose inputs, are scaled.

    Raises:
        UserError: the architecture's layers are not known, or query, key and value of GPT-2 are one layer.
    """
    architecture = model.config.model_type
    known = ", ".join(sorted(SCALED))
    if architecture not in SCALED:
        raise UserError(
            f"which layers of a {architecture} model IA3 scales is not known", f"choose one of: {known}"
        )
    attention, feed_forward = SCALED[architecture]
    names = [name for name, _ in model.named_modules()]
    outputs = [name for name in names if any(name.endswith(f".{ending}") for ending in attention)]
    inputs = [name for name in names if re.search(f"{feed_forward}$", name)]
    if not outputs:
        raise UserError(
            f"this {architecture} model has no layers {' and '.join(attention)}",
            "leave out model.targets, so that query, key and value are layers of their own",
        )
    return outputs, inputs
