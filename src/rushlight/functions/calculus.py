"""Integrals and differences of samples, and other functions made of simpler ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.functions.arithmetic import isnan
from rushlight.functions.indexing import getitem, scatter_reduce
from rushlight.functions.reduce import cumsum, quantile, sum
from rushlight.functions.shape import expand, movedim, narrow, reshape, stack, unsqueeze
from rushlight.layout import wrap_dim
from rushlight.tape import Variable, wrap


def _pieces(y: Any, x: Any, dx: Any, dim: int) -> Any:
    """The areas of the trapezoids between neighbouring samples along `dim`."""
    d = wrap_dim(dim, y._data.ndim)
    n = y._data.shape[d]
    if n == 0:
        return y
    pairs = narrow(y, d, 1, n - 1) + narrow(y, d, 0, n - 1)
    if x is None:
        return pairs * (dx / 2)
    widths = narrow(x, -1, 1, n - 1) - narrow(x, -1, 0, n - 1) if x._data.ndim == 1 else None
    if widths is None:
        widths = narrow(x, d, 1, n - 1) - narrow(x, d, 0, n - 1)
    else:
        widths = reshape(widths, (-1,) + (1,) * (y._data.ndim - d - 1))
    return pairs * widths / 2


def trapezoid(y: Any, x: Any = None, *, dx: Any = 1, dim: int = -1) -> Any:
    """The integral of samples along `dim` by the trapezoidal rule.

    Examples
    --------
    >>> torch.trapezoid(torch.tensor([1.0, 2.0, 3.0]))
    tensor(4.)
    """
    return sum(_pieces(y, x, dx, dim), dim)


trapz = trapezoid


def cumulative_trapezoid(y: Any, x: Any = None, *, dx: Any = 1, dim: int = -1) -> Any:
    """The running integral of samples along `dim` by the trapezoidal rule."""
    return cumsum(_pieces(y, x, dx, dim), dim)


def gradient(input: Any, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1) -> tuple[Any, ...]:
    """Central differences along each of `dim`, one-sided at the ends.

    Examples
    --------
    >>> torch.gradient(torch.tensor([1.0, 2.0, 4.0, 8.0]))
    (tensor([1.0000, 1.5000, 3.0000, 4.0000]),)
    """
    if edge_order != 1:
        raise NotImplementedError("gradient(): only edge_order=1 is supported")
    n = input._data.ndim
    dims = range(n) if dim is None else (dim,) if isinstance(dim, int) else dim
    steps = list(spacing) if isinstance(spacing, (list, tuple)) else [spacing] * len(dims)
    return tuple(_slope(input, wrap_dim(d, n), step) for d, step in zip(dims, steps, strict=True))


def _slope(x: Any, d: int, step: Any) -> Any:
    x = movedim(x, d, 0)
    n = x._data.shape[0]
    if n < 2:
        raise RuntimeError("torch.gradient expected each dimension size to be at least edge_order+1")
    at = step if isinstance(step, Variable) else wrap(np.arange(n) * float(step)).to(x.dtype)
    at = reshape(at, (-1,) + (1,) * (x._data.ndim - 1))
    ends = [(x[i + 1] - x[i]) / (at[i + 1] - at[i]) for i in (0, n - 2)]
    left, right = at[1:-1] - at[:-2], at[2:] - at[1:-1]
    slopes = (x[1:-1] - x[:-2]) / left, (x[2:] - x[1:-1]) / right
    inner = (slopes[0] * right + slopes[1] * left) / (left + right)
    return movedim(stack([ends[0], *inner.unbind(0), ends[1]]), 0, d)


def nanquantile(
    input: Any, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Any:
    """`quantile` of the elements that are not NaN."""
    flat = reshape(input, -1) if dim is None else movedim(input, dim, -1)
    rows = reshape(flat, (-1, flat._data.shape[-1]))
    found = []
    for row in rows.unbind(0):
        kept = getitem(row, ~isnan(row))
        found.append(quantile(kept if kept._data.size else row[:1], q, interpolation=interpolation))
    result = reshape(stack(found, -1), (*found[0]._data.shape, *flat._data.shape[:-1]))
    if keepdim:
        lead = found[0]._data.ndim
        where_to = tuple(range(input._data.ndim)) if dim is None else (wrap_dim(dim, input._data.ndim),)
        for d in where_to:
            result = unsqueeze(result, d + lead)
    return result


def frexp(input: Any) -> tuple[Any, Any]:
    """(mantissa, exponent) with input = mantissa * 2**exponent and 0.5 <= |mantissa| < 1."""
    if input._data.dtype.kind != "f":
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    mantissa, exponent = np.frexp(input._data)
    return wrap(np.asarray(mantissa)), wrap(np.asarray(exponent, np.int32))


def unravel_index(indices: Any, shape: Any) -> tuple[Any, ...]:
    """The coordinates in an array of `shape` of positions in row-major order."""
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    return tuple(wrap(np.asarray(a)) for a in np.unravel_index(indices._data, sizes))


def index_reduce(input: Any, dim: int, index: Any, source: Any, reduce: str, *, include_self: bool = True) -> Any:
    """A copy with slices of `source` combined into those at `index` by prod, mean, amax or amin."""
    d = wrap_dim(dim, input._data.ndim)
    shape = (1,) * d + (-1,) + (1,) * (input._data.ndim - d - 1)
    positions = expand(reshape(index, shape), source._data.shape)
    return scatter_reduce(input, d, positions, source, reduce, include_self=include_self)


def nonzero_static(input: Any, *, size: int, fill_value: int = -1) -> Any:
    """The first `size` rows of `nonzero`, filled up with `fill_value`."""
    found = np.argwhere(input._data)[:size]
    out = np.full((size, input._data.ndim), fill_value, np.int64)
    out[: len(found)] = found
    return wrap(out)
