"""Normalisation on NumPy arrays: statistics and gradients per channel or per row, in blocks that stay in the cache.

Sums run through the BLAS (products with a vector of ones, dot products), which is faster than NumPy's reductions.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from rushlight.backends.precision import narrow, widen
from rushlight.backends.threads import parallel_ranges

# Blocks that stay in the second-level cache.
BLOCK_BYTES = 1 << 18
# Below this many elements one thread is done before a second has woken.
PARALLEL_ELEMENTS = 200_000


def _blocks(start: int, stop: int, step_bytes: int) -> list[tuple[int, int]]:
    size = max(1, BLOCK_BYTES // max(1, step_bytes))
    return [(i, min(i + size, stop)) for i in range(start, stop, size)]


def _ones(n: int, dtype: Any) -> Any:
    return np.ones(n, dtype)


def _total(parts: list[Any]) -> Any:
    return functools.reduce(np.add, parts)


def channel_statistics(x: Any) -> tuple[Any, Any]:
    """Mean and biased variance of each channel of x [N, C, L]."""
    n, c, length = x.shape
    count = n * length
    if length == 1:
        flat = x[:, :, 0]
        mean = np.matmul(_ones(n, x.dtype), flat) / count
        centred = flat - mean
        return mean, np.matmul(_ones(n, x.dtype), centred * centred) / count
    ones = _ones(length, x.dtype)
    # Sums of squares about the first image's mean lose at most a factor N of precision, and need a single pass.
    pivot = (np.matmul(x[0], ones) / length)[:, None]

    def sums(start: int, stop: int) -> Any:
        found = np.zeros((2, c), np.float64)
        for i, j in _blocks(start, stop, c * length * x.itemsize):
            centred = x[i:j] - pivot
            found[0] += np.matmul(centred, ones).sum(axis=0, dtype=np.float64)
            found[1] += np.vecdot(centred, centred).sum(axis=0, dtype=np.float64)
        return found

    first, second = _total(parallel_ranges(n, sums, x.size > PARALLEL_ELEMENTS)) / count
    mean = pivot[:, 0] + first
    return mean.astype(x.dtype), np.maximum(second - first * first, 0).astype(x.dtype)


def channel_affine(x: Any, scale: Any, shift: Any) -> Any:
    """x [N, C, L] times `scale` [C] plus `shift` [C]."""
    out = np.empty(x.shape, x.dtype)
    n, c, length = x.shape
    if length == 1:
        np.multiply(x[:, :, 0], scale, out=out[:, :, 0])
        out[:, :, 0] += shift
        return out
    scale, shift = scale[:, None], shift[:, None]

    def some(start: int, stop: int) -> None:
        for i, j in _blocks(start, stop, c * length * x.itemsize):
            np.multiply(x[i:j], scale, out=out[i:j])
            out[i:j] += shift

    parallel_ranges(n, some, x.size > PARALLEL_ELEMENTS)
    return out


def channel_sums(g: Any, x: Any, mean: Any) -> tuple[Any, Any]:
    """Sums over all but channels of g and of g*(x - mean), for g and x [N, C, L]."""
    n, c, length = x.shape
    if length == 1:
        ones = _ones(n, x.dtype)
        flat = g[:, :, 0]
        return np.matmul(ones, flat), np.matmul(ones, flat * (x[:, :, 0] - mean))
    ones = _ones(length, x.dtype)
    centre = mean[:, None]

    def sums(start: int, stop: int) -> Any:
        found = np.zeros((2, c), np.float64)
        for i, j in _blocks(start, stop, c * length * x.itemsize):
            part = g[i:j]
            found[0] += np.matmul(part, ones).sum(axis=0, dtype=np.float64)
            found[1] += np.vecdot(part, x[i:j] - centre).sum(axis=0, dtype=np.float64)
        return found

    first, second = _total(parallel_ranges(n, sums, x.size > PARALLEL_ELEMENTS))
    return first.astype(x.dtype), second.astype(x.dtype)


def channel_combination(g: Any, x: Any, g_scale: Any, x_scale: Any, shift: Any) -> Any:
    """g*g_scale + x*x_scale + shift per channel, for g and x [N, C, L]."""
    n, c, length = x.shape
    if length == 1:
        flat = g[:, :, 0] * g_scale
        flat += x[:, :, 0] * x_scale
        flat += shift
        return flat[:, :, None]
    out = np.empty(x.shape, x.dtype)
    g_scale, x_scale, shift = g_scale[:, None], x_scale[:, None], shift[:, None]

    def some(start: int, stop: int) -> None:
        for i, j in _blocks(start, stop, c * length * x.itemsize):
            part = np.multiply(x[i:j], x_scale, out=out[i:j])
            part += shift
            part += g[i:j] * g_scale

    parallel_ranges(n, some, x.size > PARALLEL_ELEMENTS)
    return out


def batch_norm_gradient(
    g: Any, g_mean: Any, g_var: Any, x: Any, weight: Any, mean: Any, var: Any, eps: float
) -> tuple[Any, Any, Any]:
    """Gradients for x [N, C, L], weight and bias of y = (x - mean) / sqrt(var + eps) * weight + bias.

    `g_mean` and `g_var` are the gradients that reach the statistics by themselves, [C] each.
    """
    count = max(1, x.shape[0] * x.shape[2])
    rstd = 1 / np.sqrt(var + np.asarray(eps, x.dtype))
    total, product = channel_sums(g, x, mean)
    factor = rstd if weight is None else rstd * weight
    slope = (2 * g_var - factor * rstd * rstd * product) / count
    level = (g_mean - factor * total) / count
    return channel_combination(g, x, factor, slope, level - slope * mean), product * rstd, total


def row_norm(x: Any, weight: Any, bias: Any, eps: float) -> tuple[Any, Any, Any]:
    """Each row of x [R, D] minus its mean over its deviation, times weight [D], plus bias [D]; mean and 1/deviation."""
    rows, length = x.shape
    out = np.empty(x.shape, x.dtype)
    mean, rstd = np.empty(rows, x.dtype), np.empty(rows, x.dtype)
    ones = np.full(length, 1 / max(1, length), x.dtype)
    small = np.asarray(eps, x.dtype)

    def some(start: int, stop: int) -> None:
        for i, j in _blocks(start, stop, length * x.itemsize):
            m = np.matmul(x[i:j], ones, out=mean[i:j])
            centred = np.subtract(x[i:j], m[:, None], out=out[i:j])
            variance = np.vecdot(centred, centred) * ones[:1]
            r = np.divide(1, np.sqrt(variance + small), out=rstd[i:j])
            centred *= r[:, None]
            if weight is not None:
                centred *= weight
            if bias is not None:
                centred += bias

    parallel_ranges(rows, some, x.size > PARALLEL_ELEMENTS)
    return out, mean, rstd


def row_norm_gradient(
    g: Any, g_mean: Any, g_rstd: Any, x: Any, weight: Any, mean: Any, rstd: Any
) -> tuple[Any, Any, Any]:
    """Gradients for x [R, D], weight and bias of `row_norm`; `g_mean`, `g_rstd` reach the statistics by themselves."""
    rows, length = x.shape
    out = np.empty(x.shape, x.dtype)
    scale = np.ones(length, x.dtype) if weight is None else weight
    share = np.asarray(1 / max(1, length), x.dtype)
    statistics = g_mean.any() or g_rstd.any()

    def some(start: int, stop: int) -> Any:
        found = np.zeros((2, length), np.float64)
        for i, j in _blocks(start, stop, length * x.itemsize):
            part, r = g[i:j], rstd[i:j]
            normal = x[i:j] - mean[i:j, None]
            normal *= r[:, None]
            product = part * normal
            ones = _ones(j - i, x.dtype)
            found[0] += np.matmul(ones, product)
            found[1] += np.matmul(ones, part)
            along = np.matmul(product, scale) * share
            level = np.matmul(part, scale) * share
            if statistics:
                along = along + g_rstd[i:j] * r * share
                level = level - g_mean[i:j] / r * share
            normal *= along[:, None]
            result = np.subtract(part if weight is None else part * scale, normal, out=out[i:j])
            result -= level[:, None]
            result *= r[:, None]
        return found

    found = _total(parallel_ranges(rows, some, x.size > PARALLEL_ELEMENTS) or [np.zeros((2, length))])
    return out, found[0].astype(x.dtype), found[1].astype(x.dtype)


def _channels_last_joined(x: Any) -> Any:
    """x [N, C, *] as [N, C, L]."""
    return x.reshape(x.shape[0], x.shape[1], math.prod(x.shape[2:]))


def _cast_back(gradients: tuple[Any, ...], *likes: Any) -> tuple[Any, ...]:
    return tuple(None if like is None else narrow(g, like.dtype) for g, like in zip(gradients, likes, strict=True))


def batch_norm(x: Any, weight: Any, bias: Any, eps: float) -> tuple[Any, Any, Any]:
    """`ops.norm.batch_norm`."""
    wide, w, b = widen(x, weight, bias)
    joined = _channels_last_joined(wide)
    mean, var = channel_statistics(joined)
    scale, shift = _scale_and_shift(w, b, mean, var, eps)
    return narrow(channel_affine(joined, scale, shift).reshape(x.shape), x.dtype), mean, var


def _scale_and_shift(weight: Any, bias: Any, mean: Any, var: Any, eps: float) -> tuple[Any, Any]:
    scale = 1 / np.sqrt(var + np.asarray(eps, var.dtype))
    if weight is not None:
        scale *= weight
    shift = -mean * scale
    if bias is not None:
        shift += bias
    return scale, shift


def batch_norm_grad(
    g: Any, g_mean: Any, g_var: Any, x: Any, weight: Any, mean: Any, var: Any, eps: float
) -> tuple[Any, Any, Any]:
    """`ops.norm.batch_norm_grad`."""
    wide_g, wide, w = widen(g, x, weight)
    gradients = batch_norm_gradient(
        _channels_last_joined(wide_g), g_mean, g_var, _channels_last_joined(wide), w, mean, var, eps
    )
    like = x if weight is None else weight
    return _cast_back((gradients[0].reshape(x.shape), *gradients[1:]), x, like, like)


def batch_norm_frozen(x: Any, weight: Any, bias: Any, mean: Any, var: Any, eps: float) -> Any:
    """`ops.norm.batch_norm_frozen`."""
    wide, w, b, m, v = widen(x, weight, bias, mean, var)
    scale, shift = _scale_and_shift(w, b, m, v, eps)
    return narrow(channel_affine(_channels_last_joined(wide), scale, shift).reshape(x.shape), x.dtype)


def batch_norm_frozen_grad(g: Any, x: Any, weight: Any, mean: Any, var: Any, eps: float) -> tuple[Any, Any, Any]:
    """`ops.norm.batch_norm_frozen_grad`."""
    wide_g, wide, w, m, v = widen(g, x, weight, mean, var)
    rstd = 1 / np.sqrt(v + np.asarray(eps, v.dtype))
    joined = _channels_last_joined(wide_g)
    total, product = channel_sums(joined, _channels_last_joined(wide), m)
    factor = rstd if w is None else rstd * w
    slope = channel_affine(joined, factor, np.zeros_like(factor)).reshape(x.shape)
    like = x if weight is None else weight
    return _cast_back((slope, product * rstd, total), x, like, like)


def _as_rows(x: Any, dims: int) -> Any:
    lead = x.shape[: x.ndim - dims]
    return x.reshape(math.prod(lead), math.prod(x.shape[x.ndim - dims :]))


def layer_norm(x: Any, weight: Any, bias: Any, dims: int, eps: float) -> tuple[Any, Any, Any]:
    """`ops.norm.layer_norm`."""
    wide, w, b = widen(x, weight, bias)
    w = None if w is None else w.reshape(-1)
    b = None if b is None else b.reshape(-1)
    out, mean, rstd = row_norm(_as_rows(wide, dims), w, b, eps)
    shape = (*x.shape[: x.ndim - dims], *(1,) * dims)
    return narrow(out.reshape(x.shape), x.dtype), mean.reshape(shape), rstd.reshape(shape)


def layer_norm_grad(
    g: Any, g_mean: Any, g_rstd: Any, x: Any, weight: Any, mean: Any, rstd: Any, dims: int
) -> tuple[Any, Any, Any]:
    """`ops.norm.layer_norm_grad`."""
    wide_g, wide, w = widen(g, x, weight)
    w = None if w is None else w.reshape(-1)
    statistics = (a.reshape(-1) for a in (g_mean, g_rstd, mean, rstd))
    g_m, g_r, m, r = statistics
    out, g_weight, g_bias = row_norm_gradient(_as_rows(wide_g, dims), g_m, g_r, _as_rows(wide, dims), w, m, r)
    shape = x.shape[x.ndim - dims :]
    like = x if weight is None else weight
    return _cast_back((out.reshape(x.shape), g_weight.reshape(shape), g_bias.reshape(shape)), x, like, like)


def _grouped(x: Any, groups: int) -> tuple[Any, Any]:
    """x [N, C, *] as [N, G, C/G * L] and as [N, C, L]."""
    n, c = x.shape[:2]
    length = math.prod(x.shape[2:])
    return x.reshape(n, groups, c // groups * length), x.reshape(n, c, length)


def group_norm(x: Any, weight: Any, bias: Any, groups: int, eps: float) -> tuple[Any, Any, Any]:
    """`ops.norm.group_norm`."""
    wide, w, b = widen(x, weight, bias)
    rows, planes = _grouped(wide, groups)
    n, c, _ = planes.shape
    ones = np.full(rows.shape[2], 1 / max(1, rows.shape[2]), rows.dtype)
    mean, var = np.empty((n, groups), rows.dtype), np.empty((n, groups), rows.dtype)
    out = np.empty(planes.shape, rows.dtype)

    def some(start: int, stop: int) -> None:
        for i, j in _blocks(start, stop, rows.itemsize * math.prod(rows.shape[1:])):
            m = np.matmul(rows[i:j], ones, out=mean[i:j])
            centred = rows[i:j] - m[..., None]
            np.multiply(np.vecdot(centred, centred), ones[:1], out=var[i:j])
            r = 1 / np.sqrt(var[i:j] + np.asarray(eps, rows.dtype))
            scale = np.repeat(r, c // groups, axis=1)
            shift = np.repeat(-m * r, c // groups, axis=1)
            if w is not None:
                scale, shift = scale * w, shift * w
            if b is not None:
                shift = shift + b
            part = np.multiply(planes[i:j], scale[..., None], out=out[i:j])
            part += shift[..., None]

    parallel_ranges(n, some, x.size > PARALLEL_ELEMENTS)
    rstd = 1 / np.sqrt(var + np.asarray(eps, rows.dtype))
    return narrow(out.reshape(x.shape), x.dtype), mean, rstd


def group_norm_grad(
    g: Any, g_mean: Any, g_rstd: Any, x: Any, weight: Any, mean: Any, rstd: Any, groups: int
) -> tuple[Any, Any, Any]:
    """`ops.norm.group_norm_grad`."""
    wide_g, wide, w = widen(g, x, weight)
    _, planes = _grouped(wide, groups)
    _, gradients = _grouped(wide_g, groups)
    n, c, length = planes.shape
    per = c // groups
    share = 1 / max(1, per * length)
    scale = np.ones(c, planes.dtype) if w is None else w
    out = np.empty(planes.shape, planes.dtype)

    def some(start: int, stop: int) -> Any:
        found = np.zeros((2, c), np.float64)
        for i, j in _blocks(start, stop, planes.itemsize * c * length):
            m, r = np.repeat(mean[i:j], per, axis=1), np.repeat(rstd[i:j], per, axis=1)
            centred = planes[i:j] - m[..., None]
            product, total = (
                np.vecdot(gradients[i:j], centred),
                np.matmul(gradients[i:j], np.ones(length, planes.dtype)),
            )
            found[0] += (product * r).sum(axis=0)
            found[1] += total.sum(axis=0)
            by_group = (j - i, groups, per)
            slope = (product * scale).reshape(by_group).sum(axis=2) + g_rstd[i:j]
            level = g_mean[i:j] - (total * scale).reshape(by_group).sum(axis=2) * rstd[i:j]
            centred *= np.repeat(-slope * rstd[i:j] ** 3 * share, per, axis=1)[..., None].astype(planes.dtype)
            part = np.multiply(gradients[i:j], (r * scale)[..., None], out=out[i:j])
            part += centred
            part += np.repeat(level * share, per, axis=1)[..., None].astype(planes.dtype)
        return found

    found = _total(parallel_ranges(n, some, x.size > PARALLEL_ELEMENTS) or [np.zeros((2, c))]).astype(planes.dtype)
    like = x if weight is None else weight
    return _cast_back((out.reshape(x.shape), found[0], found[1]), x, like, like)
