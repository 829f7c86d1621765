"""Losses of predictions against numbers and probabilities."""

from __future__ import annotations

import math
import warnings
from typing import Any

from rushlight.dtypes import KERNEL_NAMES
from rushlight.errors import DTypeError, ShapeError, explain
from rushlight.functions import arithmetic as A
from rushlight.functions import reduce as R
from rushlight.functions.activation import no_kernel
from rushlight.functions.shape import broadcast_tensors, expand
from rushlight.layout import broadcast_shapes
from rushlight.modes import autocasts, no_grad
from rushlight.nn.functional.activation import logsigmoid
from rushlight.nn.functional.reduction import checked_reduction, reduced
from rushlight.ops import loss as ops
from rushlight.ops.kinds import Op, result_dtype
from rushlight.ops.linear import cast
from rushlight.ops.margin_loss import soft_margin_loss as soft_margin_op
from rushlight.size import Size
from rushlight.tape import record

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def _warn_broadcast(input: Any, target: Any) -> None:
    if input.size() != target.size():
        warnings.warn(
            f"Using a target size ({target.size()}) that is different to the input size ({input.size()}). This will "
            "likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
            stacklevel=4,
        )


def _pair(op: Op, kernel: str, input: Any, target: Any, params: dict[str, Any]) -> Any:
    """`op` on input and target brought to one dtype and shape."""
    x, y = input._data, target._data
    if x.dtype != y.dtype:
        wanted = result_dtype((input, target)).np
        input = input if x.dtype == wanted else cast(input, wanted)
        target = target if y.dtype == wanted else cast(target, wanted)
    if input._data.dtype.kind in "iub":
        raise no_kernel(kernel, input)
    if x.shape != y.shape:
        input, target = broadcast_tensors(input, target)
    return record(op, (input, target), params)


def _weighted(losses: Any, weight: Any, reduction: str) -> Any:
    """Losses times their weights; the mean is over the weights."""
    losses = losses * weight
    if reduction == "mean":
        return R.sum(losses) / R.sum(weight)
    return reduced(losses, reduction)


def _check_weight(input: Any, weight: Any) -> None:
    if weight.size() != input.size():
        raise ValueError("Weights and input must have the same size.")


@autocasts("float32")
def mse_loss(
    input: Any, target: Any, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
    weight: Any = None,
) -> Any:  # fmt: skip
    """(input - target) ** 2, averaged, summed or neither.

    Parameters
    ----------
    input, target : Tensor[*]
        Of one shape; others broadcast, with a warning.
    reduction : {"mean", "sum", "none"}
    weight : Tensor[*], optional
        Factors of the single losses; the mean is then over their sum.

    Examples
    --------
    >>> torch.nn.functional.mse_loss(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
    tensor(2.)
    """
    if size_average is None and reduce is None and weight is None and reduction in ("mean", "sum", "none"):
        try:
            x, y = input._data, target._data
            if x.shape == y.shape and x.dtype == y.dtype and x.dtype.kind in "fV":
                return record(ops.mse_loss, (input, target), {"reduction": reduction})
        except AttributeError:
            pass
    _warn_broadcast(input, target)
    reduction = checked_reduction(reduction, size_average, reduce)
    if weight is None:
        return _pair(ops.mse_loss, "mse_cpu", input, target, {"reduction": reduction})
    _check_weight(input, weight)
    losses = _pair(ops.mse_loss, "mse_cpu", input, target, {"reduction": "none"})
    return _weighted(losses, weight, reduction)


@autocasts("float32")
def l1_loss(
    input: Any, target: Any, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
    weight: Any = None,
) -> Any:  # fmt: skip
    """|input - target|, averaged, summed or neither."""
    _warn_broadcast(input, target)
    reduction = checked_reduction(reduction, size_average, reduce)
    if weight is not None:
        _check_weight(input, weight)
    losses = A.abs(A.sub(input, target))
    return reduced(losses, reduction) if weight is None else _weighted(losses, weight, reduction)


@autocasts("float32")
def smooth_l1_loss(
    input: Any, target: Any, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
    beta: float = 1.0,
) -> Any:  # fmt: skip
    """Quadratic within `beta` of 0, |input - target| - beta / 2 beyond."""
    _warn_broadcast(input, target)
    reduction = checked_reduction(reduction, size_average, reduce)
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    if beta == 0:
        return reduced(A.abs(A.sub(input, target)), reduction)
    return _pair(ops.smooth_l1_loss, "smooth_l1_cpu", input, target, {"reduction": reduction, "bound": beta})


