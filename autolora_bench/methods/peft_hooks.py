"""What types of PEFT ask for beside gradient steps: losses of their own, and allocations.

PEFT leaves both to whoever trains, and a training that forgets them runs to its end without a warning.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.adamss.layer import AdamssLayer
from peft.tuners.lora.monteclora import MontecloraSampler
from torch import Tensor, nn
from transformers import TrainerControl, TrainerState, TrainingArguments

from autolora_bench.errors import UserError
from autolora_bench.training.method_hooks import MethodHooks

TABLES = ("exp_avg_ipt_A", "exp_avg_ipt_B", "exp_avg_unc_A", "exp_avg_unc_B")
"""AdaMSS's averages, per layer one entry per subspace."""


class OwnLoss(MethodHooks):
    """Adds the losses that KaSA and MonteCLoRA, options of LoRA, define beside the task's.

    MonteCLoRA draws its noise in blocks, each used for many passes: a resumed run draws the block anew that it was in.
    """

    def __init__(self, model: PeftModel) -> None:
        self.tuner: Any = model.base_model
        config: Any = model.active_peft_config
        self.terms: list[Any] = [
            term
            for option, term in (
                ("kasa_config", self.tuner._get_kasa_loss),
                ("monteclora_config", self.tuner._get_monteclora_loss),
            )
            if getattr(config, option, None) is not None
        ]

        self.samplers: dict[str, Any] = {
            name: module.sampler
            for name, module in model.named_modules()
            if isinstance(module, MontecloraSampler)
        }
        self.drawn_from: dict[str, Tensor] = {}
        """Sampler -> torch's state before its block was drawn; none for the first, which comes with the model."""
        for name, sampler in self.samplers.items():
            sampler._refill_buffer = partial(self._refill, name, sampler._refill_buffer)

    def _refill(self, name: str, refill: Callable[[], None]) -> None:
        self.drawn_from[name] = torch.get_rng_state()
        refill()

    def state(self) -> dict[str, Tensor]:
        """Where every sampler is in which block."""
        places = {f"place:{name}": torch.tensor(sampler.index) for name, sampler in self.samplers.items()}
        return places | {f"block:{name}": state for name, state in self.drawn_from.items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Draw the blocks again and go on from there."""
        now = torch.get_rng_state()
        for name, sampler in self.samplers.items():
            if f"block:{name}" in state:
                torch.set_rng_state(state[f"block:{name}"])
                sampler._refill_buffer()
            sampler.index = int(state[f"place:{name}"])
        torch.set_rng_state(now)

    def penalty(self) -> Tensor | None:
        """Their sum, with PEFT's weights."""
        losses = [term() for term in self.terms]
        found = [loss for loss in losses if isinstance(loss, Tensor)]
        return torch.stack([loss.reshape(()) for loss in found]).sum() if found else None


class SubspaceSchedule(MethodHooks):
    """AdaMSS's adaptive allocation: subspaces of little importance stop being trained.

    PEFT switches off `requires_grad` of those; here their gradients are taken away before every step, which is the
    same to the optimizer, so that the list of trained weights stays what it was when the run is resumed.
    """

    def __init__(self, model: PeftModel) -> None:
        self.tuner: Any = model.base_model
        self.config: Any = model.active_peft_config
        self.adapter = str(model.active_adapter)
        self.layers: dict[str, Any] = {
            name: module for name, module in model.named_modules() if isinstance(module, AdamssLayer)
        }
        self.frozen: set[str] = set()
        self.allocations = 0

    def _subspaces(self) -> dict[str, nn.Parameter]:
        return {
            f"{name}/{table}/{number}": weight
            for name, layer in self.layers.items()
            for table in ("adamss_A", "adamss_B")
            for number, weight in enumerate(getattr(layer, table)[self.adapter])
        }

    def _withhold(self) -> None:
        for name, weight in self._subspaces().items():
            if name in self.frozen:
                weight.grad = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Refuse a schedule that has no step within this training."""
        c, first = self.config, self._first()
        if first > min(state.max_steps, c.final_warmup):
            raise UserError(
                f"AdaMSS allocates nothing in {state.max_steps} steps: init_warmup={c.init_warmup}, "
                f"final_warmup={c.final_warmup}, mask_interval={c.mask_interval}",
                "train longer, or say smaller ones in method.settings; without use_asa it trains all subspaces",
            )

    def _first(self) -> int:
        """The first step that masks anything."""
        interval = int(self.config.mask_interval)
        return max(-(-int(self.config.init_warmup) // interval), 1) * interval

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """No step for what is switched off."""
        self._withhold()

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Gather importance, and switch subspaces off where it is due; between update and removal of gradients."""
        step, c = state.global_step + 1, self.config
        self.tuner.update_and_allocate(step)
        self.allocations += int(c.init_warmup <= step <= c.final_warmup and step % int(c.mask_interval) == 0)
        for name, weight in self._subspaces().items():
            if not weight.requires_grad:
                self.frozen.add(name)
                weight.requires_grad_(True)

    def state(self) -> dict[str, Tensor]:
        """What is switched off, and the averages of importance so far."""
        found = {f"frozen:{name}": torch.tensor(True) for name in self.frozen}
        for layer, module in self.layers.items():
            for table in TABLES:
                averages = getattr(module, table).get(self.adapter, [])
                found |= {f"{table}:{layer}/{i}": t for i, t in enumerate(averages) if t is not None}
        return {**found, "allocations": torch.tensor(self.allocations)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Put them back."""
        self.allocations = int(state["allocations"])
        self.frozen = {name.removeprefix("frozen:") for name in state if name.startswith("frozen:")}
        for layer, module in self.layers.items():
            device = module.get_base_layer().weight.device
            for table in TABLES:
                averages = getattr(module, table).get(self.adapter, [])
                for i in range(len(averages)):
                    kept = state.get(f"{table}:{layer}/{i}")
                    averages[i] = None if kept is None else kept.to(device)

    def finish(self) -> None:
        """Raises UserError where no allocation ran."""
        if not self.allocations:
            raise UserError(
                "no step of AdaMSS's allocation ran: all subspaces were trained throughout",
                "train for more optimizer steps, or leave out method.settings.use_asa",
            )

    def details(self) -> dict[str, Any]:
        """How many were left."""
        subspaces = len(self._subspaces()) // 2
        trained = subspaces - len({name.replace("/adamss_B/", "/adamss_A/") for name in self.frozen})
        return {"allocations": self.allocations, "subspaces": subspaces, "trained_to_the_end": trained}
