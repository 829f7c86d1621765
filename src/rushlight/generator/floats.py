"""Draws from continuous distributions as flat NumPy arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.dtypes import NP_HALF
from rushlight.generator import native as code
from rushlight.generator.engine import Generator
from rushlight.generator.fused import fma32, fma64, unit_fma32
from rushlight.generator.single import standard_normal
from rushlight.generator.words import PIECE, fill_units32, units32, units64

_FLOAT32 = np.dtype(np.float32)
_FLOAT64 = np.dtype(np.float64)
_BLOCK = 16
_TWO_PI = 2.0 * math.pi
# Two uniforms each; more are transformed piecewise.
_NORMAL_PIECE = 2 * PIECE


def uniform(generator: Generator, n: int, dtype: Any, low: float = 0.0, high: float = 1.0) -> Any:
    """`n` numbers in [low, high) of NumPy dtype `dtype`."""
    native = code.native(code.UNIFORM, n)
    with generator.lock:
        if native and (dtype == _FLOAT32 or dtype == _FLOAT64):
            out = np.empty(n, dtype)
            (native.uniform32 if dtype == _FLOAT32 else native.uniform64)(generator.address, out, low, high)
            return out
        if dtype == _FLOAT64:
            values = units64(generator, n)
            if low == 0.0 and high == 1.0:
                return values
            values = _affine64(values, high - low, low)
            return _without(values, np.float64(high), np.float64(low))
        values = units32(generator, n)
    if low != 0.0 or high != 1.0:
        start, stop = np.float32(low), np.float32(high)
        values = unit_fma32(values, float(stop - start), float(start))
    elif dtype == _FLOAT32:
        return values
    # Rounding can reach the upper bound, in half precision often.
    return _without(values.astype(dtype, copy=False), np.asarray(high, dtype), np.asarray(low, dtype))


def normal(
    generator: Generator, n: int, dtype: Any, mean: float = 0.0, std: float = 1.0, *, contiguous: bool = True
) -> Any:
    """`n` normal numbers of NumPy dtype `dtype`.

    Fewer than 16, or those of a tensor that is not contiguous, come one pair of words after the other in float64, the
    second of each pair kept for the next call. From 16 on they come in blocks of 16; if the last block is not full, the
    last 16 numbers are drawn anew.
    """
    with generator.lock:
        if n < _BLOCK or not contiguous:
            return narrowed(_affine64(_paired_normals(generator, n), std, mean), dtype)
        if dtype == _FLOAT64:
            return _blocks64(generator, n, mean, std)
        if dtype == _FLOAT32:
            return _blocks32(generator, n, mean, std)
        assert dtype in NP_HALF
        return _blocks_half(generator, n, mean, std).astype(dtype)


def log_normal(generator: Generator, n: int, dtype: Any, mean: float, std: float) -> Any:
    """`n` numbers whose logarithm is normal."""
    with generator.lock:
        values = _affine64(_paired_normals(generator, n), std, mean)
    return narrowed(through_libm(math.exp, values, overflow=math.inf), dtype)


def exponential(generator: Generator, n: int, dtype: Any, rate: float) -> Any:
    """`n` exponential numbers of rate `rate`."""
    with generator.lock:
        values = units64(generator, n)
    return narrowed(through_libm(math.log1p, -values) * (-1.0 / rate), dtype)


def cauchy(generator: Generator, n: int, dtype: Any, median: float, scale: float) -> Any:
    """`n` Cauchy numbers."""
    with generator.lock:
        values = units64(generator, n)
    return narrowed(_affine64(through_libm(math.tan, math.pi * (values - 0.5)), scale, median), dtype)


def narrowed(values: Any, dtype: Any) -> Any:
    """float64 `values` as `dtype`; half precision is reached through float32, as PyTorch does."""
    if dtype == _FLOAT64:
        return values
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
        return single if dtype == _FLOAT32 else single.astype(dtype)


def through_libm(function: Callable[[float], float], x: Any, overflow: float | None = None) -> Any:
    """`function` of each element by the C library: NumPy's own vectorised form may differ in the last bit."""
    try:
        return np.fromiter(map(function, x.tolist()), np.float64, len(x))
    except OverflowError:
        if overflow is None:
            raise
        return np.fromiter((_or(function, overflow, value) for value in x.tolist()), np.float64, len(x))


