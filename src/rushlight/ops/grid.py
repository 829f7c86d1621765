"""Sampling of images at arbitrary positions, and grids of positions from affine maps.

Sampling is written over gathers and elementwise ops, so that every derivative exists. Each corner of a position's cell
contributes its value times a weight; positions outside read 0, or are brought inside first.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import numpy as np

from rushlight.backends.numpy_resample import cubic_weights
from rushlight.ops.elementwise import abs, add, clamp, floor, ge, le, logical_and, remainder, round, where
from rushlight.ops.kinds import Array, Arrays, composite, opaque
from rushlight.ops.linear import cast, expand, getitem_select, permute, reshape
from rushlight.ops.matmul import bmm
from rushlight.ops.pool_index import plane_gather
from rushlight.spec import Spec, spec_of

Ints = tuple[int, ...]
INT64 = np.dtype(np.int64)


def _sum_spec(xs: tuple[Spec, ...]) -> Spec:
    return xs[0]


def _copies(g: Any, xs_spec: tuple[Spec, ...]) -> list[Any]:
    return [g] * len(xs_spec)


def _sum(xs: Any) -> Any:
    total = xs[0].copy()
    for x in xs[1:]:
        total += x
    return total


@opaque(name="GridSampler2DBackward0", spec=_sum_spec, grad=_copies)
def sum_of_corners2d(xp: Any, xs: Arrays) -> Array:
    """Sum of the contributions of a cell's corners."""
    return _sum(xs)


@opaque(name="GridSampler3DBackward0", spec=_sum_spec, grad=_copies)
def sum_of_corners3d(xp: Any, xs: Arrays) -> Array:
    """Sum of the contributions of a cell's corners."""
    return _sum(xs)


def _to_pixels(coordinate: Any, size: int, align_corners: bool) -> Any:
    """Positions in [-1, 1] as pixel numbers: -1 and 1 are the outer pixels' centres, or the image's edges."""
    if align_corners:
        return (coordinate + 1) * ((size - 1) / 2)
    return ((coordinate + 1) * size - 1) / 2


def _reflected(at: Any, twice_low: int, twice_high: int) -> Any:
    """Positions mirrored at both ends until they lie inside."""
    if twice_low == twice_high:
        return at * 0
    low, span = twice_low / 2, (twice_high - twice_low) / 2
    distance = abs(at - low)
    rest = remainder(distance, span)
    flips = floor(distance / span)
    return where(le(remainder(flips, 2), 0.5), rest + low, span - rest + low)


def _brought_inside(at: Any, size: int, padding_mode: str, align_corners: bool) -> Any:
    if padding_mode == "border":
        return clamp(at, 0.0, float(size - 1))
    if padding_mode == "reflection":
        ends = (0, 2 * (size - 1)) if align_corners else (-1, 2 * size - 1)
        return clamp(_reflected(at, *ends), 0.0, float(size - 1))
    return at


def _values(x: Any, corner: list[Any], size: Ints, weight: Any) -> Any:
    """Values of x [N, C, *size] at integer pixels [N, *], one array per dim, times `weight` [N, *]; 0 outside."""
    n, c = spec_of(x).shape[:2]
    inside: Any = None
    flat: Any = None
    for at, m in zip(corner, size, strict=True):
        fits = logical_and(ge(at, 0), le(at, m - 1))
        inside = fits if inside is None else logical_and(inside, fits)
        # NaN is nowhere inside
        place = cast(where(fits, at, 0.0), INT64)
        flat = place if flat is None else flat * m + place
    shape = spec_of(flat).shape
    wide = (n, c, *shape[1:])
    index = expand(reshape(flat, (n, 1, *shape[1:])), wide)
    inside = expand(reshape(inside, (n, 1, *shape[1:])), wide)
    # where, not a product with a mask: what lies outside must not turn infinities into NaN
    return where(inside, plane_gather(x, index, len(size)) * _per_channel(weight), 0.0)


def _per_channel(weight: Any) -> Any:
    shape = spec_of(weight).shape
    return reshape(weight, (shape[0], 1, *shape[1:]))


