"""LU, QR, LDL and Householder factorisations of stacks of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.backends import linalg as kernels
from rushlight.ops.decomp import (
    INFO,
    check_matrix,
    check_square,
    column,
    columns_of,
    diagonal_matrix,
    diagonal_of,
    is_complex,
    mH,
    row,
    rows_of,
    solve_triangular,
)  # fmt: skip
from rushlight.ops.elementwise import add
from rushlight.ops.kinds import Array, opaque
from rushlight.ops.linear import cat, real, tril, triu
from rushlight.spec import Spec, spec_of


def _stack_of_eyes(like: Any, rows: int, columns: int) -> Any:
    eye = np.eye(rows, columns, dtype=spec_of(like).dtype)
    return np.broadcast_to(eye, (*like.shape[:-2], rows, columns))


# QR


def _qr_spec(x: Spec, mode: str = "reduced") -> tuple[Spec, Spec]:
    check_matrix(x, "linalg.qr")
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'"
        )
    *batch, m, n = x.shape
    k = m if mode == "complete" else min(m, n)
    q = Spec((0,) if mode == "r" else (*batch, m, k), x.dtype)
    return q, Spec((*batch, k, n), x.dtype)


def _square_qr_grad(q_grad: Any, r_grad: Any, q: Any, r: Any) -> Any:
    """For R square. With X = triu(gR R^H - Q^H gQ): (gQ + Q (X + X^H - re diag X)) R^-H."""
    upper = triu(r_grad @ mH(r) - mH(q) @ q_grad)
    middle = upper + mH(upper) - diagonal_matrix(real(diagonal_of(upper)) if is_complex(upper) else diagonal_of(upper))
    return solve_triangular(mH(r), q_grad + q @ middle, upper=False, left=False)


def _qr_grad(g: Any, x: Any, x_spec: Spec, out: Any, mode: str) -> Any:
    q_grad, r_grad = g
    m, n = x_spec.shape[-2:]
    if mode == "r":
        raise RuntimeError(
            "The derivative of linalg.qr depends on Q, which is not computed when mode='r'. Please use linalg.qr(A, "
            "mode='reduced') if you are going to differentiate through linalg.qr."
        )
    if mode == "complete" and m > n:
        raise RuntimeError("The QR decomposition is not differentiable when mode='complete' and nrows > ncols.")
    q, r = out
    if m >= n:
        return _square_qr_grad(q_grad, r_grad, q, r)
    # wide: A = [X | Y] with X = Q U square and Y = Q V
    rest_grad = columns_of(r_grad, m, None)
    square = q_grad + columns_of(x, m, None) @ mH(rest_grad)
    return cat([_square_qr_grad(square, columns_of(r_grad, None, m), q, columns_of(r, None, m)), q @ rest_grad], -1)


@opaque(name="LinalgQrBackward0", spec=_qr_spec, grad=_qr_grad)
def qr(xp: Any, x: Array, mode: str = "reduced") -> tuple[Array, Array]:
    """Q with orthonormal columns and upper triangular R, x = Q R; mode "r" leaves Q out."""
    if mode == "r":
        return np.zeros((0,), x.dtype), np.asarray(np.linalg.qr(x, "r"))
    factorise: Any = np.linalg.qr
    q, r = factorise(x, mode)
    return q, r


def _geqrf_spec(x: Spec) -> tuple[Spec, Spec]:
    check_matrix(x, "torch.geqrf", "input")
    return x, Spec((*x.shape[:-2], min(x.shape[-2:])), x.dtype)


@opaque(spec=_geqrf_spec, grad=None)
def geqrf(xp: Any, x: Array) -> tuple[Array, Array]:
    """QR as LAPACK leaves it: R above the diagonal, Householder vectors below, and their factors."""
    h, tau = np.linalg.qr(x, "raw")
    return np.ascontiguousarray(np.swapaxes(h, -1, -2)), tau


def householder_product(x: Array, tau: Array) -> Array:
    """First columns of (I - tau_1 v_1 v_1^H) (I - tau_2 v_2 v_2^H) ...; v_i has 1 at i and x[i + 1:, i] below."""
    return apply_reflections(x, tau, add(tril(x, -1) * 0, _stack_of_eyes(x, *x.shape[-2:])))


def apply_reflections(x: Array, tau: Array, target: Array, left: bool = True, adjoint: bool = False) -> Array:
    """Q @ target (or target @ Q) for the product Q of reflections, or its adjoint."""
    if not left:
        return mH(apply_reflections(x, tau, mH(target), True, not adjoint))
    count = tau.shape[-1]
    vectors = add(tril(x, -1), _stack_of_eyes(x, *x.shape[-2:]))
    out = target
    for i in range(count) if adjoint else reversed(range(count)):
        v = columns_of(vectors, i, i + 1)
        factor = columns_of(mH(column(tau)) if adjoint else row(tau), i, i + 1)
        out = out - factor * (v @ (mH(v) @ out))
    return out


# LU


def _lu_spec(x: Spec, what: str) -> tuple[int, int]:
    if len(x.shape) < 2:
        raise RuntimeError(f"{what}: Expected tensor with 2 or more dimensions. Got size: {list(x.shape)} instead")
    check_matrix(x, what)
    return x.shape[-2], x.shape[-1]


def _lu_factor_spec(x: Spec, pivot: bool = True) -> tuple[Spec, Spec, Spec]:
    k = min(_lu_spec(x, "torch.lu_factor"))
    return x, Spec((*x.shape[:-2], k), INFO), Spec(x.shape[:-2], INFO)


def permutation_matrix(pivots: Any, m: int, dtype: Any) -> Any:
    """P with A = P L U, from LAPACK's row exchanges."""
    order = kernels.pivots_to_permutation(pivots, m)
    return np.swapaxes(np.eye(m, dtype=dtype)[order], -1, -2)


