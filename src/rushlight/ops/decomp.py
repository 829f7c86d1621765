"""Solving with matrices and factorising them: inverse, determinant, LU, Cholesky, QR, triangular solves.

All take stacks of matrices (any leading dims). Formulas: M. Giles, "An extended collection of matrix derivative
results for forward and reverse mode algorithmic differentiation", 2008; others are derived here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.backends import linalg as kernels
from rushlight.dtypes import KERNEL_NAMES, from_np
from rushlight.errors import explain
from rushlight.layout import broadcast_shapes
from rushlight.ops.kinds import Array, opaque, sum_to_shape
from rushlight.ops.linear import (
    conj,
    conj_of,
    diagonal,
    getitem_slice,
    imag,
    place_diagonal,
    real,
    transpose,
    tril,
    triu,
    unsqueeze,
)  # fmt: skip
from rushlight.ops.linear import sum as sum_over
from rushlight.spec import Spec, spec_of

Shape = tuple[int, ...]
INFO = np.dtype(np.int32)


class LinAlgError(RuntimeError):
    """A matrix on which the asked computation is not possible: singular, not positive definite, not finite."""


LinAlgError.__name__ = LinAlgError.__qualname__ = "_LinAlgError"


def type_name(spec: Spec) -> str:
    """PyTorch's name of a dtype in messages, such as `Float`."""
    name = from_np(spec.dtype).name
    return KERNEL_NAMES.get(name, name)


def check_matrix(spec: Spec, what: str, letter: str = "A") -> None:
    """Raise unless `spec` is a stack of matrices of numbers that can be factorised."""
    if len(spec.shape) < 2:
        raise explain(
            RuntimeError(f"{what}: The input tensor {letter} must have at least 2 dimensions."),
            expected="a matrix [m, n] or a stack of them [*, m, n]",
            received=spec.shape,
        )
    if spec.dtype.kind not in "fc" and from_np(spec.dtype).category < 2:
        raise explain(
            RuntimeError(f"{what}: Expected a floating point or complex tensor as input. Got {type_name(spec)}"),
            fix="x.float()",
        )
    if spec.dtype.itemsize == 2:
        text = f"{what}: Low precision dtypes not supported. Got {type_name(spec)}"
        raise explain(RuntimeError(text), fix="x.float()")


def check_square(spec: Spec, what: str) -> None:
    """Raise unless `spec` is a stack of square matrices."""
    check_matrix(spec, what)
    m, n = spec.shape[-2:]
    if m != n:
        raise explain(
            RuntimeError(f"{what}: A must be batches of square matrices, but they are {m} by {n} matrices"),
            expected="[*, n, n]",
            received=spec.shape,
        )


def check_same_dtype(a: Spec, b: Spec, what: str) -> None:
    """Raise unless both operands have one dtype."""
    if a.dtype != b.dtype:
        raise explain(
            RuntimeError(
                f"{what}: Expected A and B to have the same dtype, but found A of type {type_name(a)} and B of type "
                f"{type_name(b)} instead"
            ),
            fix="B.to(A.dtype)",
        )


def mT(x: Array) -> Array:
    """Matrix transpose."""
    return transpose(x, len(x.shape) - 2, len(x.shape) - 1)


def mH(x: Array) -> Array:
    """Conjugate matrix transpose."""
    return conj_of(mT(x))


def row(x: Array) -> Array:
    """A vector per matrix as one row, so that it scales columns."""
    return unsqueeze(x, len(x.shape) - 1)


def column(x: Array) -> Array:
    """A vector per matrix as one column, so that it scales rows."""
    return unsqueeze(x, len(x.shape))


def scalar(x: Array) -> Array:
    """A number per matrix, to scale it."""
    return column(column(x))


def diagonal_of(x: Array) -> Array:
    """Main diagonals."""
    return diagonal(x, 0, len(x.shape) - 2, len(x.shape) - 1)


def diagonal_matrix(x: Array) -> Array:
    """Matrices with `x` on the main diagonal."""
    shape = tuple(x.shape)
    return place_diagonal(x, (*shape, shape[-1]), 0, len(shape) - 1, len(shape))


def columns_of(x: Array, start: int | None, stop: int | None) -> Array:
    """Some columns of each matrix."""
    return getitem_slice(x, (..., slice(start, stop)))


def rows_of(x: Array, start: int | None, stop: int | None) -> Array:
    """Some rows of each matrix."""
    return getitem_slice(x, (..., slice(start, stop), slice(None)))


def like_operand(g: Array, spec: Spec) -> Array:
    """A gradient as its operand is: summed over stretched stack dims, real where the operand is real."""
    if spec.dtype.kind != "c" and spec_of(g).dtype.kind == "c":
        g = real(g)
    return sum_to_shape(g, spec.shape)


