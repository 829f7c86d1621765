"""Factorisations: QR, LU, LDL, singular values and eigenvalues."""

from __future__ import annotations

from typing import Any

from rushlight.functions.linalg.arguments import constant, pair, spec, takes_out, tensor_argument
from rushlight.ops import decomp, factor, spectral

qr_type = pair("linalg_qr", "Q R")
svd_type = pair("linalg_svd", "U S Vh")
eigh_type = pair("linalg_eigh", "eigenvalues eigenvectors")
eig_type = pair("linalg_eig", "eigenvalues eigenvectors")
lu_type = pair("linalg_lu", "P L U")
lu_factor_type = pair("linalg_lu_factor", "LU pivots")
lu_factor_ex_type = pair("linalg_lu_factor_ex", "LU pivots info")
ldl_factor_type = pair("linalg_ldl_factor", "LD pivots")
ldl_factor_ex_type = pair("linalg_ldl_factor_ex", "LD pivots info")


@takes_out
def qr(A: Any, mode: str = "reduced") -> Any:
    """Q with orthonormal columns and upper triangular R, A = Q @ R.

    Parameters
    ----------
    A : Tensor[*, m, n]
    mode : {"reduced", "complete", "r"}
        Q has min(m, n) or m columns, or is left out (an empty tensor).
    """
    return qr_type(*factor.qr(tensor_argument(A, "linalg_qr"), mode))


