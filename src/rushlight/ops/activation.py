"""Activation functions: elementwise bodies with closed-form gradients.

At kinks and limits a gradient takes the side that PyTorch's takes; NaN inputs give what PyTorch gives.
"""

from __future__ import annotations

import math
from typing import Any

from rushlight.errors import ShapeError, explain
from rushlight.layout import wrap_dim
from rushlight.ops.elementwise import exp, mul, sigmoid, tanh, where
from rushlight.ops.kinds import Array, composite, elementwise
from rushlight.ops.linear import cat, getitem_slice
from rushlight.spec import spec_of

SQRT_HALF = math.sqrt(0.5)
SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)
CUBIC = 0.044715
# The fixed point of mean 0 and variance 1: G. Klambauer et al., "Self-Normalizing Neural Networks", 2017.
SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805


def _gelu_grad(g: Any, x: Any, approximate: str) -> Any:
    if approximate == "none":
        return g * gelu_slope(x)
    t = tanh(SQRT_2_OVER_PI * (x + CUBIC * (x * x * x)))
    slope = SQRT_2_OVER_PI * (1 + (3 * CUBIC) * (x * x))
    return g * (0.5 * (1 + t) + (0.5 * x) * ((1 - t * t) * slope))


@elementwise(grad=_gelu_grad)
def gelu(xp: Any, x: Array, approximate: str = "none") -> Array:
    """x times the probability that a standard normal variable is below x; "tanh" is a closed form close to it.

    D. Hendrycks, K. Gimpel, "Gaussian Error Linear Units", 2016.
    """
    if approximate == "none":
        return x * 0.5 * (1 + xp.erf(x * SQRT_HALF))
    return x * 0.5 * (1 + xp.tanh(SQRT_2_OVER_PI * (x + CUBIC * (x * x * x))))


@elementwise(grad=lambda g, x: g * ((2 - x * x) * (INV_SQRT_2PI * exp(x * x * -0.5))))
def gelu_slope(xp: Any, x: Array) -> Array:
    """The derivative of gelu."""
    return 0.5 * (1 + xp.erf(x * SQRT_HALF)) + x * (INV_SQRT_2PI * xp.exp(x * x * -0.5))


def _elu_grad(g: Any, x: Any, alpha: float, scale: float, input_scale: float) -> Any:
    below = (alpha * scale * input_scale) * exp(where(x <= 0, x, 0.0) * input_scale)
    return g * where(x <= 0, below, scale)


