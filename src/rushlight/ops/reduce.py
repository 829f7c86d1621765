"""Reductions, scans and sorting."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.errors import ShapeError
from rushlight.ops.elementwise import (
    abs,
    eq,
    exp,
    isnan,
    logical_not,
    sign_of,
    where,
    zeros_like,
)
from rushlight.ops.kinds import Array, composite, opaque, reduction
from rushlight.ops.linear import cast, cat, conj_of, flip, reshape, restore, sum
from rushlight.spec import Spec, spec_of


def count(shape: tuple[int, ...], dim: Any) -> int:
    """Number of elements that a reduction of `shape` over `dim` combines into one."""
    dims = range(len(shape)) if dim is None else (dim,) if isinstance(dim, int) else dim
    return math.prod(shape[d] for d in dims)


@reduction(
    by_dim=True,
    grad=lambda g, x_spec, dim, keepdim: restore(g, x_spec, dim, keepdim) / max(count(x_spec.shape, dim), 1),
)
def mean(xp: Any, x: Array, dim: Any = None, keepdim: bool = False) -> Array:
    """Arithmetic mean along `dim`."""
    if not x.ndim:
        return x.copy()
    n = count(x.shape, dim)
    if x.dtype.itemsize == 2:
        return (xp.add.reduce(x, axis=dim, keepdims=keepdim, dtype=np.float32) / np.float32(n)).astype(x.dtype)
    return xp.add.reduce(x, axis=dim, keepdims=keepdim) / x.dtype.type(n)


def _prod_grad(g: Any, x: Any, x_spec: Spec, out: Any, dim: Any, keepdim: bool) -> Any:
    return restore(g, x_spec, dim, keepdim) * conj_of(_product_of_others(x, dim))


def _product_of_others(x: Any, dim: Any) -> Any:
    """For each element the product of all others along `dim`: right also where some are 0."""
    shape = spec_of(x).shape
    if dim is None:
        return reshape(_product_of_others(reshape(x, (math.prod(shape),)), 0), shape)
    d = dim if isinstance(dim, int) else dim[0]
    return _shifted_cumprod(x, d) * flip(_shifted_cumprod(flip(x, (d,)), d), (d,))


def _shifted_cumprod(x: Any, dim: int) -> Any:
    """Product of the elements before each one along `dim`."""
    shape = spec_of(x).shape
    if not shape:
        return x * 0 + 1
    d = dim % len(shape)
    head = (slice(None),) * d
    first = x[(*head, slice(0, 1))] * 0 + 1
    return cumprod(cat([first, x[(*head, slice(0, max(shape[d] - 1, 0)))]], d), d)


@reduction(by_dim=True, identity=1, combine=lambda xp, a, b: a * b, grad=_prod_grad, result="total")
def prod(xp: Any, x: Array, dim: Any = None, keepdim: bool = False) -> Array:
    """Product of the elements along one dim, or all."""
    return xp.multiply.reduce(x, axis=dim, keepdims=keepdim, dtype=np.int64 if x.dtype.kind in "biu" else None)


def _shared_among(g: Any, x: Any, x_spec: Spec, out: Any, dim: Any, keepdim: bool) -> Any:
    """The gradient of a maximum, divided evenly among equal elements."""
    wide = restore(out, x_spec, dim, keepdim)
    chosen = cast(eq(x, wide) | (isnan(x) & isnan(wide)), x_spec.dtype)
    return restore(g, x_spec, dim, keepdim) * chosen / sum(chosen, dim, True)


def _empty_check(x: Any, dim: Any, name: str) -> None:
    if not x.size and count(x.shape, dim) == 0:
        if dim is None:
            raise RuntimeError(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the "
                "reduction dim with the 'dim' argument."
            )
        d = dim if isinstance(dim, int) else dim[0]
        raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size.")


@reduction(identity=-math.inf, combine=lambda xp, a, b: xp.maximum(a, b), grad=_shared_among)
def amax(xp: Any, x: Array, dim: Any = None, keepdim: bool = False) -> Array:
    """The greatest element along `dim`; equal ones share the gradient."""
    _empty_check(x, dim, "amax")
    return xp.maximum.reduce(x, axis=dim, keepdims=keepdim)


@reduction(identity=math.inf, combine=lambda xp, a, b: xp.minimum(a, b), grad=_shared_among)
def amin(xp: Any, x: Array, dim: Any = None, keepdim: bool = False) -> Array:
    """The smallest element along `dim`; equal ones share the gradient."""
    _empty_check(x, dim, "amin")
    return xp.minimum.reduce(x, axis=dim, keepdims=keepdim)


@reduction(grad=lambda g, x, x_spec, out: _shared_among(g, x, x_spec, out, None, False), name="MaxBackward1")
def max_all(xp: Any, x: Array, dim: Any = None) -> Array:
    """The greatest of all elements."""
    _empty_check(x, None, "max")
    return xp.maximum.reduce(x, axis=None)


@reduction(grad=lambda g, x, x_spec, out: _shared_among(g, x, x_spec, out, None, False), name="MinBackward1")
def min_all(xp: Any, x: Array, dim: Any = None) -> Array:
    """The smallest of all elements."""
    _empty_check(x, None, "min")
    return xp.minimum.reduce(x, axis=None)


@reduction(identity=True, combine=lambda xp, a, b: xp.logical_and(a, b), grad=(None,), result="bool")
def all(xp: Any, x: Array, dim: Any = None, keepdim: bool = False) -> Array:
    """Whether all elements along `dim` are non-zero."""
    out = xp.logical_and.reduce(x, axis=dim, keepdims=keepdim)
    return out.astype(np.uint8) if x.dtype == np.uint8 else out


@reduction(identity=False, combine=lambda xp, a, b: xp.logical_or(a, b), grad=(None,), result="bool")
def any(xp: Any, x: Array, dim: Any = None, keepdim: bool = False) -> Array:
    """Whether any element along `dim` is non-zero."""
    out = xp.logical_or.reduce(x, axis=dim, keepdims=keepdim)
    return out.astype(np.uint8) if x.dtype == np.uint8 else out


def _var_grad(g: Any, x: Any, x_spec: Spec, dim: Any, correction: float, keepdim: bool) -> Any:
    scale = 2.0 / max(count(x_spec.shape, dim) - correction, 0) if count(x_spec.shape, dim) > correction else math.nan
    return restore(g, x_spec, dim, keepdim) * (scale * (x - mean(x, dim, True)))


@reduction(grad=_var_grad, result="real")
def var(xp: Any, x: Array, dim: Any = None, correction: float = 1, keepdim: bool = False) -> Array:
    """Mean square distance from the mean, with `n - correction` as divisor."""
    return np.asarray(_variance(xp, x, dim, correction, keepdim)).astype(x.real.dtype, copy=False)


def _variance(xp: Any, x: Any, dim: Any, correction: float, keepdim: bool) -> Any:
    n = count(x.shape, dim)
    wide = x.astype(np.float32) if x.dtype.itemsize == 2 else x
    center = xp.add.reduce(wide, axis=dim, keepdims=True) / wide.dtype.type(max(n, 1)) if wide.ndim else wide
    d = wide - center
    square = (d * d.conj()).real if d.dtype.kind == "c" else d * d
    total = xp.add.reduce(square, axis=dim, keepdims=keepdim) if wide.ndim else square
    return total / total.dtype.type(n - correction) if n > correction else total * total.dtype.type(math.nan)


def _std_grad(g: Any, x: Any, x_spec: Spec, out: Any, dim: Any, correction: float, keepdim: bool) -> Any:
    safe = where(eq(out, 0), zeros_like(out), g / (out * 2))
    return _var_grad(safe, x, x_spec, dim, correction, keepdim)


@reduction(grad=_std_grad, result="real")
def std(xp: Any, x: Array, dim: Any = None, correction: float = 1, keepdim: bool = False) -> Array:
    """Square root of `var`."""
    return np.sqrt(np.asarray(_variance(xp, x, dim, correction, keepdim)).astype(np.float64)).astype(x.real.dtype)


# With positions: (values, indices)


def _drop(shape: tuple[int, ...], dim: int, keepdim: bool) -> tuple[int, ...]:
    if not shape:
        return ()
    return (*shape[:dim], 1, *shape[dim + 1 :]) if keepdim else (*shape[:dim], *shape[dim + 1 :])


def _pair_spec(x: Spec, dim: int = 0, keepdim: bool = False, **_: Any) -> tuple[Spec, Spec]:
    if x.shape and x.shape[dim] == 0:
        raise IndexError(f"max(): Expected reduction dim {dim} to have non-zero size.")
    shape = _drop(x.shape, dim, keepdim)
    return Spec(shape, x.dtype), Spec(shape, np.dtype(np.int64))


def _at_positions(g: Any, x_spec: Spec, out: Any, dim: int, keepdim: bool) -> Any:
    """The gradient of values picked one per slice: placed where they came from."""
    if not x_spec.shape:
        return g[0]
    shape = (*x_spec.shape[:dim], 1, *x_spec.shape[dim + 1 :])
    return place_along(reshape(g[0], shape), reshape(out[1], shape), x_spec.shape, dim)


@opaque(
    spec=lambda x, index, shape, dim: Spec(shape, x.dtype),
    grad=(lambda g, index, dim: take_along(g, index, dim), None),
)
def place_along(xp: Any, x: Array, index: Array, shape: tuple[int, ...], dim: int) -> Array:
    """Zeros of `shape` with each element of `x` added at its index along `dim`: the gradient of taking them."""
    out = np.zeros(shape, x.dtype)
    if index.shape[dim] == 1 or x.size <= 1:
        np.put_along_axis(out, index, x, dim)
        return out
    np.add.at(out, along(index, dim), x)
    return out


def along(index: Any, dim: int) -> tuple[Any, ...]:
    """`index` along `dim` with the positions of its own elements along the other dims."""
    grids = np.ogrid[tuple(slice(n) for n in index.shape)]
    return tuple(index if i == dim else grid for i, grid in enumerate(grids))


@opaque(
    name="GatherBackward0",
    spec=lambda x, index, dim: Spec(index.shape, x.dtype),
    grad=(lambda g, x_spec, index, dim: place_along(g, index, x_spec.shape, dim), None),
)
def take_along(xp: Any, x: Array, index: Array, dim: int) -> Array:
    """out[i][j] = x[index[i][j]][j] for dim 0, and alike for other dims; bounds are checked by the caller."""
    if not x.ndim:
        return np.broadcast_to(x, index.shape).copy()
    return x[along(index, dim)]


def _extreme(x: Any, dim: int, keepdim: bool, arg: Any) -> tuple[Any, Any]:
    if not x.ndim:
        return x.copy(), np.zeros((), np.int64)
    index = np.expand_dims(_first_nan_or(x, dim, arg), dim)
    values = np.take_along_axis(x, index, dim)
    return (values, index) if keepdim else (values.squeeze(dim), index.squeeze(dim))


def _first_nan_or(x: Any, dim: int, arg: Any) -> Any:
    if x.dtype.kind == "V":
        x = x.astype(np.float32)
    return np.asarray(arg(x, axis=dim))


@opaque(name="MaxBackward0", spec=_pair_spec, grad=_at_positions)
def max_dim(xp: Any, x: Array, dim: int = 0, keepdim: bool = False) -> tuple[Array, Array]:
    """The greatest elements along `dim` and where they are (the first of equal ones)."""
    return _extreme(x, dim, keepdim, np.argmax)


@opaque(name="MinBackward0", spec=_pair_spec, grad=_at_positions)
def min_dim(xp: Any, x: Array, dim: int = 0, keepdim: bool = False) -> tuple[Array, Array]:
    """The smallest elements along `dim` and where they are (the first of equal ones)."""
    return _extreme(x, dim, keepdim, np.argmin)


def _arg_spec(x: Spec, dim: Any = None, keepdim: bool = False) -> Spec:
    if dim is None:
        if 0 in x.shape:
            raise IndexError("argmax(): Expected reduction dim to be specified for input.numel() == 0.")
        return Spec((1,) * len(x.shape) if keepdim else (), np.dtype(np.int64))
    if x.shape and x.shape[dim] == 0:
        raise IndexError(f"argmax(): Expected reduction dim {dim} to have non-zero size.")
    return Spec(_drop(x.shape, dim, keepdim), np.dtype(np.int64))


@opaque(spec=_arg_spec, grad=(None,))
def argmax(xp: Any, x: Array, dim: Any = None, keepdim: bool = False) -> Array:
    """Position of the greatest element along `dim`, of all elements in row-major order without `dim`."""
    return _arg(x, dim, keepdim, np.argmax)


@opaque(spec=_arg_spec, grad=(None,))
def argmin(xp: Any, x: Array, dim: Any = None, keepdim: bool = False) -> Array:
    """Position of the smallest element along `dim`, of all elements in row-major order without `dim`."""
    return _arg(x, dim, keepdim, np.argmin)


def _arg(x: Any, dim: Any, keepdim: bool, arg: Any) -> Any:
    if not x.ndim:
        return np.zeros((), np.int64)
    if x.dtype.kind == "V":
        x = x.astype(np.float32)
    return np.asarray(arg(x, axis=dim, keepdims=keepdim))


def _middle_spec(x: Spec, dim: int = 0, keepdim: bool = False, **_: Any) -> tuple[Spec, Spec]:
    shape = _drop(x.shape, dim, keepdim)
    return Spec(shape, x.dtype), Spec(shape, np.dtype(np.int64))


def _take_one(x: Any, order: Any, dim: int, keepdim: bool) -> tuple[Any, Any]:
    values = np.take_along_axis(x, order, dim)
    return (values, order) if keepdim else (values.squeeze(dim), order.squeeze(dim))


@opaque(name="MedianBackward1", spec=_middle_spec, grad=_at_positions)
def median_dim(xp: Any, x: Array, dim: int = 0, keepdim: bool = False, skip_nan: bool = False) -> tuple[Array, Array]:
    """The lower median along `dim` and its position; a NaN wins unless `skip_nan`."""
    if not x.ndim:
        return x.copy(), np.zeros((), np.int64)
    order = np.argsort(x, axis=dim, kind="stable")
    n = x.shape[dim]
    if x.dtype.kind not in "fc":
        return _take_one(x, np.take(order, [(n - 1) // 2], dim), dim, keepdim)
    nans = np.isnan(x).sum(axis=dim, keepdims=True)
    middle = np.where(nans < n, (n - nans - 1) // 2, 0) if skip_nan else np.where(nans > 0, n - nans, (n - 1) // 2)
    return _take_one(x, np.take_along_axis(order, middle, dim), dim, keepdim)


@opaque(name="KthvalueBackward0", spec=_middle_spec, grad=_at_positions)
def kth_dim(xp: Any, x: Array, dim: int = 0, keepdim: bool = False, k: int = 1) -> tuple[Array, Array]:
    """The k-th smallest element along `dim` and its position."""
    if not x.ndim:
        return x.copy(), np.zeros((), np.int64)
    order = np.argsort(x, axis=dim, kind="stable")
    return _take_one(x, np.take(order, [k - 1], dim), dim, keepdim)


@opaque(name="ModeBackward0", spec=_middle_spec, grad=_at_positions)
def mode_dim(xp: Any, x: Array, dim: int = 0, keepdim: bool = False) -> tuple[Array, Array]:
    """The most frequent element along `dim` (the smallest of equally frequent ones) and its last position."""
    if not x.ndim:
        return x.copy(), np.zeros((), np.int64)
    rows = np.moveaxis(x, dim, -1)
    index = np.empty(rows.shape[:-1], np.int64)
    for at in np.ndindex(index.shape):
        values, counts = np.unique(rows[at], return_counts=True)
        index[at] = np.flatnonzero(rows[at] == values[np.argmax(counts)])[-1]
    return _take_one(x, np.expand_dims(index, dim), dim, keepdim)


def _sort_spec(x: Spec, dim: int = -1, **_: Any) -> tuple[Spec, Spec]:
    return x, Spec(x.shape, np.dtype(np.int64))


def _sort_grad(g: Any, x_spec: Spec, out: Any, dim: int) -> Any:
    return place_along(g[0], out[1], x_spec.shape, dim) if x_spec.shape else g[0]


@opaque(name="SortBackward0", spec=_sort_spec, grad=_sort_grad)
def sort_dim(xp: Any, x: Array, dim: int = -1, descending: bool = False) -> tuple[Array, Array]:
    """Elements in order along `dim` (NaN is greatest) and where they came from; equal ones keep their order."""
    if not x.ndim:
        return x.copy(), np.zeros((), np.int64)
    wide = x.astype(np.float32) if x.dtype.kind == "V" else x
    if descending:
        order = x.shape[dim] - 1 - np.flip(np.argsort(np.flip(wide, dim), axis=dim, kind="stable"), dim)
    else:
        order = np.argsort(wide, axis=dim, kind="stable")
    order = np.ascontiguousarray(order)
    return np.take_along_axis(x, order, dim), order


def _topk_spec(x: Spec, k: int, dim: int = -1, **_: Any) -> tuple[Spec, Spec]:
    n = x.shape[dim] if x.shape else 1
    if not 0 <= k <= n:
        raise RuntimeError("selected index k out of range")
    shape = (*x.shape[:dim], k, *x.shape[dim + 1 :]) if x.shape else ()
    return Spec(shape, x.dtype), Spec(shape, np.dtype(np.int64))


@opaque(name="TopkBackward0", spec=_topk_spec, grad=_sort_grad)
def topk_dim(xp: Any, x: Array, k: int, dim: int = -1, largest: bool = True) -> tuple[Array, Array]:
    """The k greatest (or smallest) elements along `dim`, in order, and where they are."""
    if not x.ndim:
        return x.copy(), np.zeros((), np.int64)
    if x.dtype in _PARTED and _FEW_OF * k <= x.shape[dim] and k and x.size:
        found = _leading(np.moveaxis(x, dim, -1), k, largest)
        if found is not None:
            return tuple(np.ascontiguousarray(np.moveaxis(a, -1, dim)) for a in found)  # type: ignore[return-value]
    values, order = sort_dim.body(xp, x, dim, largest)
    part = (slice(None),) * dim + (slice(k),)
    return np.ascontiguousarray(values[part]), np.ascontiguousarray(order[part])


_PARTED = frozenset(map(np.dtype, (np.float32, np.float64, np.int32, np.int64)))
# Sorting so many times more than is asked for takes longer than parting it.
_FEW_OF = 8


def _leading(x: Any, k: int, largest: bool) -> tuple[Any, Any] | None:
    """`topk_dim` along the last dim; None where what it takes depends on the order of equal elements, or on NaN."""
    n = x.shape[-1]
    at = n - k if largest else k - 1
    edge = np.partition(x, at, -1)[..., at : at + 1]
    taken = x >= edge if largest else x <= edge
    if (np.count_nonzero(taken, -1) != k).any():
        return None
    place = (np.flatnonzero(taken) % n).reshape(*x.shape[:-1], k)
    values, order = sort_dim.body(None, np.take_along_axis(x, place, -1), -1, largest)
    return values, np.take_along_axis(place, order, -1)


# Scans


@opaque(spec=lambda x, dim, reverse: x, grad=lambda g, dim, reverse: cumsum(g, dim, not reverse))
def cumsum(xp: Any, x: Array, dim: int = 0, reverse: bool = False) -> Array:
    """Running sum along `dim`, from its end if `reverse`."""
    if not x.ndim:
        return x.copy()
    if reverse:
        return np.ascontiguousarray(np.flip(np.cumsum(np.flip(x, dim), axis=dim, dtype=x.dtype), dim))
    return np.ascontiguousarray(np.cumsum(x, axis=dim, dtype=x.dtype))


def _cumprod_grad(g: Any, x: Any, x_spec: Spec, dim: int) -> Any:
    if not x_spec.shape:
        return g
    # d out[j] / d x[i] = product of all up to j without i: exact also with zeros (derived here)
    terms = []
    head = (slice(None),) * dim
    for i in range(x_spec.shape[dim]):
        before = prod(x[(*head, slice(0, i))], dim, True)
        after = x[(*head, slice(i + 1, None))]
        ones = before * 0 + 1
        running = cumprod(cat([ones, after], dim), dim)
        terms.append(sum(g[(*head, slice(i, None))] * conj_of(before * running), dim, True))
    return cat(terms, dim)


@opaque(spec=lambda x, dim: x, grad=_cumprod_grad)
def cumprod(xp: Any, x: Array, dim: int = 0) -> Array:
    """Running product along `dim`."""
    return np.ascontiguousarray(np.cumprod(x, axis=dim, dtype=x.dtype)) if x.ndim else x.copy()


def _running(x: Any, dim: int, better: Any) -> tuple[Any, Any]:
    if not x.ndim:
        return x.copy(), np.zeros((), np.int64)
    values = better.accumulate(x, axis=dim)
    steps = np.arange(x.shape[dim]).reshape((-1,) + (1,) * (x.ndim - dim - 1))
    same = (x == values) | (np.isnan(x) if x.dtype.kind == "f" else False)
    return values, np.maximum.accumulate(np.where(same, steps, 0), axis=dim)


@opaque(name="CummaxBackward0", spec=_sort_spec, grad=_sort_grad)
def cummax(xp: Any, x: Array, dim: int = 0) -> tuple[Array, Array]:
    """Running maximum along `dim` and where it is."""
    return _running(x, dim, np.maximum)


@opaque(name="CumminBackward0", spec=_sort_spec, grad=_sort_grad)
def cummin(xp: Any, x: Array, dim: int = 0) -> tuple[Array, Array]:
    """Running minimum along `dim` and where it is."""
    return _running(x, dim, np.minimum)


def _lcse_grad(g: Any, x: Any, out: Any, dim: int) -> Any:
    # d out[j] / d x[i] = exp(x[i] - out[j]) for j >= i
    return cumsum(g * exp(-out), dim, True) * exp(x)


@opaque(spec=lambda x, dim: x, grad=_lcse_grad)
def logcumsumexp(xp: Any, x: Array, dim: int = 0) -> Array:
    """Logarithm of the running sum of exponentials along `dim`."""
    return np.logaddexp.accumulate(x, axis=dim) if x.ndim else x.copy()


# Norms


def _norm_grad(g: Any, x: Any, x_spec: Spec, out: Any, p: float, dim: Any, keepdim: bool) -> Any:
    wide, norm = restore(g, x_spec, dim, keepdim), restore(out, x_spec, dim, keepdim)
    if p == 0:
        return wide * (x * 0)
    if p == 1:
        return wide * sign_of(x, abs(x))
    if p == 2:
        return wide * where(eq(norm, 0), zeros_like(x), x / norm)
    if p in (math.inf, -math.inf):
        chosen = cast(eq(abs(x), norm), x_spec.dtype)
        return wide * sign_of(x, abs(x)) * chosen / sum(chosen, dim, True)
    ratio = where(eq(norm, 0), zeros_like(norm), abs(x) / norm)
    power = where(eq(x, 0), zeros_like(ratio), ratio ** (p - 1))
    return wide * sign_of(x, abs(x)) * power


@reduction(name="LinalgVectorNormBackward0", grad=_norm_grad, result="real")
def vector_norm(xp: Any, x: Array, p: float = 2, dim: Any = None, keepdim: bool = False) -> Array:
    """(sum |x|**p)**(1/p) along `dim`; p may be 0 (count of non-zeros) or infinite."""
    size = np.absolute(x)
    dtype = size.dtype
    wide = size.astype(np.float32) if dtype.itemsize == 2 else size
    if p == math.inf:
        out = xp.maximum.reduce(wide, axis=dim, keepdims=keepdim)
    elif p == -math.inf:
        out = xp.minimum.reduce(wide, axis=dim, keepdims=keepdim)
    elif p == 0:
        out = xp.add.reduce(wide != 0, axis=dim, keepdims=keepdim)
    elif p == 1:
        out = xp.add.reduce(wide, axis=dim, keepdims=keepdim)
    elif p == 2:
        out = np.sqrt(xp.add.reduce(wide * wide, axis=dim, keepdims=keepdim))
    else:
        out = xp.add.reduce(wide**p, axis=dim, keepdims=keepdim) ** (1.0 / p)
    return np.asarray(out).astype(dtype)


# Counting and searching (no gradients)


@opaque(spec=lambda x, weights, minlength: Spec((minlength,), np.dtype(np.int64)), grad=(None, None))
def bincount(xp: Any, x: Array, weights: Array | None = None, minlength: int = 0) -> Array:
    """How often each non-negative integer occurs, or the sum of its weights."""
    if x.ndim != 1 or x.dtype.kind not in "iu" or (x.size and x.min() < 0):
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if weights is not None and weights.dtype == np.float32:
        return np.bincount(x, weights, minlength).astype(np.float32)
    return np.bincount(x, weights, minlength)


@opaque(spec=lambda sorted_sequence, x, right: Spec(x.shape, np.dtype(np.int64)), grad=(None, None))
def searchsorted(xp: Any, sorted_sequence: Array, x: Array, right: bool = False) -> Array:
    """Where each element of `x` would be inserted to keep the rows of `sorted_sequence` sorted."""
    side = "right" if right else "left"
    if sorted_sequence.ndim == 1:
        return np.asarray(np.searchsorted(sorted_sequence, x, side), np.int64)  # type: ignore[call-overload]
    if sorted_sequence.shape[:-1] != x.shape[:-1]:
        raise ShapeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries "
            f"tensor and input value tensor must match, but we got boundaries tensor {list(sorted_sequence.shape)} and "
            f"input value tensor {list(x.shape)}"
        )
    out = np.empty(x.shape, np.int64)
    for at in np.ndindex(x.shape[:-1]):
        out[at] = np.searchsorted(sorted_sequence[at], x[at], side)  # type: ignore[call-overload]
    return out


@composite()
def nansum(x: Array, dim: Any = None, keepdim: bool = False) -> Array:
    """Sum that takes NaN as 0."""
    return sum(where(isnan(x), zeros_like(x), x), dim, keepdim)


@composite()
def nanmean(x: Array, dim: Any = None, keepdim: bool = False) -> Array:
    """Mean of the elements that are not NaN."""
    real = cast(logical_not(isnan(x)), spec_of(x).dtype)
    return nansum(x, dim, keepdim) / sum(real, dim, keepdim)


@reduction(grad=(None,), result="count")
def count_nonzero(xp: Any, x: Array, dim: Any = None) -> Array:
    """How many elements along `dim` are not 0."""
    return np.asarray(np.count_nonzero(x, axis=dim), np.int64)


# The caller finds the distinct elements; these ops give them their place in the graph, where they have no gradient.


def _without_derivative(name: str) -> Callable[[Any], Any]:
    """A gradient formula that says that there is none."""

    def formula(g: Any) -> Any:
        raise NotImplementedError(f"the derivative for '{name}' is not implemented.")

    return formula


@opaque(
    spec=lambda x, values: Spec(values.shape, x.dtype), name="Unique2Backward0", grad=_without_derivative("_unique2")
)
def unique2(xp: Any, x: Array, values: Any = None) -> Array:
    """The distinct elements of `x`."""
    return values


@opaque(
    spec=lambda x, values: Spec(values.shape, x.dtype),
    name="UniqueDimBackward0",
    grad=_without_derivative("unique_dim"),
)
def unique_dim(xp: Any, x: Array, values: Any = None) -> Array:
    """The distinct slices of `x`."""
    return values


@opaque(
    spec=lambda x, values: Spec(values.shape, x.dtype),
    name="UniqueConsecutiveBackward0",
    grad=_without_derivative("unique_consecutive"),
)
def unique_consecutive(xp: Any, x: Array, values: Any = None) -> Array:
    """The elements or slices of `x` that differ from those before them."""
    return values
