"""A convolution's gradient for its weight as dot products of the input, as each tap sees it, and the output's gradient.

Both run along positions, so that neither is turned around; what a block accumulates is summed over its lanes once per
tile. Each range of images adds to a sum of its own; a second kernel adds those up in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rushlight.compiler.access import Access
from rushlight.compiler.kernels.chunked import address, entry, part_of
from rushlight.compiler.kernels.conv_expand import Source, both, each, expand, inside, strided_load
from rushlight.compiler.kernels.conv_plan import aligned, flattened
from rushlight.compiler.kernels.conv_shape import (
    CHUNK_PRODUCTS,
    MOST_CHUNKS,
    TILE_BYTES,
    Part,
    Tiling,
    image_group,
    keeps_lines,
    three,
    tiling,
)
from rushlight.compiler.kernels.conv_tile import row_offset
from rushlight.compiler.kernels.microkernel import Code, Index, Mask
from rushlight.compiler.target import host

Ints = tuple[int, ...]
IR = Any

# What the sums of all ranges of images may take together.
SUMS_BYTES = 8 << 20
# Positions of a range at least: adding up its sums costs as much as some tens of positions.
RANGE_POSITIONS = 512
# Vectors that a block accumulates before its lanes are summed, where the images of a range have so many.
STEPS = 48
# What copying a number of the input costs for each tap.
COPY_CYCLES = 0.3


@dataclass(frozen=True)
class DotBlock:
    """A block of dot products: output channels x taps. Taps are channels where the window is one position, else lines
    of the last dim (`rows` of them) cut into pieces of `across`; the last block and piece overlap those before."""

    outputs: int
    across: int
    rows: int
    channels: bool

    @property
    def taps(self) -> int:
        """Taps of a block."""
        return self.across * self.rows


@dataclass(frozen=True)
class DotGradient:
    """What the code is made from; strides in bytes, offsets of x and the gradient in their buffers.

    Attributes
    ----------
    cell : channels that a chunk expands at once; `cells` of them make a group, the last overlapping
    several : image groups whose tiles are summed over at once
    ranges : of image groups' tiles, each summed by itself
    pieces : chunks of one range: each takes some of the cells
    """

    images: int
    groups: int
    channels: int
    outputs: int
    tiling: Tiling
    dtype: str
    lanes: int
    x: Ints
    g: Ints
    offsets: Ints
    block: DotBlock
    cell: int
    cells: int
    several: int
    ranges: int
    pieces: int

    @property
    def size(self) -> int:
        """Bytes of a number."""
        return np.dtype(self.dtype).itemsize

    @property
    def part(self) -> Part:
        """The convolution's dims."""
        return self.tiling.part

    @property
    def image_groups(self) -> int:
        """Groups of images that share a tile."""
        return -(-self.images // self.tiling.images)

    @property
    def output_blocks(self) -> int:
        """Blocks of output channels."""
        return -(-self.outputs // self.block.outputs)

    @property
    def tap_blocks(self) -> int:
        """Blocks of taps of one cell."""
        if self.block.channels:
            return -(-self.cell // self.block.across)
        lines = self.part.rows.taps // self.block.rows * self.part.middle.taps
        return self.cell * lines * -(-self.part.last.taps // self.block.across)

    @property
    def slot(self) -> int:
        """Bytes of a block's sums."""
        return -(-self.block.outputs * self.block.taps // self.lanes) * self.lanes * self.size

    @property
    def cell_bytes(self) -> int:
        """Bytes of a cell's sums."""
        return self.output_blocks * self.tap_blocks * self.slot

    @property
    def range_bytes(self) -> int:
        """Bytes of a range's sums."""
        return self.groups * self.cells * self.cell_bytes

    @property
    def packs(self) -> bool:
        """Whether the gradient is copied to run along a tile's positions."""
        dims = zip(self.part.axes, self.g[2:], (self.part.plane, self.part.last.out, 1), strict=True)
        return self.tiling.images > 1 or any(a.out > 1 and s != run * self.size for a, s, run in dims)

    @property
    def packed_row(self) -> int:
        """Bytes of one channel of the copied gradient."""
        positions = self.tiling.rows * self.tiling.images * self.part.plane
        return (-(-positions // self.lanes) + 1) * self.lanes * self.size

    @property
    def units(self) -> int:
        """What ranges are made of: tiles of several image groups."""
        return -(-self.image_groups // self.several) * self.tiling.tiles

    @property
    def tile_bytes(self) -> int:
        """Bytes of a tile's input."""
        return aligned(self.tiling.bytes + 2 * self.lanes * self.size)

    @property
    def gradient_bytes(self) -> int:
        """Bytes of a tile's copied gradient."""
        return aligned(self.outputs * self.packed_row) if self.packs else 0

    @property
    def workspace(self) -> int:
        """Bytes of one chunk's workspace."""
        return (self.tile_bytes + self.gradient_bytes) * self.several


def dot_block(part: Part, outputs: int, channels: int, registers: int) -> DotBlock:
    """The block that wastes least."""
    single = part.taps == 1
    length = channels if single else part.last.taps
    best: tuple[float, DotBlock] | None = None
    for across in range(1, min(length, 8) + 1):
        alone = single or part.rows.phases > 1 or part.middle.taps > 1 or across < length
        depths = [1] if alone else _divisors(part.rows.taps)
        for rows in depths:
            taps = across * rows
            for count in range(1, min(outputs, 12) + 1):
                if count * taps + taps + 1 > registers:
                    break
                block = DotBlock(count, across, rows, single)
                cost = _block_cycles(part, outputs, channels, block)
                if best is None or cost < best[0]:
                    best = cost, block
    assert best is not None
    return best[1]


def _block_cycles(part: Part, outputs: int, channels: int, block: DotBlock) -> float:
    """Cycles of a vector of positions."""
    length, lines = part.last.taps, channels * part.rows.taps * part.middle.taps
    if block.channels:
        length, lines = channels, 1
    blocks = -(-outputs // block.outputs) * -(-length // block.across) * lines / block.rows
    loads = block.outputs + 1.7 * block.taps
    return blocks * (max(block.outputs * block.taps, loads, 8) + 0.15 * loads + 1)


def cycles(part: Part, channels: int, outputs: int, lanes: int, registers: int) -> float:
    """What a position costs, with the sums over lanes and copying the input."""
    block = dot_block(part, outputs, channels, registers)
    copies = 1 if keeps_lines(part, 1, lanes) else part.spread
    return 1.15 * _block_cycles(part, outputs, channels, block) / lanes + COPY_CYCLES * channels * copies


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


def describe(x: Access, g: Access, part: Part, groups: int) -> DotGradient:
    """The computation that `weight_kernels` is asked for."""
    size = x.dtype.itemsize
    x_steps, g_steps = ((*a.strides[:2], *three(a.strides[2:], 0)) for a in (x, g))
    flat_x, flat_g = flattened((part,), x_steps, size), flattened((part,), g_steps, size)
    if flat_x is not None and flat_g is not None:
        ((part,), x_steps, _), (_, g_steps, _) = flat_x, flat_g
    channels, outputs = x.shape[1] // groups, g.shape[1] // groups
    block = dot_block(part, outputs, channels, host().registers)
    together = image_group(x.shape[0], part, channels, host().lanes(x.dtype), False)
    image_groups = -(-x.shape[0] // together)
    products = x.shape[0] * part.positions * groups * channels * outputs * part.taps
    wanted = max(1, min(MOST_CHUNKS, products // CHUNK_PRODUCTS))
    whole = groups * channels * outputs * part.taps * size
    most = min(wanted, max(1, SUMS_BYTES // whole), max(1, x.shape[0] * part.positions // RANGE_POSITIONS))
    t = tiling(part, channels, together, size, min(part.rows.out, -(-most // image_groups)), host().lanes(x.dtype))
    ranges = min(most, image_groups * t.tiles)
    cells = min(channels, max(t.passes, -(-wanted // (ranges * groups))))
    cell = -(-channels // cells)
    if block.channels and cell % block.across:
        cell = min(channels, -(-cell // block.across) * block.across)
    cells = -(-channels // cell)
    t = Tiling(part, cell, together, size, t.tiles, lines=t.lines)
    lanes = host().lanes(x.dtype)
    steps_of_tile = -(-t.rows * together * part.plane // lanes)
    several = 1
    if t.tiles == 1:
        several = min(-(-STEPS // steps_of_tile), max(1, 2 * TILE_BYTES // t.bytes), -(-image_groups // ranges))
    return DotGradient(
        images=x.shape[0], groups=groups, channels=channels, outputs=outputs, tiling=t, dtype=x.dtype.name,
        lanes=lanes, x=x_steps, g=g_steps, offsets=(x.offset, g.offset), block=block, cell=cell, cells=cells,
        several=several, ranges=min(ranges, -(-image_groups // several) * t.tiles),
        pieces=min(groups * cells, -(-wanted // ranges)),
    )  # fmt: skip


def sum_chunks(w: DotGradient) -> int:
    """Chunks of the second kernel."""
    work = w.ranges * w.range_bytes >> 16
    return max(1, min(MOST_CHUNKS, work, w.groups * w.cells * w.output_blocks))


def build(module: Any, name: str, w: DotGradient) -> None:
    """Add the function that sums over ranges of images."""
    code, slots, chunk = entry(module, name, w.dtype, w.lanes)
    x, g, sums, space = (address(code, slots, i) for i in range(4))
    x, g = code.at(x, w.offsets[0]), code.at(g, w.offsets[1])
    space = code.at(space, code.mul(chunk, w.workspace))
    which, piece = code.divide(chunk, w.pieces)
    sums = code.at(sums, code.mul(which, w.range_bytes))
    first, count = part_of(code, w.units, w.ranges, which)
    first_cell, cells = part_of(code, w.groups * w.cells, w.pieces, piece)

    def cell(i: Index) -> None:
        n = code.add(first_cell, i)
        group, within = code.divide(n, w.cells)
        start = code.least(code.mul(within, w.cell), w.channels - w.cell)
        channel = code.add(code.mul(group, w.channels), start)
        here = code.at(sums, code.mul(n, w.cell_bytes))
        _clear(code, here, w.cell_bytes)
        from_x = code.at(x, code.mul(channel, w.x[1]))
        from_g = code.at(g, code.mul(code.mul(group, w.outputs), w.g[1]))
        each(code, count, lambda j: _tile(code, w, code.add(first, j), from_x, from_g, space, here))

    each(code, cells, cell)
    code.b.ret_void()


def _clear(code: Code, pointer: IR, size: int) -> None:
    width = code.lanes * code.size
    each(code, size // width, lambda i: code.store(code.zero, code.at(pointer, code.mul(i, width))))


def _tile(code: Code, w: DotGradient, n: Index, x: IR, g: IR, space: IR, sums: IR) -> None:
    """Add the products of one tile of several image groups to a cell's sums."""
    t = w.tiling
    groups, tile = code.divide(n, t.tiles)
    first_group = code.mul(groups, w.several)
    even = w.image_groups % w.several == 0
    count = w.several if even else code.least(w.several, code.sub(w.image_groups, first_group))
    first = code.mul(tile, t.rows)
    rows = t.rows if w.part.rows.out % t.rows == 0 else code.least(t.rows, code.sub(w.part.rows.out, first))
    from_g = code.at(g, code.mul(first, w.g[2]))
    packed = code.at(space, w.tile_bytes * w.several)

    def group(i: Index) -> None:
        start = code.mul(code.add(first_group, i), t.images)
        images = t.images if w.images % t.images == 0 else code.least(t.images, code.sub(w.images, start))
        source = Source(code.at(x, code.mul(start, w.x[0])), w.x)
        expand(code, t, source, code.at(space, code.mul(i, w.tile_bytes)), first, rows, images)
        if w.packs:
            there = code.at(from_g, code.mul(start, w.g[0]))
            _pack(code, w, there, code.at(packed, code.mul(i, w.gradient_bytes)), rows, images)

    each(code, count, group)
    if w.packs:
        g = Rows(packed, w.packed_row, w.gradient_bytes, count)
    else:
        g = Rows(code.at(from_g, code.mul(first_group, w.g[0])), w.g[1], w.g[0], count)
    _blocks(code, w, space, g, code.mul(rows, t.images * w.part.plane), sums)


@dataclass(frozen=True)
class Rows:
    """Where a tile's gradient lies: bytes between its channels and image groups, and how many of these there are."""

    pointer: IR
    step: int
    group: int
    count: Index


def _pack(code: Code, w: DotGradient, g: IR, packed: IR, rows: Index, images: Index) -> None:
    """Copy the gradient of a tile to [channel][row][image][position]; images that are missing become zeros."""
    t, part = w.tiling, w.part
    _, channel_step, *dims = w.g

    def line(o: Index, d: Index, n: Index, m: Index) -> None:
        source = code.at(g, code.mul(o, channel_step))
        for i, step in ((d, dims[0]), (n, w.g[0]), (m, dims[1])):
            source = code.at(source, code.mul(i, step))
        place = code.add(code.mul(code.add(code.mul(d, t.images), n), part.middle.out), m)
        target = code.at(packed, code.add(code.mul(o, w.packed_row), code.mul(place, part.last.out * w.size)))
        there = None if isinstance(images, int) else code.spread(code.b.icmp_signed("<", code.value(n), images))

        def vector(v: Index) -> None:
            first = code.mul(v, code.lanes)
            exists = code.mask(code.sub(part.last.out, first))

            def room(i: int) -> Mask:
                return both(
                    code, inside(code, code.add(code.mul(first, dims[2] // w.size), i * w.lanes), 1, span), there
                )

            pointer = code.at(source, code.mul(first, dims[2]))
            numbers = strided_load(code, pointer, dims[2], both(code, exists, there), room)
            code.store(numbers, code.at(target, code.mul(first, w.size)), exists)

        span = (part.last.out - 1) * dims[2] // w.size + 1
        each(code, -(-part.last.out // code.lanes), vector)

    def outputs(o: Index) -> None:
        def over_rows(d: Index) -> None:
            def over_images(n: Index) -> None:
                each(code, part.middle.out, lambda m: line(o, d, n, m))

            each(code, t.images, over_images)

        each(code, rows, over_rows)

    each(code, w.outputs, outputs)


def _blocks(code: Code, w: DotGradient, x: IR, g: Rows, positions: Index, sums: IR) -> None:
    """All blocks of one tile."""
    block = w.block

    def outputs(i: Index) -> None:
        first = code.least(code.mul(i, block.outputs), w.outputs - block.outputs)
        rows = Rows(code.at(g.pointer, code.mul(first, g.step)), g.step, g.group, g.count)
        here = code.at(sums, code.mul(i, w.tap_blocks * w.slot))

        def taps(k: Index, offset: Index, columns: Sequence[int]) -> None:
            acc = _dot(code, w, rows, code.at(x, offset), columns, positions)
            _add(code, w, acc, code.at(here, code.mul(k, w.slot)))

        _each_tap_block(code, w, taps)

    each(code, w.output_blocks, outputs)


def _each_tap_block(code: Code, w: DotGradient, body: Any) -> None:
    """body(number, bytes to the block's first column, bytes from there to each column)."""
    block, t, part = w.block, w.tiling, w.part
    if block.channels:
        columns = [i * t.channel for i in range(block.across)]

        def channels(k: Index) -> None:
            first = code.least(code.mul(k, block.across), w.cell - block.across)
            body(k, code.mul(first, t.channel), columns)

        each(code, w.tap_blocks, channels)
        return
    columns = [d * part.rows.shift * t.row + i * t.shift[1] for d in range(block.rows) for i in range(block.across)]
    pieces = -(-part.last.taps // block.across)
    depths = part.rows.taps // block.rows
    lines = depths * part.middle.taps * pieces

    def channel(c: Index) -> None:
        def depth(d: Index) -> None:
            def middle(m: Index) -> None:
                def piece(p: Index) -> None:
                    first = code.least(code.mul(p, block.across), part.last.taps - block.across)
                    k = code.add(code.mul(code.add(code.mul(d, part.middle.taps), m), pieces), p)
                    offset = code.add(code.mul(c, t.channel), row_offset(code, t, code.mul(d, block.rows)))
                    offset = code.add(offset, code.mul(m, part.last.taps * t.tap))
                    offset = code.add(offset, code.add(code.mul(first, t.shift[1]), t.shift[0]))
                    body(code.add(code.mul(c, lines), k), offset, columns)

                each(code, pieces, piece)

            each(code, part.middle.taps, middle)

        each(code, depths, depth)

    each(code, w.cell, channel)


def _dot(code: Code, w: DotGradient, rows: Rows, x: IR, columns: Sequence[int], positions: Index) -> Sequence[IR]:
    """Products of a block over all positions, a vector of partial sums each, [output][tap]."""

    def step(there: IR, here: IR, held: Sequence[IR], mask: Mask = None) -> Sequence[IR]:
        taps = [code.load(code.at(there, o), mask) for o in columns]
        new = []
        for i in range(w.block.outputs):
            row = code.load(code.at(here, i * rows.step), mask)
            new += [code.fma(row, k, held[i * len(taps) + j]) for j, k in enumerate(taps)]
        return new

    def group(n: Index, *held: IR) -> Sequence[IR]:
        there, here = code.at(x, code.mul(n, w.tile_bytes)), code.at(rows.pointer, code.mul(n, rows.group))

        def turn(p: Index, *acc: IR) -> Sequence[IR]:
            at = code.mul(p, code.size)
            return step(code.at(there, at), code.at(here, at), acc)

        if w.tiling.lines:
            return _dot_lines(code, w, positions, (there, here), held, step)
        whole = code.mul(code.divide(positions, code.lanes)[0], code.lanes)
        acc = code.loop(whole, turn, held, code.lanes)
        if w.tiling.images * w.part.plane % code.lanes == 0:
            return acc
        left = code.sub(positions, whole)
        if isinstance(left, int) and not left:
            return acc
        at = code.mul(whole, code.size)
        return step(code.at(there, at), code.at(here, at), acc, code.mask(left))

    return list(code.loop(rows.count, group, [code.zero] * (w.block.outputs * len(columns))))


def _dot_lines(
    code: Code, w: DotGradient, positions: Index, at: tuple[IR, IR], held: Sequence[IR], step: Any
) -> Sequence[IR]:
    """Add the products of whole lines."""
    width = w.part.last.out

    def line(n: Index, *held: IR) -> Sequence[IR]:
        there, here = code.at(at[0], code.mul(n, w.tiling.row)), code.at(at[1], code.mul(n, width * code.size))

        def vector(v: Index, *acc: IR) -> Sequence[IR]:
            offset = code.mul(v, code.size)
            return step(code.at(there, offset), code.at(here, offset), acc)  # type: ignore[no-any-return]

        return code.loop(width, vector, held, code.lanes)

    return code.loop(code.divide(positions, width)[0], line, held)


def _add(code: Code, w: DotGradient, acc: Sequence[IR], sums: IR) -> None:
    for start in range(0, len(acc), code.lanes):
        there = code.at(sums, start * code.size)
        total = code.sums(acc[start : start + code.lanes])
        code.store(code.b.fadd(code.load(there), total), there)


def build_sums(module: Any, name: str, w: DotGradient) -> None:
    """Add the function that adds up the ranges' sums and puts them in their places."""
    code, slots, chunk = entry(module, name, w.dtype, w.lanes)
    sums, out = address(code, slots, 0), address(code, slots, 1)
    scratch = code.room(w.slot // w.size + code.lanes)
    first, count = part_of(code, w.groups * w.cells * w.output_blocks, sum_chunks(w), chunk)

    def one(i: Index) -> None:
        n, rows = code.divide(code.add(first, i), w.output_blocks)
        group, within = code.divide(n, w.cells)
        channel = code.least(code.mul(within, w.cell), w.channels - w.cell)
        output = code.least(code.mul(rows, w.block.outputs), w.outputs - w.block.outputs)
        source = code.at(sums, code.add(code.mul(n, w.cell_bytes), code.mul(rows, w.tap_blocks * w.slot)))
        row_bytes = w.channels * w.part.taps * w.size
        target = code.at(out, code.mul(code.add(code.mul(group, w.outputs), output), row_bytes))
        target = code.at(target, code.mul(channel, w.part.taps * w.size))
        _place_all(code, w, source, target, scratch, row_bytes)

    each(code, count, one)
    code.b.ret_void()


def _place_all(code: Code, w: DotGradient, source: IR, target: IR, scratch: IR, row_bytes: int) -> None:
    """Blocks of taps of one cell and block of output channels."""
    block, part = w.block, w.part

    def place(k: Index, first: Index) -> None:
        for start in range(0, block.outputs * block.taps, code.lanes):
            here = code.at(source, code.add(code.mul(k, w.slot), start * w.size))

            def further(r: Index, total: IR, first: IR = here) -> Sequence[IR]:
                there = code.at(first, code.mul(code.add(r, 1), w.range_bytes))
                return [code.b.fadd(total, code.load(there))]

            total = code.loop(w.ranges - 1, further, [code.load(here)])[0]
            code.store(total, code.at(scratch, start * w.size))
        to = code.at(target, code.mul(first, w.size))
        for i in range(block.outputs):
            for j in range(0, block.taps, code.lanes):
                mask = code.mask(block.taps - j)
                numbers = code.load(code.at(scratch, (i * block.taps + j) * w.size))
                code.store(numbers, code.at(to, i * row_bytes + j * w.size), mask)

    if block.channels:
        each(code, w.tap_blocks, lambda k: place(k, code.least(code.mul(k, block.across), w.cell - block.across)))
        return
    pieces = -(-part.last.taps // block.across)

    def one(k: Index) -> None:
        line, piece = code.divide(k, pieces)
        within = code.least(code.mul(piece, block.across), part.last.taps - block.across)
        line_taps = part.last.taps * block.rows
        place(k, code.add(code.mul(line, line_taps), within))

    each(code, w.tap_blocks, one)
