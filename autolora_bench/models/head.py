"""The head of a classifier or tagger: what belongs to it, and what becomes of one that a checkpoint brings along.

A head is kept where its classes have the task's names, in whatever order; otherwise it is drawn anew, as it is for a
checkpoint without one. Of a head whose last layer the checkpoint has not, what it has is kept: ModernBERT's was trained
to fill in words. Every method trains it in all cases.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from autolora_bench.errors import UserError

NAMELESS = re.compile(r"label_\d+")
"""What transformers calls classes that nobody named."""
POOLER = "pooler"
ADAPTER = ".lora_"
BLOCK = re.compile(r"(.+?)\.(\d+)\.")
"""A weight's list of blocks, and which block."""
TABLES = (".masked_bias", ".causal_mask", ".inv_freq", ".cos_cached", ".sin_cached", ".position_ids")
"""What earlier versions of transformers wrote beside the weights, which follows from the configuration."""
SHOWN, LONGEST = 8, 40
"""Classes, and characters of a class, that a reader is shown."""


def check_whole(
    model: PreTrainedModel, loading: Mapping[str, Any], has_head: bool, untrained: Sequence[str], name: str
) -> None:
    """Refuse a checkpoint without weights that nobody is to draw at random, or with more than its config.json says.

    Args:
        model: as transformers loaded it.
        loading: transformers' report.
        has_head: the task puts a head on the model, which a checkpoint need not have, as it need have no poolers.
        untrained: modules that are drawn at random whatever the checkpoint has.
        name: of the model, for the message.

    Raises:
        UserError: naming the first weight that is missing, has another shape, or is of a further block, an adapter or
            a part of a block that the model has not.
    """
    left = _left_out(model, loading)
    if left:
        raise UserError(
            f"the checkpoint of {name!r} has weights that its config.json leaves out: {_first_of(left)}",
            "correct its config.json (layers, biases, kind of positions), or name another checkpoint; merge adapters "
            "before one is saved",
        )
    missing, changed = _missing(loading), _changed(loading)
    new = [*untrained, *_new_poolers(model, missing), *(head_of(model) if has_head else [])]
    for what, weights in (("lacks", missing), ("has in another shape", changed)):
        lost = {weight for weight in weights if not any(weight.startswith(f"{module}.") for module in new)}
        if lost:
            ordered = [weight for weight, _ in model.named_parameters() if weight in lost]
            raise UserError(
                f"the checkpoint of {name!r} {what} weights of its model: {_first_of(ordered or sorted(lost))}",
                "name a whole checkpoint; linear layers that are to be drawn at random can be named in model.untrained",
            )


def settle_head(
    model: PreTrainedModel,
    loading: Mapping[str, Any],
    labels: Sequence[str],
    stated: PreTrainedConfig,
    generator: Tensor,
) -> tuple[list[str], str | None]:
    """Keep or draw the head, in place.

    Args:
        model: as transformers loaded it.
        loading: transformers' report.
        labels: the task's classes in their order; none for a language model.
        stated: the checkpoint's own configuration.
        generator: state of torch's generator before the model was loaded.

    Returns:
        The modules that are the head's or came with it, in the model's order, and what became of the head that the
        checkpoint has, if it has one.
    """
    if not labels:
        return [], None
    head, missing = head_of(model), _missing(loading)
    weights = {
        f"{name}.{weight}" for name in head for weight, _ in model.get_submodule(name).named_parameters()
    }
    places = [name for name, _ in model.named_modules()]
    modules = sorted([*head, *_new_poolers(model, missing)], key=places.index)
    if weights <= missing:
        return modules, None
    lost = weights & (missing | _changed(loading))
    last = {f"{_output(model, head)[0]}.{weight}" for weight in ("weight", "bias")} & weights
    if last == lost <= missing:
        kept = sorted({weight.rpartition(".")[0] for weight in weights - lost}, key=places.index)
        return modules, f"{', '.join(kept)} kept from the checkpoint, the last layer drawn anew"
    whole = not lost
    order = order_by_name(stated, labels)
    if order is None or not whole:
        why = "lacks weights" if order is not None else f"has other classes ({_classes(stated)})"
        _draw_anew(model, head, generator)
        return modules, f"drawn anew: that of the checkpoint {why}"
    _reorder(model, head, order)
    return modules, f"kept from the checkpoint, its classes matched by name ({', '.join(labels)})"


def _missing(loading: Mapping[str, Any]) -> set[str]:
    return set(loading["missing_keys"])


def _first_of(weights: Sequence[str]) -> str:
    return weights[0] + (f" and {len(weights) - 1} more" if len(weights) > 1 else "")


