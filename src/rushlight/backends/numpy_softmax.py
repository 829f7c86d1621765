"""Softmax family in NumPy: few passes, all but the first in place, half precision computed in float32."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.dtypes import KERNEL_NAMES

Array = Any
SAFE = 30.0


def widened(x: Array) -> Array:
    """`x` in a dtype to compute in: float32 for half precision."""
    return x.astype(np.float32) if x.dtype.itemsize == 2 else x


def _check_floating(x: Array, kernel: str) -> None:
    if x.dtype.kind not in "fV":
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{KERNEL_NAMES[x.dtype.name]}'")


def _kernel_name(family: str, x: Array, dim: int) -> str:
    return f"{family}_lastdim_kernel_impl" if dim % max(x.ndim, 1) == x.ndim - 1 else f"{family}_kernel_impl"


def row_sum(x: Array, dim: int) -> Array:
    """Sum along `dim`, kept as a dim of size 1. The BLAS sums contiguous rows four times as fast as NumPy."""
    if x.flags.c_contiguous and dim in (-1, x.ndim - 1) and x.size:
        n = x.shape[-1]
        return np.dot(x.reshape(-1, n), np.ones(n, x.dtype)).reshape(*x.shape[:-1], 1)
    return np.add.reduce(x, axis=dim, keepdims=True)


def exp_and_sum(x: Array, dim: int) -> tuple[Array, Array]:
    """exp(x - shift), a fresh row-major array, and its sum along `dim`, for a shift that prevents overflow.

    Where all values lie within SAFE of 0 the shift is 0: two passes that find this out cost less than the row maxima.
    """
    if x.size > 512 and x.min() > -SAFE and x.max() < SAFE:
        e = np.exp(x, order="C")
    else:
        e = np.subtract(x, np.maximum.reduce(x, axis=dim, keepdims=True), order="C")
        np.exp(e, e)
    return e, row_sum(e, dim)


def softmax(x: Array, dim: int) -> Array:
    """exp(x) / sum(exp(x)) along `dim`."""
    if x.dtype.kind not in "fV":
        _check_floating(x, _kernel_name("softmax", x, dim))
    if not x.size or not x.ndim:
        return np.ones_like(x)
    e, total = exp_and_sum(widened(x), dim)
    e /= total
    return e if e.dtype == x.dtype else e.astype(x.dtype)


def softmax_grad(g: Array, out: Array, dim: int) -> Array:
    """out * (g - sum(g * out))."""
    if not out.ndim:
        return np.zeros_like(out)
    wide = widened(out)
    result = np.multiply(g, wide, dtype=wide.dtype, order="C")
    total = row_sum(result, dim)
    result -= np.multiply(wide, total)
    return result if result.dtype == out.dtype else result.astype(out.dtype)


def log_softmax(x: Array, dim: int) -> Array:
    """x - log(sum(exp(x))) along `dim`."""
    if x.dtype.kind not in "fV":
        _check_floating(x, _kernel_name("log_softmax", x, dim))
    if not x.size or not x.ndim:
        return np.zeros_like(x)
    wide = widened(x)
    s = np.subtract(wide, np.maximum.reduce(wide, axis=dim, keepdims=True), order="C")
    s -= np.log(row_sum(np.exp(s), dim))
    return s if s.dtype == x.dtype else s.astype(x.dtype)


def log_softmax_grad(g: Array, out: Array, dim: int) -> Array:
    """g - exp(out) * sum(g)."""
    if not out.ndim:
        return np.zeros_like(out)
    g = widened(g)
    result = np.exp(widened(out), order="C")
    result *= row_sum(g, dim)
    np.subtract(g, result, result)
    return result if result.dtype == out.dtype else result.astype(out.dtype)


def logsumexp(x: Array, dim: Any, keepdim: bool) -> Array:
    """log(sum(exp(x))) along `dim` (an int, a tuple or None for all); -inf of nothing."""
    wide = widened(x)
    if wide.dtype.kind == "c":
        top = np.zeros_like(np.add.reduce(wide, axis=dim, keepdims=True))
    else:
        top = np.maximum.reduce(wide, axis=dim, keepdims=True, initial=-np.inf)
        top = np.where(np.isinf(top), wide.dtype.type(0), top)
    total = np.exp(wide - top).sum(axis=dim, keepdims=keepdim)
    result = np.log(total) + top.reshape(total.shape)
    return result if result.dtype == x.dtype else result.astype(x.dtype)
