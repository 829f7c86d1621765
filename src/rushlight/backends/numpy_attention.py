"""Scaled dot-product attention in NumPy, forward and backward.

With e = exp(scores), total = sum(e) and out = (e @ v) / total, the division touches [L, E] instead of [L, S]. The
backward pass divides the incoming gradient by `total` instead, and needs e only: two passes over [L, S].
The batch is worked through in parts whose scores stay in cache; parts run on several threads.
e of the whole batch is kept for the backward pass while it is small, else computed again part by part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.backends.numpy_softmax import SAFE, row_sum
from rushlight.backends.threads import parallel_ranges

Array = Any
# Elements of e kept for the backward pass: 64 MiB in float32.
KEPT = 1 << 24
# Elements of e from which waking threads pays.
PARALLEL = 1 << 16


def _weights(q: Array, k: Array, mask: Array | None, scale: float, causal: Array | None) -> Array:
    """exp(scores - shift) with zeros where masked, unnormalised."""
    s = np.matmul(q * q.dtype.type(scale), k.swapaxes(-1, -2))
    if mask is not None:
        if mask.dtype == np.bool_:
            np.copyto(s, -np.inf, where=~mask)
        else:
            s += mask
    elif s.size and s.min() > -SAFE and s.max() < SAFE:
        np.exp(s, s)
        if causal is not None:
            s *= causal
        return s
    if causal is not None:
        np.copyto(s, -np.inf, where=causal == 0)
    if not s.size:
        return s
    top = np.maximum.reduce(s, axis=-1, keepdims=True)
    s -= np.where(top == -np.inf, 0, top)  # a row that is masked whole gives zeros
    return np.exp(s, s)


def _triangle(q: Array, k: Array, causal: bool) -> Array | None:
    return np.tri(q.shape[-2], k.shape[-2], dtype=q.dtype) if causal else None


def _part(x: Array | None, start: int, stop: int, ndim: int) -> Array | None:
    """Items `start` to `stop` of the first batch dim, if `x` has one of its own."""
    return x if x is None or ndim == 2 or x.ndim < ndim or x.shape[0] == 1 else x[start:stop]


def _in_parts(items: int, elements: int, work: Callable[[int, int], None]) -> None:
    parallel_ranges(items, work, elements >= PARALLEL)


def forward(
    q: Array, k: Array, v: Array, mask: Array | None, drop: Array | None, *, scale: float, causal: bool
) -> tuple[Array, Array, Array]:
    """softmax(scale * q @ k.T + mask) * drop @ v; also the row sums of e, and e itself ([0] when large)."""
    lead, rows, columns = q.shape[:-2], q.shape[-2], k.shape[-2]
    out = np.empty((*lead, rows, v.shape[-1]), q.dtype)
    total = np.empty((*lead, rows, 1), q.dtype)
    size = int(np.prod(lead)) * rows * columns
    kept = np.empty((*lead, rows, columns), q.dtype) if size <= KEPT else np.empty(0, q.dtype)
    triangle = _triangle(q, k, causal)

    def work(start: int, stop: int) -> None:
        part = slice(start, stop) if lead else ...
        e = _weights(q[part], k[part], _part(mask, start, stop, q.ndim), scale, triangle)
        sums = row_sum(e, -1)
        sums[sums == 0] = 1
        total[part] = sums
        if kept.size:
            kept[part] = e
        if drop is not None:
            e = e * drop[part]
        np.matmul(e, v[part], out=out[part])
        out[part] /= sums

    _in_parts(lead[0] if lead else 1, size, work)
    return out, total, kept


def backward(
    g: Array, q: Array, k: Array, v: Array, mask: Array | None, drop: Array | None,
    out: Array, *, total: Array, kept: Array, scale: float, causal: bool, mask_needs: bool,
) -> tuple[Array, Array, Array, Array | None]:  # fmt: skip
    """Gradients of q, k, v and, if `mask_needs`, of the scores (which a mask was added to)."""
    lead = q.shape[:-2]
    q_grad, k_grad, v_grad = (np.empty(x.shape, x.dtype) for x in (q, k, v))
    size = int(np.prod(lead)) * q.shape[-2] * k.shape[-2]
    s_grad = np.empty((*lead, q.shape[-2], k.shape[-2]), q.dtype) if mask_needs else None
    triangle = None if kept.size else _triangle(q, k, causal)

    def work(start: int, stop: int) -> None:
        part = slice(start, stop) if lead else ...
        e = kept[part] if kept.size else _weights(q[part], k[part], _part(mask, start, stop, q.ndim), scale, triangle)
        share = g[part] / total[part]
        dropped = e if drop is None else e * drop[part]
        np.matmul(dropped.swapaxes(-1, -2), share, out=v_grad[part])
        slope = np.matmul(share, v[part].swapaxes(-1, -2))
        if drop is not None:
            slope *= drop[part]
        slope -= row_sum(share * out[part], -1)
        slope *= e
        if s_grad is not None:
            s_grad[part] = slope
        slope *= slope.dtype.type(scale)
        np.matmul(slope, k[part], out=q_grad[part])
        np.matmul(slope.swapaxes(-1, -2), q[part], out=k_grad[part])

    _in_parts(lead[0] if lead else 1, size, work)
    return q_grad, k_grad, v_grad, s_grad
