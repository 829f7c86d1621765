"""Convolution of 1 to 3 dimensions on NumPy arrays: forward, input gradient and weight gradient as matrix products.

All three work on the same picture. Output position `o` and kernel tap `k` meet at position `o*stride + k*dilation`
of the padded input. Splitting the padded input by its residue modulo the stride into *phases* makes every tap a plain
shift within one phase, so that a whole image's worth of one tap is one long contiguous run of the flattened phase
(the runs also cover columns past the row's end, which are dropped or multiplied by zero). Copying those runs gives the
matrix of columns several times faster than gathering short rows, and the BLAS does the rest.
"""

from __future__ import annotations

import functools
import itertools
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np

from rushlight.backends.threads import parallel_ranges

T = TypeVar("T")
Sizes = tuple[int, ...]

# Columns are made in blocks that stay in the second-level cache; measured best at about 0.5 MB.
BLOCK_BYTES = 1 << 19
# Runs may carry at most this many times the useful columns before short exact rows are cheaper.
MOST_WASTE = 1.6
# Below this many multiplications one thread is done before a second has woken.
PARALLEL_PRODUCTS = 4_000_000


def _reversed(taps: slice, count: int) -> slice:
    """The `count` positions of a slice in the opposite order."""
    last = taps.start + (count - 1) * taps.step
    return slice(last, taps.start - taps.step if taps.start >= taps.step else None, -taps.step)


class PhaseLayout(NamedTuple):
    """Where the parts of one phase lie: its taps and how many in each dimension, its interior, the inputs there, and
    the distances from the phase's start to the first tap's window and between windows, in elements."""

    taps: tuple[slice, ...]
    counts: Sizes
    inner: tuple[slice, ...]
    source: tuple[slice, ...]
    offset: int
    strides: Sizes


