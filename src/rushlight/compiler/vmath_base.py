"""What the functions of `vmath` are written in: exact lanes, polynomials, powers of two.

The functions take and give lanes (`lanes_core.Lanes`) of float32 or float64 that carry no fast-math flags: their range
reductions and error terms must be done as written. They use arithmetic, comparisons and bits only, so that any number
of lanes gives the same bits, and compute every branch, choosing at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
I32, I64 = np.dtype(np.int32), np.dtype(np.int64)
Lanes = Any


class Format:
    """The layout of a floating-point dtype.

    Attributes
    ----------
    bits : the integer dtype of the same size
    digits : bits of the fraction that are stored
    bias : what the exponent field holds for 1.0
    shift : 1.5 * 2**digits; what is added to it is rounded to an integer, which stands in its low bits
    """

    def __init__(self, bits: Any, digits: int, bias: int) -> None:
        self.bits = bits
        self.digits = digits
        self.bias = bias
        self.shift = 1.5 * 2.0**digits
        self.shift_bits = int(np.array(self.shift, F32 if digits == 23 else F64).view(bits))
        self.one_bits = bias << digits
        self.smallest = 2.0 ** (1 - bias)


SINGLE, DOUBLE = Format(I32, 23, 127), Format(I64, 52, 1023)


def format_of(x: Lanes) -> Format:
    """The layout of the lanes' dtype."""
    return SINGLE if x.dtype == F32 else DOUBLE


def poly(x: Lanes, coefficients: Sequence[float]) -> Lanes:
    """A polynomial, lowest coefficient first, by Horner's rule."""
    out = x.constant(coefficients[-1]).strict()
    for c in coefficients[-2::-1]:
        out = out.fma(x, c)
    return out


def pick(c: Lanes, x: Any, y: Any) -> Lanes:
    """x where c, else y; one of the two may be a number."""
    x, y = (x, x.of(y)) if hasattr(x, "of") else (y.of(x), y)
    return x.emitter.select(c, x, y)


def at_most(x: Lanes, limit: float) -> Lanes:
    """The smaller, NaN of NaN, in one instruction."""
    return pick(x > limit, limit, x)


def at_least(x: Lanes, limit: float) -> Lanes:
    """The greater, NaN of NaN."""
    return pick(x < limit, limit, x)


def nearest(x: Lanes, scale: float = 1.0) -> tuple[Lanes, Lanes]:
    """x * scale rounded to an integer: as a float and as the integer, for |x * scale| < 2**22; of NaN anything."""
    f = format_of(x)
    shifted = x.fma(scale, f.shift)
    return shifted - f.shift, shifted.view(f.bits) - f.shift_bits


def power_of_two(n: Lanes, dtype: Any) -> Lanes:
    """2.0 ** n for integer lanes in the range of normal exponents."""
    f = SINGLE if dtype == F32 else DOUBLE
    return ((n + f.bias) << f.digits).view(dtype)


def times_power_of_two(x: Lanes, n: Lanes) -> Lanes:
    """x * 2**n rounded once, for 0.5 <= |x| < 2 and any n that |2 * bias| bounds."""
    half = n >> 1
    return x * power_of_two(half, x.dtype) * power_of_two(n - half, x.dtype)


def with_sign(x: Lanes, y: Lanes) -> Lanes:
    """|x| with the sign of y."""
    return x.emitter.elementary("copysign", x, y)
