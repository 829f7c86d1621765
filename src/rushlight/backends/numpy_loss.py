"""Loss kernels in NumPy for the losses that training steps are made of.

Sums are NumPy's pairwise ones except for small arrays, where a dot product is as exact and takes half the time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.backends.numpy_softmax import exp_and_sum, widened
from rushlight.errors import explain

Array = Any
SMALL = 4096
UNDERFLOW = 1e-30


def _mean_of_squares(d: Array, divisor: int) -> Array:
    if d.size <= SMALL:
        flat = d.reshape(-1)
        return np.dot(flat, flat) / d.dtype.type(divisor)
    return np.add.reduce(np.square(d), axis=None) / d.dtype.type(divisor)


def mse_loss(x: Array, y: Array, reduction: str) -> Array:
    """(x - y)**2, averaged, summed or neither."""
    d = np.subtract(x, y)
    kind = d.dtype
    if kind.itemsize == 2:
        d = d.astype(np.float32)
    if reduction == "none":
        out = np.square(d)
    elif kind.kind == "c":
        out = np.add.reduce(d * d, axis=None) / (d.size if reduction == "mean" else 1)
    else:
        out = _mean_of_squares(d, d.size if reduction == "mean" else 1)
    return out if out.dtype == kind else out.astype(kind)


def mse_loss_grad(g: Array, x: Array, y: Array, reduction: str) -> Array:
    """Gradient for x; that for y is its negative."""
    d = np.subtract(x, y)
    d *= g * d.dtype.type(2 / d.size if reduction == "mean" and d.size else 2)
    return d


def target_error(target: Array, classes: int, ignore_index: int) -> Exception:
    """The error for a label outside 0..classes-1."""
    bad = target[((target < 0) | (target >= classes)) & (target != ignore_index)].reshape(-1)
    return explain(
        IndexError(f"Target {bad[0]} is out of bounds."),
        expected=f"labels from 0 to {classes - 1} ({classes} classes), or ignore_index={ignore_index}",
        received=f"{bad.size} of {target.size} labels outside, the first {bad[0]}",
        fix="labels count from 0; the last layer needs one output per class" if bad[0] >= classes else None,
    )


def _flat_index(shape: tuple[int, ...], target: Array) -> Array:
    """Position of each target's score in the flat scores, [N, C, *]."""
    inner = target.shape[1:] if len(shape) > 1 else ()
    if not inner:
        return target + np.arange(0, target.size * shape[-1], shape[-1]) if len(shape) == 2 else target
    size = int(np.prod(inner))
    samples = np.arange(shape[0]).reshape((-1,) + (1,) * len(inner)) * (shape[1] * size)
    return target * size + (samples + np.arange(size).reshape(inner))


def labels(x: Array, target: Array, ignore_index: int) -> tuple[Array, Array | None]:
    """Labels safe to index with, and the mask of those that count (None: all)."""
    classes = x.shape[1] if x.ndim > 1 else x.shape[0]
    target = target.astype(np.int64, copy=False)
    if not target.size or target.view(np.uint64).max() < classes and not 0 <= ignore_index < classes:
        return target, None
    counted = target != ignore_index
    target = np.where(counted, target, 0)
    if target.size and target.view(np.uint64).max() >= classes:
        raise target_error(target, classes, ignore_index)
    return target, counted


def _weights(target: Array, counted: Array | None, weight: Array | None, kind: Any) -> Array | None:
    """Weight of each label, None where all are 1."""
    if weight is None:
        return None if counted is None else counted.astype(kind)
    w = weight[target].astype(kind, copy=False)
    return w if counted is None else w * counted


def _reduced(losses: Array, weights: Array | None, reduction: str) -> Array:
    if weights is not None:
        losses *= weights
    if reduction == "none":
        return losses
    total = np.add.reduce(losses, axis=None)
    if reduction == "sum":
        return total
    return total / (losses.dtype.type(losses.size) if weights is None else np.add.reduce(weights, axis=None))


def _coefficient(g: Array, target: Array, weights: Array | None, reduction: str, kind: Any) -> Array:
    """What multiplies each label's derivative: a 0-d array, or one value per label."""
    if weights is None:
        return np.asarray(g / kind.type(target.size) if reduction == "mean" else g, kind)
    if reduction == "mean":
        total = np.add.reduce(weights, axis=None)
        g = g / total if total else np.zeros_like(g)  # no label counts: the loss is NaN, its gradient 0
    return np.asarray(g * weights, kind)


def _skips(g: Array) -> bool:
    """Whether `g` is the zero that stands for a gradient nobody sent."""
    return not any(g.strides) and not g.any()


