"""Error functions of lanes.

float32: a polynomial near 0, beyond 0.925 from the logarithm of erfc. float64: a polynomial up to 1/2, beyond
erfc(x) = exp(-x*x) * P(u) / (1 + 2 x) with u = (x - 5/2) / (x + 5/2), P fitted here.
"""

from __future__ import annotations

from rushlight.compiler.vmath_base import F32, Lanes, at_most, in_double, pick, poly, two_product, with_sign
from rushlight.compiler.vmath_exp import exp

_NEAR32 = (
    0.12837916664233323, -0.37612633697153475, 0.11283693942791266, -0.02685927081665361, 0.005200634378179872,
    -0.0008137438307066056, 8.345227760663993e-05,
)  # fmt: skip
_FAR32 = (
    -0.00018663167948068383, 1.1295725953344644, 0.6332300497627094, 0.10840892066002095, -0.025202847622888054,
    0.00420277721762525, -0.0004410152951081667, 2.1662553016413662e-05,
)  # fmt: skip
_NEAR = (
    0.12837916709551256, -0.37612638903183476, 0.11283791670925561, -0.026866170632954243, 0.0052239773740628955,
    -0.0008548297842497417, 0.00012053339321401695, -1.4845952533043799e-05, 1.4726897879477318e-06,
)  # fmt: skip
_FAR = (
    1.2648381843668615, -0.12235676308240431, -0.09902453957360169, 0.15762991902322107, -0.10296705603857992,
    0.03276089326854422, 0.0009318928176264618, -0.004382078337953529, 0.0004918658065714459, 0.0006321243153720917,
    -8.847915533000512e-05, -0.00011352220953904175, 6.265369354066984e-06, 2.2699204865576472e-05,
    2.6121033233741538e-06, -4.2180780499392255e-06, -1.5947226772869438e-06, 5.321139699976516e-07,
    5.50069200329833e-07, 1.847020697535178e-08, -1.4087619173665444e-07, -2.162905530009125e-08,
    2.3871192153118143e-08,
)  # fmt: skip
_POLE = 2.5


def erf(x: Lanes) -> Lanes:
    """Error function."""
    single = x.dtype == F32
    size = at_most(abs(x), 4.0 if single else 6.0)
    near = x.fma(poly(x * x, _NEAR32 if single else _NEAR), x)
    if single:
        far = 1.0 - exp(-poly(size, _FAR32))
        return pick(size < 0.925, near, with_sign(far, x))
    return pick(size < 0.5, near, with_sign(1.0 - _tail(size), x))


def _tail(x: Lanes) -> Lanes:
    """erfc of x >= 1/2: exp of the rounded square, times 1 less what rounding lost; the quotient with its error."""
    square, lost = two_product(x, x)
    u = (x - _POLE) / (x + _POLE)
    high = poly(u, _FAR[1:])
    above = u.fma(high, _FAR[0])
    above_lost = u.fma(high, _FAR[0] - above)
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
    near = 1.0 - x.fma(poly(x * x, _NEAR), x)
    far = _tail(size)
    return pick(size < 0.5, near, pick(x < 0.0, 2.0 - far, far))
