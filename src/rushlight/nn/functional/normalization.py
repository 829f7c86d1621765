"""Normalisation by statistics of the batch, the layer, groups, instances or neighbouring channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from rushlight.backends.precision import widen
from rushlight.errors import DTypeError, ShapeError, explain
from rushlight.modes import no_grad
from rushlight.nn.functional.arguments import Ints, int_tuple, require_tensor
from rushlight.nn.functional.padding import pad
from rushlight.nn.functional.pooling import avg_pool2d, avg_pool3d
from rushlight.ops import norm as N
from rushlight.ops.conv import scalar_name
from rushlight.tensor import Tensor


def _check_floating(kernel: str, x: Tensor) -> None:
    if x._data.dtype.kind in "biu":
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{scalar_name(x._data.dtype)}'")


def _check_dtypes(x: Tensor, *others: Tensor | None) -> None:
    """Factors have the input's dtype, or float32 where the input has half precision."""
    for other in others:
        if other is None or other._data.dtype == x._data.dtype:
            continue
        if x._data.dtype.itemsize == 2 and other._data.dtype.name == "float32":
            continue
        raise explain(
            DTypeError("mixed dtype (CPU): all inputs must share same datatype."),
            received=f"input {x.dtype}, parameter or statistic {other.dtype}",
            fix=f"input.to({other.dtype})",
        )


def _verify_batch_size(size: Sequence[int]) -> None:
    count = size[0] * math.prod(size[2:])
    if count == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {size}")


def _check_channels(channels: int, **given: Tensor | None) -> None:
    for name, value in given.items():
        if value is not None and value.numel() != channels:
            raise ShapeError(f"{name} should contain {channels} elements not {value.numel()}")


