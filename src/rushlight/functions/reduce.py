"""Reductions, scans, sorting and counting with PyTorch's arguments."""

from __future__ import annotations

import builtins
import math
from collections import namedtuple
from typing import Any

import numpy as np

from rushlight.dtypes import KERNEL_NAMES, dtype, from_np
from rushlight.errors import DTypeError
from rushlight.functions.arithmetic import logical_xor, maximum, minimum
from rushlight.functions.fast import store
from rushlight.functions.reduce_checks import not_empty, refuse_dtype
from rushlight.functions.shape import cast, reshape
from rushlight.layout import wrap_dim
from rushlight.modes import ACTIVE, autocasts, state
from rushlight.ops import linear
from rushlight.ops import reduce as ops
from rushlight.ops.kinds import OPS, normal_dims
from rushlight.spec import Spec
from rushlight.tape import Variable, node_class, record, sync, variable, wrap


def pair(name: str, fields: str = "values indices") -> Any:
    """The named tuple that a function of PyTorch's `return_types` returns."""
    cls = namedtuple(name, fields)  # type: ignore[misc]

    def show(self: Any) -> str:
        parts = ",\n".join(f"{f}={v!r}" for f, v in zip(self._fields, self, strict=True))
        return f"torch.return_types.{name}(\n{parts})"

    cls.__repr__ = show  # type: ignore[method-assign]
    return cls


max_type, min_type, median_type, mode_type, kthvalue_type, sort_type, topk_type, cummax_type, cummin_type = map(
    pair, ("max", "min", "median", "mode", "kthvalue", "sort", "topk", "cummax", "cummin")
)
aminmax_type = pair("aminmax", "min max")


def _finish(result: Any, out: Any) -> Any:
    return result if out is None else store(result, out)