def triangles(lu: Any) -> tuple[Any, Any]:
    """L with its unit diagonal, and U."""
    m, n = lu.shape[-2:]
    k = min(m, n)
    low = add(tril(columns_of(lu, None, k), -1), _stack_of_eyes(lu, m, k))
    return low, triu(rows_of(lu, None, k))


def lu_gradient(permutation: Any, low: Any, up: Any, low_grad: Any, up_grad: Any) -> Any:
    """Gradient of x = P L U from those of L and U, also for m != n (derived here, block by block)."""
    m, n = low.shape[-2], up.shape[-1]
    k = min(m, n)
    low_top, up_left = rows_of(low, None, k), columns_of(up, None, k)
    inner = tril(mH(low) @ low_grad, -1)
    if n > k:
        right = columns_of(up_grad, k, None)
        inner = inner - tril(right @ mH(columns_of(up, k, None)), -1)
    if m > k:
        bottom = rows_of(low_grad, k, None)
        # the rows below the square part move freely, so they are no part of the triangular condition
        inner = tril(mH(low_top) @ rows_of(low_grad, None, k), -1)
        outer = triu(columns_of(up_grad, None, k) @ mH(up_left)) - triu(mH(rows_of(low, k, None)) @ bottom)
    else:
        outer = triu(columns_of(up_grad, None, k) @ mH(up_left))
    middle = solve_triangular(mH(low_top), inner + outer, upper=True, unitriangular=True)
    square = solve_triangular(mH(up_left), middle, upper=False, left=False)
    if n > k:
        square = cat([square, solve_triangular(mH(low_top), right, upper=True, unitriangular=True)], -1)
    if m > k:
        square = cat([square, solve_triangular(mH(up_left), bottom, upper=False, left=False)], -2)
    return permutation @ square


def _lu_factor_grad(g: Any, out: Any, x_spec: Spec) -> Any:
    m, n = x_spec.shape[-2:]
    k = min(m, n)
    low, up = triangles(out[0])
    permutation = permutation_matrix(_plain(out[1]), m, x_spec.dtype)
    low_grad, up_grad = tril(columns_of(g[0], None, k), -1), triu(rows_of(g[0], None, k))
    return lu_gradient(permutation, low, up, low_grad, up_grad)


def _plain(pivots: Any) -> Any:
    return getattr(pivots, "_data", pivots)


@opaque(name="LinalgLuFactorExBackward0", spec=_lu_factor_spec, grad=_lu_factor_grad)
def lu_factor_ex(xp: Any, x: Array, pivot: bool = True) -> tuple[Array, Array, Array]:
    """Both triangles of P L U in one matrix, row exchanges from 1, and the first zero pivot (0: none)."""
    return kernels.lu_factor(x, pivot)


def _lu_three_spec(x: Spec, pivot: bool = True) -> tuple[Spec, Spec, Spec]:
    m, n = _lu_spec(x, "linalg.lu")
    batch, k = x.shape[:-2], min(m, n)
    return Spec((*batch, m, m), x.dtype), Spec((*batch, m, k), x.dtype), Spec((*batch, k, n), x.dtype)


@opaque(
    name="LinalgLuBackward0",
    spec=_lu_three_spec,
    grad=lambda g, out: lu_gradient(_plain(out[0]), out[1], out[2], g[1], g[2]),
)
def lu(xp: Any, x: Array, pivot: bool = True) -> tuple[Array, Array, Array]:
    """P, L and U with x = P L U."""
    both, pivots, _ = kernels.lu_factor(x, pivot)
    return (permutation_matrix(pivots, x.shape[-2], x.dtype), *triangles(both))


# LDL


def _ldl_spec(x: Spec, hermitian: bool = False) -> tuple[Spec, Spec, Spec]:
    check_square(x, "torch.linalg.ldl_factor_ex")
    return x, Spec(x.shape[:-1], INFO), Spec(x.shape[:-2], INFO)


@opaque(spec=_ldl_spec, grad=None)
def ldl_factor_ex(xp: Any, x: Array, hermitian: bool = False) -> tuple[Array, Array, Array]:
    """LAPACK's factors of a symmetric (Hermitian) matrix from its lower triangle, its pivots and error code."""
    turned = hermitian and x.dtype.kind == "c"
    done = kernels.map_matrices(lambda a: kernels.ldl_factor(a, turned), x)
    shapes = (x.shape, x.shape[:-1], x.shape[:-2])
    if not done:
        return np.zeros(shapes[0], x.dtype), np.zeros(shapes[1], INFO), np.zeros(shapes[2], INFO)
    factors, pivots, info = (np.array(part).reshape(s) for part, s in zip(zip(*done, strict=True), shapes, strict=True))
    return factors, pivots, info


@opaque(spec=lambda factors, pivots, b, hermitian: b, grad=None)
def ldl_solve(xp: Any, factors: Array, pivots: Array, b: Array, hermitian: bool = False) -> Array:
    """X with A X = b from the factors of A."""
    turned = hermitian and factors.dtype.kind == "c"
    batch = np.broadcast_shapes(factors.shape[:-2], b.shape[:-2])
    stacks = (
        np.broadcast_to(factors, batch + factors.shape[-2:]),
        np.broadcast_to(pivots[..., None], (*batch, pivots.shape[-1], 1)),
        np.broadcast_to(b, batch + b.shape[-2:]),
    )
    done = kernels.map_matrices(lambda f, p, y: kernels.ldl_solve(f, p[:, 0], y, turned), *stacks)
    return np.array(done, b.dtype).reshape(batch + b.shape[-2:])