def is_complex(x: Array) -> bool:
    """Whether the elements are complex."""
    return bool(spec_of(x).dtype.kind == "c")


# Inverse and determinant


def _first_zero_pivot(a: Any) -> int:
    return int(kernels.lu_factor(a)[2])


def _batch_label(a: Any, index: int) -> str:
    return f"(Batch element {index}): " if a.ndim > 2 else ""


def first_failure(a: Any, test: Any) -> tuple[int, int]:
    """Number of the first matrix for which `test` gives a nonzero code, and that code."""
    for i, code in enumerate(kernels.map_matrices(test, a)):
        if code:
            return i, code
    return -1, 0


def singular_inverse_error(a: Any, index: int, code: int) -> LinAlgError:
    """The error of inverting matrix `index` of a stack, whose pivot number `code` is zero."""
    return explain(
        LinAlgError(
            f"linalg.inv: {_batch_label(a, index)}The diagonal element {code} is zero, the inversion could not be "
            "completed because the input matrix is singular."
        ),
        fix="linalg.pinv inverts as far as possible; linalg.inv_ex reports instead of raising",
    )


def _inverse_spec(x: Spec) -> Spec:
    check_square(x, "linalg.inv")
    return x


@opaque(name="LinalgInvExBackward0", spec=_inverse_spec, grad=lambda g, out: -(mH(out) @ g @ mH(out)))
def inv(xp: Any, x: Array) -> Array:
    """Inverse of each square matrix."""
    try:
        return np.linalg.inv(x)
    except np.linalg.LinAlgError:
        index, code = first_failure(x, _first_zero_pivot)
        raise singular_inverse_error(x, index, code) from None


@opaque(
    name="LinalgInvExBackward0",
    spec=lambda x: (_inverse_spec(x), Spec(x.shape[:-2], INFO)),
    grad=lambda g, out: -(mH(out[0]) @ g[0] @ mH(out[0])),
)
def inv_ex(xp: Any, x: Array) -> tuple[Array, Array]:
    """Inverse of each square matrix, and the number of its first zero pivot (0: none; else the inverse is nan)."""
    try:
        return np.linalg.inv(x), np.zeros(x.shape[:-2], INFO)
    except np.linalg.LinAlgError:
        info = np.array(kernels.map_matrices(_first_zero_pivot, x), INFO).reshape(x.shape[:-2])
        regular = (info == 0)[..., None, None]
        safe = np.where(regular, x, np.eye(x.shape[-1], dtype=x.dtype))
        return np.where(regular, np.linalg.inv(safe), np.array(np.nan, x.dtype)), info


def _adjugate_grad(g: Any, x: Any) -> Any:
    inverse, turned = inv(x), mH(inv(x))
    trace = scalar(sum_over(g * conj_of(inverse), (-2, -1)))
    return scalar(conj_of(det(x))) * (trace * turned - turned @ g @ turned)


@opaque(spec=lambda x: x, grad=_adjugate_grad)
def adjugate(xp: Any, x: Array) -> Array:
    """det(x) * inv(x), which exists for singular matrices too.

    From x = U S V^H it is det(U) det(V^H) V C U^H with C the products of all other singular values.
    """
    n = x.shape[-1]
    u, s, vh = np.linalg.svd(x)
    others = np.ones(s.shape, s.dtype)
    for i in range(n):
        others[..., i] = np.prod(np.delete(s, i, axis=-1), axis=-1)
    turn = (np.linalg.det(u) * np.linalg.det(vh))[..., None, None]
    return (turn * (kernels.adjoint(vh) * others[..., None, :]) @ kernels.adjoint(u)).astype(x.dtype)


def _number_per_matrix(what: str) -> Any:
    def spec(x: Spec) -> Spec:
        check_square(x, what)
        return Spec(x.shape[:-2], x.dtype)

    return spec


@opaque(name="LinalgDetBackward0", spec=_number_per_matrix("linalg.det"), grad=lambda g, x: scalar(g) * mH(adjugate(x)))
def det(xp: Any, x: Array) -> Array:
    """Determinant of each square matrix."""
    return np.asarray(np.linalg.det(x))


def _slogdet_grad(g: Any, x: Any, out: Any) -> Any:
    sign_grad, log_grad = g
    weight = log_grad
    if is_complex(x):
        weight = log_grad + imag(sign_grad * conj(out[0])) * 1j
    return scalar(weight) * mH(inv(x))


def _slogdet_spec(x: Spec) -> tuple[Spec, Spec]:
    check_square(x, "linalg.slogdet")
    real_part = np.empty(0, x.dtype).real.dtype
    return Spec(x.shape[:-2], x.dtype), Spec(x.shape[:-2], real_part)


