"""Trigonometric functions of lanes.

x = n pi/2 + r with |r| <= pi/4: pi/2 in two or three parts and fused multiply-adds where n is small, else the bits of
2/pi that matter (M. Payne, R. Hanek, "Radian Reduction for Trigonometric Functions", SIGNUM Newsletter 18, 1983).
Inverse functions: one polynomial on 0 to 1 (arctangent) or 0 to 1/2 (arcsine), other arguments by identities.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from rushlight.compiler.binding import ir
from rushlight.compiler.vmath_base import (
    F32,
    F64,
    I64,
    U64,
    Lanes,
    in_double,
    nearest,
    outlined,
    pick,
    poly,
    two_product,
    two_sum,
    where_any,
    with_sign,
)  # fmt: skip
from rushlight.compiler.vmath_tables import ASIN64, ATAN32, ATAN64, COS32, COS64, SIN32, SIN64, TAN64

_HALF_PI = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591833e-33)
_HALF_PI32 = (1.57079637050628662109375, -4.37113900018624283e-8, -1.7151245100059e-15)
_NEAR32, _NEAR64 = 40000.0, 2.0**20


def _reduce_near(x: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """n modulo 4, r and what rounding r lost, for |x| below the bounds above."""
    single = x.dtype == F32
    first, second, third = _HALF_PI32 if single else _HALF_PI
    k, n = nearest(x, 2.0 / math.pi)
    if single:
        r = k.fma(-third, k.fma(-second, k.fma(-first, x)))
        return n & 3, r, r.constant(0.0)
    whole = k.fma(-first, x)
    product, rest = two_product(k, second)
    r, lost = two_sum(whole, -product)
    return n & 3, *two_sum(r, lost - k.fma(third, rest))


def _two_over_pi() -> list[int]:
    """2/pi as words of 64 bits after the binary point, as many as float64 exponents need.

    pi by Machin's formula in integers, 1/pi by one division.
    """
    bits = 64 * 22
    one = 1 << (bits + 64)

    def arctan_of_inverse(k: int) -> int:
        total, power, n = 0, one // k, 0
        while power:
            total += (-power if n & 1 else power) // (2 * n + 1)
            power //= k * k
            n += 1
        return total

    pi = 4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239))
    quotient = (one << (bits + 1)) // pi
    return [(quotient >> (bits - 64 * (k + 1))) & (2**64 - 1) for k in range(22)]


_WORDS = [0, *_two_over_pi()]


def _table(x: Lanes) -> Any:
    """The words of 2/pi in the module."""
    module = x.emitter.module
    name = "rushlight.two_over_pi"
    table = module.globals.get(name)
    if table is None:
        word = ir.IntType(64)
        kind = ir.ArrayType(word, len(_WORDS))
        table = ir.GlobalVariable(module, kind, name)
        table.linkage, table.global_constant = "internal", True
        table.initializer = ir.Constant(kind, [ir.Constant(word, w) for w in _WORDS])
    return table


def _high(x: Lanes, y: Lanes) -> Lanes:
    """The upper 64 bits of the product of two unsigned 64-bit integers, from four products of halves."""
    mask = 0xFFFFFFFF
    x0, x1, y0, y1 = x & mask, _logical(x, 32), y & mask, _logical(y, 32)
    low = x0 * y0
    middle = x1 * y0 + _logical(low, 32)
    other = x0 * y1 + (middle & mask)
    return x1 * y1 + _logical(middle, 32) + _logical(other, 32)


def _logical(x: Lanes, step: Any) -> Lanes:
    """An unsigned shift to the right by 0 to 63."""
    return x.like(x.emitter.builder.lshr(x.value, x.of(step).value))


def _reduce_far(x: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """n modulo 4, r and what rounding r lost, for finite float64 |x| >= 2**20; of others anything.

    |x| = m 2**e with an integer m. Bits of 2/pi before number e - 1 only add multiples of 4; the 192 from there on,
    times m, leave the quotient modulo 4 and 128 bits of the fraction, of which at most 61 are 0.
    """
    bits = abs(x).view(I64)
    e = (bits >> 52) - 1075
    m = (bits & (2**52 - 1)) | 2**52
    start = e + 62  # the table begins with 64 zeros
    start = pick(start < 0, 0, start)
    word, step = start >> 6, start & 63
    given = [x.emitter.gather(_table(x), word + k, I64) for k in range(4)]
    w = [pick(step == 0, a, (a << step) | _logical(b, (64 - step) & 63)) for a, b in pairwise(given)]
    carried = _high(m, w[2])
    low = m * w[1] + carried
    carry = low.view(U64) < carried.view(U64)
    high = m * w[0] + _high(m, w[1]) + carry.astype(I64)
    n = _logical(high + 2**61, 62)
    high, low = (high << 2) | _logical(low, 62), low << 2
    upper, lower = (high >> 32).astype(F64) * 2.0**-32, (high & 0xFFFFFFFF).astype(F64) * 2.0**-64
    turn, rest = two_sum(upper, lower)
    rest = rest + _logical(low, 11).astype(F64) * 2.0**-117
    product, lost = two_product(turn, _HALF_PI[0])
    r, lost = two_sum(product, lost + turn.fma(_HALF_PI[1], rest * _HALF_PI[0]))
    negative = x < 0.0
    return pick(negative, -n, n) & 3, pick(negative, -r, r), pick(negative, -lost, lost)


def _wave(reduced: tuple[Lanes, Lanes, Lanes], quarter: int) -> Lanes:
    """The sine of r + (n + quarter) pi/2."""
    n, r, lost = reduced
    n = n + quarter if quarter else n
    z = r * r
    if r.dtype == F32:
        sine = (r * z).fma(poly(z, SIN32), r)
        cosine = z.fma(z.fma(poly(z, COS32), -0.5), 1.0)
    else:
        sine = r + (r * z).fma(poly(z, SIN64), lost)
        half = z * 0.5
        rest = (z * z).fma(poly(z, COS64), -(r * lost))
        top = 1.0 - half
        cosine = top + (((1.0 - top) - half) + rest)
    out = pick((n & 1) == 0, sine, cosine)
    bits = n.dtype
    flip = (n & 2) << (8 * bits.itemsize - 2)
    return (out.view(bits) ^ flip).view(r.dtype)


def _sin_or_cos(quarter: int) -> Any:
    name = "cos" if quarter else "sin"

    def far(x: Lanes) -> Lanes:
        return _wave(_reduce_far(x), quarter) if x.dtype == F64 else evaluate(x.astype(F64)).astype(F32)

    def body(x: Lanes) -> Lanes:
        size = abs(x)
        is_far = (size >= (_NEAR32 if x.dtype == F32 else _NEAR64)) & (size < math.inf)
        near = _wave(_reduce_near(x), quarter)
        return where_any(is_far, lambda: outlined(f"{name}.far", far, x, inline=False), near)

    def evaluate(x: Lanes) -> Lanes:
        out = outlined(name, body, x)
        return out if quarter else pick(abs(x) < (2.0**-13 if x.dtype == F32 else 2.0**-27), x, out)

    return evaluate


sin, cos = _sin_or_cos(0), _sin_or_cos(1)


def _tangent(reduced: tuple[Lanes, Lanes, Lanes]) -> Lanes:
    n, r, lost = reduced
    z = r * r
    rest = (r * z).fma(poly(z, TAN64), lost.fma(z, lost))
    t = r + rest
    lost = (r - t) + rest
    inverse = -1.0 / t
    inverse = inverse.fma(t.fma(inverse, 1.0) + lost * inverse, inverse)
    return pick((n & 1) == 0, t, inverse)


def _tan(x: Lanes) -> Lanes:
    size = abs(x)
    far = (size >= _NEAR64) & (size < math.inf)
    return where_any(far, lambda: outlined("tan.far", _tan_far, x, inline=False), _tangent(_reduce_near(x)))


def _tan_far(x: Lanes) -> Lanes:
    return _tangent(_reduce_far(x))


@in_double
def tan(x: Lanes) -> Lanes:
    """Tangent."""
    return pick(abs(x) < 2.0**-27, x, outlined("tan", _tan, x))


def atan(x: Lanes) -> Lanes:
    """Inverse tangent: of |x| > 1, pi/2 less that of 1/|x|."""
    size = abs(x)
    beyond = size > 1.0
    y = pick(beyond, 1.0 / size, size)
    return with_sign(_atan_of(y, beyond), x)


def _atan_of(y: Lanes, beyond: Lanes) -> Lanes:
    """The inverse tangent of y, 0 <= y <= 1, or pi/2 less that."""
    single = y.dtype == F32
    z = y * y
    rest = y * (z * poly(z, ATAN32 if single else ATAN64))
    high, low = (_HALF_PI32 if single else _HALF_PI)[:2]
    return pick(beyond, high - (y - (low - rest)), y + rest)


@in_double
def atan2(y: Lanes, x: Lanes) -> Lanes:
    """The angle of the point (x, y)."""
    across, up = abs(x), abs(y)
    steep = up > across
    small, large = pick(steep, across, up), pick(steep, up, across)
    ratio = small / large
    ratio = pick((small == large) & (large == math.inf), 1.0, pick(large == 0.0, 0.0, ratio))
    angle = _atan_of(ratio, steep)
    left = x.view(I64) < 0
    angle = pick(left, (2.0 * _HALF_PI[0] - angle) + 2.0 * _HALF_PI[1], angle)
    return pick((x == x) & (y == y), with_sign(angle, y), x + y)


def _asin_parts(x: Lanes) -> tuple[Lanes, Lanes, Lanes, Lanes]:
    """Where |x| > 1/2, then z, sqrt(z) and asin(sqrt(z)) - sqrt(z) for z = x*x or (1 - |x|) / 2."""
    size = abs(x)
    large = size > 0.5
    z = pick(large, (1.0 - size) * 0.5, x * x)
    y = pick(large, x.emitter.elementary("sqrt", z), size)
    return large, z, y, y * (z * poly(z, ASIN64))


@in_double
def asin(x: Lanes) -> Lanes:
    """Inverse sine: asin(x) = pi/2 - 2 asin(sqrt((1 - x) / 2))."""
    large, _, y, rest = _asin_parts(x)
    out = pick(large, _HALF_PI[0] - (2.0 * y - (_HALF_PI[1] - 2.0 * rest)), y + rest)
    return with_sign(out, x)


@in_double
def acos(x: Lanes) -> Lanes:
    """Inverse cosine."""
    large, z, y, rest = _asin_parts(x)
    middle = _HALF_PI[0] - (x - (_HALF_PI[1] - with_sign(rest, x)))
    root_lost = pick(z == 0.0, 0.0, y.fma(-y, z) / (2.0 * y))
    right = 2.0 * (y + (rest + root_lost))
    left = 2.0 * (_HALF_PI[0] - (y + (rest - _HALF_PI[1])))
    return pick(large, pick(x < 0.0, left, right), middle)
