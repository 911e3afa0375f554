"""What is known of each architecture, in one table without torch: where its layers are, and what is proved on it.

A new architecture is one entry here; tests/methods/test_more_architectures.py and its neighbours prove what it says.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto


class Half(Enum):
    """What a model does with a text."""

    encoder = auto()
    """Reads a whole input at once."""
    decoder = auto()
    """Reads and writes token by token."""
    both = auto()
    """Reads a text with one half and writes with the other."""


class Is(Enum):
    """What is proved of an architecture, or known to be otherwise than of most (transformers 5.23)."""

    flash = auto()
    """Its attention may be FlashAttention's."""
    compiled = auto()
    """It trains the same by torch.compile."""
    nf4 = auto()
    """Its linear layers train a LoRA in NF4."""
    unpadded = auto()
    """It attends by a function of transformers' registry, and treats tokens one by one everywhere else."""
    sharded = auto()
    """It trains the same with its frozen weights in parts."""
    remembering = auto()
    """An encoder whose attention takes keys and values from before the input."""
    eager = auto()
    """transformers computes its attention by plain matrix products alone."""
    unbiased = auto()
    """Its layers and norms have no bias terms."""
    never_recomputed = auto()
    """Its blocks cannot be computed again."""
    segmented = auto()
    """It tells the two texts of a pair apart by their types without an embedding of each."""
    padded_at_the_left = auto()
    """Its classifier reads the last position, so that padding must come before it."""


@dataclass(frozen=True)
class Sublayers:
    """Where the parts of an architecture's blocks are."""

    blocks: str
    """List of blocks, inside the backbone."""
    attention: str
    """Module of a block that gives attention's output, dropout included, before the residual sum."""
    feed_forward: str
    """The same of the feed-forward layers."""
    norm: str | None
    """The layer norm that ends a block, fed with the residual sum; none where blocks end with the sum."""


@dataclass(frozen=True)
class Factors:
    """Where IA3 (Liu et al., 2022, section 3.3) puts its factors."""

    key: str
    """End of the names of the key projections."""
    value: str
    """The same of the value projections."""
    inside: str
    """The same, as a pattern, of the layer whose input is the feed-forward layers' inside."""


@dataclass(frozen=True)
class Architecture:
    """What is known of the models of one `model_type` of transformers' configurations."""

    query_value: tuple[str, ...] = ()
    """Ends of the names of the query and value projections, or of the one layer that holds them and the keys; a
    residual net's only one. Empty: PEFT's own table tells, else all linear layers of the blocks are taken."""
    half: Half | None = None
    """None where methods that hang on it are not proved."""
    traits: frozenset[Is] = frozenset()
    sublayers: Sublayers | None = None
    """For adapters; none where it is not known."""
    factors: Factors | None = None
    """For IA3; none where it is not known."""


def _row(
    query_value: str,
    half: Half | None,
    *traits: Is,
    sublayers: Sublayers | None = None,
    factors: Factors | None = None,
) -> Architecture:
    return Architecture(tuple(query_value.split()), half, frozenset(traits), sublayers, factors)


