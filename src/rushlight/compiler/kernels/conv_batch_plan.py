"""Convolutions with images in the lanes of vectors: what meets what, and how the work is cut.

Every position of a vector's worth of images is one vector. Neither stride nor padding costs anything then: a result
meets the taps that it has and no others, all loads are whole cache lines, and nothing is copied once per tap. What it
costs is turning the numbers around, from images of positions to positions of images and back.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rushlight.backends.numpy_conv import Geometry
from rushlight.compiler.access import Access
from rushlight.compiler.kernels.conv_pack import Packing
from rushlight.compiler.kernels.conv_plan import HEAVY_BYTES, LINE, PACK_BYTES, SPLIT_OUTPUTS, aligned
from rushlight.compiler.kernels.conv_shape import CHUNK_PRODUCTS, MOST_CHUNKS, UNIT, Axis, Blocks, Part, three
from rushlight.compiler.kernels.conv_tile import Weights
from rushlight.compiler.target import host

Ints = tuple[int, ...]

# Cycles that turning one vector around costs, and where whole images are one run.
TURN_CYCLES = 15.0
RUN_CYCLES = 8.0
# What a tile's turned input, and results that wait, may take of the second-level cache.
TILE_BYTES = 3 << 17
SUMS_BYTES = 3 << 17
# Results of a dim, and lines of an image: of larger ones tables would be long, and little is padding.
MOST_RESULTS = 512
MOST_LINES = 4096
# Products written out for one block of output channels.
MOST_PRODUCTS = 700


@dataclass(frozen=True)
class Dim:
    """One dim: the numbers of source positions, of results and of taps, and how they meet."""

    source: int
    out: int
    taps: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    transposed: bool = False

    @cached_property
    def meets(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """Of each result: the taps that it meets, and where."""
        return tuple(tuple(self._meet(o)) for o in range(self.out))

    def _meet(self, o: int) -> list[tuple[int, int]]:
        found = []
        for k in range(self.taps):
            if self.transposed:
                at, rest = divmod(o + self.padding - k * self.dilation, self.stride)
            else:
                at, rest = o * self.stride + k * self.dilation - self.padding, 0
            if rest == 0 and 0 <= at < self.source:
                found.append((k, at))
        return found

    @property
    def products(self) -> int:
        """Meetings altogether."""
        return sum(map(len, self.meets))


ONE = Dim(1, 1, 1)


@dataclass(frozen=True)
class Columns:
    """Neighbouring blocks of results of the last dim that look the same.

    Attributes
    ----------
    first, source : the first block's first result, and the source position that `products` counts from
    wide, count : results of a block, and blocks
    step : from a block's source position to the next block's
    products : of each tap that is met: its number, and pairs of (result in the block, source position)
    """

    first: int
    source: int
    wide: int
    count: int
    step: int
    products: tuple[tuple[int, tuple[tuple[int, int], ...]], ...]


def columns(dim: Dim, wide: int) -> list[Columns]:
    """The blocks of the last dim, `wide` results each and fewer at the end."""
    found: list[Columns] = []
    for first in range(0, dim.out, wide):
        here = range(first, min(first + wide, dim.out))
        source = min((at for o in here for _, at in dim.meets[o]), default=0)
        taps = sorted({k for o in here for k, _ in dim.meets[o]})
        products = tuple(
            (k, tuple((o - first, at - source) for o in here for j, at in dim.meets[o] if j == k)) for k in taps
        )
        new = Columns(first, source, len(here), 1, 0, products)
        last = found[-1] if found else None
        if last is not None and (last.wide, last.products) == (new.wide, new.products):
            step = source - last.source - (last.count - 1) * last.step
            if last.count == 1 or step == last.step:
                found[-1] = Columns(last.first, last.source, last.wide, last.count + 1, step, products)
                continue
        found.append(new)
    return found


@dataclass(frozen=True)
class Batch:
    """What the code of one convolution is made from; strides and offsets in bytes, sizes of one group of channels."""

    images: int
    groups: int
    channels: int
    outputs: int
    dims: tuple[Dim, Dim, Dim]
    dtype: str
    lanes: int
    registers: int
    x: Ints
    weights: Weights
    weight_group: int
    is_packed: bool
    offsets: Ints
    bias_stride: int | None

    @property
    def size(self) -> int:
        """Bytes of a number."""
        return np.dtype(self.dtype).itemsize

    @property
    def vector(self) -> int:
        """Bytes of a vector."""
        return self.lanes * self.size

    @property
    def part(self) -> Part:
        """The taps as a weight is packed by."""
        rows, middle, last = (Axis(d.source, d.out, d.taps) if d.taps > 1 else UNIT for d in self.dims)
        return Part(rows, middle, last)

    @property
    def packing(self) -> Packing:
        """How the weight is laid out."""
        return Packing(
            self.groups, self.channels, self.outputs, (self.part,), (self.cut.blocks,), self.weights,
            self.weight_group, self.offsets[1], self.dtype, self.lanes,
        )  # fmt: skip

    @property
    def source_row(self) -> int:
        """Source positions of a row."""
        return self.dims[1].source * self.dims[2].source

    @property
    def source_plane(self) -> int:
        """Source positions of an image's channel."""
        return self.dims[0].source * self.source_row

    @property
    def turned_channel(self) -> int:
        """Bytes of a channel of the whole input where a kernel of its own turns it around."""
        return channel_bytes(self, self.dims[0].source)

    @property
    def row(self) -> int:
        """Results of a row."""
        return self.dims[1].out * self.dims[2].out

    @property
    def plane(self) -> int:
        """Results of an image's channel."""
        return self.dims[0].out * self.row

    @property
    def products(self) -> int:
        """Multiplications of vectors, of one vector of images and one group."""
        return self.channels * self.outputs * math.prod(d.products for d in self.dims)

    @property
    def image_groups(self) -> int:
        """Vectors of images."""
        return -(-self.images // self.lanes)

    @cached_property
    def product_cycles(self) -> float:
        """Cycles of all products of a vector of images of one group."""
        return product_cycles(self, *register_blocks(self))

    @cached_property
    def cut(self) -> BatchCut:
        """How the work is cut."""
        return cut(self)


@dataclass(frozen=True)
class BatchCut:
    """How the work is cut: chunk `i` does a range of units; a unit is a slice of the tiles of a group's channels of a
    vector of images, for a range of blocks of output channels.

    Attributes
    ----------
    rows, tiles : results' rows of a tile, and tiles
    passes : channels are summed over in so many turns
    turned : whether a kernel of its own turns the input around, once for all
    source_rows : of each tile, the first source row that it reads and how many
    """

    rows: int
    tiles: int
    passes: int
    turned: bool
    slices: int
    splits: int
    chunks: int
    blocks: Blocks
    wide: int
    source_rows: tuple[tuple[int, int], ...]

    @property
    def most_source(self) -> int:
        """Source rows of a tile at most."""
        return max(n for _, n in self.source_rows)


def source_rows(dim: Dim, rows: int) -> tuple[tuple[int, int], ...]:
    """The first source row and the number of them, of each tile of `rows` rows of results."""
    found = []
    for first in range(0, dim.out, rows):
        read = [at for o in range(first, min(first + rows, dim.out)) for _, at in dim.meets[o]]
        found.append((min(read), max(read) + 1 - min(read)) if read else (0, 0))
    return tuple(found)


def channel_bytes(c: Batch, rows: int) -> int:
    """Bytes of so many turned source rows of a channel: an odd number of vectors, as caches know places by low bits."""
    positions = rows * c.source_row
    if positions == c.source_plane and merges(c):
        return positions * c.vector
    return (positions | 1) * c.vector


def merges(c: Batch) -> bool:
    """Whether whole images are turned around as one run."""
    return c.x[1] == c.source_plane * c.size and c.source_plane % c.lanes != 0


def cut(c: Batch) -> BatchCut:
    """The cut that costs least."""
    wanted = max(1, min(MOST_CHUNKS, c.products * c.lanes * c.image_groups * c.groups // CHUNK_PRODUCTS))
    needed = -(-wanted // (c.image_groups * c.groups))
    blocks, wide = register_blocks(c)
    found = []
    passes = [n for n in range(1, c.channels + 1) if c.channels % n == 0]
    for tiles in sorted({-(-c.dims[0].out // rows) for rows in range(1, c.dims[0].out + 1)}):
        rows = -(-c.dims[0].out // tiles)
        read = source_rows(c.dims[0], rows)
        for n, turned in itertools.product(passes, (False, True)):
            found.append(_cut(c, n, rows, read, turned, needed, wanted, blocks, wide))
    return min((k for k in found if k is not None), key=lambda k: cost(c, k))


def _cut(
    c: Batch, passes: int, rows: int, read: tuple[tuple[int, int], ...], turned: bool, needed: int, wanted: int,
    blocks: Blocks, wide: int,
) -> BatchCut | None:  # fmt: skip
    """The cut into tiles of so many rows; None where a tile would not fit the cache."""
    tiles = len(read)
    channels = c.channels // passes
    smallest = rows == 1 and (passes == c.channels or channels == 1)
    if channels * channel_bytes(c, max(n for _, n in read)) > TILE_BYTES and not smallest:
        return None
    splits = 1
    if passes > 1:
        splits = min(blocks.count, -(-c.outputs * rows * c.row * c.vector // SUMS_BYTES))
    elif blocks.most * rows * c.row * c.vector > SUMS_BYTES and not smallest:
        return None
    heavy = c.outputs * c.channels * c.part.taps * c.size >= HEAVY_BYTES
    if heavy:
        splits = max(splits, min(needed, c.outputs // SPLIT_OUTPUTS, blocks.count))
    slices = min(tiles, -(-needed // splits))
    splits = max(splits, min(blocks.count, -(-needed // slices)))
    chunks = min(c.image_groups * c.groups * slices * splits, wanted)
    return BatchCut(rows, tiles, passes, turned, slices, splits, chunks, blocks, wide, read)


def cost(c: Batch, k: BatchCut) -> float:
    """Cycles of a vector of images of one group."""
    read = k.splits * c.channels * sum(n for _, n in k.source_rows) * c.source_row
    each = RUN_CYCLES if merges(c) and (k.turned or k.tiles == 1) else TURN_CYCLES
    turned = each * read
    if k.turned:
        turned = (each + 2) * c.channels * c.source_plane + 1.5 * read
    made = c.outputs * c.plane
    waiting = 3.0 * made * k.passes if k.passes > 1 else made
    weights = k.tiles * c.outputs * c.channels * c.part.taps * c.size / 12
    per_line = 12 * k.passes * c.dims[0].products * c.dims[1].products * k.blocks.count
    uneven = 1.0 if (c.image_groups * c.groups * k.slices * k.splits) % 2 == 0 else 1.04
    return uneven * (turned + TURN_CYCLES * made + waiting + weights + per_line + c.product_cycles)


@functools.lru_cache(64)
def register_blocks(c: Batch) -> tuple[Blocks, int]:
    """Blocks of output channels, and results of the last dim that a block holds."""
    best: tuple[float, Blocks, int] | None = None
    for wide in range(1, min(c.dims[2].out, c.registers // 2) + 1):
        # beside the accumulators: a vector for each result, and a weight
        most = min(c.outputs, (c.registers - 2 - wide) // wide)
        if most < 1:
            break
        parts = columns(c.dims[2], wide)
        written = sum(len(met) for b in parts for _, met in b.products)
        for count in range(-(-c.outputs // most), min(c.outputs, -(-c.outputs // most) + 2) + 1):
            blocks = Blocks(c.outputs, count)
            if blocks.most * written > MOST_PRODUCTS and wide > 1:
                continue
            price = _step_cycles(parts, blocks) * (1.0 if blocks.big == count else 1.03)
            if best is None or price < best[0]:
                best = (price, blocks, wide)
    assert best is not None
    return best[1], best[2]


def product_cycles(c: Batch, blocks: Blocks, wide: int) -> float:
    """Cycles of all products of a vector of images."""
    steps = c.channels * c.dims[0].products * c.dims[1].products
    return steps * _step_cycles(columns(c.dims[2], wide), blocks)


def _step_cycles(parts: list[Columns], blocks: Blocks) -> float:
    """Cycles of a step over one channel of all results of a line."""
    total = 0.0
    for b in parts:
        read = len({at for _, met in b.products for _, at in met})
        products = sum(len(met) for _, met in b.products)
        for rows, count in ((blocks.most, blocks.big), (blocks.most - 1, blocks.count - blocks.big)):
            loads = rows * len(b.products) + read
            total += b.count * count * (max(rows * products, loads, 4.0 * len(b.products)) + 0.02 * loads + 0.3)
    return total


def describe_batch(
    x: Access, weight: Access, bias: Access | None, g: Geometry, groups: int, transposed: bool
) -> Batch | None:
    """The convolution with images in the lanes; None where `x` does not lie so that this can be done well, and for
    transposes of one tap, most of whose results meet nothing."""
    source, made = (g.output_size, g.input_size) if transposed else (g.input_size, g.output_size)
    lanes = host().lanes(x.dtype)
    contiguous = [math.prod(source[i + 1 :]) * x.dtype.itemsize for i in range(len(source))]
    if transposed and math.prod(g.kernel_size) == 1:
        return None
    if max(made) > MOST_RESULTS or math.prod(made[:-1]) > MOST_LINES:
        return None
    if any(n != 1 and s != run for n, s, run in zip(source, x.strides[2:], contiguous, strict=True)):
        return None
    sizes = zip(source, made, g.kernel_size, g.stride, g.padding, g.dilation, strict=True)
    dims = [Dim(n, m, k, s, p, d, transposed) for n, m, k, s, p, d in sizes]
    if transposed:
        channels, outputs = weight.shape[0] // groups, weight.shape[1]
        by_output, by_channel = weight.strides[1], weight.strides[0]
        group = channels * by_channel
    else:
        channels, outputs = weight.shape[1], weight.shape[0] // groups
        by_output, by_channel = weight.strides[0], weight.strides[1]
        group = outputs * by_output
    return Batch(
        images=x.shape[0], groups=groups, channels=channels, outputs=outputs, dims=three(dims, ONE),
        dtype=x.dtype.name, lanes=lanes, registers=host().registers, x=x.strides[:2],
        weights=Weights(by_output, by_channel, three(weight.strides[2:], 0)), weight_group=group,
        is_packed=math.prod(weight.shape) * x.dtype.itemsize >= PACK_BYTES,
        offsets=(x.offset, weight.offset, bias.offset if bias else 0), bias_stride=bias.strides[0] if bias else None,
    )  # fmt: skip


def tile_bytes(c: Batch) -> int:
    """Bytes of a tile's input, with room for the last square's vectors beyond it."""
    k = c.cut
    if k.turned:
        return 0
    return aligned(c.channels // k.passes * channel_bytes(c, k.most_source) + c.lanes * c.vector)


def sums_row(c: Batch) -> int:
    """Bytes of a tile's results of one output channel."""
    return c.cut.rows * c.row * c.vector


def workspace(c: Batch) -> int:
    """Bytes of one chunk's workspace."""
    k = c.cut
    count = 1 if k.passes == 1 else -(-k.blocks.count // k.splits)
    return tile_bytes(c) + aligned(count * k.blocks.most * sums_row(c) + c.lanes * c.vector) + LINE
