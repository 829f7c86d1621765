"""Graph calls of pooling as kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.backends.numpy_pool import Windows
from rushlight.compiler.access import Access
from rushlight.compiler.graph import Call, Value
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.kernels.conv_lowering import accesses
from rushlight.compiler.kernels.epilogue import Epilogue
from rushlight.compiler.kernels.pool import average_of, pool_kernel
from rushlight.compiler.kernels.pool_grad import MOST_PHASES, spread_kernel
from rushlight.compiler.kernels.pool_wide import fill_kernel, whole_kernel
from rushlight.ops.pool import average_scale, even_windows, pool_windows

# Windows that many places across are filled one by one; narrower ones are shuffled together.
WIDE = 4

Resolve = Callable[[Value], Access | None]


def _floating(call: Call, resolve: Resolve) -> Access | None:
    found = accesses(call.operands[:1], resolve)
    return None if found is None or 0 in call.results[0].shape else found[0]


def _size(x: Access, dims: int) -> tuple[int, ...]:
    return x.shape[len(x.shape) - dims :]


def maximum(call: Call, resolve: Resolve) -> Kernel | None:
    """`max_pool2d_with_codes` and `max_pool3d_with_codes`."""
    x = _floating(call, resolve)
    if x is None:
        return None
    windows = pool_windows(_size(x, len(call.params["kernel"])), **call.params)
    return pool_kernel(x, call.results, windows, None, (call,))


def maximum_gradient(call: Call, resolve: Resolve, epilogue: Epilogue | None = None) -> Kernel | None:
    """`max_pool_grad`."""
    g = _floating(call, resolve)
    codes = resolve(call.operands[1]) if isinstance(call.operands[1], Value) else None
    if g is None or codes is None or codes.strides[-1] != codes.dtype.itemsize:
        return None
    return spread_kernel(g, codes, call.result, call.params["windows"], None, (call,), epilogue)


def _averaged(x: Access | None, call: Call, windows: Windows, count_padding: bool, divisor: Any) -> Kernel | None:
    if x is None:
        return None
    average = average_of(windows, count_padding, average_scale(windows, count_padding, divisor, np.dtype(np.float64)))
    if average.scale is not None:
        made = whole_kernel(x, call.result, windows, average.scale, (call,))
        if made is not None:
            return made
    return pool_kernel(x, call.results, windows, average, (call,))


def average(call: Call, resolve: Resolve) -> Kernel | None:
    """`avg_pool2d` and `avg_pool3d`."""
    x, p = _floating(call, resolve), call.params
    if x is None:
        return None
    kernel = p["kernel"]
    ones = (1,) * len(kernel)
    windows = pool_windows(_size(x, len(kernel)), kernel, p["stride"], p["padding"], ones, p.get("ceil_mode", False))
    return _averaged(x, call, windows, p.get("count_include_pad", True), p.get("divisor"))


def average_windows(call: Call, resolve: Resolve) -> Kernel | None:
    """`avg_pool_windows`."""
    p = call.params
    return _averaged(_floating(call, resolve), call, p["windows"], p["count_include_pad"], p["divisor"])


def average_gradient(call: Call, resolve: Resolve, epilogue: Epilogue | None = None) -> Kernel | None:
    """`avg_pool_grad`."""
    p = call.params
    return _spread(_floating(call, resolve), call, p["windows"], p["count_include_pad"], p["divisor"], epilogue)


def _spread(
    g: Access | None, call: Call, windows: Windows, count_padding: bool, divisor: Any, epilogue: Epilogue | None
) -> Kernel | None:
    if g is None:
        return None
    average = average_of(windows, count_padding, average_scale(windows, count_padding, divisor, np.dtype(np.float64)))
    if average.scale is not None and windows.kernel[-1] >= WIDE and epilogue is None:
        made = fill_kernel(g, call.result, windows, average.scale, (call,))
        if made is not None:
            return made
    return spread_kernel(g, None, call.result, windows, average, (call,), epilogue)


def adaptive(call: Call, resolve: Resolve) -> Kernel | None:
    """`adaptive_avg_pool2d` and `adaptive_avg_pool3d` where the parts are even."""
    x, size = _floating(call, resolve), call.params["output_size"]
    windows = None if x is None else even_windows(_size(x, len(size)), tuple(size))
    return None if windows is None else _averaged(x, call, windows, True, None)


def adaptive_gradient(call: Call, resolve: Resolve, epilogue: Epilogue | None = None) -> Kernel | None:
    """`adaptive_avg_pool_grad` where the parts are even."""
    g, size = _floating(call, resolve), call.params["size"]
    windows = None if g is None else even_windows(tuple(size), _size(g, len(size)))
    return None if windows is None else _spread(g, call, windows, True, None, epilogue)


POOL_GRADIENTS = frozenset({"max_pool_grad", "avg_pool_grad", "adaptive_avg_pool_grad"})


def plane_dims(call: Call) -> int:
    """How many dims a plane of a pooling's gradient has."""
    return len(call.params["size"] if call.op.name == "adaptive_avg_pool_grad" else call.params["windows"].kernel)


def spreads(call: Call) -> bool:
    """Whether a call is a pooling's gradient whose kernel has few windows to look at for each number."""
    if call.op.name not in POOL_GRADIENTS or not isinstance(call.operands[0], Value):
        return False
    dims = plane_dims(call)
    if call.op.name == "adaptive_avg_pool_grad":
        windows = even_windows(tuple(call.params["size"]), call.operands[0].shape[-dims:])
    else:
        windows = call.params["windows"]
    return windows is not None and windows.kernel[-1] < WIDE and math.prod(windows.stride) <= MOST_PHASES


SEEDS: dict[str, Callable[..., Kernel | None]] = {
    "max_pool2d_with_codes": maximum, "max_pool3d_with_codes": maximum, "max_pool_grad": maximum_gradient,
    "avg_pool2d": average, "avg_pool3d": average, "avg_pool_grad": average_gradient,
    "avg_pool_windows": average_windows, "adaptive_avg_pool2d": adaptive, "adaptive_avg_pool3d": adaptive,
    "adaptive_avg_pool_grad": adaptive_gradient,
}  # fmt: skip
