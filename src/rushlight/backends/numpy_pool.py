"""Pooling on NumPy arrays: windows are combined one dimension at a time, each step on strided slices of a block.

A maximum carries a code, the number of its place in the window (row-major), instead of an index: one byte where the
window has at most 256 places, and enough for the gradient. Ties go to the first place and NaN wins, the last one if
several, as in PyTorch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rushlight.backends.threads import parallel_ranges

Sizes = tuple[int, ...]

# Blocks of planes that stay in the second-level cache.
BLOCK_BYTES = 1 << 18
# Below this many elements one thread is done before a second has woken.
PARALLEL_ELEMENTS = 100_000


@dataclass(frozen=True)
class Windows:
    """The windows of one pooling: sizes of input and output, and where window `o` has its place `k`."""

    input_size: Sizes
    output_size: Sizes
    kernel: Sizes
    stride: Sizes
    padding: Sizes
    dilation: Sizes

    @cached_property
    def extents(self) -> Sizes:
        """Size of the padded input that the windows reach, in each dimension."""
        sizes = zip(self.output_size, self.kernel, self.stride, self.dilation, strict=True)
        return tuple((o - 1) * s + (k - 1) * d + 1 for o, k, s, d in sizes)

    @cached_property
    def needs_padding(self) -> bool:
        """Whether any window reaches outside of the input."""
        reach = zip(self.extents, self.padding, self.input_size, strict=True)
        return any(p or e > n for e, p, n in reach)

    @cached_property
    def inside(self) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """The part of the padded extents that is input: slices of the extents and of the input."""
        counts = [min(n, e - p) for e, p, n in zip(self.extents, self.padding, self.input_size, strict=True)]
        in_extent = tuple(slice(p, p + c) for p, c in zip(self.padding, counts, strict=True))
        return in_extent, tuple(slice(0, c) for c in counts)

    @cached_property
    def origins(self) -> Any:
        """Flat position in the extents of the first place of each window."""
        return self._flat([np.arange(o) * s for o, s in zip(self.output_size, self.stride, strict=True)])

    @cached_property
    def offsets(self) -> Any:
        """Flat distance in the extents of each place, in row-major order, from its window's first."""
        places = [np.arange(k) * d for k, d in zip(self.kernel, self.dilation, strict=True)]
        return self._flat(places).reshape(-1)

    def _flat(self, positions: list[Any]) -> Any:
        flat = np.zeros((1,) * len(positions), np.int64)
        for dim, at in enumerate(positions):
            flat = flat * self.extents[dim] + at.reshape(-1, *(1,) * (len(positions) - 1 - dim))
        return flat

    @cached_property
    def covering(self) -> bool:
        """Whether windows without overlap or gap cover the input exactly."""
        plain = self.kernel == self.stride and set(self.dilation) == {1}
        return plain and not self.needs_padding and self.extents == self.input_size

    def place(self, dim: int, k: int) -> slice:
        """Positions along `dim` of place k of every window."""
        start = k * self.dilation[dim]
        return slice(start, start + (self.output_size[dim] - 1) * self.stride[dim] + 1, self.stride[dim])

    def places(self) -> Iterator[tuple[slice, ...]]:
        """Positions of each place of the windows, in row-major order."""
        for place in np.ndindex(self.kernel):
            yield tuple(self.place(dim, k) for dim, k in enumerate(place))

    @cached_property
    def code_type(self) -> Any:
        """The smallest unsigned integer that numbers the places."""
        return np.min_scalar_type(max(0, math.prod(self.kernel) - 1))


def _planes(x: Any, n: int) -> Any:
    """x with the dims before its last n joined into one."""
    return x.reshape(math.prod(x.shape[: x.ndim - n]), *x.shape[x.ndim - n :])


