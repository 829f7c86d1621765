"""Matrix factorisations that NumPy lacks, on stacks of matrices: triangular solves, LU, LDL, Householder, exp.

They are blocked so that nearly all work is in matrix products; the loops over single columns run inside blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

_BLOCK = 48


def adjoint(a: Any) -> Any:
    """Conjugate transpose of the last two dims; a view for real matrices."""
    turned = np.swapaxes(a, -1, -2)
    return turned.conj() if a.dtype.kind == "c" else turned


def solve_upper(a: Any, b: Any, unit: bool = False) -> Any:
    """X with triu(a) @ X = b. Zeros on the diagonal give infinities, as LAPACK's trtrs does without its check."""
    n = a.shape[-1]
    if n <= _BLOCK:
        return _back_substitution(a, b, unit)
    half = n // 2
    low = solve_upper(a[..., half:, half:], b[..., half:, :], unit)
    high = solve_upper(a[..., :half, :half], b[..., :half, :] - a[..., :half, half:] @ low, unit)
    return np.concatenate([high, low], axis=-2)


def _back_substitution(a: Any, b: Any, unit: bool) -> Any:
    shape = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    x = np.array(np.broadcast_to(b, shape + b.shape[-2:]))
    for i in range(a.shape[-1] - 1, -1, -1):
        if not unit:
            x[..., i, :] /= a[..., i, i, None]
        if i:
            x[..., :i, :] -= a[..., :i, i, None] * x[..., i, None, :]
    return x


def solve_triangular(a: Any, b: Any, upper: bool, left: bool = True, unit: bool = False) -> Any:
    """X with a @ X = b (or X @ a = b), reading one triangle of `a`."""
    if not left:
        turned = solve_triangular(np.swapaxes(a, -1, -2), np.swapaxes(b, -1, -2), not upper, True, unit)
        return np.ascontiguousarray(np.swapaxes(turned, -1, -2))
    if upper:
        return solve_upper(a, b, unit)
    # reversing rows and columns turns a lower triangle into an upper one
    return np.ascontiguousarray(solve_upper(a[..., ::-1, ::-1], b[..., ::-1, :], unit)[..., ::-1, :])


def lu_factor(a: Any, pivot: bool = True) -> tuple[Any, Any, Any]:
    """LAPACK's getrf: both factors in one array, row exchanges counted from 1, and the first zero pivot (0: none)."""
    m, n = a.shape[-2:]
    batch = a.shape[:-2]
    k = min(m, n)
    lu = np.array(a).reshape(math.prod(batch), m, n)
    pivots = np.tile(np.arange(1, k + 1, dtype=np.int32), (lu.shape[0], 1))
    info = np.zeros(lu.shape[0], np.int32)
    for start in range(0, k, _BLOCK):
        stop = min(start + _BLOCK, k)
        _lu_panel(lu, pivots, info, start, stop, pivot)
        if stop < n:
            top = solve_triangular(lu[:, start:stop, start:stop], lu[:, start:stop, stop:], upper=False, unit=True)
            lu[:, start:stop, stop:] = top
            lu[:, stop:, stop:] -= lu[:, stop:, start:stop] @ top
    return lu.reshape(a.shape), pivots.reshape(*batch, k), info.reshape(batch)


def _lu_panel(lu: Any, pivots: Any, info: Any, start: int, stop: int, pivot: bool) -> None:
    rows = np.arange(lu.shape[0])
    for j in range(start, stop):
        if pivot:
            best = j + np.argmax(_pivot_size(lu[:, j:, j]), axis=1)
            pivots[:, j] = best + 1
            exchanged = lu[rows, best].copy()
            lu[rows, best] = lu[:, j]
            lu[:, j] = exchanged
        diagonal = lu[:, j, j]
        zero = diagonal == 0
        info[zero & (info == 0)] = j + 1
        lu[:, j + 1 :, j] /= np.where(zero, 1, diagonal)[:, None]
        lu[:, j + 1 :, j + 1 : stop] -= lu[:, j + 1 :, j, None] * lu[:, j, None, j + 1 : stop]


