"""Another function in the place of PyTorch's attention, for models that look it up in transformers' registry."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from transformers import AttentionInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

PYTORCH = "sdpa"
"""The name under which transformers calls scaled_dot_product_attention."""


@contextmanager
def attention_replaced(attend: Callable[..., Any]) -> Iterator[None]:
    """Within this context `attend`, called with the usual function and its arguments, is every model's attention."""
    usual = ALL_ATTENTION_FUNCTIONS[PYTORCH]
    try:
        AttentionInterface.register(PYTORCH, partial(attend, usual))
        yield
    finally:
        AttentionInterface.register(PYTORCH, usual)
