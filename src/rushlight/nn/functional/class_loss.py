"""Losses of class scores: likelihoods, margins, and label sequences."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.dtypes import KERNEL_NAMES
from rushlight.errors import DTypeError, ShapeError, explain
from rushlight.functions import arithmetic as A
from rushlight.functions import reduce as R
from rushlight.functions.activation import no_kernel
from rushlight.functions.matrix import tensordot
from rushlight.functions.shape import reshape
from rushlight.functions.softmax import log_softmax
from rushlight.modes import autocasts
from rushlight.nn.functional.arguments import require_tensor
from rushlight.nn.functional.dense import linear
from rushlight.nn.functional.reduction import checked_reduction
from rushlight.ops import ctc as ctc_ops
from rushlight.ops import elementwise as E
from rushlight.ops import loss as ops
from rushlight.ops import margin_loss as margin_ops
from rushlight.tape import record, wrap

INT64, UINT8 = np.dtype(np.int64), np.dtype(np.uint8)


def _check_labels(target: Any) -> None:
    if target._data.dtype not in (INT64, UINT8):
        kind = target._data.dtype
        raise explain(
            DTypeError(f"expected target dtype to be Long or Byte, but got {KERNEL_NAMES[kind.name]}"),
            expected="class labels of dtype int64",
            received=target.dtype,
            fix="target.long(), or class probabilities of the shape of the scores"
            if kind.kind == "f"
            else "target.long()",
        )


def _check_weight(input: Any, weight: Any, classes: int) -> None:
    w, x = weight._data, input._data
    if w.shape != (classes,):
        raise explain(
            ShapeError(
                f"weight tensor should be defined either for all {classes} classes or no classes but got weight "
                f"tensor of shape: {list(w.shape)}"
            ),
            expected=(classes,),
            received=tuple(w.shape),
        )
    if w.dtype != x.dtype:
        names = [KERNEL_NAMES[d.name] for d in (x.dtype, w.dtype)]
        raise explain(
            DTypeError(f"expected scalar type {names[0]} but found {names[1]}"), fix=f"weight.to({input.dtype})"
        )


def _check_shapes(x: tuple[int, ...], y: tuple[int, ...]) -> None:
    """PyTorch's errors for scores `x` and labels `y`, in its order."""
    rows = {"expected": (*x[:1], *x[2:]) if len(x) > 1 else (), "received": y}
    if not x:
        raise ValueError("Expected 1 or more dimensions (got 0)")
    if len(x) != 1 and (not y or x[0] != y[0]):
        raise explain(
            ValueError(f"Expected input batch_size ({x[0]}) to match target batch_size ({y[0] if y else 0})."), **rows,
            fix="scores have shape [batch, classes], labels [batch]",
        )  # fmt: skip
    if len(x) <= 2:
        if len(y) > 1:
            fix = f"target.squeeze(1) has shape {[y[0]]}" if y[1:] == (1,) else None
            raise explain(
                ShapeError("0D or 1D target tensor expected, multi-target not supported"), **rows, fix=fix
            )  # fmt: skip
        if len(x) == 1 and y and y[0] != 1:
            raise explain(
                ValueError(f"For 1D input, 1D target must have size 1, but got target size: {y[0]}"), **rows
            )  # fmt: skip
        return
    if len(x) == 4 and len(y) != 3:
        raise explain(
            ShapeError(
                f"only batches of spatial targets supported (3D tensors) but got targets of dimension: {len(y)}"
            ),
            **rows,
        )
    if len(x) == 4 and (x[2:] != y[1:]):
        raise explain(ShapeError(f"size mismatch (got input: {list(x)} , target: {list(y)}"), **rows)
    if (x[0], *x[2:]) != y:
        raise explain(ShapeError(f"Expected target size {[x[0], *x[2:]]}, got {list(y)}"), **rows)


