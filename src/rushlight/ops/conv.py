"""Convolution of 1 to 3 dimensions: the forward map, its transpose and the weight gradient.

All three are linear in each operand and closed under differentiation: the gradients of each are the other two, so
that double backward needs nothing further.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from rushlight.backends import numpy_conv
from rushlight.backends.numpy_conv import Geometry
from rushlight.backends.precision import narrow, widen
from rushlight.dtypes import KERNEL_NAMES, from_np
from rushlight.errors import DTypeError, ShapeError, explain
from rushlight.ops.kinds import Array, opaque
from rushlight.ops.linear import conj_of, sum
from rushlight.spec import Spec, spec_of

Ints = tuple[int, ...]

# Convolutions of at most so many products run in float64 and round once: it costs them nothing, and what small examples
# print is then the rounding of the exact value, as PyTorch's mostly is.
EXACT_PRODUCTS = 1 << 16

_geometry = lru_cache(256)(Geometry)


def convolved_size(size: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints) -> Ints:
    """Output size of a convolution."""
    sizes = zip(size, kernel, stride, padding, dilation, strict=True)
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sizes)


def transposed_size(
    size: Ints, kernel: Ints, stride: Ints, padding: Ints, output_padding: Ints, dilation: Ints
) -> Ints:
    """Output size of a transposed convolution."""
    sizes = zip(size, kernel, stride, padding, output_padding, dilation, strict=True)
    return tuple((n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, k, s, p, e, d in sizes)


def scalar_name(dtype: Any) -> str:
    """The name that PyTorch's messages use for a dtype, such as `Float`."""
    name = from_np(dtype).name
    return KERNEL_NAMES.get(name, name)


def _check_dtypes(x: Spec, weight: Spec, bias: Spec | None) -> None:
    if x.dtype.kind == "b":
        raise NotImplementedError("\"slow_conv2d_cpu\" not implemented for 'Bool'")
    if weight.dtype != x.dtype:
        raise explain(
            DTypeError(f"expected scalar type {scalar_name(x.dtype)} but found {scalar_name(weight.dtype)}"),
            expected=f"input and weight of one dtype, received {from_np(x.dtype)} and {from_np(weight.dtype)}",
            fix=f"input.to({from_np(weight.dtype)})",
        )
    if bias is not None and bias.dtype != x.dtype:
        raise explain(
            DTypeError(f"Input type ({_short(x)}) and bias type ({_short(bias)}) should be the same"),
            received=f"bias of {from_np(bias.dtype)}",
        )


def _short(x: Spec) -> str:
    return {"float32": "float", "float64": "double"}.get(from_np(x.dtype).name, from_np(x.dtype).name)


def _check_weight(weight: Spec, groups: int) -> None:
    shape = list(weight.shape)
    if groups <= 0:
        raise ShapeError("non-positive groups is not supported")
    if shape[0] < groups:
        raise ShapeError(
            f"Given groups={groups}, expected weight to be at least {groups} at dimension 0, "
            f"but got weight of size {shape} instead"
        )
    if shape[0] % groups:
        raise ShapeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, "
            f"but got weight of size [{shape}] instead"
        )
    if 0 in shape[2:]:
        names = ("kernel_time", "kernel_height", "kernel_width")[-len(shape[2:]) :]
        sizes = " ".join(f"{name}: {n}" for name, n in zip(names, shape[2:], strict=True))
        raise ShapeError(f"kernel size should be greater than zero, but got {sizes}")


def _check_bias(bias: Spec | None, weight: Spec, channels: int, prefix: str) -> None:
    if bias is not None and bias.shape != (channels,):
        raise ShapeError(
            f"Given {prefix}weight of size {list(weight.shape)}, expected bias to be 1-dimensional with {channels} "
            f"elements, but got bias of size {list(bias.shape)} instead"
        )


def _check_channels(x: Spec, expected: int, given: str, weight: Spec) -> None:
    if x.shape[1] != expected:
        raise explain(
            ShapeError(
                f"Given {given}, weight of size {list(weight.shape)}, expected input{list(x.shape)} to have {expected} "
                f"channels, but got {x.shape[1]} channels instead"
            ),
            expected=f"input [N, {expected}, ...]",
            received=f"input {list(x.shape)}",
            fix=_channel_fix(x.shape, expected),
        )


