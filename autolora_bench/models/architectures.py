"""What is known of each architecture, without torch."""

QUERY_AND_VALUE = {
    "albert": ["query", "value"],
    "bert": ["query", "value"],
    "deberta-v2": ["query_proj", "value_proj"],
    "distilbert": ["q_lin", "v_lin"],
    "electra": ["query", "value"],
    "gemma2": ["q_proj", "v_proj"],
    "gpt2": ["c_attn.query", "c_attn.value"],
    "llama": ["q_proj", "v_proj"],
    "mistral": ["q_proj", "v_proj"],
    "mpnet": ["q", "v"],
    "opt": ["q_proj", "v_proj"],
    "qwen2": ["q_proj", "v_proj"],
    "qwen3": ["q_proj", "v_proj"],
    "residual_net": ["dense"],
    "roberta": ["query", "value"],
    "xlm-roberta": ["query", "value"],
}
"""Architecture (config.model_type) -> names of its query and value projections; a residual net's only one."""
