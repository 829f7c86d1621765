"""Normalisation by batch, layer, group and root mean square, with closed-form gradients.

Bodies are written over other ops; on arrays the kernels of `backends/numpy_norm.py` run instead. The statistics are
results of their own, so that they can be kept for the gradient and differentiated through.
"""

from __future__ import annotations

import math
from typing import Any

from rushlight.backends import numpy_norm as kernel
from rushlight.backends.precision import FLOAT32
from rushlight.dtypes import NP_HALF
from rushlight.ops.elementwise import rsqrt
from rushlight.ops.kinds import Array, composite
from rushlight.ops.linear import cast, reshape, sum
from rushlight.spec import Spec, spec_of


def _wide(x: Any) -> Any:
    """x to compute with: half precision as float32."""
    return None if x is None else cast(x, FLOAT32) if spec_of(x).dtype in NP_HALF else x


def _back(x: Any, like: Any) -> Any:
    dtype = spec_of(like).dtype
    return x if spec_of(x).dtype == dtype else cast(x, dtype)


def _layout(x: Any) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Of x [N, C, *]: the dims that are not channels, the shape of a per-channel factor, values per channel."""
    shape = spec_of(x).shape
    dims = (0, *range(2, len(shape)))
    return dims, (1, shape[1], *(1,) * (len(shape) - 2)), max(1, math.prod(shape[d] for d in dims))


@composite(fast=kernel.batch_norm_grad, follows=1)
def batch_norm_grad(
    g: Array, g_mean: Array, g_var: Array, x: Array, weight: Array | None, mean: Array, var: Array, eps: float
) -> tuple[Array, Array, Array]:
    """Gradients of `batch_norm` for x, weight and bias; `g_mean` and `g_var` reach the statistics by themselves."""
    dims, per_channel, count = _layout(x)
    w = 1.0 if weight is None else _wide(weight)
    wide = _wide(g)
    rstd = rsqrt(var + eps)
    centred = _wide(x) - reshape(mean, per_channel)
    total, product = sum(wide, dims), sum(wide * centred, dims)
    factor = rstd * w
    slope = (2 * g_var - factor * rstd * rstd * product) / count
    level = (g_mean - factor * total) / count
    g_x = wide * reshape(factor, per_channel) + centred * reshape(slope, per_channel) + reshape(level, per_channel)
    like = x if weight is None else weight
    return _back(g_x, x), _back(product * rstd, like), _back(total, like)


def _batch_norm_joint(g: Any, x: Any, weight: Any, out: Any, eps: float) -> Any:
    return batch_norm_grad(g[0], g[1], g[2], x, weight, out[1], out[2], eps)


@composite(name="NativeBatchNormBackward0", joint=_batch_norm_joint, fast=kernel.batch_norm, follows=1)
def batch_norm(x: Array, weight: Array | None, bias: Array | None, eps: float) -> tuple[Array, Array, Array]:
    """(x - mean) / sqrt(var + eps) * weight + bias with each channel's statistics over the batch [1]_.

    Returns the result, the mean and the biased variance of each channel.

    References
    ----------
    .. [1] S. Ioffe, C. Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal
       Covariate Shift", 2015.
    """
    dims, per_channel, count = _layout(x)
    wide = _wide(x)
    mean = sum(wide, dims) / count
    centred = wide - reshape(mean, per_channel)
    var = sum(centred * centred, dims) / count
    return _back(_affine(centred, rsqrt(var + eps), weight, bias, per_channel), x), mean, var


def _affine(centred: Any, rstd: Any, weight: Any, bias: Any, shape: tuple[int, ...]) -> Any:
    scale = rstd if weight is None else rstd * _wide(weight)
    out = centred * reshape(scale, shape)
    return out if bias is None else out + reshape(_wide(bias), shape)


@composite(fast=kernel.batch_norm_frozen_grad, follows=1)
def batch_norm_frozen_grad(
    g: Array, x: Array, weight: Array | None, mean: Array, var: Array, eps: float
) -> tuple[Array, Array, Array]:
    """Gradients of `batch_norm_frozen` for x, weight and bias."""
    dims, per_channel, _ = _layout(x)
    wide = _wide(g)
    rstd = rsqrt(_wide(var) + eps)
    centred = _wide(x) - reshape(_wide(mean), per_channel)
    factor = rstd if weight is None else rstd * _wide(weight)
    like = x if weight is None else weight
    g_weight, g_bias = sum(wide * centred, dims) * rstd, sum(wide, dims)
    return _back(wide * reshape(factor, per_channel), x), _back(g_weight, like), _back(g_bias, like)


def _frozen_joint(g: Any, x: Any, weight: Any, mean: Any, var: Any, eps: float) -> Any:
    return (*batch_norm_frozen_grad(g, x, weight, mean, var, eps), None, None)


@composite(name="NativeBatchNormBackward0", joint=_frozen_joint, fast=kernel.batch_norm_frozen, follows=1)
def batch_norm_frozen(x: Array, weight: Array | None, bias: Array | None, mean: Array, var: Array, eps: float) -> Array:
    """(x - mean) / sqrt(var + eps) * weight + bias with given statistics, which get no gradient."""
    _, per_channel, _ = _layout(x)
    centred = _wide(x) - reshape(_wide(mean), per_channel)
    return _back(_affine(centred, rsqrt(_wide(var) + eps), weight, bias, per_channel), x)


@composite(fast=kernel.layer_norm_grad)
def layer_norm_grad(
    g: Array, g_mean: Array, g_rstd: Array, x: Array, weight: Array | None, mean: Array, rstd: Array, dims: int
) -> tuple[Array, Array, Array]:
    """Gradients of `layer_norm` for x, weight and bias."""
    spec: Spec = spec_of(x)
    inner = tuple(range(-dims, 0))
    outer = tuple(range(len(spec.shape) - dims))
    count = max(1, math.prod(spec.shape[len(outer) :]))
    wide = _wide(g)
    normal = (_wide(x) - mean) * rstd
    scaled = wide if weight is None else wide * _wide(weight)
    along = sum(scaled * normal, inner, True) + g_rstd * rstd
    level = sum(scaled, inner, True) - g_mean / rstd
    g_x = (scaled - (normal * along + level) / count) * rstd
    product = wide * normal
    like = x if weight is None else weight
    g_weight, g_bias = (sum(product, outer), sum(wide, outer)) if outer else (product, wide)
    return _back(g_x, x), _back(g_weight, like), _back(g_bias, like)


def _layer_norm_joint(g: Any, x: Any, weight: Any, out: Any, dims: int) -> Any:
    return layer_norm_grad(g[0], g[1], g[2], x, weight, out[1], out[2], dims)


@composite(name="NativeLayerNormBackward0", joint=_layer_norm_joint, fast=kernel.layer_norm)
def layer_norm(x: Array, weight: Array | None, bias: Array | None, dims: int, eps: float) -> tuple[Array, Array, Array]:
    """(x - mean) / sqrt(var + eps) * weight + bias with the statistics over the last `dims` dims [1]_.

    Returns the result, the mean and 1 / sqrt(var + eps), the last two with those dims of size 1.

    References
    ----------
    .. [1] J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer Normalization", 2016.
    """
    inner = tuple(range(-dims, 0))
    wide = _wide(x)
    count = max(1, math.prod(spec_of(x).shape[-dims:]))
    mean = sum(wide, inner, True) / count
    centred = wide - mean
    rstd = rsqrt(sum(centred * centred, inner, True) / count + eps)
    out = centred * rstd
    out = out if weight is None else out * _wide(weight)
    return _back(out if bias is None else out + _wide(bias), x), mean, rstd


def _group_layout(x: Any, groups: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]:
    """Of x [N, C, *]: shape [N, G, C/G, L], shapes of per-group and per-channel factors in it, values per group."""
    shape = spec_of(x).shape
    n, c = shape[:2]
    length = math.prod(shape[2:])
    whole = (n, groups, c // groups, length)
    return whole, (n, groups, 1, 1), (1, groups, c // groups, 1), max(1, c // groups * length)


@composite(fast=kernel.group_norm_grad, follows=1)
def group_norm_grad(
    g: Array, g_mean: Array, g_rstd: Array, x: Array, weight: Array | None, mean: Array, rstd: Array, groups: int
) -> tuple[Array, Array, Array]:
    """Gradients of `group_norm` for x, weight and bias."""
    whole, per_group, per_channel, count = _group_layout(x, groups)
    wide = reshape(_wide(g), whole)
    r = reshape(rstd, per_group)
    normal = (reshape(_wide(x), whole) - reshape(mean, per_group)) * r
    scaled = wide if weight is None else wide * reshape(_wide(weight), per_channel)
    along = sum(scaled * normal, (2, 3), True) + reshape(g_rstd, per_group) * r
    level = sum(scaled, (2, 3), True) - reshape(g_mean, per_group) / r
    g_x = (scaled - (normal * along + level) / count) * r
    channels = (spec_of(x).shape[1],)
    g_weight = reshape(sum(wide * normal, (0, 3)), channels)
    g_bias = reshape(sum(wide, (0, 3)), channels)
    like = x if weight is None else weight
    return _back(reshape(g_x, spec_of(x).shape), x), _back(g_weight, like), _back(g_bias, like)


def _group_norm_joint(g: Any, x: Any, weight: Any, out: Any, groups: int) -> Any:
    return group_norm_grad(g[0], g[1], g[2], x, weight, out[1], out[2], groups)


@composite(name="NativeGroupNormBackward0", joint=_group_norm_joint, fast=kernel.group_norm, follows=1)
def group_norm(
    x: Array, weight: Array | None, bias: Array | None, groups: int, eps: float
) -> tuple[Array, Array, Array]:
    """(x - mean) / sqrt(var + eps) * weight + bias with statistics over each image's groups of channels [1]_.

    Returns the result, the mean and 1 / sqrt(var + eps), the last two [N, groups].

    References
    ----------
    .. [1] Y. Wu, K. He, "Group Normalization", 2018.
    """
    whole, _, per_channel, count = _group_layout(x, groups)
    wide = reshape(_wide(x), whole)
    mean = sum(wide, (2, 3), True) / count
    centred = wide - mean
    rstd = rsqrt(sum(centred * centred, (2, 3), True) / count + eps)
    out = centred * rstd
    out = out if weight is None else out * reshape(_wide(weight), per_channel)
    out = out if bias is None else out + reshape(_wide(bias), per_channel)
    flat = (whole[0], groups)
    return _back(reshape(out, spec_of(x).shape), x), reshape(mean, flat), reshape(rstd, flat)


def _rms_norm_joint(g: Any, x: Any, weight: Any, dims: int, eps: float) -> Any:
    spec: Spec = spec_of(x)
    inner = tuple(range(-dims, 0))
    outer = tuple(range(len(spec.shape) - dims))
    wide, wide_g = _wide(x), _wide(g)
    scaled = wide_g if weight is None else wide_g * _wide(weight)
    rms = _inverse_root_mean_square(wide, dims, eps)
    normal = wide * rms
    count = max(1, math.prod(spec.shape[len(outer) :]))
    g_x = (scaled - normal * (sum(scaled * normal, inner, True) / count)) * rms
    if weight is None:
        return _back(g_x, x), None
    product = wide_g * normal
    return _back(g_x, x), _back(sum(product, outer) if outer else product, weight)


def _inverse_root_mean_square(x: Any, dims: int, eps: float) -> Any:
    count = max(1, math.prod(spec_of(x).shape[-dims:]))
    return rsqrt(sum(x * x, tuple(range(-dims, 0)), True) / count + eps)


@composite(name="MulBackward0", joint=_rms_norm_joint)
def rms_norm(x: Array, weight: Array | None, dims: int, eps: float) -> Array:
    """x / sqrt(mean of x*x over the last `dims` dims + eps) * weight [1]_.

    References
    ----------
    .. [1] B. Zhang, R. Sennrich, "Root Mean Square Layer Normalization", 2019.
    """
    wide = _wide(x)
    out = wide * _inverse_root_mean_square(wide, dims, eps)
    return _back(out if weight is None else out * _wide(weight), x)
