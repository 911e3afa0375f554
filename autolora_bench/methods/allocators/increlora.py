"""IncreLoRA (Zhang et al., 2023, arXiv:2308.12043): ranks grow during the training, where the weights matter most.

The update of a layer of rank r is alpha / r B diag(e) A with e starting at zero, A and B normal with standard
deviation .02, and a penalty that keeps the rows of A and the columns of B orthogonal (sections 3.1 and 3.3). Every
layer starts with rank 1 and a reserve component, whose A and B learn in advance with e fixed at 1e-5. After a
warm-up, every `interval` steps the `layers_per_round` layers with the highest importance take their reserve into use
and get a new one. The importance (section 3.2) of a layer is the product of two moving averages: of S = sum |W x
dL/dW| / sqrt(O D), W the scaled update, and of its deviation |S - average|; S as the authors' code has it
(FeiyuZhang98/IncreLoRA@51a2d73).

The growth ends when the ranks' sum is the budget, exactly. The interval is such that this is after `growth_share` of
the steps. Beyond the authors' code, which sets no limit, no layer exceeds `maximum_rank`. LoRA is then trained anew,
where the paper keeps this training's weights. Adam's moments are one tensor per layer here, so that a component that
comes into use has the layer's bias correction, where the authors' starts with its own.
"""

import math
from typing import Any

import torch
import torch.distributed as dist
from peft import PeftModel
from torch import Tensor, nn
from transformers import TrainerControl, TrainerState, TrainingArguments

from autolora_bench.config.allocators import IncreLoraConfig
from autolora_bench.errors import UserError
from autolora_bench.methods.allocators.allocated import AllocatedLora, Found
from autolora_bench.methods.allocators.budget import Budget
from autolora_bench.methods.allocators.gates import add_gates, gated_optimizer, weigh_components
from autolora_bench.methods.allocators.trained import Allocator, TrainedSearch
from autolora_bench.search import RankAllocation
from autolora_bench.search.layers import lora_factors, lora_layers

RESERVED = 1e-5
"""e of a component that learns in advance."""
SPREAD = 0.02
"""Standard deviation of the first values of A and B."""


