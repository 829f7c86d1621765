"""Linear algebra on stacks of matrices, with gradients: PyTorch's `torch.linalg`.

Everything runs on NumPy's LAPACK; what NumPy lacks (LU, LDL, triangular solves, matrix exponential) is in
`rushlight.backends.linalg`. float32 matrices are factorised in double precision and rounded.
"""

from __future__ import annotations

from typing import Any

from rushlight.functions.linalg.factoring import (
    eig,
    eigh,
    eigvals,
    eigvalsh,
    householder_product,
    ldl_factor,
    ldl_factor_ex,
    ldl_solve,
    lu,
    lu_factor,
    lu_factor_ex,
    lu_solve,
    qr,
    svd,
    svdvals,
)  # fmt: skip
from rushlight.functions.linalg.norms import cond, matrix_norm, matrix_rank, norm, vector_norm
from rushlight.functions.linalg.products import (
    cross,
    diagonal,
    matmul,
    matrix_exp,
    matrix_power,
    multi_dot,
    vander,
    vecdot,
)
from rushlight.functions.linalg.solving import (
    cholesky,
    cholesky_ex,
    det,
    inv,
    inv_ex,
    lstsq,
    pinv,
    slogdet,
    solve,
    solve_ex,
    solve_triangular,
    tensorinv,
    tensorsolve,
)  # fmt: skip
from rushlight.ops import decomp
from rushlight.ops.decomp import LinAlgError
from rushlight.sampling import randn

__all__ = [
    "LinAlgError", "cholesky", "cholesky_ex", "cond", "cross", "det", "diagonal", "eig", "eigh", "eigvals", "eigvalsh",
    "householder_product", "inv", "inv_ex", "ldl_factor", "ldl_factor_ex", "ldl_solve", "lstsq", "lu", "lu_factor",
    "lu_factor_ex", "lu_solve", "matmul", "matrix_exp", "matrix_norm", "matrix_power", "matrix_rank", "multi_dot",
    "norm", "pinv", "qr", "slogdet", "solve", "solve_ex", "solve_triangular", "svd", "svdvals", "tensorinv",
    "tensorsolve", "vander", "vecdot", "vector_norm",
]  # fmt: skip


def _range_basis(A: Any, q: int, niter: int, M: Any) -> Any:
    """Orthonormal columns that nearly span the range of A - M.

    N. Halko, P. Martinsson, J. Tropp, "Finding structure with randomness", 2009, algorithm 4.4.
    """

    def product(x: Any, turned: bool) -> Any:
        y = decomp.mH(A) @ x if turned else A @ x
        return y if M is None else y - (decomp.mH(M) @ x if turned else M @ x)

    start = randn(A.shape[-1], q, dtype=A.dtype)
    q_now = qr(product(start, False)).Q
    for _ in range(niter):
        q_now = qr(product(q_now, True)).Q
        q_now = qr(product(q_now, False)).Q
    return q_now


def svd_lowrank(A: Any, q: int = 6, niter: int = 2, M: Any = None) -> tuple[Any, Any, Any]:
    """U, S and V of an approximate singular value decomposition of rank `q` of A - M, by random projection."""
    wide = A._data.shape[-2] < A._data.shape[-1]
    if wide:
        A, M = decomp.mH(A), None if M is None else decomp.mH(M)
    basis = _range_basis(A, q, niter, M)
    small = decomp.mH(basis) @ A
    if M is not None:
        small = small - decomp.mH(basis) @ M
    u, s, vh = svd(small, full_matrices=False)
    u, v = basis @ u, decomp.mH(vh)
    return (v, s, u) if wide else (u, s, v)


def pca_lowrank(A: Any, q: int | None = None, center: bool = True, niter: int = 2) -> tuple[Any, Any, Any]:
    """`svd_lowrank` of A with the means of its columns taken off: the principal directions are columns of V."""
    m, n = A._data.shape[-2:]
    q = min(6, m, n) if q is None else q
    if not 0 <= q <= min(m, n):
        raise ValueError(f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}")
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    return svd_lowrank(A - A.mean(-2, True) if center else A, q, niter)