def _labels_of(input: Any, target: Any) -> Any:
    """Labels in the shape of the scores without the class dim: one sample's label may come as [1]."""
    return reshape(target, ()) if len(input._data.shape) == 1 and target._data.shape else target


def nll_loss(
    input: Any, target: Any, weight: Any = None, size_average: bool | None = None, ignore_index: int = -100,
    reduce: bool | None = None, reduction: str = "mean",
) -> Any:  # fmt: skip
    """-input at the labels: the negative log-likelihood if `input` holds log-probabilities.

    Parameters
    ----------
    input : Tensor[C], Tensor[N, C] or Tensor[N, C, *]
    target : Tensor without the class dim, int64
    weight : Tensor[C], optional
        Factor of each class; the mean is over the factors of the labels.
    ignore_index : int
        Label that counts nothing.
    """
    reduction = checked_reduction(reduction, size_average, reduce)
    require_tensor("nll_loss", "input", 1, input)
    x = input._data
    _check_shapes(tuple(x.shape), tuple(target._data.shape))
    if x.dtype.kind not in "fV":
        raise no_kernel("nll_loss_out_frame", input)
    _check_labels(target)
    if weight is not None:
        _check_weight(input, weight, x.shape[1] if len(x.shape) > 1 else x.shape[0])
    op = ops.nll_loss2d if len(x.shape) > 2 else ops.nll_loss
    params = {"ignore_index": ignore_index, "reduction": reduction}
    return record(op, (input, _labels_of(input, target), weight), params)


@autocasts("float32")
def cross_entropy(
    input: Any, target: Any, weight: Any = None, size_average: bool | None = None, ignore_index: int = -100,
    reduce: bool | None = None, reduction: str = "mean", label_smoothing: float = 0.0,
) -> Any:  # fmt: skip
    """Negative log-likelihood of `target` under softmax(`input`), in nats.

    Parameters
    ----------
    input : Tensor[C], Tensor[N, C] or Tensor[N, C, *], floating
        Unnormalised scores.
    target : Tensor
        Labels: int64 without the class dim. Or probabilities of the classes: floating, of the shape of `input`.
    weight : Tensor[C], optional
        Factor of each class; with labels the mean is over the factors of the labels.
    ignore_index : int
        Label that counts nothing.
    label_smoothing : float
        Share of the target, 0 to 1, that is spread evenly over all classes [1]_.

    Returns
    -------
    Tensor[], or one loss for each label with reduction="none"

    Raises
    ------
    ShapeError
        If `target` has another shape than `input` without the class dim.
    IndexError
        If a label is not one of the classes.

    References
    ----------
    .. [1] C. Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2015.

    Examples
    --------
    >>> torch.nn.functional.cross_entropy(torch.tensor([[2.0, 0.0]]), torch.tensor([0]))
    tensor(0.1269)
    """
    if size_average is not None or reduce is not None or reduction not in ("mean", "sum", "none"):
        reduction = checked_reduction(reduction, size_average, reduce)
    try:
        x, y = input._data, target._data
    except AttributeError:
        require_tensor("cross_entropy_loss", "input", 1, input)
        require_tensor("cross_entropy_loss", "target", 2, target)
        raise
    if x.shape == y.shape:
        return _of_probabilities(input, target, weight, ignore_index, reduction, label_smoothing)
    if label_smoothing:
        return _smoothed(input, target, weight, ignore_index, reduction, label_smoothing)
    if x.ndim != 2 or y.shape != x.shape[:1]:
        _check_shapes(tuple(x.shape), tuple(y.shape))
    if x.dtype.kind not in "fV":
        raise no_kernel(f"log_softmax{'_lastdim' if x.ndim < 3 else ''}_kernel_impl", input)
    if y.dtype is not INT64:
        _check_labels(target)
    if weight is not None:
        _check_weight(input, weight, x.shape[1] if x.ndim > 1 else x.shape[0])
    op = ops.cross_entropy2d if x.ndim > 2 else ops.cross_entropy
    params = {"ignore_index": ignore_index, "reduction": reduction}
    return record(op, (input, _labels_of(input, target), weight), params)[0]


