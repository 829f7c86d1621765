"""A depthwise convolution's gradient for its weight: vectors run along the channels, which have nothing to do with
each other.

Of a tile of a few rows both the input, with its padding, and the output's gradient are turned around, so that the
channels of a position are neighbours; each tap then sums up products of whole vectors. Each range of tiles adds to
sums of its own; a second kernel adds those up in their order and turns them back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rushlight.compiler.access import Access
from rushlight.compiler.binding import ir
from rushlight.compiler.kernels.chunked import address, entry, part_of
from rushlight.compiler.kernels.conv_expand import each, within
from rushlight.compiler.kernels.conv_plan import aligned
from rushlight.compiler.kernels.conv_shape import CHUNK_PRODUCTS, MOST_CHUNKS, Part, three
from rushlight.compiler.kernels.conv_weight_outer import window
from rushlight.compiler.kernels.conv_weight_outer_code import turn_run
from rushlight.compiler.kernels.matmul_code import new_function
from rushlight.compiler.kernels.microkernel import Code, Index
from rushlight.compiler.target import host

Ints = tuple[int, ...]
IR = Any

# What a tile's input and gradient may take of the second-level cache.
TILE_BYTES = 3 << 16


@dataclass(frozen=True)
class DepthwiseGradient:
    """What the code is made from; strides in bytes, offsets of x and the gradient in their buffers.

    Attributes
    ----------
    rows : output rows of a tile
    depth : taps of the row dim that are summed up at once
    ranges : of tiles, each summed by itself
    pieces : chunks of one range: each takes some of the blocks of channels, the last of which overlaps
    """

    images: int
    channels: int
    part: Part
    dtype: str
    lanes: int
    x: Ints
    g: Ints
    offsets: Ints
    rows: int
    depth: int
    ranges: int
    pieces: int

    @property
    def size(self) -> int:
        """Bytes of a number."""
        return np.dtype(self.dtype).itemsize

    @property
    def width(self) -> int:
        """Bytes of a vector."""
        return self.lanes * self.size

    @property
    def blocks(self) -> int:
        """Blocks of channels."""
        return -(-self.channels // self.lanes)

    @property
    def tiles(self) -> int:
        """Tiles of an image."""
        return -(-self.part.rows.out // self.rows)

    @property
    def range_bytes(self) -> int:
        """Bytes of a range's sums: [block][tap][channel]."""
        return self.blocks * self.part.taps * self.width

    @property
    def row(self) -> int:
        """Bytes of a row of the turned input."""
        return window(self.part, 1)[2] * self.width

    @property
    def input_bytes(self) -> int:
        """Bytes of a tile's turned input; whole squares are written."""
        return aligned(window(self.part, self.rows)[0] * self.row + self.lanes * self.width)

    @property
    def workspace(self) -> int:
        """Bytes of one chunk's workspace."""
        return self.input_bytes + aligned((self.rows * self.part.last.out + self.lanes) * self.width)


def suits(x: Access, g: Access, part: Part, groups: int) -> bool:
    """Whether the convolution is depthwise and its rows would not fill vectors: of longer ones dot products win."""
    lanes, size = host().lanes(x.dtype), x.dtype.itemsize
    if not groups == x.shape[1] == g.shape[1] >= lanes or part.last.out > lanes:
        return False
    is_flat = part.middle.taps == part.middle.out == part.middle.source == 1
    runs = all(a.strides[-1] == size for a in (x, g))
    fits = _tile_bytes(part, 1, lanes * size) <= TILE_BYTES and part.last.taps + 2 <= host().registers
    return is_flat and runs and fits


def _tile_bytes(part: Part, rows: int, width: int) -> int:
    deep, _, line = window(part, rows)
    return (deep * line + rows * part.last.out) * width