def numpy_names(function: Any) -> Any:
    """Let a function take NumPy's names `axis` and `keepdims` for `dim` and `keepdim`, as PyTorch's do."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            for theirs, ours in (("axis", "dim"), ("keepdims", "keepdim"), ("x", "input"), ("a", "input")):
                if theirs in kwargs:
                    kwargs[ours] = kwargs.pop(theirs)
        return function(*args, **kwargs)

    call.__name__ = call.__qualname__ = function.__name__
    call.__doc__ = function.__doc__
    call.__wrapped__ = function  # type: ignore[attr-defined]
    return call


_FAST = frozenset((np.dtype(np.float32), np.dtype(np.float64)))
_sum_all = node_class(linear.sum)
# A product with ones takes 0.3 us for 256 elements where NumPy's reduction takes 0.8: most of that is its own set-up.
_SHORT = 1024
_ONES = {d: np.ones(_SHORT, d) for d in _FAST}
_ndarray, _add_up, _array, _new = np.ndarray, np.add.reduce, np.array, object.__new__


def sum(
    input: Any, dim: Any = None, keepdim: bool = False, *, dtype: dtype | None = None, out: Any = None,
    axis: Any = None, keepdims: bool = False,
) -> Any:  # fmt: skip
    """Sum of the elements along `dim` (an int, several, or None for all)."""
    x = input._data
    if dim is None is axis and dtype is None is out and not (keepdim or keepdims or ACTIVE) and type(x) is _ndarray:
        if x.dtype in _FAST and x.flags.c_contiguous and x.size < linear.sum.floor:
            return _summed(input, x)
    if dtype is not None:
        input = cast(input, dtype)
    params = {"dim": axis if dim is None else dim, "keepdim": keepdim or keepdims}
    return _finish(record(linear.sum, (input,), params), out)


def _summed(input: Any, x: Any) -> Any:
    """The sum of all elements: `record` without its general bookkeeping."""
    t = _new(variable._plain)
    n = x.size
    t._data = _array(x.ravel().dot(_ONES[x.dtype][:n]) if n <= _SHORT else _add_up(x.ravel()))
    t._counter = [0]
    t._view = t._node = None
    if input._view is not None:
        sync(input)
    edge = input._node
    if edge is not None and state.grad:
        t._node = node = _new(_sum_all)
        node.edges = (edge,)
        node.saved = (Spec(x.shape, x.dtype), None, False)
        node.versions = ()
        node.specs = node.where = node.hooks = node.out_specs = None
    return t


def _floating(input: Any, name: str, wanted: dtype | None) -> Any:
    if wanted is not None:
        input = cast(input, wanted)
    if input._data.dtype.kind in "iub":
        raise DTypeError(
            f"{name}(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. "
            f"Got: {KERNEL_NAMES[input._data.dtype.name]}"
        )
    return input


@numpy_names
def mean(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: dtype | None = None, out: Any = None) -> Any:
    """Arithmetic mean along `dim`, of floating or complex elements."""
    if dtype is not None and dtype.category < 2:
        raise DTypeError(
            "mean(): could not infer output dtype. Optional dtype must be either a floating point or complex dtype. "
            f"Got: {KERNEL_NAMES[dtype.name]}"
        )
    input = _floating(input, "mean", dtype)
    return _finish(record(ops.mean, (input,), {"dim": dim, "keepdim": keepdim}), out)


@numpy_names
def nansum(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: dtype | None = None) -> Any:
    """Sum that takes NaN as 0."""
    return ops.nansum(input if dtype is None else cast(input, dtype), normal_dims(dim, input._data.ndim), keepdim)


@numpy_names
def nanmean(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: dtype | None = None) -> Any:
    """Mean of the elements that are not NaN."""
    return ops.nanmean(input if dtype is None else cast(input, dtype), normal_dims(dim, input._data.ndim), keepdim)


@autocasts("float32")
@numpy_names
def prod(
    input: Any, dim: int | None = None, keepdim: bool = False, *, dtype: dtype | None = None, out: Any = None
) -> Any:
    """Product of the elements along one dim, or of all."""
    if dtype is not None:
        input = cast(input, dtype)
    return _finish(record(ops.prod, (input,), {"dim": dim, "keepdim": keepdim}), out)


def _correction(unbiased: bool | None, correction: Any) -> float:
    if unbiased is not None:
        return 1 if unbiased else 0
    return 1 if correction is None else correction


def _dim_or_unbiased(dim: Any, unbiased: Any) -> tuple[Any, Any]:
    return (None, dim) if isinstance(dim, bool) else (dim, unbiased)


@numpy_names
def var(
    input: Any,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: Any = None,
    out: Any = None,
) -> Any:
    """Variance along `dim`: divisor n - correction, 1 by default."""
    dim, unbiased = _dim_or_unbiased(dim, unbiased)
    input = _only_floating(input, "var")
    return _finish(
        record(ops.var, (input,), {"dim": dim, "correction": _correction(unbiased, correction), "keepdim": keepdim}),
        out,
    )


@numpy_names
def std(
    input: Any,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: Any = None,
    out: Any = None,
) -> Any:
    """Standard deviation along `dim`: the root of `var`."""
    dim, unbiased = _dim_or_unbiased(dim, unbiased)
    input = _only_floating(input, "std")
    return _finish(
        record(ops.std, (input,), {"dim": dim, "correction": _correction(unbiased, correction), "keepdim": keepdim}),
        out,
    )


def _only_floating(input: Any, name: str) -> Any:
    if input._data.dtype.kind in "iub":
        raise DTypeError("std and var only support floating point and complex dtypes")
    return input


@numpy_names
def var_mean(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = None
) -> Any:
    """(variance, mean) along `dim`."""
    dim, unbiased = _dim_or_unbiased(dim, unbiased)
    return var(input, dim, unbiased, keepdim, correction=correction), mean(input, dim, keepdim)


@numpy_names
def std_mean(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = None
) -> Any:
    """(standard deviation, mean) along `dim`."""
    dim, unbiased = _dim_or_unbiased(dim, unbiased)
    return std(input, dim, unbiased, keepdim, correction=correction), mean(input, dim, keepdim)


def _one_dim(input: Any, dim: Any) -> int:
    return wrap_dim(dim, input._data.ndim)


@numpy_names
def max(input: Any, dim: Any = None, keepdim: bool = False, *, out: Any = None) -> Any:
    """The greatest element; with `dim` (values, indices); with a tensor the elementwise maximum."""
    if isinstance(dim, Variable):
        return maximum(input, dim, out=out)
    refuse_dtype("max_all" if dim is None else "max_dim", input, dim)
    if dim is None:
        return _finish(record(ops.max_all, (input,), {"dim": None}), out)
    return _two(max_type, record(ops.max_dim, (input,), {"dim": not_empty("max", input, dim), "keepdim": keepdim}), out)


@numpy_names
def min(input: Any, dim: Any = None, keepdim: bool = False, *, out: Any = None) -> Any:
    """The smallest element; with `dim` (values, indices); with a tensor the elementwise minimum."""
    if isinstance(dim, Variable):
        return minimum(input, dim, out=out)
    refuse_dtype("min_all" if dim is None else "min_dim", input, dim)
    if dim is None:
        return _finish(record(ops.min_all, (input,), {"dim": None}), out)
    return _two(min_type, record(ops.min_dim, (input,), {"dim": not_empty("min", input, dim), "keepdim": keepdim}), out)


def _two(cls: Any, results: Any, out: Any) -> Any:
    return cls(*results) if out is None else cls(*(store(r, o) for r, o in zip(results, out, strict=True)))


@numpy_names
def amax(input: Any, dim: Any = (), keepdim: bool = False, *, out: Any = None) -> Any:
    """The greatest element along `dim`; equal ones share the gradient."""
    refuse_dtype("amax", input, dim)
    return _finish(record(ops.amax, (input,), {"dim": dim, "keepdim": keepdim}), out)


@numpy_names
def amin(input: Any, dim: Any = (), keepdim: bool = False, *, out: Any = None) -> Any:
    """The smallest element along `dim`; equal ones share the gradient."""
    refuse_dtype("amin", input, dim)
    return _finish(record(ops.amin, (input,), {"dim": dim, "keepdim": keepdim}), out)


def aminmax(input: Any, *, dim: int | None = None, keepdim: bool = False) -> Any:
    """(smallest, greatest) along `dim`."""
    refuse_dtype("aminmax", input, dim)
    if dim is None and not input._data.size:
        raise RuntimeError(
            "aminmax(): cannot compute aminmax over an empty dimension as the operation has no identity."
        )
    return aminmax_type(
        amin(input, () if dim is None else dim, keepdim), amax(input, () if dim is None else dim, keepdim)
    )


@numpy_names
def argmax(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """Position of the greatest element along `dim`, or in row-major order of all."""
    refuse_dtype("argmax", input)
    d = None if dim is None else not_empty("argmax", input, dim)
    if dim is None and not input._data.size:
        raise IndexError("argmax(): Expected reduction dim to be specified for input.numel() == 0.")
    return record(ops.argmax, (input,), {"dim": d, "keepdim": keepdim})


@numpy_names
def argmin(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """Position of the smallest element along `dim`, or in row-major order of all."""
    refuse_dtype("argmin", input)
    d = None if dim is None else not_empty("argmin", input, dim)
    if dim is None and not input._data.size:
        raise IndexError("argmin(): Expected reduction dim to be specified for input.numel() == 0.")
    return record(ops.argmin, (input,), {"dim": d, "keepdim": keepdim})


@numpy_names
def all(input: Any, dim: Any = None, keepdim: bool = False, *, out: Any = None) -> Any:
    """Whether all elements along `dim` are non-zero."""
    return _finish(record(ops.all, (input,), {"dim": dim, "keepdim": keepdim}), out)


@numpy_names
def any(input: Any, dim: Any = None, keepdim: bool = False, *, out: Any = None) -> Any:
    """Whether any element along `dim` is non-zero."""
    return _finish(record(ops.any, (input,), {"dim": dim, "keepdim": keepdim}), out)


@numpy_names
def count_nonzero(input: Any, dim: Any = None) -> Any:
    """How many elements along `dim` are not 0."""
    return record(ops.count_nonzero, (input,), {"dim": dim})


@numpy_names
def norm(
    input: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, *, dtype: dtype | None = None, out: Any = None
) -> Any:
    """The p-norm of the elements along `dim`; "fro" is 2, "nuc" the sum of singular values."""
    if dtype is not None:
        input = cast(input, dtype)
    if input._data.dtype.kind in "biu":
        name = "linalg.matrix_norm" if p == "nuc" else "linalg.vector_norm"
        raise DTypeError(
            f"{name}: Expected a floating point or complex tensor as input. Got {KERNEL_NAMES[input._data.dtype.name]}"
        )
    if p == "nuc":
        return record(OPS["svdvals"], (input,), {}).sum(-1, keepdim)
    if isinstance(p, str) and p != "fro":
        raise RuntimeError(f"only valid string values are 'fro' and 'nuc', found {p}")
    return _finish(
        record(
            ops.vector_norm, (input,), {"p": 2.0 if p in ("fro", None) else float(p), "dim": dim, "keepdim": keepdim}
        ),
        out,
    )


def dist(input: Any, other: Any, p: float = 2) -> Any:
    """The p-norm of input - other."""
    return norm(input - other, p)


@numpy_names
def median(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower median of all elements, or (values, indices) along `dim`."""
    return _median(input, dim, keepdim, False)


