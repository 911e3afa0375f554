"""Monarch matrices (Dao et al., 2022, arXiv 2204.00595): permuted products of two block-diagonal ones.

M = P1 blockdiag(L) P2 blockdiag(R), of O outputs and D inputs, with N blocks in each factor. R_k reads the k-th D / N
inputs; P2 gives every L_l an equal part of what each R_k puts out, b values; P1 spreads what L_l puts out over the
outputs, every N-th from the l-th on.

So M falls into N x N submatrices: the (l, k)-th has every N-th row from the l-th on, and the k-th D / N columns. Each
is any matrix of rank b, and no two share a weight. M has N b (D + O) weights, as many as a product B A of rank N b, and
a rank of up to N^2 b.

Shapes: right (N, N b, D / N), left (N, O / N, N b), as the authors' code has them (HazyResearch/fly,
blockdiag_butterfly_multiply: w1_bfly, w2_bfly). The paper's square class of n = m^2 has N = m and b = 1.
"""

import torch
from torch import Tensor

from autolora_bench.models.adapted_layers import check_blocks


def monarch_multiply(inputs: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """(..., D) -> (..., O): M applied to every row of `inputs`, without making M."""
    blocks, _, size = right.shape
    parts = inputs.reshape(*inputs.shape[:-1], blocks, size)
    middle = torch.einsum("kqp,...kp->...kq", right, parts)
    shuffled = middle.reshape(*inputs.shape[:-1], left.shape[-1], blocks)
    return torch.einsum("lsr,...rl->...sl", left, shuffled).flatten(-2)


def monarch_matrix(left: Tensor, right: Tensor) -> Tensor:
    """M (O, D)."""
    blocks, middle, size = right.shape
    rows = left.reshape(blocks, -1, blocks, middle // blocks)
    columns = right.reshape(blocks, middle // blocks, blocks, size)
    return torch.einsum("lskb,kblp->slkp", rows, columns).flatten(2).flatten(0, 1)


def project_onto_monarch(matrix: Tensor, blocks: int, block_rank: int = 1) -> tuple[Tensor, Tensor]:
    """Left and right factor of the Monarch matrix nearest to any matrix in the Frobenius norm, in closed form.

    The submatrices have no weight in common, so each is approximated by itself: by the largest `block_rank` of its
    singular values (theorem 1 and algorithm 1 of the paper for b = 1, appendix D for others). Real or complex.

    Args:
        matrix: (O, D).
        blocks: N, a divisor of O and of D.
        block_rank: b, at most the smaller of O / N and D / N; then the projection is the matrix itself.

    Raises:
        UserError: N does not divide the sizes, or b is too large for the submatrices.
    """
    outputs, inputs = matrix.shape
    check_blocks("a matrix", outputs, inputs, blocks, block_rank)
    parts = matrix.reshape(outputs // blocks, blocks, blocks, inputs // blocks).permute(1, 2, 0, 3)
    u, s, v = torch.linalg.svd(parts, full_matrices=False)
    root = s[..., :block_rank].sqrt()
    columns = u[..., :block_rank] * root[..., None, :]
    rows = root[..., None] * v[..., :block_rank, :]
    left = columns.transpose(1, 2).flatten(2)
    right = rows.transpose(0, 1).transpose(1, 2).flatten(1, 2)
    return left.contiguous(), right.contiguous()
