"""CUR approximations: exact where they can be, the best core for their rows and columns, within the proved bound."""

import pytest
import torch
from torch import Tensor

from autolora_bench.errors import UserError
from autolora_bench.models.cur import cur_approximation


def matrix(outputs: int = 14, inputs: int = 9, rank: int | None = None) -> Tensor:
    torch.manual_seed(0)
    if rank is None:
        return torch.randn(outputs, inputs, dtype=torch.float64)
    left, right = (
        torch.randn(outputs, rank, dtype=torch.float64),
        torch.randn(rank, inputs, dtype=torch.float64),
    )
    return left @ right


@pytest.mark.parametrize("rank", [1, 3, 9])
def test_a_matrix_of_that_rank_is_given_back(rank: int) -> None:
    exact = matrix(rank=rank)
    found = cur_approximation(exact, rank)
    torch.testing.assert_close(found.left @ found.right, exact)
    torch.testing.assert_close(found.right, exact[found.rows])
    assert len(set(found.rows)) == len(set(found.columns)) == rank


def test_more_rank_than_there_is_does_no_harm() -> None:
    exact = matrix(rank=2)
    found = cur_approximation(exact, 5)
    torch.testing.assert_close(found.left @ found.right, exact)


@pytest.mark.parametrize("rank", [1, 2, 4, 7])
def test_no_core_is_nearer_for_these_rows_and_columns(rank: int) -> None:
    """Least squares over all cores, as one system of equations."""
    exact = matrix()
    found = cur_approximation(exact, rank)
    columns, rows = exact[:, found.columns], exact[found.rows]
    core = torch.linalg.lstsq(torch.kron(columns, rows.T.contiguous()), exact.reshape(-1, 1)).solution
    nearest = columns @ core.reshape(rank, rank) @ rows
    torch.testing.assert_close(found.left @ found.right, nearest, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("rank", [1, 2, 4, 7])
def test_the_error_is_within_the_proved_bound(rank: int) -> None:
    """Theorem 4.1 of Sorensen and Embree; and never below the best approximation of that rank."""
    exact = matrix()
    found = cur_approximation(exact, rank)
    u, s, v = torch.linalg.svd(exact, full_matrices=False)
    of_rows = torch.linalg.matrix_norm(torch.linalg.inv(u[found.rows, :rank]), 2)
    of_columns = torch.linalg.matrix_norm(torch.linalg.inv(v[:rank, found.columns]), 2)
    error = torch.linalg.matrix_norm(exact - found.left @ found.right, 2)
    assert s[rank] * (1 - 1e-9) <= error <= (of_rows + of_columns) * s[rank]


def test_rows_and_columns_are_those_of_interpolation_by_projectors() -> None:
    """DEIM as its authors define it, by oblique projectors V (P' V)^-1 P'."""
    exact, rank = matrix(), 5
    u, _, v = torch.linalg.svd(exact, full_matrices=False)
    for vectors, found in (
        (u[:, :rank], cur_approximation(exact, rank).rows),
        (v[:rank].T, cur_approximation(exact, rank).columns),
    ):
        chosen: list[int] = []
        for number in range(rank):
            residual = vectors[:, number]
            if chosen:
                pick = torch.eye(len(vectors), dtype=torch.float64)[:, chosen]
                known = vectors[:, :number]
                residual = residual - known @ torch.linalg.inv(pick.T @ known) @ pick.T @ residual
            chosen.append(int(residual.abs().argmax()))
        assert found == chosen


@pytest.mark.parametrize("rank", [0, 10])
def test_a_rank_that_cannot_be_is_refused(rank: int) -> None:
    with pytest.raises(UserError, match=f"rank {rank}"):
        cur_approximation(matrix(), rank)