def _linear_corners(x: Any, at: list[Any], size: Ints) -> list[Any]:
    lows = [floor(a) for a in at]
    shares = [a - low for a, low in zip(at, lows, strict=True)]
    found = []
    for corner in itertools.product((0, 1), repeat=len(size)):
        pixel = [low + step for low, step in zip(lows, corner, strict=True)]
        weight: Any = None
        for share, step in zip(shares, corner, strict=True):
            factor = share if step else 1 - share
            weight = factor if weight is None else weight * factor
        found.append(_values(x, pixel, size, weight))
    return found


def _cubic_corners(x: Any, raw: list[Any], size: Ints, padding_mode: str, align_corners: bool) -> list[Any]:
    lows = [floor(a) for a in raw]
    weights = [cubic_weights(a - low) for a, low in zip(raw, lows, strict=True)]
    found = []
    for i, j in itertools.product(range(4), repeat=2):
        pixel = [
            _brought_inside(low + (step - 1), m, padding_mode, align_corners)
            for low, step, m in zip(lows, (i, j), size, strict=True)
        ]
        found.append(_values(x, pixel, size, weights[0][i] * weights[1][j]))
    return found


@composite()
def grid_sample(x: Array, grid: Array, mode: str, padding_mode: str, align_corners: bool) -> Array:
    """x [N, C, *size] at the positions grid [N, *, dims], last dim first, by the mode's interpolation [1]_.

    References
    ----------
    .. [1] M. Jaderberg, K. Simonyan, A. Zisserman, K. Kavukcuoglu, "Spatial Transformer Networks", 2015.
    """
    size = spec_of(x).shape[2:]
    n = len(size)
    # the grid names the last dim first
    raw = [_to_pixels(getitem_select(grid, (..., n - 1 - d)), size[d], align_corners) for d in range(n)]
    if mode == "bicubic":
        corners = _cubic_corners(x, raw, size, padding_mode, align_corners)
    else:
        at = [_brought_inside(a, m, padding_mode, align_corners) for a, m in zip(raw, size, strict=True)]
        if mode == "nearest":
            pixels = [round(a) for a in at]
            # the positions get a gradient of zeros, as in PyTorch
            ones = clamp(functools.reduce(add, pixels), 1.0, 1.0)
            corners = [_values(x, pixels, size, ones)]
        else:
            corners = _linear_corners(x, at, size)
    return sum_of_corners2d(corners) if n == 2 else sum_of_corners3d(corners)


def base_grid(size: Ints, align_corners: bool, dtype: Any) -> Any:
    """Homogeneous positions [prod(size), dims + 1] of an image's pixels in [-1, 1], last dim first."""
    axes = []
    for m in size:
        line = np.linspace(-1, 1, m) if m > 1 else np.zeros(1)
        axes.append(line if align_corners or m <= 1 else line * ((m - 1) / m))
    planes = np.meshgrid(*axes, indexing="ij")
    columns = [plane.reshape(-1) for plane in reversed(planes)]
    return np.stack([*columns, np.ones(math.prod(size))], 1).astype(dtype)


def _theta_grad(g: Any, theta_spec: Spec, size: Ints, align_corners: bool) -> Any:
    base = base_grid(size, align_corners, theta_spec.dtype)
    n, dims = theta_spec.shape[:2]
    whole = np.broadcast_to(base, (n, *base.shape))
    flat = reshape(g, (n, math.prod(size), dims))
    return bmm(permute(flat, (0, 2, 1)), whole)


@opaque(
    name="AffineGridGeneratorBackward0",
    spec=lambda theta, size, align_corners: Spec((theta.shape[0], *size, theta.shape[1]), theta.dtype),
    grad=_theta_grad,
)
def affine_grid(xp: Any, theta: Array, size: Ints, align_corners: bool) -> Array:
    """Positions of the pixels of images of `size` mapped by theta [N, dims, dims + 1]; result [N, *size, dims]."""
    base = base_grid(size, align_corners, theta.dtype)
    return np.matmul(base, theta.swapaxes(1, 2)).reshape(theta.shape[0], *size, theta.shape[1])