def _pivot_size(values: Any) -> Any:
    """LAPACK's cabs1, so that its choice of pivots is met."""
    return np.abs(values.real) + np.abs(values.imag)


def pivots_to_permutation(pivots: Any, m: int) -> Any:
    """Row order that LAPACK's exchanges give: row i of the permuted matrix is row `out[..., i]`."""
    batch = pivots.shape[:-1]
    flat = pivots.reshape(math.prod(batch), pivots.shape[-1])
    order = np.tile(np.arange(m), (flat.shape[0], 1))
    rows = np.arange(flat.shape[0])
    for i in range(flat.shape[1]):
        other = flat[:, i] - 1
        moved = order[rows, other].copy()
        order[rows, other] = order[:, i]
        order[:, i] = moved
    return order.reshape(*batch, m)


def cholesky_info(a: Any) -> int:
    """Order of the first leading minor of one matrix that is not positive definite, 0 if none is."""
    low = np.array(a)
    for j in range(a.shape[-1]):
        d = low[j, j].real - float((np.abs(low[j, :j]) ** 2).sum())
        if not d > 0:
            return j + 1
        low[j, j] = math.sqrt(d)
        low[j + 1 :, j] = (low[j + 1 :, j] - low[j + 1 :, :j] @ low[j, :j].conj()) / low[j, j]
    return 0


def map_matrices(function: Callable[..., Any], *stacks: Any) -> list[Any]:
    """Apply `function` to each matrix of equally long stacks."""
    flat = [s.reshape(math.prod(s.shape[:-2]), *s.shape[-2:]) for s in stacks]
    return [function(*each) for each in zip(*flat, strict=True)]


# Largest 1-norms at which Taylor polynomials of degree 8 and 18 reach double precision: Bader, Blanes, Casas,
# "Computing the matrix exponential with an optimized Taylor polynomial approximation", 2019, table 2.
_SMALL_NORM, _LARGE_NORM = 3.1e-2, 1.09


def _taylor(a: Any, degree: int, width: int) -> Any:
    """Truncated exponential series by Paterson-Stockmeyer: Horner in a ** width."""
    eye = np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape)
    powers = [eye, a]
    while len(powers) <= width:
        powers.append(powers[-1] @ a)
    out = np.zeros_like(a)
    for top in range(degree - degree % width, -1, -width):
        chunk = sum(powers[i] * (1 / math.factorial(top + i)) for i in range(width) if top + i <= degree)
        out = out @ powers[width] + chunk
    return out


def matrix_exp(a: Any) -> Any:
    """Exponential of each matrix, in float64: scaling by a power of two, a Taylor polynomial, squaring."""
    if a.size == 0:
        return a.copy()
    wide = a.astype(np.complex128 if a.dtype.kind == "c" else np.float64)
    norm = np.abs(wide).sum(axis=-2).max(axis=-1)
    if not np.isfinite(norm).all():
        finite = np.isfinite(norm)[..., None, None]
        return np.where(finite, matrix_exp(np.where(finite, wide, 0)), np.nan).astype(a.dtype)
    largest = float(norm.max())
    if largest <= _SMALL_NORM:
        return _taylor(wide, 8, 3).astype(a.dtype)
    halvings = np.maximum(0, np.ceil(np.log2(np.maximum(norm, 1e-300) / _LARGE_NORM))).astype(int)
    out = _taylor(wide / np.exp2(halvings)[..., None, None], 18, 4)
    for i in range(int(halvings.max())):
        more = (halvings > i)[..., None, None]
        out = np.where(more, out @ out, out)
    return out.astype(a.dtype)


