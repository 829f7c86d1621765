"""The code of convolutions with images in the lanes of vectors."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from rushlight.compiler.binding import ir
from rushlight.compiler.kernels.chunked import bounds, part_of
from rushlight.compiler.kernels.conv_batch_plan import (
    Batch,
    Columns,
    channel_bytes,
    columns,
    merges,
    sums_row,
    tile_bytes,
    workspace,
)
from rushlight.compiler.kernels.conv_batch_turn import turn_run
from rushlight.compiler.kernels.conv_expand import each
from rushlight.compiler.kernels.conv_pack import packed_weights
from rushlight.compiler.kernels.conv_results import Arguments, Results
from rushlight.compiler.kernels.conv_tile import Weights, each_block, first_of
from rushlight.compiler.kernels.epilogue import Epilogue
from rushlight.compiler.kernels.microkernel import Code, Index

IR = Any

# Multiplications that one turn of a loop over channels is written out to.
UNROLLED_PRODUCTS = 60


class BatchWriter:
    """The code of one convolution's function."""

    def __init__(self, code: Code, c: Batch, epilogue: Epilogue | None, slots: IR, chunk: IR) -> None:
        self.code, self.c, self.chunk = code, c, chunk
        offsets = (0, *c.offsets[1:]) if c.cut.turned else c.offsets
        given = Arguments(code, slots, offsets, c.bias_stride is not None, epilogue)
        self.x, self.w, self.bias = given.x, given.w, given.bias
        self.results = Results(code, given, epilogue, c.groups * c.outputs, c.plane)
        self.space = code.at(given.space, code.mul(chunk, workspace(c)))
        self.sums = code.at(self.space, tile_bytes(c))
        self.room = code.room(code.lanes * code.lanes)
        self.columns = columns(c.dims[2], c.cut.wide)
        self.lines = Table(code, line_table(c))
        self.sources = Table(code, c.cut.source_rows)

    def write(self) -> None:
        """The units of a chunk."""
        code, k = self.code, self.c.cut
        total = self.c.image_groups * self.c.groups * k.slices * k.splits
        low, count = part_of(code, total, k.chunks, self.chunk)
        each(code, count, lambda i: self.unit(code.add(low, i)))

    def unit(self, n: Index) -> None:
        """One vector of images, group of channels, slice of tiles and range of blocks of output channels."""
        code, c, k = self.code, self.c, self.c.cut
        n, split = code.divide(n, k.splits)
        n, piece = code.divide(n, k.slices)
        images, group = code.divide(n, c.groups)
        low, count = part_of(code, k.tiles, k.slices, piece)
        first = code.mul(images, c.lanes)
        each(code, count, lambda j: Tile(self, first, group, code.add(low, j), split).write())

    def weights(self, group: Index, first: Index, rows: int) -> tuple[IR, Weights]:
        """Where a block's weights lie, and how."""
        code, c = self.code, self.c
        if c.is_packed:
            block = code.add(code.mul(group, c.outputs), first)
            return code.at(self.w, code.mul(block, c.channels * c.part.taps * c.size)), packed_weights(
                c.part, rows, c.size
            )
        at = code.add(code.mul(group, c.weight_group), code.mul(first, c.weights.output))
        return code.at(self.w, at), c.weights


