"""Memory of LoRA and of AutoLoRA's search by the sizes of four models: python benchmarks/memory_on_paper.py

On paper, not measured: the weights, what Adam keeps of the trained ones, what the search keeps beside, and activations
of one batch as Korthikanti et al. (2023, section 4.1) count them, 34 bytes per token, unit and block in 16 bits, but
for the attention's scores, which a fused attention does not keep; with train.gradient_checkpointing the input of every
block and the inside of one. The allocator's slack, and logits over a language model's vocabulary, come on top.
"""

import argparse
from dataclasses import dataclass

GIB = 2**30
TOKENS = 16 * 128
"""Of a batch."""
NF4 = (4 + 0.127) / 8
"""Bytes a weight: 4 bits, and the constants of blocks of 64 in 8 bits (Dettmers et al., 2023, section 3)."""
IN_16_BITS = 34
"""Bytes of activations per token, unit and block."""


@dataclass(frozen=True)
class Llama:
    """Sizes of a Llama-like model."""

    name: str
    blocks: int
    units: int
    inner: int
    values: int
    """Outputs of the key and value projections."""
    words: int
    tied: bool = True

    @property
    def matrices(self) -> int:
        """Weights of the blocks' linear layers."""
        attention = 2 * self.units * self.units + 2 * self.units * self.values
        return self.blocks * (attention + 3 * self.units * self.inner)

    @property
    def others(self) -> int:
        """Embeddings, the head of an untied model, norms."""
        return (1 if self.tied else 2) * self.words * self.units + (2 * self.blocks + 1) * self.units

    def lora(self, rank: int) -> int:
        """Weights of a LoRA on the query and value projections."""
        return self.blocks * rank * (2 * self.units + self.units + self.values)

    def frozen(self, matrix: float, other: float) -> float:
        """Bytes of the pretrained weights, at so many for each."""
        return matrix * self.matrices + other * self.others

    def activations(self, wide: int, again: bool) -> float:
        """Bytes of one batch; `wide` is 2 in single precision, 1 in 16 bits."""
        block = IN_16_BITS * wide * TOKENS * self.units
        inputs = self.blocks * 2 * wide * TOKENS * self.units
        return inputs + block if again else self.blocks * block


MODELS = (
    Llama("SmolLM2-135M", 30, 576, 1536, 192, 49152),
    Llama("Llama 3.2 1B", 16, 2048, 8192, 512, 128256),
    Llama("Llama 3.2 3B", 28, 3072, 8192, 1024, 128256),
    Llama("Llama 3.1 8B", 32, 4096, 14336, 1024, 128256, tied=False),
)
STORED = {"fp32": (4, 4, 2), "bf16": (2, 2, 1), "nf4 and bf16": (NF4, 2, 1)}
"""Storage -> bytes of a weight in a matrix, of any other, and how wide activations are."""


def total(model: Llama, stored: str, search: bool, again: bool) -> float:
    """GiB of LoRA of rank 4, or of the search with 8 components: weight, gradient and two moments of each trained
    weight; in the search also the validation gradient, its product with the step's Jacobian and the gradient before it
    was clipped."""
    matrix, other, wide = STORED[stored]
    trained = 28 * model.lora(8) if search else 16 * model.lora(4)
    return (model.frozen(matrix, other) + trained + model.activations(wide, again)) / GIB


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    cells = [(stored, again) for stored in STORED for again in (False, True)]
    print(
        "| model | | "
        + " | ".join(f"{stored}{', recomputed' if again else ''}" for stored, again in cells)
        + " |"
    )
    print("| :--- | :--- |" + " ---: |" * len(cells))
    for model in MODELS:
        for search in (False, True):
            row = [f"{total(model, stored, search, again):.1f}" for stored, again in cells]
            print(f"| {model.name} | {'search' if search else 'LoRA'} | {' | '.join(row)} |")


if __name__ == "__main__":
    main()