def _check_smoothing(label_smoothing: float) -> None:
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing:g}")


def _along_classes(weight: Any, ndim: int) -> Any:
    """Class weights that broadcast over scores of `ndim` dims."""
    return weight if ndim == 1 else reshape(weight, (1, -1) + (1,) * (ndim - 2))


def _of_probabilities(
    input: Any, target: Any, weight: Any, ignore_index: int, reduction: str, label_smoothing: float
) -> Any:
    """Cross-entropy from distributions over the classes."""
    x = input._data
    if target._data.dtype.kind not in "fV":
        raise explain(
            DTypeError(
                "Expected floating point type for target with class probabilities, got "
                f"{KERNEL_NAMES[target._data.dtype.name]}"
            ),
            expected=f"probabilities of shape {list(x.shape)}, or int64 labels of shape {[*x.shape[:1], *x.shape[2:]]}",
            received=f"target {list(x.shape)} of {target.dtype}",
        )
    _check_smoothing(label_smoothing)
    if ignore_index >= 0:
        raise RuntimeError("ignore_index is not supported for floating point target")
    dim = 0 if x.ndim == 1 else 1
    classes = x.shape[dim] if x.ndim else 1
    if weight is not None and weight._data.shape != (classes,):
        raise ShapeError(
            f"cross_entropy: weight tensor should be defined either for all {classes} classes or no classes but got "
            f"weight tensor of shape: {list(weight._data.shape)}"
        )
    scores = log_softmax(input, dim)
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / classes
    losses = scores * target
    if weight is not None:
        losses = losses * _along_classes(weight, x.ndim)
    if reduction == "none":
        return -R.sum(losses, dim)
    total = -R.sum(losses)
    return total if reduction == "sum" else E.div_number(total, max(x.size // max(classes, 1), 1))


def _smoothed(input: Any, target: Any, weight: Any, ignore_index: int, reduction: str, label_smoothing: float) -> Any:
    """Cross-entropy from labels, part of which counts for all classes."""
    _check_smoothing(label_smoothing)
    x = input._data
    dim = 0 if x.ndim == 1 else 1
    scores = log_softmax(input, dim)
    at_labels = nll_loss(scores, target, weight, ignore_index=ignore_index, reduction=reduction)
    labels = _labels_of(input, target)
    if weight is None:
        evenly = -R.sum(scores, dim)
    else:
        evenly = -R.sum(scores * _along_classes(weight, x.ndim), dim)
    ignored = A.eq(labels, ignore_index)
    if evenly.dim() == 0 and labels.dim() == 1:
        ignored = reshape(ignored, ())
    evenly = A.masked_fill(evenly, ignored, 0.0)
    if reduction == "mean":
        evenly = R.sum(evenly) / _label_weights(labels, weight, ignored, ignore_index)
    elif reduction == "sum":
        evenly = R.sum(evenly)
    share = label_smoothing / x.shape[dim]
    return (1 - label_smoothing) * at_labels + evenly * share


def _label_weights(labels: Any, weight: Any, ignored: Any, ignore_index: int) -> Any:
    """Sum of the weights of the labels that count."""
    if type(labels._data) is not np.ndarray:
        return _traced_label_weights(labels, weight, ignored, ignore_index)
    counted = labels._data != ignore_index
    if weight is None:
        return int(np.count_nonzero(counted))
    return wrap(np.asarray(weight._data[labels._data[counted]].sum(dtype=weight._data.dtype)))


def _traced_label_weights(labels: Any, weight: Any, ignored: Any, ignore_index: int) -> Any:
    """The same where labels are values of a traced program."""
    counted = A.ne(labels, ignore_index)
    if weight is None:
        return R.sum(counted)
    picked = weight[reshape(A.where(counted, labels, 0), -1)]
    return R.sum(A.masked_fill(picked, reshape(A.logical_not(counted), -1), 0.0))


def linear_cross_entropy(
    input: Any,
    linear_weight: Any,
    target: Any,
    *,
    linear_bias: Any = None,
    weight: Any = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Any:
    """cross_entropy of a linear layer's scores.

    Parameters
    ----------
    linear_weight : Tensor[C, in_features] or Tensor[C, *, in_features]
        Weights of the classes; dims between give as many losses.
    """
    if options is not None:
        raise NotImplementedError("linear_cross_entropy with options (chunking) is not supported; pass options=None")
    shape = tuple(linear_weight.shape)
    if len(shape) > 2:
        scores = tensordot(input, linear_weight, ([-1], [len(shape) - 1]))
        scores = scores if linear_bias is None else scores + linear_bias
    else:
        scores = linear(input, linear_weight, linear_bias)
    return cross_entropy(
        scores, target, weight, ignore_index=-100 if ignore_index is None else ignore_index, reduction=reduction,
        label_smoothing=label_smoothing,
    )  # fmt: skip


def _rows(input: Any, target: Any, function: str) -> tuple[Any, Any, bool]:
    """Scores and labels with a batch dim, and whether they came without one."""
    if input.dim() == 1:
        return reshape(input, (1, -1)), target, True
    return input, target, False


@autocasts("float32")
def multi_margin_loss(
    input: Any, target: Any, p: int = 1, margin: float = 1.0, weight: Any = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Any:  # fmt: skip
    """Mean over classes of max(0, margin - input[label] + input[class]) ** p."""
    reduction = checked_reduction(reduction, size_average, reduce)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.dim() != 1:
        raise ValueError("weight must be one-dimensional")
    shape = tuple(input._data.shape)
    rows, labels, single = _rows(input, target, "multi_margin_loss")
    labels = reshape(labels, (-1,)) if single or not labels.dim() else labels
    n, classes = rows._data.shape
    if tuple(labels._data.shape) != (n,):
        raise ShapeError(
            "multi_margin_loss: target tensor should be 1-D with size equal to the number of input samples (batch "
            f"size). Expected target size [{n}], but got {list(target._data.shape)}. Input has shape {list(shape)}."
        )
    if weight is not None and weight._data.shape != (classes,):
        raise ShapeError(f"inconsistent weight size, expected {classes} but got {list(weight._data.shape)}")
    y = labels._data
    if y.size and (y.min() < 0 or y.max() >= classes):
        raise explain(RuntimeError("target out of range"), expected=f"labels from 0 to {classes - 1}")
    params = {"p": p, "margin": margin, "reduction": reduction}
    out = record(margin_ops.multi_margin_loss, (rows, labels, weight), params)
    return reshape(out, ()) if single and reduction == "none" else out


@autocasts("float32")
def multilabel_margin_loss(
    input: Any, target: Any, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"
) -> Any:
    """Mean over pairs of a label and another class of max(0, 1 - (input[label] - input[class])).

    Each row of `target` lists labels, ended by -1.
    """
    reduction = checked_reduction(reduction, size_average, reduce)
    if tuple(target._data.shape) != tuple(input._data.shape):
        raise ShapeError(
            f"inconsistent target size: {list(target._data.shape)} for input of size: {list(input._data.shape)}"
        )
    if target._data.dtype != INT64:
        raise DTypeError(f"expected scalar type Long but found {KERNEL_NAMES[target._data.dtype.name]}")
    single = input.dim() == 1
    rows = reshape(input, (1, -1)) if single else input
    labels = reshape(target, (1, -1)) if single else target
    y = labels._data
    if y.size and (y.min() < -1 or y.max() >= y.shape[1]):
        raise RuntimeError("argument #2 'target' is out of range")
    out = record(margin_ops.multilabel_margin_loss, (rows, labels), {"reduction": reduction})
    return reshape(out, ()) if single and reduction == "none" else out


@autocasts("float32")
def ctc_loss(
    log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int = 0, reduction: str = "mean",
    zero_infinity: bool = False,
) -> Any:  # fmt: skip
    """Negative log-likelihood of label sequences of unknown alignment [1]_.

    Parameters
    ----------
    log_probs : Tensor[T, N, C] or Tensor[T, C]
        Log-probabilities of the classes at each step, as of log_softmax.
    targets : Tensor[N, S] or Tensor[sum of lengths]
        Labels, padded or one after another.
    input_lengths, target_lengths : Tensor[N] or sequence of int
    blank : int
        The class between labels.
    reduction : {"mean", "sum", "none"}
        "mean" divides each loss by its target length first.
    zero_infinity : bool
        Count sequences too short for their labels as 0.

    References
    ----------
    .. [1] A. Graves et al., "Connectionist Temporal Classification", 2006.
    """
    reduction = checked_reduction(reduction)
    require_tensor("ctc_loss", "log_probs", 1, log_probs)
    single = log_probs.dim() == 2
    scores = log_probs.unsqueeze(1) if single else log_probs
    steps, batch, classes = scores._data.shape
    if not 0 <= blank < classes:
        raise RuntimeError("blank must be in label range")
    lengths = _lengths("input_lengths", input_lengths, batch)
    label_lengths = _lengths("target_lengths", target_lengths, batch)
    if lengths.size and lengths.max() > steps:
        raise explain(
            RuntimeError(
                f"Expected input_lengths to have value at most {steps}, but got value {lengths.max()} (while checking "
                "arguments for ctc_loss_allocate_outputs)"
            )
        )
    labels = _padded(targets, label_lengths, blank, single)
    if scores._data.dtype.kind not in "fV":
        raise no_kernel("ctc_loss_cpu", log_probs)
    operands = (scores, *(wrap(a) for a in (labels, lengths, label_lengths)))
    losses = record(ctc_ops.ctc_loss, operands, {"blank": blank, "zero_infinity": zero_infinity})[0]
    if reduction == "mean":
        losses = R.mean(losses / wrap(np.maximum(label_lengths, 1).astype(losses._data.dtype)))
    elif reduction == "sum":
        losses = R.sum(losses)
    return reshape(losses, ()) if single and reduction == "none" else losses


def _lengths(name: str, lengths: Any, batch: int) -> Any:
    values = np.asarray(lengths._data if hasattr(lengths, "_data") else lengths).astype(np.int64).reshape(-1)
    if values.size != batch:
        raise ShapeError(f"{name} must be of size batch_size")
    return values


def _padded(targets: Any, lengths: Any, blank: int, single: bool) -> Any:
    """Labels as [N, longest], padded with a class that is not read."""
    y = targets._data.astype(np.int64)
    longest = int(lengths.max()) if lengths.size else 0
    if y.ndim == 1 and not single:
        total = int(lengths.sum())
        if y.shape[0] != total:
            raise ShapeError(
                f"Expected tensor to have size {total} at dimension 0, but got size {y.shape[0]} for argument #2 "
                "'targets' (while checking arguments for ctc_loss_allocate_outputs)"
            )
        out = np.full((lengths.size, longest), blank, np.int64)
        out[np.arange(longest)[None, :] < lengths[:, None]] = y
        return out
    y = y.reshape(1, -1) if y.ndim == 1 else y
    if y.shape[1] < longest:
        raise ShapeError(
            f"Expected tensor to have size at least {longest} at dimension 1, but got size {y.shape[1]} for argument "
            "#2 'targets' (while checking arguments for ctc_loss_allocate_outputs)"
        )
    y = y[:, :longest]
    return np.where(np.arange(longest)[None, :] < lengths[:, None], y, blank)
