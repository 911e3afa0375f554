"""Plants low-rank updates of known ranks in a frozen model, and reads off what the model then puts out.

Layer l gets W + U diag(s) V^T, its rank r of the truth. U (O, r) is orthonormal; V (D, r) is whitened on the layer's
own inputs x, mean of x x^T = M: V^T M V = I, so that every planted direction sees a mean square of one. The scales s
say how much the model's output changes, see `calibrated`. The student is the model without a head, whose loss is its
distance from the teacher's hidden states (`recovering`).

Shapes: B batch, T tokens, H hidden size; of a layer D inputs, O outputs, r rank.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D
from transformers.utils.generic import ModelOutput

from autolora_bench.config.task import IGNORED, PlantMode
from autolora_bench.errors import UserError

Batch = Mapping[str, Tensor]
"""input_ids and attention_mask (B, T), and what else the model reads."""

SPECTRUM = 1e-4
"""Directions of a layer's inputs whose mean square is below this share of the largest but one are not planted in:
hardly anything happens there, and whitening would make their weights huge. The largest is mostly the mean."""
START = 0.1
"""First scale, over the root mean square of the layer's output norm."""
ROUNDS, TOLERANCE = 12, 0.01
"""The calibration ends when every change is as wanted within the tolerance, or after so many rounds."""


@dataclass(frozen=True)
class Update:
    """What is planted in one layer."""

    left: Tensor
    """U (O, r)."""
    right: Tensor
    """V (D, r)."""
    scales: Tensor
    """s (r,)."""

    def delta(self, chosen: slice = slice(None)) -> Tensor:
        """(O, D) of the chosen components, in fp32."""
        parts = (self.left * self.scales)[:, chosen] @ self.right[:, chosen].T
        return parts.float()


@dataclass(frozen=True)
class Inputs:
    """What a layer reads and writes in the pretrained model."""

    moment: Tensor
    """(D, D) mean of x x^T, fp64."""
    outputs: int
    """O."""
    norm: float
    """Root mean square of the norm of W x + b."""


def draw_updates(inputs: Mapping[str, Inputs], ranks: Mapping[str, int], seed: int) -> dict[str, Update]:
    """Random updates of the layers whose rank is above 0, all of the layer's own first scale.

    Args:
        inputs: layer -> what it reads.
        ranks: layer -> rank.
        seed: of the draw.

    Raises:
        UserError: a rank is larger than the layer, or than the directions that its inputs have.
    """
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, rank in ranks.items():
        size = inputs[name].outputs
        left = torch.randn(size, rank, generator=generator, dtype=torch.float64)
        right = torch.randn(len(inputs[name].moment), rank, generator=generator, dtype=torch.float64)
        if rank == 0:
            continue
        root, directions = _inverse_root(inputs[name].moment)
        if rank > min(directions, size):
            raise UserError(
                f"{name} has no room for a planted rank of {rank}: {size} outputs, inputs of {directions} directions",
                "plant smaller ranks (task.truth, task.rank), or read more and longer inputs",
            )
        white = root @ right
        planted = white @ _polar(white.T @ inputs[name].moment @ white)
        scales = torch.full((rank,), START * inputs[name].norm, dtype=torch.float64)
        found[name] = Update(left @ _polar(left.T @ left), planted, scales)
    return found


def _inverse_root(moment: Tensor) -> tuple[Tensor, int]:
    """Symmetric M^(-1/2) over the directions that are kept, and their number."""
    values, vectors = torch.linalg.eigh(moment)
    reference = values[-2] if len(values) > 1 else values[-1]
    kept = values > SPECTRUM * reference
    root = vectors[:, kept] @ torch.diag(values[kept].rsqrt()) @ vectors[:, kept].T
    return root, int(kept.sum())


def _polar(gram: Tensor) -> Tensor:
    """Symmetric G^(-1/2) of a positive G (r, r): orthonormalises without a preferred component."""
    values, vectors = torch.linalg.eigh(gram)
    root: Tensor = vectors @ torch.diag(values.rsqrt()) @ vectors.T
    return root


@torch.no_grad()
def layer_inputs(model: nn.Module, names: Sequence[str], batches: Sequence[Batch]) -> dict[str, Inputs]:
    """Moments of every layer's inputs over the tokens that are no padding."""
    moments: dict[str, Tensor] = {}
    norms = dict.fromkeys(names, 0.0)
    sizes = dict.fromkeys(names, 0)
    tokens = 0
    mask: Tensor | None = None

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, read: tuple[Any, ...], written: Tensor) -> None:
            x = read[0][mask].double()
            moments[name] = moments.get(name, 0) + x.T @ x
            sizes[name] = written.shape[-1]
            norms[name] += float(written[mask].double().square().sum())

        return hook

    handles = [model.get_submodule(name).register_forward_hook(watch(name)) for name in names]
    try:
        for batch in batches:
            mask = batch["attention_mask"].bool()
            tokens += int(mask.sum())
            model(**batch)
    finally:
        for handle in handles:
            handle.remove()
    return {
        name: Inputs(moments[name] / tokens, sizes[name], (norms[name] / tokens) ** 0.5) for name in names
    }


