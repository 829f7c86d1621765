"""A convolution's gradient for its weight as sums of outer products: vectors run along the output's channels.

Of a few hundred positions at a time the output's gradient is turned around, so that the channels of a position are
neighbours; the input is read number by number, where it lies or, where it is padded, from a copy with the padding in
place. What a block of input channels and taps times a panel of output channels sums up needs no sums over lanes.
Each range of positions adds to sums of its own; a second kernel adds those up in their order and turns them back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rushlight.compiler.access import Access
from rushlight.compiler.kernels.conv_plan import LINE, aligned
from rushlight.compiler.kernels.conv_shape import CHUNK_PRODUCTS, MOST_CHUNKS, Axis, Part, three
from rushlight.compiler.target import host

Ints = tuple[int, ...]

# Positions that are summed over between visits to the sums; more where the input is copied.
DEPTH, MOST_DEPTH = 256, 1024
# What a tile's copied input may take of the second-level cache.
COPY_BYTES = 1 << 18
# What a tile's input may take of it where it lies.
TILE_BYTES = 1 << 19
# What the sums of all ranges may take together, and positions of a range at least.
SUMS_BYTES = 8 << 20
RANGE_POSITIONS = 512
# Places of the first-level cache for lines a multiple of PAGE apart, less those that a panel needs.
WAYS, PAGE = 6, 4096
# Vectors of a panel at most, and positions of a row of a tile.
MOST_VECTORS, LONGEST_PLANE = 4, 4096
# What turning a number of the gradient and copying one of the input cost.
TURN_CYCLES, COPY_CYCLES = 0.7, 0.5


@dataclass(frozen=True)
class Block:
    """What is summed up in registers: input channels x taps of the three dims, times `vectors` of output channels.

    The last block of a dim overlaps the one before.
    """

    channels: int
    taps: Ints
    vectors: int

    @property
    def rows(self) -> int:
        """Numbers of the input that meet a panel's vectors at each position."""
        return self.channels * math.prod(self.taps)


