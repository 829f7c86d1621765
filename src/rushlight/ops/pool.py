"""Pooling: maxima with codes or indices, averages, and the linear maps that are their gradients."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from rushlight.backends import numpy_pool
from rushlight.backends.numpy_pool import Windows
from rushlight.backends.precision import narrow, widen
from rushlight.errors import ShapeError, explain
from rushlight.ops.kinds import Array, opaque
from rushlight.spec import Spec

Ints = tuple[int, ...]

_windows = lru_cache(256)(Windows)


def pooled_size(size: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil_mode: bool) -> Ints:
    """Number of windows in each dim; with `ceil_mode` the last may hang over if it starts before the end."""
    out = []
    for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
        reach = n + 2 * p - d * (k - 1) - 1
        count = (reach + (s - 1 if ceil_mode else 0)) // s + 1
        if ceil_mode and (count - 1) * s >= n + p:
            count -= 1
        out.append(count)
    return tuple(out)


def _check_window(x: Spec, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil_mode: bool) -> Ints:
    """The number of windows in each dim, or PyTorch's errors."""
    n = len(kernel)
    if min(stride) <= 0:
        raise ShapeError("stride should not be zero")
    if min(kernel) <= 0:
        raise ShapeError(f"kernel size should be greater than zero, but got {_named('k', kernel)}")
    if min(dilation) <= 0:
        raise ShapeError(f"dilation should be greater than zero, but got {_named('dilation', dilation)}")
    for k, p, d in zip(kernel, padding, dilation, strict=True):
        if p < 0:
            raise ShapeError(f"pad must be non-negative, but got pad: {p}")
        if p > ((k - 1) * d + 1) // 2:
            raise ShapeError(
                "pad should be at most half of effective kernel size, but got "
                f"pad={p}, kernel_size={k} and dilation={d}"
            )
    size = x.shape[x.ndim - n :]
    made = pooled_size(size, kernel, stride, padding, dilation, ceil_mode)
    if min(made) < 1:
        channels = x.shape[x.ndim - n - 1]
        raise explain(
            ShapeError(
                f"Given input size: ({_cross((channels, *size))}). Calculated output size: "
                f"({_cross((channels, *made))}). "
                "Output size is too small"
            ),
            expected=f"input of at least {_cross(_reach(kernel, dilation))}",
            received=f"input {list(x.shape)}, padding {list(padding)}",
        )
    return made


def _reach(kernel: Ints, dilation: Ints) -> Ints:
    return tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))


def _cross(sizes: Ints) -> str:
    return "x".join(map(str, sizes))


def _named(what: str, values: Ints) -> str:
    return " ".join(f"{what}{letter}: {v}" for letter, v in zip("THW"[-len(values) :], values, strict=True))


def pool_windows(size: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil_mode: bool) -> Windows:
    """The windows of a pooling over planes of `size`."""
    return _windows(
        size, pooled_size(size, kernel, stride, padding, dilation, ceil_mode), kernel, stride, padding, dilation
    )


def _windows_of(x: Any, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil_mode: bool) -> Windows:
    return pool_windows(x.shape[len(x.shape) - len(kernel) :], kernel, stride, padding, dilation, ceil_mode)


def _max_spec(x: Spec, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil_mode: bool) -> tuple[Spec, Spec]:
    made = _check_window(x, kernel, stride, padding, dilation, ceil_mode)
    shape = (*x.shape[: x.ndim - len(kernel)], *made)
    return Spec(shape, x.dtype), Spec(shape, np.min_scalar_type(math.prod(kernel) - 1))


def _max_formula(
    g: Any, x_spec: Spec, out: Any, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil_mode: bool
) -> Any:
    return max_pool_grad(g[0], out[1], _windows_of(x_spec, kernel, stride, padding, dilation, ceil_mode))


def _declare_max_pool(n: int) -> Any:
    def max_pool(
        xp: Any, x: Array, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil_mode: bool = False
    ) -> tuple[Array, Array]:
        windows = _windows_of(x, kernel, stride, padding, dilation, ceil_mode)
        (wide,) = widen(x)
        values, codes = numpy_pool.max_pool(wide, windows)
        return narrow(values, x.dtype), codes

    max_pool.__name__ = f"max_pool{n}d_with_codes"
    max_pool.__doc__ = f"Maximum of each window over the last {n} dims of x, and the number of its place in the window."
    return opaque(name=f"MaxPool{n}DWithIndicesBackward0", spec=_max_spec, grad=_max_formula, follows=1)(max_pool)


max_pool2d_with_codes = _declare_max_pool(2)
max_pool3d_with_codes = _declare_max_pool(3)


def _check_pooled(shape: Ints, windows: Windows) -> None:
    """Raise unless an array of that shape has a value for each window."""
    n = len(windows.kernel)
    if len(shape) < n or shape[len(shape) - n :] != windows.output_size:
        raise explain(
            ShapeError(f"gradient of pooling: expected the last {n} dims to be {list(windows.output_size)}"),
            received=list(shape),
        )


