"""Selection variables: one weight alpha per layer and LoRA component, laid over an ordinary PEFT LoRA.

Section 3 of AutoLoRA (Zhang et al., NAACL 2024): Delta_l = s * sum_j alpha_lj b_lj a_lj^T with alpha_l a
function of the free variables beta_l. The weighting is a forward hook on each layer's `lora_A`, so PEFT stays
as it is.

Shapes: L layers, K components (LoRA's r), B batch, T tokens, D inputs, O outputs; lora_A is (K, D) and lora_B
is (O, K).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import MultiheadAttention, ParamWrapper
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from autolora_bench.config.search import Constraint, Scope
from autolora_bench.errors import UserError, member
from autolora_bench.search.layers import lora_layers


class Selection(nn.Module):
    """The selection variables of a model.

    Args:
        modules: names of the adapted layers inside the base model, in model order (`lora_layers` gives them).
        components: K, the rank of every layer's LoRA during the search (the paper: 8).
        constraint: maps beta to alpha.
        initial: first value of every beta. Under softmax any value means alpha = 1/K, under topk budget/LK.
        budget: for topk, the sum of all alphas.
        scope: for topk, whether every layer's alphas sum to budget/L, or all layers' to the budget.

    Attributes:
        beta: (L, K) parameter, fp32 unless the module is converted.
        current: (L, K) alpha that the layers multiply by: a leaf, detached from beta, so that gradients with
            respect to alpha are taken once for all layers and mapped to beta by `pull_back`.

    Raises:
        UserError: no or repeated modules, no components, unconstrained variables that start at zero (every
            gradient would then be zero for ever), or a budget that leaves nothing to choose.
    """

    beta: nn.Parameter
    current: Tensor

    def __init__(
        self,
        modules: Sequence[str],
        components: int,
        constraint: Constraint | str = Constraint.softmax,
        initial: float = 1.0,
        budget: float | None = None,
        scope: Scope = Scope.model,
    ) -> None:
        super().__init__()
        self.modules_selected = tuple(modules)
        self.constraint = member(Constraint, constraint, "constraint")
        if not self.modules_selected or len(set(self.modules_selected)) < len(self.modules_selected):
            raise UserError("the selection needs at least one layer, each named once", "check target_modules")
        if components < 1:
            raise UserError(f"the selection needs at least one component, not {components}", "set r >= 1")
        if self.constraint is Constraint.unconstrained and initial == 0:
            raise UserError(
                "unconstrained selection variables cannot start at 0", "set their initial value to 1"
            )
        self.budget = _checked_budget(self.constraint, budget, len(self.modules_selected) * components)
        self.scope = scope
        shape = len(self.modules_selected), components
        self.beta = nn.Parameter(torch.full(shape, float(initial), dtype=torch.float32))
        self.register_buffer("current", torch.empty(0), persistent=False)
        self.refresh()

    def alpha(self) -> Tensor:
        """Alpha (L, K) as a differentiable function of beta."""
        if self.constraint is Constraint.softmax:
            return self.beta.softmax(dim=-1)
        if self.constraint is Constraint.topk:
            groups = 1 if self.scope is Scope.model else len(self.beta)
            return soft_top_k(self.beta.reshape(groups, -1), self.budget / groups).view_as(self.beta)
        return self.beta.sigmoid() if self.constraint is Constraint.sigmoid else self.beta

    def refresh(self, requires_grad: bool = False) -> None:
        """Make `current` a new leaf holding alpha(beta); with `requires_grad`, passes from now on can be
        differentiated with respect to it."""
        self.current = self.alpha().detach().clone().requires_grad_(requires_grad)
        self._rows = self.current.unbind(0)

    def track(self) -> None:
        """Let the next passes be differentiated with respect to `current`; keeps the leaf if it already can
        be."""
        if not self.current.requires_grad:
            self.refresh(requires_grad=True)

    def row(self, layer: int) -> Tensor:
        """Row (K,) of `current`, a view in its graph."""
        return self._rows[layer]

    def pull_back(self, gradient: Tensor) -> Tensor:
        """Gradient with respect to beta (L, K) of a function whose gradient with respect to alpha is
        given."""
        return torch.autograd.grad(self.alpha(), self.beta, gradient)[0]

    @torch.no_grad()
    def mirror_step(self, gradient: Tensor, rate: float) -> None:
        """Move beta by -rate x `gradient`, that of a loss with respect to alpha (L, K).

        This is mirror descent on alpha (Li et al., 2021, for architecture search): alpha is the gradient of a convex
        function of beta, so beta is alpha's dual variable. Under softmax alpha becomes alpha exp(-rate g) / Z in each
        layer (Kivinen & Warmuth, 1997) and beta is kept equal to log alpha; under sigmoid and topk the odds
        alpha / (1 - alpha) are multiplied by exp(-rate g), for topk up to the factor that restores the sum;
        unconstrained it is plain gradient descent. Call `refresh` afterwards.
        """
        self.beta.sub_(rate * gradient)
        if self.constraint is Constraint.softmax:
            self.beta.copy_(self.beta.log_softmax(dim=-1))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Selection:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.refresh(self.current.requires_grad)
        return self


def _checked_budget(constraint: Constraint, budget: float | None, components: int) -> float:
    if (constraint is Constraint.topk) != (budget is not None):
        raise UserError(
            f"constraint={constraint.value} with budget={budget}", "give a budget with constraint=topk only"
        )
    if budget is not None and not 0 < budget < components:
        raise UserError(
            f"a budget of {budget:g} leaves nothing to choose among {components} components of all layers",
            f"choose a budget above 0 and below {components}",
        )
    return 0.0 if budget is None else budget


class _ComponentScale:
    """Forward hook of one `lora_A`: output (B, T, K) times alpha (K,), in the output's type (bf16 under
    autocast)."""

    def __init__(self, selection: Selection, layer: int) -> None:
        self.selection = selection
        self.layer = layer

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        return output * self.selection.row(self.layer).to(output.dtype)


def selection_for(
    model: PeftModel,
    constraint: Constraint | str = Constraint.softmax,
    initial: float = 1.0,
    budget: float | None = None,
    scope: Scope = Scope.model,
) -> Selection:
    """Selection variables for every LoRA layer of `model`, on its device.

    Raises:
        UserError: the model has no LoRA layer, or its layers differ in rank.
    """
    layers = lora_layers(model)
    ranks = {layer.r[model.active_adapter] for layer in layers.values()}
    if len(ranks) != 1:
        raise UserError(
            f"the search needs one rank for all LoRA layers, found {sorted(ranks)}", "remove rank_pattern"
        )
    return Selection(tuple(layers), ranks.pop(), constraint, initial, budget, scope).to(model.device)


def attach(model: PeftModel, selection: Selection) -> list[RemovableHandle]:
    """Weight each LoRA component of `model` by `selection.current`; `detach` undoes it.

    Raises:
        UserError: the layers are not those of the selection, a layer kind does not call its `lora_A`, its
            rank is not K, its adapter is merged, or a selection is already attached.
    """
    layers = lora_layers(model)
    if tuple(layers) != selection.modules_selected:
        raise UserError(
            f"the selection names {len(selection.modules_selected)} layers, the model has {len(layers)}",
            "build the selection from lora_layers(model)",
        )
    factors = [_component_output(name, layer, model.active_adapter) for name, layer in layers.items()]
    components = selection.beta.shape[1]
    for name, factor in zip(layers, factors, strict=True):
        if factor.out_features != components:
            raise UserError(
                f"{name} has rank {factor.out_features}, the selection {components}", f"set r={components}"
            )
    return [f.register_forward_hook(_ComponentScale(selection, i)) for i, f in enumerate(factors)]


def detach(handles: Iterable[RemovableHandle]) -> None:
    """Remove the hooks that `attach` returned."""
    for handle in handles:
        handle.remove()


def _component_output(name: str, layer: LoraLayer, adapter: str) -> nn.Linear:
    factor = dict(layer.lora_A.items()).get(adapter)
    kind = type(layer.get_base_layer()).__name__
    if not isinstance(factor, nn.Linear) or isinstance(layer, (MultiheadAttention, ParamWrapper)):
        raise UserError(
            f"{name} ({kind}) has no linear lora_A in its forward pass", "target linear or Conv1D layers"
        )
    if adapter in layer.lora_variant:
        raise UserError(f"{name} uses a LoRA variant (DoRA or the like)", "search with plain LoRA")
    if layer.merged:
        raise UserError(
            f"the adapter of {name} is merged into its base layer", "call unmerge_adapter() first"
        )
    if any(isinstance(hook, _ComponentScale) for hook in factor._forward_hooks.values()):
        raise UserError(f"a selection is already attached to {name}", "detach it first")
    return factor


HALVINGS, NEWTON_STEPS = 24, 4
"""The interval that holds nu is at most as wide as beta's range. The sum's second derivative is at most its first,
so once within a hundredth Newton's error is squared at every step: four reach double precision."""