@opaque(name="LinalgSlogdetBackward0", spec=_slogdet_spec, grad=_slogdet_grad)
def slogdet(xp: Any, x: Array) -> tuple[Array, Array]:
    """Sign (or phase) and logarithm of the absolute value of each determinant."""
    sign, log = np.linalg.slogdet(x)
    return np.asarray(sign, x.dtype), np.asarray(log, x.real.dtype)


# Solving


def incompatible(what: str, a: Spec, b: Spec, left: bool) -> RuntimeError:
    """The error for a right-hand side that does not fit."""
    equation = "AX = B" if left else "XA = B"
    sizes = f"({a.shape[-2]}x{a.shape[-1]} and {b.shape[-2]}x{b.shape[-1]})"
    return explain(
        RuntimeError(f"{what}: Incompatible shapes of A and B for the equation {equation} {sizes}"),
        expected=f"B [*, {a.shape[-1]}, k]" if left else f"B [*, k, {a.shape[-1]}]",
        received=b.shape,
    )


def _solution_spec(what: str, a: Spec, b: Spec, left: bool) -> Spec:
    check_square(a, what)
    if len(b.shape) < 2:
        raise RuntimeError(f"{what}: The input tensor B must have at least 2 dimensions.")
    check_same_dtype(a, b, what)
    if a.shape[-1] != b.shape[-2 if left else -1]:
        raise incompatible(what, a, b, left)
    return Spec((*broadcast_shapes(a.shape[:-2], b.shape[:-2]), *b.shape[-2:]), a.dtype)


def _solve_spec(a: Spec, b: Spec, left: bool = True, vector: bool = False) -> Spec:
    if not vector:
        return _solution_spec("linalg.solve", a, b, left)
    shape = _solution_spec("linalg.solve", a, Spec((*b.shape, 1), b.dtype), left).shape
    return Spec(shape[:-1], a.dtype)


def _solve_grads(
    g: Any, a: Any, out: Any, a_spec: Spec, b_spec: Spec, left: bool, vector: bool, needs: tuple[bool, ...]
) -> tuple[Any, ...]:
    b_grad = solve(mH(a), g, left, vector)
    a_grad = None
    if needs[0]:
        right, solution = (column(b_grad), column(out)) if vector else (b_grad, out)
        product = right @ mH(solution) if left else mH(solution) @ right
        a_grad = like_operand(-product, a_spec)
    return a_grad, like_operand(b_grad, b_spec)


@opaque(name="LinalgSolveExBackward0", spec=_solve_spec, joint=_solve_grads)
def solve(xp: Any, a: Array, b: Array, left: bool = True, vector: bool = False) -> Array:
    """X with a @ X = b, or X @ a = b; `vector`: the last dim of `b` is one right-hand side."""
    if vector:
        return solve.body(xp, a, b[..., None], left, False)[..., 0]
    try:
        if left:
            return np.linalg.solve(a, b)
        return np.swapaxes(np.linalg.solve(np.swapaxes(a, -1, -2), np.swapaxes(b, -1, -2)), -1, -2)
    except np.linalg.LinAlgError:
        index, _ = first_failure(a, _first_zero_pivot)
        raise LinAlgError(
            f"torch.linalg.solve: {_batch_label(a, index)}The solver failed because the input matrix is singular."
        ) from None


def _triangular_spec(a: Spec, b: Spec, upper: bool, left: bool = True, unitriangular: bool = False) -> Spec:
    return _solution_spec("linalg.solve_triangular", a, b, left)


def _triangular_grads(
    g: Any, a: Any, out: Any, a_spec: Spec, b_spec: Spec, upper: bool, left: bool, unitriangular: bool,
    needs: tuple[bool, ...],
) -> tuple[Any, ...]:  # fmt: skip
    b_grad = solve_triangular(mH(a), g, not upper, left, unitriangular)
    a_grad = None
    if needs[0]:
        product = b_grad @ mH(out) if left else mH(out) @ b_grad
        offset = int(unitriangular)
        part = triu(-product, offset) if upper else tril(-product, -offset)
        a_grad = like_operand(part, a_spec)
    return a_grad, like_operand(b_grad, b_spec)


@opaque(name="LinalgSolveTriangularBackward0", spec=_triangular_spec, joint=_triangular_grads)
def solve_triangular(xp: Any, a: Array, b: Array, upper: bool, left: bool = True, unitriangular: bool = False) -> Array:
    """X with a @ X = b (or X @ a = b), where only one triangle of `a` is read."""
    return kernels.solve_triangular(a, b, upper, left, unitriangular)


