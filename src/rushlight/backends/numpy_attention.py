"""Scaled dot-product attention in NumPy, forward and backward.

With e = exp(scores), total = sum(e) and out = (e @ v) / total, the division touches [L, E] instead of [L, S]. The
backward pass computes the probabilities again from log(total).
The batch is worked through in parts whose scores stay in cache; parts run on several threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.backends.numpy_softmax import SAFE, row_sum
from rushlight.backends.threads import parallel_ranges

Array = Any
# Scores from which waking threads pays.
PARALLEL = 1 << 16


def _scores(q: Array, k: Array, mask: Array | None, scale: float, causal: Array | None) -> Array:
    s = np.matmul(q * q.dtype.type(scale), k.swapaxes(-1, -2))
    if mask is not None:
        if mask.dtype == np.bool_:
            np.copyto(s, -np.inf, where=~mask)
        else:
            s += mask
    if causal is not None:
        np.copyto(s, -np.inf, where=~causal)
    return s


def _exponentials(s: Array, is_masked: bool) -> tuple[Array, Array | float]:
    """exp(s - shift), in the place of `s`, and the shift: the maximum of each row where exp(s) might overflow."""
    if not s.size:
        return s, 0.0
    if is_masked or s.min() <= -SAFE or s.max() >= SAFE:
        top = np.maximum.reduce(s, axis=-1, keepdims=True)
        shift = np.where(top == -np.inf, 0, top)  # a row that is masked whole gives zeros
        s -= shift
        return np.exp(s, s), shift
    return np.exp(s, s), 0.0


def _triangle(q: Array, k: Array, causal: bool) -> Array | None:
    return np.tri(q.shape[-2], k.shape[-2], dtype=np.bool_) if causal else None


def _part(x: Array | None, start: int, stop: int, ndim: int) -> Array | None:
    """Items `start` to `stop` of the first batch dim, if `x` has one of its own."""
    return x if x is None or ndim == 2 or x.ndim < ndim or x.shape[0] == 1 else x[start:stop]


def _in_parts(items: int, elements: int, work: Callable[[int, int], None]) -> None:
    parallel_ranges(items, work, elements >= PARALLEL)


def forward(
    q: Array, k: Array, v: Array, mask: Array | None, drop: Array | None, *, scale: float, causal: bool
) -> tuple[Array, Array]:
    """softmax(scale * q @ k.T + mask) * drop @ v; also log(sum(exp(scores))) of each row, 0 where that is masked."""
    lead, rows, columns = q.shape[:-2], q.shape[-2], k.shape[-2]
    out = np.empty((*lead, rows, v.shape[-1]), q.dtype)
    total = np.empty((*lead, rows, 1), q.dtype)
    triangle = _triangle(q, k, causal)

    def work(start: int, stop: int) -> None:
        part = slice(start, stop) if lead else ...
        s = _scores(q[part], k[part], _part(mask, start, stop, q.ndim), scale, triangle)
        e, shift = _exponentials(s, mask is not None or causal)
        sums = row_sum(e, -1)
        sums[sums == 0] = 1
        total[part] = np.log(sums) + shift
        if drop is not None:
            e = e * drop[part]
        np.matmul(e, v[part], out=out[part])
        out[part] /= sums

    _in_parts(lead[0] if lead else 1, int(np.prod(lead)) * rows * columns, work)
    return out, total


def backward(
    g: Array, q: Array, k: Array, v: Array, mask: Array | None, drop: Array | None,
    out: Array, *, total: Array, scale: float, causal: bool, mask_needs: bool,
) -> tuple[Array, ...]:  # fmt: skip
    """Gradients of q, k, v and, if `mask_needs`, of the scores (which a mask was added to)."""
    lead = q.shape[:-2]
    grads = [np.empty(x.shape, x.dtype) for x in (q, k, v)]
    if mask_needs:
        grads.append(np.empty((*q.shape[:-1], k.shape[-2]), q.dtype))
    triangle = _triangle(q, k, causal)

    def work(start: int, stop: int) -> None:
        part = slice(start, stop) if lead else ...
        p = _scores(q[part], k[part], _part(mask, start, stop, q.ndim), scale, triangle)
        p -= total[part]
        np.exp(p, p)
        dropped = p if drop is None else p * drop[part]
        np.matmul(dropped.swapaxes(-1, -2), g[part], out=grads[2][part])
        slope = np.matmul(g[part], v[part].swapaxes(-1, -2))
        if drop is not None:
            slope *= drop[part]
        slope -= row_sum(g[part] * out[part], -1)
        slope *= p
        if mask_needs:
            grads[3][part] = slope
        slope *= slope.dtype.type(scale)
        np.matmul(slope, k[part], out=grads[0][part])
        np.matmul(slope.swapaxes(-1, -2), q[part], out=grads[1][part])

    _in_parts(lead[0] if lead else 1, int(np.prod(lead)) * q.shape[-2] * k.shape[-2], work)
    return tuple(grads)
