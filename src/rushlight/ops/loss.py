"""Losses with closed-form gradients. `reduction` is "none", "mean" or "sum"; operands have their final shapes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rushlight.backends import numpy_loss as kernel
from rushlight.errors import ShapeError, explain
from rushlight.ops.elementwise import abs, clamp, exp, log, log1p, maximum, mul, sigmoid, sign, sub, where
from rushlight.ops.kinds import Array, composite, opaque
from rushlight.ops.linear import cast, sum
from rushlight.ops.reduce import mean
from rushlight.spec import Spec, spec_of


def reduced(losses: Any, reduction: str) -> Any:
    """The losses averaged, summed, or as they are."""
    if reduction == "none":
        return losses
    return mean(losses) if reduction == "mean" else sum(losses)


def share(g: Any, reduction: str, spec: Spec) -> Any:
    """What one loss of an array of `spec` receives of the gradient `g` of the reduced loss."""
    return g / max(math.prod(spec.shape), 1) if reduction == "mean" else g


# Regression


@composite(fast=kernel.mse_loss_grad)
def mse_loss_grad(g: Array, x: Array, y: Array, reduction: str) -> Array:
    """Gradient of mse_loss for `x`; that for `y` is its negative."""
    return sub(x, y) * (share(g, reduction, spec_of(x)) * 2)


def _mse_grads(g: Any, x: Any, y: Any, reduction: str, needs: tuple[bool, ...]) -> tuple[Any, Any]:
    arrays = type(g) is np.ndarray and type(x) is np.ndarray and type(y) is np.ndarray
    grad = (kernel.mse_loss_grad if arrays else mse_loss_grad)(g, x, y, reduction)
    return grad, -grad if needs[1] else None


@composite(joint=_mse_grads, fast=kernel.mse_loss)
def mse_loss(x: Array, y: Array, reduction: str = "mean") -> Array:
    """(x - y) ** 2."""
    d = sub(x, y)
    return reduced(mul(d, d), reduction)


def _pair(slope: Any) -> Any:
    """The gradients of x and of y for a loss of x - y, from the slope for x."""

    def grads(g: Any, x: Any, y: Any, reduction: str, bound: float, needs: tuple[bool, ...]) -> tuple[Any, Any]:
        grad = slope(sub(x, y), bound) * share(g, reduction, spec_of(x))
        return grad, -grad if needs[1] else None

    return grads


@composite(joint=_pair(lambda d, bound: where(abs(d) < bound, d / bound, sign(d))))
def smooth_l1_loss(x: Array, y: Array, reduction: str = "mean", bound: float = 1.0) -> Array:
    """Quadratic within `bound` of 0, |x - y| - bound / 2 beyond."""
    d = abs(sub(x, y))
    return reduced(where(d < bound, d * d * (0.5 / bound), d - 0.5 * bound), reduction)


@composite(joint=_pair(lambda d, bound: clamp(d, -bound, bound)))
def huber_loss(x: Array, y: Array, reduction: str = "mean", bound: float = 1.0) -> Array:
    """`bound` times smooth_l1_loss."""
    d = abs(sub(x, y))
    return reduced(where(d <= bound, d * d * 0.5, (d - 0.5 * bound) * bound), reduction)


# Probabilities


def _bce_grads(g: Any, x: Any, y: Any, weight: Any, reduction: str, needs: tuple[bool, ...]) -> tuple[Any, Any, None]:
    share_ = share(g, reduction, spec_of(x))
    if weight is not None:
        share_ = share_ * weight
    x_grad = share_ * ((x - y) / maximum((1 - x) * x, 1e-12)) if needs[0] else None
    y_grad = share_ * (clamp(log1p(-x), -100.0) - clamp(log(x), -100.0)) if needs[1] else None
    return x_grad, y_grad, None


@composite(joint=_bce_grads, name="BinaryCrossEntropyBackward0", fast=kernel.bce)
def binary_cross_entropy(x: Array, y: Array, weight: Array | None = None, reduction: str = "mean") -> Array:
    """-(y * log(x) + (1 - y) * log(1 - x)) with logarithms no smaller than -100."""
    losses = (y - 1) * clamp(log1p(-x), -100.0) - y * clamp(log(x), -100.0)
    return reduced(losses if weight is None else losses * weight, reduction)


def _bce_with_logits_grads(
    g: Any, x: Any, y: Any, weight: Any, pos_weight: Any, reduction: str, needs: tuple[bool, ...]
) -> tuple[Any, ...]:
    share_ = share(g, reduction, spec_of(x))
    if weight is not None:
        share_ = share_ * weight
    x_grad = y_grad = None
    if needs[0]:
        positive = y if pos_weight is None else pos_weight * y
        slope = sigmoid(x) - y if pos_weight is None else (positive + 1 - y) * sigmoid(x) - positive
        x_grad = share_ * slope
    if needs[1]:
        y_grad = share_ * (-x if pos_weight is None else pos_weight * _softplus(-x) - _softplus(x))
    return x_grad, y_grad, None, None


def _softplus(x: Any) -> Any:
    return maximum(x, 0.0) + log1p(exp(-abs(x)))


@composite(joint=_bce_with_logits_grads, name="BinaryCrossEntropyWithLogitsBackward0", fast=kernel.bce_with_logits)
def bce_with_logits(
    x: Array, y: Array, weight: Array | None = None, pos_weight: Array | None = None, reduction: str = "mean"
) -> Array:
    """binary_cross_entropy of sigmoid(x), without overflow; positives weighted by `pos_weight`."""
    tail = log1p(exp(-abs(x))) + maximum(-x, 0.0)
    if pos_weight is not None:
        tail = tail * ((pos_weight - 1) * y + 1)
    losses = (1 - y) * x + tail
    return reduced(losses if weight is None else losses * weight, reduction)


# Classes


def _class_spec(x: Spec, target: Spec, weight: Spec | None) -> None:
    """Check scores [C], [N, C] or [N, C, *] against labels without the class dim."""
    expected = (*x.shape[:1], *x.shape[2:]) if len(x.shape) > 1 else ()
    if target.shape != expected:
        raise ShapeError(f"Expected target size {list(expected)}, got {list(target.shape)}")
    classes = x.shape[1] if len(x.shape) > 1 else x.shape[0]
    if weight is not None and weight.shape != (classes,):
        raise explain(
            ShapeError(
                f"weight tensor should be defined either for all {classes} classes or no classes but got weight tensor "
                f"of shape: {list(weight.shape)}"
            ),
            expected=(classes,),
            received=weight.shape,
        )


def _loss_spec(x: Spec, target: Spec, reduction: str) -> Spec:
    return Spec(target.shape if reduction == "none" else (), x.dtype)


def _cross_entropy_spec(
    x: Spec, target: Spec, weight: Spec | None, ignore_index: int, reduction: str
) -> tuple[Spec, Spec]:
    _class_spec(x, target, weight)
    return _loss_spec(x, target, reduction), x


@composite(fast=kernel.cross_entropy_grad)
def cross_entropy_grad(
    g: Array, g_p: Array, p: Array, target: Array, weight: Array | None, ignore_index: int, reduction: str
) -> Array:
    """Gradient of cross_entropy from the softmax `p`, which may itself have a gradient `g_p`."""
    dim = 1 if len(spec_of(p).shape) > 1 else 0
    at_labels = nll_loss_grad(g, target, weight, spec_of(p).shape, ignore_index, reduction)
    grad = at_labels - p * sum(at_labels, dim, True)
    return grad + p * (g_p - sum(g_p * p, dim, True))


def _cross_entropy_grad(
    g: Any, out: Any, target: Any, weight: Any, x_spec: Spec, ignore_index: int, reduction: str
) -> Any:
    grad = cross_entropy_grad(g[0], g[1], out[1], target, weight, ignore_index, reduction)
    return grad if spec_of(grad).dtype == x_spec.dtype else cast(grad, x_spec.dtype)


@opaque(spec=_cross_entropy_spec, grad=(_cross_entropy_grad, None, None), name="NllLossBackward0")
def cross_entropy(
    xp: Any, x: Array, target: Array, weight: Array | None = None, ignore_index: int = -100, reduction: str = "mean"
) -> tuple[Array, Array]:
    """Negative log-likelihood of `target` under softmax(x) over dim 1, and that softmax."""
    return kernel.cross_entropy(x, target, weight, ignore_index, reduction)


@opaque(spec=_cross_entropy_spec, grad=(_cross_entropy_grad, None, None), name="NllLoss2DBackward0")
def cross_entropy2d(
    xp: Any, x: Array, target: Array, weight: Array | None = None, ignore_index: int = -100, reduction: str = "mean"
) -> tuple[Array, Array]:
    """cross_entropy of scores with dims after the class dim."""
    return kernel.cross_entropy(x, target, weight, ignore_index, reduction)


@opaque(
    spec=lambda g, target, weight, shape, ignore_index, reduction: Spec(shape, g.dtype),
    grad=(
        lambda g, target, weight, ignore_index, reduction: nll_loss(g, target, weight, ignore_index, reduction),
        None,
        None,
    ),
)
def nll_loss_grad(
    xp: Any, g: Array, target: Array, weight: Array | None = None, shape: tuple[int, ...] = (),
    ignore_index: int = -100, reduction: str = "mean",
) -> Array:  # fmt: skip
    """-weight at the labels of an array of `shape`, zeros elsewhere: the transpose of nll_loss."""
    return kernel.nll_loss_grad(g, target, weight, shape, ignore_index, reduction)


def _nll_spec(x: Spec, target: Spec, weight: Spec | None, ignore_index: int, reduction: str) -> Spec:
    _class_spec(x, target, weight)
    return _loss_spec(x, target, reduction)


def _nll_grad(g: Any, x_spec: Spec, target: Any, weight: Any, ignore_index: int, reduction: str) -> Any:
    return nll_loss_grad(g, target, weight, x_spec.shape, ignore_index, reduction)


@opaque(spec=_nll_spec, grad=(_nll_grad, None, None))
def nll_loss(
    xp: Any, x: Array, target: Array, weight: Array | None = None, ignore_index: int = -100, reduction: str = "mean"
) -> Array:
    """-weight * x at the labels (dim 1), averaged over the weights for "mean"."""
    return kernel.nll_loss(x, target, weight, ignore_index, reduction)


@opaque(spec=_nll_spec, grad=(_nll_grad, None, None), name="NllLoss2DBackward0")
def nll_loss2d(
    xp: Any, x: Array, target: Array, weight: Array | None = None, ignore_index: int = -100, reduction: str = "mean"
) -> Array:
    """nll_loss of scores with dims after the class dim."""
    return kernel.nll_loss(x, target, weight, ignore_index, reduction)