def soft_top_k(beta: Tensor, k: float) -> Tensor:
    """The k largest of n numbers as a smooth function: alpha (G, N) of beta (G, N), weights in (0, 1).

    Each row of the G groups of N numbers sums to k, 0 < k < N, up to rounding.

    alpha = argmax <beta, a> + H(a) over 0 <= a <= 1, sum a = k, with H the sum of the binary entropies: the limited
    multi-label projection of Amos, Koltun and Kolter (2019), and the exact solution of the entropic transport problem
    that SOFT top-k (Xie et al., 2020) approaches by Sinkhorn iterations. It is alpha = sigmoid(beta + nu) with the one
    number nu that makes the sum k. A temperature would only divide beta.

    Differentiable once: with s = alpha (1 - alpha), the implicit function theorem gives
    d alpha_i / d beta_j = s_i delta_ij - s_i s_j / sum(s).
    """
    alpha: Tensor = _SoftTopK.apply(beta, k)  # type: ignore[no-untyped-call]
    return alpha


class _SoftTopK(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, beta: Tensor, k: float) -> Tensor:
        values = beta.detach().double()
        alpha = torch.sigmoid(values + _offset(values, k))
        ctx.save_for_backward(alpha)
        return alpha.to(beta.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (alpha,) = ctx.saved_tensors
        gradient = gradients[0].double()
        slope = alpha * (1 - alpha)
        total = slope.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(slope.dtype).tiny)
        mean = (slope * gradient).sum(dim=-1, keepdim=True) / total
        return (slope * (gradient - mean)).to(gradients[0].dtype), None


def _offset(values: Tensor, k: float) -> Tensor:
    """nu (G, 1): were all values equal to the largest, it would have to be `low`; to the smallest, `high`."""
    equal = torch.logit(torch.tensor(k / values.shape[-1], dtype=values.dtype))
    low = equal - values.amax(dim=-1, keepdim=True)
    high = equal - values.amin(dim=-1, keepdim=True)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        short = torch.sigmoid(values + middle).sum(dim=-1, keepdim=True) < k
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    offset = (low + high) / 2
    for _ in range(NEWTON_STEPS):
        alpha = torch.sigmoid(values + offset)
        slope = (alpha * (1 - alpha)).sum(dim=-1, keepdim=True)
        excess = alpha.sum(dim=-1, keepdim=True) - k
        offset = offset - torch.where(slope > 0, excess / slope, 0.0).clamp(low - offset, high - offset)
    return offset
