"""Special functions of single elements. Derivatives: NIST Digital Library of Mathematical Functions (DLMF)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rushlight.backends import bessel, incomplete_gamma
from rushlight.ops.elementwise import cos, eq, exp, lgamma, log, log1p, sin, where, zeros_like
from rushlight.ops.elementwise import sgn as sign
from rushlight.ops.kinds import Array, elementwise

TWO_OVER_SQRT_PI = 2 / math.sqrt(math.pi)
SQRT_TWO_PI = math.sqrt(2 * math.pi)
SQRT_HALF = math.sqrt(0.5)


# Normal distribution and error functions


@elementwise(result="float", name="SpecialErfcxBackward0", grad=lambda g, x, out: g * (2 * x * out - TWO_OVER_SQRT_PI))
def erfcx(xp: Any, x: Array) -> Array:
    """exp(x*x) * erfc(x)."""
    return xp.erfcx(x)


@elementwise(result="float", name="SpecialNdtrBackward0", grad=lambda g, x: g * (exp(x * x * -0.5) * (1 / SQRT_TWO_PI)))
def ndtr(xp: Any, x: Array) -> Array:
    """Standard normal distribution function."""
    return xp.ndtr(x)


@elementwise(
    result="float",
    name="SpecialLogNdtrBackward0",
    grad=lambda g, x: g / erfcx(x * -SQRT_HALF) * math.sqrt(2 / math.pi),
)
def log_ndtr(xp: Any, x: Array) -> Array:
    """Logarithm of ndtr."""
    return xp.log_ndtr(x)


@elementwise(result="float", name="SpecialNdtriBackward0", grad=lambda g, out: g * (exp(out * out * 0.5) * SQRT_TWO_PI))
def ndtri(xp: Any, x: Array) -> Array:
    """Inverse of ndtr."""
    return xp.ndtri(x)


# Logarithms


@elementwise(result="float", name="SpecialEntrBackward0", grad=lambda g, x: g * (-1 - log(x)))
def entr(xp: Any, x: Array) -> Array:
    """-x * log(x); 0 at 0, minus infinity below."""
    inside = xp.where(x > 0, x, xp.where(x == 0, x * 0 + 1, x))
    return xp.where(x > 0, -x * xp.log(inside), xp.where(x == 0, x * 0, xp.where(xp.isnan(x), x, -math.inf)))


def _xlog1py_grad_x(g: Any, x: Any, y: Any) -> Any:
    silent = eq(x, 0) & (y <= -1)
    return where(silent, zeros_like(g), g * log1p(y))


@elementwise(result="float", name="SpecialXlog1PyBackward0", grad=(_xlog1py_grad_x, lambda g, x, y: g * x / (y + 1)))
def xlog1py(xp: Any, x: Array, y: Array) -> Array:
    """x * log(1 + y); 0 where x is 0 and y a number."""
    return xp.where((x == 0) & ~xp.isnan(y), x * 0, x * xp.log1p(y))


def _sinc_grad(g: Any, x: Any) -> Any:
    angle = x * math.pi
    zero = eq(x, 0)
    safe = where(zero, zeros_like(x) + 1, x)
    return where(zero, zeros_like(g), g * ((angle * cos(angle) - sin(angle)) / (math.pi * safe * safe)))


@elementwise(result="float", grad=_sinc_grad)
def sinc(xp: Any, x: Array) -> Array:
    """sin(pi x) / (pi x); 1 at 0."""
    angle = x * math.pi
    return xp.where(x == 0, x * 0 + 1, xp.sin(angle) / xp.where(x == 0, x * 0 + 1, angle))


def _logit_grad(g: Any, x: Any, eps: float | None) -> Any:
    low, high = (0.0, 1.0) if eps is None else (eps, 1 - eps)
    outside = zeros_like(g) + (math.nan if eps is None else 0.0)
    return where((x < low) | (x > high), outside, g / (x * (1 - x)))


@elementwise(kinds="biuf", result="float", grad=_logit_grad)
def logit(xp: Any, x: Array, eps: float | None = None) -> Array:
    """log(x / (1 - x)), x first limited to eps..1 - eps if given."""
    if eps is not None:
        x = xp.clip(x, eps, 1 - eps)
    return xp.log(x / (1 - x))


# Gamma family


@elementwise(result="float", grad=lambda g, x, n: g * polygamma(x, n + 1))
def polygamma(xp: Any, x: Array, n: int) -> Array:
    """n-th derivative of digamma."""
    return xp.polygamma(n, x)


@elementwise(result="float", name="SpecialZetaBackward0", grad=(None, lambda g, s, q: g * -s * zeta(s + 1, q)))
def zeta(xp: Any, s: Array, q: Array) -> Array:
    """Hurwitz zeta function: the sum of (q + k) ** -s over k >= 0."""
    return xp.zeta(s, q)


def _gamma_density(a: Any, x: Any) -> Any:
    return exp((a - 1) * log(x) - x - lgamma(a))


@elementwise(result="float", grad=(None, lambda g, a, x: g * _gamma_density(a, x)))
def igamma(xp: Any, a: Array, x: Array) -> Array:
    """Lower incomplete gamma function, regularised."""
    return incomplete_gamma.gammainc(a, x)


@elementwise(result="float", grad=(None, lambda g, a, x: -g * _gamma_density(a, x)))
def igammac(xp: Any, a: Array, x: Array) -> Array:
    """Upper incomplete gamma function, regularised."""
    return incomplete_gamma.gammaincc(a, x)


# Bessel functions


def _i1_over_x(x: Any, value: Any) -> Any:
    zero = eq(x, 0)
    return where(zero, zeros_like(x) + 0.5, value / where(zero, zeros_like(x) + 1, x))


@elementwise(kinds="biuf", refusal="i0_vml_cpu", result="float", grad=lambda g, x: g * i1(x))
def i0(xp: Any, x: Array) -> Array:
    """Modified Bessel function of the first kind, order 0."""
    return xp.i0(x)


@elementwise(result="float", name="SpecialI0EBackward0", grad=lambda g, x, out: g * (i1e(x) - sign(x) * out))
def i0e(xp: Any, x: Array) -> Array:
    """exp(-|x|) * i0(x)."""
    return xp.i0e(x)


@elementwise(result="float", name="SpecialI1Backward0", grad=lambda g, x, out: g * (i0(x) - _i1_over_x(x, out)))
def i1(xp: Any, x: Array) -> Array:
    """Modified Bessel function of the first kind, order 1."""
    return xp.i1(x)


@elementwise(
    result="float",
    name="SpecialI1EBackward0",
    grad=lambda g, x, out: g * (i0e(x) - sign(x) * out - _i1_over_x(x, out)),
)
def i1e(xp: Any, x: Array) -> Array:
    """exp(-|x|) * i1(x)."""
    return xp.i1e(x)


def _without_gradient(kernel: Any) -> Any:
    def body(xp: Any, x: Array) -> Array:
        return kernel(x)

    body.__name__ = kernel.__name__
    body.__doc__ = kernel.__doc__
    return elementwise(result="float", grad=(None,))(body)


(
    bessel_j0, bessel_j1, bessel_y0, bessel_y1, modified_bessel_k0, modified_bessel_k1, scaled_modified_bessel_k0,
    scaled_modified_bessel_k1, spherical_bessel_j0, airy_ai,
) = map(
    _without_gradient,
    (
        bessel.bessel_j0, bessel.bessel_j1, bessel.bessel_y0, bessel.bessel_y1, bessel.modified_bessel_k0,
        bessel.modified_bessel_k1, bessel.scaled_modified_bessel_k0, bessel.scaled_modified_bessel_k1,
        bessel.spherical_bessel_j0, bessel.airy_ai,
    ),
)  # fmt: skip


# Orthogonal polynomials


def _recurrence(x: Any, n: Any, first: Any, step: Any) -> Any:
    """p_n(x) from p_0 = 1, p_1 = first(x) and p_(k+1) = step(k, x, p_k, p_(k-1)); 0 for negative n."""
    x, n = np.broadcast_arrays(x, n)
    degree = np.trunc(n)
    before, now = np.ones_like(x), np.asarray(first(x))
    out = np.where(degree == 0, before, np.where(degree == 1, now, np.zeros_like(x)))
    for k in range(1, int(degree.max(initial=0))):
        before, now = now, step(k, x, now, before)
        out = np.where(degree == k + 1, now, out)
    return np.where(np.isnan(x) | np.isnan(n), x * 0 + n * np.nan, out).astype(x.dtype, copy=False)


def _double(k: int, x: Any, now: Any, before: Any) -> Any:
    return 2 * x * now - before


_POLYNOMIALS = {
    "chebyshev_polynomial_t": (lambda x: x, _double),
    "chebyshev_polynomial_u": (lambda x: 2 * x, _double),
    "chebyshev_polynomial_v": (lambda x: 2 * x - 1, _double),
    "chebyshev_polynomial_w": (lambda x: 2 * x + 1, _double),
    "hermite_polynomial_h": (lambda x: 2 * x, lambda k, x, p, q: 2 * (x * p - k * q)),
    "hermite_polynomial_he": (lambda x: x, lambda k, x, p, q: x * p - k * q),
    "laguerre_polynomial_l": (lambda x: 1 - x, lambda k, x, p, q: ((2 * k + 1 - x) * p - k * q) / (k + 1)),
    "legendre_polynomial_p": (lambda x: x, lambda k, x, p, q: ((2 * k + 1) * x * p - k * q) / (k + 1)),
}


def _polynomial(name: str, shifted: bool = False) -> Any:
    first, step = _POLYNOMIALS[name]

    def body(xp: Any, x: Array, n: Array) -> Array:
        return _recurrence(2 * x - 1 if shifted else x, n, first, step)

    body.__name__ = ("shifted_" if shifted else "") + name
    body.__doc__ = f"{name.replace('_', ' ').capitalize()} of degree n{' at 2x - 1' if shifted else ''}."
    return elementwise(result="float", grad=(None, None))(body)


POLYNOMIALS = {name: _polynomial(name) for name in _POLYNOMIALS}
POLYNOMIALS |= {"shifted_" + name: _polynomial(name, True) for name in _POLYNOMIALS if name.startswith("chebyshev")}