def _left_out(model: PreTrainedModel, loading: Mapping[str, Any]) -> list[str]:
    """Weights that would change the model's outputs and that transformers passes over: of blocks that the model has
    not, of parts of its blocks that it has not, such as biases, and of adapters beside the weights. Heads of another
    task are passed over rightly."""
    modules = dict(model.named_modules())
    backbone = next(name for name, module in modules.items() if module is model.base_model)
    prefix = f"{model.base_model_prefix}."
    blocks = {
        name: len(module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)
    }

    def beyond(weight: str) -> bool:
        found = BLOCK.match(weight)
        if found is None:
            return False
        inside, index = found[1].removeprefix(prefix), int(found[2])
        return any(f".{name}".endswith(f".{inside}") and index >= count for name, count in blocks.items())

    def within(weight: str) -> bool:
        # The bias of a module without weights is a mask of earlier versions, as GPT-2's attn.bias.
        path, _, last = weight.rpartition(".")
        may_be_mask = last == "bias"
        while path:
            for name in (path, f"{prefix}{path}", path.removeprefix(prefix)):
                if name in modules:
                    has_weights = next(modules[name].parameters(recurse=False), None) is not None
                    counts = has_weights or not may_be_mask
                    return counts and name.startswith(backbone) and BLOCK.match(f"{name}.") is not None
            path, may_be_mask = path.rpartition(".")[0], False
        return False

    return sorted(
        weight
        for weight in loading.get("unexpected_keys", ())
        if ADAPTER in weight or beyond(weight) or (not weight.endswith(TABLES) and within(weight))
    )


def _changed(loading: Mapping[str, Any]) -> set[str]:
    return {name for name, *_ in loading["mismatched_keys"]}


def head_of(model: PreTrainedModel) -> list[str]:
    """The modules beside the backbone that have weights, in the model's order."""
    backbone = model.base_model
    return [
        name
        for name, module in model.named_children()
        if module is not backbone and next(module.parameters(), None) is not None
    ]


def _new_poolers(model: PreTrainedModel, missing: set[str]) -> list[str]:
    """Poolers inside of the backbone, all of whose weights are `missing`: a checkpoint without a head may have none."""
    found = []
    for name, module in model.named_modules():
        weights = [f"{name}.{weight}" for weight, _ in module.named_parameters()]
        if name.rpartition(".")[2] == POOLER and weights and missing.issuperset(weights):
            found.append(name)
    return found


def order_by_name(config: PreTrainedConfig, labels: Sequence[str]) -> list[int] | None:
    """For every label the place of the class of that name in a checkpoint's head.

    Upper and lower case are the same, and so are blanks, dashes and underscores. None where the classes have no names,
    or others.
    """
    classes = [_plain(name) for _, name in sorted(_named(config).items())]
    wanted = [_plain(label) for label in labels]
    if sorted(classes) != sorted(wanted) or len(set(classes)) < len(classes):
        return None
    return [classes.index(label) for label in wanted]


def _classes(config: PreTrainedConfig) -> str:
    """The classes of a checkpoint's head, for a reader: their names come from a stranger's file."""
    names = [
        "".join(letter if letter.isprintable() else "?" for letter in name)[:LONGEST]
        for _, name in sorted(_named(config).items())
    ]
    listed = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    return listed or f"{config.num_labels} without names"


def _named(config: PreTrainedConfig) -> dict[int, str]:
    """Place -> name of the class; empty where nobody named them."""
    names = {int(place): str(name) for place, name in (config.id2label or {}).items()}
    return {} if any(NAMELESS.fullmatch(name.casefold()) for name in names.values()) else names


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().casefold())


@torch.no_grad()
def _reorder(model: PreTrainedModel, head: Sequence[str], order: Sequence[int]) -> None:
    """Give the outputs of the head's last layer another order, in place: output i becomes the former `order[i]`."""
    _, output = _output(model, head)
    for weights in output.parameters():  # (classes, D) and (classes,)
        weights.copy_(weights[list(order)].clone())


def _output(model: PreTrainedModel, head: Sequence[str]) -> tuple[str, nn.Module]:
    """The head's last linear layer, which has an output for every class."""
    layers = [
        (place, module)
        for place, module in model.named_modules()
        if isinstance(module, nn.Linear) and any(f"{place}.".startswith(f"{name}.") for name in head)
    ]
    return layers[-1]


def _draw_anew(model: PreTrainedModel, head: Sequence[str], generator: Tensor) -> None:
    """Give the head the first values that it has for a checkpoint without one.

    Args:
        generator: state of torch's generator before the model was loaded.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        fresh: Any = type(model)(model.config)
    for name in head:
        model.set_submodule(name, fresh.get_submodule(name).to_empty(device="cpu"))
    torch.set_rng_state(generator)
    model._is_hf_initialized = False  # ModernBERT draws its head as a part of the whole
    model.initialize_weights()  # type: ignore[no-untyped-call]