FUSED = (Is.flash, Is.compiled, Is.nf4)
BERT = (*FUSED, Is.unpadded, Is.remembering)
POST_NORM = Sublayers("encoder.layer", "attention.output.dropout", "output.dropout", "output.LayerNorm")
BERT_FACTORS = Factors("key", "value", r"\.\d+\.output\.dense")
LLAMA = Sublayers("layers", "self_attn.o_proj", "mlp.down_proj", None)
LLAMA_FACTORS = Factors("k_proj", "v_proj", r"\.down_proj")
ARCHITECTURES = {
    "albert": _row(
        "query value",
        Half.encoder,
        *(Is.flash, Is.never_recomputed),
        factors=Factors("key", "value", r"\.ffn_output"),
    ),
    "bart": _row("q_proj v_proj", Half.both, factors=Factors("k_proj", "v_proj", r"\.fc2")),
    "bert": _row("query value", Half.encoder, *BERT, Is.sharded, sublayers=POST_NORM, factors=BERT_FACTORS),
    "deberta-v2": _row(
        "query_proj value_proj",
        Half.encoder,
        *(Is.compiled, Is.nf4, Is.eager),
        sublayers=POST_NORM,
        factors=Factors("key_proj", "value_proj", BERT_FACTORS.inside),
    ),
    "distilbert": _row(
        "q_lin v_lin", Half.encoder, *FUSED, Is.unpadded, factors=Factors("k_lin", "v_lin", r"\.ffn\.lin2")
    ),
    "electra": _row("query value", Half.encoder, *BERT, sublayers=POST_NORM, factors=BERT_FACTORS),
    "funnel": _row("", None, Is.segmented),
    "gemma": _row("q_proj v_proj", None, Is.flash),
    "gemma2": _row("q_proj v_proj", Half.decoder, Is.compiled, Is.eager, Is.unbiased, factors=LLAMA_FACTORS),
    "gemma3_text": _row("q_proj v_proj", None, *FUSED),
    "gpt2": _row(
        "c_attn.query c_attn.value",
        Half.decoder,
        *(Is.flash, Is.compiled, Is.unpadded),
        sublayers=Sublayers("h", "attn.resid_dropout", "mlp.dropout", None),
        factors=Factors("c_attn.key", "c_attn.value", r"\.mlp\.c_proj"),
    ),
    "gpt_neox": _row("query_key_value", None, *FUSED),
    "llama": _row(
        "q_proj v_proj",
        Half.decoder,
        *(*FUSED, Is.unpadded, Is.sharded, Is.unbiased),
        sublayers=LLAMA,
        factors=LLAMA_FACTORS,
    ),
    "mistral": _row(
        "q_proj v_proj",
        Half.decoder,
        *(*FUSED, Is.unpadded, Is.unbiased),
        sublayers=LLAMA,
        factors=LLAMA_FACTORS,
    ),
    "modernbert": _row("Wqkv", None, *FUSED),
    "mpnet": _row(
        "q v",
        Half.encoder,
        *(Is.compiled, Is.nf4, Is.unpadded, Is.never_recomputed),
        sublayers=Sublayers("encoder.layer", "attention.dropout", "output.dropout", "output.LayerNorm"),
        factors=Factors("attn.k", "attn.v", BERT_FACTORS.inside),
    ),
    "olmo2": _row("q_proj v_proj", None, *FUSED),
    "opt": _row(
        "q_proj v_proj", Half.decoder, *FUSED, Is.unpadded, factors=Factors("k_proj", "v_proj", r"\.fc2")
    ),
    "phi3": _row("qkv_proj", None, *FUSED),
    "qwen2": _row("q_proj v_proj", Half.decoder, *FUSED, Is.unpadded, sublayers=LLAMA, factors=LLAMA_FACTORS),
    "qwen3": _row(
        "q_proj v_proj",
        Half.decoder,
        *(*FUSED, Is.unpadded, Is.unbiased),
        sublayers=LLAMA,
        factors=LLAMA_FACTORS,
    ),
    "residual_net": _row("dense", None, Is.never_recomputed),
    "roberta": _row("query value", Half.encoder, *BERT, sublayers=POST_NORM, factors=BERT_FACTORS),
    "t5": _row("q v", Half.both, factors=Factors("k", "v", r"\.wo")),
    "xlm-roberta": _row("query value", Half.encoder, *BERT, sublayers=POST_NORM, factors=BERT_FACTORS),
    "xlnet": _row("", None, Is.segmented, Is.padded_at_the_left),
}
"""`model_type` -> what is known of it, in the order of their names."""


def _of(half: Half) -> Iterator[str]:
    return (name for name, one in ARCHITECTURES.items() if one.half is half)


ENCODERS, DECODERS, ENCODER_DECODERS = (tuple(_of(half)) for half in Half)


def those(trait: Is) -> tuple[str, ...]:
    """Names of the architectures of which it is known."""
    return tuple(name for name, one in ARCHITECTURES.items() if trait in one.traits)


def has(architecture: str, trait: Is) -> bool:
    """Whether it is known of an architecture; False of one that is not in the table."""
    return architecture in ARCHITECTURES and trait in ARCHITECTURES[architecture].traits


def query_and_value(architecture: str) -> tuple[str, ...]:
    """Ends of the names of its query and value projections; empty where they are not known here."""
    return ARCHITECTURES.get(architecture, Architecture()).query_value
