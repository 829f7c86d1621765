"""How gamma and Dirichlet draws move with their parameters (implicit reparameterisation), in float64.

A draw x with distribution function F(x; a) keeps its quantile when a moves, so dx/da = -(dF/da) / (dF/dx).

References
----------
.. [1] M. Figurnov, S. Mohamed, A. Mnih, "Implicit reparameterization gradients", 2018.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from rushlight.backends.special import digamma

MOST_TERMS = 20_000


@cache
def _quadrature() -> tuple[Any, Any]:
    """Nodes and weights for integrals over e ** -u; made on first use, since they take milliseconds."""
    return np.polynomial.laguerre.laggauss(60)


def standard_gamma_grad(shape: Any, x: Any) -> Any:
    """d x / d shape of gamma draws `x` of scale 1; all derived from F(x; a) = x**a e**-x / Gamma(a + 1) * S(a, x)."""
    a, draws = np.asarray(shape, np.float64).reshape(-1), np.asarray(x, np.float64).reshape(-1)
    upper = draws > a + 6 * np.sqrt(a) + 12
    result = np.empty_like(a)
    result[~upper] = _gamma_by_series(a[~upper], draws[~upper])
    result[upper] = _gamma_by_quadrature(a[upper], draws[upper])
    return result.reshape(np.shape(x)).astype(np.asarray(x).dtype)


def dirichlet_grad(x: Any, concentration: Any, total: Any) -> Any:
    """The part of d x_i / d concentration_i common to all outputs: Beta(a, total - a) moved at x, over 1 - x."""
    draws, a, total = (np.asarray(v, np.float64) for v in np.broadcast_arrays(x, concentration, total))
    shape, kind = draws.shape, np.asarray(x).dtype
    draws, a, b = draws.reshape(-1), a.reshape(-1), (total - a).reshape(-1)
    lower = draws <= (a + 1) / (a + b + 2)
    result = np.empty_like(draws)
    result[lower] = _beta_from_below(draws[lower], a[lower], b[lower])
    result[~lower] = _beta_from_above(draws[~lower], a[~lower], b[~lower])
    return (result / (1 - draws)).reshape(shape).astype(kind)


def _gamma_by_series(a: Any, x: Any) -> Any:
    """S = sum of x**n / ((a + 1) ... (a + n)), all terms positive; dS/da alongside."""
    term = total = np.ones_like(a)
    slope, inverse = np.zeros_like(a), np.zeros_like(a)
    for n in range(1, MOST_TERMS):
        term = term * (x / (a + n))
        inverse = inverse + 1 / (a + n)
        total = total + term
        slope = slope - term * inverse
        if not (term * (1 + inverse) > 1e-17 * total).any():
            break
    return -x / a * (total * (np.log(x) - digamma(a + 1)) + slope)


def _gamma_by_quadrature(a: Any, x: Any) -> Any:
    """The same from the upper tail: the integral over u of (1 + u/x)**(a-1) (log(x + u) - digamma(a)) e**-u."""
    (u, weights), x, a = _quadrature(), x[:, None], a[:, None]
    inside = np.exp((a - 1) * np.log1p(u / x)) * (np.log(x + u) - digamma(a))
    return inside @ weights


def _beta_series(x: Any, a: Any, b: Any) -> tuple[Any, Any, Any]:
    """S = sum of (a+b)_n / (a+1)_n x**n, and its derivatives with respect to a and to b."""
    term = total = np.ones_like(x)
    by_a, by_b, up, down = (np.zeros_like(x) for _ in range(4))
    for n in range(MOST_TERMS):
        term = term * (x * (a + b + n) / (a + 1 + n))
        up, down = up + 1 / (a + b + n), down + 1 / (a + 1 + n)
        total = total + term
        by_a, by_b = by_a + term * (up - down), by_b + term * up
        if not (term * (1 + up + down) > 1e-16 * total).any():
            break
    return total, by_a, by_b


def _beta_from_below(x: Any, a: Any, b: Any) -> Any:
    total, by_a, _ = _beta_series(x, a, b)
    return -x * (1 - x) / a * (total * (np.log(x) + digamma(a + b) - digamma(a + 1)) + by_a)


def _beta_from_above(x: Any, a: Any, b: Any) -> Any:
    y = 1 - x
    total, _, by_a = _beta_series(y, b, a)
    return x * y / b * (total * (np.log(x) + digamma(a + b) - digamma(a)) + by_a)
