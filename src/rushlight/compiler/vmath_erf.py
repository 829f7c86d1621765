"""Error functions of lanes.

float32: a polynomial near 0, beyond 0.925 from the logarithm of erfc. float64: a polynomial up to 1/2, beyond
erfc(x) = exp(-x*x) * P(u) / (1 + 2 x) with u = (x - 5/2) / (x + 5/2), P fitted here.

The normal distribution function of float32 lanes is 2**-y**2 * u * P(u) below 0, with y = |x| * sqrt(log2(e) / 2) and
u = 1 / (1 + 9/32 |x|), as M. Abramowitz and I. Stegun, Handbook of Mathematical Functions, 26.2.17 has it: one
exponential for it and its density.
"""

from __future__ import annotations

import math

from rushlight.compiler.vmath_base import (
    F32,
    Lanes,
    at_most,
    in_double,
    nearest_of_square,
    pick,
    poly,
    times_power_of_two,
    two_product,
    with_sign,
)
from rushlight.compiler.vmath_exp import exp
from rushlight.compiler.vmath_tables import ERF32, ERF64, ERF_FAR32, ERFCX64, EXP2_32, NORMAL32

_POLE = 2.5
_ROOT = math.sqrt(0.5 / math.log(2.0))


def erf(x: Lanes) -> Lanes:
    """Error function."""
    single = x.dtype == F32
    size = at_most(abs(x), 4.0 if single else 6.0)
    near = x.fma(poly(x * x, ERF32 if single else ERF64), x)
    if single:
        far = 1.0 - exp(-poly(size, ERF_FAR32))
        return pick(size < 0.925, near, with_sign(far, x))
    return pick(size < 0.5, near, with_sign(1.0 - _tail(size), x))


def _tail(x: Lanes) -> Lanes:
    """erfc of x >= 1/2: exp of the rounded square, times 1 less what rounding lost; the quotient with its error."""
    square, lost = two_product(x, x)
    u = (x - _POLE) / (x + _POLE)
    high = poly(u, ERFCX64[1:])
    above = u.fma(high, ERFCX64[0])
    above_lost = u.fma(high, ERFCX64[0] - above)
    below = x.fma(2.0, 1.0)
    below_lost = x.fma(2.0, 1.0 - below)
    ratio = above / below
    ratio_lost = (ratio.fma(-below, above) + (above_lost - ratio * below_lost)) / below
    power = exp(-square)
    return power.fma(ratio, power * (ratio_lost - lost * ratio))


@in_double
def erfc(x: Lanes) -> Lanes:
    """1 - erf(x), accurate where that is small."""
    size = at_most(abs(x), 28.0)
    near = 1.0 - x.fma(poly(x * x, ERF64), x)
    far = _tail(size)
    return pick(size < 0.5, near, pick(x < 0.0, 2.0 - far, far))


def normal(x: Lanes) -> tuple[Lanes, Lanes]:
    """The probability that a standard normal variable is below x, and exp(-x*x / 2), of float32 lanes."""
    size = at_most(abs(x), 16.0)
    k, n, rest = nearest_of_square(size * _ROOT)
    power = times_power_of_two(rest.fma(poly(rest, EXP2_32), 1.0), n, k)
    u = 1.0 / size.fma(0.28125, 1.0)
    below = (power * u) * poly(u, NORMAL32)
    return pick(x > 0.0, 1.0 - below, below), power
