"""The code of a weight gradient by outer products: chunks into tiles, tiles into panels, panels into blocks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from rushlight.compiler.binding import ir
from rushlight.compiler.kernels.chunked import address, entry, part_of
from rushlight.compiler.kernels.conv_expand import both, conjunction, each, inside, strided_load, within
from rushlight.compiler.kernels.conv_weight_outer import OuterGradient, window
from rushlight.compiler.kernels.matmul_code import new_function
from rushlight.compiler.kernels.microkernel import Code, Index, Mask, Operands, multiply
from rushlight.compiler.kernels.packing import pack_function

IR = Any

# Vectors of a line that are written out.
UNROLLED_VECTORS = 8


def build(module: Any, name: str, w: OuterGradient) -> None:
    """Add the function that sums over ranges of tiles."""
    code, slots, chunk = entry(module, name, w.dtype, w.lanes)
    Writer(module, name, w, code).write(slots, chunk)


class Writer:
    """Writes one kernel."""

    def __init__(self, module: Any, name: str, w: OuterGradient, code: Code) -> None:
        self.module, self.name, self.w, self.code = module, name, w, code
        self.packs: dict[int, Any] = {}

    def write(self, slots: IR, chunk: Index) -> None:
        """Write the chunk."""
        w, code = self.w, self.code
        x, g, sums, space = (address(code, slots, i) for i in range(4))
        if w.swapped:
            x, g = g, x
        x, g = code.at(x, w.offsets[0]), code.at(g, w.offsets[1])
        self.copy = code.at(space, code.mul(chunk, w.workspace))
        self.panel = code.at(self.copy, w.copy_bytes)
        which, piece = code.divide(chunk, w.pieces)
        sums = code.at(sums, code.mul(which, w.range_bytes))
        first, count = part_of(code, w.units, w.ranges, which)
        first_item, items = part_of(code, w.groups * w.cells * w.splits, w.pieces, piece)

        def item(i: Index) -> None:
            n, split = code.divide(code.add(first_item, i), w.splits)
            group, cell = code.divide(n, w.cells)
            channel = code.least(code.mul(cell, w.cell), w.channels - w.cell)
            channel = code.add(code.mul(group, w.channels), channel)
            from_x = code.at(x, code.mul(channel, w.x[1]))
            from_g = code.at(g, code.mul(code.mul(group, w.outputs), w.g[1]))
            here = code.at(sums, code.mul(group, w.panels * w.sum_rows * w.pitch))
            panels = part_of(code, w.panels, w.splits, split)
            self.cell = cell
            each(code, count, lambda j: self.tile(code.add(first, j), (from_x, from_g, here), panels, is_zero(code, j)))

        each(code, items, item)
        code.b.ret_void()

    def tile(self, n: Index, at: tuple[IR, IR, IR], panels: tuple[Index, Index], is_first: IR | bool) -> None:
        """Add the products of one tile, or put them down where it is a range's first."""
        w, code = self.w, self.code
        x, g, sums = at
        group, tile = code.divide(n, w.tiles)
        image, row = code.mul(group, w.several), code.mul(tile, w.rows)
        out = w.part.rows.out
        rows = w.rows if out % w.rows == 0 else code.least(w.rows, code.sub(out, row))
        images = w.several if w.images % w.several == 0 else code.least(w.several, code.sub(w.images, image))
        x = code.at(x, code.mul(image, w.x[0]))
        here = code.add(code.mul(image, w.g[0]), code.mul(row, w.g[2]))
        if w.copies:
            self.copy_tile(x, row, rows, images)
            x = self.copy
        else:
            x = code.at(x, code.mul(row, w.steps[1]))
        group, tile = code.divide(code.add(n, 1), w.tiles)
        image, row = code.mul(group, w.several), code.mul(tile, w.rows)
        later = code.at(g, code.add(code.mul(image, w.g[0]), code.mul(row, w.g[2])))
        g = code.at(g, here)
        low, high = panels[0], panels[1]

        def panel(i: Index) -> None:
            k = code.add(low, i)
            start = code.mul(k, w.width * w.g[1])
            self.turn((code.at(g, start), code.at(later, start)), k, rows, images)
            here = code.at(sums, code.mul(k, w.sum_rows * w.pitch))
            self.blocks(x, here, (images, rows), is_first)

        each(code, high, panel)

    # The input's copy

    def copy_tile(self, x: IR, first: Index, rows: Index, images: Index) -> None:
        """Copy the input of output rows from `first` on, zeros where there is none."""
        w, code = self.w, self.code
        axis, middle = w.part.axes[:2]
        image_step, channel_step, *steps = w.source
        deep = code.add(code.mul(rows, axis.step), (axis.taps - 1) * axis.reach + 1 - axis.step)
        top = code.add(code.mul(first, axis.step), axis.base)
        high, length = window(w.part, w.rows)[1:]

        def lines(c: Index, n: Index, d: Index) -> None:
            row = code.add(top, d)
            source = code.at(x, code.add(code.mul(c, w.x[1]), code.add(code.mul(n, w.x[0]), code.mul(row, w.x[2]))))
            target = code.at(self.copy, code.add(code.mul(c, channel_step), code.mul(n, image_step)))
            target = code.at(target, code.mul(d, steps[0]))
            exists = within(code, row, axis)

            def line(m: Index) -> None:
                at = code.add(m, middle.base)
                to = code.at(target, code.mul(m, steps[1]))
                code.when(
                    conjunction(code, exists, within(code, at, middle)),
                    lambda: self.copy_line(code.at(source, code.mul(at, w.x[3])), to, length),
                    lambda: self.copy_line(None, to, length),
                )

            each(code, high, line)

        def channel(c: Index) -> None:
            each(code, images, lambda n: each(code, deep, lambda d: lines(c, n, d)))

        each(code, w.cell, channel)

    def copy_line(self, source: IR | None, target: IR, length: int) -> None:
        """One line with the padding at its ends, or zeros; what is written beyond it is overwritten by the next."""
        w, code = self.w, self.code
        last, step = w.part.last, w.x[4]

        def vector(v: Index) -> None:
            numbers = code.zero
            if source is not None:
                first = code.add(code.mul(v, code.lanes), last.base)
                mask = both(
                    code, inside(code, first, 1, last.source), code.mask(code.sub(length, code.mul(v, code.lanes)))
                )
                begin = code.mul(first, step // w.size)

                def room(i: int) -> Mask:
                    return inside(code, code.add(begin, i * code.lanes), 1, (last.source - 1) * step // w.size + 1)

                numbers = strided_load(code, code.at(source, code.mul(begin, w.size)), step, mask, room)
            code.store(numbers, code.at(target, code.mul(v, code.lanes * w.size)))

        vectors = -(-length // code.lanes)
        if vectors <= UNROLLED_VECTORS:
            for v in range(vectors):
                vector(v)
        else:
            each(code, vectors, vector)

    # The gradient's panel

    def turn(self, g: tuple[IR, IR], panel: Index, rows: Index, images: Index) -> None:
        """Bring a tile's gradient into the panel: a line of output channels for each position."""
        w, code = self.w, self.code
        edge = w.outputs % w.width
        if not edge:
            self.turn_part(g, w.width, rows, images)
        elif w.panels == 1:
            self.turn_part(g, edge, rows, images)
        else:
            code.when(
                code.b.icmp_signed("==", code.value(panel), code.value(w.panels - 1)),
                lambda: self.turn_part(g, edge, rows, images),
                lambda: self.turn_part(g, w.width, rows, images),
            )

    def turn_part(self, g: tuple[IR, IR], outputs: int, rows: Index, images: Index) -> None:
        w, code = self.w, self.code
        part = w.part
        dims = self.merged((images, rows, part.middle.out, part.last.out), (w.g[0], *w.g[2:]))
        *outer, (run, step, _) = dims
        fn = self.pack(outputs, step, run)

        def nest(dims: Sequence[tuple[Index, int, Index]], sources: tuple[IR, IR], target: IR) -> None:
            if not dims:
                code.b.call(fn, [*sources, target, code.value(run)])
                return
            (count, a, b), *inner = dims

            def one(i: Index) -> None:
                offset = code.mul(i, a)
                nest(inner, (code.at(sources[0], offset), code.at(sources[1], offset)), code.at(target, code.mul(i, b)))

            each(code, count, one)

        nest(outer, g, self.panel)

    def pack(self, outputs: int, step: int, run: Index) -> Any:
        """The function that brings one run of positions of so many output channels into a panel."""
        w = self.w
        if outputs not in self.packs:
            pointer, i64 = ir.PointerType(), ir.IntType(64)
            fn, builder = new_function(self.module, f"{self.name}.pack{outputs}", [pointer, pointer, pointer, i64])
            code = Code(builder, w.dtype, w.lanes)
            source, later, target, count = fn.args
            if isinstance(run, int):
                count = run
            if step == w.size:
                turn_run(code, (source, later, target), w.g[1], outputs, w.width, count)
            else:
                kind = "copy" if w.g[1] == w.size else "gather"
                pack_function(code, kind, (source, target), (w.g[1], step), outputs, w.width, (count, 1), code.dtype)
            code.b.ret_void()
            self.packs[outputs] = fn
        return self.packs[outputs]

    def merged(self, counts: Sequence[Index], strides: Sequence[int]) -> list[tuple[Index, int, Index]]:
        """Dims of a tile as (count, stride, bytes in a panel), as few as the strides allow."""
        code = self.code
        dims: list[tuple[Index, int, Index]] = []
        below: Index = self.w.pitch
        for count, stride in reversed(list(zip(counts, strides, strict=True))):
            if isinstance(count, int) and count == 1:
                continue
            if dims and isinstance(dims[0][0], int) and stride == dims[0][0] * dims[0][1]:
                count, stride = code.mul(count, dims[0][0]), dims[0][1]
                dims[0] = (count, stride, dims[0][2])
            else:
                dims.insert(0, (count, stride, below))
            below = code.mul(dims[0][0], dims[0][2])
        return dims or [(1, self.w.size, self.w.pitch)]

    # The products

    def blocks(self, x: IR, sums: IR, counts: tuple[Index, Index], is_first: IR | bool) -> None:
        """All blocks of a cell with one panel."""
        w, code, block = self.w, self.code, self.w.block
        axes = w.part.axes
        channel, dims = w.source[1], w.source[2:]
        reaches = [s * a.reach for s, a in zip(dims, axes, strict=True)]
        rows = [
            c * channel + d * reaches[0] + m * reaches[1] + k * reaches[2]
            for c in range(block.channels)
            for d in range(block.taps[0])
            for m in range(block.taps[1])
            for k in range(block.taps[2])
        ]
        vectors = [v * w.lanes * w.size for v in range(block.vectors)]
        steps = self.merged((*counts, w.part.middle.out, w.part.last.out), w.steps)
        sizes = (w.cell, *(a.taps for a in axes))
        widths, moves = (block.channels, *block.taps), (channel, *reaches)
        first = code.least(code.mul(self.cell, w.cell), w.channels - w.cell)
        begin = (first, 0, 0, 0)

        def nest(level: int, at: IR, to: IR, stale: tuple[Index, ...]) -> None:
            if level == 4:
                self.block(Operands(at, rows, self.panel, vectors, steps), to, stale, is_first)
                return
            wide = widths[level]
            row = math.prod(a.taps for a in axes[level:]) * w.pitch

            def one(i: Index) -> None:
                start = code.least(code.mul(i, wide), sizes[level] - wide)
                there = code.at(at, code.mul(start, moves[level]))
                place = code.add(start, begin[level])
                # cells overlap by whole blocks, or else there is one cell, whose last blocks overlap
                done = code.mul(self.cell, w.cell) if level == 0 and w.cells > 1 else code.mul(i, wide)
                fresh = code.sub(done, place)
                nest(level + 1, there, code.at(to, code.mul(place, row)), (*stale, fresh))

            each(code, w.counts[level], one)

        nest(0, x, sums, ())

    def block(self, operands: Operands, sums: IR, stale: tuple[Index, ...], is_first: IR | bool) -> None:
        """One block. Of each dim the first `stale` rows are another block's."""
        w, code = self.w, self.code
        acc = multiply(code, operands)
        width = code.lanes * code.size
        taps = [a.taps for a in w.part.axes]
        overlaps = [w.cell * w.cells != w.channels or w.cell % w.block.channels > 0]
        overlaps += [n % b > 0 for n, b in zip(taps, w.block.taps, strict=True)]
        places = []
        for index in itertools.product(*(range(n) for n in (w.block.channels, *w.block.taps))):
            c, d, m, k = index
            mask: Mask = None
            for i, skip, there in zip(index, stale, overlaps, strict=True):
                if there and not (isinstance(skip, int) and skip <= 0):
                    mask = both(code, mask, code.spread(code.b.icmp_signed(">=", code.value(i), code.value(skip))))
            row = ((c * taps[0] + d) * taps[1] + m) * taps[2] + k
            places += [(row * w.pitch + v * width, mask) for v in range(w.block.vectors)]

        def put() -> None:
            for v, (place, mask) in zip(acc, places, strict=True):
                code.store(v, code.at(sums, place), mask)

        def add() -> None:
            for v, (place, mask) in zip(acc, places, strict=True):
                there = code.at(sums, place)
                code.store(code.b.fadd(code.load(there), v), there, mask)

        code.when(is_first, put, add)


def turn_run(code: Code, at: tuple[IR, IR | None, IR], channel: int, outputs: int, pitch: int, count: Index) -> None:
    """Turn a run of positions of some output channels: a line of `pitch` channels for each position.

    `at` are the first channel's positions, those that are wanted next if they are known, and the lines, with room for
    whole vectors.
    """
    source, later, target = at
    lanes, size = code.lanes, code.size

    def turn(p: Index, j: Index, columns: int, left: Index) -> None:
        first = code.add(code.mul(p, size), code.mul(j, channel))
        to = code.at(target, code.add(code.mul(p, pitch * size), code.mul(j, size)))
        mask = None if left is None else code.mask(left)
        rows = [code.zero] * lanes
        for r in range(columns):
            offset = code.add(first, r * channel)
            if later is not None:
                prefetch(code, code.at(later, offset))
            rows[r] = code.load(code.at(source, offset), mask)
        for r, v in enumerate(code.turned(rows)):
            code.store(v, code.at(to, r * pitch * size))

    def positions(p: Index, left: Index = None) -> Sequence[IR]:
        whole = outputs // lanes * lanes
        each(code, outputs // lanes, lambda j: turn(p, code.mul(j, lanes), lanes, left))
        if whole < outputs:
            turn(p, whole, outputs - whole, left)
        return ()

    whole, rest = code.divide(count, lanes)
    whole = code.mul(whole, lanes)
    code.loop(whole, positions, step=lanes)
    some = rest > 0 if isinstance(rest, int) else code.b.icmp_signed("!=", rest, code.value(0))
    code.when(some, lambda: (positions(whole, rest), None)[1])


def prefetch(code: Code, pointer: IR) -> None:
    """Ask for a line that will be read later, wherever it is; an address that does not exist does no harm."""
    word = ir.IntType(32)
    module = code.b.module
    name = "llvm.prefetch.p0"
    kind = ir.FunctionType(ir.VoidType(), [ir.PointerType(), word, word, word])
    fn = module.globals.get(name) or ir.Function(module, kind, name)
    code.b.call(fn, [pointer, *(ir.Constant(word, n) for n in (0, 2, 1))])


def is_zero(code: Code, i: Index) -> IR | bool:
    """Whether a number is 0."""
    return i == 0 if isinstance(i, int) else code.b.icmp_signed("==", i, code.value(0))