# Cholesky


def _cholesky_error(a: Any, index: int, code: int) -> LinAlgError:
    return LinAlgError(
        f"linalg.cholesky: {_batch_label(a, index)}The factorization could not be completed because the input is not "
        f"positive-definite (the leading minor of order {code} is not positive-definite)."
    )


def _cholesky_grad(g: Any, low: Any) -> Any:
    phi = tril(mH(low) @ g)
    phi = phi - diagonal_matrix(diagonal_of(phi)) * 0.5
    left = solve_triangular(mH(low), phi, upper=True)
    full = solve_triangular(low, left, upper=False, left=False)
    return (full + mH(full)) * 0.5


def _cholesky_spec(x: Spec) -> Spec:
    check_square(x, "linalg.cholesky")
    return x


@opaque(name="LinalgCholeskyExBackward0", spec=_cholesky_spec, grad=lambda g, out: _cholesky_grad(g, out))
def cholesky(xp: Any, x: Array) -> Array:
    """Lower triangular L with L L^H = x, from the lower triangle of x."""
    try:
        return np.linalg.cholesky(x)
    except np.linalg.LinAlgError:
        raise _cholesky_error(x, *first_failure(x, kernels.cholesky_info)) from None


@opaque(
    name="LinalgCholeskyExBackward0",
    spec=lambda x: (_cholesky_spec(x), Spec(x.shape[:-2], INFO)),
    grad=lambda g, out: _cholesky_grad(g[0], out[0]),
)
def cholesky_ex(xp: Any, x: Array) -> tuple[Array, Array]:
    """As `cholesky`, and the order of the first leading minor that is not positive definite (0: none; else nan)."""
    try:
        return np.linalg.cholesky(x), np.zeros(x.shape[:-2], INFO)
    except np.linalg.LinAlgError:
        info = np.array(kernels.map_matrices(kernels.cholesky_info, x), INFO).reshape(x.shape[:-2])
        regular = (info == 0)[..., None, None]
        safe = np.where(regular, x, np.eye(x.shape[-1], dtype=x.dtype))
        return np.where(regular, np.linalg.cholesky(safe), np.array(np.nan, x.dtype)), info


def _cholesky_solve_spec(b: Spec, factor: Spec, upper: bool = False) -> Spec:
    for letter, s in (("b", b), ("u", factor)):
        if len(s.shape) < 2:
            raise RuntimeError(f"{letter} should have at least 2 dimensions, but has {len(s.shape)} dimensions instead")
    if factor.shape[-1] != factor.shape[-2] or factor.shape[-1] != b.shape[-2]:
        raise RuntimeError(
            "Incompatible matrix sizes for cholesky_solve: each A matrix is "
            f"{factor.shape[-1]} by {factor.shape[-1]} but each b matrix is {b.shape[-2]} by {b.shape[-1]}"
        )
    return Spec((*broadcast_shapes(b.shape[:-2], factor.shape[:-2]), *b.shape[-2:]), b.dtype)


def _cholesky_solve_grads(
    g: Any, factor: Any, out: Any, b_spec: Spec, factor_spec: Spec, upper: bool, needs: tuple[bool, ...]
) -> tuple[Any, ...]:
    b_grad = cholesky_solve(g, factor, upper)
    factor_grad = None
    if needs[1]:
        product = b_grad @ mH(out)
        product = product + mH(product)
        factor_grad = like_operand(-(factor @ product) if upper else -(product @ factor), factor_spec)
    return like_operand(b_grad, b_spec), factor_grad


@opaque(spec=_cholesky_solve_spec, joint=_cholesky_solve_grads)
def cholesky_solve(xp: Any, b: Array, factor: Array, upper: bool = False) -> Array:
    """X with L L^H X = b (or U^H U X = b) from the Cholesky factor."""
    turned = kernels.adjoint(factor)
    first, second = (turned, factor) if upper else (factor, turned)
    return kernels.solve_triangular(second, kernels.solve_triangular(first, b, upper=False), upper=True)


def _cholesky_inverse_grad(g: Any, factor: Any, out: Any, upper: bool) -> Any:
    product = out @ (g + mH(g)) @ out
    return -(factor @ product) if upper else -(product @ factor)


@opaque(spec=lambda factor, upper: factor, grad=_cholesky_inverse_grad)
def cholesky_inverse(xp: Any, factor: Array, upper: bool = False) -> Array:
    """Inverse of L L^H (or U^H U) from the Cholesky factor."""
    eye = np.broadcast_to(np.eye(factor.shape[-1], dtype=factor.dtype), factor.shape)
    return cholesky_solve.body(xp, eye, factor, upper)
