"""The phase that computes LoRA's first values from the weights or from training examples.

Shapes: D inputs, O outputs, r rank of a layer; A is (r, D), B is (O, r).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import peft
import torch
from peft import EvaConfig, LoraConfig
from peft.tuners.lora.config import CordaConfig
from peft.tuners.lora.corda import preprocess_corda
from peft.tuners.lora.eva import get_eva_state_dict
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from autolora_bench.config.method import LoraConfig as UniformConfig
from autolora_bench.config.variant import LoraGaConfig, Start
from autolora_bench.errors import UserError
from autolora_bench.methods.base import Phase, PhaseContext, PhaseResult
from autolora_bench.methods.factors import FACTORS, Factors, write_factors
from autolora_bench.methods.first_gradients import Batches, mean_gradients, mean_loss, weight_gradients
from autolora_bench.methods.peft_lora import lora_model
from autolora_bench.methods.ranked_model import LowRankConfig, lora_options, write_allocation
from autolora_bench.models.cur import cur_approximation
from autolora_bench.models.load import Backbone, HeadKind
from autolora_bench.models.targets import check_own_weight
from autolora_bench.search import RankAllocation
from autolora_bench.search.layers import lora_factors, lora_layers
from autolora_bench.training.counting import Stopwatch

START_RANKS = "initialise/ranks.json"
Allocate = Callable[[Backbone, PhaseContext], RankAllocation]
"""The ranks that the method asks for."""


def initialising(config: LowRankConfig, allocate: Allocate) -> list[Phase]:
    """The phase, where the method's start needs one."""
    return [] if config.variant.start is Start.lora else [InitialisePhase(config, allocate)]


@dataclass(frozen=True)
class InitialisePhase:
    """Leaves factors.safetensors (A and B of every layer) and ranks.json (the ranks they have).

    Training, resuming and rebuilding read them, so that all start from the same numbers wherever they run.
    """

    config: LowRankConfig
    allocate: Allocate
    parallel: ClassVar[bool] = False
    name: str = "initialise"

    def run(self, context: PhaseContext) -> PhaseResult:
        """Compute and save them; the time of loading the model does not count.

        A token costs two operations a weight forward, and four more backward where the start looks at gradients.
        """
        context.phase_folder(self.name)
        backbone = context.backbone()
        weights = backbone.model.num_parameters(exclude_embeddings=True)
        asked = self.allocate(backbone, context)
        _check_size(backbone, asked, 2 if self.config.variant.start is Start.lora_ga else 1)
        if self.config.variant.start.changes_weights:
            for name in asked.kept_ranks:
                check_own_weight(backbone.model, name, "what this start takes off one the other would lack")
        batches = Batches(context)
        watch = Stopwatch(context.device)
        factors = FIRST_VALUES[self.config.variant.start](self.config, asked, backbone, context, batches)
        seconds, cpu_seconds = watch.stop()
        passes = 2.0 if self.config.variant.start in (Start.eva, Start.corda) else 6.0
        ranks = [len(factors[name][0]) if name in factors else 0 for name in asked.modules]
        found = RankAllocation.from_ranks(asked.modules, ranks)
        write_allocation(found, context.folder / START_RANKS)
        write_factors(factors, context.folder / FACTORS)
        details = {"start": self.config.variant.start.value, "total_rank": found.total}
        return PhaseResult(
            artefact=FACTORS,
            train_seconds=seconds,
            train_cpu_seconds=cpu_seconds,
            examples=batches.examples,
            tokens=batches.tokens,
            flops=None if batches.tokens is None else passes * batches.tokens * weights,
            details=details,
            source=backbone.source,
        )


def _by_peft(
    config: LowRankConfig, asked: RankAllocation, backbone: Backbone, context: PhaseContext, _: Batches
) -> Factors:
    """PiSSA: W = U S V', A = (S / scale)^(1/2) V', B = U (S / scale)^(1/2), r of each. OLoRA: W = Q R, A = R, B = Q."""
    start = config.variant.start
    turned = [name for name in asked.modules if isinstance(backbone.model.get_submodule(name), Conv1D)]
    if start is Start.olora and turned:
        raise UserError(
            f"OLoRA cannot start {turned[0]}: PEFT decomposes a Conv1D the wrong way round",
            "say model.targets=null for query and value of GPT-2 as layers of their own, or another start",
        )
    model = lora_model(backbone, context, init_lora_weights=start.value, **lora_options(config, asked))
    return dict(zip(lora_layers(model), lora_factors(model), strict=True))