@takes_out
def svd(A: Any, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    """U, S and Vh with A = U @ diag(S) @ Vh; S falls.

    Parameters
    ----------
    A : Tensor[*, m, n]
    full_matrices : bool
        Whether U and Vh are square.
    """
    A = tensor_argument(A, "linalg_svd")
    if driver is not None:
        raise RuntimeError(
            "torch.linalg.svd: keyword argument `driver=` is only supported on CUDA inputs with cuSOLVER backend."
        )
    return svd_type(*spectral.svd(A, full_matrices))


@takes_out
def svdvals(A: Any, *, driver: str | None = None) -> Any:
    """Singular values of each matrix, falling.

    Examples
    --------
    >>> torch.linalg.svdvals(torch.tensor([[3.0, 0.0], [0.0, -4.0]]))
    tensor([4., 3.])
    """
    if driver is not None:
        raise RuntimeError(
            "torch.linalg.svd: keyword argument `driver=` is only supported on CUDA inputs with cuSOLVER backend."
        )
    return spectral.svdvals(tensor_argument(A, "linalg_svdvals"))


def _is_upper(UPLO: str) -> bool:
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    return UPLO.upper() == "U"


@takes_out
def eigh(A: Any, UPLO: str = "L") -> Any:
    """Rising eigenvalues and orthonormal eigenvectors of symmetric (Hermitian) matrices, from one triangle.

    Examples
    --------
    >>> torch.linalg.eigh(torch.tensor([[2.0, 0.0], [0.0, 1.0]])).eigenvalues
    tensor([1., 2.])
    """
    return eigh_type(*spectral.eigh(tensor_argument(A, "linalg_eigh"), _is_upper(UPLO)))


@takes_out
def eigvalsh(A: Any, UPLO: str = "L") -> Any:
    """Rising eigenvalues of symmetric (Hermitian) matrices."""
    return spectral.eigvalsh(tensor_argument(A, "linalg_eigvalsh"), _is_upper(UPLO))


@takes_out
def eig(A: Any) -> Any:
    """Complex eigenvalues and eigenvectors (columns of norm 1)."""
    return eig_type(*spectral.eig(tensor_argument(A, "linalg_eig")))


@takes_out
def eigvals(A: Any) -> Any:
    """Complex eigenvalues."""
    return spectral.eigvals(tensor_argument(A, "linalg_eigvals"))


def _needs_pivot(pivot: bool) -> None:
    if not pivot:
        raise RuntimeError("linalg.lu_factor: LU without pivoting is not implemented on the CPU")


@takes_out
def lu(A: Any, *, pivot: bool = True) -> Any:
    """P, L and U with A = P @ L @ U: a permutation, unit lower and upper triangular matrices."""
    _needs_pivot(pivot)
    return lu_type(*factor.lu(tensor_argument(A, "linalg_lu"), pivot))


@takes_out
def lu_factor(A: Any, *, pivot: bool = True) -> Any:
    """Both triangles of the LU factorisation in one matrix, and the row exchanges counted from 1."""
    _needs_pivot(pivot)
    both, pivots, _ = factor.lu_factor_ex(tensor_argument(A, "linalg_lu_factor"), pivot)
    return lu_factor_type(both, pivots)


@takes_out
def lu_factor_ex(A: Any, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """`lu_factor` and, per matrix, the number of its first zero pivot (0: none)."""
    _needs_pivot(pivot)
    result = lu_factor_ex_type(*factor.lu_factor_ex(tensor_argument(A, "linalg_lu_factor_ex"), pivot))
    if check_errors and result.info._data.any():
        raise decomp.LinAlgError(
            f"torch.linalg.lu_factor: U[{result.info._data.max()},{result.info._data.max()}] is zero and using it on "
            "lu_solve would result in a division by zero."
        )
    return result


@takes_out
def lu_solve(LU: Any, pivots: Any, B: Any, *, left: bool = True, adjoint: bool = False) -> Any:
    """X with A @ X = B from `lu_factor(A)`; or X @ A = B, or with A.mH in the place of A."""
    LU, B = tensor_argument(LU, "linalg_lu_solve", "LU"), tensor_argument(B, "linalg_lu_solve", "B", 3)
    a, b = spec(LU), spec(B)
    decomp.check_square(a, "linalg.lu_solve")
    if len(b.shape) < 2:
        raise RuntimeError("linalg.lu_solve: The input tensor B must have at least 2 dimensions.")
    decomp.check_same_dtype(a, b, "linalg.lu_solve")
    if a.shape[-1] != b.shape[-2 if left else -1]:
        raise decomp.incompatible("linalg.lu_solve", a, b, left)
    if not left:
        return decomp.mH(lu_solve(LU, pivots, decomp.mH(B), adjoint=not adjoint))
    permutation = constant(factor.permutation_matrix(pivots._data, a.shape[-1], a.dtype))
    if adjoint:
        first = decomp.solve_triangular(decomp.mH(LU), B, False)
        return permutation @ decomp.solve_triangular(decomp.mH(LU), first, True, True, True)
    first = decomp.solve_triangular(LU, decomp.mT(permutation) @ B, False, True, True)
    return decomp.solve_triangular(LU, first, True)


@takes_out
def ldl_factor(A: Any, *, hermitian: bool = False) -> Any:
    """LAPACK's factors of symmetric (Hermitian) matrices and their pivots, from the lower triangle."""
    return ldl_factor_type(*factor.ldl_factor_ex(tensor_argument(A, "linalg_ldl_factor"), hermitian)[:2])


@takes_out
def ldl_factor_ex(A: Any, *, hermitian: bool = False, check_errors: bool = False) -> Any:
    """`ldl_factor` and an error code per matrix."""
    result = ldl_factor_ex_type(*factor.ldl_factor_ex(tensor_argument(A, "linalg_ldl_factor_ex"), hermitian))
    if check_errors and result.info._data.any():
        raise decomp.LinAlgError("torch.linalg.ldl_factor_ex: The factor D is exactly singular.")
    return result


@takes_out
def ldl_solve(LD: Any, pivots: Any, B: Any, *, hermitian: bool = False) -> Any:
    """X with A @ X = B from `ldl_factor(A)`."""
    return factor.ldl_solve(tensor_argument(LD, "linalg_ldl_solve", "LD"), pivots, B, hermitian)


@takes_out
def householder_product(A: Any, tau: Any) -> Any:
    """First columns of the product of the reflections that `torch.geqrf` stores in A and tau."""
    name = "linalg_householder_product"
    A, tau = tensor_argument(A, name), tensor_argument(tau, name, "tau", 2)
    check_reflections(spec(A).shape, spec(tau).shape)
    return factor.householder_product(A, tau)


def check_reflections(shape: tuple[int, ...], tau: tuple[int, ...]) -> None:
    """Raise unless Householder vectors of `shape` go with factors of shape `tau`."""
    what = "torch.linalg.householder_product"
    if len(shape) < 2:
        raise RuntimeError(f"{what}: input must have at least 2 dimensions.")
    if shape[-2] < shape[-1]:
        raise RuntimeError(f"{what}: input.shape[-2] must be greater than or equal to input.shape[-1]")
    if shape[-1] < tau[-1]:
        raise RuntimeError(f"{what}: input.shape[-1] must be greater than or equal to tau.shape[-1]")
    if len(shape) - len(tau) != 1:
        raise RuntimeError(
            f"{what}: Expected tau to have one dimension less than input, but got tau.ndim equal to {len(tau)} and "
            f"input.ndim is equal to {len(shape)}"
        )
    if shape[:-2] != tau[:-1]:
        raise RuntimeError(
            f"{what}: Expected batch dimensions of tau to be equal to input.shape[:-2], but got {list(tau[:-1])}"
        )