class Tile:
    """Some rows of the results of a vector of images, for a range of blocks of output channels."""

    def __init__(self, writer: BatchWriter, image: Index, group: Index, tile: Index, split: Index) -> None:
        self.writer, self.code, self.c = writer, writer.code, writer.c
        code, c, k = self.code, self.c, self.c.cut
        self.image, self.group = image, group
        self.first_row = code.mul(tile, k.rows)
        even = c.dims[0].out % k.rows == 0
        self.rows = k.rows if even else code.least(k.rows, code.sub(c.dims[0].out, self.first_row))
        self.source_row, self.source_rows = (writer.sources.at(tile, i) for i in (0, 1))
        self.low, self.high = bounds(code, k.blocks.count, k.splits, split)
        self.channels = c.channels // k.passes
        self.channel = c.turned_channel if k.turned else channel_bytes(c, k.most_source)
        self.sums_row = sums_row(c)

    def write(self) -> None:
        """Its products, and what becomes of them."""
        code, k = self.code, self.c.cut
        if k.passes == 1:
            x = self.input(0)

            def block(first: Index, rows: int) -> None:
                self.block(first, rows, x, 0, first, self.bias_of(first, rows))
                self.turn_results(first, first, rows)

            self.blocks(block)
            return
        base = first_of(code, k.blocks, self.low)
        count = code.sub(first_of(code, k.blocks, self.high), base)
        self.fill(base, count)

        def one(n: Index) -> None:
            channel = code.mul(n, self.channels)
            x = self.input(channel)
            self.blocks(lambda first, rows: self.block(first, rows, x, channel, base, None))

        each(code, k.passes, one)
        self.turn_results(base, base, count)

    def blocks(self, body: Callable[[Index, int], None]) -> None:
        """The blocks of the tile's range."""
        code, blocks = self.code, self.c.cut.blocks
        each(code, code.sub(self.high, self.low), lambda b: each_block(code, blocks, code.add(self.low, b), body))

    def input(self, channel: Index) -> IR:
        """Where source position 0 of a pass's first channel would lie, once its rows have been turned around."""
        code, c = self.code, self.c
        if c.cut.turned:
            n = code.divide(self.image, c.lanes)[0]
            n = code.add(code.mul(code.add(code.mul(n, c.groups), self.group), c.channels), channel)
            return code.at(self.writer.x, code.mul(n, self.channel))
        self.turn_input(channel)
        return code.at(self.writer.space, code.mul(code.mul(self.source_row, c.source_row), -c.vector))

    def turn_input(self, channel: Index) -> None:
        """Copy the source rows of a pass's channels from `channel` on, positions of images."""
        code, c = self.code, self.c
        source = code.at(self.writer.x, code.mul(code.add(code.mul(self.group, c.channels), channel), c.x[1]))
        source = code.at(source, code.mul(self.source_row, c.source_row * c.size))
        count = code.mul(self.source_rows, c.source_row)
        room, space = self.writer.room, self.writer.space
        if isinstance(count, int) and count == c.source_plane and merges(c):
            turn_run(code, c, room, self.image, source, space, self.channels * count)
            return

        def one(n: Index) -> None:
            here, there = code.at(source, code.mul(n, c.x[1])), code.at(space, code.mul(n, self.channel))
            turn_run(code, c, room, self.image, here, there, count)

        each(code, self.channels, one)

    def turn_results(self, base: Index, first: Index, count: Index) -> None:
        """Hand on the results of output channels from `first` on, images of positions."""
        code, c = self.code, self.c
        positions = code.mul(self.rows, c.row)
        begin = code.mul(self.first_row, c.row)
        channel = code.add(code.mul(self.group, c.outputs), first)

        def one(r: Index) -> None:
            source = code.at(self.writer.sums, code.mul(r, self.sums_row))

            def square(p: Index) -> Sequence[IR]:
                known = isinstance(positions, int) and positions % code.lanes == 0
                mask = None if known else code.mask(code.sub(positions, p))
                here = code.at(source, code.mul(p, c.vector))

                def store(i: Index, v: IR) -> None:
                    image = code.add(self.image, i)
                    exists = True
                    if c.images % code.lanes:
                        exists = code.b.icmp_signed("<", code.value(image), code.value(c.images))
                    code.when(
                        exists,
                        lambda: self.writer.results.put(v, image, code.add(channel, r), code.add(begin, p), mask),
                    )

                code.transpose(self.writer.room, lambda i: code.load(code.at(here, code.mul(i, c.vector))), store)
                return ()

            code.loop(positions, square, (), code.lanes)

        each(code, count, one)

    def block(self, first: Index, rows: int, x: IR, channel: Index, base: Index, start: Sequence[IR] | None) -> None:
        """Add the products of a block of output channels from `first` on, of a pass's input channels from `channel` on.

        Sums lie in the workspace, those of output channel `base` first; `start` is what they begin with, None: those.
        """
        code, c = self.code, self.c
        w, laid = self.writer.weights(self.group, first, rows)
        w = code.at(w, code.mul(channel, laid.channel))
        sums = code.at(self.writer.sums, code.mul(code.sub(first, base), self.sums_row))
        lines = code.mul(self.rows, c.dims[1].out)
        first_line = code.mul(self.first_row, c.dims[1].out)

        def line(n: Index) -> None:
            for part in self.writer.columns:
                each(code, part.count, lambda b, part=part: columns_of(n, part, b))  # type: ignore[misc]

        def columns_of(n: Index, part: Columns, b: Index) -> None:
            to = code.add(code.mul(n, c.dims[2].out), code.add(code.mul(b, part.wide), part.first))
            to_here = code.at(sums, code.mul(to, c.vector))
            places = [code.at(to_here, i * self.sums_row + j * c.vector) for i in range(rows) for j in range(part.wide)]
            if start is None:
                acc: Sequence[IR] = [code.load(place) for place in places]
            else:
                acc = [start[i] for i in range(rows) for _ in range(part.wide)]
            from_here = code.at(x, code.mul(code.add(code.mul(b, part.step), part.source), c.vector))
            acc = self.sum(code.add(first_line, n), part, rows, from_here, w, laid, acc)
            for v, place in zip(acc, places, strict=True):
                code.store(v, place)

        each(code, lines, line)

    def sum(
        self, line: Index, part: Columns, rows: int, x: IR, w: IR, laid: Weights, acc: Sequence[IR]
    ) -> Sequence[IR]:
        """Accumulators [row][result] after all products of a line's columns."""
        code, c, table = self.code, self.c, self.writer.lines
        if not part.products:
            return acc
        middle = c.dims[1].taps

        def meeting(t: Index, *held: IR) -> Sequence[IR]:
            tap, source = (table.at(line, code.add(code.mul(t, 2), i)) for i in (1, 2))
            row_tap, middle_tap = code.divide(tap, middle)
            at = code.add(code.mul(row_tap, laid.taps[0]), code.mul(middle_tap, laid.taps[1]))
            w_at = code.at(w, at)
            x_at = code.at(x, code.mul(source, c.dims[2].source * c.vector))
            return self.channel_loop(part, rows, x_at, w_at, laid, held)

        return code.loop(table.at(line, 0), meeting, acc)

    def channel_loop(self, part: Columns, rows: int, x: IR, w: IR, laid: Weights, acc: Sequence[IR]) -> Sequence[IR]:
        """Accumulators after the last dim's taps of all channels."""
        code, c = self.code, self.c
        written = sum(len(met) for _, met in part.products) * rows
        together = next(
            u for u in (8, 4, 2, 1) if self.channels % u == 0 and (u == 1 or u * written <= UNROLLED_PRODUCTS)
        )

        def turn(n: Index, *held: IR) -> Sequence[IR]:
            new = list(held)
            for u in range(together):
                x_at = code.at(x, code.mul(code.add(n, u), self.channel))
                w_at = code.at(w, code.mul(code.add(n, u), laid.channel))
                for tap, met in part.products:
                    numbers = [(j, code.load(code.at(x_at, at * c.vector))) for j, at in met]
                    for i in range(rows):
                        number = code.load_number(code.at(w_at, tap * laid.taps[2] + i * laid.output))
                        wide = code.spread(number)
                        for j, v in numbers:
                            new[i * part.wide + j] = code.fma(wide, v, new[i * part.wide + j])
            return new

        return code.loop(self.channels, turn, acc, together)

    def bias_of(self, first: Index, count: int) -> list[IR]:
        """What the sums of output channels from `first` on begin with."""
        code, c = self.code, self.c
        if self.writer.bias is None:
            return [code.zero] * count
        step = c.bias_stride or 0
        channel = code.add(code.mul(self.group, c.outputs), first)
        places = [code.at(self.writer.bias, code.mul(code.add(channel, r), step)) for r in range(count)]
        return [code.spread(code.load_number(place)) for place in places]

    def fill(self, base: Index, count: Index) -> None:
        """Let the sums of output channels from `base` on begin with the bias."""
        code = self.code

        def channel(r: Index) -> None:
            (value,) = self.bias_of(code.add(base, r), 1)
            row = code.at(self.writer.sums, code.mul(r, self.sums_row))
            vectors = self.sums_row // self.c.vector
            each(code, vectors, lambda v: code.store(value, code.at(row, code.mul(v, self.c.vector))))

        each(code, count, channel)


