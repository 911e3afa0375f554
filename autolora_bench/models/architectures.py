"""What is known of transformers' models, of each architecture and of all, without torch."""

QUERY_AND_VALUE = {
    "albert": ["query", "value"],
    "bart": ["q_proj", "v_proj"],
    "bert": ["query", "value"],
    "deberta-v2": ["query_proj", "value_proj"],
    "distilbert": ["q_lin", "v_lin"],
    "electra": ["query", "value"],
    "gemma": ["q_proj", "v_proj"],
    "gemma2": ["q_proj", "v_proj"],
    "gemma3_text": ["q_proj", "v_proj"],
    "gpt2": ["c_attn.query", "c_attn.value"],
    "gpt_neox": ["query_key_value"],
    "llama": ["q_proj", "v_proj"],
    "mistral": ["q_proj", "v_proj"],
    "modernbert": ["Wqkv"],
    "mpnet": ["q", "v"],
    "olmo2": ["q_proj", "v_proj"],
    "opt": ["q_proj", "v_proj"],
    "phi3": ["qkv_proj"],
    "qwen2": ["q_proj", "v_proj"],
    "qwen3": ["q_proj", "v_proj"],
    "residual_net": ["dense"],
    "roberta": ["query", "value"],
    "t5": ["q", "v"],
    "xlm-roberta": ["query", "value"],
}
"""Architecture (config.model_type) -> names of its query and value projections, or of the one layer that holds them and
the keys; a residual net's only one. Of others PEFT's own table tells, else all linear layers of the blocks are taken.
"""
EAGER = ("deberta-v2", "gemma2")
"""Architectures whose attention transformers computes by plain matrix products alone."""
PADDED_AT_THE_LEFT = ("xlnet",)
"""Architectures whose classifier reads the last position, so that padding must come before it."""
IGNORED = -100
"""The label of a token that has none: no loss counts it."""
