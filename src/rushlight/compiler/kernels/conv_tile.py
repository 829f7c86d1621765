"""The products of one tile of a convolution: output channels x positions, accumulated over channels and taps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rushlight.compiler.binding import ir
from rushlight.compiler.kernels.conv_expand import both, each, each_unrolled
from rushlight.compiler.kernels.conv_shape import Axis, Blocks, Part, Reading, Tiling
from rushlight.compiler.kernels.microkernel import Code, Index, Mask

IR = Any

# Multiplications that one turn of a loop is written out to.
UNROLLED_PRODUCTS = 110


@dataclass(frozen=True)
class Weights:
    """Bytes between neighbours in the weight: output channels, input channels and taps of the three dims."""

    output: int
    channel: int
    taps: tuple[int, int, int]


Take = Callable[[Any, Index, Index, Index, Mask], None]
"""take(vector, row of the block, image of the tile, position in its plane, mask) is handed the results, which are
neighbours in the result's memory."""


def accumulate(
    code: Code, tiling: Tiling, read: Reading, weights: Weights, rows: int, x: IR, w: IR, start: Sequence[IR]
) -> Sequence[IR]:
    """Accumulators [row][vector] after all channels and taps; `w` is at the first row's output channel, `x` at the
    first position of the tile's first channel."""
    part = read.part
    vectors = len(start) // rows
    offsets = [_vector(code, tiling, v) for v in range(vectors)]
    first, every = tiling.shift

    def step(acc: Sequence[IR], x_at: IR, w_at: IR) -> list[IR]:
        wide = [code.load(code.at(x_at, offset)) for offset in offsets]
        new = []
        for i in range(rows):
            number = code.spread(code.load_number(code.at(w_at, i * weights.output)))
            new += [code.fma(number, v, acc[i * vectors + j]) for j, v in enumerate(wide)]
        return new

    def inner(acc: Sequence[IR], x_at: IR, w_at: IR) -> Sequence[IR]:
        """Taps of the middle and last dim."""
        for m in range(part.middle.taps):
            for k in range(part.last.taps):
                offset = read.tap(1, m) * tiling.part.last.taps * tiling.tap + first + read.tap(2, k) * every
                acc = step(acc, code.at(x_at, offset), code.at(w_at, m * weights.taps[1] + k * weights.taps[2]))
        return acc

    def taps(acc: Sequence[IR], x_at: IR, w_at: IR) -> Sequence[IR]:
        if part.rows.taps * part.spread * rows * vectors <= UNROLLED_PRODUCTS:
            for d in range(part.rows.taps):
                there = code.at(x_at, row_offset(code, tiling, read.tap(0, d)))
                acc = inner(acc, there, code.at(w_at, d * weights.taps[0]))
            return acc

        def row_tap(d: Index, *held: IR) -> Sequence[IR]:
            low, every_row = read.maps[0]
            there = code.at(x_at, row_offset(code, tiling, code.add(code.mul(d, every_row), low)))
            return inner(held, there, code.at(w_at, code.mul(d, weights.taps[0])))

        return code.loop(part.rows.taps, row_tap, acc)

    per_channel = max(1, part.taps * rows * vectors)
    together = next(
        u for u in (4, 2, 1) if tiling.channels % u == 0 and (u == 1 or u * per_channel <= UNROLLED_PRODUCTS)
    )

    def channels(c: Index, *held: IR) -> Sequence[IR]:
        acc: Sequence[IR] = held
        for u in range(together):
            n = code.add(c, u)
            acc = taps(acc, code.at(x, code.mul(n, tiling.channel)), code.at(w, code.mul(n, weights.channel)))
        return acc

    return code.loop(tiling.channels, channels, start, together) if part.taps else start


def _vector(code: Code, tiling: Tiling, v: int) -> int:
    """Bytes from a block's first position to its vector `v`."""
    if not tiling.lines:
        return v * code.lanes * code.size
    line, column = divmod(v * code.lanes, tiling.part.last.out)
    return line * tiling.row + column * code.size


def position(code: Code, tiling: Tiling, p: Index) -> Index:
    """Bytes from the first position of a tile to position `p`."""
    if not tiling.lines:
        return code.mul(p, code.size)
    line, column = code.divide(p, tiling.part.last.out)
    return code.add(code.mul(line, tiling.row), code.mul(column, code.size))