@autocasts("float32")
def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None) -> Any:
    """Quadratic within `delta` of 0, delta * (|input - target| - delta / 2) beyond."""
    _warn_broadcast(input, target)
    reduction = checked_reduction(reduction)
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    if weight is None:
        return _pair(ops.huber_loss, "huber_cpu", input, target, {"reduction": reduction, "bound": delta})
    _check_weight(input, weight)
    losses = _pair(ops.huber_loss, "huber_cpu", input, target, {"reduction": "none", "bound": delta})
    return reduced(losses * weight, reduction)


@autocasts("float32")
def binary_cross_entropy(
    input: Any, target: Any, weight: Any = None, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:  # fmt: skip
    """-(target * log(input) + (1 - target) * log(1 - input)) for probabilities; logarithms are at least -100.

    Raises
    ------
    RuntimeError
        If an element of `input` or `target` lies outside 0..1, NaN included.
    """
    reduction = checked_reduction(reduction, size_average, reduce)
    if target.size() != input.size():
        raise explain(
            ValueError(
                f"Using a target size ({target.size()}) that is different to the input size ({input.size()}) is "
                "deprecated. Please ensure they have the same size."
            ),
            expected=tuple(input.shape),
            received=tuple(target.shape),
            fix=_same_count_fix(input, target),
        )
    x, y = input._data, target._data
    if x.dtype != y.dtype:
        raise explain(
            DTypeError(f"Found dtype {KERNEL_NAMES[y.dtype.name]} but expected {KERNEL_NAMES[x.dtype.name]}"),
            fix=f"target.to({input.dtype})" if x.dtype.kind in "fV" else f"input.to({target.dtype})",
        )
    if x.dtype.kind not in "fV":
        raise no_kernel("binary_cross_entropy", input)
    if weight is not None:
        weight = expand(weight, _expandable(weight, input.shape))
    return record(ops.binary_cross_entropy, (input, target, weight), {"reduction": reduction})


def _same_count_fix(input: Any, target: Any) -> str | None:
    if target.numel() == input.numel():
        return f"target.view({', '.join(map(str, input.shape))})"
    return None


def _expandable(weight: Any, shape: Any) -> Any:
    have, want = tuple(weight.shape), tuple(shape)
    pairs = list(zip(reversed(have), reversed(want), strict=False))
    for i, (n, m) in enumerate(pairs, 1):
        if n not in (1, m):
            raise ShapeError(
                f"Attempting to broadcast a dimension of length {n} at -{i}! Mismatching argument at index 1 had "
                f"{Size(have)!r}; but expected shape should be broadcastable to {list(want)}"
            )
    return shape


@autocasts("float32")
def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", pos_weight: Any = None,
) -> Any:  # fmt: skip
    """binary_cross_entropy of sigmoid(input), without overflow.

    Parameters
    ----------
    input : Tensor[*]
        Scores of any size.
    target : Tensor[*]
        Probabilities of the positive class.
    pos_weight : Tensor, optional
        Factor of positive examples, one for each class of the last dim.
    """
    reduction = checked_reduction(reduction, size_average, reduce)
    if target.size() != input.size():
        raise explain(
            ValueError(f"Target size ({target.size()}) must be the same as input size ({input.size()})"),
            expected=tuple(input.shape),
            received=tuple(target.shape),
            fix=_same_count_fix(input, target),
        )
    x, y = input._data, target._data
    if y.dtype.kind in "iub":
        raise explain(
            DTypeError(f"result type Float can't be cast to the desired output type {KERNEL_NAMES[y.dtype.name]}"),
            fix="target.float()",
        )
    if x.dtype != y.dtype:
        wanted = result_dtype((input, target)).np
        input = input if x.dtype == wanted else cast(input, wanted)
        target = target if y.dtype == wanted else cast(target, wanted)
    if weight is not None:
        broadcast_shapes(tuple(x.shape), tuple(weight.shape))
    if pos_weight is not None:
        broadcast_shapes(tuple(pos_weight.shape), tuple(x.shape))
    return record(ops.bce_with_logits, (input, target, weight, pos_weight), {"reduction": reduction})


