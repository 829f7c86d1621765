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
add, subtract, multiply = np.add, np.subtract, np.multiply
left_shift, right_shift, bitwise_and, bitwise_xor = np.left_shift, np.right_shift, np.bitwise_and, np.bitwise_xor


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
_ONE, _HALF, _MINUS_HALF, _MINUS_TWO = (np.array(v, _f) for v in (1, 0.5, -0.5, -2))

_SQRT_HALF_BITS = np.array(0x3F3504F3, np.int32)
_I1, _I23, _I29, _I30, _I31, _EVEN = (np.array(v, np.int32) for v in (1, 23, 29, 30, 31, ~1))
_I4 = np.array(4, np.int32)
_OCTANT_SHIFT = np.array([[0], [2]], np.int32)
# Eight float32 numbers moved as one item: NumPy copies them several times faster than rows of eight.
_EIGHT = np.dtype("V32")


class BoxMuller:
    """Work space for turning `size` uniforms (a multiple of 16) at a time into normals, kept for the next call."""

    __slots__ = (
        "angle", "bits", "eights", "mantissa", "mantissa_bits", "octant", "pair", "pair_bits", "pair_eights",
        "pair_wide", "radius", "radius_bits", "rows", "scratch", "sign", "wide", "wide_x",
    )  # fmt: skip

    def __init__(self, size: int) -> None:
        half = size // 2
        self.wide, self.wide_x = np.empty((2, half), np.float64)
        self.rows = np.empty((2, half), np.float32)
        self.radius, self.angle = self.rows
        self.radius_bits = self.radius.view(np.int32)
        self.eights = self.rows.view(_EIGHT)
        self.pair = np.empty((2, half), np.float32)
        self.pair_bits, self.pair_eights = self.pair.view(np.int32), self.pair.view(_EIGHT)[::-1]
        self.scratch = np.empty((2, half), np.float32)
        self.pair_wide = np.empty((2, half), np.float64)
        self.mantissa = np.empty(half, np.float32)
        self.mantissa_bits = self.mantissa.view(np.int32)
        self.bits, self.octant = np.empty((2, half), np.int32)
        self.sign = np.empty((2, half), np.int32)

    def standard_normal(self, values: Any) -> None:
        """Replace uniforms by normals in place: of 16, the first 8 give radii and the last 8 angles."""
        halves = values.view(_EIGHT).reshape(-1, 2).T
        angle, radius, pair = self.angle, self.radius, self.pair
        self.eights[...] = halves
        subtract(_ONE, radius, radius)
        self.log_radius()
        multiply(radius, _MINUS_TWO, radius)
        np.sqrt(radius, radius)
        multiply(angle, _TWO_PI, angle)
        self.sincos_angle()
        multiply(pair, radius, pair)
        halves[...] = self.pair_eights

    def log_radius(self) -> None:
        """Replace `radius` (positive, normal) by its natural logarithm."""
        x, bits, mantissa = self.radius, self.bits, self.mantissa
        exponent, square = self.scratch
        spare = self.pair[0]
        subtract(self.radius_bits, _SQRT_HALF_BITS, bits)
        right_shift(bits, _I23, bits)
        exponent[...] = bits
        left_shift(bits, _I23, bits)
        subtract(self.radius_bits, bits, self.mantissa_bits)
        subtract(mantissa, _ONE, mantissa)
        multiply(mantissa, mantissa, square)
        _horner(LOG_POLYNOMIAL, mantissa, x, self.wide, self.wide_x)
        multiply(x, mantissa, x)
        multiply(exponent, _LN2_LOW, spare)
        _fused(x, square, spare, x, self.wide)
        multiply(square, _HALF, square)
        subtract(x, square, x)
        add(x, mantissa, x)
        multiply(exponent, _LN2_HIGH, exponent)
        add(x, exponent, x)

    def sincos_angle(self) -> None:
        """Write sine and cosine of `angle` (in [0, 2 pi], overwritten) to the rows of `pair`."""
        x, octant, pair, index = self.angle, self.octant, self.pair, self.mantissa
        term = self.scratch
        square, last = term
        multiply(x, _FOUR_OVER_PI, index)
        octant[...] = index
        add(octant, _I1, octant)
        bitwise_and(octant, _EVEN, octant)
        index[...] = octant
        multiply(index, _QUARTER_PI_HIGH, square)
        add(x, square, x)
        multiply(index, _QUARTER_PI_MIDDLE, square)
        add(x, square, x)
        _fused(index, _QUARTER_PI_LOW, x, x, self.wide)
        multiply(x, x, square)
        _horner(SINCOS_POLYNOMIAL, square, pair, self.pair_wide, self.wide_x)
        multiply(pair, square, pair)
        # sine: s x + x, cosine: c x^2 - x^2 / 2
        wide = self.pair_wide
        wide[...] = pair
        multiply(wide[0], x, wide[0])
        multiply(wide[1], self.wide_x, wide[1])
        multiply(square, _MINUS_HALF, last)
        square[...] = x
        add(wide, term, wide)
        pair[...] = wide
        cosine = pair[1]
        add(cosine, _ONE, cosine)
        self.to_octant()

    def to_octant(self) -> None:
        """Exchange the rows of `pair` where the quadrant is odd and set their signs, on the bits."""
        octant, sign, mask, pair = self.octant, self.sign, self.bits, self.pair_bits
        difference = sign[0]
        left_shift(octant, _I30, mask)
        right_shift(mask, _I31, mask)
        bitwise_xor(pair[0], pair[1], difference)
        bitwise_and(difference, mask, difference)
        bitwise_xor(pair, difference, pair)
        add(octant, _OCTANT_SHIFT, sign)
        bitwise_and(sign, _I4, sign)
        left_shift(sign, _I29, sign)
        bitwise_xor(pair, sign, pair)


_MOST_SPARES = 8
_spares: dict[int, list[BoxMuller]] = {}


def standard_normal(values: Any) -> None:
    """Replace float32 uniforms (a multiple of 16 of them) by normals in place; any thread may call this."""
    size = len(values)
    kept = _spares.setdefault(size, [])
    # list.pop and append are atomic, so no two threads get the same work space
    transform = kept.pop() if kept else BoxMuller(size)
    transform.standard_normal(values)
    if len(_spares) > _MOST_SPARES:
        _spares.clear()
    else:
        kept.append(transform)


def _horner(coefficients: list[Any], x: Any, out: Any, wide: Any, wide_x: Any) -> None:
    """Polynomial with every step fused and rounded to float32; leaves `x` as float64 in `wide_x`."""
    wide_x[...] = x
    multiply(wide_x, coefficients[0], wide)
    add(wide, coefficients[1], wide)
    for coefficient in coefficients[2:]:
        out[...] = wide
        wide[...] = out
        multiply(wide, wide_x, wide)
        add(wide, coefficient, wide)
    out[...] = wide


def _fused(x: Any, y: Any, z: Any, out: Any, wide: Any) -> None:
    """`out = x * y + z` of float32 numbers, rounded once."""
    wide[...] = x
    multiply(wide, y, wide)
    add(wide, z, wide)
    out[...] = wide