def _plane_spec(g: Spec, codes: Spec, windows: Windows) -> Spec:
    _check_pooled(g.shape, windows)
    if codes.shape != g.shape:
        raise ShapeError(f"gradient of max pooling: expected codes {list(g.shape)}, received {list(codes.shape)}")
    return Spec((*g.shape[: g.ndim - len(windows.kernel)], *windows.input_size), g.dtype)


@opaque(spec=_plane_spec, grad=(lambda g, codes, windows: max_pool_pick(g, codes, windows), None), follows=1)
def max_pool_grad(xp: Any, g_out: Array, codes: Array, windows: Windows) -> Array:
    """The gradient of max pooling: each window's gradient at the place of its maximum."""
    (wide,) = widen(g_out)
    return narrow(numpy_pool.max_pool_gradient(wide, codes, windows), g_out.dtype)


@opaque(
    spec=lambda x, codes, windows: Spec(codes.shape, x.dtype),
    grad=(lambda g, codes, windows: max_pool_grad(g, codes, windows), None),
    follows=1,
)
def max_pool_pick(xp: Any, x: Array, codes: Array, windows: Windows) -> Array:
    """The element of each window that its code names: the transpose of `max_pool_grad`."""
    return numpy_pool.take_at_codes(x, codes, windows)


def max_pool_indices(codes: Any, windows: Windows) -> Any:
    """The codes of a max pooling as flat positions in the input planes."""
    return numpy_pool.code_positions(codes, windows)


def average_scale(windows: Windows, count_include_pad: bool, divisor: int | None, dtype: Any) -> Any:
    """What each window's sum is multiplied by, as a number where it is the same for all."""
    if divisor is not None:
        return np.asarray(1 / divisor, dtype)
    counts = numpy_pool.average_divisor(windows, count_include_pad)
    first = counts.flat[0]
    return np.asarray(1 / first if (counts == first).all() else 1 / counts, dtype)


def _average_spec(
    x: Spec, kernel: Ints, stride: Ints, padding: Ints, ceil_mode: bool, count_include_pad: bool, divisor: int | None
) -> Spec:
    if divisor == 0:
        raise RuntimeError("divisor must be not zero")
    made = _check_window(x, kernel, stride, padding, (1,) * len(kernel), ceil_mode)
    return Spec((*x.shape[: x.ndim - len(kernel)], *made), x.dtype)


def _average_formula(
    g: Any, x_spec: Spec, kernel: Ints, stride: Ints, padding: Ints, ceil_mode: bool, count_include_pad: bool,
    divisor: int | None,
) -> Any:  # fmt: skip
    windows = _windows_of(x_spec, kernel, stride, padding, (1,) * len(kernel), ceil_mode)
    return avg_pool_grad(g, windows, count_include_pad, divisor)


def _average(x: Any, windows: Windows, count_include_pad: bool, divisor: int | None) -> Any:
    if x.dtype.kind in "iu":
        sums = numpy_pool.sum_pool(x, windows, np.ones((), x.dtype))
        counts = divisor if divisor is not None else numpy_pool.average_divisor(windows, count_include_pad)
        return np.trunc(sums / counts).astype(x.dtype)
    (wide,) = widen(x)
    return narrow(
        numpy_pool.sum_pool(wide, windows, average_scale(windows, count_include_pad, divisor, wide.dtype)), x.dtype
    )


def _declare_avg_pool(n: int) -> Any:
    def avg_pool(
        xp: Any, x: Array, kernel: Ints, stride: Ints, padding: Ints, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor: int | None = None,
    ) -> Array:  # fmt: skip
        windows = _windows_of(x, kernel, stride, padding, (1,) * len(kernel), ceil_mode)
        return _average(x, windows, count_include_pad, divisor)

    avg_pool.__name__ = f"avg_pool{n}d"
    avg_pool.__doc__ = f"Average of each window over the last {n} dims of x."
    return opaque(name=f"AvgPool{n}DBackward0", spec=_average_spec, grad=_average_formula, follows=n == 2)(avg_pool)


avg_pool2d = _declare_avg_pool(2)
avg_pool3d = _declare_avg_pool(3)


def _avg_grad_spec(g: Spec, windows: Windows, count_include_pad: bool, divisor: int | None) -> Spec:
    _check_pooled(g.shape, windows)
    return Spec((*g.shape[: g.ndim - len(windows.kernel)], *windows.input_size), g.dtype)


def _avg_again(g: Any, windows: Windows, count_include_pad: bool, divisor: int | None) -> Any:
    return avg_pool_windows(g, windows, count_include_pad, divisor)


@opaque(spec=_avg_grad_spec, grad=_avg_again, follows=1)
def avg_pool_grad(xp: Any, g_out: Array, windows: Windows, count_include_pad: bool, divisor: int | None) -> Array:
    """The gradient of average pooling: each window's gradient shared among its places."""
    (g,) = widen(g_out)
    scale = average_scale(windows, count_include_pad, divisor, g.dtype)
    return narrow(numpy_pool.spread_pool(g, windows, scale), g_out.dtype)


