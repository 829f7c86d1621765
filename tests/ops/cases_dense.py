"""Rows of the case table for activations, softmax, losses, look-ups and affine maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.ops.activation import SELU_ALPHA, SELU_SCALE
from tests.ops.table import case, s

SHAPE = (3, 4)
REDUCTIONS = ("none", "mean", "sum")


def functional(torch: Any) -> Any:
    """The namespace of functionals."""
    return torch.nn.functional


def activation(name: str, theirs: str, **params: Any) -> None:
    """A row of an activation that PyTorch has under the name `theirs` with the same parameters."""

    def reference(torch: Any, x: Any, **given: Any) -> Any:
        return getattr(functional(torch), theirs)(x, **given)

    case(name, reference, *(s((shape, "apart"), **params) for shape in (SHAPE, (), (2, 0))))


for _name, _theirs in (
    ("selu", "selu"), ("silu", "silu"), ("mish", "mish"), ("log_sigmoid", "logsigmoid"), ("hardsigmoid", "hardsigmoid"),
    ("hardswish", "hardswish"),
):  # fmt: skip
    activation(_name, _theirs)
activation("celu", "celu", alpha=0.7)
activation("softplus", "softplus", beta=1.5, threshold=2.0)
activation("hardtanh", "hardtanh", min_val=-1.0, max_val=2.0)
activation("leaky_relu", "leaky_relu", negative_slope=0.2)
activation("softshrink", "softshrink", lambd=0.5)
activation("hardshrink", "hardshrink", lambd=1.5)
activation("threshold", "threshold", threshold=0.5, value=7.0)
case("gelu", lambda torch, x, approximate: functional(torch).gelu(x, approximate=approximate),
     s(SHAPE, approximate="none"), s(SHAPE, approximate="tanh"))  # fmt: skip
case(
    "elu", lambda torch, x, alpha, scale, input_scale: (
        functional(torch).elu(x, alpha) if scale == 1 else functional(torch).selu(x)
    ),
    s((SHAPE, "apart"), alpha=0.7, scale=1.0, input_scale=1.0),
    s((SHAPE, "apart"), alpha=SELU_ALPHA, scale=SELU_SCALE, input_scale=1.0),
)  # fmt: skip
case(
    "prelu_kernel",
    lambda torch, x, w: torch.where(x > 0, x, w * x),
    s((SHAPE, "apart"), (4,)),
    s((SHAPE, "apart"), (1,)),
)
case("rrelu_with_noise", lambda torch, x, noise: x * noise.detach(), s(SHAPE, (SHAPE, "index")))
case("rrelu_eval", lambda torch, x, slope: functional(torch).leaky_relu(x, slope), s((SHAPE, "apart"), slope=0.2))
case("glu", lambda torch, x, dim: functional(torch).glu(x, dim), s(SHAPE, dim=1), s((4, 3), dim=-2))

# Softmax

for _name in ("softmax", "log_softmax"):
    case(_name, lambda torch, x, dim, name=_name: getattr(torch, name)(x, dim),
         s(SHAPE, dim=1), s((2, 3, 2), dim=-2), s((), dim=0), s((2, 0), dim=1), s((30, 40), dim=1))  # fmt: skip
case("logsumexp", lambda torch, x, dim, keepdim: torch.logsumexp(x, (0, 1) if dim is None else dim, keepdim),
     s(SHAPE, dim=1, keepdim=False), s(SHAPE, dim=0, keepdim=True), s(SHAPE, dim=(0, 1), keepdim=True), s(SHAPE, dim=None, keepdim=False))  # fmt: skip

# Losses of numbers


def pointwise(name: str, reference: Callable[..., Any], *operands: Any, **params: Any) -> None:
    """A row of a loss for each reduction."""
    case(name, reference, *(s(*operands, reduction=r, **params) for r in REDUCTIONS))


pointwise(
    "mse_loss", lambda torch, x, y, reduction: functional(torch).mse_loss(x, y, reduction=reduction), SHAPE, SHAPE
)
pointwise(
    "mse_loss_grad",
    lambda torch, g, x, y, reduction: g * 2 * (x - y) / (x.numel() if reduction == "mean" else 1),
    (),
    SHAPE,
    SHAPE,
)
pointwise("smooth_l1_loss", lambda torch, x, y, reduction, bound: functional(torch).smooth_l1_loss(x, y, reduction=reduction, beta=bound),
          SHAPE, (SHAPE, "apart"), bound=0.7)  # fmt: skip
pointwise("huber_loss", lambda torch, x, y, reduction, bound: functional(torch).huber_loss(x, y, reduction=reduction, delta=bound),
          SHAPE, (SHAPE, "apart"), bound=0.7)  # fmt: skip
case("soft_margin_loss", lambda torch, x, y, reduction: functional(torch).soft_margin_loss(x, y.detach(), reduction=reduction) + 0 * y.sum(),
     s(SHAPE, (SHAPE, "mask"), reduction="none"), grad=False)  # fmt: skip


def bce(torch: Any, x: Any, y: Any, weight: Any, reduction: str) -> Any:
    """Binary cross-entropy of probabilities: the operands are squashed into 0..1 first on both sides."""
    return functional(torch).binary_cross_entropy(x, y, weight, reduction=reduction)


_P = np.linspace(0.05, 0.95, 12).reshape(SHAPE)
case(
    "binary_cross_entropy",
    bce,
    *(s(_P, _P[::-1].copy(), w, reduction=r) for r in REDUCTIONS for w in (None, np.float64(2) * _P)),
    second=False,
    grad=False,
)


def bce_with_logits(torch: Any, x: Any, y: Any, weight: Any, pos_weight: Any, reduction: str) -> Any:
    """PyTorch's, whose factors need no gradient."""
    weight, pos_weight = (None if w is None else w.detach() for w in (weight, pos_weight))
    return functional(torch).binary_cross_entropy_with_logits(x, y, weight, pos_weight=pos_weight, reduction=reduction)


