"""Hyperbolic functions and their inverses, of lanes."""

from __future__ import annotations

import math

from rushlight.compiler.vmath_base import Lanes, at_most, in_double, pick, two_sum, with_sign
from rushlight.compiler.vmath_exp import expm1_scaled
from rushlight.compiler.vmath_log import log, log1p

_TOP = 710.7


@in_double
def sinh(x: Lanes) -> Lanes:
    """Hyperbolic sine: (e + e / (e + 1)) / 2 with e = expm1(|x|), in quarters so that nothing overflows early."""
    size = at_most(abs(x), _TOP)
    quarter = expm1_scaled(size, 2)
    out = quarter + quarter / quarter.fma(4.0, 1.0)
    return with_sign(pick(size < 1e-9, size, out + out), x)


@in_double
def cosh(x: Lanes) -> Lanes:
    """Hyperbolic cosine: (e**|x| + 1 / e**|x|) / 2, in quarters."""
    quarter = expm1_scaled(at_most(abs(x), _TOP), 2) + 0.25
    out = quarter + 0.0625 / quarter
    return out + out


def _log1p_sum(high: Lanes, low: Lanes) -> Lanes:
    """log(1 + high + low)."""
    return log1p(high) + low / (high + 1.0)


def _root(square: Lanes) -> tuple[Lanes, Lanes]:
    """A square root and what rounding lost; of 0 exact."""
    root = square.emitter.elementary("sqrt", square)
    return root, pick(square > 0.0, root.fma(-root, square) / (root + root), 0.0)


@in_double
def asinh(x: Lanes) -> Lanes:
    """Inverse hyperbolic sine: log(1 + x + x*x / (1 + sqrt(1 + x*x)))."""
    size = abs(x)
    square = size * size
    more = square / (1.0 + x.emitter.elementary("sqrt", square + 1.0))
    out = _log1p_sum(*two_sum(size, more))
    out = pick(size > 2.0**28, log(size) + math.log(2.0), out)
    return with_sign(pick(size < 2.0**-28, size, out), x)


@in_double
def acosh(x: Lanes) -> Lanes:
    """Inverse hyperbolic cosine: log(1 + t + sqrt(2 t + t*t)) with t = x - 1."""
    t = x - 1.0
    root, lost = _root(t.fma(t, t + t))
    total, rest = two_sum(root, t)
    out = _log1p_sum(total, rest + lost)
    return pick(x > 2.0**28, log(x) + math.log(2.0), pick(x < 1.0, math.nan, out))


@in_double
def atanh(x: Lanes) -> Lanes:
    """Inverse hyperbolic tangent: log(1 + 2 x / (1 - x)) / 2."""
    size = abs(x)
    below = 1.0 - size
    lost = (1.0 - below) - size
    ratio = (size + size) / below
    rest = (ratio.fma(-below, size + size) - ratio * lost) / below
    out = 0.5 * _log1p_sum(ratio, pick(size < 1.0, rest, 0.0))
    return with_sign(pick(size < 2.0**-28, size, out), x)
