"""Logarithms of lanes.

x = 2**e * (1 + f) with 1 + f in [2/3, 4/3). float32: log(1 + f) = f - f*f/2 + f**3 P(f). float64: with s = f / (2 + f)
and z = s * s, log(1 + f) = f - f*f/2 + s * (f*f/2 + z Q(z)) as in FDLIBM's e_log.c, whose identity this is.
"""

from __future__ import annotations

import math
from typing import Any

from rushlight.compiler.vmath_base import F32, Lanes, format_of, pick, poly
from rushlight.compiler.vmath_tables import LOG1P32, LOG32, LOG64

_LOWEST = {True: 0x3F2AAAAB, False: 0x3FE5555555555555}
_LN2 = {True: (0.69314575195312500, 1.42860677e-06), False: (6.93147180369123816490e-01, 1.90821492927058770002e-10)}


def split(x: Lanes) -> tuple[Lanes, Lanes]:
    """Positive x as 2**e * (1 + f): e as a float, and f."""
    form = format_of(x)
    tiny = x < form.smallest
    raised = pick(tiny, x * 2.0 ** (form.digits + 1), x)
    bits = raised.view(form.bits)
    lowest = _LOWEST[x.dtype == F32]
    above = bits - lowest
    e = (above >> form.digits).astype(x.dtype)
    e = pick(tiny, e - float(form.digits + 1), e)
    fraction = ((above & ((1 << form.digits) - 1)) + lowest).view(x.dtype)
    return e, fraction - 1.0


def tail(f: Lanes, coefficients: Any = LOG32) -> Lanes:
    """log(1 + f) - f."""
    square = f * f
    if f.dtype == F32:
        return square.fma(f * poly(f, coefficients), square * -0.5)
    s = f / (f + 2.0)
    z = s * s
    half = square * 0.5
    return s * (z.fma(poly(z, LOG64), half)) - half


def finish(x: Lanes, out: Lanes) -> Lanes:
    """The values of a logarithm at 0, below, at infinity and NaN."""
    out = pick(x < math.inf, out, x)
    out = pick(x == 0.0, -math.inf, out)
    return pick(x < 0.0, math.nan, out)


def log(x: Lanes) -> Lanes:
    """Natural logarithm."""
    e, f = split(x)
    high, low = _LN2[x.dtype == F32]
    return finish(x, e.fma(high, f + e.fma(low, tail(f))))


def _to_base(x: Lanes, scale: tuple[float, float], step: tuple[float, float]) -> Lanes:
    """log(x) * (scale[0] + scale[1]), where step[0] + step[1] is the logarithm of 2."""
    e, f = split(x)
    small = tail(f)
    rest = f.fma(scale[1], small * scale[0])
    return finish(x, e.fma(step[0], f.fma(scale[0], e.fma(step[1], rest))))


def log2(x: Lanes) -> Lanes:
    """Logarithm to base 2."""
    scale = (1.44269502162933349609375, 1.92596299112661746887e-8) if x.dtype == F32 else (
        1.4426950408889634, 2.0355273740931033e-17)  # fmt: skip
    return _to_base(x, scale, (1.0, 0.0))


def log10(x: Lanes) -> Lanes:
    """Logarithm to base 10."""
    if x.dtype == F32:
        return _to_base(x, (0.4342944920063019, -1.0103050052231683e-08), (0.301025390625, 4.605039066518657e-06))
    return _to_base(x, (0.4342944819032518, 1.098319650216765e-17), (0.30102999566361177, 3.694239077158931e-13))


def log1p(x: Lanes) -> Lanes:
    """log(1 + x), accurate near 0: 1 + x = 2**e * (1 + f) with f computed from x, not from the rounded sum."""
    form = format_of(x)
    # what is so large that 1 does not count in a quarter of it either: there the steps would leave the exponents
    huge = x >= 2.0 ** (form.bias - 2)
    given, x = x, pick(huge, x * 0.25, x)
    total = x + 1.0
    # 1 + f in [3/4, 3/2)
    lowest = form.one_bits - (1 << (form.digits - 1))
    steps = (total.view(form.bits) - lowest) >> form.digits
    shrink = ((form.bias - steps) << form.digits).view(x.dtype)
    f = x.fma(shrink, shrink - 1.0)
    high, low = _LN2[x.dtype == F32]
    e = pick(huge, steps + 2, steps).astype(x.dtype)
    out = e.fma(high, f + e.fma(low, tail(f, LOG1P32)))
    out = pick(given < math.inf, out, given)
    out = pick(x == -1.0, -math.inf, out)
    out = pick(x < -1.0, math.nan, out)
    return pick(x == 0.0, given, out)