pointwise("bce_with_logits", bce_with_logits, SHAPE, SHAPE, None, None)

# Losses of classes

_LABELS = np.array([2, 0, 3])
_LABELS2 = np.array([[2, 0], [1, 2]])


def classes(torch: Any, x: Any, target: Any, weight: Any, ignore_index: int, reduction: str) -> Any:
    """PyTorch's loss, and the softmax that ours keeps."""
    target = torch.as_tensor(target)
    loss = functional(torch).cross_entropy(x, target, weight, ignore_index=ignore_index, reduction=reduction)
    return loss, torch.softmax(x, 1 if x.dim() > 1 else 0)


def likelihood(torch: Any, x: Any, target: Any, weight: Any, ignore_index: int, reduction: str) -> Any:
    """PyTorch's loss."""
    return functional(torch).nll_loss(
        x, torch.as_tensor(target), weight, ignore_index=ignore_index, reduction=reduction
    )


for _suffix, _shape, _target in (("", SHAPE, _LABELS), ("2d", (2, 3, 2), _LABELS2)):
    _samples = [s(_shape, _target, None, ignore_index=i, reduction=r) for r in REDUCTIONS for i in (-100, 2)]
    case("cross_entropy" + _suffix, classes, *_samples)
    case("nll_loss" + _suffix, likelihood, *_samples)


def scattered(torch: Any, g: Any, target: Any, weight: Any, shape: Any, ignore_index: int, reduction: str) -> Any:
    """The gradient that PyTorch gives nll_loss."""
    x = torch.zeros(shape, dtype=g.dtype, requires_grad=True)
    loss = likelihood(torch, x, target, weight, ignore_index, reduction)
    return torch.autograd.grad(loss, x, g)[0]


