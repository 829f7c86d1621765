"""Ops on each element. Bodies call names of `backends/numpy.py` only, so that every backend can run them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rushlight.ops.kinds import OPS, Array, Mask, elementwise
from rushlight.ops.linear import cast, conj_of, zeros_as
from rushlight.ops.logic import bitwise_and as bitwise_and
from rushlight.ops.logic import bitwise_left_shift as bitwise_left_shift
from rushlight.ops.logic import bitwise_not as bitwise_not
from rushlight.ops.logic import bitwise_or as bitwise_or
from rushlight.ops.logic import bitwise_right_shift as bitwise_right_shift
from rushlight.ops.logic import bitwise_xor as bitwise_xor
from rushlight.ops.logic import eq as eq
from rushlight.ops.logic import gcd as gcd
from rushlight.ops.logic import ge as ge
from rushlight.ops.logic import gt as gt
from rushlight.ops.logic import isfinite as isfinite
from rushlight.ops.logic import isinf as isinf
from rushlight.ops.logic import isnan as isnan
from rushlight.ops.logic import isneginf as isneginf
from rushlight.ops.logic import isposinf as isposinf
from rushlight.ops.logic import lcm as lcm
from rushlight.ops.logic import le as le
from rushlight.ops.logic import logical_and as logical_and
from rushlight.ops.logic import logical_not as logical_not
from rushlight.ops.logic import logical_or as logical_or
from rushlight.ops.logic import logical_xor as logical_xor
from rushlight.ops.logic import lt as lt
from rushlight.ops.logic import ne as ne
from rushlight.ops.logic import signbit as signbit
from rushlight.ops.refusals import ADDCDIV, MINUS
from rushlight.spec import spec_of

TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)
LN2 = math.log(2.0)
LN10 = math.log(10.0)


# Arithmetic


@elementwise(grad=(lambda g: g, lambda g: g))
def add(xp: Any, x: Array, y: Array) -> Array:
    """x + y."""
    return x + y


@elementwise(kinds="iufc", refusal=MINUS, grad=(lambda g: g, lambda g: -g))
def sub(xp: Any, x: Array, y: Array) -> Array:
    """x - y."""
    return x - y


@elementwise(kinds="iufc", refusal=MINUS, name="RsubBackward1", grad=(lambda g: -g, lambda g: g))
def rsub(xp: Any, x: Array, y: Array) -> Array:
    """y - x."""
    return xp.subtract(y, x)


@elementwise(grad=lambda g: -g)
def neg(xp: Any, x: Array) -> Array:
    """-x."""
    return -x


@elementwise(grad=(lambda g, y: g * conj_of(y), lambda g, x: g * conj_of(x)))
def mul(xp: Any, x: Array, y: Array) -> Array:
    """x * y."""
    return x * y


@elementwise(result="float", grad=(lambda g, y: g / conj_of(y), lambda g, x, y: -g * conj_of((x / y) / y)))
def div(xp: Any, x: Array, y: Array) -> Array:
    """x / y, floating also for integers."""
    return x / y


@elementwise(result="float", name="DivBackward1", grad=lambda g, number: g / number)
def div_number(xp: Any, x: Array, number: Any = 1) -> Array:
    """x / number for a Python number, where PyTorch divides by a size."""
    return x / number


@elementwise(
    result="float", name="MulBackward0", grad=(lambda g, x, y: -g * conj_of((y / x) / x), lambda g, x: g / conj_of(x))
)
def rdiv(xp: Any, x: Array, y: Array) -> Array:
    """y / x."""
    return xp.true_divide(y, x)


def _check_divisor(x: Any, y: Any) -> None:
    kinds = [a.dtype.kind for a in (x, y) if not isinstance(a, (int, float, complex))]
    if all(k in "iub" for k in kinds) and not isinstance(y, float) and not np.all(y):
        raise RuntimeError("ZeroDivisionError")


@elementwise(kinds="iuf", refusal="div_floor_cpu", grad=(None, None))
def floor_divide(xp: Any, x: Array, y: Array) -> Array:
    """x / y rounded to minus infinity."""
    _check_divisor(x, y)
    return xp.floor_divide(x, y)


@elementwise(kinds="iuf", name="DivBackward1", grad=(None, None))
def div_trunc(xp: Any, x: Array, y: Array) -> Array:
    """x / y rounded to zero."""
    if x.dtype.kind in "iu":
        _check_divisor(x, y)
        quotient = xp.floor_divide(x, y)
        return quotient + ((quotient < 0) & (quotient * y != x)).astype(quotient.dtype)
    return xp.trunc(x / y)


@elementwise(kinds="iuf", grad=(lambda g: g, lambda g, x, y: -g * floor(x / y)))
def remainder(xp: Any, x: Array, y: Array) -> Array:
    """x - y*floor(x/y): the remainder with the sign of y."""
    _check_divisor(x, y)
    return xp.remainder(x, y)


@elementwise(kinds="iuf", grad=(lambda g: g, lambda g, x, y: -g * trunc(x / y)))
def fmod(xp: Any, x: Array, y: Array) -> Array:
    """x - y*trunc(x/y): the remainder with the sign of x."""
    _check_divisor(x, y)
    return xp.fmod(x, y)


def _pow_grad_base(g: Any, x: Any, y: Any) -> Any:
    return g * conj_of(where(eq(y, 0), zeros_like(y), y * pow(x, y - 1)))


def _pow_grad_exponent(g: Any, x: Any, out: Any, y: Any) -> Any:
    return g * conj_of(where(eq(x, 0) & ge(y, 0), zeros_like(out), out * log(x)))


@elementwise(name="PowBackward1", kinds="iufc", refusal="pow", grad=(_pow_grad_base, _pow_grad_exponent))
def pow(xp: Any, x: Array, y: Array) -> Array:
    """x ** y of two arrays."""
    return xp.power(x, y)


def _pow_scalar_grad(g: Any, x: Any, exponent: Any) -> Any:
    if exponent == 0:
        return zeros_as(g)
    if exponent == 2:
        return g * (conj_of(x) * 2)
    return g * conj_of(pow_scalar(x, exponent - 1) * exponent)


@elementwise(name="PowBackward0", grad=_pow_scalar_grad)
def pow_scalar(xp: Any, x: Array, exponent: Any = 2) -> Array:
    """x ** exponent for a Python number; small integers by multiplication."""
    if exponent == 2:
        return x * x
    if exponent == 3:
        return x * x * x
    if exponent == 1:
        return x.copy()
    if exponent == 0.5:
        return xp.sqrt(x)
    if exponent == -1:
        return 1 / x
    return xp.power(x, exponent)


@elementwise(name="PowBackward2", grad=lambda g, out, base: g * out * math.log(base) if base > 0 else g * out * 0)
def rpow_scalar(xp: Any, x: Array, base: Any = 2) -> Array:
    """base ** x for a Python number `base`."""
    return xp.power(np.asarray(base, x.dtype), x)


@elementwise(kinds="uifc", grad=(lambda g, x, out: g * sign_of(x, out)))
def abs(xp: Any, x: Array) -> Array:
    """Absolute value."""
    return xp.absolute(x)


def sign_of(x: Any, magnitude: Any) -> Any:
    """x / |x|, 0 at 0."""
    if spec_of(x).dtype.kind != "c":
        return sign(x)
    return where(eq(magnitude, 0), zeros_like(x), x / magnitude)


@elementwise(
    kinds="biuf",
    refusal="Unlike NumPy, torch.sign is not intended to support complex numbers. Please use torch.sgn instead.",
    grad=lambda g: zeros_as(g),
)
def sign(xp: Any, x: Array) -> Array:
    """-1, 0 or 1."""
    if x.dtype.kind in "fV":  # 0 for NaN, as PyTorch's
        return xp.greater(x, 0).astype(x.dtype) - xp.less(x, 0).astype(x.dtype)
    return x.copy() if x.dtype.kind == "b" else xp.sign(x)


@elementwise(name="SgnBackward0", grad=lambda g: zeros_as(g))
def sgn(xp: Any, x: Array) -> Array:
    """The sign; x/|x| of a complex number."""
    return x.copy() if x.dtype.kind == "b" else xp.sign(x)


@elementwise(result="float", grad=lambda g, out: -g * conj_of(out * out))
def reciprocal(xp: Any, x: Array) -> Array:
    """1 / x."""
    return 1 / x


@elementwise(grad=lambda g, x: g * (conj_of(x) * 2), name="PowBackward0")
def square(xp: Any, x: Array) -> Array:
    """x * x."""
    return x * x


# Exponentials, logarithms, roots


@elementwise(result="float", grad=lambda g, out: g * conj_of(out))
def exp(xp: Any, x: Array) -> Array:
    """e ** x."""
    return xp.exp(x)


@elementwise(result="float", grad=lambda g, out: g * conj_of(out) * LN2)
def exp2(xp: Any, x: Array) -> Array:
    """2 ** x."""
    return xp.exp2(x)


@elementwise(result="float", grad=lambda g, out: g * conj_of(out + 1))
def expm1(xp: Any, x: Array) -> Array:
    """e ** x - 1, accurate near 0."""
    return xp.expm1(x)


@elementwise(result="float", grad=lambda g, x: g / conj_of(x))
def log(xp: Any, x: Array) -> Array:
    """Natural logarithm."""
    return xp.log(x)


@elementwise(result="float", grad=lambda g, x: g / (conj_of(x) * LN2))
def log2(xp: Any, x: Array) -> Array:
    """Logarithm to base 2."""
    return xp.log2(x)


@elementwise(result="float", grad=lambda g, x: g / (conj_of(x) * LN10))
def log10(xp: Any, x: Array) -> Array:
    """Logarithm to base 10."""
    return xp.log10(x)


@elementwise(result="float", grad=lambda g, x: g / conj_of(x + 1))
def log1p(xp: Any, x: Array) -> Array:
    """log(1 + x), accurate near 0."""
    return xp.log1p(x)


@elementwise(result="float", grad=lambda g, out: g / conj_of(out * 2))
def sqrt(xp: Any, x: Array) -> Array:
    """Square root."""
    return xp.sqrt(x)


@elementwise(result="float", grad=lambda g, out: -0.5 * g * conj_of(out * out * out))
def rsqrt(xp: Any, x: Array) -> Array:
    """1 / sqrt(x)."""
    return 1 / xp.sqrt(x)


@elementwise(
    kinds="fc",
    result="float",
    grad=(lambda g, x, out: g * exp(x - out), lambda g, y, out: g * exp(y - out)),
)
def logaddexp(xp: Any, x: Array, y: Array) -> Array:
    """log(e**x + e**y)."""
    return xp.logaddexp(x, y)


@elementwise(
    kinds="f",
    result="float",
    grad=(lambda g, x, out: g * exp2(x - out), lambda g, y, out: g * exp2(y - out)),
)
def logaddexp2(xp: Any, x: Array, y: Array) -> Array:
    """log2(2**x + 2**y)."""
    return xp.logaddexp2(x, y)


# Trigonometry


@elementwise(result="float", grad=lambda g, x: g * conj_of(cos(x)))
def sin(xp: Any, x: Array) -> Array:
    """Sine, radians."""
    return xp.sin(x)


@elementwise(result="float", grad=lambda g, x: -g * conj_of(sin(x)))
def cos(xp: Any, x: Array) -> Array:
    """Cosine, radians."""
    return xp.cos(x)


@elementwise(result="float", grad=lambda g, out: g * conj_of(1 + out * out))
def tan(xp: Any, x: Array) -> Array:
    """Tangent, radians."""
    return xp.tan(x)


@elementwise(result="float", grad=lambda g, x: g * conj_of(rsqrt(1 - x * x)))
def asin(xp: Any, x: Array) -> Array:
    """Inverse sine."""
    return xp.arcsin(x)


@elementwise(result="float", grad=lambda g, x: -g * conj_of(rsqrt(1 - x * x)))
def acos(xp: Any, x: Array) -> Array:
    """Inverse cosine."""
    return xp.arccos(x)


@elementwise(result="float", grad=lambda g, x: g / conj_of(1 + x * x))
def atan(xp: Any, x: Array) -> Array:
    """Inverse tangent."""
    return xp.arctan(x)


@elementwise(
    kinds="biuf",
    result="float",
    grad=(lambda g, x, y: g * y / (x * x + y * y), lambda g, x, y: -g * x / (x * x + y * y)),
)
def atan2(xp: Any, x: Array, y: Array) -> Array:
    """The angle of the point (y, x): atan(x / y) in the right quadrant."""
    return xp.arctan2(x, y)


@elementwise(result="float", grad=lambda g, x: g * conj_of(cosh(x)))
def sinh(xp: Any, x: Array) -> Array:
    """Hyperbolic sine."""
    return xp.sinh(x)


@elementwise(result="float", grad=lambda g, x: g * conj_of(sinh(x)))
def cosh(xp: Any, x: Array) -> Array:
    """Hyperbolic cosine."""
    return xp.cosh(x)


@elementwise(result="float", grad=lambda g, out: g * conj_of(1 - out * out))
def tanh(xp: Any, x: Array) -> Array:
    """Hyperbolic tangent."""
    return xp.tanh(x)


@elementwise(result="float", grad=lambda g, x: g * conj_of(rsqrt(x * x + 1)))
def asinh(xp: Any, x: Array) -> Array:
    """Inverse hyperbolic sine."""
    return xp.arcsinh(x)


@elementwise(result="float", grad=lambda g, x: g * conj_of(rsqrt((x - 1) * (x + 1))))
def acosh(xp: Any, x: Array) -> Array:
    """Inverse hyperbolic cosine."""
    return xp.arccosh(x)


@elementwise(result="float", grad=lambda g, x: g / conj_of(1 - x * x))
def atanh(xp: Any, x: Array) -> Array:
    """Inverse hyperbolic tangent."""
    return xp.arctanh(x)


@elementwise(
    kinds="biuf",
    refusal="deg2rad is not supported for complex tensors.",
    result="float",
    grad=lambda g: g * (math.pi / 180),
)
def deg2rad(xp: Any, x: Array) -> Array:
    """Degrees to radians."""
    return xp.deg2rad(x)


@elementwise(
    kinds="biuf",
    refusal="rad2deg is not supported for complex tensors.",
    result="float",
    grad=lambda g: g * (180 / math.pi),
)
def rad2deg(xp: Any, x: Array) -> Array:
    """Radians to degrees."""
    return xp.rad2deg(x)


@elementwise(
    kinds="f",
    result="float",
    grad=(lambda g, x, out: g * (x / out), lambda g, y, out: g * (y / out)),
)
def hypot(xp: Any, x: Array, y: Array) -> Array:
    """sqrt(x*x + y*y)."""
    return xp.hypot(x, y)


# Special functions


@elementwise(
    kinds="biuf", refusal="erf_vml_cpu", result="float", grad=lambda g, x: g * (exp(-x * x) * TWO_OVER_SQRT_PI)
)
def erf(xp: Any, x: Array) -> Array:
    """Error function."""
    return xp.erf(x)


@elementwise(
    kinds="biuf", refusal="erfc_vml_cpu", result="float", grad=lambda g, x: -g * (exp(-x * x) * TWO_OVER_SQRT_PI)
)
def erfc(xp: Any, x: Array) -> Array:
    """1 - erf(x), accurate where that is small."""
    return xp.erfc(x)


@elementwise(
    kinds="biuf", refusal="erfinv_vml_cpu", result="float", grad=lambda g, out: g * (exp(out * out) / TWO_OVER_SQRT_PI)
)
def erfinv(xp: Any, x: Array) -> Array:
    """The inverse of the error function."""
    return xp.erfinv(x)


@elementwise(kinds="biuf", refusal="lgamma_vml_cpu", result="float", grad=lambda g, x: g * digamma(x))
def lgamma(xp: Any, x: Array) -> Array:
    """Logarithm of |Gamma(x)|."""
    return xp.lgamma(x)


@elementwise(kinds="biuf", refusal="digamma", result="float", grad=lambda g, x: g * OPS["polygamma"](x, n=1))
def digamma(xp: Any, x: Array) -> Array:
    """Derivative of lgamma."""
    return xp.digamma(x)


@elementwise(result="float", grad=lambda g, out: g * (out * (1 - out)))
def sigmoid(xp: Any, x: Array) -> Array:
    """1 / (1 + e**-x)."""
    return 1 / (1 + xp.exp(-x))


@elementwise(kinds="iuf", refusal="Boolean inputs not supported for relu", grad=lambda g, out: g * (out > 0))
def relu(xp: Any, x: Array) -> Array:
    """max(x, 0)."""
    return xp.maximum(x, x.dtype.type(0))


# Rounding


@elementwise(kinds="iuf", refusal="floor_vml_cpu", grad=lambda g: zeros_as(g))
def floor(xp: Any, x: Array) -> Array:
    """The integer at or below x."""
    return x.copy() if x.dtype.kind in "iu" else xp.floor(x)


@elementwise(kinds="iuf", refusal="ceil_vml_cpu", grad=lambda g: zeros_as(g))
def ceil(xp: Any, x: Array) -> Array:
    """The integer at or above x."""
    return x.copy() if x.dtype.kind in "iu" else xp.ceil(x)


@elementwise(kinds="iuf", refusal="trunc_vml_cpu", grad=lambda g: zeros_as(g))
def trunc(xp: Any, x: Array) -> Array:
    """The integer part."""
    return x.copy() if x.dtype.kind in "iu" else xp.trunc(x)


@elementwise(kinds="iuf", refusal="round_vml_cpu", grad=lambda g: zeros_as(g))
def round(xp: Any, x: Array, decimals: int = 0) -> Array:
    """The nearest integer (or multiple of 10**-decimals), ties to even."""
    if x.dtype.kind in "iu":
        return x.copy()
    if decimals == 0:
        return xp.rint(x)
    scale = 10.0 ** (decimals if decimals > 0 else -decimals)
    return xp.rint(x * scale) / scale if decimals > 0 else xp.rint(x / scale) * scale


@elementwise(kinds="f", grad=lambda g: g)
def frac(xp: Any, x: Array) -> Array:
    """x - trunc(x)."""
    return x - xp.trunc(x)


# Choice


def _half_where_equal(g: Any, x: Any, y: Any, wins: Any) -> Any:
    return where(eq(x, y), g / 2, where(wins, g, zeros_like(g)))


@elementwise(
    kinds="biuf",
    refusal="maximum not implemented for complex tensors.",
    grad=(lambda g, x, y: _half_where_equal(g, x, y, gt(x, y)), lambda g, x, y: _half_where_equal(g, x, y, lt(x, y))),
)
def maximum(xp: Any, x: Array, y: Array) -> Array:
    """The greater; NaN if either is."""
    return xp.maximum(x, y)


@elementwise(
    kinds="biuf",
    refusal="minimum not implemented for complex tensors.",
    grad=(lambda g, x, y: _half_where_equal(g, x, y, lt(x, y)), lambda g, x, y: _half_where_equal(g, x, y, gt(x, y))),
)
def minimum(xp: Any, x: Array, y: Array) -> Array:
    """The smaller; NaN if either is."""
    return xp.minimum(x, y)


@elementwise(
    kinds="biuf",
    refusal="fmax not implemented for complex tensors.",
    grad=(
        lambda g, x, y: where(ge(x, y) | isnan(y), g, zeros_like(g)),
        lambda g, x, y: where(ge(x, y) | isnan(y), zeros_like(g), g),
    ),
)
def fmax(xp: Any, x: Array, y: Array) -> Array:
    """The greater, ignoring NaN."""
    return xp.fmax(x, y)


@elementwise(
    kinds="biuf",
    refusal="fmin not implemented for complex tensors.",
    grad=(
        lambda g, x, y: where(le(x, y) | isnan(y), g, zeros_like(g)),
        lambda g, x, y: where(le(x, y) | isnan(y), zeros_like(g), g),
    ),
)
def fmin(xp: Any, x: Array, y: Array) -> Array:
    """The smaller, ignoring NaN."""
    return xp.fmin(x, y)


@elementwise(
    grad=(None, lambda g, c: where(c, g, zeros_like(g)), lambda g, c: where(c, zeros_like(g), g)),
)
def where(xp: Any, c: Mask, x: Array, y: Array) -> Array:
    """x where c is true, else y."""
    return xp.where(c, x, y)


def zeros_like(x: Any) -> Any:
    """A zero of x's dtype, broadcasting as x does."""
    if isinstance(x, (int, float, complex)):
        return 0
    return zeros_as(x) if hasattr(x, "op_rank") else np.zeros((), x.dtype)


