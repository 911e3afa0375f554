"""Low-rank approximation by pseudo-inverses: a matrix from some of its own columns and rows.

M is about C U R: C (O, r) and R (r, D) are columns and rows of M, and U = C+ M R+, with Moore-Penrose inverses, is the
core for which C U R is nearest to M in the Frobenius norm (Stewart, 1999). O outputs, D inputs, r rank.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from autolora_bench.errors import UserError


@dataclass(frozen=True)
class Cur:
    """A CUR approximation."""

    columns: list[int]
    """Which columns of M are C."""
    rows: list[int]
    """Which rows of M are R."""
    left: Tensor
    """C U (O, r)."""
    right: Tensor
    """R (r, D)."""


def cur_approximation(matrix: Tensor, rank: int) -> Cur:
    """Columns and rows chosen by discrete empirical interpolation of the largest singular vectors.

    That is DEIM-CUR (Sorensen and Embree, 2016, algorithm 1): exact for a matrix of that rank, else, in the spectral
    norm, within a computable multiple of the next singular value (their theorem 4.1). Computed in double precision.

    Args:
        matrix: (O, D).
        rank: r, from 1 to the smaller size.

    Raises:
        UserError: there are not so many rows or columns.
    """
    if not 1 <= rank <= min(matrix.shape):
        raise UserError(
            f"rank {rank} with a matrix of {tuple(matrix.shape)}", f"say a rank from 1 to {min(matrix.shape)}"
        )
    exact = matrix.detach().cpu().double()
    u, _, v = torch.linalg.svd(exact, full_matrices=False)
    rows, columns = _interpolated(u[:, :rank]), _interpolated(v[:rank].T)
    c, r = exact[:, columns], exact[rows]
    core = torch.linalg.pinv(c) @ exact @ torch.linalg.pinv(r)
    return Cur(columns, rows, (c @ core).to(matrix.dtype), r.to(matrix.dtype))


def _interpolated(vectors: Tensor) -> list[int]:
    """DEIM: entries at which the columns of `vectors` (n, r), taken in turn, are least told by those before."""
    chosen = [int(vectors[:, 0].abs().argmax())]
    for number in range(1, vectors.shape[1]):
        known = vectors[:, :number]
        weights = torch.linalg.solve(known[chosen], vectors[chosen, number])
        chosen.append(int((vectors[:, number] - known @ weights).abs().argmax()))
    return chosen
