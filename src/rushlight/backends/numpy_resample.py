"""Resampling of one dimension as a sparse linear map: each output is a weighted sum of a few inputs.

A map is held as two arrays [outputs, taps], positions and weights. Its transpose, the gradient, has the same form.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

FILTERS = ("nearest", "nearest-exact", "linear", "cubic", "antialias-linear", "antialias-cubic", "antialias-lanczos")


class Resampling(NamedTuple):
    """How one dimension is resampled."""

    filter: str
    input_size: int
    output_size: int
    align_corners: bool = False
    # input positions per output position where the user's scale factor decides it, else None
    step: float | None = None

    @property
    def ratio(self) -> float:
        """Input positions per output position."""
        if self.align_corners:
            return (self.input_size - 1) / (self.output_size - 1) if self.output_size > 1 else 0.0
        return self.input_size / self.output_size if self.step is None else self.step


class Taps(NamedTuple):
    """Positions and weights [outputs, taps] of a sparse map; no weights where all are 1 and there is one tap."""

    positions: Any
    weights: Any


def _centres(plan: Resampling, real: Any) -> Any:
    """The input position that each output position falls on."""
    i = np.arange(plan.output_size).astype(real)
    ratio = real(plan.ratio)
    return i * ratio if plan.align_corners else (i + real(0.5)) * ratio - real(0.5)


def _nearest(plan: Resampling) -> Taps:
    i = np.arange(plan.output_size).astype(np.float32)
    offset = np.float32(0.5 if plan.filter == "nearest-exact" else 0)
    at = np.floor((i + offset) * np.float32(plan.ratio)).astype(np.int64)
    return Taps(np.minimum(at, plan.input_size - 1)[:, None], None)


def _linear(plan: Resampling, real: Any) -> Taps:
    at = np.maximum(_centres(plan, real), 0)
    left = np.minimum(np.floor(at).astype(np.int64), plan.input_size - 1)
    share = np.minimum(at - left, 1).astype(real)
    right = np.minimum(left + 1, plan.input_size - 1)
    return Taps(np.stack([left, right], 1), np.stack([1 - share, share], 1))


def cubic_weights(share: Any, a: float = -0.75) -> list[Any]:
    """Weights of the four neighbours of a position `share` past the second, by cubic convolution [1]_.

    References
    ----------
    .. [1] R. Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981.
    """

    def near(x: Any) -> Any:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Any) -> Any:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [far(share + 1), near(share), near(1 - share), far(2 - share)]


def _cubic(plan: Resampling, real: Any) -> Taps:
    at = _centres(plan, real)
    left = np.floor(at)
    weights = np.stack(cubic_weights((at - left).astype(real)), 1).astype(real)
    positions = left.astype(np.int64)[:, None] + np.arange(-1, 3)
    return Taps(positions.clip(0, plan.input_size - 1), weights)


def _triangle(x: Any) -> Any:
    return np.maximum(1 - np.abs(x), 0)


def _keys(x: Any) -> Any:
    a = -0.5
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _lanczos(x: Any) -> Any:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


_KERNELS = {"antialias-linear": (_triangle, 1.0), "antialias-cubic": (_keys, 2.0), "antialias-lanczos": (_lanczos, 3.0)}


def _antialias(plan: Resampling, real: Any) -> Taps:
    """A kernel stretched over the input positions that one output covers, its weights summing to 1."""
    kernel, reach = _KERNELS[plan.filter]
    ratio = real(plan.ratio)
    spread = max(ratio, real(1))
    support = real(reach) * spread
    # the kernel is centred on the middle of the output's cell, also where corners are aligned: PyTorch's choice
    centre = (np.arange(plan.output_size).astype(real) + real(0.5)) * ratio
    first = np.maximum((centre - support + real(0.5)).astype(np.int64), 0)
    last = np.minimum((centre + support + real(0.5)).astype(np.int64), plan.input_size)
    taps = np.arange(max(1, int((last - first).max(initial=1))))
    positions = first[:, None] + taps
    inside = positions < last[:, None]
    weights = np.where(inside, kernel((positions - centre[:, None] + real(0.5)) / spread), 0)
    weights = weights / weights.sum(1, keepdims=True)
    return Taps(np.where(inside, positions, first[:, None]), weights.astype(real))


@lru_cache(256)
def taps_of(plan: Resampling, double: bool) -> Taps:
    """The map of a resampling, its weights in float64 or float32."""
    real = np.float64 if double else np.float32
    if plan.filter in ("nearest", "nearest-exact"):
        return _nearest(plan)
    if plan.filter == "linear":
        return _linear(plan, real)
    return _cubic(plan, real) if plan.filter == "cubic" else _antialias(plan, real)


@lru_cache(256)
def transposed_taps(plan: Resampling, double: bool) -> Taps:
    """The transpose of `taps_of`: for each input the outputs that use it."""
    taps = taps_of(plan, double)
    real = np.float64 if double else np.float32
    weights = np.ones(taps.positions.shape, real) if taps.weights is None else taps.weights
    sources = taps.positions.reshape(-1)
    outputs = np.repeat(np.arange(plan.output_size), taps.positions.shape[1])
    order = np.argsort(sources, kind="stable")
    counts = np.bincount(sources, minlength=plan.input_size)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    width = max(1, int(counts.max(initial=1)))
    slots = np.arange(width)
    used = slots < counts[:, None]
    at = order[np.minimum(starts[:, None] + slots, len(order) - 1)]
    positions = np.where(used, outputs[at], outputs[at[:, :1]])
    return Taps(positions, np.where(used, weights.reshape(-1)[at], 0).astype(real))


def _apply(x: Any, taps: Taps, axis: int) -> Any:
    if taps.weights is None:
        return x.take(taps.positions[:, 0], axis)
    shape = (-1, *(1,) * (x.ndim - 1 - axis))
    total: Any = None
    for k in range(taps.positions.shape[1]):
        part = x.take(taps.positions[:, k], axis)
        part *= taps.weights[:, k].reshape(shape)
        total = part if total is None else np.add(total, part, out=total)
    return total


def resample(x: Any, plans: tuple[Resampling, ...]) -> Any:
    """Resample the last dims of x, floating."""
    for axis, plan in enumerate(plans, x.ndim - len(plans)):
        if not _is_identity(plan):
            x = _apply(x, taps_of(plan, x.dtype == np.float64), axis)
    return x


def resample_gradient(g: Any, plans: tuple[Resampling, ...]) -> Any:
    """The transpose of `resample`."""
    for axis, plan in enumerate(plans, g.ndim - len(plans)):
        if not _is_identity(plan):
            g = _apply(g, transposed_taps(plan, g.dtype == np.float64), axis)
    return g


def _is_identity(plan: Resampling) -> bool:
    return plan.input_size == plan.output_size and math.isclose(plan.ratio, 1.0) and not plan.filter.startswith("anti")