@dataclass(frozen=True)
class Geometry:
    """How the positions of input, kernel and output of one convolution meet."""

    input_size: Sizes
    kernel_size: Sizes
    output_size: Sizes
    stride: Sizes
    padding: Sizes
    dilation: Sizes

    @cached_property
    def grid(self) -> Sizes:
        """Size of one phase."""
        reach = zip(self.output_size, self.kernel_size, self.stride, self.dilation, strict=True)
        return tuple(o + (k - 1) * d // s for o, k, s, d in reach)

    @cached_property
    def grid_strides(self) -> Sizes:
        """Distance in a flattened phase of one step in each dimension."""
        return tuple(math.prod(self.grid[i + 1 :]) for i in range(len(self.grid)))

    @cached_property
    def folded(self) -> bool:
        """Whether columns are long runs with waste rather than exact rows."""
        return self.run_length <= MOST_WASTE * math.prod(self.output_size)

    @cached_property
    def run_length(self) -> int:
        """Length of a run that covers all output positions."""
        return self.output_size[0] * self.grid_strides[0]

    @cached_property
    def columns(self) -> Sizes:
        """Shape of one image's columns."""
        return (self.run_length,) if self.folded else self.output_size

    @cached_property
    def slack(self) -> int:
        """Elements after the last image that the last tap's run reaches."""
        taps = zip(self.grid, self.output_size, self.grid_strides, strict=True)
        return sum((q - o) * step for q, o, step in list(taps)[1:])

    @cached_property
    def phases(self) -> tuple[tuple[Sizes, tuple[slice, ...], Sizes, Sizes], ...]:
        """Each phase that a tap falls in: (residues, slices of its taps, first shifts, steps between shifts)."""
        per_dim = []
        for k, s, d in zip(self.kernel_size, self.stride, self.dilation, strict=True):
            period = s // math.gcd(s, d)
            found = []
            for first in range(min(period, k)):
                shift, residue = divmod(first * d, s)
                found.append((residue, slice(first, None, period), shift, d * period // s))
            per_dim.append(found)
        return tuple(tuple(zip(*combined, strict=True)) for combined in itertools.product(*per_dim))

    def interior(self, residues: Sizes) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Where a phase and the input overlap: slices of the phase and slices of the input."""
        in_phase, in_input = [], []
        for residue, n, q, s, p in zip(residues, self.input_size, self.grid, self.stride, self.padding, strict=True):
            low = max(0, -((residue - p) // s))
            high = min(q, (n - 1 + p - residue) // s + 1)
            high = max(high, low)
            start = low * s + residue - p
            in_phase.append(slice(low, high))
            in_input.append(slice(start, start + (high - low - 1) * s + 1 if high > low else start, s))
        return tuple(in_phase), tuple(in_input)

    def rows(self, start: int, stop: int) -> Geometry:
        """The part of this convolution that makes rows `start` to `stop` of the output's first dimension."""
        size = (stop - start, *self.output_size[1:])
        return replace(self, output_size=size, padding=(self.padding[0] - start * self.stride[0], *self.padding[1:]))

    @cached_property
    def layouts(self) -> tuple[PhaseLayout, ...]:
        """The layouts of the phases that taps fall in."""
        found = []
        for residues, taps, shifts, steps in self.phases:
            inner, source = self.interior(residues)
            counts = tuple(len(range(*t.indices(k))) for t, k in zip(taps, self.kernel_size, strict=True))
            offset = sum(a * b for a, b in zip(shifts, self.grid_strides, strict=True))
            strides = tuple(a * b for a, b in zip(steps, self.grid_strides, strict=True))
            found.append(PhaseLayout(taps, counts, inner, source, offset, strides))
        return tuple(found)

    @cached_property
    def transposed(self) -> tuple[tuple[tuple[slice, ...], tuple[slice, ...], Geometry], ...]:
        """The convolutions of stride 1 that make the input gradient from the output's.

        The inputs of one phase only ever met the taps of that phase, so each phase is the gradient convolved with
        its own taps, reversed. Items: (where in the input, which taps, geometry), derived here.
        """
        parts = []
        for (_, _, shifts, steps), layout in zip(self.phases, self.layouts, strict=True):
            last = [a + b * (n - 1) for a, b, n in zip(shifts, steps, layout.counts, strict=True)]
            backwards = tuple(_reversed(t, n) for t, n in zip(layout.taps, layout.counts, strict=True))
            geometry = Geometry(
                self.output_size,
                layout.counts,
                tuple(part.stop - part.start for part in layout.inner),
                (1,) * len(last),
                tuple(a - part.start for a, part in zip(last, layout.inner, strict=True)),
                steps,
            )
            if math.prod(geometry.output_size):
                parts.append((layout.source, backwards, geometry))
        return tuple(parts)


class _Phase:
    """Buffer of one phase of a block of images, with views of its interior and of its taps' columns."""

    __slots__ = ("taps", "source", "inner", "windows")

    def __init__(self, geometry: Geometry, layout: PhaseLayout, channels: int, images: int, dtype: Any) -> None:
        self.taps = layout.taps
        self.source = layout.source
        size = math.prod(geometry.grid)
        flat = np.zeros(channels * images * size + geometry.slack, dtype)
        grid = flat[: channels * images * size].reshape(channels, images, *geometry.grid)
        self.inner = grid[:, :, *layout.inner].swapaxes(0, 1)
        item = flat.itemsize
        along = (1,) if geometry.folded else geometry.grid_strides
        strides = (images * size, *layout.strides, size, *along)
        shape = (channels, *layout.counts, images, *geometry.columns)
        self.windows = np.ndarray(shape, dtype, flat, layout.offset * item, tuple(n * item for n in strides))


class _Buffers:
    """What one thread needs for a block of images: their columns, their results, and views of both.

    `matrix` [groups, channel and tap, image and position] are the columns, `block` [groups, output channel, image and
    position] the outputs, `images_of_block` the useful part of `block` as [image, output channel, *output_size].
    """

    def __init__(self, work: _Work, geometry: Geometry, images: int) -> None:
        dtype = work.dtype
        self.columns = np.empty((work.channels, *geometry.kernel_size, images, *geometry.columns), dtype)
        self.phases = [_Phase(geometry, layout, work.channels, images, dtype) for layout in geometry.layouts]
        self.matrix = self.columns.reshape(work.groups, work.rows // work.groups, -1)
        self.block = np.zeros((work.groups, work.out_channels // work.groups, self.matrix.shape[-1]), dtype)
        shape = (work.out_channels, images, *geometry.output_size)
        if geometry.folded:
            whole = (work.out_channels, images, geometry.output_size[0], *geometry.grid[1:])
            view = self.block.reshape(whole)[:, :, *(slice(n) for n in geometry.output_size)]
        else:
            view = self.block.reshape(shape)
        self.images_of_block = view.swapaxes(0, 1)

    def gather(self, x: Any) -> None:
        """Fill the columns from a block of inputs."""
        for phase in self.phases:
            phase.inner[: len(x)] = x[:, :, *phase.source]
            np.copyto(self.columns[:, *phase.taps], phase.windows)


class _Work:
    """The sizes of one convolution and how it is cut into blocks of images, or one image into blocks of rows."""

    def __init__(self, geometry: Geometry, groups: int, x: Any, out_channels: int) -> None:
        self.geometry = geometry
        self.groups = groups
        self.n, self.channels = x.shape[:2]
        self.dtype = x.dtype
        self.out_channels = out_channels
        self.rows = self.channels * math.prod(geometry.kernel_size)
        self.image_bytes = max(1, self.rows * math.prod(geometry.columns) * self.dtype.itemsize)
        products = self.n * self.rows * out_channels // groups * math.prod(geometry.output_size)
        self.worthwhile = products > PARALLEL_PRODUCTS
        self.last: dict[int, tuple[Geometry, int, _Buffers]] = {}

    def images(self, wanted: int) -> int:
        """How many images make a block."""
        return max(1, min(wanted, BLOCK_BYTES // int(self.image_bytes)))

    def buffers(self, geometry: Geometry, images: int) -> _Buffers:
        """Buffers for a block, those of this thread's last block if they fit."""
        thread = threading.get_ident()
        found = self.last.get(thread)
        if found is None or found[0] is not geometry or found[1] != images:
            found = self.last[thread] = (geometry, images, _Buffers(self, geometry, images))
        return found[2]

    def tiles(self) -> list[tuple[slice, Geometry]]:
        """Blocks of output rows: one, unless a single image's columns exceed the cache."""
        size = self.geometry.output_size[0]
        count = min(size, self.image_bytes // BLOCK_BYTES) or 1
        if count == 1:
            return [(slice(None), self.geometry)]
        edges = [i * size // count for i in range(count + 1)]
        return [(slice(a, b), self.geometry.rows(a, b)) for a, b in itertools.pairwise(edges)]

    def run(self, function: Callable[[int, int, slice, Geometry], T]) -> list[T]:
        """Call `function(first image, last image, rows, their geometry)` over the whole, several at a time."""
        tiles = self.tiles()
        count = len(tiles)
        if count == 1:
            return parallel_ranges(self.n, lambda i, j: function(i, j, *tiles[0]), self.worthwhile)

        def several(start: int, stop: int) -> list[T]:
            return [function(i // count, i // count + 1, *tiles[i % count]) for i in range(start, stop)]

        return [part for parts in parallel_ranges(self.n * count, several, self.worthwhile) for part in parts]


def _is_pointwise(geometry: Geometry) -> bool:
    return (
        geometry.input_size == geometry.output_size and set(geometry.kernel_size) == {1} and not any(geometry.padding)
    )


def _convolve(x: Any, weight: Any, bias: Any, geometry: Geometry, groups: int, out: Any) -> None:
    """Write the convolution of x [N, C, *] with weight [O, C/groups, *kernel] to `out`."""
    o = weight.shape[0]
    w = weight.reshape(groups, o // groups, -1)
    work = _Work(geometry, groups, x, o)

    def by_columns(start: int, stop: int, rows: slice, geometry: Geometry) -> None:
        images = work.images(stop - start)
        buffers = work.buffers(geometry, images)
        for i in range(start, stop, images):
            count = min(images, stop - i)
            buffers.gather(x[i : i + count])
            np.matmul(w, buffers.matrix, out=buffers.block)
            result, target = buffers.images_of_block[:count], out[i : i + count, :, rows]
            if bias is None:
                target[...] = result
            else:
                np.add(result, bias, out=target)

    work.run(by_columns)


def _convolve_pointwise(x: Any, weight: Any, bias: Any, groups: int) -> Any:
    n, c, *size = x.shape
    o = weight.shape[0]
    w = weight.reshape(groups, o // groups, -1)
    columns = x.reshape(n, groups, c // groups, -1)
    out = np.empty((n, groups, o // groups, columns.shape[-1]), x.dtype)

    def some_images(start: int, stop: int) -> None:
        np.matmul(w, columns[start:stop], out=out[start:stop])
        if bias is not None:
            out[start:stop] += bias.reshape(groups, o // groups, 1)

    parallel_ranges(n, some_images, x.size * o // groups > PARALLEL_PRODUCTS)
    return out.reshape(n, o, *size)


def forward(x: Any, weight: Any, bias: Any, geometry: Geometry, groups: int) -> Any:
    """Convolution of x [N, C, *] with weight [O, C/groups, *kernel], plus bias [O] or None."""
    if _is_pointwise(geometry):
        return _convolve_pointwise(x, weight, bias, groups)
    out = np.empty((len(x), len(weight), *geometry.output_size), x.dtype)
    column_bias = None if bias is None else bias.reshape(-1, *(1,) * len(geometry.output_size))
    _convolve(x, weight, column_bias, geometry, groups, out)
    return out


def input_gradient(g: Any, weight: Any, bias: Any, geometry: Geometry, groups: int) -> Any:
    """Gradient of `forward` for its input, from g [N, O, *output_size]; plus bias [C] or None."""
    n, o = g.shape[:2]
    c = weight.shape[1] * groups
    kernel = weight.shape[2:]
    turned = weight.reshape(groups, o // groups, -1, *kernel).swapaxes(1, 2).reshape(c, o // groups, *kernel)
    if _is_pointwise(geometry):
        return _convolve_pointwise(g, turned, bias, groups)
    column_bias = None if bias is None else bias.reshape(-1, *(1,) * len(kernel))
    parts = geometry.transposed
    covered = sum(math.prod(part.output_size) for *_, part in parts) == math.prod(geometry.input_size)
    out = np.empty((n, c, *geometry.input_size), g.dtype)
    if not covered:
        out[...] = 0 if column_bias is None else column_bias
    for where, taps, part in parts:
        _convolve(g, turned[:, :, *taps], column_bias, part, groups, out[:, :, *where])
    return out


def weight_gradient(x: Any, g: Any, geometry: Geometry, groups: int) -> Any:
    """Gradient of `forward` for its weight."""
    c, o = x.shape[1], g.shape[1]
    work = _Work(geometry, groups, x, o)
    # OpenBLAS is up to twice as fast when the longer side of the small result comes first
    wide = work.rows < o

    def product(rows: Any, block: Any) -> Any:
        return np.matmul(block, rows.swapaxes(-1, -2)) if wide else np.matmul(rows, block.swapaxes(-1, -2))

    def pointwise(start: int, stop: int) -> Any:
        shape = (stop - start, groups, -1, math.prod(geometry.output_size))
        return np.add.reduce(product(x[start:stop].reshape(shape), g[start:stop].reshape(shape)), axis=0)

    def by_columns(start: int, stop: int, rows: slice, geometry: Geometry) -> Any:
        images = work.images(stop - start)
        buffers = work.buffers(geometry, images)
        total: Any = None
        for i in range(start, stop, images):
            count = min(images, stop - i)
            if count < images:
                buffers.block[...] = 0
            buffers.gather(x[i : i + count])
            buffers.images_of_block[:count] = g[i : i + count, :, rows]
            part = product(buffers.matrix, buffers.block)
            total = part if total is None else np.add(total, part, out=total)
        return total

    if _is_pointwise(geometry):
        parts = parallel_ranges(len(x), pointwise, work.worthwhile)
    else:
        parts = work.run(by_columns)
    shape = (o, c // groups, *geometry.kernel_size)
    if not parts:
        return np.zeros(shape, x.dtype)
    total = functools.reduce(np.add, parts)
    return np.ascontiguousarray(total if wide else total.swapaxes(-1, -2)).reshape(shape)