def nanmedian(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """`median` of the elements that are not NaN."""
    return _median(input, dim, keepdim, True)


def _median(input: Any, dim: int | None, keepdim: bool, skip_nan: bool) -> Any:
    refuse_dtype("median" if dim is None else "median_dim", input, dim)
    if dim is None:
        flat = reshape(input, -1)
        if not flat._data.size:
            return wrap(np.asarray(math.nan if flat._data.dtype.kind == "f" else 0, flat._data.dtype))
        return record(ops.median_dim, (flat,), {"dim": 0, "keepdim": False, "skip_nan": skip_nan})[0]
    return median_type(
        *record(
            ops.median_dim, (input,), {"dim": not_empty("median", input, dim), "keepdim": keepdim, "skip_nan": skip_nan}
        )
    )


def mode(input: Any, dim: int = -1, keepdim: bool = False) -> Any:
    """(most frequent elements, positions) along `dim`."""
    refuse_dtype("mode", input, dim)
    return mode_type(*record(ops.mode_dim, (input,), {"dim": not_empty("mode", input, dim), "keepdim": keepdim}))


def kthvalue(input: Any, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """(k-th smallest elements, positions) along `dim`."""
    d = not_empty("kthvalue", input, dim)
    n = input._data.shape[d] if input._data.ndim else 1
    if not 1 <= k <= n:
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {d}")
    refuse_dtype("kthvalue", input)
    return kthvalue_type(*record(ops.kth_dim, (input,), {"dim": d, "keepdim": keepdim, "k": k}))


@numpy_names
def sort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False, *, out: Any = None) -> Any:
    """(elements in order along `dim`, where they came from)."""
    refuse_dtype("sort", input, dim)
    return _two(sort_type, record(ops.sort_dim, (input,), {"dim": _one_dim(input, dim), "descending": descending}), out)


def msort(input: Any) -> Any:
    """Elements in order along dim 0."""
    return sort(input, 0)[0]


@numpy_names
def argsort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """The positions that sort along `dim`."""
    return sort(input, dim, descending)[1]


def topk(input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True, *, out: Any = None) -> Any:
    """(the k greatest elements along `dim` in order, where they are)."""
    return _two(
        topk_type, record(ops.topk_dim, (input,), {"k": k, "dim": _one_dim(input, dim), "largest": largest}), out
    )


def _scanned(input: Any, wanted: dtype | None) -> Any:
    if wanted is not None:
        return cast(input, wanted)
    return cast(input, from_np(np.dtype(np.int64))) if input._data.dtype.kind in "biu" else input


@numpy_names
def cumsum(input: Any, dim: int, *, dtype: dtype | None = None, out: Any = None) -> Any:
    """Running sum along `dim`."""
    params = {"dim": _one_dim(input, dim), "reverse": False}
    return _finish(record(ops.cumsum, (_scanned(input, dtype),), params), out)


@numpy_names
def cumprod(input: Any, dim: int, *, dtype: dtype | None = None, out: Any = None) -> Any:
    """Running product along `dim`."""
    return _finish(record(ops.cumprod, (_scanned(input, dtype),), {"dim": _one_dim(input, dim)}), out)


def cummax(input: Any, dim: int) -> Any:
    """(running maximum along `dim`, where it is)."""
    refuse_dtype("cummax", input, dim)
    return cummax_type(*record(ops.cummax, (input,), {"dim": _one_dim(input, dim)}))


def cummin(input: Any, dim: int) -> Any:
    """(running minimum along `dim`, where it is)."""
    refuse_dtype("cummin", input, dim)
    return cummin_type(*record(ops.cummin, (input,), {"dim": _one_dim(input, dim)}))


@numpy_names
def logcumsumexp(input: Any, dim: int) -> Any:
    """Logarithm of the running sum of exponentials along `dim`."""
    refuse_dtype("logcumsumexp", input, dim)
    return record(ops.logcumsumexp, (input,), {"dim": _one_dim(input, dim)})


def diff(input: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """n-th differences of neighbours along `dim`."""
    if not input._data.ndim:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    d = _one_dim(input, dim)
    parts = [x for x in (prepend, input, append) if x is not None]
    x = linear.cat(parts, d) if len(parts) > 1 else input
    for _ in range(n):
        size = x._data.shape[d]
        lead = (slice(None),) * d
        after, before = x[(*lead, slice(1, None))], x[(*lead, slice(0, builtins.max(size - 1, 0)))]
        x = logical_xor(after, before) if x._data.dtype.kind == "b" else after - before
    return x


def unique(
    input: Any, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The distinct elements (or slices along `dim`), with positions and counts if asked."""
    refuse_dtype("unique", input)
    values, inverse, counts = np.unique(input._data, return_inverse=True, return_counts=True, axis=dim)
    chosen = record(ops.unique2 if dim is None else ops.unique_dim, (input,), {"values": values})
    return _chosen(
        chosen, inverse.reshape(input._data.shape if dim is None else (-1,)), counts, return_inverse, return_counts
    )


def _chosen(values: Any, inverse: Any, counts: Any, with_inverse: bool, with_counts: bool) -> Any:
    out = [values]
    if with_inverse:
        out.append(wrap(inverse.copy()))
    if with_counts:
        out.append(wrap(counts))
    return out[0] if len(out) == 1 else tuple(out)


def unique_consecutive(
    input: Any, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """Elements (or slices along `dim`) with repeats of their predecessor left out."""
    refuse_dtype("unique", input)
    x = input._data.reshape(-1) if dim is None else np.moveaxis(input._data, dim, 0)
    n = x.shape[0]
    if not n:
        starts = np.zeros(0, bool)
    else:
        changed = (x[1:] != x[:-1]).any(tuple(range(1, x.ndim)))
        starts = np.concatenate([[True], changed])
    where = np.flatnonzero(starts)
    values = x[where] if dim is None else np.ascontiguousarray(np.moveaxis(x[where], 0, dim))
    inverse = np.cumsum(starts) - 1
    counts = np.diff(np.append(where, n))
    chosen = record(ops.unique_consecutive, (input,), {"values": values})
    return _chosen(
        chosen, inverse.reshape(input._data.shape) if dim is None else inverse, counts, return_inverse, return_counts
    )


def bincount(input: Any, weights: Any = None, minlength: int = 0) -> Any:
    """How often each non-negative integer occurs, or the sum of its weights."""
    return record(ops.bincount, (input, weights), {"minlength": minlength})


def histc(input: Any, bins: int = 100, min: float = 0, max: float = 0) -> Any:
    """Counts in `bins` equal bins of min..max (the data's range if both are 0)."""
    x = input._data
    low, high = (min, max) if min != max else (float(x.min()), float(x.max()))
    if low == high:
        low, high = low - 1, high + 1
    counts, _ = np.histogram(x[(x >= low) & (x <= high)], bins, (low, high))
    return wrap(counts.astype(x.dtype))


def histogram(input: Any, bins: Any, *, range: Any = None, weight: Any = None, density: bool = False) -> Any:
    """(counts, bin edges) of a histogram."""
    edges = bins._data if isinstance(bins, Variable) else bins
    counts, at = np.histogram(input._data, edges, range, density, None if weight is None else weight._data)
    return histogram_type(wrap(counts.astype(input._data.dtype)), wrap(at.astype(input._data.dtype)))


histogram_type = pair("histogram", "hist bin_edges")


def searchsorted(
    sorted_sequence: Any, input: Any, *, out_int32: bool = False, right: bool = False, side: str | None = None
) -> Any:
    """Where each element would be inserted to keep the sequence sorted."""
    x = input if isinstance(input, Variable) else wrap(np.asarray(input, sorted_sequence._data.dtype))
    result = record(ops.searchsorted, (sorted_sequence, x), {"right": right or side == "right"})
    return wrap(result._data.astype(np.int32)) if out_int32 else result


def bucketize(input: Any, boundaries: Any, *, out_int32: bool = False, right: bool = False) -> Any:
    """The bucket between `boundaries` that each element falls into."""
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


@autocasts("float32")
def quantile(
    input: Any, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Any:
    """The q-quantiles along `dim`, by interpolation between neighbours in order."""
    if input._data.dtype not in _FAST:
        raise RuntimeError("quantile() input tensor must be either float or double dtype")
    x = reshape(input, -1) if dim is None else input
    d = _one_dim(x, -1 if dim is None else dim)
    points = np.atleast_1d(q._data if isinstance(q, Variable) else np.asarray(q, x._data.dtype))
    if points.size and (points.min() < 0 or points.max() > 1):
        raise RuntimeError("quantile() q values must be in the range [0, 1]")
    ordered = sort(x, d)[0]
    n = x._data.shape[d]
    at = points.astype(np.float64) * (n - 1)
    low, high = np.floor(at).astype(np.int64), np.ceil(at).astype(np.int64)
    picks = []
    for a, lo, hi in zip(at, low, high, strict=True):
        below, above = _slice_at(ordered, d, int(lo)), _slice_at(ordered, d, int(hi))
        choice = {"lower": below, "higher": above, "midpoint": (below + above) * 0.5}
        picks.append(
            choice.get(interpolation, below + (above - below) * float(a - lo))
            if interpolation != "nearest"
            else _slice_at(ordered, d, int(np.rint(a)))
        )
    if keepdim:
        picks = (
            [p.unsqueeze(d) for p in picks] if dim is not None else [reshape(p, (1,) * input._data.ndim) for p in picks]
        )
    scalar = (q._data.ndim if isinstance(q, Variable) else np.ndim(q)) == 0
    return picks[0] if scalar else linear.stack(picks, 0)


def _slice_at(x: Any, dim: int, i: int) -> Any:
    return x[(slice(None),) * dim + (i,)]


@autocasts("float32")
def trace(input: Any) -> Any:
    """Sum of the diagonal of a matrix."""
    if input._data.ndim != 2:
        raise RuntimeError("trace: expected a matrix")
    return sum(linear.diagonal(input))


def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Any:
    """Whether each element occurs among the test elements."""
    a, b = (x._data if isinstance(x, Variable) else np.asarray(x) for x in (elements, test_elements))
    return wrap(np.asarray(np.isin(a, b, assume_unique, invert)))


def cov(input: Any, *, correction: int = 1) -> Any:
    """Covariance matrix of variables in rows."""
    x = input.reshape(1, -1) if input._data.ndim < 2 else input
    centered = x - mean(x, 1, True)
    result = (centered @ centered.T.conj()) / (x._data.shape[1] - correction)
    return result.squeeze() if input._data.ndim < 2 else result


def corrcoef(input: Any) -> Any:
    """Correlation matrix of variables in rows."""
    c = cov(input)
    d = linear.diagonal(c).sqrt()
    return c / d[:, None] / d[None, :]