def _channel_fix(shape: Ints, expected: int) -> str | None:
    if shape[-1] == expected and len(shape) == 4:
        return "input.permute(0, 3, 1, 2) moves the channels, which come last here, to dim 1"
    return None


def _convolution_spec(
    x: Spec, weight: Spec, bias: Spec | None, stride: Ints, padding: Ints, dilation: Ints, groups: int = 1,
    output_size: Ints | None = None,
) -> Spec:  # fmt: skip
    _check_weight(weight, groups)
    _check_channels(x, weight.shape[1] * groups, f"groups={groups}", weight)
    _check_bias(bias, weight, weight.shape[0], "")
    _check_dtypes(x, weight, bias)
    size = x.shape[2:]
    kernel = weight.shape[2:]
    made = convolved_size(size, kernel, stride, padding, dilation)
    if min(made, default=1) < 1:
        padded = " x ".join(str(n + 2 * p) for n, p in zip(size, padding, strict=True))
        reach = " x ".join(str(d * (k - 1) + 1) for k, d in zip(kernel, dilation, strict=True))
        raise explain(
            ShapeError(
                f"Calculated padded input size per channel: ({padded}). Kernel size: ({reach}). "
                "Kernel size can't be greater than actual input size"
            ),
            expected=f"padded input of at least {reach}",
            received=f"input {list(x.shape)}, padding {list(padding)}",
        )
    if 0 in size:
        raise ShapeError(f"Only zero batch or zero channel inputs are supported, but got input shape: {list(x.shape)}")
    return Spec((x.shape[0], weight.shape[0], *(output_size or made)), x.dtype)


def _transposed_spec(
    x: Spec, weight: Spec, bias: Spec | None, output_size: Ints, stride: Ints, padding: Ints, dilation: Ints,
    groups: int = 1,
) -> Spec:  # fmt: skip
    _check_weight(weight, groups)
    _check_channels(x, weight.shape[0], "transposed=1", weight)
    _check_bias(bias, weight, weight.shape[1] * groups, "transposed=1, ")
    _check_dtypes(x, weight, bias)
    if min(output_size, default=1) < 1:
        now, made = (" x ".join(map(str, sizes)) for sizes in (x.shape[2:], output_size))
        raise ShapeError(
            f"Given input size per channel: ({now}). Calculated output size per channel: ({made}). "
            "Output size is too small"
        )
    return Spec((x.shape[0], weight.shape[1] * groups, *output_size), x.dtype)


def _sum_but_channels(g: Any) -> Any:
    return sum(g, (0, *range(2, len(spec_of(g).shape))))


def _input_grad(g: Any, weight: Any, x_spec: Spec, stride: Ints, padding: Ints, dilation: Ints, groups: int) -> Any:
    return convolution_transposed(g, conj_of(weight), None, x_spec.shape[2:], stride, padding, dilation, groups)


def _weight_grad(g: Any, x: Any, weight_spec: Spec, stride: Ints, padding: Ints, dilation: Ints, groups: int) -> Any:
    return convolution_weight_grad(conj_of(x), g, weight_spec.shape[2:], stride, padding, dilation, groups)


@opaque(spec=_convolution_spec, grad=(_input_grad, _weight_grad, lambda g: _sum_but_channels(g)), follows=2)
def convolution(
    xp: Any, x: Array, weight: Array, bias: Array | None, stride: Ints, padding: Ints, dilation: Ints, groups: int = 1,
    output_size: Ints | None = None,
) -> Array:  # fmt: skip
    """x [N, C, *size] cross-correlated with weight [O, C/groups, *kernel], plus bias [O]; result [N, O, *].

    out[n, o, i] = bias[o] + sum over c, k of x[n, c, i*stride + k*dilation - padding] * weight[o, c, k], with zeros
    outside of x. `output_size` states the number of positions where it is not the largest possible.
    """
    kernel = weight.shape[2:]
    size = output_size or convolved_size(x.shape[2:], kernel, stride, padding, dilation)
    if not x.size or not weight.size:
        return _only_bias((x.shape[0], weight.shape[0], *size), bias, x.dtype)
    geometry = _geometry(x.shape[2:], kernel, size, stride, padding, dilation)
    wide, w, b = _prepared(x.shape[0] * math.prod(size) * weight.size, x, weight, bias)
    return narrow(numpy_conv.forward(wide, w, b, geometry, groups), x.dtype)