def _clamp_grad(g: Any, x: Any, min: Any, max: Any) -> Any:
    if min is not None and max is not None:
        return where(ge(x, min) & le(x, max), g, zeros_like(g))
    return where(ge(x, min) if min is not None else le(x, max), g, zeros_like(g))


@elementwise(kinds="biuf", refusal="clamp is not supported for complex types", name="ClampBackward1", grad=_clamp_grad)
def clamp(xp: Any, x: Array, min: Any = None, max: Any = None) -> Array:
    """x limited to min..max, Python numbers or None."""
    if min is not None:
        x = xp.maximum(x, min)
    return x if max is None else xp.minimum(x, max)


@elementwise(grad=(lambda g, mask: where(mask, zeros_like(g), g), None))
def masked_fill(xp: Any, x: Array, mask: Mask, value: Any = 0) -> Array:
    """x with `value` where the mask is true."""
    return xp.where(mask, np.asarray(value, x.dtype), x)


@elementwise(
    kinds="biuf",
    result="float",
    grad=(lambda g, x, out: where(eq(x, 0), zeros_like(g), g * (out / x)), lambda g: zeros_as(g)),
)
def copysign(xp: Any, x: Array, y: Array) -> Array:
    """|x| with the sign of y."""
    return xp.copysign(x, y)


