"""Remainders, neighbours and common divisors of lanes: exact functions."""

from __future__ import annotations

import math

from rushlight.compiler.vmath_base import (
    I64,
    Lanes,
    format_of,
    in_double,
    outlined,
    pick,
    repeat_while,
    times_power_of_two,
    with_sign,
)  # fmt: skip


def _exponent(x: Lanes) -> Lanes:
    """The exponent of positive float64 x, denormal or not."""
    tiny = x < 2.0**-1022
    raised = pick(tiny, x * 2.0**54, x)
    return (raised.view(I64) >> 52) - pick(tiny, 1077, x.view(I64) & 0 | 1023)


def _fmod(x: Lanes, y: Lanes) -> Lanes:
    """Long division by 50 bits of the quotient at a time; each step is exact."""
    size, divisor = abs(x), abs(y)
    valid = (size < math.inf) & (divisor > 0.0)
    left = pick(valid, size, 0.0)
    by = pick(valid & (divisor < math.inf), divisor, math.inf)

    def step(left: Lanes) -> list[Lanes]:
        active = left >= by
        now, unit = pick(active, left, 1.0), pick(active, by, 1.0)
        gap = _exponent(now) - _exponent(unit) - 50
        unit = times_power_of_two(unit, pick(gap < 0, 0, gap))
        count = x.emitter.elementary("trunc", now / unit)
        rest = count.fma(-unit, now)
        return [pick(active, pick(rest < 0.0, rest + unit, rest), left)]

    (left,) = repeat_while([left], lambda left: left >= by, step)
    return pick(valid, with_sign(left, x), math.nan)


@in_double
def fmod(x: Lanes, y: Lanes) -> Lanes:
    """x - y * trunc(x / y), exactly."""
    out = outlined("fmod", _fmod, x, y)
    return pick((x == x) & (y == y), out, x + y)


def remainder(x: Lanes, y: Lanes) -> Lanes:
    """The remainder with the sign of y."""
    x, y = x.strict(), y.strict()
    rest = fmod(x, y)
    opposite = (rest < 0.0) != (y < 0.0)
    return pick(rest == 0.0, with_sign(rest, y), pick(opposite, rest + y, rest)).loose()


def floor_divide(x: Lanes, y: Lanes) -> Lanes:
    """x / y rounded down, from the exact remainder."""
    x, y = x.strict(), y.strict()
    rest = fmod(x, y)
    ratio = (x - rest) / y
    ratio = pick((rest != 0.0) & ((rest < 0.0) != (y < 0.0)), ratio - 1.0, ratio)
    down = x.emitter.elementary("floor", ratio)
    down = pick(ratio - down > 0.5, down + 1.0, down)
    plain = x / y
    out = pick(ratio == 0.0, with_sign(ratio, plain), down)
    return pick(y == 0.0, plain, out).loose()


def nextafter(x: Lanes, y: Lanes) -> Lanes:
    """The next number after x towards y."""
    bits = x.view(format_of(x).bits)
    away = (y > x) == (x > 0.0)
    out = (bits + pick(away, bits & 0 | 1, -1)).view(x.dtype)
    smallest = with_sign((bits & 0 | 1).view(x.dtype), y)
    out = pick(x == y, y, pick(x == 0.0, smallest, out))
    return pick((x == x) & (y == y), out, x + y)


def _gcd(x: Lanes, y: Lanes) -> Lanes:
    def step(x: Lanes, y: Lanes) -> list[Lanes]:
        return [pick(y == 0, x, y), x % y]

    return repeat_while([x, y], lambda x, y: y != 0, step)[0]


def gcd(x: Lanes, y: Lanes) -> Lanes:
    """Greatest common divisor of integers."""
    unsigned = f"u{x.dtype.itemsize}"
    out = outlined("gcd", _gcd, abs(x).view(unsigned), abs(y).view(unsigned))
    return out.view(x.dtype)