def _prepared(products: int, *arrays: Any) -> Any:
    """The arrays in the dtype to compute with."""
    if arrays[0].dtype == np.float32 and products <= EXACT_PRODUCTS:
        return tuple(a if a is None else a.astype(np.float64) for a in arrays)
    return widen(*arrays)


def _only_bias(shape: Ints, bias: Any, dtype: Any) -> Any:
    out = np.zeros(shape, dtype)
    if bias is not None:
        out += bias.reshape(-1, *(1,) * (len(shape) - 2))
    return out


def _transposed_input_grad(
    g: Any, weight: Any, x_spec: Spec, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Any:
    return convolution(g, conj_of(weight), None, stride, padding, dilation, groups, x_spec.shape[2:])


def _transposed_weight_grad(
    g: Any, x: Any, weight_spec: Spec, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Any:
    return convolution_weight_grad(g, conj_of(x), weight_spec.shape[2:], stride, padding, dilation, groups)


@opaque(
    name="ConvolutionBackward0",
    spec=_transposed_spec,
    grad=(_transposed_input_grad, _transposed_weight_grad, lambda g: _sum_but_channels(g)),
    follows=2,
)
def convolution_transposed(
    xp: Any, x: Array, weight: Array, bias: Array | None, output_size: Ints, stride: Ints, padding: Ints,
    dilation: Ints, groups: int = 1,
) -> Array:  # fmt: skip
    """The transpose of `convolution` as a linear map, plus bias: x [N, O, *size] to [N, C, *output_size].

    This is the input gradient of `convolution` and the forward map of transposed convolutions.
    """
    if not x.size or not weight.size:
        return _only_bias((x.shape[0], weight.shape[1] * groups, *output_size), bias, x.dtype)
    geometry = _geometry(output_size, weight.shape[2:], x.shape[2:], stride, padding, dilation)
    wide, w, b = _prepared(x.shape[0] * math.prod(x.shape[2:]) * weight.size, x, weight, bias)
    return narrow(numpy_conv.input_gradient(wide, w, b, geometry, groups), x.dtype)


def _weight_grad_spec(
    x: Spec, g: Spec, kernel_size: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int = 1
) -> Spec:
    largest = convolved_size(x.shape[2:], kernel_size, stride, padding, dilation)
    fits = x.ndim == g.ndim and all(n <= most for n, most in zip(g.shape[2:], largest, strict=True))
    if not fits or x.shape[0] != g.shape[0] or x.shape[1] % groups or g.shape[1] % groups:
        raise explain(
            ShapeError("gradient of a convolution's weight: the output's gradient does not fit the input"),
            expected=f"grad_output [{x.shape[0]}, channels in {groups} groups, {', '.join(map(str, largest))}]",
            received=f"grad_output {list(g.shape)}, input {list(x.shape)}, kernel {list(kernel_size)}",
        )
    return Spec((g.shape[1], x.shape[1] // groups, *kernel_size), x.dtype)


def _weight_grad_x(g: Any, g_out: Any, x_spec: Spec, stride: Ints, padding: Ints, dilation: Ints, groups: int) -> Any:
    return conj_of(convolution_transposed(g_out, conj_of(g), None, x_spec.shape[2:], stride, padding, dilation, groups))


def _weight_grad_g(g: Any, x: Any, g_out_spec: Spec, stride: Ints, padding: Ints, dilation: Ints, groups: int) -> Any:
    return convolution(conj_of(x), g, None, stride, padding, dilation, groups, g_out_spec.shape[2:])


@opaque(spec=_weight_grad_spec, grad=(_weight_grad_x, _weight_grad_g), follows=2)
def convolution_weight_grad(
    xp: Any, x: Array, g_out: Array, kernel_size: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int = 1
) -> Array:
    """Gradient of `convolution` for its weight, from x [N, C, *size] and the output's gradient [N, O, *]."""
    if not x.size or not g_out.size:
        return np.zeros((g_out.shape[1], x.shape[1] // groups, *kernel_size), x.dtype)
    geometry = _geometry(x.shape[2:], kernel_size, g_out.shape[2:], stride, padding, dilation)
    wide, g = _prepared(g_out.size * x.shape[1] // groups * math.prod(kernel_size), x, g_out)
    return narrow(numpy_conv.weight_gradient(wide, g, geometry, groups), x.dtype)
