"""Box-Muller in float32 with the roundings of PyTorch's vectorised kernel.

PyTorch computes log, sin and cos of eight numbers at a time by the polynomials of the Cephes library [1]_, with fused
multiply-adds where its compiler contracts them. The same bits come out of NumPy if every fused step is done in float64
(the product of two float32 numbers is exact there) and rounded once. Arguments are multiples of 2**-24, so the
equality could be checked for every one of them (`tests/random/test_normal.py` checks a sample).

References
----------
.. [1] S. L. Moshier, Cephes Mathematical Library, single precision: `logf`, `sinf`, `cosf`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_f = np.float32


def _widened(*coefficients: float) -> Any:
    return np.array([_f(c) for c in coefficients], np.float64)


LOG_POLYNOMIAL = [
    c.reshape(())
    for c in _widened(
        7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
        -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
    )
]  # fmt: skip
# Sine and cosine are two rows of one array, so are their coefficients.
SINCOS_POLYNOMIAL = [
    _widened(sine, cosine).reshape(2, 1)
    for sine, cosine in (
        (-1.9515295891e-4, 2.443315711809948e-5),
        (8.3321608736e-3, -1.388731625493765e-3),
        (-1.6666654611e-1, 4.166664568298827e-2),
    )
]

# log 2 and pi / 4 in parts, the leading ones with products by small integers that are exact
_LN2_LOW, _LN2_HIGH = np.array(-2.12194440e-4, _f), np.array(0.693359375, _f)
_QUARTER_PI_HIGH, _QUARTER_PI_MIDDLE = np.array(-0.78515625, _f), np.array(-2.4187564849853515625e-4, _f)
_QUARTER_PI_LOW = np.array(_f(-3.77489497744594108e-8), np.float64)
_FOUR_OVER_PI = np.array(1.27323954473516, _f)
_TWO_PI = np.array(2 * np.pi, _f)
_ONE, _HALF, _MINUS_TWO = np.array(1, _f), np.array(0.5, _f), np.array(-2, _f)

_SQRT_HALF_BITS = np.array(0x3F3504F3, np.int32)
_I1, _I23, _I29, _I30, _I31, _EVEN = (np.array(v, np.int32) for v in (1, 23, 29, 30, 31, ~1))
_I4 = np.array(4, np.int32)
_OCTANT_SHIFT = np.array([[0], [2]], np.int32)
# Eight float32 numbers moved as one item: NumPy copies them several times faster than rows of eight.
_EIGHT = np.dtype("V32")


class BoxMuller:
    """Work space for turning `size` uniforms (a multiple of 16) at a time into normals."""

    __slots__ = ("angle", "bits", "octant", "other", "pair", "pair_wide", "radius", "sign", "spare", "wide", "wide_x")

    def __init__(self, size: int) -> None:
        half = size // 2
        self.wide, self.wide_x = np.empty((2, half), np.float64)
        self.angle, self.radius, self.spare = np.empty((3, half), np.float32)
        self.pair = np.empty((2, half), np.float32)
        self.other = np.empty((2, half), np.float32)
        self.pair_wide = np.empty((2, half), np.float64)
        self.bits, self.octant = np.empty((2, half), np.int32)
        self.sign = np.empty((2, half), np.int32)

    def standard_normal(self, values: Any) -> None:
        """Replace uniforms by normals in place: of 16, the first 8 give radii and the last 8 angles."""
        halves = values.view(_EIGHT).reshape(-1, 2)
        angle, radius, pair = self.angle, self.radius, self.pair
        radius.view(_EIGHT)[...] = halves[:, 0]
        angle.view(_EIGHT)[...] = halves[:, 1]
        np.subtract(_ONE, radius, radius)
        self.log_radius()
        np.multiply(radius, _MINUS_TWO, radius)
        np.sqrt(radius, radius)
        np.multiply(angle, _TWO_PI, angle)
        self.sincos_angle()
        np.multiply(pair, radius, pair)
        eights = pair.view(_EIGHT)
        halves[:, 0] = eights[1]
        halves[:, 1] = eights[0]

    def log_radius(self) -> None:
        """Replace `radius` (positive, normal) by its natural logarithm."""
        x, bits = self.radius, self.bits
        exponent, square = self.other
        mantissa, spare = self.spare, self.pair[0]
        np.subtract(x.view(np.int32), _SQRT_HALF_BITS, bits)
        np.right_shift(bits, _I23, bits)
        exponent[...] = bits
        np.left_shift(bits, _I23, bits)
        np.subtract(x.view(np.int32), bits, mantissa.view(np.int32))
        np.subtract(mantissa, _ONE, mantissa)
        np.multiply(mantissa, mantissa, square)
        _horner(LOG_POLYNOMIAL, mantissa, x, self.wide, self.wide_x)
        np.multiply(x, mantissa, x)
        np.multiply(exponent, _LN2_LOW, spare)
        _fused(x, square, spare, x, self.wide)
        np.multiply(square, _HALF, square)
        np.subtract(x, square, x)
        np.add(x, mantissa, x)
        np.multiply(exponent, _LN2_HIGH, exponent)
        np.add(x, exponent, x)

    def sincos_angle(self) -> None:
        """Write sine and cosine of `angle` (in [0, 2 pi], overwritten) to the rows of `pair`."""
        x, octant, pair = self.angle, self.octant, self.pair
        index, square = self.spare, self.other[0]
        np.multiply(x, _FOUR_OVER_PI, index)
        octant[...] = index
        np.add(octant, _I1, octant)
        np.bitwise_and(octant, _EVEN, octant)
        index[...] = octant
        np.multiply(index, _QUARTER_PI_HIGH, square)
        np.add(x, square, x)
        np.multiply(index, _QUARTER_PI_MIDDLE, square)
        np.add(x, square, x)
        _fused(index, _QUARTER_PI_LOW, x, x, self.wide)
        np.multiply(x, x, square)
        _horner(SINCOS_POLYNOMIAL, square, pair, self.pair_wide, self.wide_x)
        np.multiply(pair, square, pair)
        # sine: s x + x, cosine: c x^2 - x^2 / 2
        factor, term = self.wide_x, self.other
        self.pair_wide[...] = pair
        np.multiply(self.pair_wide[0], x, self.pair_wide[0])
        np.multiply(self.pair_wide[1], factor, self.pair_wide[1])
        np.multiply(square, -_HALF, term[1])
        term[0] = x
        np.add(self.pair_wide, term, self.pair_wide)
        pair[...] = self.pair_wide
        np.add(pair[1], _ONE, pair[1])
        self.to_octant()

    def to_octant(self) -> None:
        """Exchange the rows of `pair` where the quadrant is odd and set their signs, on the bits."""
        octant, sign = self.octant, self.sign
        pair = self.pair.view(np.int32)
        mask, difference = self.bits, sign[0]
        np.left_shift(octant, _I30, mask)
        np.right_shift(mask, _I31, mask)
        np.bitwise_xor(pair[0], pair[1], difference)
        np.bitwise_and(difference, mask, difference)
        np.bitwise_xor(pair, difference, pair)
        np.add(octant, _OCTANT_SHIFT, sign)
        np.bitwise_and(sign, _I4, sign)
        np.left_shift(sign, _I29, sign)
        np.bitwise_xor(pair, sign, pair)


def _horner(coefficients: list[Any], x: Any, out: Any, wide: Any, wide_x: Any) -> None:
    """Polynomial with every step fused and rounded to float32; leaves `x` as float64 in `wide_x`."""
    wide_x[...] = x
    np.multiply(wide_x, coefficients[0], wide)
    np.add(wide, coefficients[1], wide)
    for coefficient in coefficients[2:]:
        out[...] = wide
        wide[...] = out
        np.multiply(wide, wide_x, wide)
        np.add(wide, coefficient, wide)
    out[...] = wide


def _fused(x: Any, y: Any, z: Any, out: Any, wide: Any) -> None:
    """`out = x * y + z` of float32 numbers, rounded once."""
    wide[...] = x
    np.multiply(wide, y, wide)
    np.add(wide, z, wide)
    out[...] = wide