def cross_entropy(
    x: Array, target: Array, weight: Array | None, ignore_index: int, reduction: str
) -> tuple[Array, Array]:
    """Negative log-likelihood of the labels under softmax(x), and that softmax for the backward pass."""
    axis = 1 if x.ndim > 1 else 0
    target, counted = labels(x, target, ignore_index)
    if not x.size:
        empty = np.zeros(target.shape, x.dtype)
        return _reduced(empty, None, reduction), np.zeros_like(x)
    wide = widened(x)
    p, total = exp_and_sum(wide, axis)
    p /= total
    at_labels = _flat_index(x.shape, target)
    chosen = p.reshape(-1)[at_labels]
    losses = -np.log(chosen)
    if chosen.min() < UNDERFLOW:
        losses = _far_losses(wide, axis, at_labels)
    if counted is not None:
        losses = np.where(counted, losses, 0)
    loss = _reduced(losses, _weights(target, counted, weight, p.dtype), reduction)
    return (loss, p) if p.dtype == x.dtype else (loss.astype(x.dtype), p)


def _far_losses(x: Array, axis: int, at_labels: Array) -> Array:
    """Losses without the detour over probabilities, which underflow for a label far below the maximum."""
    s = np.subtract(x, np.maximum.reduce(x, axis=axis, keepdims=True), order="C")
    total = np.add.reduce(np.exp(s), axis=axis, keepdims=True)
    return np.log(total).reshape(np.shape(at_labels)) - s.reshape(-1)[at_labels]


def cross_entropy_grad(
    g: Array, g_p: Array, p: Array, target: Array, weight: Array | None, ignore_index: int, reduction: str
) -> Array:
    """(softmax - one_hot) * weight, plus what reaches the softmax itself in a second derivative."""
    target, counted = labels(p, target, ignore_index)
    weights = _weights(target, counted, weight, p.dtype)
    c = _coefficient(widened(g), target, weights, reduction, p.dtype)
    grad = p * (c if c.ndim == 0 else np.expand_dims(c, 1) if p.ndim > 1 else c)
    if p.size:
        grad.reshape(-1)[_flat_index(p.shape, target)] -= c
    if not _skips(g_p):
        axis = 1 if p.ndim > 1 else 0
        grad += p * (g_p - np.add.reduce(g_p * p, axis=axis, keepdims=True))
    return grad


def nll_loss(x: Array, target: Array, weight: Array | None, ignore_index: int, reduction: str) -> Array:
    """-x at the labels."""
    target, counted = labels(x, target, ignore_index)
    wide = widened(x)
    losses = -wide.reshape(-1)[_flat_index(x.shape, target)] if x.size else np.zeros(target.shape, wide.dtype)
    if counted is not None:
        losses = np.where(counted, losses, 0)
    loss = _reduced(np.asarray(losses), _weights(target, counted, weight, wide.dtype), reduction)
    return loss.astype(x.dtype, copy=False)


def nll_loss_grad(
    g: Array, target: Array, weight: Array | None, shape: tuple[int, ...], ignore_index: int, reduction: str
) -> Array:
    """-weight at the labels, zeros elsewhere."""
    grad = np.zeros(shape, g.dtype)
    target, counted = labels(grad, target, ignore_index)
    weights = _weights(target, counted, weight, widened(g).dtype)
    if grad.size:
        grad.reshape(-1)[_flat_index(shape, target)] = -_coefficient(
            widened(g), target, weights, reduction, widened(g).dtype
        )
    return grad


def bce_with_logits(x: Array, y: Array, weight: Array | None, pos_weight: Array | None, reduction: str) -> Array:
    """-(pos_weight * y * log(sigmoid(x)) + (1 - y) * log(1 - sigmoid(x))) * weight."""
    kind = x.dtype
    x, y = widened(x), widened(y)
    tail = np.log1p(np.exp(-np.abs(x)))
    tail += np.maximum(-x, 0)
    if pos_weight is not None:
        tail = tail * ((widened(pos_weight) - 1) * y + 1)
    losses = (1 - y) * x
    losses = losses + tail
    if weight is not None:
        losses = losses * widened(weight)
    return _total(losses, reduction).astype(kind, copy=False)


def _total(losses: Array, reduction: str) -> Array:
    if reduction == "none":
        return losses
    total = np.add.reduce(losses, axis=None)
    return total / losses.dtype.type(losses.size) if reduction == "mean" else total


def bce(x: Array, y: Array, weight: Array | None, reduction: str) -> Array:
    """-(y * log(x) + (1 - y) * log(1 - x)) * weight with logarithms no smaller than -100."""
    if x.size and not (x.min() >= 0 and x.max() <= 1):
        raise _probability_error("input", x)
    if y.size and not (y.min() >= 0 and y.max() <= 1):
        raise _probability_error("target", y)
    kind = x.dtype
    x, y = widened(x), widened(y)
    losses = (y - 1) * np.maximum(np.log1p(-x), -100)
    losses = losses - y * np.maximum(np.log(x), -100)
    if weight is not None:
        losses = losses * widened(weight)
    return _total(losses, reduction).astype(kind, copy=False)


def _probability_error(what: str, x: Array) -> Exception:
    outside = x[~((x >= 0) & (x <= 1))]
    return explain(
        RuntimeError(f"all elements of {what} should be between 0 and 1"),
        expected="probabilities from 0 to 1",
        received=f"{outside.size} of {x.size} outside, the first {outside[0]}",
        fix="binary_cross_entropy_with_logits takes scores of any size" if what == "input" else None,
    )