@elementwise(grad=_elu_grad)
def elu(xp: Any, x: Array, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Array:
    """scale * x above 0, scale * alpha * (exp(input_scale * x) - 1) below."""
    return xp.where(x <= 0, (alpha * scale) * xp.expm1(xp.minimum(x, 0) * input_scale), x * scale)


@elementwise(name="CeluBackward0", grad=lambda g, x, alpha: _elu_grad(g, x, alpha, 1.0, 1.0 / alpha))
def celu(xp: Any, x: Array, alpha: float = 1.0) -> Array:
    """x above 0, alpha * (exp(x / alpha) - 1) below: continuously differentiable."""
    return xp.where(x <= 0, alpha * xp.expm1(xp.minimum(x, 0) * (1.0 / alpha)), x)


@elementwise(name="EluBackward0", grad=lambda g, x: _elu_grad(g, x, SELU_ALPHA, SELU_SCALE, 1.0))
def selu(xp: Any, x: Array) -> Array:
    """The elu whose constants keep mean 0 and variance 1 through layers."""
    return xp.where(x <= 0, (SELU_ALPHA * SELU_SCALE) * xp.expm1(xp.minimum(x, 0)), x * SELU_SCALE)


def _silu_grad(g: Any, x: Any) -> Any:
    s = sigmoid(x)
    return g * (s * (1 + x * (1 - s)))


@elementwise(grad=_silu_grad)
def silu(xp: Any, x: Array) -> Array:
    """x * sigmoid(x)."""
    return x / (1 + xp.exp(-x))


def _mish_grad(g: Any, x: Any) -> Any:
    t = tanh(softplus(x))
    return g * (t + x * sigmoid(x) * (1 - t * t))


@elementwise(grad=_mish_grad)
def mish(xp: Any, x: Array) -> Array:
    """x * tanh(log(1 + exp(x))): with e = exp(-|x|) the tangent is a quotient of polynomials."""
    e = xp.exp(-xp.abs(x))
    above = xp.where(x < 0, e * (e + 2), 1 + 2 * e)
    return x * (above / (above + xp.where(x < 0, 2, 2 * e * e)))


def _softplus_grad(g: Any, x: Any, beta: float, threshold: float) -> Any:
    z = x * beta
    return g * where(z > threshold, 1.0, sigmoid(z))


@elementwise(grad=_softplus_grad)
def softplus(xp: Any, x: Array, beta: float = 1.0, threshold: float = 20.0) -> Array:
    """log(1 + exp(beta * x)) / beta; x itself where beta * x exceeds `threshold`."""
    z = x * beta
    return xp.where(z > threshold, x, (xp.maximum(z, 0) + xp.log1p(xp.exp(-xp.abs(z)))) / beta)


@elementwise(grad=lambda g, x: g * sigmoid(-x))
def log_sigmoid(xp: Any, x: Array) -> Array:
    """log(sigmoid(x)) without overflow."""
    return xp.minimum(x, 0) - xp.log1p(xp.exp(-xp.abs(x)))


@elementwise(grad=lambda g, x, min_val, max_val: where((x <= min_val) | (x >= max_val), 0.0, g))
def hardtanh(xp: Any, x: Array, min_val: Any = -1.0, max_val: Any = 1.0) -> Array:
    """x limited to min_val..max_val, with gradient 0 on the limits too."""
    return xp.minimum(xp.maximum(x, min_val), max_val)


@elementwise(grad=lambda g, x: where((x > -3) & (x < 3), g * (1 / 6), 0.0))
def hardsigmoid(xp: Any, x: Array) -> Array:
    """x / 6 + 1/2 limited to 0..1."""
    return xp.minimum(xp.maximum(x + 3, 0), 6) * (1 / 6)


def _hardswish_grad(g: Any, x: Any) -> Any:
    return where(x <= -3, 0.0, where(x < 3, g * (x * (1 / 3) + 0.5), g))


@elementwise(grad=_hardswish_grad)
def hardswish(xp: Any, x: Array) -> Array:
    """x * hardsigmoid(x)."""
    return x * xp.minimum(xp.maximum(x + 3, 0), 6) * (1 / 6)


@elementwise(grad=lambda g, x, negative_slope: where(x > 0, g, g * negative_slope))
def leaky_relu(xp: Any, x: Array, negative_slope: float = 0.01) -> Array:
    """x above 0, negative_slope * x below."""
    return xp.where(x > 0, x, x * negative_slope)


@elementwise(
    name="PreluKernelBackward0",
    grad=(lambda g, x, weight: where(x > 0, g, g * weight), lambda g, x: where(x > 0, 0.0, g * x)),
)
def prelu_kernel(xp: Any, x: Array, weight: Array) -> Array:
    """x above 0, weight * x below, with a weight that broadcasts."""
    return xp.where(x > 0, x, weight * x)


@elementwise(name="RreluWithNoiseBackward0", grad=(lambda g, noise: g * noise, None))
def rrelu_with_noise(xp: Any, x: Array, noise: Array) -> Array:
    """x times a slope drawn for each element (1 above 0)."""
    return x * noise


@elementwise(name="RreluWithNoiseBackward0", grad=lambda g, x, slope: where(x > 0, g, g * slope))
def rrelu_eval(xp: Any, x: Array, slope: float) -> Array:
    """leaky_relu with the mean slope."""
    return xp.where(x > 0, x, x * slope)


@elementwise(grad=lambda g, x, lambd: where((x >= -lambd) & (x <= lambd), 0.0, g))
def softshrink(xp: Any, x: Array, lambd: float = 0.5) -> Array:
    """x moved towards 0 by lambd, 0 within lambd of it."""
    return xp.where(x > lambd, x - lambd, xp.where(x < -lambd, x + lambd, x * 0))


@elementwise(grad=lambda g, x, lambd: where((x >= -lambd) & (x <= lambd), 0.0, g))
def hardshrink(xp: Any, x: Array, lambd: float = 0.5) -> Array:
    """0 within lambd of 0, else x."""
    return xp.where((x >= -lambd) & (x <= lambd), 0.0, x)


@elementwise(grad=lambda g, x, threshold: where(x <= threshold, 0.0, g))
def threshold(xp: Any, x: Array, threshold: Any, value: Any) -> Array:
    """x above the threshold, else `value`."""
    return xp.where(x <= threshold, value, x)


def _halves(x: Any, dim: int) -> tuple[Any, Any]:
    shape = spec_of(x).shape
    if not shape:
        raise ShapeError("glu does not support scalars because halving size must be even")
    d = wrap_dim(dim, len(shape))
    half, odd = divmod(shape[d], 2)
    if odd:
        raise explain(
            ShapeError(f"Halving dimension must be even, but dimension {d} is size {shape[d]}"),
            expected=f"an even size in dim {d}",
            received=shape,
        )
    lead = (slice(None),) * d
    return getitem_slice(x, (*lead, slice(0, half))), getitem_slice(x, (*lead, slice(half, None)))


def _glu_grad(g: Any, x: Any, dim: int) -> Any:
    a, b = _halves(x, dim)
    s = sigmoid(b)
    gate = mul(g, s)
    return cat([gate, gate * (a * (1 - s))], dim)


@composite(grad=_glu_grad)
def glu(x: Array, dim: int = -1) -> Array:
    """The first half along `dim` times the sigmoid of the second half."""
    a, b = _halves(x, dim)
    return mul(a, sigmoid(b))
