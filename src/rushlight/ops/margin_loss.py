"""Margin losses with closed-form gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.ops.elementwise import abs as absolute
from rushlight.ops.elementwise import clamp, exp, gt, log1p, maximum, mul, sigmoid
from rushlight.ops.embedding import one_hot
from rushlight.ops.kinds import Array, composite, opaque
from rushlight.ops.linear import cast, sum, unsqueeze
from rushlight.ops.loss import reduced, share
from rushlight.spec import Spec, spec_of


def _soft_margin_grads(g: Any, x: Any, y: Any, reduction: str, needs: tuple[bool, ...]) -> tuple[Any, Any]:
    product = mul(x, y)
    slope = sigmoid(-product) * share(g, reduction, spec_of(product))
    return -y * slope if needs[0] else None, -x * slope if needs[1] else None


@composite(joint=_soft_margin_grads)
def soft_margin_loss(x: Array, y: Array, reduction: str = "mean") -> Array:
    """log(1 + exp(-y * x)) for labels y of 1 or -1."""
    z = -mul(x, y)
    return reduced(maximum(z, 0.0) + log1p(exp(-absolute(z))), reduction)


def _margins(x: Any, target: Any, margin: float) -> tuple[Any, Any]:
    """How far each wrong class comes within `margin` of the labelled one, for rows x; and the labels one-hot."""
    spec = spec_of(x)
    hot = cast(one_hot(target, spec.shape[1]), spec.dtype)
    return clamp(x - sum(x * hot, 1, True) + margin, 0.0) * (1 - hot), hot


def _of_labels(hot: Any, weight: Any) -> Any:
    return 1.0 if weight is None else sum(hot * weight, 1, True)


def _multi_margin_grad(g: Any, x: Any, target: Any, weight: Any, p: int, margin: float, reduction: str) -> Any:
    spec = spec_of(x)
    z, hot = _margins(x, target, margin)
    slope = cast(gt(z, 0), spec.dtype) if p == 1 else 2 * z
    share_ = share(g, reduction, Spec(spec.shape[:1], spec.dtype))
    slope = slope * _of_labels(hot, weight) / spec.shape[1]
    slope = slope * (unsqueeze(share_, 1) if reduction == "none" else share_)
    return slope - hot * sum(slope, 1, True)


@composite(grad=(_multi_margin_grad, None, None))
def multi_margin_loss(
    x: Array, target: Array, weight: Array | None = None, p: int = 1, margin: float = 1.0, reduction: str = "mean"
) -> Array:
    """Mean over classes of max(0, margin - x[label] + x[class]) ** p for rows x."""
    z, hot = _margins(x, target, margin)
    losses = sum((z if p == 1 else z * z) * _of_labels(hot, weight), 1) / spec_of(x).shape[1]
    return reduced(losses, reduction)


@opaque(spec=lambda target: target, grad=None)
def label_counts(xp: Any, target: Array) -> Array:
    """How often each class stands in a row of labels before its first -1."""
    counts = np.zeros(target.shape, np.int64)
    listed = np.logical_and.accumulate(target >= 0, axis=1)
    rows, _ = np.nonzero(listed)
    np.add.at(counts, (rows, target[listed]), 1)
    return counts


def _pairs(x: Any, target: Any) -> tuple[Any, Any]:
    """1 - (x[label] - x[class]) where positive, [N, label, class], and how often each pair counts."""
    spec = spec_of(x)
    counts = label_counts(target)
    labels = cast(counts, spec.dtype)
    others = 1 - cast(gt(counts, 0), spec.dtype)
    return clamp(1 - unsqueeze(x, 2) + unsqueeze(x, 1), 0.0), unsqueeze(labels, 2) * unsqueeze(others, 1)


def _multilabel_grad(g: Any, x: Any, target: Any, reduction: str) -> Any:
    spec = spec_of(x)
    z, pairs = _pairs(x, target)
    slope = cast(gt(z, 0), spec.dtype) * pairs
    per_class = sum(slope, 1) - sum(slope, 2)
    share_ = share(g, reduction, Spec(spec.shape[:1], spec.dtype))
    return per_class * (unsqueeze(share_, 1) if reduction == "none" else share_) / spec.shape[1]


@composite(grad=(_multilabel_grad, None))
def multilabel_margin_loss(x: Array, target: Array, reduction: str = "mean") -> Array:
    """Mean over pairs of a label and another class of max(0, 1 - (x[label] - x[class])), for rows x."""
    z, pairs = _pairs(x, target)
    return reduced(sum(z * pairs, (1, 2)) / spec_of(x).shape[1], reduction)