@autocasts("float32")
def kl_div(
    input: Any, target: Any, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
    log_target: bool = False,
) -> Any:  # fmt: skip
    """target * (log(target) - input): the divergence of `target` from the distribution whose logarithm is `input`.

    "batchmean" divides the sum by the first size, which is the mathematical definition.
    """
    if size_average is not None or reduce is not None:
        reduction = checked_reduction(reduction, size_average, reduce)
    elif reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size.'batchmean' "
            "divides only by the batch size, and aligns with the KL div math definition.'mean' will be changed to "
            "behave the same as 'batchmean' in the next major release.",
            stacklevel=2,
        )
    elif reduction != "batchmean":
        checked_reduction(reduction)
    if log_target:
        losses = A.exp(target) * (target - input)
    else:
        losses = A.xlogy(target, target) - target * input
    if reduction == "batchmean" and input.dim():
        return R.sum(losses) / input.size(0)
    return reduced(losses, "sum" if reduction == "batchmean" else reduction)


@autocasts("float32")
def poisson_nll_loss(
    input: Any, target: Any, log_input: bool = True, full: bool = False, size_average: bool | None = None,
    eps: float = 1e-8, reduce: bool | None = None, reduction: str = "mean",
) -> Any:  # fmt: skip
    """Negative log-likelihood of counts under a Poisson distribution with mean exp(input), or `input` itself."""
    reduction = checked_reduction(reduction, size_average, reduce)
    losses = A.exp(input) - target * input if log_input else input - target * A.log(input + eps)
    if full:
        stirling = target * A.log(target) - target + 0.5 * A.log(2 * math.pi * target)
        losses = losses + A.where(A.gt(target, 1), stirling, 0.0)
    return reduced(losses, reduction)


def gaussian_nll_loss(
    input: Any, target: Any, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Any:
    """Negative log-likelihood of `target` under normal distributions with means `input` and variances `var`."""
    if isinstance(var, (int, float)):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = A.mul(input.detach() * 0 + 1, var)
    elif (var._data < 0).any():
        raise ValueError("var has negative entry/entries")
    if var.size() != input.size():
        if input.size()[:-1] == var.size():
            var = var.unsqueeze(-1)
        elif not (input.size()[:-1] == var.size()[:-1] and var.size(-1) == 1):
            raise explain(
                ValueError("var is of incorrect size"), expected=tuple(input.shape), received=tuple(var.shape)
            )
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(reduction + " is not valid")
    var = var.clone()
    with no_grad():
        var.clamp_(min=eps)
    losses = 0.5 * (A.log(var) + (input - target) ** 2 / var)
    if full:
        losses = losses + HALF_LOG_2PI
    return reduced(losses, reduction)


@autocasts("float32")
def hinge_embedding_loss(
    input: Any, target: Any, margin: float = 1.0, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:  # fmt: skip
    """`input` where target is 1, max(0, margin - input) where it is -1."""
    reduction = checked_reduction(reduction, size_average, reduce)
    apart = A.where(A.ne(target, 1), A.clamp_min(margin - input, 0), 0.0)
    alike = A.where(A.ne(target, -1), input, 0.0)
    return reduced(apart + alike, reduction)


@autocasts("float32")
def soft_margin_loss(
    input: Any, target: Any, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"
) -> Any:
    """log(1 + exp(-target * input)) for labels of 1 or -1."""
    reduction = checked_reduction(reduction, size_average, reduce)
    return _pair(soft_margin_op, "soft_margin_loss", input, target, {"reduction": reduction})


@autocasts("float32")
def margin_ranking_loss(
    input1: Any, input2: Any, target: Any, margin: float = 0, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Any:  # fmt: skip
    """max(0, -target * (input1 - input2) + margin): input1 should be larger where target is 1."""
    reduction = checked_reduction(reduction, size_average, reduce)
    if input1.dim() != input2.dim() or input1.dim() != target.dim():
        raise ShapeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: input1: "
            f"{input1.size()}, input2: {input2.size()}, target: {target.size()} "
        )
    return reduced(A.clamp_min(-target * (input1 - input2) + margin, 0), reduction)


def multilabel_soft_margin_loss(
    input: Any, target: Any, weight: Any = None, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:  # fmt: skip
    """Mean over classes of binary_cross_entropy_with_logits."""
    reduction = checked_reduction(reduction, size_average, reduce)
    losses = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    if weight is not None:
        losses = losses * weight
    classes = input.dim() - 1
    return reduced(R.sum(losses, classes) / input.size(classes), reduction)
