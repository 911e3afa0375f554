"""Learning rates as outer variables: what a validation loss has to say about each (Meta-SGD: Li et al., 2017).

A rate eta = exp(rho) x the training's rate belongs to each group of weights. SGD's and Adam's steps, decoupled weight
decay included, are proportional to it: d W_hat / d rho is W_hat - W for the group's weights, whatever the optimizer
made of the gradient. So the derivative of L_val(W_hat) with respect to rho is <dL_val/dW_hat, W_hat - W>; through
several inner steps it is the sum over them, with the first factor carried back through the later ones.
Meta-SGD learns a rate for every single weight and lets it be negative; here a rate is shared by a layer and positive.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from peft import PeftModel
from torch import Tensor, nn

from autolora_bench.config.rates import Granularity
from autolora_bench.errors import UserError
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
        log: (L, F) natural logarithms of the multiples, zero at first.
        layers: names of the L layers, or of none for granularity `model`.
        members: weights of each rate, in the order of `log`.

    Raises:
        UserError: the model has no LoRA layer.
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
        each = 2 if granularity is Granularity.factor else 1
        self.log = nn.Parameter(torch.zeros(len(self.members) // each, each, device=pairs[0][0].device))
        self._most = math.log(limit)

    def multiples(self) -> Tensor:
        """(L, F), detached."""
        return self.log.detach().exp()

    @torch.no_grad()
    def clamp(self) -> None:
        """Take the multiples back within the limit."""
        self.log.clamp_(-self._most, self._most)


class RateGradient:
    """Gradient of the validation loss with respect to the logarithms of rates; hooks as those of `Hypergradient`.

    Args:
        members: weights of each of the R rates. Other weights have rates that are not asked about.
        exact: go through the Hessian of the training loss between inner steps, which needs double backward passes;
            otherwise it is left out. With one inner step there is nothing to leave out.
    """

    def __init__(self, members: Sequence[Sequence[nn.Parameter]], exact: bool) -> None:
        self.exact = exact
        self._rate_of = {id(weight): i for i, weights in enumerate(members) for weight in weights}
        self._count = len(members)
        self._graphs = TrainingGraphs()

    def prepare(self, step: InnerLoop) -> None:
        """Before the loop's first pass, or in a resumed run its next."""
        if self._differentiates(step):
            self._graphs = TrainingGraphs()
            for done in step.past:
                self._graphs.replay(step, done)
            self._graphs.start(step.parameters)

    def training_pass(self, step: InnerLoop, batch: Batch) -> Tensor:
        """Forward and backward of one micro-batch; adds to the weights' `.grad`, returns the detached loss."""
        if self._differentiates(step):
            return self._graphs.train(step, batch)
        loss = step.loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def advance(self, step: InnerLoop) -> None:
        """After an optimizer step that is not the loop's last."""
        if self._differentiates(step):
            self._graphs.start(step.parameters)

    def gradient(self, step: InnerLoop) -> Tensor:
        """(R,) after the loop's last optimizer step; it must have remembered W."""
        v = step.validation_gradient()
        found = torch.zeros(self._count, dtype=v[0].dtype, device=v[0].device)
        carried: list[list[Tensor]] = []
        after = [weight.detach() for weight in step.parameters]
        steps = step.optimizer_steps()
        starts = [*(done.before for done in step.past), step.before]
        for number in reversed(range(len(steps))):
            before = starts[number]
            self._add(found, step, [((a - b) * x).sum() for a, b, x in zip(after, before, v, strict=True)])
            if number == 0:
                break
            back = steps[number].back(v, carried)
            v, carried, after = back.arriving, back.carried, before
            if self.exact:
                _, curvature = self._graphs.products(back.direction, [])
                v = [x - h for x, h in zip(v, curvature, strict=True)]
        return found

    def _add(self, found: Tensor, step: InnerLoop, parts: Sequence[Tensor]) -> None:
        for weight, part in zip(step.parameters, parts, strict=True):
            rate = self._rate_of.get(id(weight))
            if rate is not None:
                found[rate] += part

    def _differentiates(self, step: InnerLoop) -> bool:
        return self.exact and step.inner_steps > 1
