"""Reading and writing at positions given by integer arrays and masks."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.errors import BoundsError, ShapeError, explain
from rushlight.ops.elementwise import where
from rushlight.ops.kinds import Array, Arrays, opaque, sum_to_shape
from rushlight.ops.linear import expand, getitem_slice, place_slice, reshape
from rushlight.ops.reduce import along, place_along, take_along
from rushlight.spec import Spec

Ints = tuple[int, ...]
Position = tuple[Any, ...]


class Where:
    """An index made of slices, ints and integer arrays, with the shape it picks; arrays are checked before use."""

    __slots__ = ("index", "shape")

    def __init__(self, index: Position, shape: Ints) -> None:
        self.index = index
        self.shape = shape

    def __repr__(self) -> str:
        return f"Where({self.index!r})"


def _unique_positions(at: Where) -> bool:
    arrays = [i for i in at.index if isinstance(i, np.ndarray)]
    return all(a.dtype == np.bool_ for a in arrays)


@opaque(
    name="IndexBackward0",
    spec=lambda x, at: Spec(at.shape, x.dtype),
    grad=lambda g, x_spec, at: index_place(g, x_spec.shape, at),
)
def index(xp: Any, x: Array, at: Where) -> Array:
    """The elements at an index with integer arrays or masks, as a copy."""
    if len(at.index) == 1 and x.ndim > 1 and isinstance(rows := at.index[0], np.ndarray) and rows.dtype.kind == "i":
        return np.take(x, rows, 0)  # as x[rows], in less time
    picked = np.asarray(x[at.index])
    return picked if picked.flags.c_contiguous and 1 not in picked.shape else picked.copy(order="C")


@opaque(spec=lambda x, shape, at: Spec(shape, x.dtype), grad=lambda g, at: index(g, at))
def index_place(xp: Any, x: Array, shape: Ints, at: Where) -> Array:
    """Zeros of `shape` with `x` added at an index: the gradient of `index`."""
    out = np.zeros(shape, x.dtype)
    if _unique_positions(at):
        out[at.index] = x
        return out
    if len(at.index) == 1 and x.ndim > 1:
        return _placed(x, at.index[0], shape)
    np.add.at(out, at.index, x)
    return out


def _placed(x: Any, rows: Any, shape: Ints) -> Any:
    """Zeros with rows added at an index whose negative numbers count from the end."""
    rows = rows.reshape(-1) % max(shape[0], 1)
    return rows_place(x.reshape(rows.size, *shape[1:]), rows, shape, 0)


def add_rows(out: Any, rows: Any, values: Any) -> Any:
    """Add `values[i]` to `out[rows[i]]`, rows occurring any number of times; sorted segments beat `np.add.at`."""
    flat = rows.ravel() % max(out.shape[0], 1)
    if not flat.size:
        return out
    values = np.broadcast_to(values, (*rows.shape, *out.shape[1:])).reshape(flat.size, *out.shape[1:])
    order = np.argsort(flat, kind="stable")
    sorted_rows = flat[order]
    starts = np.flatnonzero(np.r_[True, sorted_rows[1:] != sorted_rows[:-1]])
    out[sorted_rows[starts]] += np.add.reduceat(values[order], starts, axis=0)
    return out


def _put_grad_x(g: Any, x_spec: Spec, at: Where, accumulate: bool) -> Any:
    return g if accumulate else index_put(g, expand(_zero_like(g), at.shape), at, False)


def _zero_like(g: Any) -> Any:
    return (
        reshape(getitem_slice(g, (slice(0, 1),) * len(g.shape)) * 0, ()) if 0 not in g.shape else np.zeros((), g.dtype)
    )


@opaque(
    spec=lambda x, value, at, accumulate: x,
    grad=(_put_grad_x, lambda g, value_spec, at: sum_to_shape(index(g, at), value_spec.shape)),
)
def index_put(xp: Any, x: Array, value: Array, at: Where, accumulate: bool = False) -> Array:
    """A copy of `x` with `value` written (or added) at an index."""
    out = np.array(x, copy=True)
    if not accumulate:
        out[at.index] = value
    elif len(at.index) == 1 and out.ndim > 1 and not _unique_positions(at):
        add_rows(out, at.index[0], value)
    else:
        np.add.at(out, at.index, value)
    return out


def check_indices(values: Any, size: int, dim: int, name: str = "index") -> None:
    """Raise `IndexError` where an integer array points outside `size`."""
    if values.size:
        low, high = int(values.min()), int(values.max())
        if low < 0 or high >= size:
            bad = low if low < 0 else high
            raise explain(
                BoundsError(f"{name} {bad} is out of bounds for dimension {dim} with size {size}"),
                expected=f"0 <= index < {size}",
                received=bad,
            )


def _gather_spec(x: Spec, index: Spec, dim: int) -> Spec:
    if index.dtype not in (np.int64, np.int32):
        raise RuntimeError("gather(): Expected dtype int32/int64 for index")
    if len(index.shape) != len(x.shape):
        raise ShapeError("Index tensor must have the same number of dimensions as input tensor")
    for d, (n, m) in enumerate(zip(index.shape, x.shape, strict=True)):
        if d != dim and n > m:
            raise ShapeError(
                f"Size does not match at dimension {d} expected index {list(index.shape)} to be no larger than self "
                f"{list(x.shape)} apart from dimension {dim}"
            )
    return Spec(index.shape, x.dtype)


@opaque(
    spec=_gather_spec,
    grad=(lambda g, x_spec, index, dim: scatter_add_zeros(g, index, x_spec.shape, dim), None),
)
def gather(xp: Any, x: Array, index: Array, dim: int) -> Array:
    """out[i][j] = x[index[i][j]][j] for dim 0, and alike for other dims."""
    if not x.ndim:
        return np.full(index.shape, x)
    check_indices(index, x.shape[dim], dim)
    return x[along(index, dim)]


@opaque(
    name="ScatterAddBackward0",
    spec=lambda x, index, shape, dim: Spec(shape, x.dtype),
    grad=(lambda g, index, dim: take_along(g, index, dim), None),
)
def scatter_add_zeros(xp: Any, x: Array, index: Array, shape: Ints, dim: int) -> Array:
    """Zeros of `shape` with the elements of `x` added at `index`: the gradient of `gather`."""
    if not shape:
        return np.asarray(x.sum(dtype=x.dtype)).reshape(())
    return place_along.body(xp, x, index, shape, dim)


def _scatter_spec(x: Spec, index: Spec, src: Spec, dim: int) -> Spec:
    if index.dtype not in (np.int64, np.int32):
        raise RuntimeError("scatter(): Expected dtype int64 for index")
    if src.dtype is not None and src.dtype != x.dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
    if len(index.shape) != len(x.shape):
        raise ShapeError("Index tensor must have the same number of dimensions as self tensor")
    for d, n in enumerate(index.shape):
        if src.shape and n > src.shape[d] or d != dim and n > x.shape[d]:
            raise ShapeError(
                f"Expected index {list(index.shape)} to be no larger than self {list(x.shape)} apart from dimension "
                f"{dim} and to be no larger size than src {list(src.shape)}"
            )
    return x


def _cut(src: Any, shape: Ints) -> Any:
    """The leading part of `src` that an index of `shape` uses."""
    return getitem_slice(src, tuple(slice(n) for n in shape)) if src.shape != shape else src


def _cut_grad(g: Any, index: Any, src_spec: Spec, dim: int) -> Any:
    got = take_along(g, index, dim)
    if src_spec.shape == index.shape:
        return got
    return place_slice(got, src_spec.shape, tuple(slice(n) for n in index.shape))


@opaque(
    spec=_scatter_spec,
    grad=(
        lambda g, index, dim: scatter_fill(g, index, dim, 0),
        None,
        _cut_grad,
    ),
)
def scatter(xp: Any, x: Array, index: Array, src: Array, dim: int) -> Array:
    """A copy of `x` with out[index[i][j]][j] = src[i][j] for dim 0, and alike for other dims."""
    out = np.array(x, order="C", copy=True)
    check_indices(index, x.shape[dim], dim)
    np.put_along_axis(out, index, _cut(src, index.shape), dim) if _full(index, x, dim) else _assign(
        out, index, dim, src
    )
    return out


def _full(index: Any, x: Any, dim: int) -> bool:
    return all(n == m for d, (n, m) in enumerate(zip(index.shape, x.shape, strict=True)) if d != dim)


def _assign(out: Any, index: Any, dim: int, src: Any) -> None:
    out[along(index, dim)] = _cut(src, index.shape)


@opaque(spec=lambda x, *others, **params: x, grad=(lambda g, index, dim: scatter_fill(g, index, dim, 0), None))
def scatter_fill(xp: Any, x: Array, index: Array, dim: int, value: Any = 0) -> Array:
    """`scatter` of one number."""
    out = np.array(x, order="C", copy=True)
    check_indices(index, x.shape[dim], dim)
    out[along(index, dim)] = value
    return out


@opaque(spec=_scatter_spec, grad=(lambda g: g, None, _cut_grad))
def scatter_add(xp: Any, x: Array, index: Array, src: Array, dim: int) -> Array:
    """A copy of `x` with out[index[i][j]][j] += src[i][j] for dim 0, and alike for other dims."""
    out = np.array(x, order="C", copy=True)
    check_indices(index, x.shape[dim], dim)
    np.add.at(out, along(index, dim), _cut(src, index.shape))
    return out


REDUCERS = {"sum": np.add, "prod": np.multiply, "amax": np.maximum, "amin": np.minimum}


@opaque(spec=lambda x, *others, **params: x)
def scatter_reduce(
    xp: Any, x: Array, index: Array, src: Array, dim: int, reduce: str = "sum", include_self: bool = True
) -> Array:
    """A copy of `x` with `src` combined at `index` by sum, prod, mean, amax or amin."""
    check_indices(index, x.shape[dim], dim)
    at = along(index, dim)
    values = _cut(src, index.shape)
    out = np.array(x, order="C", copy=True)
    if not include_self:
        start = {"sum": 0, "mean": 0, "prod": 1}.get(reduce)
        limits = np.finfo(x.dtype) if x.dtype.kind == "f" else np.iinfo(x.dtype)
        low, high = (-np.inf, np.inf) if x.dtype.kind == "f" else (limits.min, limits.max)
        out[at] = start if start is not None else low if reduce == "amax" else high
    if reduce == "mean":
        number = np.full(x.shape, 1 if include_self else 0, np.int64)
        np.add.at(out, at, values)
        np.add.at(number, at, 1)
        number = np.maximum(number, 1)
        return (out / number).astype(x.dtype) if x.dtype.kind == "f" else out // number
    REDUCERS[reduce].at(out, at, values)
    return out


def _rows_spec(x: Spec, index: Spec, dim: int) -> Spec:
    if len(index.shape) > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    if index.dtype not in (np.int64, np.int32):
        raise RuntimeError("index_select(): Expected dtype int32 or int64 for index")
    n = index.shape[0] if index.shape else 1
    return Spec((*x.shape[:dim], n, *x.shape[dim + 1 :]) if x.shape else (), x.dtype)


@opaque(
    spec=_rows_spec,
    grad=(lambda g, x_spec, index, dim: rows_place(g, index, x_spec.shape, dim), None),
)
def index_select(xp: Any, x: Array, index: Array, dim: int) -> Array:
    """The slices of `x` along `dim` at the positions in the vector `index`."""
    if not x.ndim:
        return x.copy()
    check_indices(index, x.shape[dim], dim)
    return np.take(x, np.atleast_1d(index), dim)


def _rows_place_spec(x: Spec, index: Spec, shape: Ints, dim: int) -> Spec:
    n = index.shape[0] if index.shape else 1
    if shape and x.shape != (*shape[:dim], n, *shape[dim + 1 :]):
        raise ShapeError(f"expected {[*shape[:dim], n, *shape[dim + 1 :]]} for an index of {n}, got {list(x.shape)}")
    return Spec(shape, x.dtype)


@opaque(
    name="IndexAddBackward0",
    spec=_rows_place_spec,
    grad=(lambda g, index, dim: index_select(g, index, dim), None),
)
def rows_place(xp: Any, x: Array, index: Array, shape: Ints, dim: int) -> Array:
    """Zeros of `shape` with slices added at `index` along `dim`: the gradient of `index_select`."""
    if not shape:
        return x.copy()
    out = np.zeros(shape, x.dtype)
    add_rows(np.moveaxis(out, dim, 0), np.atleast_1d(index), np.moveaxis(x, dim, 0))
    return out


def _index_add_spec(x: Spec, index: Spec, source: Spec, dim: int, alpha: float = 1) -> Spec:
    expected = (*x.shape[:dim], index.shape[0] if index.shape else 1, *x.shape[dim + 1 :])
    if x.shape and source.shape != expected:
        raise explain(
            ShapeError("index_add_(): Number of indices should be equal to source.size(dim)"),
            expected=expected,
            received=source.shape,
        )
    return x


@opaque(
    spec=_index_add_spec,
    grad=(lambda g: g, None, lambda g, index, dim, alpha: index_select(g, index, dim) * alpha),
)
def index_add(xp: Any, x: Array, index: Array, source: Array, dim: int, alpha: float = 1) -> Array:
    """A copy of `x` with `alpha * source` added to its slices at `index` along `dim`."""
    check_indices(index, x.shape[dim], dim)
    out = np.array(x, order="C", copy=True)
    values = source if alpha == 1 else source * alpha
    add_rows(np.moveaxis(out, dim, 0), np.atleast_1d(index), np.moveaxis(values, dim, 0))
    return out


@opaque(
    spec=_index_add_spec,
    grad=(
        lambda g, index, dim: index_fill(g, index, dim, 0),
        None,
        lambda g, index, dim: index_select(g, index, dim),
    ),
)
def index_copy(xp: Any, x: Array, index: Array, source: Array, dim: int) -> Array:
    """A copy of `x` with its slices at `index` along `dim` replaced by those of `source`."""
    check_indices(index, x.shape[dim], dim)
    out = np.array(x, order="C", copy=True)
    out[(slice(None),) * dim + (index,)] = source
    return out


@opaque(spec=lambda x, *others, **params: x, grad=(lambda g, index, dim: index_fill(g, index, dim, 0), None))
def index_fill(xp: Any, x: Array, index: Array, dim: int, value: Any = 0) -> Array:
    """A copy of `x` with its slices at `index` along `dim` filled with a number."""
    out = np.array(x, copy=True)
    flat = np.where(index < 0, index + x.shape[dim], index)
    check_indices(flat, x.shape[dim], dim)
    out[(slice(None),) * dim + (flat,)] = value
    return out


@opaque(
    spec=lambda x, index: Spec(index.shape, x.dtype),
    grad=(lambda g, x_spec, index: take_place(g, index, x_spec.shape), None),
)
def take(xp: Any, x: Array, index: Array) -> Array:
    """Elements at row-major positions."""
    if index.size and (index.min() < -x.size or index.max() >= x.size):
        raise IndexError(f"out of range: tried to access index {int(index.max())} on a tensor of {x.size} elements.")
    return x.reshape(-1)[index]


@opaque(spec=lambda x, index, shape: Spec(shape, x.dtype), grad=(lambda g, index: take(g, index), None))
def take_place(xp: Any, x: Array, index: Array, shape: Ints) -> Array:
    """Zeros of `shape` with elements added at row-major positions: the gradient of `take`."""
    out = np.zeros(shape, x.dtype)
    np.add.at(out.reshape(-1), index, x)
    return out


@opaque(
    spec=lambda x, index, source, accumulate: x,
    grad=(
        lambda g, index, accumulate: g if accumulate else put(g, index, take(g, index) * 0, False),
        None,
        lambda g, index: take(g, index),
    ),
)
def put(xp: Any, x: Array, index: Array, source: Array, accumulate: bool = False) -> Array:
    """A copy of `x` with elements written (or added) at row-major positions."""
    out = np.array(x, copy=True, order="C")
    if accumulate:
        np.add.at(out.reshape(-1), index, source)
    else:
        out.reshape(-1)[index] = source
    return out


@opaque(
    spec=lambda x, mask, source: x,
    grad=(
        lambda g, mask: where(mask, g * 0, g),
        None,
        lambda g, source_spec, mask: masked_scatter_source(g, mask, source_spec.shape),
    ),
)
def masked_scatter(xp: Any, x: Array, mask: Array, source: Array) -> Array:
    """A copy of `x` with the elements under the mask taken from `source` in order."""
    where_true = np.broadcast_to(mask, x.shape)
    n = int(np.count_nonzero(where_true))
    if n > source.size:
        raise ShapeError(
            "masked_scatter: expected self and source to have same dtypes and source at least as many elements"
        )
    out = np.array(x, order="C", copy=True)
    out[where_true] = source.reshape(-1)[:n]
    return out


@opaque(spec=lambda g, mask, shape: Spec(shape, g.dtype), grad=(None, None))
def masked_scatter_source(xp: Any, g: Array, mask: Array, shape: Ints) -> Array:
    """The gradient of `masked_scatter` for its source."""
    picked = g[np.broadcast_to(mask, g.shape)]
    out = np.zeros(shape, g.dtype)
    out.reshape(-1)[: picked.size] = picked
    return out


@opaque(grad=(None,))
def nonzero(xp: Any, x: Array) -> Array:
    """The positions of the elements that are not 0, one row each."""
    if not x.ndim:
        return np.zeros((int(bool(x)), 0), np.int64)
    return np.argwhere(x)


# The same with indices that are values of a traced program: operands there, not part of the call.


def _filled(pattern: Position, arrays: Any) -> Position:
    """A pattern with an array in the place of each None."""
    left = iter(arrays)
    return tuple(next(left) if item is None else item for item in pattern)


def _picked(x: Spec, at: tuple[Spec, ...], pattern: Position) -> Ints:
    phantom = np.lib.stride_tricks.as_strided(np.zeros(1, np.bool_), x.shape, (0,) * len(x.shape))
    shape: Ints = phantom[_filled(pattern, (np.zeros(a.shape, np.int64) for a in at))].shape
    return shape


@opaque(
    name="IndexBackward0",
    spec=lambda x, at, pattern: Spec(_picked(x, at, pattern), x.dtype),
    grad=(lambda g, x_spec, at, pattern: index_at_place(g, at, x_spec.shape, pattern), None),
)
def index_at(xp: Any, x: Array, at: Arrays, pattern: Position) -> Array:
    """`x` at integer arrays, one for each None of `pattern`."""
    return np.array(x[_filled(pattern, at)], order="C", copy=True)


@opaque(
    spec=lambda x, at, shape, pattern: Spec(shape, x.dtype),
    grad=(lambda g, at, pattern: index_at(g, at, pattern), None),
)
def index_at_place(xp: Any, x: Array, at: Arrays, shape: Ints, pattern: Position) -> Array:
    """Zeros of `shape` with `x` added at an index: the gradient of `index_at`."""
    out = np.zeros(shape, x.dtype)
    if len(pattern) == 1 and x.ndim > 1:
        return _placed(x, at[0], shape)
    np.add.at(out, _filled(pattern, at), x)
    return out


def _put_at_grad_x(g: Any, at: Any, pattern: Position, accumulate: bool) -> Any:
    return g if accumulate else index_at_put(g, _zero_like(g), at, pattern, False)


@opaque(
    spec=lambda x, value, at, pattern, accumulate: x,
    grad=(
        _put_at_grad_x,
        lambda g, value_spec, at, pattern: sum_to_shape(index_at(g, at, pattern), value_spec.shape),
        None,
    ),
)
def index_at_put(xp: Any, x: Array, value: Array, at: Arrays, pattern: Position, accumulate: bool = False) -> Array:
    """A copy of `x` with `value` written (or added) at an index."""
    out = np.array(x, order="C", copy=True)
    if accumulate:
        np.add.at(out, _filled(pattern, at), value)
    else:
        out[_filled(pattern, at)] = value
    return out