def ldl_factor(a: Any, hermitian: bool) -> tuple[Any, Any, Any]:
    """Bunch-Kaufman factorisation of the lower triangle of one matrix: LAPACK's sytf2 (or hetf2).

    Bunch, Kaufman, "Some stable methods for calculating inertia and solving symmetric linear systems", 1977.
    """
    low = np.array(a)
    n = a.shape[-1]
    pivots = np.zeros(n, np.int32)
    info = 0
    k = 0
    while k < n:
        size, other = _ldl_pivot(low, k, n)
        if size == 0:
            info, pivots[k], k = info or k + 1, k + 1, k + 1
            continue
        if hermitian:
            low[k, k] = low[k, k].real
        last = k + size - 1
        if other != last:
            _ldl_exchange(low, k, last, other, hermitian)
        if size == 1:
            pivots[k] = other + 1
        else:
            pivots[k] = pivots[k + 1] = -(other + 1)
        _ldl_update(low, k, size, hermitian)
        k += size
    return np.tril(low) + np.triu(a, 1), pivots, np.int32(info)


def _ldl_pivot(low: Any, k: int, n: int) -> tuple[int, int]:
    """Size of the next pivot block (0: the column is zero) and the row to exchange with its last row."""
    alpha = (1 + math.sqrt(17)) / 8
    diagonal = _pivot_size(low[k, k])
    below = _pivot_size(low[k + 1 :, k])
    peak = int(below.argmax()) + k + 1 if below.size else k
    column_max = float(below.max()) if below.size else 0.0
    if max(diagonal, column_max) == 0:
        return 0, k
    if diagonal >= alpha * column_max:
        return 1, k
    row = _pivot_size(np.concatenate([low[peak, k:peak], low[peak + 1 :, peak]]))
    row_max = float(row.max())
    if diagonal >= alpha * column_max * (column_max / row_max):
        return 1, k
    return (1, peak) if _pivot_size(low[peak, peak]) >= alpha * row_max else (2, peak)


def _ldl_exchange(low: Any, k: int, i: int, j: int, hermitian: bool) -> None:
    """Exchange rows and columns i < j of the trailing matrix, which is stored as a lower triangle."""
    turn = np.conj if hermitian else np.asarray
    below = low[j + 1 :, i].copy()
    low[j + 1 :, i] = low[j + 1 :, j]
    low[j + 1 :, j] = below
    between = turn(low[i + 1 : j, i]).copy()
    low[i + 1 : j, i] = turn(low[j, i + 1 : j])
    low[j, i + 1 : j] = between
    low[j, i] = turn(low[j, i])
    low[i, i], low[j, j] = low[j, j], low[i, i]
    if i > k:
        low[i, k], low[j, k] = low[j, k], low[i, k]


def _ldl_update(low: Any, k: int, size: int, hermitian: bool) -> None:
    """Eliminate the pivot block at k from what lies below and to the right."""
    after = k + size
    block = np.tril(low[k:after, k:after])
    block = block + (np.tril(block, -1).conj().T if hermitian else np.tril(block, -1).T)
    columns = low[after:, k:after].copy()
    factors = np.linalg.solve(block.T, columns.T).T
    low[after:, after:] -= np.tril(factors @ (columns.conj().T if hermitian else columns.T))
    low[after:, k:after] = factors


def ldl_solve(low: Any, pivots: Any, b: Any, hermitian: bool) -> Any:
    """X with A @ X = b from the `ldl_factor` of one matrix A: LAPACK's sytrs (or hetrs)."""
    x = np.array(b)
    n = len(pivots)
    turn = np.conj if hermitian else np.asarray
    blocks = []
    k = 0
    while k < n:
        size = 1 if pivots[k] > 0 else 2
        blocks.append((k, size))
        k += size
    for k, size in blocks:
        after = k + size
        _exchange_rows(x, after - 1, abs(int(pivots[k])) - 1)
        x[after:] -= low[after:, k:after] @ x[k:after]
        block = np.tril(low[k:after, k:after])
        x[k:after] = np.linalg.solve(block + turn(np.tril(block, -1).T), x[k:after])
    for k, size in reversed(blocks):
        after = k + size
        x[k:after] -= turn(low[after:, k:after].T) @ x[after:]
        _exchange_rows(x, after - 1, abs(int(pivots[k])) - 1)
    return x


def _exchange_rows(x: Any, i: int, j: int) -> None:
    if i != j:
        x[[i, j]] = x[[j, i]]
