"""Fused multiply-add on NumPy arrays: `x * y + z` with one rounding, as the processors do it that PyTorch is built for.

The float64 form follows Boldo and Melquiond [1]_: split the product and the sums without error, then round the small
part to odd, so that the final addition is the only rounding that counts.

References
----------
.. [1] S. Boldo, G. Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd",
   IEEE Trans. Computers 57(4), 2008.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_SPLIT = 2.0**27 + 1
_BELOW_FLOAT32 = np.int64((1 << 29) - 1)
_MIDPOINT = np.int64(1 << 28)


def fma32(x: Any, y: float, z: float) -> Any:
    """`x * y + z` for float32 `x`, `y`, `z`, rounded once to float32."""
    product = np.multiply(x, np.float64(y), dtype=np.float64)
    total, error = _two_sum(product, np.float64(z))
    # Rounding twice differs from rounding once only where the float64 sum is inexact and half way between two floats.
    doubtful = np.flatnonzero((total.view(np.int64) & _BELOW_FLOAT32) == _MIDPOINT)
    if doubtful.size:
        lost = error[doubtful]
        nudged = np.nextafter(total[doubtful], np.copysign(np.inf, lost))
        total[doubtful] = np.where(lost == 0, total[doubtful], nudged)
    return total.astype(np.float32)


def unit_fma32(x: Any, y: float, z: float) -> Any:
    """`fma32` for `x` in [0, 1) with 24 binary places, for which float64 usually holds `x * y + z` exactly."""
    exponents = [math.frexp(v)[1] for v in (y, z) if v != 0.0]
    lowest = min(math.frexp(y)[1] - 48, math.frexp(z)[1] - 24 if z else 0)
    if exponents and max(exponents) + 1 - lowest <= 53:
        wide = np.multiply(x, y, dtype=np.float64)
        np.add(wide, z, wide)
        return wide.astype(np.float32)
    return fma32(x, y, z)


def fma64(x: Any, y: float, z: float) -> Any:
    """`x * y + z` for float64 `x`, `y`, `z` of ordinary size, rounded once to float64."""
    high, low = _two_product(x, np.float64(y))
    sum_high, sum_low = _two_sum(np.float64(z), low)
    top, rest = _two_sum(high, sum_high)
    return top + _rounded_to_odd(sum_low, rest)


def _two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _two_product(a: Any, b: Any) -> tuple[Any, Any]:
    product = a * b
    a_high, a_low = _halves(a)
    b_high, b_low = _halves(b)
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def _halves(a: Any) -> tuple[Any, Any]:
    scaled = a * _SPLIT
    high = scaled - (scaled - a)
    return high, a - high


def _rounded_to_odd(a: Any, b: Any) -> Any:
    total, error = _two_sum(a, b)
    even = (total.view(np.int64) & 1) == 0
    towards = np.where(error > 0, np.inf, -np.inf)
    return np.where(even & (error != 0), np.nextafter(total, towards), total)
