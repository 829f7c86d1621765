"""Graph calls of convolutions as kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rushlight.backends.numpy_conv import Geometry
from rushlight.compiler.access import Access
from rushlight.compiler.graph import Call, Value
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.kernels.conv import can_fuse, conv_kernel
from rushlight.compiler.kernels.conv_weight import weight_kernels
from rushlight.compiler.kernels.epilogue import Epilogue

Resolve = Callable[[Value], Access | None]
Kernels = Kernel | list[Kernel]

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def accesses(values: Sequence[Any], resolve: Resolve) -> list[Access | None] | None:
    """Where the operands lie (None for an absent one); None as a whole where there is no kernel for them."""
    found: list[Access | None] = []
    for v in values:
        if v is None:
            found.append(None)
            continue
        access = resolve(v) if isinstance(v, Value) else None
        if access is None or access.dtype not in DTYPES or 0 in access.shape:
            return None
        if any(s % access.dtype.itemsize for s in (access.offset, *access.strides)):
            return None
        found.append(access)
    dtypes = {a.dtype for a in found if a is not None}
    return found if len(dtypes) == 1 else None


def convolution(call: Call, resolve: Resolve, epilogue: Epilogue | None = None) -> list[Kernel] | None:
    """`convolution`, with what follows on its elements."""
    found = accesses(call.operands, resolve)
    if found is None or 0 in call.result.shape:
        return None
    x, weight, bias = found
    assert x is not None and weight is not None
    if epilogue is not None and not all(map(can_fuse, epilogue.inputs)):
        return None
    p = call.params
    geometry = Geometry(x.shape[2:], weight.shape[2:], call.result.shape[2:], p["stride"], p["padding"], p["dilation"])
    return conv_kernel(x, weight, bias, call.result, geometry, p.get("groups", 1), epilogue=epilogue, calls=(call,))


def transposed(call: Call, resolve: Resolve, epilogue: Epilogue | None = None) -> list[Kernel] | None:
    """`convolution_transposed`, with what follows on its elements."""
    found = accesses(call.operands, resolve)
    if found is None or 0 in call.result.shape:
        return None
    x, weight, bias = found
    assert x is not None and weight is not None
    if epilogue is not None and not all(map(can_fuse, epilogue.inputs)):
        return None
    p = call.params
    size = call.result.shape[2:]
    geometry = Geometry(size, weight.shape[2:], x.shape[2:], p["stride"], p["padding"], p["dilation"])
    groups = p.get("groups", 1)
    return conv_kernel(
        x, weight, bias, call.result, geometry, groups, transposed=True, epilogue=epilogue, calls=(call,)
    )


def weight_gradient(call: Call, resolve: Resolve) -> list[Kernel] | None:
    """`convolution_weight_grad`."""
    found = accesses(call.operands, resolve)
    if found is None or 0 in call.result.shape:
        return None
    x, g = found
    assert x is not None and g is not None
    p = call.params
    geometry = Geometry(x.shape[2:], p["kernel_size"], g.shape[2:], p["stride"], p["padding"], p["dilation"])
    return weight_kernels(x, g, call.result, geometry, p.get("groups", 1), calls=(call,))


SEEDS: dict[str, Callable[..., Kernels | None]] = {
    "convolution": convolution,
    "convolution_transposed": transposed,
    "convolution_weight_grad": weight_gradient,
}