def _lora_ga(
    config: LowRankConfig, asked: RankAllocation, backbone: Backbone, context: PhaseContext, batches: Batches
) -> Factors:
    """LoRA-GA, section 3 and algorithm 1: A the first right singular vectors of the gradient, B the next left ones."""
    ga = config.variant.lora_ga
    ranks = asked.kept_ranks
    model = backbone.model.to(context.device)  # type: ignore[arg-type]
    loader = batches.loader(min(ga.examples, context.experiment.train.batch_size), ga.examples)
    gradients = weight_gradients(model, list(ranks), batches.shares(list(loader)), mean_loss(context))
    return {name: gradient_factors(gradients[name], rank, ga) for name, rank in ranks.items()}


def gradient_factors(gradient: Tensor, rank: int, config: LoraGaConfig) -> tuple[Tensor, Tensor]:
    """A (r, D) and B (O, r) of LoRA-GA's theorem 3.1 with its stable scale, equation 12, from a gradient (O, D).

    PEFT 0.21.2 has a `lora_ga` start of its own, which multiplies B by the gradient's singular values and leaves A
    unscaled; neither the paper nor the authors' code (Outsider565/LoRA-GA) does.
    """
    u, _, v = torch.linalg.svd(gradient.double(), full_matrices=False)
    scale = gradient.shape[0] ** 0.25 / config.gamma**0.5
    return (scale * v[:rank]).float(), (scale * u[:, rank : 2 * rank]).float()


def gora_start(
    config: LowRankConfig,
    asked: RankAllocation,
    backbone: Backbone,
    context: PhaseContext,
    gradients: Mapping[str, Tensor],
) -> Factors:
    """GoRA (He et al., 2025, arXiv:2502.12171), whose first step is one down the gradient of the full weight.

    Section 4.2: LoRA's own A, and the B of `compressed_step`, for every layer of a rank above 0.

    Args:
        config: the method; its scaling decides B's size.
        asked: the ranks.
        backbone: the fresh model, changed in place.
        context: the run.
        gradients: layer -> gradient (O, D) with respect to its pretrained weight.
    """
    model = lora_model(backbone, context, **lora_options(config, asked))
    rate, adapter = config.variant.gora.learning_rate, model.active_adapter
    pairs = zip(lora_layers(model).items(), lora_factors(model), strict=True)
    return {
        name: (a, compressed_step(gradients[name], a, layer.scaling[adapter], rate))
        for (name, layer), (a, _) in pairs
    }


@torch.no_grad()
def compressed_step(gradient: Tensor, a: Tensor, scale: float, rate: float) -> Tensor:
    """B (O, r) with scale x B A = -rate sqrt(D / r) G P, P the projection on A's rows, G the gradient (O, D).

    A random projection keeps r / D of a square norm, so the step's length is about rate x |G| at every rank. The
    authors' code (hhnqqq/MyTransformers@4037d4d) has this length and no minus: its first step goes up the loss, against
    the paper.
    """
    rows = a.detach().cpu().double()
    step = -rate * math.sqrt(rows.shape[1] / rows.shape[0]) / scale
    b: Tensor = step * gradient.detach().cpu().double() @ torch.linalg.pinv(rows)
    return b.float()


def _gora(
    config: LowRankConfig, asked: RankAllocation, backbone: Backbone, context: PhaseContext, batches: Batches
) -> Factors:
    gradients = mean_gradients(
        backbone, context, list(asked.kept_ranks), batches, config.variant.gora.batches
    )
    return gora_start(config, asked, backbone, context, gradients)


