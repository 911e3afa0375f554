"""Balanced truncation: one training that begins with a large LoRA and goes on with the part of it that matters.

Ours. LoRA of `maximum_rank` K is trained for `share` of the run's steps. A layer's update s B A is then a linear
system with a state of K numbers, z = A h (h the layer's input after LoRA's dropout), which acts on the loss through
the gradient g = dL/dz. With the Gramians P = E[z z'] (what the inputs reach) and Q = sum of g g' (what the loss sees),
the change of the loss when a direction of the state is taken out is, to second order and with z and g independent
(K-FAC's approximation: Martens and Grosse, 2015, section 3), half its squared Hankel singular value: the eigenvalues of
P Q are these squares. They are the singular values of G^(1/2) s B A H^(1/2), H the second moment of h and G that of the
gradient at the layer's output, so they need neither of these two large matrices. Moore (1981, IEEE TAC 26) truncates a
system's state so.

The `total` largest values over all layers are kept. Layers can be compared because the values are changes of one loss;
the singular values of B A alone are not, nor is the count of a layer's own. The factors that are left, together with
the head, are where the rest of the run starts, with the examples that come next: no step is taken twice, so ranks and
weights cost one training.

Shapes: L layers, K components, D inputs, O outputs of a layer; A is (K, D), B is (O, K).
"""

from typing import Any

import torch
import torch.distributed as dist
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import TrainerControl, TrainerState, TrainingArguments

from autolora_bench.config.allocators import LoraBalancedConfig
from autolora_bench.errors import require
from autolora_bench.methods.allocators.allocated import AllocatedLora, Found
from autolora_bench.methods.allocators.budget import Budget
from autolora_bench.methods.allocators.trained import Allocator, TrainedSearch
from autolora_bench.methods.base import PhaseContext
from autolora_bench.methods.factors import Factors, read_factors, start_from, write_factors
from autolora_bench.processes import world_size
from autolora_bench.search.layers import lora_factors, lora_layers
from autolora_bench.training.weights import save_tensors

FACTORS = "search/factors.safetensors"
HEAD = "search/weights.safetensors"
SUMS = ("reached", "seen", "positions")
"""Names of the sums in checkpoints."""
OWN = "lora_"
"""In the names of LoRA's weights; all others that are trained are the head's."""
TINY = 1e-6
"""Of a layer's largest value: the root of a Gramian in double precision is known to about 1e-8 of its largest."""


