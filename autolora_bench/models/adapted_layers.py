"""Whether layers suit what is added to them, told by their names and sizes: without torch, for `check`."""

from autolora_bench.errors import UserError


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