def batch_norm(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Normalise each channel of input [N, C, *] to mean 0 and variance 1, then scale and shift it.

    Parameters
    ----------
    running_mean, running_var : Tensor[C] or None
        Used instead of the batch's statistics when not training; when training they move towards those in place:
        running = (1 - momentum) * running + momentum * batch, with the unbiased variance.
    weight, bias : Tensor[C], optional
    training : bool
        Whether to use the batch's own statistics.

    Examples
    --------
    >>> torch.nn.functional.batch_norm(torch.tensor([[1.0], [3.0]]), None, None, training=True)
    tensor([[-1.0000],
            [ 1.0000]])
    """
    require_tensor("batch_norm", "input", 1, input)
    if (running_mean is None) != (running_var is None):
        raise ValueError("running_mean and running_var must either both be None or neither be None")
    if training:
        if eps <= 0:
            raise ValueError(f"batch_norm eps must be positive during training, but got {eps}")
        _verify_batch_size(input.size())
    elif running_mean is None or running_var is None:
        raise ShapeError("running_mean must be defined in evaluation mode")
    channels = input.shape[1] if input.dim() > 1 else 0
    _check_channels(channels, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    _check_floating("batch_norm", input)
    _check_dtypes(input, weight, bias, running_mean, running_var)
    if not training:
        return N.batch_norm_frozen(input, weight, bias, running_mean, running_var, eps)  # type: ignore[no-any-return]
    if not input.numel():
        empty: Tensor = input.clone() if weight is None else input * weight[0]
        return empty
    out, mean, var = N.batch_norm(input, weight, bias, eps)
    if running_mean is not None and running_var is not None:
        _move_statistics(running_mean, running_var, mean, var, momentum, input.numel() // channels)
    return out  # type: ignore[no-any-return]


@no_grad()
def _move_statistics(
    running_mean: Tensor, running_var: Tensor, mean: Tensor, var: Tensor, momentum: float, count: int
) -> None:
    """Move the running statistics towards the batch's."""
    unbiased = count / max(1, count - 1)
    running_mean.mul_(1 - momentum).add_(mean.detach().to(running_mean.dtype), alpha=momentum)
    running_var.mul_(1 - momentum).add_(var.detach().to(running_var.dtype), alpha=momentum * unbiased)


def instance_norm(
    input: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None,
    weight: Tensor | None = None, bias: Tensor | None = None, use_input_stats: bool = True, momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Normalise each channel of each image of input [N, C, *] to mean 0 and variance 1, then scale and shift it.

    Parameters
    ----------
    use_input_stats : bool
        Whether to use the images' own statistics, or the running ones.
    """
    require_tensor("instance_norm", "input", 1, input)
    if use_input_stats:
        if math.prod(input.shape[2:]) == 1:
            raise ValueError(f"Expected more than 1 spatial element when training, got input size {input.size()}")
    elif running_mean is None or running_var is None:
        raise ShapeError("Expected running_mean and running_var to be defined when use_input_stats is false")
    n, c = input.shape[:2]

    def repeated(value: Tensor | None) -> Tensor | None:
        return None if value is None else value.repeat(n)

    means, variances = repeated(running_mean), repeated(running_var)
    joined = input.contiguous().view(1, n * c, *input.shape[2:])
    out = batch_norm(joined, means, variances, repeated(weight), repeated(bias), use_input_stats, momentum, eps)
    if use_input_stats:
        _keep_average(running_mean, means, n)
        _keep_average(running_var, variances, n)
    return out.view(input.shape)  # type: ignore[no-any-return]


@no_grad()
def _keep_average(running: Tensor | None, repeated: Tensor | None, n: int) -> None:
    """Set a running statistic to the average over the images."""
    if running is not None and repeated is not None:
        running.copy_(repeated.view(n, -1).mean(0))


def _check_normalized(
    x: Tensor, shape: Ints, weight: Tensor | None, bias: Tensor | None, separator: str = ", "
) -> None:
    if not shape:
        raise ShapeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, "
            "but got normalized_shape = []"
        )
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None and tuple(value.shape) != shape:
            raise ShapeError(
                f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape {list(value.shape)} "
                f"and normalized_shape = {list(shape)}"
            )
    if x.dim() < len(shape) or tuple(x.shape[x.dim() - len(shape) :]) != shape:
        wanted = ", ".join(map(str, shape))
        raise explain(
            ShapeError(
                f"Given normalized_shape={list(shape)}, expected input with shape [*{separator}{wanted}], "
                f"but got input of size{list(x.shape)}"
            ),
            expected=f"input [*, {wanted}]",
            received=list(x.shape),
        )


def layer_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Normalise over the last dims of the input to mean 0 and variance 1, then scale and shift.

    Parameters
    ----------
    normalized_shape : sequence of ints
        Sizes of those dims.
    weight, bias : Tensor[normalized_shape], optional

    Examples
    --------
    >>> torch.nn.functional.layer_norm(torch.tensor([[1.0, 3.0]]), (2,))
    tensor([[-1.0000,  1.0000]])
    """
    require_tensor("layer_norm", "input", 1, input)
    if isinstance(normalized_shape, int):
        raise TypeError("layer_norm(): argument 'normalized_shape' (position 2) must be tuple of ints, not int")
    shape = int_tuple("layer_norm", "normalized_shape", normalized_shape, 2)
    _check_normalized(input, shape, weight, bias)
    _check_floating("LayerNormKernelImpl", input)
    _check_dtypes(input, weight, bias)
    return N.layer_norm(input, weight, bias, len(shape), eps)[0]  # type: ignore[no-any-return]


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalise groups of channels of each image of input [N, C, *] to mean 0 and variance 1, then scale and shift.

    Parameters
    ----------
    num_groups : int
        Divides C.
    weight, bias : Tensor[C], optional
    """
    require_tensor("group_norm", "input", 1, input)
    if input.dim() < 2:
        raise ShapeError(f"Expected at least 2 dimensions for input tensor but received {input.dim()}")
    n, c = input.shape[:2]
    _verify_groups(n * c // num_groups, num_groups, input)
    if c % num_groups:
        raise ShapeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(input.shape)} and num_groups={num_groups}"
        )
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None and tuple(value.shape) != (c,):
            raise ShapeError(
                f"Expected {name} to be a vector of size equal to the number of channels in input, "
                f"but got {name} of shape {list(value.shape)} and input of shape {list(input.shape)}"
            )
    _check_floating("GroupNormKernelImpl", input)
    _check_dtypes(input, weight, bias)
    return N.group_norm(input, weight, bias, num_groups, eps)[0]  # type: ignore[no-any-return]


def _verify_groups(values: int, groups: int, x: Tensor) -> None:
    if values * math.prod(x.shape[2:]) == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(x.shape)}")


def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """Divide by the root mean square over the last dims of the input, then scale.

    Parameters
    ----------
    normalized_shape : sequence of ints
        Sizes of those dims.
    eps : float, optional
        Added to the mean square; the dtype's machine epsilon if omitted.

    Examples
    --------
    >>> torch.nn.functional.rms_norm(torch.tensor([[3.0, 4.0]]), (2,))
    tensor([[0.8485, 1.1314]])
    """
    require_tensor("rms_norm", "input", 1, input)
    shape = int_tuple("rms_norm", "normalized_shape", normalized_shape, 2)
    _check_normalized(input, shape, weight, None, "")
    _check_floating("rms_norm", input)
    # half precision is computed in float32, whose epsilon counts
    (wide,) = widen(input._data[..., :0])
    small = float(np.finfo(wide.dtype).eps) if eps is None else eps
    return N.rms_norm(input, weight, len(shape), small)  # type: ignore[no-any-return]


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """Divide each element of input [N, C, *] by (k + alpha * mean of squares of `size` channels around it) ** beta.

    References
    ----------
    .. [1] A. Krizhevsky, I. Sutskever, G. Hinton, "ImageNet Classification with Deep Convolutional Neural
       Networks", 2012.
    """
    require_tensor("local_response_norm", "input", 1, input)
    if input.dim() < 3:
        raise ValueError(
            f"Expected 3D or higher dimensionality                          input (got {input.dim()} dimensions)"
        )
    if not input.numel():
        return input
    squares: Any = input.mul(input)
    if input.dim() == 3:
        means = _mean_of_neighbours(squares.unsqueeze(1), size).squeeze(1)
    else:
        n, c, h = input.shape[:3]
        planes = squares.view(n, 1, c, h, math.prod(input.shape[3:]))
        padded = pad(planes, (0, 0, 0, 0, size // 2, (size - 1) // 2))
        means = avg_pool3d(padded, (size, 1, 1), stride=1).squeeze(1).view(input.size())
    out: Tensor = input / means.mul(alpha).add(k).pow(beta)
    return out


def _mean_of_neighbours(squares: Any, size: int) -> Tensor:
    return avg_pool2d(pad(squares, (0, 0, size // 2, (size - 1) // 2)), (size, 1), stride=1)


def normalize(
    input: Tensor, p: float = 2.0, dim: int | tuple[int, ...] = 1, eps: float = 1e-12, out: Any = None
) -> Tensor:
    """Divide by the p-norm along `dim`, or by `eps` where that is larger.

    Examples
    --------
    >>> torch.nn.functional.normalize(torch.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """
    length: Any = input.norm(p, dim, keepdim=True).clamp_min(eps).expand_as(input)
    result: Tensor = input / length if out is None else out.copy_(input / length)
    return result
