"""Derives the polynomials of `rushlight/compiler/vmath_tables.py`: minimax in relative error, by Remez's exchange.

`python scripts/vmath_coefficients.py [name ...]` prints tables, `--check` compares them with the package's.
Needs mpmath.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from typing import Any

import mpmath as mp

from rushlight.compiler import vmath_tables

mp.mp.dps = 90


def remez(
    f: Callable[[Any], Any], low: Any, high: Any, degree: int, weight: Callable[[Any], Any] | None = None
) -> tuple[list[Any], Any]:
    """Coefficients c[0..degree] of a polynomial p that makes max |weight * (p - f)| least, and that maximum."""
    low, high = mp.mpf(low), mp.mpf(high)
    n = degree + 2
    weight = weight or (lambda x: 1 / f(x))
    nodes = [(low + high) / 2 - (high - low) / 2 * mp.cos(mp.pi * k / (n - 1)) for k in range(n)]
    coefficients: list[Any] = []
    for _ in range(30):
        rows = mp.matrix(n, n)
        right = mp.matrix(n, 1)
        for i, x in enumerate(nodes):
            for j in range(degree + 1):
                rows[i, j] = x**j
            rows[i, degree + 1] = (-1) ** i / weight(x)
            right[i] = f(x)
        solved = mp.lu_solve(rows, right)
        coefficients, level = [solved[j] for j in range(degree + 1)], abs(solved[degree + 1])
        high_first = coefficients[::-1]
        nodes, worst = _extrema(lambda x, c=high_first: weight(x) * (mp.polyval(c, x) - f(x)), nodes, low, high)
        if worst < level * mp.mpf("1.001"):
            break
    return coefficients, worst


def _extrema(error: Callable[[Any], Any], nodes: list[Any], low: Any, high: Any) -> tuple[list[Any], Any]:
    """The largest errors between the zeros that separate the nodes."""
    edges = [low, *(_zero(error, a, b) for a, b in itertools.pairwise(nodes)), high]
    found = []
    for a, b in itertools.pairwise(edges):
        grid = [a + (b - a) * k / 16 for k in range(17)]
        best = max(range(17), key=lambda k: abs(error(grid[k])))
        left, right = grid[max(best - 1, 0)], grid[min(best + 1, 16)]
        for _ in range(25):
            third = (right - left) / 3
            if abs(error(left + third)) > abs(error(right - third)):
                right -= third
            else:
                left += third
        found.append((left + right) / 2 if abs(error((left + right) / 2)) > abs(error(grid[best])) else grid[best])
    return found, max(abs(error(x)) for x in found)


def _zero(error: Callable[[Any], Any], a: Any, b: Any) -> Any:
    fa = error(a)
    for _ in range(60):
        middle = (a + b) / 2
        fm = error(middle)
        if (fm > 0) == (fa > 0):
            a, fa = middle, fm
        else:
            b = middle
    return (a + b) / 2


TINY = mp.mpf(10) ** -9


def _guarded(f: Callable[[Any], Any], limit: Any) -> Callable[[Any], Any]:
    """f, with its limit where the quotient in it loses all digits."""
    return lambda x: f(x) if abs(x) > TINY else mp.mpf(limit)


def _of_square(f: Callable[[Any], Any], limit: Any) -> Callable[[Any], Any]:
    return lambda z: f(mp.sqrt(z)) if z > TINY else mp.mpf(limit)


def _erfcx(x: Any) -> Any:
    return mp.exp(x * x) * mp.erfc(x)


def _of_exp(r: Any) -> Any:
    return (r * r + TINY**2) / mp.exp(r)


def _of_exp2(r: Any) -> Any:
    return (abs(r) + TINY) / mp.mpf(2) ** r


def _normal_ratio(u: Any) -> Any:
    """The normal distribution function at -a, divided by exp(-a*a / 2) * u, with u = 1 / (1 + 9/32 a)."""
    a = _normal_size(u)
    return mp.exp(a * a / 2) * mp.erfc(a / mp.sqrt(2)) / (2 * u)


def _normal_size(u: Any) -> Any:
    return (1 / u - 1) / NORMAL_SLOPE


NORMAL_SLOPE = mp.mpf("0.28125")
ERFCX_POLE = mp.mpf("2.5")
LN2_HALF = mp.log(2) / 2 * mp.mpf("1.0001")
QUARTER = (mp.pi / 4) ** 2 * mp.mpf("1.0001")

# name: function, low, high, degree, weight of the error; the result it enters has relative error weight * error
TABLES: dict[str, tuple[Any, ...]] = {
    "exp32": (_guarded(lambda r: (mp.expm1(r) - r) / r**2, 0.5), -LN2_HALF, LN2_HALF, 4, _of_exp),
    "exp64": (_guarded(lambda r: (mp.expm1(r) - r) / r**2, 0.5), -LN2_HALF, LN2_HALF, 9, _of_exp),
    "exp2_32": (_guarded(lambda r: (2**r - 1) / r, mp.log(2)), -0.5002, 0.5002, 5, _of_exp2),
    "exp2_64": (_guarded(lambda r: (2**r - 1) / r, mp.log(2)), -0.5002, 0.5002, 10, _of_exp2),
    "log32": (
        _guarded(lambda f: (mp.log1p(f) - f + f * f / 2) / f**3, mp.mpf(1) / 3),
        -mp.mpf(1) / 3, mp.mpf(1) / 3, 8, lambda f: f * f + TINY**2,
    ),
    "log1p32": (
        _guarded(lambda f: (mp.log1p(f) - f + f * f / 2) / f**3, mp.mpf(1) / 3),
        -0.2501, 0.5001, 8, lambda f: f * f + TINY**2,
    ),
    "log64": (
        _of_square(lambda s: (2 * mp.atanh(s) / s - 2) / s**2, mp.mpf(2) / 3), 0, 0.04001, 7, lambda z: z / 2 + TINY
    ),
    "log_pow": (
        _of_square(
            lambda s: ((2 * mp.atanh(s) / s - 2) / s**2 - mp.mpf(2) / 3 - s**2 * mp.mpf(2) / 5) / s**4, mp.mpf(2) / 7
        ),
        0, 0.04001, 7, lambda z: z**3 / 2 + TINY**2,
    ),
    "erf32": (_of_square(lambda x: mp.erf(x) / x - 1, 2 / mp.sqrt(mp.pi) - 1), 0, 0.93**2, 6, lambda z: 1),
    "erf_far32": (lambda x: -mp.log(mp.erfc(x)), 0.92, 4, 7, lambda x: mp.erfc(x) / mp.erf(x)),
    "erf64": (_of_square(lambda x: mp.erf(x) / x - 1, 2 / mp.sqrt(mp.pi) - 1), 0, 0.25, 8, lambda z: 1),
    "erfcx64": (
        lambda u: _erfcx(ERFCX_POLE * (1 + u) / (1 - u)) * (1 + 2 * ERFCX_POLE * (1 + u) / (1 - u)),
        (mp.mpf("0.499") - ERFCX_POLE) / (mp.mpf("0.499") + ERFCX_POLE),
        (28 - ERFCX_POLE) / (28 + ERFCX_POLE), 22, None,
    ),
    # the farther out, the less it counts
    "normal32": (
        _normal_ratio, 1 / (1 + NORMAL_SLOPE * mp.mpf("14.5")), 1, 7,
        lambda u: mp.exp(-(_normal_size(u) ** 2) / 20) / _normal_ratio(u),
    ),
    "sin32": (_of_square(lambda r: (mp.sin(r) / r - 1) / r**2, -mp.mpf(1) / 6), 0, QUARTER, 2, lambda z: z + TINY),
    "cos32": (
        _of_square(lambda r: (mp.cos(r) - 1 + r * r / 2) / r**4, mp.mpf(1) / 24), 0, QUARTER, 2, lambda z: z * z + TINY
    ),
    "sin64": (_of_square(lambda r: (mp.sin(r) / r - 1) / r**2, -mp.mpf(1) / 6), 0, QUARTER, 5, lambda z: z + TINY),
    "cos64": (
        _of_square(lambda r: (mp.cos(r) - 1 + r * r / 2) / r**4, mp.mpf(1) / 24), 0, QUARTER, 5, lambda z: z * z + TINY
    ),
    "tan64": (_of_square(lambda r: (mp.tan(r) / r - 1) / r**2, mp.mpf(1) / 3), 0, QUARTER, 14, lambda z: z + TINY),
    "atan32": (_of_square(lambda x: (mp.atan(x) / x - 1) / x**2, -mp.mpf(1) / 3), 0, 1, 8, lambda z: z + TINY),
    "atan64": (_of_square(lambda x: (mp.atan(x) / x - 1) / x**2, -mp.mpf(1) / 3), 0, 1, 19, lambda z: z + TINY),
    "asin64": (_of_square(lambda x: (mp.asin(x) / x - 1) / x**2, mp.mpf(1) / 6), 0, 0.2501, 11, lambda z: z + TINY),
}  # fmt: skip


def coefficients_of(name: str) -> tuple[list[float], Any]:
    """A table as float64 numbers, and its error before that rounding."""
    f, low, high, degree, weight = TABLES[name]
    found, worst = remez(f, low, high, degree, weight)
    return [float(c) for c in found], worst


def main(names: list[str]) -> int:
    """Print tables, or with --check compare all with those of the package."""
    wrong = []
    for name in TABLES if "--check" in names or not names else names:
        found, worst = coefficients_of(name)
        if "--check" not in names:
            print(f"{name.upper()} = {tuple(found)}  # error {mp.nstr(worst, 3)}")
        elif tuple(found) != getattr(vmath_tables, name.upper()):
            wrong.append(name)
    if wrong:
        print("differ from the package's:", *wrong)
    return len(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