case("nll_loss_grad", scattered, *(
    s(() if r != "none" else (3,), _LABELS, None, shape=SHAPE, ignore_index=i, reduction=r) for r in REDUCTIONS for i in (-100, 0)
), grad=False)  # fmt: skip
case(
    "multi_margin_loss", lambda torch, x, t, w, p, margin, reduction: functional(torch).multi_margin_loss(
        x, torch.as_tensor(t), p, margin, w, reduction=reduction
    ),
    *(s((SHAPE, "apart"), _LABELS, None, p=p, margin=0.8, reduction=r) for p in (1, 2) for r in REDUCTIONS), second=False,
)  # fmt: skip
_LISTED = np.array([[3, 0, -1, 1], [0, 1, 2, 3], [-1, 0, 0, 0]])
case("multilabel_margin_loss", lambda torch, x, t, reduction: functional(torch).multilabel_margin_loss(x, torch.as_tensor(t), reduction=reduction),
     *(s((SHAPE, "apart"), _LISTED, reduction=r) for r in REDUCTIONS), second=False)  # fmt: skip

# Look-up


def looked_up(torch: Any, weight: Any, index: Any, padding_idx: int, scale_by_count: bool) -> Any:
    """PyTorch's embedding."""
    padding = None if padding_idx < 0 else padding_idx
    return functional(torch).embedding(index, weight, padding, scale_grad_by_freq=scale_by_count)


# Padding rows and division by counts make gradients that are not those of the forward: see tests/nn/test_dense_lookup.py.
case("embedding", looked_up, s((3, 4), ((2, 5), "index"), padding_idx=-1, scale_by_count=False))
case(
    "embedding_pick",
    lambda torch, w, i, padding_idx, scale_by_count: w[i],
    s((3, 4), ((6,), "index"), padding_idx=-1, scale_by_count=False),
)
case("embedding_grad", lambda torch, g, i, rows, padding_idx, scale_by_count: torch.zeros(rows, 4, dtype=g.dtype).index_add(0, i, g),
     s((6, 4), ((6,), "index"), rows=5, padding_idx=-1, scale_by_count=False), s((200, 4), ((200,), "index"), rows=5, padding_idx=-1, scale_by_count=False))  # fmt: skip
case(
    "one_hot",
    lambda torch, i, classes: functional(torch).one_hot(i, classes),
    s(((2, 3), "index"), classes=4),
    grad=False,
)
_STARTS = np.array([0, 2, 2])


def bags(
    torch: Any, weight: Any, index: Any, starts: Any, scale: Any, mean: bool, padding_idx: int, scale_by_count: bool
) -> Any:
    """PyTorch's embedding_bag."""
    return functional(torch).embedding_bag(
        index, weight, torch.as_tensor(starts), mode="mean" if mean else "sum", per_sample_weights=scale,
        padding_idx=None if padding_idx < 0 else padding_idx, scale_grad_by_freq=scale_by_count,
    )  # fmt: skip


case("embedding_bag", bags, s((3, 4), ((6,), "index"), _STARTS, None, mean=True, padding_idx=-1, scale_by_count=False),
     s((3, 4), ((6,), "index"), _STARTS, (6,), mean=False, padding_idx=-1, scale_by_count=False),
     s((3, 4), ((6,), "index"), _STARTS, None, mean=True, padding_idx=1, scale_by_count=False), second=False)  # fmt: skip

# Affine maps

for _name, _x in (("linear_matrix", (5, 3)), ("linear_batched", (2, 5, 3))):
    case(
        _name,
        lambda torch, b, x, w: functional(torch).linear(x, w, b),
        s((4,), _x, (4, 3)),
        s((4,), (*_x[:-2], 0, 3), (4, 3)),
    )
for _name, _x in (("linear_matrix_plain", (5, 3)), ("linear_batched_plain", (2, 5, 3)), ("linear_vector_plain", (3,))):
    case(_name, lambda torch, b, x, w: functional(torch).linear(x, w), s(None, _x, (4, 3)))
case(
    "bilinear",
    lambda torch, x, y, w, b: functional(torch).bilinear(x, y, w, b),
    s((5, 2), (5, 3), (4, 2, 3), (4,)),
    s((5, 2), (5, 3), (4, 2, 3), None),
)
