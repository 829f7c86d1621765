"""Regularised incomplete gamma functions of arrays, in NumPy alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.backends.special import lgamma, piecewise

_EPS = 1.1e-16
_MOST_TERMS = 100_000
# Stirling's series: B(2k) / (2k (2k - 1)), DLMF 5.11.1
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400)


def _log1p_minus(x: Any) -> Any:
    """log(1 + x) - x without the cancellation near 0."""

    def series(v: Any) -> Any:
        out, power = np.zeros_like(v), v * v
        for k in range(2, 60):
            out += power * ((-1) ** (k + 1) / k)
            power = power * v
        return out

    return piecewise(x, (np.abs(x) < 0.4, series), (np.abs(x) >= 0.4, lambda v: np.log1p(v) - v))


def _factor(a: Any, x: Any) -> Any:
    """x**a * exp(-x) / gamma(a + 1), by Stirling's series about x = a for large a."""
    small = a < 12
    out = np.exp(a * np.log(x) - x - lgamma(a + 1))
    if not small.all():
        big, at = a[~small], x[~small]
        rest = sum(c / big ** (2 * k + 1) for k, c in enumerate(_STIRLING))
        out[~small] = np.exp(big * _log1p_minus((at - big) / big) - rest) / np.sqrt(2 * np.pi * big)
    return out


def _series(a: Any, x: Any) -> Any:
    """Lower function for x < a + 1: DLMF 8.11.4."""
    term = np.ones_like(x)
    total = term.copy()
    for n in range(1, _MOST_TERMS):
        term = term * x / (a + n)
        total += term
        if not (term > total * _EPS).any():
            break
    return _factor(a, x) * total


def _fraction(a: Any, x: Any) -> Any:
    """Upper function for x >= a + 1: the continued fraction DLMF 8.9.2, by Lentz's method."""
    tiny = 1e-300
    b = x + 1 - a
    c = np.full_like(x, 1 / tiny)
    d = 1 / b
    h = d.copy()
    for i in range(1, _MOST_TERMS):
        top = -i * (i - a)
        b = b + 2
        d = top * d + b
        d = np.where(np.abs(d) < tiny, tiny, d)
        c = b + top / c
        c = np.where(np.abs(c) < tiny, tiny, c)
        d = 1 / d
        step = d * c
        h *= step
        if not (np.abs(step - 1) > 2 * _EPS).any():
            break
    return _factor(a, x) * a * h


def _regularised(a: Any, x: Any, upper: bool) -> Any:
    a, x = np.broadcast_arrays(np.asarray(a), np.asarray(x))
    kinds = [v.dtype for v in (a, x) if v.dtype.kind not in "biu"] or [np.dtype(np.float32)]
    p, q = (np.ascontiguousarray(v, np.float64).reshape(-1) for v in (a, x))
    out = np.full(p.shape, np.nan)
    with np.errstate(all="ignore"):
        inside = (p > 0) & (q > 0) & np.isfinite(p) & np.isfinite(q)
        low = inside & (q < p + 1)
        high = inside & ~low
        out[low] = _series(p[low], q[low])
        out[high] = _fraction(p[high], q[high])
        out[low] = 1 - out[low] if upper else out[low]
        out[high] = out[high] if upper else 1 - out[high]
    zero = (p >= 0) & (q == 0) | np.isinf(p) & (p > 0) & np.isfinite(q) & (q >= 0)
    one = (p == 0) & (q > 0) | np.isinf(q) & (q > 0) & (p >= 0) & np.isfinite(p)
    out[zero], out[one] = (1.0, 0.0) if upper else (0.0, 1.0)
    out[(p == 0) & (q == 0) | np.isinf(p) & np.isinf(q)] = np.nan
    return out.reshape(a.shape).astype(np.result_type(*kinds), copy=False)


def gammainc(a: Any, x: Any) -> Any:
    """Lower function: the integral of t**(a - 1) * exp(-t) from 0 to x, over gamma(a).

    Examples
    --------
    >>> gammainc(np.array([1.0]), np.array([1.0]))
    array([0.63212056])
    """
    return _regularised(a, x, False)


def gammaincc(a: Any, x: Any) -> Any:
    """Upper function 1 - gammainc(a, x)."""
    return _regularised(a, x, True)
