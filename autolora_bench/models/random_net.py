"""Networks with random frozen weights: small enough that a rank search on them takes seconds.

Shapes: B batch, T tokens, D units.
"""

from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor, nn
from transformers import BertConfig, BertModel, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.modeling_outputs import BaseModelOutput

from autolora_bench.config.model import Blocks, RandomNet

WINDOW = 3
"""Tokens whose embeddings make the first state of a position: its own and those before it."""
PADDING = "[PAD]"
HEADS = 4
POSITIONS = 512


class ResidualNetConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """Sizes of a residual network; `vocabulary` does not count the padding token."""

    model_type = "residual_net"

    def __init__(
        self, blocks: int = 12, units: int = 48, vocabulary: int = 1024, net_seed: int = 0, **more: Any
    ) -> None:
        self.blocks = blocks
        self.units = self.hidden_size = units
        self.vocabulary = vocabulary
        self.net_seed = net_seed
        super().__init__(**{"pad_token_id": vocabulary, **more})


class _Block(nn.Module):
    """x -> x + tanh(dense(norm(x)))."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(units)
        self.dense = nn.Linear(units, units)

    def forward(self, states: Tensor) -> Tensor:
        update: Tensor = states + torch.tanh(self.dense(self.norm(states)))
        return update


class ResidualNet(PreTrainedModel):  # type: ignore[no-untyped-call]
    """Embeddings of the last three tokens, summed, through residual blocks: every position is a vector of its own.

    Weights are drawn from the configuration's own seed: normal with deviation 1 (embeddings), 1 / sqrt(D) (layers).
    """

    config_class = ResidualNetConfig
    config: ResidualNetConfig
    base_model_prefix = "net"
    main_input_name = "input_ids"

    def __init__(self, config: ResidualNetConfig) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocabulary + 1, config.units, padding_idx=config.vocabulary)
        self.blocks = nn.ModuleList(_Block(config.units) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.units)
        self.post_init()  # type: ignore[no-untyped-call]
        self._draw(torch.Generator().manual_seed(config.net_seed))

    def get_input_embeddings(self) -> nn.Module:
        """Of the tokens; transformers looks for it by names that this network does not have."""
        return self.embeddings

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> BaseModelOutput:
        """(B, T) tokens -> last_hidden_state (B, T, D)."""
        embedded = self.embeddings(input_ids)
        states = embedded.clone()
        for back in range(1, min(WINDOW, embedded.shape[1])):
            states[:, back:] += embedded[:, :-back]
        states = states / WINDOW**0.5
        for block in self.blocks:
            states = block(states)
        return BaseModelOutput(last_hidden_state=self.norm(states))

    @torch.no_grad()
    def _draw(self, generator: torch.Generator) -> None:
        self.embeddings.weight.normal_(generator=generator)
        self.embeddings.weight[-1] = 0
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.weight.normal_(std=self.config.units**-0.5, generator=generator)
                module.bias.zero_()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: `_draw` does it."""


def random_net(net: RandomNet) -> PreTrainedModel:
    """The network of a configuration; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        if net.kind is Blocks.bert:
            return random_bert(net)
        return ResidualNet(ResidualNetConfig(net.blocks, net.units, net.vocabulary, net.seed))


@torch.no_grad()
def random_bert(net: RandomNet) -> BertModel:
    """BERT without pooler and dropout. Its weights are normal with deviation 1 (embeddings), 1 / sqrt(D) (layers): at
    BERT's own .02 a network of this width would hardly do anything but pass its embeddings on."""
    config = BertConfig(
        vocab_size=net.vocabulary + 1,
        hidden_size=net.units,
        num_hidden_layers=net.blocks,
        num_attention_heads=HEADS,
        intermediate_size=net.units,
        max_position_embeddings=POSITIONS,
        pad_token_id=net.vocabulary,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = BertModel(config, add_pooling_layer=False)
    generator = torch.Generator().manual_seed(net.seed)
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.weight.normal_(generator=generator)
        elif isinstance(module, nn.Linear):
            module.weight.normal_(std=net.units**-0.5, generator=generator)
            module.bias.zero_()
    return model


class NumberTokenizer(PreTrainedTokenizerFast):
    """The network's vocabulary: token n is the word n."""

    def __init__(self, net: RandomNet) -> None:
        words = {str(number): number for number in range(net.vocabulary)} | {PADDING: net.vocabulary}
        tokenizer = Tokenizer(WordLevel(words, unk_token=PADDING))
        tokenizer.pre_tokenizer = WhitespaceSplit()
        super().__init__(  # type: ignore[no-untyped-call]
            tokenizer_object=tokenizer,
            pad_token=PADDING,
            model_input_names=["input_ids", "attention_mask"],
        )
