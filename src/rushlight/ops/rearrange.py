"""Rearrangement of image positions: sliding blocks, and channels to and from pixels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rushlight.backends.precision import narrow, widen
from rushlight.errors import ShapeError, explain
from rushlight.ops.kinds import Array, composite, opaque
from rushlight.ops.linear import copy, permute, reshape
from rushlight.spec import Spec, spec_of

Ints = tuple[int, ...]


def block_counts(size: Ints, kernel: Ints, dilation: Ints, padding: Ints, stride: Ints) -> Ints:
    """Number of positions of a sliding block in each dim."""
    sizes = zip(size, kernel, dilation, padding, stride, strict=True)
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, d, p, s in sizes)


def _check_sizes(kernel: Ints, dilation: Ints, padding: Ints, stride: Ints) -> None:
    def named(title: str, values: Ints) -> str:
        return f"{title}_height: {values[0]} {title}_width: {values[1]}"

    if min(kernel) <= 0:
        raise ShapeError(f"kernel size should be greater than zero, but got {named('kernel', kernel)}")
    if min(dilation) <= 0:
        raise ShapeError(f"dilation should be greater than zero, but got {named('dilation', dilation)}")
    if min(padding) < 0:
        raise ShapeError(f"padding should be non-negative, but got {named('pad', padding)}")
    if min(stride) <= 0:
        raise ShapeError(f"stride should be greater than zero, but got {named('stride', stride)}")


def _im2col_spec(x: Spec, kernel: Ints, dilation: Ints, padding: Ints, stride: Ints) -> Spec:
    _check_sizes(kernel, dilation, padding, stride)
    if x.ndim not in (3, 4) or 0 in x.shape[x.ndim - 3 :]:
        raise ShapeError(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero dimensions for input, "
            f"but got: {list(x.shape)}"
        )
    counts = block_counts(x.shape[-2:], kernel, dilation, padding, stride)
    if min(counts) < 1:
        raise ShapeError(
            f"Given input with spatial size {_pair(x.shape[-2:])}, kernel_size={_pair(kernel)}, "
            f"dilation={_pair(dilation)}, "
            f"padding={_pair(padding)}, calculated shape of the array of sliding blocks as {_pair(counts)}, "
            "but its components must be at least one."
        )
    return Spec((*x.shape[:-3], x.shape[-3] * math.prod(kernel), math.prod(counts)), x.dtype)


def _pair(values: Ints) -> str:
    return f"({values[0]}, {values[1]})"


def _im2col_formula(g: Any, x_spec: Spec, kernel: Ints, dilation: Ints, padding: Ints, stride: Ints) -> Any:
    return col2im(g, x_spec.shape[-2:], kernel, dilation, padding, stride)


def _tap_slices(counts: Ints, kernel: Ints, dilation: Ints, stride: Ints) -> list[tuple[Ints, tuple[slice, ...]]]:
    """Each place of the kernel with the padded positions it visits."""
    found = []
    for place in np.ndindex(kernel):
        spans = tuple(
            slice(k * d, k * d + (n - 1) * s + 1, s) for k, d, n, s in zip(place, dilation, counts, stride, strict=True)
        )
        found.append((place, spans))
    return found


@opaque(name="Im2ColBackward0", spec=_im2col_spec, grad=_im2col_formula)
def im2col(xp: Any, x: Array, kernel: Ints, dilation: Ints, padding: Ints, stride: Ints) -> Array:
    """Sliding blocks of x [*, C, H, W] as columns [*, C*KH*KW, positions]."""
    counts = block_counts(x.shape[-2:], kernel, dilation, padding, stride)
    (ph, pw), lead = padding, x.shape[:-2]
    padded = x
    if ph or pw:
        padded = np.zeros((*lead, x.shape[-2] + 2 * ph, x.shape[-1] + 2 * pw), x.dtype)
        padded[..., ph : ph + x.shape[-2], pw : pw + x.shape[-1]] = x
    out: Any = np.empty((*lead, *kernel, *counts), x.dtype)
    for place, spans in _tap_slices(counts, kernel, dilation, stride):
        out[..., *place, :, :] = padded[..., *spans]
    return out.reshape(*x.shape[:-3], x.shape[-3] * math.prod(kernel), math.prod(counts))


def _col2im_spec(x: Spec, size: Ints, kernel: Ints, dilation: Ints, padding: Ints, stride: Ints) -> Spec:
    _check_sizes(kernel, dilation, padding, stride)
    if x.ndim not in (2, 3) or 0 in x.shape[x.ndim - 2 :]:
        raise ShapeError(
            "Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and non-zero dimensions for "
            f"input, but got: {list(x.shape)}"
        )
    lead = x.ndim - 2
    rows, positions = x.shape[lead:]
    if rows % math.prod(kernel):
        raise ShapeError(
            f"Expected size of input's dimension 1 to be divisible by the product of kernel_size, "
            f"but got input.size(1)={rows} and kernel_size={_pair(kernel)}."
        )
    counts = block_counts(size, kernel, dilation, padding, stride)
    if math.prod(counts) != positions or min(counts) < 1:
        raise explain(
            ShapeError(
                f"Given output_size={_pair(size)}, kernel_size={_pair(kernel)}, dilation={_pair(dilation)}, "
                f"padding={_pair(padding)}, stride={_pair(stride)}, expected size of input's dimension 2 to match the "
                f"calculated number of sliding blocks {counts[0]} * {counts[1]} = {math.prod(counts)}, "
                f"but got input.size(2)={positions}."
            ),
            received=x.shape,
        )
    return Spec((*x.shape[:lead], rows // math.prod(kernel), *size), x.dtype)


def _col2im_formula(g: Any, kernel: Ints, dilation: Ints, padding: Ints, stride: Ints) -> Any:
    return im2col(g, kernel, dilation, padding, stride)


@opaque(name="Col2ImBackward0", spec=_col2im_spec, grad=_col2im_formula)
def col2im(xp: Any, x: Array, size: Ints, kernel: Ints, dilation: Ints, padding: Ints, stride: Ints) -> Array:
    """Columns [*, C*KH*KW, positions] added up as blocks sliding over [*, C, H, W]: the transpose of `im2col`."""
    counts = block_counts(size, kernel, dilation, padding, stride)
    (wide,) = widen(x)
    lead = (*x.shape[:-2], x.shape[-2] // math.prod(kernel))
    blocks = wide.reshape(*lead, *kernel, *counts)
    (h, w), (ph, pw) = size, padding
    out: Any = np.zeros((*lead, h + 2 * ph, w + 2 * pw), wide.dtype)
    for place, spans in _tap_slices(counts, kernel, dilation, stride):
        out[..., *spans] += blocks[..., *place, :, :]
    return narrow(np.ascontiguousarray(out[..., ph : ph + h, pw : pw + w]), x.dtype)


@composite(name="PixelShuffleBackward0", grad=lambda g, factor: pixel_unshuffle(g, factor), follows=1)
def pixel_shuffle(x: Array, factor: int) -> Array:
    """x [*, C*r*r, H, W] as [*, C, H*r, W*r]."""
    *lead, channels, h, w = spec_of(x).shape
    n = len(lead)
    parted = reshape(x, (*lead, channels // factor**2, factor, factor, h, w))
    moved = permute(parted, (*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return reshape(copy(moved), (*lead, channels // factor**2, h * factor, w * factor))


@composite(name="PixelUnshuffleBackward0", grad=lambda g, factor: pixel_shuffle(g, factor), follows=1)
def pixel_unshuffle(x: Array, factor: int) -> Array:
    """x [*, C, H*r, W*r] as [*, C*r*r, H, W]: the inverse of `pixel_shuffle`."""
    *lead, channels, h, w = spec_of(x).shape
    n = len(lead)
    parted = reshape(x, (*lead, channels, h // factor, factor, w // factor, factor))
    moved = permute(parted, (*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return reshape(copy(moved), (*lead, channels * factor**2, h // factor, w // factor))


def _unshuffled(g: Any, x_spec: Spec, groups: int) -> Any:
    return channel_shuffle(g, x_spec.shape[1] // groups)


@composite(name="ChannelShuffleBackward0", grad=_unshuffled, follows=1)
def channel_shuffle(x: Array, groups: int) -> Array:
    """Channels of x [N, C, *], seen as [groups, C/groups], transposed."""
    n, channels, *rest = spec_of(x).shape
    parted = reshape(x, (n, groups, channels // groups, *rest))
    moved = permute(parted, (0, 2, 1, *range(3, 3 + len(rest))))
    return reshape(copy(moved), (n, channels, *rest))
