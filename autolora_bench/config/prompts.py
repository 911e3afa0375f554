"""Methods beside the low-rank ones that train few weights of their own: prompts of several kinds, and IA3's scales."""

from dataclasses import dataclass, field
from enum import Enum

from autolora_bench.config.architectures import ARCHITECTURES, DECODERS, ENCODER_DECODERS, ENCODERS, Is, those
from autolora_bench.config.identity import ADDED
from autolora_bench.config.method import MethodConfig
from autolora_bench.config.ranges import Share, Size
from autolora_bench.config.registry import Support, method
from autolora_bench.config.support import ANSWERS
from autolora_bench.config.task import GenerationTask

PROMPTED = Support(
    ANSWERS,
    architectures=(*ENCODERS, *DECODERS, *ENCODER_DECODERS),
    labels_on=(*ENCODERS, *ENCODER_DECODERS),
    reason="it is not known to find the last token, which a decoder's classifier reads, behind embeddings",
    starts_unchanged=False,
    encoder_decoders=True,
)


@method(
    "prefix_tuning",
    runs="autolora_bench.methods.prompts:Prompts",
    family="prompt",
    works_on=Support(
        ANSWERS,
        architectures=(*those(Is.remembering), *DECODERS, *ENCODER_DECODERS),
        reason="its attention takes no keys and values from before the input",
        starts_unchanged=False,
        encoder_decoders=True,
        needs_padding="whose keys and values are not the tokens'",
    ),
)
@dataclass
class PrefixConfig(MethodConfig):
    """Prefix tuning (Li & Liang, 2021; for encoders P-tuning v2, Liu et al., 2022): virtual keys and values in every
    block."""

    virtual_tokens: Size = 20
    """Length of the prefix."""
    projection: Size | None = None
    """Hidden units of the network that makes the prefix out of embeddings while it is trained; none trains the prefix
    itself."""


class PromptStart(Enum):
    """First values of virtual tokens."""

    vocabulary = "embeddings of tokens drawn from the vocabulary"
    random = "normal with deviation one"


@method("prompt_tuning", runs="autolora_bench.methods.prompts:Prompts", family="prompt", works_on=PROMPTED)
@dataclass
class PromptConfig(MethodConfig):
    """Prompt tuning (Lester et al., 2021): embeddings of virtual tokens before the input's."""

    virtual_tokens: Size = 20
    """Length of the prompt."""
    initial: PromptStart = PromptStart.vocabulary


class PromptEncoder(Enum):
    """Network that P-tuning's virtual tokens go through."""

    lstm = "two bidirectional LSTM layers, then two linear layers"
    mlp = "three linear layers"


@method("p_tuning", runs="autolora_bench.methods.prompts:Prompts", family="prompt", works_on=PROMPTED)
@dataclass
class PTuningConfig(MethodConfig):
    """P-tuning (Liu et al., 2021): embeddings of virtual tokens that a small network makes while it is trained."""

    virtual_tokens: Size = 20
    """Length of the prompt."""
    encoder: PromptEncoder = PromptEncoder.lstm
    units: Size | None = None
    """Hidden units of the network; none means half the size of the model's embeddings."""


@method(
    "llama_adapter",
    runs="autolora_bench.methods.llama_adapter:LlamaAdapter",
    family="prompt",
    works_on=Support(
        (GenerationTask,),
        ("llama", "mistral"),
        reason="its prompts are PEFT's, for Llama-like language models",
    ),
)
@dataclass
class LlamaAdapterConfig(MethodConfig):
    """LLaMA-Adapter (Zhang et al., 2024): gated attention to prompts in the upper blocks, closed at the start."""

    virtual_tokens: Size = 10
    """Prompts in each adapted block."""
    drop: Share = 0.0
    """Share of the blocks, from the input on, that get no prompt."""
    base_batch_size: Size | None = field(default=None, metadata=ADDED)
    """learning_rate is meant for so many examples a step: the rate is learning_rate x train.batch_size / this. None:
    learning_rate is the rate."""


@method(
    "ia3",
    runs="autolora_bench.methods.ia3:IA3",
    family="prompt",
    works_on=Support(
        architectures=tuple(name for name, one in ARCHITECTURES.items() if one.factors), encoder_decoders=True
    ),
)
@dataclass
class IA3Config(MethodConfig):
    """IA3 (Liu et al., 2022): a factor for every key, value and unit of the feed-forward layers, one at the start."""