def _avg_windows_spec(x: Spec, windows: Windows, count_include_pad: bool, divisor: int | None) -> Spec:
    return Spec((*x.shape[: x.ndim - len(windows.kernel)], *windows.output_size), x.dtype)


@opaque(
    spec=_avg_windows_spec,
    grad=lambda g, windows, count_include_pad, divisor: avg_pool_grad(g, windows, count_include_pad, divisor),
)
def avg_pool_windows(xp: Any, x: Array, windows: Windows, count_include_pad: bool, divisor: int | None) -> Array:
    """Average pooling over given windows: the transpose of `avg_pool_grad`."""
    return _average(x, windows, count_include_pad, divisor)


def adaptive_edges(n: int, count: int) -> list[tuple[int, int]]:
    """The `count` parts of a dim of size n that adaptive pooling takes: they cover it, and may share their ends."""
    return [(i * n // count, -(-(i + 1) * n // count)) for i in range(count)]


def even_windows(size: Ints, output_size: Ints) -> Windows | None:
    """The plain windows that an adaptive pooling amounts to where each output size divides the input size."""
    if min(output_size) < 1 or any(n % m for n, m in zip(size, output_size, strict=True)):
        return None
    kernel = tuple(n // m for n, m in zip(size, output_size, strict=True))
    n = len(size)
    return _windows(size, output_size, kernel, kernel, (0,) * n, (1,) * n)


def _adaptive_average(x: Any, output_size: Ints) -> Any:
    n = len(output_size)
    size = x.shape[x.ndim - n :]
    windows = even_windows(size, output_size)
    if windows is not None:
        return numpy_pool.sum_pool(x, windows, average_scale(windows, True, None, x.dtype))
    for dim, count in enumerate(output_size, x.ndim - n):
        lead = (slice(None),) * dim
        out: Any = np.empty((*x.shape[:dim], count, *x.shape[dim + 1 :]), x.dtype)
        for i, (start, stop) in enumerate(adaptive_edges(x.shape[dim], count)):
            np.add.reduce(x[*lead, start:stop], axis=dim, out=out[*lead, i])
            out[*lead, i] *= np.asarray(1 / (stop - start), x.dtype)
        x = out
    return x


def _adaptive_spec(x: Spec, output_size: Ints) -> Spec:
    return Spec((*x.shape[: x.ndim - len(output_size)], *output_size), x.dtype)


def _declare_adaptive_avg_pool(n: int) -> Any:
    def adaptive_avg_pool(xp: Any, x: Array, output_size: Ints) -> Array:
        (wide,) = widen(x)
        return narrow(_adaptive_average(wide, output_size), x.dtype)

    def formula(g: Any, x_spec: Spec, output_size: Ints) -> Any:
        return adaptive_avg_pool_grad(g, x_spec.shape[len(x_spec.shape) - len(output_size) :])

    adaptive_avg_pool.__name__ = f"adaptive_avg_pool{n}d"
    adaptive_avg_pool.__doc__ = f"Averages of `output_size` parts of the last {n} dims of x."
    return opaque(name=f"AdaptiveAvgPool{n}DBackward0", spec=_adaptive_spec, grad=formula, follows=n == 2)(
        adaptive_avg_pool
    )


adaptive_avg_pool2d = _declare_adaptive_avg_pool(2)
adaptive_avg_pool3d = _declare_adaptive_avg_pool(3)


def _adaptive_again(g: Any, g_out_spec: Spec, size: Ints) -> Any:
    pool = adaptive_avg_pool2d if len(size) == 2 else adaptive_avg_pool3d
    return pool(g, g_out_spec.shape[len(g_out_spec.shape) - len(size) :])


@opaque(
    spec=lambda g_out, size: Spec((*g_out.shape[: g_out.ndim - len(size)], *size), g_out.dtype), grad=_adaptive_again
)
def adaptive_avg_pool_grad(xp: Any, g_out: Array, size: Ints) -> Array:
    """The gradient of adaptive average pooling of planes of `size`."""
    (g,) = widen(g_out)
    n = len(size)
    windows = even_windows(size, g.shape[g.ndim - n :])
    if windows is not None:
        scale = average_scale(windows, True, None, g.dtype)
        return narrow(numpy_pool.spread_pool(g, windows, scale), g_out.dtype)
    for dim, length in enumerate(size, g.ndim - n):
        lead = (slice(None),) * dim
        out: Any = np.zeros((*g.shape[:dim], length, *g.shape[dim + 1 :]), g.dtype)
        for i, (start, stop) in enumerate(adaptive_edges(length, g.shape[dim])):
            out[*lead, start:stop] += g[*lead, i : i + 1] * np.asarray(1 / (stop - start), g.dtype)
        g = out
    return narrow(g, g_out.dtype)