@torch.no_grad()
def hidden_states(model: nn.Module, batches: Sequence[Batch]) -> Tensor:
    """(tokens, H) last hidden states of all batches, padding left out."""
    return torch.cat([model(**batch).last_hidden_state[batch["attention_mask"].bool()] for batch in batches])


@contextmanager
def planted(model: nn.Module, deltas: Mapping[str, Tensor]) -> Iterator[None]:
    """Within this context the layers' weights are W + delta (O, D); afterwards they are W bit for bit."""
    before = {}
    with torch.no_grad():
        for name, delta in deltas.items():
            layer: Any = model.get_submodule(name)
            before[name] = layer.weight.detach().clone()
            layer.weight += (delta.T if isinstance(layer, Conv1D) else delta).to(layer.weight.device)
    try:
        yield
    finally:
        with torch.no_grad():
            for name, weight in before.items():
                model.get_submodule(name).weight.copy_(weight)  # type: ignore[operator]


def calibrated(
    model: nn.Module, updates: Mapping[str, Update], batches: Sequence[Batch], mode: PlantMode, change: float
) -> dict[str, Update]:
    """The updates with the scales at which the output changes as the mode says.

    A change is the mean over tokens of the squared distance between hidden states with and without it, over the mean
    squared distance of the hidden states from their mean. Were all of a plant's changes uncorrelated, they would add
    up to change^2. equal: every component alone changes the output by change^2 / the sum of all ranks. size: every
    planted layer alone by change^2 / the number of planted layers, its components having one scale.

    Args:
        model: the pretrained model, in evaluation mode.
        updates: of `draw_updates`.
        batches: what the changes are measured on.
        mode: see above.
        change: see above.

    Raises:
        UserError: the output does not change as far as is asked for, however large the update.
    """
    base = hidden_states(model, batches)
    spread = float((base - base.mean(dim=0)).double().square().sum(dim=1).mean())
    parts = (
        sum(len(update.scales) for update in updates.values()) if mode is PlantMode.equal else len(updates)
    )
    wanted = change**2 / parts

    def measured(name: str, update: Update, chosen: slice) -> float:
        with planted(model, {name: update.delta(chosen)}):
            states = hidden_states(model, batches)
        return float((states - base).double().square().sum(dim=1).mean()) / spread

    found = {}
    for name, update in updates.items():
        rank = len(update.scales)
        if mode is PlantMode.size:
            found[name] = _scaled(name, update, slice(0, rank), wanted, measured)
            continue
        for j in range(rank):
            update = _scaled(name, update, slice(j, j + 1), wanted, measured)
            update.scales[j + 1 :] = update.scales[j]  # near what the next one needs
        found[name] = update
    return found


def _scaled(
    name: str, update: Update, chosen: slice, wanted: float, measured: Callable[[str, Update, slice], float]
) -> Update:
    for _ in range(ROUNDS):
        found = measured(name, update, chosen)
        if abs(found / wanted - 1) < TOLERANCE:
            return update
        scales = update.scales.clone()
        scales[chosen] *= (wanted / max(found, 1e-12)) ** 0.5
        update = replace(update, scales=scales)
    raise UserError(
        f"no update of {name} changes the output as far as is asked for",
        "lower task.change, which is the size of the whole change over the output's standard deviation",
    )


@dataclass
class RecoveryOutput(ModelOutput):
    """Last hidden states (B, T, D), and the loss where there were labels."""

    loss: Tensor | None = None
    last_hidden_state: Tensor | None = None


class _Recovering:
    """Before a model's class: `forward` takes labels."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        variance: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **others: Any,
    ) -> RecoveryOutput:
        """Mean squared error over `variance`, in fp32.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T).
            token_type_ids: (B, T), for architectures that have them.
            labels: (B, T, D) hidden states of the teacher, IGNORED at padding.
            variance: (B,), all the same: what the error is divided by.
            num_items_in_batch: the Trainer's, which weighs micro-batches itself.
            others: of the model's own forward pass.
        """
        if token_type_ids is not None:
            others["token_type_ids"] = token_type_ids
        outputs: Any = super().forward(input_ids=input_ids, attention_mask=attention_mask, **others)  # type: ignore[misc]
        states: Tensor = outputs.last_hidden_state
        if labels is None:
            return RecoveryOutput(last_hidden_state=states)
        return RecoveryOutput(loss=_loss(states, labels, variance), last_hidden_state=states)


def _loss(states: Tensor, labels: Tensor, variance: Tensor | None) -> Tensor:
    counts = labels.ne(IGNORED)
    errors = torch.where(counts, states.float() - labels, 0.0)
    mean = errors.square().sum() / counts.sum().clamp_min(1)
    return mean if variance is None else mean / variance[0]


def recovering(model: PreTrainedModel) -> None:
    """Give a model without a head this loss, in place; its modules keep their names.

    A pooler is taken away: nothing reads it, and where the checkpoint has none it would be random. The model's own
    dropout is turned off: the teacher has none, and the student would be off by its noise.
    """
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # type: ignore[assignment]
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if ("drop" in name or isinstance(module, nn.Dropout)) and isinstance(value, float):
                setattr(module, name, 0.0)
    kind = type(model)
    model.__class__ = type(kind.__name__, (_Recovering, kind), {"__module__": kind.__module__})
