"""Gradients of convolutions as functions: with respect to the input, and to the weight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rushlight.autograd import grad
from rushlight.creation import zeros
from rushlight.modes import enable_grad
from rushlight.nn.functional import conv1d, conv2d, conv3d
from rushlight.tensor import Tensor

__all__ = ["conv1d_input", "conv1d_weight", "conv2d_input", "conv2d_weight", "conv3d_input", "conv3d_weight"]

Convolution = Callable[..., Tensor]


def _input_gradient(
    convolution: Convolution, size: Sequence[int], weight: Tensor, grad_output: Tensor, options: tuple[Any, ...]
) -> Tensor:
    with enable_grad():
        x = zeros(tuple(size), dtype=weight.dtype, device=weight.device).requires_grad_()
        out: Tensor = grad(convolution(x, weight, None, *options), x, grad_output)[0]
    return out


def _weight_gradient(
    convolution: Convolution, input: Tensor, size: Sequence[int], grad_output: Tensor, options: tuple[Any, ...]
) -> Tensor:
    with enable_grad():
        weight = zeros(tuple(size), dtype=input.dtype, device=input.device).requires_grad_()
        out: Tensor = grad(convolution(input, weight, None, *options), weight, grad_output)[0]
    return out


def conv1d_input(
    input_size: Any, weight: Tensor, grad_output: Tensor, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """Gradient of `conv1d` with respect to an input of `input_size`."""
    return _input_gradient(conv1d, input_size, weight, grad_output, (stride, padding, dilation, groups))


def conv1d_weight(
    input: Tensor, weight_size: Any, grad_output: Tensor, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """Gradient of `conv1d` with respect to a weight of `weight_size`."""
    return _weight_gradient(conv1d, input, weight_size, grad_output, (stride, padding, dilation, groups))


def conv2d_input(
    input_size: Any, weight: Tensor, grad_output: Tensor, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """Gradient of `conv2d` with respect to an input of `input_size`."""
    return _input_gradient(conv2d, input_size, weight, grad_output, (stride, padding, dilation, groups))


def conv2d_weight(
    input: Tensor, weight_size: Any, grad_output: Tensor, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """Gradient of `conv2d` with respect to a weight of `weight_size`."""
    return _weight_gradient(conv2d, input, weight_size, grad_output, (stride, padding, dilation, groups))


def conv3d_input(
    input_size: Any, weight: Tensor, grad_output: Tensor, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """Gradient of `conv3d` with respect to an input of `input_size`."""
    return _input_gradient(conv3d, input_size, weight, grad_output, (stride, padding, dilation, groups))


def conv3d_weight(
    input: Tensor, weight_size: Any, grad_output: Tensor, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """Gradient of `conv3d` with respect to a weight of `weight_size`."""
    return _weight_gradient(conv3d, input, weight_size, grad_output, (stride, padding, dilation, groups))