class Balanced(Allocator):
    """Gathers the Gramians over the last steps of the training, and truncates at its end."""

    goes_on = True

    def __init__(self, config: LoraBalancedConfig, model: PeftModel, budget: Budget) -> None:
        self.config = config
        self.model = model
        self.budget = budget
        self.layers = lora_layers(model)
        shape = (len(self.layers), config.maximum_rank, config.maximum_rank)
        self.reached = torch.zeros(shape, dtype=torch.float64)
        """(L, K, K): sums of z z' over the positions that the loss depends on."""
        self.seen = torch.zeros(shape, dtype=torch.float64)
        """(L, K, K): sums of g g'."""
        self.positions = torch.zeros(len(self.layers), dtype=torch.float64)
        self.own = [torch.zeros_like(sums) for sums in self._sums()]
        """The same of the step that is being taken, in this process."""
        self.first = 0
        self.gathers = False
        for index, layer in enumerate(self.layers.values()):
            layer.lora_A[model.active_adapter].register_forward_hook(_Gather(self, index))

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """The first step that is gathered in, now that the number of steps is known."""
        self.first = state.max_steps - max(1, round(self.config.gathered * state.max_steps))

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Whether this one is."""
        self.gathers = state.global_step >= self.first

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Add what all processes gathered in the step: a checkpoint of the main one then has everything."""
        if self.gathers:
            for sums, own in zip(self._sums(), self.own, strict=True):
                if args.world_size > 1:
                    total = own.to(args.device)
                    dist.all_reduce(total)
                    own.copy_(total)
                sums += own
                own.zero_()
        self.gathers = False

    def gather(self, layer: int, z: Tensor, g: Tensor) -> None:
        """Add the positions of a batch, (N, K) each, that the loss depends on."""
        z, g = z.cpu().double(), g.cpu().double() / world_size()  # DDP, after this, takes the processes' mean
        used = g.ne(0).any(dim=1)
        z = z * used[:, None]
        for own, found in zip(self.own, (z.T @ z, g.T @ g, used.sum()), strict=True):
            own[layer] += found

    def _sums(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.reached, self.seen, self.positions

    def state(self) -> dict[str, Tensor]:
        """The sums so far."""
        return dict(zip(SUMS, self._sums(), strict=True))

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Put them back."""
        self.reached, self.seen, self.positions = (state[name] for name in SUMS)

    def found(self) -> Found:
        """The Hankel singular values, and the ranks of the largest.

        Raises:
            UserError: the Gramians are not finite.
        """
        require(
            all(bool(sums.isfinite().all()) for sums in self._sums()),
            "what the layers put out or their gradients are not finite: directions cannot be compared",
            "lower method.learning_rate",
        )
        values = torch.stack([hankel_singular_values(p, q) for p, q in self._gramians()])
        return Found(self.budget.largest(values), values)

    def leave(self, found: Found, context: PhaseContext) -> None:
        """The truncated factors, as for a scale of 1, and the head, for the training to go on with."""
        ranks = dict(zip(found.ranks.modules, found.ranks.ranks, strict=True))
        adapter, factors = self.model.active_adapter, {}
        pairs = zip(self.layers.items(), lora_factors(self.model), self._gramians(), strict=True)
        for (name, layer), (a, b), (p, q) in pairs:
            if ranks[name]:
                factors[name] = truncated(a, layer.scaling[adapter] * b, p, q, ranks[name])
        write_factors(factors, context.folder / FACTORS)
        head = {n: w for n, w in self.model.named_parameters() if w.requires_grad and OWN not in n}
        save_tensors(head, context.folder / HEAD)

    def _gramians(self) -> list[tuple[Tensor, Tensor]]:
        counts = self.positions.clamp(min=1)[:, None, None]
        return list(zip(self.reached / counts, self.seen, strict=True))


class _Gather:
    """Forward hook on `lora_A`: the state z, and its gradient once that is known."""

    def __init__(self, allocator: Balanced, layer: int) -> None:
        self.allocator = allocator
        self.layer = layer

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        if self.allocator.gathers and output.requires_grad:
            z = output.detach().reshape(-1, output.shape[-1])
            output.register_hook(  # type: ignore[no-untyped-call]
                lambda gradient: self.allocator.gather(self.layer, z, gradient.detach().reshape(z.shape))
            )


def _root(gramian: Tensor) -> Tensor:
    """R with R R' = gramian, for a symmetric one without negative eigenvalues."""
    values, vectors = torch.linalg.eigh(gramian)
    root: Tensor = vectors * values.clamp(min=0).sqrt()
    return root


def hankel_singular_values(p: Tensor, q: Tensor) -> Tensor:
    """(K,), largest first: the roots of the eigenvalues of P Q, both (K, K)."""
    values: Tensor = torch.linalg.svdvals(_root(q).T @ _root(p))
    return values


@torch.no_grad()
def truncated(a: Tensor, b: Tensor, p: Tensor, q: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """A (r, D) and B (O, r) of the r directions with the largest Hankel singular values, by the square-root method.

    A projection of the state: with r = K their product is that of the factors given. Every component's row of A and
    column of B get the same norm, as the optimizer's steps are of one length for both. A component without a value,
    which a smallest rank or a budget beyond the values asks for, starts as LoRA does: a row of A like the others', a
    column of B of zeros.

    Args:
        a, b: (K, D) and (O, K).
        p, q: the Gramians, (K, K).
        rank: r, at most K.
    """
    whole_a, whole_b = a.detach().cpu().double(), b.detach().cpu().double()
    left, right = _root(q.cpu().double()), _root(p.cpu().double())
    u, values, vt = torch.linalg.svd(left.T @ right)
    alive = int((values[:rank] > TINY * values[0]).sum())
    rows = u[:, :alive].T @ left.T @ whole_a / values[:alive, None]
    columns = whole_b @ right @ vt[:alive].T
    balance = (columns.norm(dim=0) / rows.norm(dim=1)).sqrt()
    rows, columns = rows * balance[:, None], columns / balance
    spare = nn.functional.normalize(whole_a[: rank - alive], dim=1) * whole_a.norm(dim=1).mean()
    return torch.cat([rows, spare]), torch.cat([columns, columns.new_zeros(len(columns), rank - alive)], 1)


@torch.no_grad()
def go_on(model: PeftModel, context: PhaseContext) -> None:
    """Give a fresh LoRA with the found ranks the truncated factors, at its own scales, and the trained head."""
    scales = {name: layer.scaling[model.active_adapter] for name, layer in lora_layers(model).items()}
    factors: Factors = {
        name: (a / scales[name] ** 0.5, b / scales[name] ** 0.5)
        for name, (a, b) in read_factors(context.folder / FACTORS).items()
    }
    start_from(model, factors, take_off=False)
    weights = dict(model.named_parameters())
    for name, weight in load_file(context.folder / HEAD).items():
        weights[name].copy_(weight)


def lora_balanced(config: LoraBalancedConfig) -> AllocatedLora:
    """The method."""
    search = TrainedSearch(config, lambda model, budget: Balanced(config, model, budget))
    return AllocatedLora(config, search, go_on)