class Table:
    """Rows of small numbers, kept beside the code; a number that all rows share is known."""

    def __init__(self, code: Code, rows: Sequence[Sequence[int]]) -> None:
        self.code, self.rows = code, rows
        self.width = max(map(len, rows))
        padded = [n for row in rows for n in (*row, *[0] * (self.width - len(row)))]
        kind = ir.ArrayType(ir.IntType(32), len(padded))
        module = code.b.module
        self.table = ir.GlobalVariable(module, kind, module.get_unique_name("table"))
        self.table.linkage = "internal"
        self.table.global_constant = True
        self.table.initializer = ir.Constant(kind, padded)

    def at(self, row: Index, column: Index) -> Index:
        """A number."""
        code = self.code
        if isinstance(row, int) and isinstance(column, int):
            return self.rows[row][column]
        if isinstance(column, int) and len({r[column] for r in self.rows}) == 1:
            return self.rows[0][column]
        at = code.mul(code.add(code.mul(row, self.width), column), 4)
        pointer = code.b.gep(self.table, [code.value(at)], source_etype=code.byte)
        pointer.type = ir.PointerType()
        return code.b.zext(code.b.load(pointer, typ=ir.IntType(32)), code.i64)


def line_table(c: Batch) -> list[list[int]]:
    """Of each line of results: with how many taps of the first dims it meets lines of the source, and those."""
    rows, middle, _ = c.dims
    found = []
    for r, m in itertools.product(rows.meets, middle.meets):
        met = [(i * middle.taps + j, a * middle.source + b) for (i, a), (j, b) in itertools.product(r, m)]
        found.append([len(met), *itertools.chain.from_iterable(met)])
    return found
