"""The dropout family."""

from __future__ import annotations

import warnings
from typing import Any

from rushlight.errors import ShapeError
from rushlight.functions import arithmetic
from rushlight.functions import inplace as in_place
from rushlight.generator import default_generator
from rushlight.nn.functional.arguments import require_tensor
from rushlight.ops import dropout as ops
from rushlight.tape import record


def _check_probability(p: Any) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _scaled(input: Any, op: Any, p: float, inplace: bool) -> Any:
    """`input` times the factors that `op` draws."""
    if p == 1.0:
        return in_place.mul_(input, 0.0) if inplace else arithmetic.mul(input, 0.0)
    if input._data.dtype.kind in "iub":
        raise RuntimeError("result type Float can't be cast to the desired output type Long")
    factors = record(op, (input,), {"p": p, "generator": default_generator})
    return in_place.mul_(input, factors) if inplace else arithmetic._mul(input, factors)


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Each element zeroed with probability `p`, the others divided by 1 - p; the input itself when not training [1]_.

    References
    ----------
    .. [1] G. Hinton et al., "Improving neural networks by preventing co-adaptation of feature detectors", 2012.

    Examples
    --------
    >>> torch.nn.functional.dropout(torch.ones(3), 0.5, training=False)
    tensor([1., 1., 1.])
    """
    if p < 0.0 or p > 1.0:
        _check_probability(p)
    require_tensor("dropout", "input", 1, input)
    if not training or p == 0 or not input._data.size:
        return input
    return _scaled(input, ops.dropout_factors, p, inplace)


def channel_dropout(input: Any, p: float, training: bool, inplace: bool) -> Any:
    """Whole channels (dim 1) zeroed with probability `p`."""
    if not training or p == 0 or not input._data.size:
        return input
    if len(input._data.shape) < 2:
        raise ShapeError("Feature dropout requires at least 2 dimensions in the input")
    return _scaled(input, ops.feature_factors, p, inplace)


def _channels(function: str, input: Any, p: float, training: bool, inplace: bool, batched: bool) -> Any:
    """Dropout of whole channels, of an input that may lack the batch dim."""
    if batched:
        return channel_dropout(input, p, training, inplace)
    if inplace:
        channel_dropout(input.unsqueeze(0), p, training, True)
        return input
    return channel_dropout(input.unsqueeze(0), p, training, False).squeeze(0)


def dropout1d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Whole channels zeroed with probability `p`, input [N, C, L] or [C, L]."""
    _check_probability(p)
    ndim = input.dim()
    if ndim not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {ndim}D input. Note that dropout1d exists to provide "
            "channel-wise dropout on inputs with 1 spatial dimension, a channel dimension, and an optional batch "
            "dimension (i.e. 2D or 3D inputs)."
        )
    return _channels("dropout1d", input, p, training, inplace, ndim == 3)


def _warn_dims(function: str, ndim: int, spatial: int) -> None:
    warnings.warn(
        f"{function}: Received a {ndim}-D input to {function}, which is deprecated and will result in an error in a "
        "future release. To retain the behavior and silence this warning, please use dropout instead. Note that "
        f"{function} exists to provide channel-wise dropout on inputs with {spatial} spatial dimensions, a channel "
        f"dimension, and an optional batch dimension (i.e. {spatial + 1}D or {spatial + 2}D inputs).",
        stacklevel=3,
    )


def dropout2d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Whole channels zeroed with probability `p`, input [N, C, H, W]."""
    _check_probability(p)
    ndim = input.dim()
    if ndim not in (3, 4):
        _warn_dims("dropout2d", ndim, 2)
    if ndim == 3:
        warnings.warn(
            "dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D dropout behavior is "
            "desired - input is interpreted as shape (N, C, L), where C is the channel dim. This behavior will "
            "change in a future release to interpret the input as one without a batch dimension, i.e. shape (C, H, "
            "W). To maintain the 1D channel-wise dropout behavior, please switch to using dropout1d instead.",
            stacklevel=2,
        )
    return channel_dropout(input, p, training, inplace)


def dropout3d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Whole channels zeroed with probability `p`, input [N, C, D, H, W] or [C, D, H, W]."""
    _check_probability(p)
    ndim = input.dim()
    if ndim not in (4, 5):
        _warn_dims("dropout3d", ndim, 3)
    return _channels("dropout3d", input, p, training, inplace, ndim != 4)


def _alpha(input: Any, p: float, training: bool, inplace: bool, features: bool) -> Any:
    _check_probability(p)
    require_tensor("alpha_dropout", "input", 1, input)
    if not training or p == 0 or not input._data.size:
        return input
    if features and len(input._data.shape) < 2:
        raise ShapeError("Feature dropout requires at least 2 dimensions in the input")
    if p == 1.0:
        return in_place.mul_(input, 0.0) if inplace else arithmetic.mul(input, 0.0)
    params = {"p": p, "features": features, "generator": default_generator}
    factor, summand = record(ops.alpha_factors, (input,), params)
    if inplace:
        return in_place.add_(in_place.mul_(input, factor), summand)
    return arithmetic.add(arithmetic.mul(input, factor), summand)


def alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Any:
    """Dropout that keeps mean and variance under selu, dropping to its limit at minus infinity."""
    return _alpha(input, p, training, inplace, False)


def feature_alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Any:
    """alpha_dropout of whole channels."""
    return _alpha(input, p, training, inplace, True)
