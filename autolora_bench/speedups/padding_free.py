"""Training without padding: the blocks of a model see the tokens of a batch laid end to end.

Texts of nearly equal lengths are neighbours and attend together; everything else in a block of a transformer treats a
token by itself, and does not see that the batch has become one long text. Before the first block padding is left out,
after the last one zeros are put in its place, of which nothing in the loss depends; the head of a language model that
is given labels reads tokens with a label alone. So losses and gradients are those of the padded batch up to rounding,
but dropout draws for other elements. An attention that does not ask transformers' registry gets a mask that does not
fit, and fails.

Shapes: B batch, T tokens of the longest text, N tokens laid end to end, M tokens with a label, H heads, D features of a
head; a bucket has n texts of L tokens.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.mpnet.modeling_mpnet import MPNetLayer

from autolora_bench.config.task import IGNORED
from autolora_bench.errors import UserError
from autolora_bench.models.attention import attention_replaced
from autolora_bench.speedups.layout import Bucket, Layout, entries, layout_of, may_pad_in_front, transformer

BLOCKS = (GradientCheckpointingLayer, MPNetLayer)
"""What blocks of the architectures that can do without padding are instances of."""
ROTATIONS = "position_embeddings"
"""The argument of a block that holds, for every token, the cosines and sines of rotary positions."""


class _Pass:
    """One forward pass over a padded batch: where its tokens are, and what every block needs anew only once."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._made: dict[int, tuple[Any, Any]] = {}

    def once(self, thing: Any, make: Callable[[Any], Any]) -> Any:
        """What `make` makes of `thing`, which is kept with it, so that no other thing takes its identity."""
        if id(thing) not in self._made:
            self._made[id(thing)] = (thing, make(thing))
        return self._made[id(thing)][1]

    def rotations(self, pair: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Cosines and sines (B or 1, T, D) -> (1, N, D)."""
        return tuple(self.layout.unpad(part) for part in pair)

    def masks(self, mask: Tensor) -> list[Tensor | None]:
        """(B, H or 1, T, T) -> (n, H or 1, L, L) for every bucket."""
        return [_mask(mask, bucket) for bucket in self.layout.buckets]


def _mask(mask: Tensor, bucket: Bucket) -> Tensor | None:
    """None where it hides nothing: attention without a mask is faster."""
    own = mask[bucket.texts][..., bucket.columns, bucket.columns]
    return None if own.dtype is torch.bool and own.all() else own


class _PaddingFree:
    """The hooks of a model, and the pass that it is in."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.in_front = model, may_pad_in_front(model)
        self.mask: Tensor | None = None
        self.next: _Pass | None = None
        self.inside: _Pass | None = None  # the pass while it is between the first block and the last

    def begin(self, entry: nn.Module, arguments: Any, named: dict[str, Any]) -> None:
        if entry is self.model:
            self.end()
        mask = named.get("attention_mask")
        if entry.training and isinstance(mask, Tensor) and mask.ndim == 2 and mask is not self.mask:
            self.mask, layout = mask, layout_of(mask, self.in_front)
            self.next = _Pass(layout) if layout else None

    def end(self, *_: Any) -> None:
        self.mask = self.next = self.inside = None

    def enter(self, block: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Before the first block."""
        hidden, *others = arguments
        if self.next is None or hidden.shape[:2] != self.next.layout.shape:
            return None
        self.inside = self.next
        return (self.inside.layout.unpad(hidden), *others), named

    def rotate(self, block: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Before every block."""
        pair = named.get(ROTATIONS)
        if self.inside is None or pair is None:
            return None
        return arguments, {**named, ROTATIONS: self.inside.once(pair, self.inside.rotations)}

    def leave(self, block: nn.Module, arguments: Any, outputs: Any) -> Any:
        """After the last block."""
        if self.inside is None:
            return None
        layout, self.inside = self.inside.layout, None
        if isinstance(outputs, Tensor):
            return layout.pad(outputs)
        return (layout.pad(outputs[0]), *outputs[1:])

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
        """(1, H, N, D) -> (1, N, H, D), every bucket by itself."""
        if self.inside is None:
            outputs: tuple[Tensor, None] = usual(module, query, key, value, attention_mask, **options)
            return outputs
        masks = self.inside.once(attention_mask, self.inside.masks)
        parts = []
        for bucket, mask in zip(self.inside.layout.buckets, masks, strict=True):
            states = (_texts(each, bucket) for each in (query, key, value))
            part, _ = usual(module, *states, mask, **options)
            parts.append(part.flatten(0, 1))
        return torch.cat(parts).unsqueeze(0), None


def _texts(states: Tensor, bucket: Bucket) -> Tensor:
    """(1, H, N, D) -> (n, H, L, D)."""
    rows = states[0].transpose(0, 1)[bucket.places]
    return rows.reshape(*bucket.shape, *rows.shape[1:]).transpose(1, 2)


@contextmanager
def padding_free(model: nn.Module) -> Iterator[None]:
    """Within this context `model` computes next to no padding while it trains; it reads as ever.

    Raises:
        UserError: the model may skip its last block.
    """
    dropped = getattr(transformer(model).config, "layerdrop", 0)
    if dropped:
        raise UserError(
            f"train.padding_free=true does not work with this model's layerdrop={dropped}",
            "leave it out, or set layerdrop to 0 in the model's config.json",
        )
    blocks = [module for module in model.modules() if isinstance(module, BLOCKS)]
    hooks = _PaddingFree(model)
    with ExitStack() as stack:
        for handle in (
            *(entry.register_forward_pre_hook(hooks.begin, with_kwargs=True) for entry in entries(model)),
            model.register_forward_hook(hooks.end, always_call=True),
            blocks[0].register_forward_pre_hook(hooks.enter, with_kwargs=True),
            *(block.register_forward_pre_hook(hooks.rotate, with_kwargs=True) for block in blocks),
            blocks[-1].register_forward_hook(hooks.leave),
        ):
            stack.callback(handle.remove)
        stack.enter_context(attention_replaced(hooks.attend))
        stack.enter_context(labelled_only(model))
        yield


class _Labelled:
    """The hooks of a language model, and the tokens that have a label in the pass that it is in."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.places: Tensor | None = None

    def begin(self, entry: nn.Module, arguments: Any, named: dict[str, Any]) -> Any:
        if entry is self.model:
            self.places = None
        labels = named.get("labels")
        if not entry.training or labels is None:
            return None
        following = functional.pad(labels, (0, 1), value=IGNORED)[:, 1:].flatten()
        self.places = (following != IGNORED).nonzero().flatten()
        return arguments, {**named, "shift_labels": following[self.places].unsqueeze(0)}

    def end(self, *_: Any) -> None:
        self.places = None

    def read(self, head: nn.Module, arguments: tuple[Tensor, ...]) -> Any:
        """(B, T, D) -> (1, M, D)."""
        if self.places is None or not head.training:
            return None
        (hidden,) = arguments
        return (hidden.flatten(0, 1)[self.places].unsqueeze(0),)


@contextmanager
def labelled_only(model: nn.Module) -> Iterator[None]:
    """Within this context a language model that trains puts out logits (1, M, vocabulary) where it is given labels.

    Other models are as ever.
    """
    head: Any = transformer(model).get_output_embeddings()  # type: ignore[no-untyped-call]
    hooks = _Labelled(model)
    with ExitStack() as stack:
        if head is not None:
            for entry in entries(model):
                stack.callback(entry.register_forward_pre_hook(hooks.begin, with_kwargs=True).remove)
            stack.callback(model.register_forward_hook(hooks.end, always_call=True).remove)
            stack.callback(head.register_forward_pre_hook(hooks.read).remove)
        yield