def describe(x: Access, g: Access, part: Part) -> DepthwiseGradient:
    """The computation that `weight_kernels` is asked for."""
    size, lanes = x.dtype.itemsize, host().lanes(x.dtype)
    images, channels, out = x.shape[0], x.shape[1], part.rows.out
    most = max(n for n in range(1, out + 1) if n == 1 or _tile_bytes(part, n, lanes * size) <= TILE_BYTES)
    rows = -(-out // -(-out // most))
    wanted = max(1, min(MOST_CHUNKS, 4 * images * part.positions * channels * part.taps // CHUNK_PRODUCTS))
    blocks = -(-channels // lanes)
    ranges = min(-(-wanted // blocks), images * -(-out // rows))
    room = (host().registers - 2) // part.last.taps
    return DepthwiseGradient(
        images=images, channels=channels, part=part, dtype=x.dtype.name, lanes=lanes,
        x=(*x.strides[:2], *three(x.strides[2:], 0)), g=(*g.strides[:2], *three(g.strides[2:], 0)),
        offsets=(x.offset, g.offset), rows=rows,
        depth=max(d for d in range(1, room + 1) if part.rows.taps % d == 0),
        ranges=ranges, pieces=min(blocks, -(-wanted // ranges)),
    )  # fmt: skip


def build(module: Any, name: str, w: DepthwiseGradient) -> None:
    """Add the function that sums over ranges of tiles."""
    code, slots, chunk = entry(module, name, w.dtype, w.lanes)
    x, g, sums, space = (address(code, slots, i) for i in range(4))
    x, g = code.at(x, w.offsets[0]), code.at(g, w.offsets[1])
    space = code.at(space, code.mul(chunk, w.workspace))
    which, piece = code.divide(chunk, w.pieces)
    sums = code.at(sums, code.mul(which, w.range_bytes))
    first, count = part_of(code, w.images * w.tiles, w.ranges, which)
    first_block, blocks = part_of(code, w.blocks, w.pieces, piece)
    turn = _Turn(module, name, w)

    def block(i: Index) -> None:
        n = code.add(first_block, i)
        channel = code.least(code.mul(n, w.lanes), w.channels - w.lanes)
        from_x, from_g = code.at(x, code.mul(channel, w.x[1])), code.at(g, code.mul(channel, w.g[1]))
        here = code.at(sums, code.mul(n, w.part.taps * w.width))
        each(code, w.part.taps, lambda t: code.store(code.zero, code.at(here, code.mul(t, w.width))))
        each(code, count, lambda j: _tile(code, w, turn, code.add(first, j), (from_x, from_g, here, space)))

    each(code, blocks, block)
    code.b.ret_void()


class _Turn:
    """Functions that turn a row of the input and rows of the gradient."""

    def __init__(self, module: Any, name: str, w: DepthwiseGradient) -> None:
        pointer = ir.PointerType()
        before, after = _inner(w.part)
        self.line = self._function(module, f"{name}.line", w, w.x[1], after - before, [pointer] * 3)
        run = w.g[2] == w.part.last.out * w.size
        self.is_merged = run
        count = None if run else w.part.last.out
        self.gradient = self._function(module, f"{name}.gradient", w, w.g[1], count, [*[pointer] * 3, ir.IntType(64)])

    @staticmethod
    def _function(module: Any, name: str, w: DepthwiseGradient, channel: int, count: Any, kinds: Sequence[IR]) -> Any:
        fn, builder = new_function(module, name, kinds)
        code = Code(builder, w.dtype, w.lanes)
        source, later, target, *more = fn.args
        turn_run(code, (source, later, target), channel, w.lanes, w.lanes, more[0] if count is None else count)
        code.b.ret_void()
        return fn


def _tile(code: Code, w: DepthwiseGradient, turn: _Turn, n: Index, at: tuple[IR, IR, IR, IR]) -> None:
    """Add the products of one tile to a block's sums."""
    x, g, sums, space = at
    image, tile = code.divide(n, w.tiles)
    first = code.mul(tile, w.rows)
    out = w.part.rows.out
    rows = w.rows if out % w.rows == 0 else code.least(w.rows, code.sub(out, first))
    # how far the next tile is, which is asked for already
    next_image, next_tile = code.divide(code.add(n, 1), w.tiles)
    images, down = code.sub(next_image, image), code.mul(code.sub(next_tile, tile), w.rows)
    x_later = code.add(code.mul(images, w.x[0]), code.mul(down, w.part.rows.step * w.x[2]))
    g_later = code.add(code.mul(images, w.g[0]), code.mul(down, w.g[2]))
    _turn_input(code, w, turn, (code.at(x, code.mul(image, w.x[0])), x_later, space), first, rows)
    gradient = code.at(space, w.input_bytes)
    _turn_gradient(
        code, w, turn, (code.at(g, code.add(code.mul(image, w.g[0]), code.mul(first, w.g[2]))), g_later, gradient), rows
    )

    def depth(d: Index) -> None:
        start = code.mul(d, w.depth)
        there = code.at(space, code.mul(start, w.part.rows.reach * w.row))
        _products(code, w, there, gradient, rows, code.at(sums, code.mul(start, w.part.last.taps * w.width)))

    each(code, w.part.rows.taps // w.depth, depth)


def _turn_gradient(code: Code, w: DepthwiseGradient, turn: _Turn, at: tuple[IR, Index, IR], rows: Index) -> None:
    """Turn the rows of the gradient: at once where they are one run."""
    g, later, target = at
    line = w.part.last.out
    count, run, step = (1, code.mul(rows, line), 0) if turn.is_merged else (rows, line, w.g[2])

    def part(d: Index) -> None:
        source = code.at(g, code.mul(d, step))
        to = code.at(target, code.mul(d, line * w.width))
        code.b.call(turn.gradient, [source, code.at(source, later), to, code.value(run)])

    each(code, count, part)


def _inner(part: Part) -> tuple[int, int]:
    """Where in a row of a tile's input the padding ends and begins again."""
    line, last = window(part, 1)[2], part.last
    before = min(-last.base, line)
    return before, min(before + last.source, line)


def _turn_input(
    code: Code, w: DepthwiseGradient, turn: _Turn, at: tuple[IR, Index, IR], first: Index, rows: Index
) -> None:
    """Turn the rows that a tile reads; zeros where there is no input."""
    x, later, space = at
    axis = w.part.rows
    deep = code.add(code.mul(rows, axis.step), (axis.taps - 1) * axis.reach + 1 - axis.step)
    line = window(w.part, 1)[2]
    before, after = _inner(w.part)

    def zeros(to: IR, start: int, count: int) -> None:
        each(code, count, lambda i: code.store(code.zero, code.at(to, code.mul(code.add(i, start), w.width))))

    def row(d: Index) -> None:
        place = code.add(code.add(code.mul(first, axis.step), axis.base), d)
        to = code.at(space, code.mul(d, w.row))

        def copy() -> None:
            zeros(to, 0, before)
            source = code.at(x, code.mul(place, w.x[2]))
            code.b.call(turn.line, [source, code.at(source, later), code.at(to, before * w.width)])
            zeros(to, after, line - after)

        code.when(within(code, place, axis), copy, lambda: zeros(to, 0, line))

    each(code, deep, row)


def _products(code: Code, w: DepthwiseGradient, x: IR, g: IR, rows: Index, sums: IR) -> None:
    """Sums of some taps over a tile."""
    axis, last = w.part.rows, w.part.last
    taps = [d * axis.reach * w.row + k * last.reach * w.width for d in range(w.depth) for k in range(last.taps)]

    def row(d: Index, *held: IR) -> Sequence[IR]:
        there, here = code.at(x, code.mul(d, axis.step * w.row)), code.at(g, code.mul(d, last.out * w.width))

        def position(p: Index, *acc: IR) -> Sequence[IR]:
            number = code.load(code.at(here, code.mul(p, w.width)))
            from_x = code.at(there, code.mul(p, last.step * w.width))
            return [code.fma(number, code.load(code.at(from_x, t)), a) for t, a in zip(taps, acc, strict=True)]

        return code.loop(last.out, position, held)

    for i, v in enumerate(code.loop(rows, row, [code.zero] * len(taps))):
        there = code.at(sums, i * w.width)
        code.store(code.b.fadd(code.load(there), v), there)


def build_sums(module: Any, name: str, w: DepthwiseGradient) -> None:
    """Add the function that adds up the ranges' sums and puts them in their places."""
    code, slots, _ = entry(module, name, w.dtype, w.lanes)
    sums, out = address(code, slots, 0), address(code, slots, 1)
    taps, lanes = w.part.taps, w.lanes

    def total(at: IR) -> IR:
        def further(r: Index, sofar: IR) -> Sequence[IR]:
            return [code.b.fadd(sofar, code.load(code.at(at, code.mul(code.add(r, 1), w.range_bytes))))]

        return code.loop(w.ranges - 1, further, [code.load(at)])[0]

    def block(n: Index) -> None:
        channel = code.least(code.mul(n, lanes), w.channels - lanes)
        source, target = code.at(sums, code.mul(n, taps * w.width)), code.at(out, code.mul(channel, taps * w.size))
        for first in range(0, taps, lanes):
            count = min(lanes, taps - first)
            rows = [total(code.at(source, (first + t) * w.width)) for t in range(count)]
            for c, v in enumerate(code.turned([*rows, *[code.zero] * (lanes - count)])):
                code.store(v, code.at(target, (c * taps + first) * w.size), code.mask(count))

    each(code, w.blocks, block)
    code.b.ret_void()
