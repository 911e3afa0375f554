"""What names and sizes of layers tell: their places in the model, and whether a method suits them. Without torch, for
`check`."""

import re
from collections.abc import Mapping, Sequence

from autolora_bench.config.ranks import layer_key
from autolora_bench.errors import UserError

SHARED_NAMES = ("dense", "c_proj")
"""Last parts of names that several layers of one block have."""
IN_BLOCK = r"\.(\d+)\."


def check_blocks(what: str, outputs: int, inputs: int, blocks: int, block_rank: int) -> None:
    """Whether a layer can have a Monarch update (models.monarch).

    Args:
        what: the layer, for the message.
        outputs: O.
        inputs: D.
        blocks: N.
        block_rank: b.

    Raises:
        UserError: N does not divide both sizes, or b is above what the submatrices can have.
    """
    if outputs % blocks or inputs % blocks:
        raise UserError(
            f"{blocks} blocks do not divide {what} of {outputs} outputs and {inputs} inputs",
            "say a number of blocks that divides both",
        )
    most = min(outputs, inputs) // blocks
    if block_rank > most:
        raise UserError(
            f"block rank {block_rank} is too large for {what} of {outputs} outputs and {inputs} inputs in {blocks} "
            "blocks",
            f"say at most {most}",
        )


def places(modules: Sequence[str]) -> list[tuple[int | None, str]]:
    """Block number and projection of every layer, as `block_and_projection`.

    Where layers of a model would share them, as those of an encoder-decoder's two halves, the projection also says the
    half and the attention: decoder.block.0.layer.1.EncDecAttention.q -> 0, decoder.EncDecAttention.q. Where these too
    are shared, as by blocks inside of blocks, it is all of the name but the block.
    """
    found = [block_and_projection(module) for module in modules]
    if len(set(found)) == len(found):
        return found
    for naming in (_with_half, _but_the_block):
        told = [(block, naming(module)) for module, (block, _) in zip(modules, found, strict=True)]
        if len(set(told)) == len(told):
            break
    return told


def _but_the_block(module: str) -> str:
    return re.sub(IN_BLOCK, ".", f".{module}.", count=1).strip(".")


def _with_half(module: str) -> str:
    names = [
        name
        for name in module.split(".")
        if not name.isdigit() and name not in ("model", "block", "layer", "layers")
    ]
    return ".".join(names)


def block_and_projection(module: str) -> tuple[int | None, str]:
    """Block number and projection of a layer: bert.encoder.layer.3.attention.self.query -> 3, query.

    A name that several layers of a block have is kept in full: ...layer.3.attention.output.dense ->
    3, attention.output.dense.
    """
    block = re.search(IN_BLOCK, f".{module}.")
    last = module.rsplit(".", 1)[-1]
    inside = module[block.end() - 1 :] if block else module
    return (int(block[1]) if block else None), inside if last in SHARED_NAMES else last


def matched_ranks(source: Mapping[str, int], modules: Sequence[str]) -> list[int]:
    """The source's rank of every layer.

    Args:
        source: `layer_key` -> rank.
        modules: full names of the adapted layers.

    Raises:
        UserError: the source's layers are not these.
    """
    keys = [layer_key(*place) for place in places(modules)]
    if set(keys) != set(source) or len(set(keys)) < len(keys):
        strange = ", ".join(sorted(set(keys) ^ set(source))[:4])
        raise UserError(
            f"the source has ranks for {len(source)} layers, the model has {len(keys)}; not in both: {strange}",
            "name ranks of a model with the same blocks and projections",
        )
    return [source[key] for key in keys]
