"""Copying a tile of a convolution's input so that every tap of a channel becomes one run of positions.

Stride, padding and dilation end here: what multiplies afterwards sees rows of numbers at constant distances.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rushlight.compiler.binding import ir
from rushlight.compiler.kernels.conv_shape import Axis, Tiling
from rushlight.compiler.kernels.microkernel import Code, Index, Mask

IR = Any

# Vectors of a row that are written out; longer rows are loops.
UNROLLED_VECTORS = 4
# Channels that are asked for before they are copied.
AHEAD = 4
# Taps of a row that are written out.
UNROLLED_TAPS = 12


def lane_numbers(code: Code, step: int, first: Index) -> IR:
    """first, first + step, first + 2 step, ... as 32-bit lanes."""
    word = ir.IntType(32)
    kind = ir.VectorType(word, code.lanes)
    if isinstance(first, int):
        return ir.Constant(kind, [first + i * step for i in range(code.lanes)])
    start = code.spread(code.b.trunc(first, word))
    return code.b.add(ir.Constant(kind, [i * step for i in range(code.lanes)]), start)


def inside(code: Code, first: Index, step: int, size: int) -> Mask:
    """The lanes whose number `first + lane*step` is at least 0 and below `size`."""
    if isinstance(first, int):
        found = [0 <= first + i * step < size for i in range(code.lanes)]
        return None if all(found) else ir.Constant(code.bits, [int(f) for f in found])
    limit = ir.Constant(ir.VectorType(ir.IntType(32), code.lanes), [size] * code.lanes)
    return code.b.icmp_unsigned("<", lane_numbers(code, step, first), limit)


def both(code: Code, x: Mask, y: Mask) -> Mask:
    """The lanes of both masks."""
    if x is None or y is None:
        return y if x is None else x
    return code.b.and_(_bits(code, x), _bits(code, y))


def _bits(code: Code, mask: Mask) -> IR:
    if isinstance(mask, int):
        return ir.Constant(code.bits, [int(i < mask) for i in range(code.lanes)])
    return mask


def gather(code: Code, pointer: IR, stride: int, mask: Mask) -> IR:
    """Numbers `stride` bytes apart; 0 in the lanes left out."""
    wide = ir.VectorType(code.i64, code.lanes)
    kind = ir.VectorType(ir.PointerType(), code.lanes)
    where = code.b.gep(pointer, [ir.Constant(wide, [i * stride for i in range(code.lanes)])], source_etype=code.byte)
    where.type = kind
    letter = "f32" if code.size == 4 else "f64"
    name = f"llvm.masked.gather.v{code.lanes}{letter}.v{code.lanes}p0"
    every = ir.Constant(code.bits, [1] * code.lanes)
    bits = every if mask is None else _bits(code, mask)
    align = ir.Constant(ir.IntType(32), code.size)
    return code.call(name, code.vector, where, align, bits, code.zero)


def strided_load(code: Code, pointer: IR, stride: int, mask: Mask, room: Callable[[int], Mask] | None) -> IR:
    """A vector of numbers `stride` bytes apart; `room(i)` are the lanes of the i-th whole vector that may be read."""
    if stride == code.size:
        return code.load(pointer, mask)
    if stride == 2 * code.size and room is not None:
        low = code.load(pointer, room(0))
        high = code.load(code.at(pointer, code.lanes * code.size), room(1))
        return code.pick(low, high, range(0, 2 * code.lanes, 2))
    return gather(code, pointer, stride, mask)


def prefetch(code: Code, pointer: IR, write: bool = False) -> None:
    """Ask for a cache line; no address is wrong."""
    word = ir.IntType(32)
    code.call("llvm.prefetch.p0", ir.VoidType(), pointer, *(ir.Constant(word, n) for n in (int(write), 3, 1)))


class Source:
    """The input that tiles are copied from: address of a group's first channel of an image, strides in bytes."""

    def __init__(self, pointer: IR, strides: Sequence[int]) -> None:
        self.pointer = pointer
        self.image, self.channel, self.rows, self.middle, self.last = strides


def expand(code: Code, tiling: Tiling, x: Source, space: IR, first_row: Index, rows: Index, images: Index) -> None:
    """Copy the input of output rows `first_row` to `first_row + rows - 1` of `images` images to `space`."""
    part = tiling.part

    def channel(c: Index) -> None:
        source = code.at(x.pointer, code.mul(c, x.channel))
        target = code.at(space, code.mul(c, tiling.channel))
        for residue in range(part.rows.phases):
            _phase(code, tiling, x, source, code.at(target, residue * tiling.phase), residue, first_row, rows, images)

    each(code, tiling.channels, channel)


def each(code: Code, count: Index, body: Callable[[Index], None]) -> None:
    """body(i) for i below `count`."""

    def turn(i: Index) -> tuple[()]:
        body(i)
        return ()

    code.loop(count, turn)


def each_unrolled(code: Code, count: int, body: Callable[[Index], None]) -> None:
    """body(i) for i below `count`, a few written out."""
    if count > UNROLLED_VECTORS:
        each(code, count, body)
        return
    for i in range(count):
        body(i)


