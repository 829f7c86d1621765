"""Singular values, eigenvalues and what is computed from them, and the matrix exponential, for stacks of matrices.

Formulas: M. Giles, "An extended collection of matrix derivative results for forward and reverse mode algorithmic
differentiation", 2008, for complex matrices derived here. Where values coincide the gradients of vectors are
infinite, as they do not exist.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.backends import linalg as kernels
from rushlight.errors import explain
from rushlight.layout import broadcast_shapes
from rushlight.ops.decomp import (
    LinAlgError,
    check_matrix,
    check_square,
    column,
    columns_of,
    diagonal_matrix,
    diagonal_of,
    inv,
    is_complex,
    like_operand,
    mH,
    row,
    rows_of,
)  # fmt: skip
from rushlight.ops.elementwise import masked_fill, sub
from rushlight.ops.kinds import Array, opaque
from rushlight.ops.linear import cat, conj, imag, real
from rushlight.spec import Spec


def _real_dtype(dtype: Any) -> Any:
    return np.empty(0, dtype).real.dtype


def _complex_dtype(dtype: Any) -> Any:
    return np.result_type(dtype, np.complex64)


def _off_diagonal(matrix: Any, value: float) -> Any:
    """The matrix with `value` on its diagonal."""
    return masked_fill(matrix, np.eye(matrix.shape[-1], dtype=bool), value)


def _differences(values: Any) -> Any:
    """values[j] - values[i] at (i, j), 1 on the diagonal."""
    return _off_diagonal(sub(row(values), column(values)), 1.0)


# Singular values


def _svd_spec(x: Spec, full_matrices: bool = False) -> tuple[Spec, Spec, Spec]:
    check_matrix(x, "linalg.svd")
    *batch, m, n = x.shape
    k = min(m, n)
    rows, columns = (m, n) if full_matrices else (k, k)
    return (
        Spec((*batch, m, rows), x.dtype),
        Spec((*batch, k), _real_dtype(x.dtype)),
        Spec((*batch, columns, n), x.dtype),
    )


def _skew(x: Any) -> Any:
    return x - mH(x)


def _svd_grad(g: Any, x_spec: Spec, out: Any) -> Any:
    k = min(x_spec.shape[-2:])
    u_grad, s_grad, vh_grad = columns_of(g[0], None, k), g[1], rows_of(g[2], None, k)
    u, s, vh = columns_of(out[0], None, k), out[1], rows_of(out[2], None, k)
    squares = _off_diagonal(sub(row(s * s), column(s * s)), 1.0)
    u_turn, v_turn = _skew(mH(u) @ u_grad), _skew(vh @ mH(vh_grad))
    middle = (u_turn / squares) * row(s) + column(s) * (v_turn / squares)
    on_diagonal = s_grad
    if is_complex(u):
        # the phase that U and V share: only the difference of their turns reaches x
        on_diagonal = s_grad + imag(diagonal_of(u_turn)) * (0.5j / s)
    core = _off_diagonal(middle, 0.0) + diagonal_matrix(on_diagonal)
    grad = u @ core @ vh
    if x_spec.shape[-2] > k:
        scaled = u_grad / row(s)
        grad = grad + (scaled - u @ (mH(u) @ scaled)) @ vh
    if x_spec.shape[-1] > k:
        scaled = vh_grad / column(s)
        grad = grad + u @ (scaled - (scaled @ mH(vh)) @ vh)
    return grad


def _not_finite(what: str, cause: Exception) -> LinAlgError:
    return explain(
        LinAlgError(f"{what}: The algorithm failed to converge because the input matrix contained non-finite values."),
        cause=str(cause),
    )


def _singular(x: Any, full_matrices: bool, vectors: bool) -> Any:
    try:
        decompose: Any = np.linalg.svd
        found = decompose(x, full_matrices=full_matrices, compute_uv=vectors)
    except np.linalg.LinAlgError as error:
        raise _not_finite("linalg.svd", error) from None
    if not np.isfinite(found[1] if vectors else found).all():
        raise _not_finite("linalg.svd", ValueError("nan or infinity in x"))
    return found


@opaque(name="LinalgSvdBackward0", spec=_svd_spec, grad=_svd_grad)
def svd(xp: Any, x: Array, full_matrices: bool = False) -> tuple[Array, Array, Array]:
    """U, S and V^H with x = U diag(S) V^H, S falling."""
    u, s, vh = _singular(x, full_matrices, True)
    return u, s, vh


def _svdvals_grad(g: Any, x: Any) -> Any:
    u, _, vh = svd(x, False)
    return (u * row(g)) @ vh


@opaque(name="LinalgSvdBackward0", spec=lambda x: _svd_spec(x)[1], grad=_svdvals_grad)
def svdvals(xp: Any, x: Array) -> Array:
    """Singular values, falling."""
    return np.asarray(_singular(x, False, False))


# Eigenvalues


def _eigh_spec(x: Spec, upper: bool = False) -> tuple[Spec, Spec]:
    check_square(x, "linalg.eigh")
    return Spec(x.shape[:-1], _real_dtype(x.dtype)), x


def _eigh_grad(g: Any, out: Any) -> Any:
    values, vectors = out
    # only the skew part of V^H gV can come from x, which is Hermitian
    turn = _off_diagonal(_skew(mH(vectors) @ g[1]) * 0.5 / _differences(values), 0.0)
    return vectors @ (turn + diagonal_matrix(g[0])) @ mH(vectors)


@opaque(name="LinalgEighBackward0", spec=_eigh_spec, grad=_eigh_grad)
def eigh(xp: Any, x: Array, upper: bool = False) -> tuple[Array, Array]:
    """Rising eigenvalues and orthonormal eigenvectors of Hermitian matrices, from one triangle."""
    values, vectors = np.linalg.eigh(x, "U" if upper else "L")
    return values, vectors


def _eigvalsh_grad(g: Any, x: Any, upper: bool) -> Any:
    _, vectors = eigh(x, upper)
    return (vectors * row(g)) @ mH(vectors)


@opaque(name="LinalgEighBackward0", spec=lambda x, upper: _eigh_spec(x)[0], grad=_eigvalsh_grad)
def eigvalsh(xp: Any, x: Array, upper: bool = False) -> Array:
    """Rising eigenvalues of Hermitian matrices."""
    return np.asarray(np.linalg.eigvalsh(x, "U" if upper else "L"))


def _eig_spec(x: Spec, what: str = "linalg.eig") -> tuple[Spec, Spec]:
    check_square(x, what)
    dtype = _complex_dtype(x.dtype)
    return Spec(x.shape[:-1], dtype), Spec(x.shape, dtype)


def _eig_grad(g: Any, out: Any, x_spec: Spec) -> Any:
    """V^-H (diag(gL) + (V^H gV - V^H V re(diag(V^H gV))) / conj(L_j - L_i)) V^H: eigenvectors keep their norm."""
    values, vectors = out
    turned = mH(vectors)
    along = turned @ g[1]
    free = along - (turned @ vectors) * row(real(diagonal_of(along)))
    core = _off_diagonal(free / conj(_differences(values)), 0.0) + diagonal_matrix(g[0])
    return like_operand(inv(turned) @ core @ turned, x_spec)


def _finite(x: Any, what: str) -> None:
    if not np.isfinite(x).all():
        raise RuntimeError(f"torch.{what}: input tensor should not contain infs or NaNs.")


@opaque(name="LinalgEigBackward0", spec=_eig_spec, grad=_eig_grad)
def eig(xp: Any, x: Array) -> tuple[Array, Array]:
    """Complex eigenvalues and eigenvectors of norm 1."""
    _finite(x, "linalg.eig")
    values, vectors = np.linalg.eig(x)
    dtype = _complex_dtype(x.dtype)
    return values.astype(dtype, copy=False), vectors.astype(dtype, copy=False)


def _eigvals_grad(g: Any, x: Any, x_spec: Spec) -> Any:
    _, vectors = eig(x)
    turned = mH(vectors)
    return like_operand(inv(turned) @ (column(g) * turned), x_spec)


@opaque(name="LinalgEigBackward0", spec=lambda x: _eig_spec(x, "linalg.eigvals")[0], grad=_eigvals_grad)
def eigvals(xp: Any, x: Array) -> Array:
    """Complex eigenvalues."""
    _finite(x, "linalg.eigvals")
    return np.asarray(np.linalg.eigvals(x)).astype(_complex_dtype(x.dtype), copy=False)


# Pseudo-inverse and least squares


def pinv_gradient(g: Any, x: Any, p: Any) -> Any:
    """Gradient of x from that of its pseudo-inverse p.

    G. Golub, V. Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares problems", 1973.
    """
    turned, g_turned = mH(p), mH(g)
    # rows and columns outside the ranges of x; each term groups its products to stay small
    left = (g_turned @ p) @ turned
    right = turned @ (p @ g_turned)
    return -(turned @ g @ turned) + (left - x @ (p @ left)) + (right - (right @ p) @ x)


@opaque(
    name="LinalgPinvBackward0",
    spec=lambda x, atol, rtol, hermitian: Spec((*x.shape[:-2], x.shape[-1], x.shape[-2]), x.dtype),
    grad=lambda g, x, out: pinv_gradient(g, x, out),
)
def pinv(xp: Any, x: Array, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Array:
    """Pseudo-inverse: singular values up to max(atol, rtol * largest) count as zero."""
    if 0 in x.shape[-2:]:
        return np.zeros((*x.shape[:-2], x.shape[-1], x.shape[-2]), x.dtype)
    if hermitian:
        values, vectors = np.linalg.eigh(x)
        sizes, u, vh = np.abs(values), vectors, kernels.adjoint(vectors)
    else:
        u, values, vh = _singular(x, False, True)
        sizes = values
    kept = sizes > tolerance(sizes, x.shape[-2:], x.dtype, atol, rtol)[..., None]
    weights = np.where(kept, 1 / np.where(kept, values, 1), 0).astype(values.dtype)
    return (kernels.adjoint(vh) * weights[..., None, :]) @ kernels.adjoint(u)


def tolerance(sizes: Any, shape: tuple[int, int], dtype: Any, atol: Any, rtol: Any) -> Any:
    """Size up to which singular values count as zero; numbers or arrays that broadcast over the stack."""
    if rtol is None:
        given = atol is not None and np.asarray(atol > 0)
        default = max(shape) * np.finfo(dtype).eps
        rtol = np.where(given, 0.0, default) if atol is not None else default
    return np.maximum(0.0 if atol is None else atol, np.asarray(rtol) * sizes.max(axis=-1)).astype(sizes.dtype)


def _lstsq_spec(x: Spec, b: Spec, rcond: float, driver: str) -> tuple[Spec, ...]:
    batch = broadcast_shapes(x.shape[:-2], b.shape[:-2])
    m, n = x.shape[-2:]
    return (
        Spec((*batch, n, b.shape[-1]), x.dtype),
        Spec(x.shape[:-2], np.dtype(np.int64)),
        Spec((*x.shape[:-2], min(m, n)), _real_dtype(x.dtype)),
    )


def _lstsq_grads(g: Any, x: Any, b: Any, x_spec: Spec, b_spec: Spec) -> tuple[Any, ...]:
    inverse = pinv(x)
    x_grad = pinv_gradient(g[0] @ mH(b), x, inverse)
    return like_operand(x_grad, x_spec), like_operand(mH(inverse) @ g[0], b_spec)


@opaque(name="LinalgLstsqBackward0", spec=_lstsq_spec, joint=_lstsq_grads)
def lstsq(xp: Any, x: Array, b: Array, rcond: float, driver: str) -> tuple[Array, ...]:
    """Solution of least norm, ranks and singular values."""
    u, s, vh = _singular(x, False, True)
    kept = s > rcond * s.max(axis=-1, keepdims=True, initial=0)
    weights = np.where(kept, 1 / np.where(kept, s, 1), 0).astype(s.dtype)
    solution = kernels.adjoint(vh) @ (weights[..., :, None] * (kernels.adjoint(u) @ b))
    return solution.astype(x.dtype, copy=False), np.asarray(kept.sum(axis=-1), np.int64), s


# Matrix exponential


def _matrix_exp_spec(x: Spec) -> Spec:
    if len(x.shape) < 2 or x.dtype.kind in "biu" or x.shape[-1] != x.shape[-2]:
        check_square(x, "linalg.matrix_exp")
    return x


def _matrix_exp_grad(g: Any, x: Any) -> Any:
    """The upper right block of exp([[x^H, g], [0, x^H]]).

    R. Mathias, "A chain rule for matrix functions and applications", 1996.
    """
    n = x.shape[-1]
    turned = mH(x)
    whole = cat([cat([turned, g], -1), cat([turned * 0, turned], -1)], -2)
    return columns_of(rows_of(matrix_exp(whole), None, n), n, None)


@opaque(name="LinalgMatrixExpBackward0", spec=_matrix_exp_spec, grad=_matrix_exp_grad)
def matrix_exp(xp: Any, x: Array) -> Array:
    """Exponential of each square matrix."""
    return kernels.matrix_exp(x)
