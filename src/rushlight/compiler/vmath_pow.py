"""Powers, lengths and sums of exponentials, of lanes.

x**y = exp(y log x). In float64 the logarithm is a sum of two numbers: with s = f / (2 + f) and z = s*s,
log(1 + f) = 2 s + s z (2/3 + z (2/5 + z Q(z))), the two leading terms and all sums in double-double arithmetic.
"""

from __future__ import annotations

import math
from typing import Any

from rushlight.compiler.vmath_base import (
    F32,
    F64,
    I64,
    Lanes,
    format_of,
    pick,
    poly,
    power_of_two,
    two_product,
    two_sum,
)  # fmt: skip
from rushlight.compiler.vmath_exp import exp, exp2, exp_sum
from rushlight.compiler.vmath_log import log, log1p, split
from rushlight.compiler.vmath_tables import LOG_POW

_TWO_THIRDS = (2.0 / 3.0, 3.700743415417188e-17)
_TWO_FIFTHS = (0.4, -2.2204460492503132e-17)
_LN2 = (0.6931471805592082, 7.371002565167799e-13)
Pair = tuple[Lanes, Lanes]


def _times(x: Pair, y: Pair) -> Pair:
    product, lost = two_product(x[0], y[0])
    return product, lost + x[0].fma(y[1], x[1] * y[0])


def _plus(number: tuple[float, float], x: Pair) -> Pair:
    total, lost = two_sum(x[0].of(number[0]), x[0])
    return total, lost + (x[1] + number[1])


def _log_pair(x: Lanes) -> Pair:
    """log(x) of positive x to about 2**-66 of itself."""
    e, f = split(x)
    below, below_lost = two_sum(f, f.of(2.0))
    s = f / below
    s_pair = (s, (s.fma(-below, f) - s * below_lost) / below)
    z = _times(s_pair, s_pair)
    inner = _plus(_TWO_FIFTHS, _times(z, (poly(z[0], LOG_POW), z[0].of(0.0))))
    outer = _times(s_pair, _times(z, _plus(_TWO_THIRDS, _times(z, inner))))
    near, near_lost = two_sum(s + s, outer[0])
    total, lost = two_sum(e * _LN2[0], near)
    return total, lost + (e.fma(_LN2[1], near_lost) + (outer[1] + 2.0 * s_pair[1]))


def _magnitude(x: Lanes, y: Lanes) -> Lanes:
    """x ** y for positive x, 0 and infinity."""
    if x.dtype == F32:
        return exp(y.astype(F64) * log(x.astype(F64))).astype(F32)
    high, low = _log_pair(x)
    product, lost = two_product(high, y)
    lost = lost + low * y
    usual = (abs(product) < 800.0) & (x > 0.0) & (x < math.inf)
    plain = exp(y * log(x))
    return pick(usual, exp_sum(product, pick(usual, lost, 0.0)), plain)


def pow(x: Lanes, y: Lanes) -> Lanes:
    """x ** y, as C's pow."""
    size = abs(x)
    out = pick((size == 1.0) & (y == y), 1.0, _magnitude(size, y))
    whole = x.emitter.elementary("rint", y) == y
    half = y * 0.5
    odd = whole & (x.emitter.elementary("rint", half) != half)
    bits = format_of(x).bits
    negative = x.view(bits) < 0
    out = pick(negative & odd, -out, out)
    out = pick((x < 0.0) & (size < math.inf) & ~whole & (y == y), math.nan, out)
    return pick((y == 0.0) | (x == 1.0), 1.0, out)


def hypot(x: Lanes, y: Lanes) -> Lanes:
    """sqrt(x*x + y*y) without overflow: both scaled by a power of two."""
    if x.dtype == F32:
        a, b = x.astype(F64), y.astype(F64)
        root = a.emitter.elementary("sqrt", a.fma(a, b * b)).astype(F32)
    else:
        a, b = abs(x), abs(y)
        larger = pick(a > b, a, b)
        e = (larger.view(I64) >> 52) - 1023
        e = pick(e < -1000, -1000, pick(e > 1000, 1000, e))
        down, up = power_of_two(-e, F64), power_of_two(e, F64)
        a, b = a * down, b * down
        root = a.emitter.elementary("sqrt", a.fma(a, b * b)) * up
    return pick((abs(x) == math.inf) | (abs(y) == math.inf), math.inf, root)


def _log_sum(function: Any, same: float, scale: float) -> Any:
    def compute(x: Lanes, y: Lanes) -> Lanes:
        gap = x - y
        top = pick(gap > 0.0, x, y)
        rest = log1p(function(-abs(gap)))
        out = top + (rest if scale == 1.0 else rest * scale)
        return pick(x == y, x + same, pick(gap == gap, out, gap))

    return compute


logaddexp = _log_sum(exp, math.log(2.0), 1.0)
logaddexp2 = _log_sum(exp2, 1.0, 1.0 / math.log(2.0))
