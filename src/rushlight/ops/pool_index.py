"""Pooling by index: maxima of uneven windows, and reading from or writing to flat positions of planes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rushlight.errors import ShapeError
from rushlight.ops.kinds import Array, opaque
from rushlight.ops.pool import adaptive_edges
from rushlight.spec import Spec

Ints = tuple[int, ...]


def _rows(x: Any, n: int) -> Any:
    """x as [planes, positions]."""
    lead = x.shape[: x.ndim - n]
    return x.reshape(math.prod(lead), math.prod(x.shape[x.ndim - n :]))


@opaque(
    spec=lambda x, index, n: Spec(index.shape, x.dtype),
    grad=(lambda g, x_spec, index, n: plane_scatter(g, index, x_spec.shape[len(x_spec.shape) - n :]), None),
    follows=1,
)
def plane_gather(xp: Any, x: Array, index: Array, n: int = 2) -> Array:
    """Elements of x at flat positions of the planes that its last n dims are."""
    return np.take_along_axis(_rows(x, n), _rows(index, n), axis=1).reshape(index.shape)


@opaque(
    spec=lambda g, index, size: Spec((*g.shape[: g.ndim - len(size)], *size), g.dtype),
    grad=(lambda g, index, size: plane_gather(g, index, len(size)), None),
    follows=1,
)
def plane_scatter(xp: Any, x: Array, index: Array, size: Ints) -> Array:
    """Elements of x added up at flat positions of zero planes of `size`: the transpose of `plane_gather`."""
    n = len(size)
    rows = _rows(x, n)
    positions = math.prod(size)
    wide = np.float32 if x.dtype.itemsize == 2 and x.dtype.kind in "fV" else x.dtype
    out = np.zeros(len(rows) * positions, wide)
    at = _rows(index, n) + np.arange(0, len(rows) * positions, max(1, positions))[: len(rows), None]
    np.add.at(out, at.reshape(-1), rows.reshape(-1).astype(wide, copy=False))
    return out.astype(x.dtype, copy=False).reshape(*x.shape[: x.ndim - n], *size)


def _unpool_spec(x: Spec, index: Spec, size: Ints) -> Spec:
    if index.dtype != np.int64:
        raise ShapeError(f"elements in indices should be type int64 but got: {_index_name(index.dtype)}")
    if index.shape != x.shape:
        raise ShapeError(
            f"Expected shape of indices to be same as that of the input tensor ({list(x.shape)}) "
            f"but got indices tensor with shape: {list(index.shape)}"
        )
    return Spec((*x.shape[: x.ndim - len(size)], *size), x.dtype)


def _index_name(dtype: Any) -> str:
    names = {"int32": "Int", "int16": "Short", "int8": "Char", "uint8": "Byte", "float32": "Float"}
    return names.get(dtype.name, str(dtype.name))


def _declare_unpool(n: int) -> Any:
    def max_unpool(xp: Any, x: Array, index: Array, size: Ints) -> Array:
        rows, at = _rows(x, n), _rows(index, n)
        positions = math.prod(size)
        wrong = (at < 0) | (at >= positions)
        if wrong.any():
            sizes = "x".join(map(str, size))
            raise RuntimeError(f"Found an invalid max index: {at[wrong][0]} (output volumes are of size {sizes})")
        out = np.zeros((len(rows), positions), x.dtype)
        np.put_along_axis(out, at, rows, axis=1)
        return out.reshape(*x.shape[: x.ndim - n], *size)

    max_unpool.__name__ = f"max_unpool{n}d"
    max_unpool.__doc__ = (
        f"Zero planes of `size` with the elements of x at flat positions, the last {n} dims being planes."
    )
    grad = (lambda g, index, size: plane_gather(g, index, len(size)), None)
    return opaque(name=f"MaxUnpool{n}DBackward0", spec=_unpool_spec, grad=grad, follows=n == 2)(max_unpool)


max_unpool2d = _declare_unpool(2)
max_unpool3d = _declare_unpool(3)


def _first_max(window: Any) -> Any:
    """Position of the maximum along the last axis: the first of equals, the last NaN."""
    best = window.argmax(axis=-1)
    if window.dtype.kind != "f":
        return best
    nan = np.isnan(window)
    if not nan.any():
        return best
    last = window.shape[-1] - 1 - nan[..., ::-1].argmax(axis=-1)
    return np.where(nan.any(axis=-1), last, best)


def _max_of_regions(x: Any, edges: list[list[tuple[int, int]]]) -> tuple[Any, Any]:
    """Maximum and its flat position of each product of ranges, one per dim, over the last dims of x."""
    n = len(edges)
    size = x.shape[x.ndim - n :]
    lead = x.shape[: x.ndim - n]
    shape = (*lead, *(len(e) for e in edges))
    values = np.empty(shape, x.dtype)
    index = np.empty(shape, np.int64)
    wide = x.astype(np.float32) if x.dtype.itemsize == 2 and x.dtype.kind in "fV" else x
    positions = np.arange(math.prod(size)).reshape(size)
    for place in np.ndindex(shape[len(lead) :]):
        region = tuple(slice(*edges[dim][i]) for dim, i in enumerate(place))
        window = wide[..., *region].reshape(*lead, -1)
        best = _first_max(window)
        values[..., *place] = np.take_along_axis(window, best[..., None], axis=-1)[..., 0]
        index[..., *place] = positions[region].reshape(-1)[best]
    return values, index


def _adaptive_max_spec(x: Spec, output_size: Ints) -> tuple[Spec, Spec]:
    shape = (*x.shape[: x.ndim - len(output_size)], *output_size)
    if min(output_size) < 0:
        raise ShapeError(f"Trying to create tensor with negative dimension {min(output_size)}: {list(shape)}")
    return Spec(shape, x.dtype), Spec(shape, np.dtype(np.int64))


def _indexed_formula(g: Any, x_spec: Spec, out: Any, output_size: Ints) -> Any:
    return plane_scatter(g[0], out[1], x_spec.shape[len(x_spec.shape) - len(output_size) :])


def _declare_adaptive_max_pool(n: int) -> Any:
    def adaptive_max_pool(xp: Any, x: Array, output_size: Ints) -> tuple[Array, Array]:
        size = x.shape[x.ndim - n :]
        return _max_of_regions(x, [adaptive_edges(a, b) for a, b in zip(size, output_size, strict=True)])

    adaptive_max_pool.__name__ = f"adaptive_max_pool{n}d"
    adaptive_max_pool.__doc__ = f"Maxima of `output_size` parts of the last {n} dims of x, and their flat positions."
    declare = opaque(
        name=f"AdaptiveMaxPool{n}DBackward0", spec=_adaptive_max_spec, grad=_indexed_formula, follows=n == 2
    )
    return declare(adaptive_max_pool)


adaptive_max_pool2d = _declare_adaptive_max_pool(2)
adaptive_max_pool3d = _declare_adaptive_max_pool(3)


def fractional_starts(sample: float, n: int, count: int, kernel: int, real: Any = np.float64) -> list[int]:
    """Where the windows of fractional pooling start: a random sequence of steps of two neighbouring lengths [1]_.

    References
    ----------
    .. [1] B. Graham, "Fractional Max-Pooling", 2014.
    """
    if count < 2:
        return [n - kernel] * count
    alpha = real(n - kernel) / real(count - 1)
    draw = real(sample)
    first = int(draw * alpha)
    return [int((real(i) + draw) * alpha) - first for i in range(count - 1)] + [n - kernel]


def _fractional_spec(x: Spec, samples: Spec, kernel: Ints, output_size: Ints) -> tuple[Spec, Spec]:
    shape = (*x.shape[: x.ndim - len(kernel)], *output_size)
    return Spec(shape, x.dtype), Spec(shape, np.dtype(np.int64))


def _fractional_formula(g: Any, x_spec: Spec, out: Any, output_size: Ints) -> Any:
    return plane_scatter(g[0], out[1], x_spec.shape[len(x_spec.shape) - len(output_size) :])


def _declare_fractional(n: int) -> Any:
    def fractional_max_pool(xp: Any, x: Array, samples: Array, kernel: Ints, output_size: Ints) -> tuple[Array, Array]:
        lead, size = x.shape[: x.ndim - n], x.shape[x.ndim - n :]
        planes = x.reshape(-1, *size)
        real = np.float64 if x.dtype == np.float64 else np.float32
        # PyTorch's samples of planes start with the last dim, those of volumes with the first
        draws = samples.reshape(-1, n)[:, :: 1 if n == 3 else -1]
        values = np.empty((len(planes), *output_size), x.dtype)
        index = np.empty(values.shape, np.int64)
        for i, plane in enumerate(planes):
            edges = []
            for dim in range(n):
                starts = fractional_starts(draws[i, dim], size[dim], output_size[dim], kernel[dim], real)
                edges.append([(start, start + kernel[dim]) for start in starts])
            values[i], index[i] = _max_of_regions(plane, edges)
        return values.reshape(*lead, *output_size), index.reshape(*lead, *output_size)

    fractional_max_pool.__name__ = f"fractional_max_pool{n}d"
    fractional_max_pool.__doc__ = f"Maxima of windows at random steps over the last {n} dims, and their flat positions."
    declare = opaque(name=f"FractionalMaxPool{n}DBackward0", spec=_fractional_spec, grad=(_fractional_formula, None))
    return declare(fractional_max_pool)


fractional_max_pool2d = _declare_fractional(2)
fractional_max_pool3d = _declare_fractional(3)