@elementwise(kinds="f", grad=(None, None))
def nextafter(xp: Any, x: Array, y: Array) -> Array:
    """The next number after x towards y."""
    return xp.nextafter(x, y)


@elementwise(kinds="biuf", refusal="heaviside is not yet implemented for complex tensors.", grad=(None, None))
def heaviside(xp: Any, x: Array, y: Array) -> Array:
    """0 below 0, y at 0, 1 above."""
    return xp.where(xp.equal(x, 0), y, xp.where(xp.less(x, 0), np.zeros((), x.dtype), np.ones((), x.dtype)))


@elementwise(
    kinds="biuf",
    result="float",
    grad=(lambda g, x, y: g * where(eq(x, 0) & le(y, 0), zeros_like(g), log(y)), lambda g, x, y: g * (x / y)),
)
def xlogy(xp: Any, x: Array, y: Array) -> Array:
    """x * log(y), 0 where x is 0."""
    return xp.where(xp.equal(x, 0) & ~xp.isnan(y), np.zeros((), x.dtype), x * xp.log(y))


def _nan_grad(g: Any, x: Any) -> Any:
    return where(isfinite(x), g, zeros_like(g))


@elementwise(grad=_nan_grad)
def nan_to_num(xp: Any, x: Array, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Array:
    """NaN and infinities replaced by numbers, by default 0 and the dtype's limits."""
    if x.dtype.kind not in "fcV":
        return x.copy()
    return np.nan_to_num(x, nan=nan or 0.0, posinf=posinf, neginf=neginf)


# Fused forms


@elementwise(
    kinds="fc",
    refusal="lerp_kernel_scalar",
    grad=(lambda g, weight: g * (1 - weight), lambda g, weight: g * weight),
    name="LerpBackward0",
)
def lerp_scalar(xp: Any, x: Array, end: Array, weight: float = 0.5) -> Array:
    """x + weight * (end - x), for a Python number."""
    if weight < 0.5:
        return x + weight * (end - x)
    return end - (end - x) * (1 - weight)


@elementwise(
    kinds="fc",
    refusal="lerp_kernel_tensor",
    grad=(lambda g, weight: g * (1 - weight), lambda g, weight: g * weight, lambda g, x, end: g * (end - x)),
    name="LerpBackward1",
)
def lerp(xp: Any, x: Array, end: Array, weight: Array) -> Array:
    """x + weight * (end - x)."""
    return xp.where(weight < 0.5, x + weight * (end - x), end - (end - x) * (1 - weight))


@elementwise(
    kinds="uifc",
    refusal="addcmul_cpu_out",
    grad=(lambda g: g, lambda g, y, value: g * conj_of(y) * value, lambda g, x, value: g * conj_of(x) * value),
)
def addcmul(xp: Any, s: Array, x: Array, y: Array, value: float = 1.0) -> Array:
    """s + value * x * y."""
    return s + (x * y if value == 1 else x * y * value)


@elementwise(
    kinds="fc",
    refusal=ADDCDIV,
    grad=(
        lambda g: g,
        lambda g, y, value: g * value / conj_of(y),
        lambda g, x, y, value: -g * value * conj_of(x / (y * y)),
    ),
)
def addcdiv(xp: Any, s: Array, x: Array, y: Array, value: float = 1.0) -> Array:
    """s + value * x / y."""
    return s + (x / y if value == 1 else value * x / y)


@elementwise(grad=lambda g, x: cast(g, spec_of(x).dtype) * 0, result="float")
def angle(xp: Any, x: Array) -> Array:
    """The argument of a complex number; 0 or pi of a real one."""
    if x.dtype.kind == "c":
        return xp.arctan2(x.imag, x.real)
    return xp.where(xp.isnan(x), x, xp.where(x < 0, x.dtype.type(math.pi), x.dtype.type(0)))
