"""Learning rates as outer variables: what a validation loss has to say about each (Meta-SGD: Li et al., 2017).

A rate eta = exp(rho) x the training's rate belongs to each group of weights. SGD's and Adam's steps, decoupled weight
decay included, are proportional to it: d W_hat / d rho is W_hat - W for the group's weights, whatever the optimizer
made of the gradient. So the derivative of L_val(W_hat) with respect to rho is <dL_val/dW_hat, W_hat - W>; through
several inner steps it is the sum over them, with the first factor carried back through the later ones.
Meta-SGD learns a rate for every single weight and lets it be negative; here a rate is shared by a layer and positive.

Two more numbers can be learnt, one of each for all layers, in logarithms too. Weight decay: AdamW takes eta lambda W
off in a step, so the derivative is -<v, eta lambda W>, carried back as that of rates. The scale s of s B A: the loss
reads s and B in their product alone, so that s dL/ds = <B, dL/dB>. Of the validation loss this is the direct term. By
the same product the training gradient g depends on s as on B: (d g / d log s)^T w = <g_B, w_B> + <B, (H w)_B>, with w
what the optimizer step makes of v. The implicit term takes this off at every step: the first part always, the part with
the curvature H if `exact`; where B = 0 there is none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.optim import AdamW

from autolora_bench.config.rates import Also, Granularity
from autolora_bench.errors import UserError, require
from autolora_bench.search.hypergradient.jacobian import OptimizerStep
from autolora_bench.search.hypergradient.step import Batch, InnerLoop
from autolora_bench.search.hypergradient.unrolled import TrainingGraphs
from autolora_bench.search.layers import lora_factors, lora_layers


class LayerRates(nn.Module):
    """Rates of a LoRA's layers as multiples of the training's. L layers, F rates each: 1, or 2 for A and B.

    Args:
        model: PEFT LoRA model.
        granularity: what has a rate of its own; `model` has one row for all layers.
        limit: no multiple is above it or below its inverse.

    Attributes:
        log: (L, F) natural logarithms of the multiples, fp32, zero at first.
        layers: names of the L layers, or of none for granularity `model`.
        members: weights of each rate, in the order of `log`.

    Raises:
        UserError: the model has no LoRA layer, or a rate would be of frozen weights alone.
    """

    log: nn.Parameter

    def __init__(self, model: PeftModel, granularity: Granularity, limit: float = math.inf) -> None:
        super().__init__()
        names, pairs = tuple(lora_layers(model)), lora_factors(model)
        if not pairs:
            raise UserError("the model has no LoRA layer", "check target_modules")
        self.granularity = granularity
        self.layers: tuple[str, ...] = () if granularity is Granularity.model else names
        if granularity is Granularity.model:
            self.members = [[weight for pair in pairs for weight in pair]]
        elif granularity is Granularity.layer:
            self.members = [list(pair) for pair in pairs]
        else:
            self.members = [[weight] for pair in pairs for weight in pair]
        require(
            all(any(weight.requires_grad for weight in weights) for weights in self.members),
            f"with granularity={granularity.value} a rate is of frozen weights alone: it would never move",
            "train lora_A and lora_B of every layer, or choose a coarser granularity",
        )
        each = 2 if granularity is Granularity.factor else 1
        shape, device = (len(self.members) // each, each), pairs[0][0].device
        self.log = nn.Parameter(torch.zeros(shape, dtype=torch.float32, device=device))
        self._most = math.log(limit)

    def multiples(self) -> Tensor:
        """(L, F), detached."""
        return self.log.detach().exp()

    @torch.no_grad()
    def clamp(self) -> None:
        """Take the multiples back within the limit."""
        self.log.clamp_(-self._most, self._most)


class SharedMultiples(nn.Module):
    """Multiples of the weight decay and of the scale that a LoRA trains with, one of each for all layers.

    Args:
        model: PEFT LoRA model.
        names: which are learnt, S of them.
        limit: no multiple is above it or below its inverse.

    Attributes:
        log: (S,) natural logarithms of the multiples, fp32, zero at first.
        second: B of every layer.

    Raises:
        UserError: the scale is asked about and a B is frozen: its gradient is what the scale's is read from.
    """

    log: nn.Parameter

    def __init__(self, model: PeftModel, names: Sequence[Also], limit: float = math.inf) -> None:
        super().__init__()
        self.names = tuple(names)
        self.second = [b for _, b in lora_factors(model)]
        require(
            Also.alpha not in self.names or all(b.requires_grad for b in self.second),
            "the scale is learnt from the gradient of lora_B, which a layer has frozen",
            "train lora_B, or do not learn alpha",
        )
        self.log = nn.Parameter(
            torch.zeros(len(self.names), dtype=torch.float32, device=self.second[0].device)
        )
        self._adapter, self._layers = model.active_adapter, list(lora_layers(model).values())
        self._scales = [layer.scaling[self._adapter] for layer in self._layers]
        self._most = math.log(limit)

    def of(self, name: Also) -> float:
        """A multiple; 1 of what is not learnt."""
        return math.exp(float(self.log.detach()[self.names.index(name)])) if name in self.names else 1.0

    @torch.no_grad()
    def settle(self) -> None:
        """Take the multiples back within the limit, and give the layers their scale."""
        self.log.clamp_(-self._most, self._most)
        for layer, scale in zip(self._layers, self._scales, strict=True):
            layer.scaling[self._adapter] = scale * self.of(Also.alpha)


class RateGradient:
    """Gradient of the validation loss with respect to the logarithms of rates; hooks as those of `Hypergradient`.

    Args:
        members: weights of each of the R rates. Other weights have rates that are not asked about, nor their decay.
        exact: go through the Hessian of the training loss, which needs double backward passes: between inner steps, and
            for the scale in every step; otherwise it is left out. With one inner step and without the scale there is
            nothing to leave out.
        shared: what is asked about beside rates, S numbers.
    """

    def __init__(
        self, members: Sequence[Sequence[nn.Parameter]], exact: bool, shared: SharedMultiples | None = None
    ) -> None:
        self.exact = exact
        self._asked = [weight for weights in members for weight in weights]
        self._rate_of = {id(weight): i for i, weights in enumerate(members) for weight in weights}
        self._count = len(members)
        names = shared.names if shared else ()
        self._decay = self._count + names.index(Also.weight_decay) if Also.weight_decay in names else None
        self._scale = self._count + names.index(Also.alpha) if Also.alpha in names else None
        self._total = self._count + len(names)
        self._second = {id(b) for b in shared.second} if shared else set()
        self._graphs = TrainingGraphs()

    def prepare(self, step: InnerLoop) -> None:
        """Before the loop's first pass, or in a resumed run its next."""
        if self.differentiates(step.inner_steps):
            self._graphs = TrainingGraphs()
            for done in step.past:
                self._graphs.replay(step, done)
            self._graphs.start(step.parameters)

    def training_pass(self, step: InnerLoop, batch: Batch) -> Tensor:
        """Forward and backward of one micro-batch; adds to the weights' `.grad`, returns the detached loss."""
        if self.differentiates(step.inner_steps):
            return self._graphs.train(step, batch)
        loss = step.loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def advance(self, step: InnerLoop) -> None:
        """After an optimizer step that is not the loop's last."""
        if self.differentiates(step.inner_steps):
            self._graphs.start(step.parameters)

    def gradient(self, step: InnerLoop) -> Tensor:
        """(R + S,) after the loop's last optimizer step; it must have remembered W.

        Raises:
            UserError: weight decay is asked about and is part of the optimizer's gradient; the validation loss does not
                depend on the weights whose rates are asked about.
        """
        v = step.validation_gradient(self._asked)
        found = torch.zeros(self._total, dtype=v[0].dtype, device=v[0].device)
        if self._scale is not None:
            found[self._scale] += self._along_second(step, step.parameters, v)
        carried: list[list[Tensor]] = []
        after = [weight.detach() for weight in step.parameters]
        steps = step.optimizer_steps()
        starts = [*(done.before for done in step.past), step.before]
        for number in reversed(range(len(steps))):
            before = starts[number]
            self._add(found, step, [((a - b) * x).sum() for a, b, x in zip(after, before, v, strict=True)])
            if self._decay is not None:
                found[self._decay] -= self._of_decay(step, steps[number], before, v)
            if number == 0 and self._scale is None:
                break
            back = steps[number].back(v, carried)
            v, carried, after = back.arriving, back.carried, before
            curvature: list[Tensor] = []
            if self.exact:
                _, curvature = self._graphs.products(back.direction, [], first=self._scale is not None)
                v = [x - h for x, h in zip(v, curvature, strict=True)]
            if self._scale is not None:
                found[self._scale] -= self._along_second(step, back.gradient, back.direction)
                found[self._scale] -= self._along_second(step, before, curvature) if curvature else 0.0
        return found

    def _along_second(self, step: InnerLoop, one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
        """Inner product over all B."""
        parts = [
            (a.detach() * b).sum()
            for weight, a, b in zip(step.parameters, one, other, strict=True)
            if id(weight) in self._second
        ]
        return torch.stack(parts).sum()

    def _of_decay(
        self, step: InnerLoop, taken: OptimizerStep, before: Sequence[Tensor], v: Sequence[Tensor]
    ) -> Tensor:
        """<v, what decay took off> over the weights whose rates are asked about."""
        require(
            isinstance(step.optimizer, AdamW),
            f"the derivative of {type(step.optimizer).__name__} with respect to its weight decay is not known",
            "use AdamW",
        )
        parts = [
            (gone * x).sum()
            for weight, gone, x in zip(step.parameters, taken.decayed(before), v, strict=True)
            if id(weight) in self._rate_of
        ]
        return torch.stack(parts).sum()

    def _add(self, found: Tensor, step: InnerLoop, parts: Sequence[Tensor]) -> None:
        for weight, part in zip(step.parameters, parts, strict=True):
            rate = self._rate_of.get(id(weight))
            if rate is not None:
                found[rate] += part

    def differentiates(self, inner_steps: int) -> bool:
        """Whether passes of loops of this length go backward through the backward pass."""
        return self.exact and (inner_steps > 1 or self._scale is not None)
