"""Error functions of lanes."""

from __future__ import annotations

from rushlight.compiler.vmath_base import F32, Lanes, at_most, pick, poly, with_sign
from rushlight.compiler.vmath_exp import exp

_NEAR = (
    0.12837916657981072, -0.37612633188439615, 0.1128368718886372, -0.026858941516106804, 0.005199906681192073,
    -0.0008130012765940529, 8.316775506397736e-05,
)  # fmt: skip
_FAR = (
    -0.00018663167948068383, 1.1295725953344644, 0.6332300497627094, 0.10840892066002095, -0.025202847622888054,
    0.00420277721762525, -0.0004410152951081667, 2.1662553016413662e-05,
)  # fmt: skip


def erf(x: Lanes) -> Lanes:
    """Error function: near 0 a polynomial, beyond 0.925 from the logarithm of erfc."""
    if x.dtype != F32:
        raise NotImplementedError("erf of float64 lanes")
    size = at_most(abs(x), 4.0)
    near = x.fma(poly(x * x, _NEAR), x)
    far = 1.0 - exp(-poly(size, _FAR))
    return pick(size < 0.925, near, with_sign(far, x))
