"""Exponentials and hyperbolic functions of lanes.

e**x = 2**n * e**r with n the integer nearest to x / ln 2 and r = x - n ln 2, |r| < 0.3467, from two fused
multiply-adds; e**r - 1 = r + r*r * Q(r).
"""

from __future__ import annotations

import math

from rushlight.compiler.vmath_base import (
    F32,
    Lanes,
    at_least,
    at_most,
    nearest,
    pick,
    poly,
    power_of_two,
    times_power_of_two,
    two_sum,
    with_sign,
)  # fmt: skip
from rushlight.compiler.vmath_tables import EXP2_32, EXP2_64, EXP32, EXP64

# ln 2 in two parts: the first as the dtype holds it, the rest.
_LN2 = {True: (0.693147182464599609375, -1.904654323148236017e-09), False: (math.log(2.0), 2.319046813846299558e-17)}
_EXP_RANGE = {True: (-104.0, 89.0), False: (-746.0, 710.0)}
_EXP2_RANGE = {True: (-151.0, 128.5), False: (-1076.0, 1024.5)}
_EXPM1_LOW = {True: -17.5, False: -38.0}


def _reduce(x: Lanes) -> tuple[tuple[Lanes, Lanes], Lanes, Lanes]:
    """x = n ln 2 + r: n as an integer and in floating point, r, and what rounding r lost."""
    high, low = _LN2[x.dtype == F32]
    k, n = nearest(x, 1.0 / math.log(2.0))
    first = k.fma(-high, x)
    r = k.fma(-low, first)
    return (n, k), r, k.fma(-low, first - r)


def exp(x: Lanes) -> Lanes:
    """e ** x."""
    single = x.dtype == F32
    low, high = _EXP_RANGE[single]
    n, r, _ = _reduce(at_most(at_least(x, low), high))
    small = (r * r).fma(poly(r, EXP32 if single else EXP64), r) + 1.0
    return times_power_of_two(small, *n)


def exp_sum(x: Lanes, more: Lanes) -> Lanes:
    """e ** (x + more) for a small `more`."""
    single = x.dtype == F32
    low, high = _EXP_RANGE[single]
    n, r, rest = _reduce(at_most(at_least(x, low), high))
    r, rest = two_sum(r, rest + more)
    return times_power_of_two(((r * r).fma(poly(r, EXP32 if single else EXP64), rest) + r) + 1.0, *n)


def exp2(x: Lanes) -> Lanes:
    """2 ** x."""
    single = x.dtype == F32
    low, high = _EXP2_RANGE[single]
    x = at_most(at_least(x, low), high)
    k, n = nearest(x)
    r = x - k
    return times_power_of_two(r.fma(poly(r, EXP2_32 if single else EXP2_64), 1.0), n, k)


def expm1_scaled(x: Lanes, scale: int = 1) -> Lanes:
    """(e ** x - 1) / 2**scale, which does not overflow where the quotient does not; x from -40 to 128 or 1024 ln 2."""
    (n, _), r, rest = _reduce(x)
    power = power_of_two(n - scale, x.dtype)
    tail = (r * r).fma(poly(r, EXP32 if x.dtype == F32 else EXP64), rest)
    return power.fma(tail, power.fma(r, power - 2.0**-scale))


def expm1(x: Lanes) -> Lanes:
    """e ** x - 1, accurate near 0."""
    single = x.dtype == F32
    bounded = at_most(at_least(x, _EXPM1_LOW[single]), _EXP_RANGE[single][1])
    out = expm1_scaled(bounded)
    return with_sign(pick(abs(x) < (1e-30 if single else 1e-290), x, out + out), x)


def tanh(x: Lanes) -> Lanes:
    """Hyperbolic tangent: e / (e + 2) with e = expm1(2 |x|), the quotient corrected by what the steps lost."""
    size = at_most(abs(x), 12.0 if x.dtype == F32 else 24.0)
    half = expm1_scaled(size + size)
    below = half + 1.0
    inverse = 1.0 / below
    out = half * inverse
    lost = out.fma(-below, half) - out * (half - (below - 1.0))
    out = inverse.fma(lost, out)
    return with_sign(pick(size < (1e-30 if x.dtype == F32 else 1e-290), size, out), x)