def row_offset(code: Code, tiling: Tiling, tap: Index) -> Index:
    """Bytes from a channel's start to where a tap of the row dim reads its first position."""
    axis = tiling.part.rows
    turns, residue = code.divide(tap, axis.period)
    shifted = code.add(code.mul(residue, tiling.phase), code.mul(turns, axis.shift * tiling.row))
    return code.add(shifted, -axis.low * tiling.row)


def own_weights(part: Part, weights: Weights) -> Weights:
    """The strides that lead from one of a part's taps to the next."""
    d, m, k = (axis.tap_every * step for axis, step in zip(part.axes, weights.taps, strict=True))
    return Weights(weights.output, weights.channel, (d, m, k))


def first_tap(part: Part, weights: Weights) -> int:
    """Bytes from a channel's first tap in the weight to the first tap of the part."""
    return sum(axis.tap_first * step for axis, step in zip(part.axes, weights.taps, strict=True))


def multiply_block(
    code: Code, tiling: Tiling, read: Reading, weights: tuple[IR, Weights], rows: int, wide: int, positions: Index,
    x: IR, start: Callable[[int, Index], IR], take: Take, before: Callable[[Index], None],
) -> None:  # fmt: skip
    """Hand the results of a tile's `positions` to `take`, of a block of `rows` output channels.

    `weights` says where its weights lie, `start` what accumulators hold at first, of a row and from a position on;
    `before(position)` comes before the products from a position on.
    """
    w, laid = weights
    across = wide * code.lanes

    def columns(p: Index) -> tuple[()]:
        before(p)
        acc = [start(i, code.add(p, v * code.lanes)) for i in range(rows) for v in range(wide)]
        acc = list(accumulate(code, tiling, read, laid, rows, code.at(x, position(code, tiling, p)), w, acc))
        for v in range(wide):
            here = code.add(p, v * code.lanes)
            known = isinstance(positions, int) and positions % across == 0
            mask = None if known else code.mask(code.sub(positions, here))
            for i in range(rows):
                take(acc[i * wide + v], i, 0, here, mask)
        return ()

    code.loop(positions, columns, (), across)


def each_block(code: Code, blocks: Blocks, n: Index, body: Callable[[Index, int], None]) -> None:
    """body(first row, rows) for block `n`, written once for each size."""
    most, big = blocks.most, blocks.big
    whole = big == blocks.count or (n < big if isinstance(n, int) else None)
    if whole is not None:
        body(code.mul(n, most) if whole else code.add(code.mul(n, most - 1), big), most if whole else most - 1)
        return
    small = code.b.icmp_signed(">=", n, code.value(big))
    code.when(
        small,
        lambda: body(code.add(code.mul(n, most - 1), big), most - 1),
        lambda: body(code.mul(n, most), most),
    )


def first_of(code: Code, blocks: Blocks, n: Index) -> Index:
    """The first output channel of a block."""
    return code.add(code.mul(n, blocks.most - 1), code.least(n, blocks.big))


def scatter_rows(
    code: Code, tiling: Tiling, scratch: IR, scratch_row: int, channels: Index, rows: tuple[Index, Index],
    images: Index, sizes: Sequence[int], take: Take,
) -> None:  # fmt: skip
    """Hand the lines of a block's scratch to `take`, spread out where the part makes every n-th position.

    `rows` are the tile's first output row and how many there are, `sizes` the middle and last size of the result.
    """
    part = tiling.part
    first_row, count = rows
    middle, last = sizes

    def line(i: Index, d: Index, n: Index, m: Index) -> None:
        start = code.add(code.mul(code.add(code.mul(d, tiling.images), n), part.middle.out), m)
        source = code.at(scratch, code.add(code.mul(i, scratch_row), code.mul(start, part.last.out * code.size)))
        row = _place(code, part.rows, code.add(first_row, d))
        place = code.add(code.mul(row, middle), _place(code, part.middle, m))
        place = code.add(code.mul(place, last), part.last.out_first)
        _spread_line(code, part.last, source, lambda x, offset, mask: take(x, i, n, code.add(place, offset), mask))

    def over_rows(i: Index) -> None:
        def over_images(d: Index) -> None:
            def over_middle(n: Index) -> None:
                each(code, part.middle.out, lambda m: line(i, d, n, m))

            each(code, images, over_middle)

        each(code, count, over_images)

    each(code, channels, over_rows)


