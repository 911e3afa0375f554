"""Monarch matrices: their products against dense ones, the projection onto them against theory and gradient descent."""

import pytest
import torch
from torch import Tensor

from autolora_bench.errors import UserError
from autolora_bench.models.monarch import monarch_matrix, monarch_multiply, project_onto_monarch

CASES = [(12, 12, 3, 1), (12, 18, 3, 2), (20, 8, 4, 1), (16, 16, 4, 1), (6, 6, 1, 4)]
"""Outputs, inputs, blocks, rank of a block; the fourth is the paper's square class."""


def factors(outputs: int, inputs: int, blocks: int, rank: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    left = torch.randn(blocks, outputs // blocks, blocks * rank, dtype=torch.float64)
    return left, torch.randn(blocks, blocks * rank, inputs // blocks, dtype=torch.float64)


def dense(left: Tensor, right: Tensor) -> Tensor:
    """P1 blockdiag(L) P2 blockdiag(R), the permutations written out as matrices."""
    blocks, rows, middle = left.shape
    outer = torch.zeros(blocks * rows, blocks * rows, dtype=left.dtype)
    for block in range(blocks):
        for row in range(rows):
            outer[row * blocks + block, block * rows + row] = 1
    inner = torch.zeros(blocks * middle, blocks * middle, dtype=left.dtype)
    for source in range(blocks):
        for value in range(middle):
            target, place = value % blocks, source * (middle // blocks) + value // blocks
            inner[target * middle + place, source * middle + value] = 1
    return outer @ torch.block_diag(*left) @ inner @ torch.block_diag(*right)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_products_are_those_of_the_dense_matrix(case: tuple[int, int, int, int]) -> None:
    left, right = factors(*case)
    inputs = torch.randn(2, 5, case[1], dtype=torch.float64)
    expected = dense(left, right)
    torch.testing.assert_close(monarch_matrix(left, right), expected)
    torch.testing.assert_close(monarch_multiply(inputs, left, right), inputs @ expected.T)
    torch.testing.assert_close(monarch_multiply(inputs[0, 0], left, right), expected @ inputs[0, 0])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_rank_and_size_are_what_is_said_of_them(case: tuple[int, int, int, int]) -> None:
    outputs, inputs, blocks, rank = case
    left, right = factors(*case)
    found = int(torch.linalg.matrix_rank(monarch_matrix(left, right)))
    assert found == min(outputs, inputs, blocks**2 * rank)
    assert left.numel() + right.numel() == blocks * rank * (inputs + outputs)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_projection_leaves_monarch_matrices_as_they_are(case: tuple[int, int, int, int]) -> None:
    matrix = monarch_matrix(*factors(*case))
    torch.testing.assert_close(monarch_matrix(*project_onto_monarch(matrix, *case[2:])), matrix)


@pytest.mark.parametrize("case", [(12, 8, 2, 1), (9, 9, 3, 1), (8, 12, 2, 2)], ids=str)
def test_nothing_in_the_class_is_nearer_than_the_projection(case: tuple[int, int, int, int]) -> None:
    """A long descent from several starts comes to the projection's distance, and never below it."""
    torch.manual_seed(1)
    outputs, inputs, blocks, rank = case
    matrix = torch.randn(outputs, inputs, dtype=torch.float64)
    nearest = float((monarch_matrix(*project_onto_monarch(matrix, blocks, rank)) - matrix).square().sum())
    found = []
    for seed in range(3):
        torch.manual_seed(seed)
        start = (
            torch.randn(blocks, outputs // blocks, blocks * rank, dtype=torch.float64),
            torch.randn(blocks, blocks * rank, inputs // blocks, dtype=torch.float64),
        )
        weights = [weight.mul(0.5).requires_grad_() for weight in start]
        optimizer = torch.optim.LBFGS(
            weights, max_iter=2000, tolerance_change=1e-16, line_search_fn="strong_wolfe"
        )

        def closure(weights: list[Tensor] = weights, optimizer: torch.optim.LBFGS = optimizer) -> Tensor:
            optimizer.zero_grad()
            loss = (monarch_matrix(weights[0], weights[1]) - matrix).square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        found.append(float(closure().detach()))
    assert min(found) == pytest.approx(nearest, rel=1e-6)
    assert all(loss > nearest * (1 - 1e-9) for loss in found)


def test_a_block_rank_of_full_size_is_the_matrix_itself() -> None:
    matrix = torch.randn(12, 8, dtype=torch.float64)
    torch.testing.assert_close(monarch_matrix(*project_onto_monarch(matrix, 4, 2)), matrix)


def test_hadamard_and_fourier_transforms_are_monarch_matrices() -> None:
    """Section 3.1 of the paper: products of two block-diagonal factors hold fast transforms; the Fourier transform does
    with its inputs in the order of Cooley and Tukey."""
    four = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], dtype=torch.float64)
    hadamard = torch.kron(four, four)
    torch.testing.assert_close(monarch_matrix(*project_onto_monarch(hadamard, 4)), hadamard)
    fourier = torch.fft.fft(torch.eye(16, dtype=torch.complex128))
    order = torch.arange(16).view(4, 4).T.flatten()
    found = monarch_matrix(*project_onto_monarch(fourier[:, order], 4))
    torch.testing.assert_close(found, fourier[:, order])
    assert not torch.allclose(monarch_matrix(*project_onto_monarch(fourier, 4)), fourier)


@pytest.mark.parametrize(("shape", "blocks", "rank"), [((12, 8), 3, 1), ((9, 8), 4, 1), ((12, 8), 4, 3)])
def test_blocks_that_do_not_fit_are_refused(shape: tuple[int, int], blocks: int, rank: int) -> None:
    with pytest.raises(UserError) as error:
        project_onto_monarch(torch.randn(shape), blocks, rank)
    assert f"{shape[0]} outputs" in error.value.what
    assert error.value.mend