@dataclass(frozen=True)
class OuterGradient:
    """What the code is made from; strides in bytes, offsets of x and the gradient in their buffers.

    Attributes
    ----------
    copies : whether the input is copied
    rows : output rows of a tile; `several` images make a tile where an image is one
    cells : of input channels, `cell` each, the last overlapping
    splits : of the panels
    ranges : of tiles, each summed by itself
    pieces : chunks of one range: each takes some of the cells and splits
    swapped : whether x and the gradient have changed places; the result is that much turned
    """

    images: int
    groups: int
    channels: int
    outputs: int
    part: Part
    dtype: str
    lanes: int
    x: Ints
    g: Ints
    offsets: Ints
    block: Block
    copies: bool
    rows: int
    several: int
    cell: int
    cells: int
    splits: int
    ranges: int
    pieces: int
    swapped: bool

    @property
    def size(self) -> int:
        """Bytes of a number."""
        return np.dtype(self.dtype).itemsize

    @property
    def width(self) -> int:
        """Output channels of a panel."""
        return self.block.vectors * self.lanes

    @property
    def panels(self) -> int:
        """Panels of one group."""
        return -(-self.outputs // self.width)

    @property
    def pitch(self) -> int:
        """Bytes from one position of a panel to the next."""
        return self.width * self.size

    @property
    def counts(self) -> Ints:
        """Blocks of a cell along channels and taps."""
        taps = (a.taps for a in self.part.axes)
        return (-(-self.cell // self.block.channels), *(-(-n // b) for n, b in zip(taps, self.block.taps, strict=True)))

    @property
    def sum_rows(self) -> int:
        """Rows of sums for each panel: input channels and taps."""
        return self.channels * self.part.taps

    @property
    def range_bytes(self) -> int:
        """Bytes of a range's sums: [group][panel][channel and tap][output channel]."""
        return self.groups * self.panels * self.sum_rows * self.pitch

    @property
    def tiles(self) -> int:
        """Tiles of an image."""
        return -(-self.part.rows.out // self.rows)

    @property
    def units(self) -> int:
        """What ranges are made of."""
        return self.tiles * -(-self.images // self.several)

    @property
    def source(self) -> Ints:
        """Strides of the input as it is read: image, channel and three dims."""
        return copy_strides(self.part, self.rows, self.several, self.size) if self.copies else self.x

    @property
    def copy_bytes(self) -> int:
        """Bytes of a tile's copied input; copies end with whole vectors."""
        return aligned(self.cell * self.source[1] + self.lanes * self.size) if self.copies else 0

    @property
    def workspace(self) -> int:
        """Bytes of one chunk's workspace."""
        return self.copy_bytes + aligned((self.rows * self.several * self.part.plane + self.lanes) * self.pitch)

    @cached_property
    def steps(self) -> Ints:
        """Bytes from one position to the next in the input: along images and the three dims."""
        image, _, *dims = self.source
        return (image, *(s * a.step for s, a in zip(dims, self.part.axes, strict=True)))


def window(part: Part, rows: int) -> Ints:
    """Sizes of the input of so many output rows."""
    outs = (rows, part.middle.out, part.last.out)
    return tuple((n - 1) * a.step + (a.taps - 1) * a.reach + 1 for n, a in zip(outs, part.axes, strict=True))


def copy_strides(part: Part, rows: int, several: int, size: int) -> Ints:
    """Strides of copied input, [channel][image][row][middle][last]; channels do not fall on the same places."""
    deep, middle, line = window(part, rows)
    image = deep * middle * line * size
    channel = aligned(several * image)
    return image, channel + LINE * (channel % 512 == 0), middle * line * size, line * size, size


def tap_pieces(part: Part) -> Iterator[Ints]:
    """Sizes of a window's pieces worth looking at: within a line, whole lines, whole planes."""
    rows, middle, last = (a.taps for a in part.axes)
    yield from ((1, 1, n) for n in range(1, last))
    yield from ((1, n, last) for n in range(1, middle))
    yield from ((n, middle, last) for n in range(1, rows + 1))


def choose_block(part: Part, channels: int, outputs: int, lanes: int, registers: int) -> Block:
    """The block that wastes least."""
    best: tuple[float, Block] | None = None
    for vectors in range(1, min(MOST_VECTORS, -(-outputs // lanes)) + 1):
        most = (registers - 1 - vectors) // vectors
        for taps in tap_pieces(part):
            for together in range(1, min(channels, most // math.prod(taps)) + 1):
                block = Block(together, taps, vectors)
                cost = _block_cycles(part, channels, outputs, lanes, block)
                if best is None or cost < best[0]:
                    best = cost, block
    assert best is not None
    return best[1]


def _block_cycles(part: Part, channels: int, outputs: int, lanes: int, block: Block) -> float:
    """Cycles of a position."""
    panels = -(-outputs // (block.vectors * lanes))
    pieces = math.prod(-(-a.taps // n) for a, n in zip(part.axes, block.taps, strict=True))
    products, loads = block.rows * block.vectors, block.rows + block.vectors
    return panels * pieces * -(-channels // block.channels) * (max(products, loads, 8) + 0.1 * loads + 0.5)


def cycles(part: Part, channels: int, outputs: int, lanes: int, registers: int) -> float:
    """What a position costs, with turning the gradient and copying the input."""
    turned = outputs
    if swaps(part, channels, outputs):
        channels, outputs, turned = outputs, channels, channels
    block = choose_block(part, channels, outputs, lanes, registers)
    copied = 0 if is_inside(part) else copied_of(part, channels)
    return _block_cycles(part, channels, outputs, lanes, block) + TURN_CYCLES * turned + COPY_CYCLES * copied


def copied_of(part: Part, channels: int) -> int:
    """Numbers of the input for each position."""
    return channels * math.prod(a.step for a in part.axes)


def swaps(part: Part, channels: int, outputs: int) -> bool:
    """Whether the input had better be turned than the gradient."""
    return part.taps == 1 and channels < outputs and part.last.step == 1 and is_inside(part)


def is_inside(part: Part) -> bool:
    """Whether all that taps read is there."""
    outs = window(part, part.rows.out)
    return all(a.base == 0 and n <= a.source for a, n in zip(part.axes, outs, strict=True))


def describe(x: Access, g: Access, part: Part, groups: int) -> OuterGradient:
    """The computation that `weight_kernels` is asked for."""
    size, lanes = x.dtype.itemsize, host().lanes(x.dtype)
    x_steps, g_steps = ((*a.strides[:2], *three(a.strides[2:], 0)) for a in (x, g))
    images, channels, outputs = x.shape[0], x.shape[1] // groups, g.shape[1] // groups
    products = images * part.positions * groups * channels * outputs * part.taps
    offsets = (x.offset, g.offset)
    swapped = swaps(part, channels, outputs)
    if part.taps == 1 and is_inside(part):
        x_steps = (*x_steps[:2], *(s * a.step for s, a in zip(x_steps[2:], part.axes, strict=True)))
        part = Part(*(Axis(a.out, a.out, 1) for a in part.axes))
    if swapped:
        x_steps, g_steps, offsets = g_steps, x_steps, offsets[::-1]
        channels, outputs = outputs, channels
    block = choose_block(part, channels, outputs, lanes, host().registers)
    # rows whose lines fall on the same places of the cache would drive each other out
    crowded = block.channels > WAYS * (PAGE // math.gcd(x_steps[1], PAGE))
    copies = crowded or not is_inside(part) or part.taps == 1 and x_steps[4] > size
    rows, several = tile_of(part, images, channels if copies else 0, size)
    units = -(-part.rows.out // rows) * -(-images // several)
    wanted = max(1, min(MOST_CHUNKS, products // CHUNK_PRODUCTS))
    whole = groups * channels * outputs * part.taps * size
    ranges = min(wanted, units, max(1, SUMS_BYTES // whole), max(1, images * part.positions // RANGE_POSITIONS))
    tile = copy_strides(part, rows, several, size)[1] * channels
    least = -(-tile // (COPY_BYTES if copies else TILE_BYTES))
    panels = -(-outputs // (block.vectors * lanes))
    once = _block_cycles(part, channels, outputs, lanes, block)
    extra = TURN_CYCLES * outputs / once, COPY_CYCLES * copied_of(part, channels) / once if copies else 0.0
    cells, splits = deal(channels, groups, panels, block.channels, min(least, channels), ranges, wanted, extra)
    cell = cell_of(channels, cells, block.channels)
    return OuterGradient(
        images=images, groups=groups, channels=channels, outputs=outputs, part=part, dtype=x.dtype.name, lanes=lanes,
        x=x_steps, g=g_steps, offsets=offsets, block=block, copies=copies, rows=rows, several=several,
        cell=cell, cells=-(-channels // cell), splits=splits, ranges=ranges,
        pieces=min(groups * -(-channels // cell) * splits, -(-wanted // ranges)), swapped=swapped,
    )  # fmt: skip


def tile_of(part: Part, images: int, copied: int, size: int) -> tuple[int, int]:
    """Output rows and images of a tile; of copied input neighbouring tiles share rows, so that few are better."""
    out = part.rows.out
    tall = max(1, round(DEPTH / part.plane))
    for n in range(min(out, MOST_DEPTH // part.plane), tall, -1) if copied else ():
        if copied * copy_strides(part, n, 1, size)[1] <= COPY_BYTES:
            tall = n
            break
    tiles = -(-out // tall)
    several = max(1, min(images, round(DEPTH / part.positions))) if tiles == 1 else 1
    return -(-out // tiles), -(-images // -(-images // several))


def cell_of(channels: int, cells: int, together: int) -> int:
    """Channels of a cell: whole blocks, where there are more than one."""
    return min(channels, -(-channels // (cells * together)) * together)


def deal(
    channels: int, groups: int, panels: int, together: int, least: int, ranges: int, wanted: int,
    extra: tuple[float, float],
) -> tuple[int, int]:  # fmt: skip
    """Numbers of cells, at least `least`, and of splits of the panels, so that `wanted` chunks have as much to do.

    Each cell turns the gradient around again and each split copies the input again: that costs `extra`, as parts of the
    multiplications.
    """
    best: tuple[float, int, int] | None = None
    most = -(-wanted // ranges)
    for cells in range(least, min(channels, least * most) + 1):
        cell = cell_of(channels, cells, together)
        for splits in range(1, min(panels, most) + 1):
            items = groups * -(-channels // cell) * splits
            chunks = min(items, most)
            work = -(-items // chunks) * -(-panels // splits) * cell * chunks / (groups * panels * channels)
            cost = work * (1 + 1 / (ranges * chunks)) + extra[0] * cells + extra[1] * splits
            if best is None or cost < best[0]:
                best = cost, cells, splits
    assert best is not None
    return best[1:]