def _phase(
    code: Code, tiling: Tiling, x: Source, source: IR, target: IR, residue: int, first_row: Index, rows: Index,
    images: Index,
) -> None:  # fmt: skip
    axis = tiling.part.rows
    plane = tiling.part.plane * code.size

    def row(q: Index) -> None:
        at = code.add(
            code.mul(code.add(first_row, q), axis.step), axis.low * axis.step + residue * axis.reach + axis.base
        )
        valid = within(code, at, axis)
        from_row = code.at(source, code.mul(at, x.rows))
        to_row = code.at(target, code.mul(q, tiling.row))

        def copy() -> None:
            each(
                code,
                images,
                lambda n: _plane(
                    code, tiling, x, code.at(from_row, code.mul(n, x.image)), code.at(to_row, code.mul(n, plane))
                ),
            )

        code.when(valid, copy, lambda: _clear(code, tiling, to_row))

    each(code, code.add(rows, axis.span), row)


def _clear(code: Code, tiling: Tiling, target: IR) -> None:
    """A row of zeros for each tap of the middle and last dim."""
    width = code.lanes * code.size

    def tap(k: Index) -> None:
        to = code.at(target, code.mul(k, tiling.tap))
        whole = tiling.row // width
        each(code, whole, lambda v: code.store(code.zero, code.at(to, code.mul(v, width))))
        code.store(code.zero, code.at(to, whole * width), code.mask((tiling.row - whole * width) // code.size))

    each(code, 1 if tiling.lines else tiling.part.spread, tap)


def within(code: Code, at: Index, axis: Axis) -> IR | bool:
    """Whether a source position exists."""
    if isinstance(at, int):
        return 0 <= at < axis.source
    return code.b.icmp_unsigned("<", at, code.value(axis.source))


def _plane(code: Code, tiling: Tiling, x: Source, source: IR, target: IR) -> None:
    """All taps of the middle and last dim of one row."""
    middle, last = tiling.part.middle, tiling.part.last

    def position(o: Index) -> None:
        def tap(k: Index) -> None:
            at = code.add(code.add(code.mul(o, middle.step), code.mul(k, middle.reach)), middle.base)
            here = within(code, at, middle)
            line = code.at(source, code.mul(at, x.middle))
            to = code.at(target, code.mul(o, last.out * code.size))
            to = code.at(to, code.mul(k, last.taps * tiling.tap))
            taps_of_line(code, tiling, x, line, to, here)

        each(code, middle.taps, tap)

    each(code, middle.out, position)


def conjunction(code: Code, x: IR | bool, y: IR | bool) -> IR | bool:
    """x and y."""
    if isinstance(x, bool):
        return y if x else False
    if isinstance(y, bool):
        return x if y else False
    return code.b.and_(x, y)


def taps_of_line(code: Code, tiling: Tiling, x: Source, line: IR, target: IR, valid: IR | bool) -> None:
    """One line of the input, once for each tap of the last dim."""
    last = tiling.line if tiling.lines else tiling.part.last
    vectors = -(-last.out // code.lanes)
    whole = last.taps == last.step == 1 and 0 <= last.base <= last.source - last.out and x.last == code.size
    if whole and valid is True and vectors > UNROLLED_VECTORS:
        _copy_line(code, x, last, line, target)
        return

    def tap(k: Index) -> None:
        to = code.at(target, code.mul(k, tiling.tap))

        def vector(v: Index) -> None:
            _copy_vector(code, x, last, line, to, k, v, valid)

        each_unrolled(code, vectors, vector)

    if last.taps <= UNROLLED_TAPS:
        for k in range(last.taps):
            tap(k)
    else:
        each(code, last.taps, tap)


def _copy_line(code: Code, x: Source, last: Axis, line: IR, target: IR) -> None:
    """A long line as it is, while the channel after the next is on its way."""
    source = code.at(line, last.base * code.size)
    across = code.lanes * code.size
    whole = last.out // code.lanes

    def vector(v: Index) -> None:
        here = code.at(source, code.mul(v, across))
        prefetch(code, code.at(here, AHEAD * x.channel))
        code.store(code.load(here), code.at(target, code.mul(v, across)))

    each(code, whole, vector)
    if last.out % code.lanes:
        mask = code.mask(last.out % code.lanes)
        code.store(code.load(code.at(source, whole * across), mask), code.at(target, whole * across), mask)


def _copy_vector(code: Code, x: Source, last: Axis, line: IR, target: IR, k: Index, v: Index, valid: IR | bool) -> None:
    start = code.add(code.mul(k, last.reach), last.base)
    first = code.add(code.mul(v, code.lanes * last.step), start)
    count = code.add(last.out, code.mul(v, -code.lanes))
    mask = both(code, inside(code, first, last.step, last.source), _outputs(code, last, v))
    row = None if valid is True else ir.Constant(code.bits, None) if valid is False else code.spread(valid)

    def room(i: int) -> Mask:
        return both(code, inside(code, code.add(first, i * code.lanes), 1, last.source), row)

    pointer = code.at(line, code.mul(first, x.last))
    numbers = strided_load(
        code, pointer, x.last * last.step, both(code, mask, row), room if x.last == code.size else None
    )
    code.store(numbers, code.at(target, code.mul(v, code.lanes * code.size)), code.mask(count))


def _outputs(code: Code, last: Axis, v: Index) -> Mask:
    """Lanes that are positions of the output line."""
    return code.mask(code.add(last.out, code.mul(v, -code.lanes)))