def _or(function: Callable[[float], float], overflow: float, value: float) -> float:
    try:
        return function(value)
    except OverflowError:
        return overflow


def next_normal(generator: Generator, next_unit: Callable[[], float]) -> float:
    """One standard normal number from the cache of `generator` or from two uniforms."""
    kept = generator.next_normal
    if kept is not None:
        generator.next_normal = None
        return kept
    first, second = next_unit(), next_unit()
    radius = math.sqrt(-2.0 * math.log1p(-second))
    angle = _TWO_PI * first
    generator.next_normal = radius * math.sin(angle)
    return radius * math.cos(angle)


def _paired_normals(generator: Generator, n: int) -> Any:
    if n <= _BLOCK:
        kept = generator.next_normal is not None
        units = iter(units64(generator, 2 * ((n - kept + 1) // 2)).tolist())
        return np.array([next_normal(generator, units.__next__) for _ in range(n)])
    out = np.empty(n, np.float64)
    start = 0
    if generator.next_normal is not None:
        out[0], generator.next_normal, start = generator.next_normal, None, 1
    pairs = (n - start + 1) // 2
    units = units64(generator, 2 * pairs).reshape(pairs, 2)
    radius = np.sqrt(-2.0 * through_libm(math.log1p, -units[:, 1]))
    angle = _TWO_PI * units[:, 0]
    both = np.stack((radius * through_libm(math.cos, angle), radius * through_libm(math.sin, angle)), 1).reshape(-1)
    out[start:] = both[: n - start]
    if n - start < len(both):
        generator.next_normal = float(both[-1])
    return out


def _blocks32(generator: Generator, n: int, mean: float, std: float) -> Any:
    out = np.empty(n, np.float32)
    whole = n - n % _BLOCK
    native = code.native(code.NORMAL, n)
    if native:
        native.normal32(generator.address, out[:whole], mean, std)
        if whole < n:
            generator.raw(n - whole)
            native.normal32(generator.address, out[n - _BLOCK :], mean, std)
        return out
    for start in range(0, whole, _NORMAL_PIECE):
        piece = out[start : min(start + _NORMAL_PIECE, whole)]
        fill_units32(generator, piece)
        standard_normal(piece)
    if whole < n:
        generator.raw(n - whole)
        fill_units32(generator, out[n - _BLOCK :])
        standard_normal(out[n - _BLOCK :])
    return _affine32(out, float(np.float32(std)), float(np.float32(mean)))


def _blocks_half(generator: Generator, n: int, mean: float, std: float) -> Any:
    # Unlike float32, an incomplete block draws nothing before it is drawn anew.
    whole = _blocks32(generator, n - n % _BLOCK, mean, std)
    if len(whole) == n:
        return whole
    return np.concatenate((whole[: n - _BLOCK], _blocks32(generator, _BLOCK, mean, std)))


def _blocks64(generator: Generator, n: int, mean: float, std: float) -> Any:
    out = units64(generator, n)
    whole = n - n % _BLOCK
    _to_normal64(out[:whole])
    if whole < n:
        out[n - _BLOCK :] = units64(generator, _BLOCK)
        _to_normal64(out[n - _BLOCK :])
    return _affine64(out, std, mean)


def _to_normal64(values: Any) -> None:
    halves = values.reshape(-1, 2, _BLOCK // 2)
    radius = np.sqrt(-2.0 * through_libm(math.log, (1.0 - halves[:, 0]).reshape(-1)))
    angle = (_TWO_PI * halves[:, 1]).reshape(-1)
    halves[:, 0] = (radius * through_libm(math.cos, angle)).reshape(-1, _BLOCK // 2)
    halves[:, 1] = (radius * through_libm(math.sin, angle)).reshape(-1, _BLOCK // 2)


def _affine32(values: Any, scale: float, shift: float) -> Any:
    if shift == 0.0:
        return values if scale == 1.0 else np.multiply(values, np.float32(scale), values)
    return fma32(values, scale, shift)


def _affine64(values: Any, scale: float, shift: float) -> Any:
    if shift == 0.0:
        return values if scale == 1.0 else np.multiply(values, scale, values)
    return fma64(values, scale, shift)


def _without(values: Any, bound: Any, instead: Any) -> Any:
    at_bound = values == bound
    if at_bound.any():
        values[at_bound] = instead
    return values