class IncreLora(Allocator):
    """Follows every layer's importance and gives ranks to the highest."""

    def __init__(self, config: IncreLoraConfig, model: PeftModel, budget: Budget) -> None:
        self.config = config
        self.budget = budget
        self.layers = list(lora_layers(model).values())
        self.factors = lora_factors(model)
        layers, components = len(self.layers), config.maximum_rank
        self.first = max(1, config.minimum_rank)
        if budget.total < self.first * layers:
            raise UserError(
                f"IncreLoRA starts with rank {self.first} in each of {layers} layers: more than {budget.total} in all",
                f"say method.total={self.first * layers} or more",
            )
        self.ranks = torch.full((layers,), self.first)
        self.average = torch.zeros(layers, dtype=torch.float64)
        self.deviation = torch.zeros(layers, dtype=torch.float64)
        for weight in (w for pair in self.factors for w in pair):
            nn.init.normal_(weight, std=SPREAD)
        initial = torch.full((layers, components), RESERVED)
        initial[:, : self.first] = 0
        self.gates = add_gates(model, initial)
        self.scale = self.layers[0].scaling[model.active_adapter] * components
        """alpha; the layers' own scale is alpha / K, and the factors hold K / r."""
        weigh_components(model, self._weights)
        self.gradients: list[Tensor | None] = [None] * layers
        self.inputs: list[Tensor | None] = [None] * layers
        for index, layer in enumerate(self.layers):
            self._watch(index, layer, model.active_adapter)
        self.optimizer = lambda model, arguments: gated_optimizer(model, arguments, arguments.learning_rate)
        self.warmup = self.interval = 0

    @property
    def growing(self) -> bool:
        """Whether the budget is not reached yet."""
        return int(self.ranks.sum()) < self.budget.total

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """When ranks grow, now that the number of steps is known."""
        c, steps = self.config, state.max_steps
        missing = self.budget.total - self.first * len(self.layers)
        rounds = math.ceil(missing / min(c.layers_per_round, len(self.layers)))
        self.warmup = int(c.warmup_share * steps)
        self.interval = int((c.growth_share * steps - self.warmup) / rounds) if rounds else steps
        if self.interval == 0:
            raise UserError(
                f"IncreLoRA has {rounds} rounds of growth and only {int(c.growth_share * steps) - self.warmup} steps "
                "for them",
                "train longer (method.search_epochs or search_max_steps), or raise method.growth_share or "
                "method.layers_per_round",
            )

    @torch.no_grad()
    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Take note of every layer's importance."""
        if not self.growing:
            return
        c, scores = self.config, torch.zeros_like(self.average)
        for index, gradient in enumerate(self.gradients):
            if gradient is not None:
                if args.world_size > 1:  # of the whole batch: noise of its parts would count as importance
                    dist.all_reduce(gradient)
                    gradient /= args.world_size
                scores[index] = sensitivity(self._update(index), gradient)
        self.gradients = [None] * len(self.layers)
        self.average = c.sensitivity_beta * self.average + (1 - c.sensitivity_beta) * scores
        surprise = (scores - self.average).abs()
        self.deviation = c.uncertainty_beta * self.deviation + (1 - c.uncertainty_beta) * surprise

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Grow where it is due."""
        after = state.global_step + 1 - self.warmup
        if self.growing and after > 0 and after % self.interval == 0:
            self._grow(self.config.layers_per_round)

    def penalty(self) -> Tensor | None:
        """gamma times the mean over A and B of |A A' - I|, |B' B - I| (Frobenius), of components in use or reserve."""
        if not self.config.orthogonality:
            return None
        deviations = []
        for (a, b), count in zip(self.factors, self._used(), strict=True):
            identity = torch.eye(count, device=a.device)
            rows, columns = a[:count], b[:, :count]
            products = (rows @ rows.T, columns.T @ columns)
            deviations += [torch.linalg.norm(product - identity) for product in products]
        return self.config.orthogonality * torch.stack(deviations).mean()

    def _grow(self, layers: int) -> None:
        missing = self.budget.total - int(self.ranks.sum())
        score = (self.average * self.deviation).masked_fill(
            self.ranks >= self.config.maximum_rank, -torch.inf
        )
        order = score.sort(descending=True, stable=True).indices[: min(layers, missing)]
        self.ranks[[index for index in order.tolist() if score[index] > -torch.inf]] += 1

    def _used(self) -> list[int]:
        """Per layer, the components in use and the reserve."""
        reserve = int(self.growing)
        return [min(rank + reserve, self.config.maximum_rank) for rank in self.ranks.tolist()]

    def _weights(self) -> Tensor:
        """(L, K) factors of the components: e x K / r in use, 1e-5 x K / r in reserve, 0 beyond."""
        gates = self.gates()
        ranks = self.ranks.to(gates.device)[:, None]
        place = torch.arange(gates.shape[1], device=gates.device)
        reserve = RESERVED * ((place == ranks) & self.growing)
        return torch.where(place < ranks, gates, reserve.to(gates.dtype)) * (gates.shape[1] / ranks)

    def _update(self, index: int) -> Tensor:
        """The layer's scaled update (O, D)."""
        a, b = self.factors[index]
        factors = self._weights()[index] * (self.scale / len(a))
        update: Tensor = (b * factors) @ a
        return update

    def _watch(self, index: int, layer: Any, adapter: str) -> None:
        """Collect dL/dW of one layer: the inputs of A and the gradients of B's outputs, summed over the tokens."""

        def keep_input(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            self.inputs[index] = args[0].detach() if self.growing and torch.is_grad_enabled() else None

        def keep_gradient(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            inputs = self.inputs[index]
            if inputs is None or not output.requires_grad:
                return

            def add(gradient: Tensor) -> None:
                outer = gradient.flatten(0, -2).T.float() @ inputs.flatten(0, -2).float()
                known, scale = self.gradients[index], layer.scaling[adapter]
                self.gradients[index] = outer / scale if known is None else known + outer / scale

            output.register_hook(add)  # type: ignore[no-untyped-call]

        layer.lora_A[adapter].register_forward_pre_hook(keep_input)
        layer.lora_B[adapter].register_forward_hook(keep_gradient)

    def state(self) -> dict[str, Tensor]:
        """Ranks and moving averages."""
        return {"ranks": self.ranks, "average": self.average, "deviation": self.deviation}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Put them back."""
        self.ranks, self.average, self.deviation = (state[n] for n in ("ranks", "average", "deviation"))

    def found(self) -> Found:
        """The ranks; what is missing, where full layers stood in the way, goes to the highest importance."""
        while self.growing:
            self._grow(len(self.layers))
        return Found(
            RankAllocation.from_ranks(self.budget.modules, self.ranks.tolist()), self.average * self.deviation
        )

    def details(self) -> dict[str, Any]:
        """When the ranks grew."""
        return {"warmup": self.warmup, "interval": self.interval}


def sensitivity(update: Tensor, gradient: Tensor) -> float:
    """Sum of |W x dL/dW| over the square root of the number of weights; both (O, D)."""
    return float((update * gradient).abs().sum().double()) / math.sqrt(update.numel())


def increlora(config: IncreLoraConfig) -> AllocatedLora:
    """The method."""
    return AllocatedLora(
        config, TrainedSearch(config, lambda model, budget: IncreLora(config, model, budget))
    )
