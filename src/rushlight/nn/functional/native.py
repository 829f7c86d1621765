"""The forms of these functions in the top namespace, whose arguments differ: `torch.dropout(x, p, train)`.

Losses there take `reduction` as a number: 0 none, 1 mean, 2 sum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.nn.functional import activation, class_loss, distance, dropping, lookup, loss
from rushlight.ops import embedding as ops
from rushlight.tape import record, wrap

_REDUCTIONS = ("none", "mean", "sum")


def _by_number(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with its last argument `reduction` as a number (a name works too)."""

    def call(*args: Any, reduction: Any = 1, **kwargs: Any) -> Any:
        name = _REDUCTIONS[reduction] if isinstance(reduction, int) else reduction
        return function(*args, reduction=name, **kwargs)

    call.__name__ = call.__qualname__ = function.__name__
    call.__doc__ = function.__doc__
    return call


def _reduced_by_number(function: Callable[..., Any], *names: str) -> Callable[..., Any]:
    """`_by_number` where `reduction` may also follow the arguments `names` by position."""
    inner = _by_number(function)

    def call(*args: Any, **kwargs: Any) -> Any:
        given = dict(zip((*names, "reduction"), args, strict=False))
        rest = dict(zip(("log_target", "zero_infinity"), args[len(names) + 1 :], strict=False))
        return inner(**given, **rest, **kwargs)

    call.__name__ = call.__qualname__ = function.__name__
    call.__doc__ = function.__doc__
    return call


binary_cross_entropy_with_logits = _reduced_by_number(
    loss.binary_cross_entropy_with_logits, "input", "target", "weight", "pos_weight"
)
kl_div = _reduced_by_number(loss.kl_div, "input", "target")
hinge_embedding_loss = _reduced_by_number(loss.hinge_embedding_loss, "input", "target", "margin")
margin_ranking_loss = _reduced_by_number(loss.margin_ranking_loss, "input1", "input2", "target", "margin")
poisson_nll_loss = _reduced_by_number(loss.poisson_nll_loss, "input", "target", "log_input", "full", "eps")
cosine_embedding_loss = _reduced_by_number(distance.cosine_embedding_loss, "input1", "input2", "target", "margin")
triplet_margin_loss = _reduced_by_number(
    distance.triplet_margin_loss, "anchor", "positive", "negative", "margin", "p", "eps", "swap"
)
ctc_loss = _reduced_by_number(class_loss.ctc_loss, "log_probs", "targets", "input_lengths", "target_lengths", "blank")


def dropout(input: Any, p: float, train: bool) -> Any:
    """Each element zeroed with probability `p`, the others divided by 1 - p."""
    return dropping.dropout(input, p, train)


def dropout_(input: Any, p: float, train: bool) -> Any:
    """In-place form of `dropout`."""
    return dropping.dropout(input, p, train, True)


def alpha_dropout(input: Any, p: float, train: bool) -> Any:
    """Dropout that keeps mean and variance under selu."""
    return dropping.alpha_dropout(input, p, train)


def alpha_dropout_(input: Any, p: float, train: bool) -> Any:
    """In-place form of `alpha_dropout`."""
    return dropping.alpha_dropout(input, p, train, True)


def feature_dropout(input: Any, p: float, train: bool) -> Any:
    """Whole channels zeroed with probability `p`."""
    return dropping.channel_dropout(input, p, train, False)


def feature_dropout_(input: Any, p: float, train: bool) -> Any:
    """In-place form of `feature_dropout`."""
    return dropping.channel_dropout(input, p, train, True)


def feature_alpha_dropout(input: Any, p: float, train: bool) -> Any:
    """`alpha_dropout` of whole channels."""
    return dropping.feature_alpha_dropout(input, p, train)


def feature_alpha_dropout_(input: Any, p: float, train: bool) -> Any:
    """In-place form of `feature_alpha_dropout`."""
    return dropping.feature_alpha_dropout(input, p, train, True)


def native_dropout(input: Any, p: float, train: bool | None) -> tuple[Any, Any]:
    """Dropout, and which elements were kept."""
    out = dropping.dropout(input, p, bool(train) or train is None)
    return out, wrap(np.asarray(out._data != 0) if p else np.ones(out._data.shape, np.bool_))


def embedding(
    weight: Any, indices: Any, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Any:
    """Rows of `weight`; note that the table comes first here."""
    padding = None if padding_idx < 0 else padding_idx
    return lookup.embedding(indices, weight, padding, scale_grad_by_freq=scale_grad_by_freq, sparse=sparse)


def embedding_bag(
    weight: Any, indices: Any, offsets: Any, scale_grad_by_freq: bool = False, mode: int = 0, sparse: bool = False,
    per_sample_weights: Any = None, include_last_offset: bool = False, padding_idx: int | None = None,
) -> tuple[Any, Any, Any, Any]:  # fmt: skip
    """Bags of rows of `weight` (mode 0 sum, 1 mean, 2 max), the bag of each index, bag sizes, and rows of maxima."""
    kind = ("sum", "mean", "max")[mode]
    out = lookup.embedding_bag(
        indices, weight, offsets, None, 2, scale_grad_by_freq, kind, sparse, per_sample_weights, include_last_offset,
        padding_idx,
    )  # fmt: skip
    starts = offsets._data[:-1] if include_last_offset else offsets._data
    bags = ops.bag_of_each(starts, indices._data.size)
    sizes = np.bincount(bags, minlength=starts.size)
    maxima = np.zeros(0, np.int64)
    if kind == "max":
        plain = (wrap(weight._data), wrap(indices._data.astype(np.int64)), wrap(starts.astype(np.int64)))
        padding = -1 if padding_idx is None else padding_idx
        maxima = record(ops.embedding_bag_max, plain, {"padding_idx": padding})[1]._data
    return out, wrap(bags), wrap(sizes), wrap(maxima)


def celu(input: Any, alpha: float = 1.0) -> Any:
    """input above 0, alpha * (exp(input / alpha) - 1) below."""
    return activation.celu(input, alpha)


def selu(input: Any) -> Any:
    """The elu whose constants keep mean 0 and variance 1 through layers."""
    return activation.selu(input)


def rrelu(input: Any, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False) -> Any:
    """leaky_relu with a slope drawn for each element; with the mean slope when not training."""
    return activation.rrelu(input, lower, upper, training)


def threshold(input: Any, threshold: float, value: float) -> Any:
    """input above the threshold, else `value`."""
    return activation.threshold(input, threshold, value)
