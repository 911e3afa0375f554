"""Prefix tuning, prompt tuning and P-tuning through PEFT: virtual tokens before every input; the model stays as it is.

Trained, without the head, with V virtual tokens, L blocks, embeddings of size D, keys (and values) of size K in all
heads of a block together, and h hidden units:

    prefix tuning   2 L K V;  with a projection  V K + (K + 1) h + (h + 1) 2 L K
    prompt tuning   V D
    P-tuning        V D + the network's, which is used up in the training: (D + 1) h + (h + 1) h + (h + 1) D for an MLP

On an encoder a classifier reads the first virtual token of prompt tuning and P-tuning, as in PEFT: it stands where the
model's first token stood. The papers have no such classifier: Lester et al. let T5 write the label, Liu et al. read a
[MASK] in a template, and both leave the head out. So these two rows are PEFT's use of the methods, which the record
says (`classifier_reads`). After a prefix a classifier reads the real first token, as P-tuning v2's does. Positions of
real tokens begin after the virtual ones in all three.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
from peft import PeftModel
from torch import nn
from torch.nn import functional

from autolora_bench.config.prompts import PrefixConfig, PromptConfig, PromptStart, PTuningConfig
from autolora_bench.config.task import IGNORED
from autolora_bench.methods.base import PhaseContext
from autolora_bench.methods.finetuning import OneTraining
from autolora_bench.methods.peft_lora import TASK_TYPES
from autolora_bench.models.load import Backbone, HeadKind
from autolora_bench.models.virtual import prompt_sizes
from autolora_bench.tasks.model_fit import check_room

UNSEEN = (HeadKind.sequence, HeadKind.text_to_text)
"""Heads that put out nothing for a virtual token: one row for an input, or rows of what is written."""
READS = "the first virtual token, as in PEFT; the paper's own form has no classifier"
"""Of prompt tuning and P-tuning, on an encoder with a classifier."""


@dataclass(frozen=True)
class Prompts(OneTraining):
    """Virtual tokens of one of the three kinds."""

    config: PrefixConfig | PromptConfig | PTuningConfig

    def adapt(self, backbone: Backbone, context: PhaseContext) -> PeftModel:
        """Virtual tokens before every input."""
        virtual = self.config.virtual_tokens
        check_room(backbone.model, context.experiment.task, context.splits, virtual)
        return prompted(backbone, context.task.head().kind, self.config)

    def export(self, model: PeftModel, backbone: Backbone, folder: Path) -> None:
        """PEFT's own format: the prompt as it is read, without the network that made it; and the head."""
        model.save_pretrained(str(folder))

    def details(self, context: PhaseContext) -> dict[str, Any]:
        """What a classifier reads, where that is not what the method's authors read."""
        own = isinstance(self.config, PrefixConfig) or context.task.head().kind is not HeadKind.sequence
        return {} if own else {"classifier_reads": READS}


def prompted(
    backbone: Backbone, head: HeadKind, config: PrefixConfig | PromptConfig | PTuningConfig
) -> PeftModel:
    """`backbone.model` behind virtual tokens; its outputs are those of the real tokens alone."""
    model = peft.get_peft_model(
        backbone.model,
        _peft_config(
            config,
            backbone.model,
            task_type=TASK_TYPES[head],
            num_virtual_tokens=config.virtual_tokens,
            modules_to_save=backbone.head_modules or None,
        ),
    )
    assert isinstance(model, PeftModel)
    if not isinstance(config, PrefixConfig) and head not in UNSEEN:
        hide_virtual_positions(model, config.virtual_tokens, head)
    return model


def _peft_config(config: Any, model: Any, **options: Any) -> peft.PeftConfig:
    if isinstance(config, PrefixConfig):
        options |= prompt_sizes(model, keys=True) if model.config.is_encoder_decoder else {}
        return peft.PrefixTuningConfig(
            prefix_projection=config.projection is not None,
            encoder_hidden_size=config.projection or 0,
            **options,
        )
    options |= prompt_sizes(model, keys=False)
    if isinstance(config, PTuningConfig):
        return peft.PromptEncoderConfig(
            encoder_reparameterization_type=config.encoder.name.upper(),
            encoder_hidden_size=config.units or options["token_dim"] // 2,
            **options,
        )
    drawn = config.initial is PromptStart.vocabulary
    return peft.PromptTuningConfig(prompt_tuning_init="SAMPLE_VOCAB" if drawn else "RANDOM", **options)


def hide_virtual_positions(model: PeftModel, count: int, head: HeadKind) -> None:
    """Cut the virtual tokens' rows off every output; PEFT keeps them, and gives taggers' labels no such rows."""

    def cut(_: nn.Module, __: Any, outputs: Any) -> Any:
        outputs.logits = outputs.logits[:, count:]
        return outputs

    def lengthen(_: nn.Module, arguments: Any, named: dict[str, Any]) -> Any:
        labels = named.get("labels")
        if labels is not None:
            named["labels"] = functional.pad(labels, (count, 0), value=IGNORED)
        return arguments, named

    model.register_forward_hook(cut)
    if head is HeadKind.tokens:
        model.get_base_model().register_forward_pre_hook(lengthen, with_kwargs=True)