def _eva(
    config: LowRankConfig, asked: RankAllocation, backbone: Backbone, context: PhaseContext, batches: Batches
) -> Factors:
    """EVA, section 3, as PEFT computes it: incremental principal components of every layer's inputs."""
    eva, ranks = config.variant.eva, asked.kept_ranks
    redistributes = isinstance(config, UniformConfig)
    model = backbone.model.to(context.device)  # type: ignore[arg-type]
    peft_config = LoraConfig(
        r=max(ranks.values()),
        target_modules=list(ranks),
        init_lora_weights="eva",
        eva_config=EvaConfig(
            rho=eva.rho if redistributes else 1.0,
            tau=eva.tau,
            use_label_mask=context.task.head().kind is HeadKind.language_model,
        ),
    )
    read = 0

    def forward(model: nn.Module, batch: dict[str, Tensor]) -> None:
        nonlocal read
        read += 1
        if read > eva.most_batches:
            raise UserError(
                f"EVA's components have not converged after {eva.most_batches} batches of {eva.batch_size}",
                "say a smaller method.variant.eva.tau, or larger batches",
            )
        model(**batches.counted(batch))

    found = get_eva_state_dict(
        model, batches.loader(eva.batch_size), peft_config, forward_fn=forward, show_progress_bar=False
    )
    outputs = {name: _outputs(backbone.model.get_submodule(name)) for name in ranks}
    kept = {name: a if redistributes else a[: ranks[name]] for name, a in found.items() if len(a)}
    return {name: (a, a.new_zeros(outputs[name], len(a))) for name, a in kept.items()}


def corda_start(
    config: LowRankConfig,
    asked: RankAllocation,
    backbone: Backbone,
    context: PhaseContext,
    read: Callable[[], None],
) -> Factors:
    """CorDA (Yang et al., 2024, arXiv:2406.05223): components of the weight in the light of the layer's inputs.

    Section 3 of the paper as PEFT computes it, C (D, D) the inputs' correlations: W C = U S V',
    A = (S / scale)^(1/2) V' C^-1, B = U (S / scale)^(1/2), r of each, the largest or the smallest.

    Args:
        config: the method.
        asked: the ranks; a layer of rank 0 has no factors.
        backbone: the fresh model, changed in place.
        context: the run.
        read: passes examples through the model, one at a time; correlations are taken of what the layers read
            meanwhile, dropout off.
    """
    options = {
        **lora_options(config, asked),
        "init_lora_weights": "corda",
        "corda_config": CordaConfig(corda_method=config.variant.corda.mode.value),
    }
    preprocess_corda(backbone.model, peft.LoraConfig(**options), read)
    model = lora_model(backbone, context, **options)
    return dict(zip(lora_layers(model), lora_factors(model), strict=True))


def _corda(
    config: LowRankConfig, asked: RankAllocation, backbone: Backbone, context: PhaseContext, batches: Batches
) -> Factors:
    model = backbone.model.to(context.device)  # type: ignore[arg-type]

    def read() -> None:
        """One example at a time, so that no padding is correlated."""
        for batch in batches.loader(1, config.variant.corda.examples):
            model(**batches.counted(batch))

    return corda_start(config, asked, backbone, context, read)


def _cur(
    config: LowRankConfig, asked: RankAllocation, backbone: Backbone, context: PhaseContext, _: Batches
) -> Factors:
    """A are rows of the weight, B A at the layer's scale is its CUR approximation; both of one norm, as PiSSA's."""
    model = lora_model(backbone, context, **lora_options(config, asked))
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for name, layer in lora_layers(model).items():
        base: Any = layer.get_base_layer()
        weight = base.weight.T if isinstance(base, Conv1D) else base.weight
        cur = cur_approximation(weight, layer.r[model.active_adapter])
        share = (cur.left.norm() / cur.right.norm()).sqrt()
        scale = layer.scaling[model.active_adapter] ** 0.5
        found[name] = cur.right * share / scale, cur.left / (share * scale)
    return found


FIRST_VALUES: dict[Start, Callable[..., Factors]] = {
    Start.pissa: _by_peft,
    Start.olora: _by_peft,
    Start.lora_ga: _lora_ga,
    Start.eva: _eva,
    Start.corda: _corda,
    Start.cur: _cur,
    Start.gora: _gora,
}


def _outputs(layer: Any) -> int:
    return int(layer.nf if isinstance(layer, Conv1D) else layer.out_features)


def _check_size(backbone: Backbone, allocation: RankAllocation, times: int) -> None:
    """Raises UserError where a layer has not `times` as many singular vectors as its rank."""
    for name, rank in allocation.kept_ranks.items():
        weight: Any = backbone.model.get_submodule(name).weight
        if times * rank > min(weight.shape):
            raise UserError(
                f"rank {rank} is too large for this start: {name} is {tuple(weight.shape)}",
                f"say a rank of at most {min(weight.shape) // times}",
            )
