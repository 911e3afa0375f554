"""Training without padding: the blocks of a model see the tokens of a batch laid end to end.

Texts of nearly equal lengths are neighbours and attend together; everything else in a block of a transformer treats a
token by itself, and does not see that the batch has become one long text. Before the first block padding is left out,
after the last one it is put back as zeros, which no head and no loss reads; the head of a language model reads tokens
with a label alone. So outputs and gradients are those of the
padded batch up to rounding; only dropout draws for other elements. An attention that does not go through transformers'
registry gets a mask that does not fit, and fails.

Shapes: B batch, T tokens of the longest text, N tokens laid end to end, H heads, D features of a head.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.mpnet.modeling_mpnet import MPNetLayer

from autolora_bench.backbone.attention import attention_replaced
from autolora_bench.kernels.labelled import labelled_only
from autolora_bench.kernels.layout import Block, Layout, layout_of

BLOCKS = (GradientCheckpointingLayer, MPNetLayer)
"""What blocks of the architectures that can do without padding are instances of."""
ROTATIONS = "position_embeddings"
"""The argument of a block that holds, for every token, the cosines and sines of rotary positions."""


class _Pass:
    """One forward pass over a padded batch: where its tokens are, and what every block needs anew only once."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.inside = False
        """Between the first block and the last."""
        self._made: dict[int, tuple[Any, Any]] = {}

    def once(self, thing: Any, make: Callable[[Any], Any]) -> Any:
        """What `make` makes of `thing`, which is kept with it, so that no other thing takes its identity."""
        if id(thing) not in self._made:
            self._made[id(thing)] = (thing, make(thing))
        return self._made[id(thing)][1]

    def rotations(self, pair: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Cosines and sines (B or 1, T, D) -> (1, N, D)."""
        return tuple(self.layout.lay_out(part) for part in pair)

    def masks(self, mask: Tensor | None) -> list[Tensor | None]:
        """(B or 1, H or 1, T, T) -> (n, H or 1, L, L) for every block; none where it hides nothing."""
        return [_masked(mask, block) for block in self.layout.blocks]


def _masked(mask: Tensor | None, block: Block) -> Tensor | None:
    if mask is None:
        return None
    texts = mask[block.texts] if len(mask) > 1 else mask
    own = texts[..., : block.length, : block.length]
    hides = not own.all() if own.dtype is torch.bool else bool(own.any())
    return own if hides else None


class _PaddingFree:
    """The hooks of a model, and the pass that it is in."""

    def __init__(self, model: nn.Module) -> None:
        self.modules = frozenset(model.modules())
        self.current: _Pass | None = None

    def begin(self, module: nn.Module, arguments: Any, named: dict[str, Any]) -> None:
        mask = named.get("attention_mask")
        layout = layout_of(mask) if module.training and mask is not None else None
        self.current = _Pass(layout) if layout else None

    def end(self, *_: Any) -> None:
        self.current = None

    def enter(self, block: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Before the first block."""
        here, (hidden, *others) = self.current, arguments
        if here is None or hidden.shape[:2] != here.layout.shape:
            return None
        here.inside = True
        return (here.layout.lay_out(hidden), *others), named

    def rotate(self, block: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Before every block."""
        here, pair = self.current, named.get(ROTATIONS)
        if here is None or not here.inside or pair is None:
            return None
        return arguments, {**named, ROTATIONS: here.once(pair, here.rotations)}

    def leave(self, block: nn.Module, arguments: Any, outputs: Any) -> Any:
        """After the last block."""
        here = self.current
        if here is None or not here.inside:
            return None
        here.inside = False
        if isinstance(outputs, Tensor):
            return here.layout.restore(outputs)
        return (here.layout.restore(outputs[0]), *outputs[1:])

    def attend(
        self,
        usual: Any,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        **options: Any,
    ) -> tuple[Tensor, None]:
        """(1, H, N, D) -> (1, N, H, D), every block by itself."""
        here = self.current
        if here is None or not here.inside or module not in self.modules:
            outputs: tuple[Tensor, None] = usual(module, query, key, value, attention_mask, **options)
            return outputs
        masks = here.once(attention_mask, here.masks)
        parts = []
        for block, mask in zip(here.layout.blocks, masks, strict=True):
            own = (_texts(states, block) for states in (query, key, value))
            part, _ = usual(module, *own, mask, **options)
            parts.append(part.flatten(0, 1))
        return torch.cat(parts).unsqueeze(0), None


def _texts(states: Tensor, block: Block) -> Tensor:
    """(1, H, N, D) -> (n, H, L, D)."""
    _, heads, _, features = states.shape
    own = states[0].transpose(0, 1)[block.places]
    return own.reshape(len(block.texts), block.length, heads, features).transpose(1, 2)


@contextmanager
def padding_free(model: nn.Module) -> Iterator[None]:
    """Within this context `model` computes next to no padding while it trains; it reads as ever."""
    whole = next(module for module in model.modules() if isinstance(module, PreTrainedModel))
    blocks = [module for module in whole.modules() if isinstance(module, BLOCKS)]
    hooks = _PaddingFree(model)
    with ExitStack() as stack:
        for handle in (
            whole.register_forward_pre_hook(hooks.begin, with_kwargs=True),
            whole.register_forward_hook(hooks.end, always_call=True),
            blocks[0].register_forward_pre_hook(hooks.enter, with_kwargs=True),
            *(block.register_forward_pre_hook(hooks.rotate, with_kwargs=True) for block in blocks),
            blocks[-1].register_forward_hook(hooks.leave),
        ):
            stack.callback(handle.remove)
        stack.enter_context(attention_replaced(hooks.attend))
        stack.enter_context(labelled_only(whole))
        yield