def _over_planes(planes: int, plane_bytes: int, elements: int, function: Callable[[int, int], None]) -> None:
    """Call `function` over blocks of planes that fit the cache, on several threads where that pays."""
    block = max(1, BLOCK_BYTES // max(1, plane_bytes))

    def blocks(start: int, stop: int) -> None:
        for i in range(start, stop, block):
            function(i, min(i + block, stop))

    parallel_ranges(planes, blocks, elements > PARALLEL_ELEMENTS)


def _lowest(dtype: Any) -> Any:
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


def _padded(block: Any, windows: Windows, fill: Any) -> Any:
    if not windows.needs_padding:
        return block
    out = np.full((len(block), *windows.extents), fill, block.dtype)
    in_extent, in_input = windows.inside
    out[:, *in_extent] = block[:, *in_input]
    return out


def _choose(condition: Any, code: Any, other: Any) -> Any:
    """`where` on unsigned integers by masks, many times faster than NumPy's."""
    mask = np.negative(condition.astype(other.dtype))
    return other ^ ((other ^ code) & mask)


def _max_along(best: Any, codes: Any, windows: Windows, dim: int, code_step: int) -> tuple[Any, Any]:
    """The windows' maxima along one dim, of values whose codes so far are `codes` (None: all 0)."""
    lead = (slice(None),) * (dim + 1)
    value = best[*lead, windows.place(dim, 0)]
    code = None if codes is None else codes[*lead, windows.place(dim, 0)]
    if code is None:
        code = np.zeros(value.shape, windows.code_type)
    for k in range(1, windows.kernel[dim]):
        place = windows.place(dim, k)
        other = best[*lead, place]
        wins = other > value
        value = np.maximum(value, other)
        offset = windows.code_type.type(k * code_step)
        code = _choose(wins, offset if codes is None else codes[*lead, place] + offset, code)
    return value, code


def _max_block(block: Any, windows: Windows) -> tuple[Any, Any]:
    """Maxima and codes of a block of padded planes without NaN."""
    value, code = block, None
    step = 1
    for dim in range(len(windows.kernel) - 1, -1, -1):
        value, code = _max_along(value, code, windows, dim, step)
        step *= windows.kernel[dim]
    return value, 0 if code is None else code


def _max_block_with_nan(block: Any, windows: Windows) -> tuple[Any, Any]:
    """As `_max_block`, place by place, for blocks that hold NaN."""
    value: Any = None
    code: Any = np.zeros((len(block), *windows.output_size), windows.code_type)
    for i, place in enumerate(windows.places()):
        other = block[:, *place]
        if value is None:
            value = other.copy()
            continue
        wins = (other > value) | np.isnan(other)
        np.copyto(value, other, where=wins)
        code[wins] = i
    return value, code


def max_pool(x: Any, windows: Windows) -> tuple[Any, Any]:
    """Maximum of each window over the last dims of x, and its code."""
    n = len(windows.kernel)
    planes = _planes(x, n)
    out = np.empty((len(planes), *windows.output_size), x.dtype)
    codes = np.empty(out.shape, windows.code_type)
    lowest = _lowest(x.dtype)

    def block(start: int, stop: int) -> None:
        padded = _padded(planes[start:stop], windows, lowest)
        value, code = _max_block(padded, windows)
        if x.dtype.kind == "f" and np.isnan(value).any():
            value, code = _max_block_with_nan(padded, windows)
        out[start:stop] = value
        codes[start:stop] = code

    _over_planes(len(planes), planes[:1].nbytes, planes.size, block)
    shape = (*x.shape[: x.ndim - n], *windows.output_size)
    return out.reshape(shape), codes.reshape(shape)


def max_pool_gradient(g: Any, codes: Any, windows: Windows) -> Any:
    """Each window's gradient at the place of its maximum, added up."""
    n = len(windows.kernel)
    gradients, places = _planes(g, n), _planes(codes, n)
    out = np.empty((len(gradients), *windows.input_size), g.dtype)
    size = math.prod(windows.extents)
    origins, offsets = windows.origins, windows.offsets

    def block(start: int, stop: int) -> None:
        whole = out[start:stop] if not windows.needs_padding and windows.extents == windows.input_size else None
        extent = np.empty((stop - start) * size, g.dtype) if whole is None else whole.reshape(-1)
        extent[...] = 0
        first = np.arange(0, (stop - start) * size, size).reshape(-1, *(1,) * n)
        at = offsets[places[start:stop]]
        at += origins
        at += first
        np.add.at(extent, at.reshape(-1), gradients[start:stop].reshape(-1))
        if whole is None:
            _crop_into(out[start:stop], extent.reshape(-1, *windows.extents), windows)

    _over_planes(len(gradients), out[:1].nbytes, out.size, block)
    return out.reshape(*g.shape[: g.ndim - n], *windows.input_size)


def _crop_into(out: Any, extent: Any, windows: Windows) -> None:
    in_extent, in_input = windows.inside
    if any(s.stop < n for s, n in zip(in_input, windows.input_size, strict=True)):
        out[...] = 0
    out[:, *in_input] = extent[:, *in_extent]


def take_at_codes(x: Any, codes: Any, windows: Windows) -> Any:
    """The element of each window of x that its code names."""
    n = len(windows.kernel)
    planes, places = _padded(_planes(x, n), windows, 0), _planes(codes, n)
    inner = planes[:, *(slice(e) for e in windows.extents)].reshape(len(planes), -1)
    at = (windows.offsets[places] + windows.origins).reshape(len(planes), -1)
    return np.take_along_axis(inner, at, axis=1).reshape(codes.shape)


def code_positions(codes: Any, windows: Windows) -> Any:
    """Flat position in the input plane that each code names, int64."""
    place = np.unravel_index(codes.astype(np.int64), windows.kernel)
    flat = np.zeros(codes.shape, np.int64)
    n = len(windows.kernel)
    for dim in range(n):
        outputs = np.arange(windows.output_size[dim]).reshape(-1, *(1,) * (n - 1 - dim))
        at = outputs * windows.stride[dim] - windows.padding[dim] + place[dim] * windows.dilation[dim]
        flat = flat * windows.input_size[dim] + at
    return flat


def sum_pool(x: Any, windows: Windows, scale: Any) -> Any:
    """Sum of each window over the last dims of x, times `scale` (a number or an array over positions)."""
    n = len(windows.kernel)
    planes = _planes(x, n)
    out = np.empty((len(planes), *windows.output_size), x.dtype)

    def block(start: int, stop: int) -> None:
        part = _padded(planes[start:stop], windows, 0)
        for dim in range(n):
            lead = (slice(None),) * (dim + 1)
            pieces = [part[*lead, windows.place(dim, k)] for k in range(windows.kernel[dim])]
            part = functools.reduce(_add_to, pieces[2:], pieces[0] + pieces[1]) if len(pieces) > 1 else pieces[0]
        np.multiply(part, scale, out=out[start:stop])

    _over_planes(len(planes), planes[:1].nbytes, planes.size, block)
    return out.reshape(*x.shape[: x.ndim - n], *windows.output_size)


def _add_to(total: Any, part: Any) -> Any:
    return np.add(total, part, out=total)


def spread_pool(g: Any, windows: Windows, scale: Any) -> Any:
    """The transpose of `sum_pool`: each window's gradient times `scale` at all of its places, added up."""
    n = len(windows.kernel)
    gradients = _planes(g, n)
    out = np.empty((len(gradients), *windows.input_size), g.dtype)

    def block(start: int, stop: int) -> None:
        part = gradients[start:stop] * scale
        for dim in range(n - 1, -1, -1):
            part = _spread_along(part, windows, dim, out[start:stop] if dim == 0 and windows.covering else None)
        if not windows.covering:
            _crop_into(out[start:stop], part, windows)

    _over_planes(len(gradients), out[:1].nbytes, out.size, block)
    return out.reshape(*g.shape[: g.ndim - n], *windows.input_size)


def _spread_along(part: Any, windows: Windows, dim: int, out: Any) -> Any:
    lead = (slice(None),) * (dim + 1)
    shape = (*part.shape[: dim + 1], windows.extents[dim], *part.shape[dim + 2 :])
    alone = windows.stride[dim] >= (windows.kernel[dim] - 1) * windows.dilation[dim] + 1
    if out is None:
        out = np.zeros(shape, part.dtype)
    for k in range(windows.kernel[dim]):
        place = (*lead, windows.place(dim, k))
        if alone:
            out[place] = part
        else:
            out[place] += part
    return out


def average_divisor(windows: Windows, count_padding: bool) -> Any:
    """Elements of each window: of its own, of the padding if that counts, none beyond the padding."""
    counts: Any = np.ones((1,) * len(windows.kernel))
    for dim, (n, o, k, s, p) in enumerate(
        zip(windows.input_size, windows.output_size, windows.kernel, windows.stride, windows.padding, strict=True)
    ):
        start = np.arange(o) * s - p
        stop = np.minimum(start + k, n + p)
        if not count_padding:
            start, stop = np.maximum(start, 0), np.minimum(stop, n)
        counts = counts * (stop - start).reshape(-1, *(1,) * (len(windows.kernel) - 1 - dim))
    return counts
