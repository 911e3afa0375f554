"""The search of learning rates as a Hugging Face Trainer: weights and rates in turn, with one optimizer.

The weights of every rate are a parameter group. Before a weight step the schedule's rate of the group is multiplied by
what has been learnt, and given back after it. Weight decay and LoRA's scale, where they are learnt,
are one for all groups. The logarithms of all that is learnt are the optimizer's last group.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import TrainingArguments

from autolora_bench.config.rates import Also
from autolora_bench.errors import UserError, require
from autolora_bench.search.bilevel import BilevelTrainer, LoopOptions
from autolora_bench.search.hypergradient.step import InnerLoop
from autolora_bench.search.rates import LayerRates, RateGradient, SharedMultiples
from autolora_bench.search.recomputation import recomputes

RATES_FILE = "rates.safetensors"


@dataclass(frozen=True, kw_only=True)
class RateOptions(LoopOptions):
    """How the rates are learnt.

    Attributes:
        exact: see `RateGradient`.
        learning_rate: of Adam on the logarithms.
        betas: of that Adam.
    """

    exact: bool = False
    learning_rate: float = 0.02
    betas: tuple[float, float] = (0.9, 0.999)


class RateTrainer(BilevelTrainer):
    """Trains LoRA and head, and the rates that LoRA is trained with.

    Args:
        model: PEFT LoRA model.
        args: of the weights; their learning rate is where every rate starts.
        rates: see `LayerRates`.
        shared: what else is learnt; see `SharedMultiples`.
        options: see `RateOptions`.
        arguments: as of `BilevelTrainer`.

    Raises:
        UserError: as `BilevelTrainer`; gradient checkpointing with `exact` or of the reentrant kind.
    """

    options: RateOptions
    outer_name = "learning rates"
    trajectory_name = "rates"

    def __init__(
        self,
        *,
        model: PeftModel,
        args: TrainingArguments,
        rates: LayerRates,
        options: RateOptions,
        shared: SharedMultiples | None = None,
        **arguments: Any,
    ) -> None:
        _check_recomputation(model, args, options)
        super().__init__(model=model, args=args, options=options, **arguments)
        self.rates = rates.to(args.device)
        self.shared = (SharedMultiples(model, ()) if shared is None else shared).to(args.device)
        self._unmultiplied: list[float] = []
        self._gradient = RateGradient(rates.members, options.exact, self.shared)

    @property
    def outer(self) -> Tensor:
        """Multiples (L, F) of the training's rate."""
        return self.rates.multiples()

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """The Trainer's optimizer with a group for every rate, and one more, last, for their logarithms."""
        optimizer: Optimizer = super().create_optimizer(model)
        if not any("rate" in group for group in optimizer.param_groups):
            for number, members in enumerate(self.rates.members):
                _split_off(optimizer, members, number)
            learnt = [self.rates.log, *([self.shared.log] if self.shared.names else [])]
            group = {"params": learnt, "lr": self.options.learning_rate, "weight_decay": 0.0}
            optimizer.add_param_group({**group, "betas": self.options.betas})
        return optimizer

    def before_weight_step(self) -> None:
        """Give every group its rate, and its weight decay, for the step that follows."""
        multiples, decay = self.rates.multiples().flatten().tolist(), self.shared.of(Also.weight_decay)
        groups = self._torch_optimizer().param_groups
        self._unmultiplied = [group["lr"] for group in groups]
        for group in groups:
            if "rate" in group:
                group["lr"] *= multiples[group["rate"]]
                group["weight_decay"] = group["own_decay"] * decay

    def after_weight_step(self) -> None:
        """Also take the multiples back: a schedule that waits, as one for a plateau does, sets no rate anew."""
        super().after_weight_step()
        for group, rate in zip(self._torch_optimizer().param_groups, self._unmultiplied, strict=True):
            group["lr"] = rate

    def begin(self) -> None:
        """Also refuse what has been switched on in the model since."""
        super().begin()
        _check_recomputation(self._model, self.args, self.options)

    def begin_loop(self, model: nn.Module) -> InnerLoop:
        """It remembers where the weights were."""
        return InnerLoop(**self._loop(model), remember=True)

    def prepare_loop(self, step: InnerLoop) -> None:
        """The gradient's own preparation."""
        self._gradient.prepare(step)

    def training_pass(self, step: InnerLoop, batch: Any) -> Tensor:
        """As the gradient needs it."""
        return self._gradient.training_pass(step, batch)

    def go_on(self, step: InnerLoop) -> None:
        """Tell the gradient."""
        self._gradient.advance(step)

    def move_outer(self, step: InnerLoop) -> None:
        """Move the logarithms of the rates, and of what else is learnt."""
        found = self._gradient.gradient(step)
        optimizer = self._torch_optimizer()
        optimizer.param_groups[-1]["lr"] = self.options.learning_rate
        for weight in self._weights.values():
            weight.grad = None
        rates = self.rates.log.numel()
        for log, part in ((self.rates.log, found[:rates]), (self.shared.log, found[rates:])):
            log.grad = part.view_as(log).to(log.dtype)
        optimizer.step()
        self.rates.log.grad = self.shared.log.grad = None
        self.rates.clamp()
        self.shared.settle()

    def save_outer(self, folder: str) -> None:
        """The logarithms."""
        logs = {"log": self.rates.log, **({"shared": self.shared.log} if self.shared.names else {})}
        save_file(
            {name: log.detach().cpu().contiguous() for name, log in logs.items()},
            str(Path(folder) / RATES_FILE),
        )

    def load_outer(self, folder: str) -> None:
        """The logarithms. Raises UserError where there are none, or those of other layers."""
        path, mend = Path(folder) / RATES_FILE, "resume from a checkpoint of the same search"
        try:
            found = load_file(str(path))
            log, shared = found["log"], found.get("shared", self.shared.log.detach()[:0].cpu())
        except (OSError, SafetensorError, KeyError) as error:
            raise UserError(f"{path} cannot be read: {error}", mend) from error
        require(log.shape == self.rates.log.shape, f"{path} holds the rates of other layers", mend)
        require(
            shared.shape == self.shared.log.shape, f"{path} is of a search that learnt something else", mend
        )
        self.rates.log.data.copy_(log)
        self.shared.log.data.copy_(shared)
        self.shared.settle()


def _check_recomputation(model: PeftModel, args: TrainingArguments, options: RateOptions) -> None:
    require(
        not (recomputes(model, args) and options.exact),
        "gradient checkpointing recomputes with other weights than those of the inner loop",
        "leave one of exact and gradient checkpointing out",
    )


def _split_off(optimizer: Optimizer, members: list[nn.Parameter], number: int) -> None:
    """Move the weights of one rate out of the optimizer's groups into their own."""
    wanted = {id(weight) for weight in members}
    for group in list(optimizer.param_groups):
        inside = [weight for weight in group["params"] if id(weight) in wanted]
        if inside:
            group["params"] = [weight for weight in group["params"] if id(weight) not in wanted]
            own = {"params": inside, "rate": number, "own_decay": group["weight_decay"]}
            optimizer.add_param_group({**group, **own})
    optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]
