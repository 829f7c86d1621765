"""Inverses, determinants, linear systems and least squares."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rushlight.errors import explain
from rushlight.functions.linalg.arguments import constant, legacy_name, pair, spec, takes_out, tensor_argument
from rushlight.functions.reduce import sum as sum_over
from rushlight.functions.shape import movedim, reshape
from rushlight.ops import decomp as ops
from rushlight.ops import spectral
from rushlight.ops.linear import getitem_slice, unsqueeze

inv_ex_type = pair("linalg_inv_ex", "inverse info")
slogdet_type = pair("linalg_slogdet", "sign logabsdet")
solve_ex_type = pair("linalg_solve_ex", "result info")
cholesky_ex_type = pair("linalg_cholesky_ex", "L info")
lstsq_type = pair("linalg_lstsq", "solution residuals rank singular_values")


@takes_out
def inv(A: Any) -> Any:
    """Inverse of each square matrix.

    Parameters
    ----------
    A : Tensor[*, n, n], float32, float64 or complex

    Raises
    ------
    LinAlgError
        If a matrix is singular.

    Examples
    --------
    >>> torch.linalg.inv(torch.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([[0.5000, 0.0000],
            [0.0000, 0.2500]])
    """
    return ops.inv(tensor_argument(A, "linalg_inv"))


@takes_out
def inv_ex(A: Any, *, check_errors: bool = False) -> Any:
    """Inverse and an error code per matrix: the number of its first zero pivot, 0 for none.

    Notes
    -----
    PyTorch: the inverse of a singular matrix is unspecified there; here it is nan.
    """
    if check_errors:
        inverse = inv(A)
        return inv_ex_type(inverse, constant(np.zeros(A._data.shape[:-2], ops.INFO)))
    return inv_ex_type(*ops.inv_ex(tensor_argument(A, "linalg_inv_ex")))


@takes_out
def det(A: Any) -> Any:
    """Determinant of each square matrix; its gradient exists for singular matrices too.

    Examples
    --------
    >>> torch.linalg.det(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor(-2.)
    """
    return ops.det(tensor_argument(A, "linalg_det"))


@takes_out
def slogdet(A: Any) -> Any:
    """Sign (or phase) and logarithm of the absolute value of each determinant.

    Examples
    --------
    >>> torch.linalg.slogdet(torch.eye(2) * 2)
    torch.return_types.linalg_slogdet(
    sign=tensor(1.),
    logabsdet=tensor(1.3863))
    """
    return slogdet_type(*ops.slogdet(tensor_argument(A, "linalg_slogdet")))


def _is_vector(A: Any, B: Any) -> bool:
    a, b = A._data.shape, B._data.shape
    return len(b) == 1 or (len(a) - 1 == len(b) and a[:-1] == b)


@takes_out
def solve(A: Any, B: Any, *, left: bool = True) -> Any:
    """X with A @ X = B, or X @ A = B if not `left`.

    Parameters
    ----------
    A : Tensor[*, n, n]
    B : Tensor[*, n] or Tensor[*, n, k]
        A vector if it has one dim, or the shape of `A` without its last dim.
    left : bool

    Raises
    ------
    LinAlgError
        If a matrix is singular.

    Examples
    --------
    >>> torch.linalg.solve(torch.tensor([[2.0, 0.0], [0.0, 4.0]]), torch.tensor([1.0, 1.0]))
    tensor([0.5000, 0.2500])
    """
    A, B = tensor_argument(A, "linalg_solve"), tensor_argument(B, "linalg_solve", "B", 2)
    vector = _is_vector(A, B)
    if vector and not left:
        raise RuntimeError(
            "linalg.solve: Vector broadcasting of the left hand side is not supported for left=False. In this case "
            "linalg.solve is equivalent to B / A.squeeze(-1)"
        )
    if vector and len(A._data.shape) - 1 > len(B._data.shape):
        return ops.solve(A, unsqueeze(B, 1), left)[..., 0]
    return ops.solve(A, B, left, vector)


@takes_out
def solve_ex(A: Any, B: Any, *, left: bool = True, check_errors: bool = False) -> Any:
    """`solve` that reports singular matrices by an error code and nan instead of raising."""
    if check_errors:
        info = np.zeros(A._data.shape[:-2], ops.INFO)
        return solve_ex_type(solve(A, B, left=left), constant(info))
    ops.check_square(spec(tensor_argument(A, "linalg_solve_ex")), "linalg.solve")
    _, info = ops.inv_ex(A.detach())
    singular = info._data != 0
    if not singular.any():
        return solve_ex_type(solve(A, B, left=left), info)
    hole = np.where(singular[..., None, None], np.eye(A._data.shape[-1]) - 0.0, 0.0).astype(A._data.dtype)
    safe = A.masked_fill(constant(np.broadcast_to(singular[..., None, None], A._data.shape)), 0) + constant(hole)
    result = solve(safe, B, left=left)
    extra = 1 if _is_vector(A, B) else 2
    mask = singular.reshape(singular.shape + (1,) * extra)
    return solve_ex_type(result.masked_fill(constant(np.broadcast_to(mask, result._data.shape)), math.nan), info)


@takes_out
def solve_triangular(A: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    """X with A @ X = B (or X @ A = B) for triangular A; the other triangle is not read.

    Parameters
    ----------
    A : Tensor[*, n, n]
    B : Tensor[*, n, k], or Tensor[*, k, n] if not `left`
    upper : bool
    left : bool
    unitriangular : bool
        Take the diagonal as ones, without reading it.
    """
    A, B = tensor_argument(A, "linalg_solve_triangular"), tensor_argument(B, "linalg_solve_triangular", "B", 2)
    return ops.solve_triangular(A, B, upper, left, unitriangular)


@takes_out
def cholesky(A: Any, *, upper: bool = False) -> Any:
    """Lower triangular L with A = L @ L.mH; `upper`: its adjoint, from the upper triangle of A.

    Raises
    ------
    LinAlgError
        If a matrix is not positive definite.

    Examples
    --------
    >>> torch.linalg.cholesky(torch.tensor([[4.0, 2.0], [2.0, 5.0]]))
    tensor([[2., 0.],
            [1., 2.]])
    """
    A = tensor_argument(A, "linalg_cholesky")
    ops.check_square(spec(A), "linalg.cholesky")
    return ops.mH(ops.cholesky(ops.mH(A))) if upper else ops.cholesky(A)


@takes_out
def cholesky_ex(A: Any, *, upper: bool = False, check_errors: bool = False) -> Any:
    """`cholesky` with an error code per matrix: the order of its first minor that is not positive definite."""
    if check_errors:
        return cholesky_ex_type(cholesky(A, upper=upper), constant(np.zeros(A._data.shape[:-2], ops.INFO)))
    A = tensor_argument(A, "linalg_cholesky_ex")
    ops.check_square(spec(A), "linalg.cholesky")
    factor, info = ops.cholesky_ex(ops.mH(A) if upper else A)
    return cholesky_ex_type(ops.mH(factor) if upper else factor, info)


def _number(value: Any) -> Any:
    return getattr(value, "_data", value)


def pinv(
    A: Any, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None, out: Any = None
) -> Any:
    """Pseudo-inverse: singular values up to max(atol, rtol * largest) count as zero.

    Parameters
    ----------
    A : Tensor[*, m, n]
    rcond : float or Tensor, optional
        The old name of `rtol`.
    hermitian : bool
        Take A as Hermitian and use its eigenvalues.
    atol, rtol : float or Tensor, optional
        By default 0 and max(m, n) * eps.
    """
    A = tensor_argument(A, "linalg_pinv")
    s = spec(A)
    if len(s.shape) < 2 or s.dtype.kind not in "fc" or s.dtype.itemsize == 2:
        raise explain(
            RuntimeError(
                f"linalg.pinv({legacy_name(A)}{{{list(s.shape)}}}): expected a tensor with 2 or more dimensions of "
                "float, double, cfloat or cdouble types"
            )
        )
    if hermitian:
        ops.check_square(s, "linalg.pinv")
    if rcond is not None and rtol is not None:
        raise TypeError("linalg_pinv() received an invalid combination of arguments: rcond is the old name of rtol")
    return takes_out(spectral.pinv)(A, _number(atol), _number(rtol if rcond is None else rcond), hermitian, out=out)


_DRIVERS = ("gels", "gelsy", "gelsd", "gelss")


def lstsq(A: Any, B: Any, rcond: float | None = None, *, driver: str | None = None) -> Any:
    """The X that makes norm(A @ X - B) least, and of those the smallest.

    Parameters
    ----------
    A : Tensor[*, m, n]
    B : Tensor[*, m, k], or Tensor[*, m] where that is the shape of A without its last dim
    rcond : float, optional
        Singular values up to rcond * largest count as zero; max(m, n) * eps by default.
    driver : {"gelsy", "gels", "gelsd", "gelss"}
        Which of the results PyTorch fills in: "gels" no rank, the last two singular values. All are computed by a
        singular value decomposition here.

    Returns
    -------
    named tuple (solution, residuals, rank, singular_values)
        `residuals`, the squared distances, are empty unless m > n and all matrices have rank n, and for "gelsy".
    """
    A, B = tensor_argument(A, "linalg_lstsq"), tensor_argument(B, "linalg_lstsq", "B", 2)
    what = "torch.linalg.lstsq"
    shape, other = A._data.shape, B._data.shape
    if len(shape) < 2:
        raise RuntimeError(f"{what}: input must have at least 2 dimensions.")
    if not other:
        raise RuntimeError(f"{what}: other must have at least 1 dimension.")
    if A._data.dtype != B._data.dtype:
        raise RuntimeError(
            f"{what}: Expected input and other to have the same dtype, but got input's dtype {legacy_name(A)} and "
            f"other's dtype {legacy_name(B)}"
        )
    driver = "gelsy" if driver is None else driver
    if driver not in _DRIVERS:
        raise RuntimeError(f"{what}: parameter `driver` should be one of (gels, gelsy, gelsd, gelss)")
    vector = len(shape) - 1 == len(other) and shape[:-1] == other
    right = unsqueeze(B, len(other)) if vector else B
    if len(right._data.shape) < 2 or right._data.shape[-2] != shape[-2]:
        dim = -1 if vector else -2
        raise explain(
            RuntimeError(f"{what}: input.size(-2) should match other.size({dim})"),
            expected=f"other [*, {shape[-2]}, k]",
            received=other,
        )
    limit = max(shape[-2:]) * float(np.finfo(A._data.dtype).eps) if rcond is None else float(rcond)
    solution, rank, values = spectral.lstsq(A, right, limit, driver)
    residuals = _residuals(A, right, solution, rank, driver)
    if vector:
        solution = getitem_slice(solution, (..., slice(0, 1))).squeeze(-1)
    no_rank, no_values = np.zeros(0, np.int64), np.zeros(0, values._data.dtype)
    return lstsq_type(
        solution,
        residuals,
        constant(no_rank) if driver == "gels" else rank,
        values if driver in ("gelsd", "gelss") else constant(no_values),
    )


def _residuals(A: Any, B: Any, solution: Any, rank: Any, driver: str) -> Any:
    m, n = A._data.shape[-2:]
    if m <= n or driver == "gelsy" or (driver != "gels" and not (rank._data == n).all()):
        return constant(np.zeros(0, np.empty(0, A._data.dtype).real.dtype))
    distance = (A @ solution - B).abs()
    return sum_over(distance * distance, -2)


@takes_out
def tensorinv(A: Any, ind: int = 2) -> Any:
    """The inverse of `tensordot(A, ., ind)`, taking A as a matrix whose rows are its first `ind` dims.

    Examples
    --------
    >>> torch.linalg.tensorinv(torch.eye(6).reshape(2, 3, 6), ind=2).shape
    torch.Size([6, 2, 3])
    """
    A = tensor_argument(A, "linalg_tensorinv")
    if ind <= 0:
        raise RuntimeError(f"Expected a strictly positive integer for 'ind', but got {ind}")
    first, last = A._data.shape[:ind], A._data.shape[ind:]
    rows, columns = math.prod(first), math.prod(last)
    if rows != columns:
        raise explain(
            RuntimeError(
                "Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but got "
                f"{columns} != {rows}"
            ),
            received=A._data.shape,
        )
    return reshape(inv(reshape(A, (rows, columns))), last + first)


@takes_out
def tensorsolve(A: Any, B: Any, dims: Any = None) -> Any:
    """X with tensordot(A, X, X.ndim) = B; `dims` of A are moved to its end first."""
    A, B = tensor_argument(A, "linalg_tensorsolve"), tensor_argument(B, "linalg_tensorsolve", "B", 2)
    if dims is not None:
        n = A._data.ndim
        A = movedim(A, tuple(dims), tuple(range(n - len(dims), n)))
    split = B._data.ndim
    first, last = A._data.shape[:split], A._data.shape[split:]
    rows, columns = math.prod(first), math.prod(last)
    if rows != columns:
        raise explain(
            RuntimeError(
                "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == "
                f"prod(self.shape[:other.ndim]), but got {columns} != {rows}"
            ),
            received=A._data.shape,
        )
    return reshape(solve(reshape(A, (rows, columns)), reshape(B, -1)), last)