def join_rows(
    code: Code, tiling: Tiling, parts: Sequence[Sequence[tuple[Part, IR]]], scratch_row: int, channels: int,
    rows: tuple[Index, Index], images: Index, sizes: Sequence[int], empty: Callable[[Index], IR], take: Take,
) -> None:  # fmt: skip
    """Hand lines to `take` whose numbers are those of several parts in turn, each with the address of its scratch.

    `parts` are the lines' parts, `rows` and `sizes` as for `scatter_rows`; `empty(channel)` stands for the numbers of
    parts without taps.
    """
    first_row, count = rows
    middle, last = sizes

    def line(joint: Sequence[tuple[Part, IR]], i: Index, blank: IR, d: Index, n: Index, m: Index) -> None:
        part, _ = joint[0]
        start = code.add(code.mul(code.add(code.mul(d, tiling.images), n), tiling.part.middle.out), m)
        at = code.add(code.mul(i, scratch_row), code.mul(start, tiling.part.last.out * code.size))
        row = _place(code, part.rows, code.add(first_row, d))
        place = code.mul(code.add(code.mul(row, middle), _place(code, part.middle, m)), last)

        def vector(v: Index) -> None:
            here = code.add(at, code.mul(v, code.lanes * code.size))
            numbers = [code.load(code.at(source, here)) if p.taps else blank for p, source in joint]
            for q, out in enumerate(interleave(code, numbers)):
                offset = code.mul(code.add(code.mul(v, len(joint)), q), code.lanes)
                if not isinstance(offset, int) or offset < last:
                    take(out, i, n, code.add(place, offset), code.mask(code.sub(last, offset)))

        each_unrolled(code, -(-tiling.part.last.out // code.lanes), vector)

    def channel(i: Index) -> None:
        blank = empty(i)

        def row(d: Index) -> None:
            for joint in parts:
                part, _ = joint[0]

                def lines(part: Part = part, joint: Sequence[tuple[Part, IR]] = joint) -> None:
                    each(code, images, lambda n: each(code, part.middle.out, lambda m: line(joint, i, blank, d, n, m)))

                even = part.rows.out == tiling.part.rows.out
                at = code.add(first_row, d)
                code.when(even or code.b.icmp_signed("<", code.value(at), code.value(part.rows.out)), lines)

        each(code, count, row)

    each(code, channels, channel)


def _place(code: Code, axis: Axis, at: Index) -> Index:
    return code.add(code.mul(at, axis.out_every), axis.out_first)


def _spread_line(code: Code, last: Axis, source: IR, store: Callable[[IR, Index, Mask], None]) -> None:
    every = last.out_every

    def vector(v: Index) -> None:
        numbers = code.load(code.at(source, code.mul(v, code.lanes * code.size)))
        left = code.add(last.out, code.mul(v, -code.lanes))
        for part in range(every):
            lanes = [part * code.lanes + i for i in range(code.lanes)]
            out = numbers if every == 1 else code.pick(numbers, numbers, [j // every for j in lanes])
            used = _chosen(code, [j % every == 0 for j in lanes])
            # the line ends (left - 1)*every + 1 positions from the vector's first
            before_end = code.mask(code.add(code.mul(left, every), -part * code.lanes - every + 1))
            offset = code.add(code.mul(v, code.lanes * every), part * code.lanes)
            store(out, offset, both(code, used, before_end))

    each(code, -(-last.out // code.lanes), vector)


def interleave(code: Code, vectors: Sequence[IR]) -> list[IR]:
    """Numbers of each vector in turn."""
    n, every = code.lanes, len(vectors)
    if all(v is vectors[0] for v in vectors):
        return list(vectors)
    found = []
    for part in range(every):
        places = range(part * n, part * n + n)
        out = code.pick(vectors[0], vectors[1], [p // every + (n if p % every else 0) for p in places])
        for r in range(2, every):
            lanes = [n + p // every if p % every == r else i for i, p in enumerate(places)]
            out = code.pick(out, vectors[r], lanes)
        found.append(out)
    return found


def _chosen(code: Code, used: list[bool]) -> Mask:
    return None if all(used) else ir.Constant(code.bits, [int(u) for u in used])
