"""The head of a language model reads only the tokens that have a label: logits of others are in no loss.

Shapes: B batch, T tokens, M tokens with a label, D features.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from autolora_bench.models.architectures import IGNORED
from autolora_bench.speedups.entries import entries, transformer


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
