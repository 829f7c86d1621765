"""Graph calls of attention as kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.compiler.access import Access
from rushlight.compiler.graph import Call, Value
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.kernels.attention_backward import backward_kernels
from rushlight.compiler.kernels.attention_code import BOOL, sizes
from rushlight.compiler.kernels.attention_forward import forward_kernel
from rushlight.compiler.kernels.epilogue import Resolve, broadcast

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
# Sizes of heads for which what a chunk holds fits on the stack of a thread.
MOST_FEATURES = 1024
# Keys forward, queries backward, whose scores are held at once.
FORWARD_BLOCK, BACKWARD_BLOCK = 128, 64


def _operands(call: Call, resolve: Resolve) -> dict[str, Access | None] | None:
    """Where the operands lie, by name; None where there is no kernel for them."""
    found: dict[str, Access | None] = {}
    for name, value in zip(call.op.inputs, call.operands, strict=True):
        if value is None:
            found[name] = None
            continue
        access = resolve(value) if isinstance(value, Value) else None
        if access is None or 0 in access.shape or (access.dtype not in DTYPES and access.dtype != BOOL):
            return None
        if any(s % access.dtype.itemsize for s in (access.offset, *access.strides)):
            return None
        found[name] = access
    q, k, v = found["q"], found["k"], found["v"]
    assert q is not None and k is not None and v is not None
    if any(a is not None and a.dtype != q.dtype for name, a in found.items() if name != "mask") or q.dtype == BOOL:
        return None
    if q.shape[:-2] != k.shape[:-2] or q.shape[:-2] != v.shape[:-2]:
        return None
    if max(q.shape[-1], v.shape[-1]) > MOST_FEATURES or not isinstance(call.params["scale"], (int, float)):
        return None
    scores = (*q.shape[:-1], k.shape[-2])
    for name in ("mask", "drop"):
        if (given := found[name]) is not None:
            found[name] = broadcast(given, scores)
    return found


def forward(call: Call, resolve: Resolve) -> Kernel | None:
    """`attention`, `attention_laid`; of single queries not: BLAS multiplies a matrix with a vector faster."""
    found = _operands(call, resolve)
    if found is None:
        return None
    q, k, v, mask, drop = found.values()
    assert q is not None and k is not None and v is not None
    if q.shape[-2] == 1:
        return None
    x = sizes(q, k, v, call.params["scale"], call.params["causal"], across=q.shape[-2], block=FORWARD_BLOCK)
    return forward_kernel(x, (q, k, v, mask, drop), call.results, (call,), call.params.get("order"))


def backward(call: Call, resolve: Resolve) -> list[Kernel] | None:
    """`attention_grad`, `attention_grad_laid`."""
    found = _operands(call, resolve)
    if found is None or call.params["causal"] and call.params.get("mask_needs"):
        return None
    q, k, v = (found[name] for name in "qkv")
    assert q is not None and k is not None and v is not None
    x = sizes(q, k, v, call.params["scale"], call.params["causal"], across=k.shape[-2], block=BACKWARD_BLOCK)
    return backward_kernels(x, list(found.values()), call.results, (call,), call.params.get("orders"))


SEEDS: dict[str, Callable[..., Any]] = {
    "attention": forward,
    "attention_laid": forward,
    "attention_grad": backward,
    "attention_grad_laid": backward,
}
"""Op name to what makes its kernels."""
