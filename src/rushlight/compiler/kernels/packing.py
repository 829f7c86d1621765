"""Copying an operand into the order in which a block reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rushlight.compiler.binding import ir
from rushlight.compiler.kernels.microkernel import Code, Index, Mask

IR = Any


def pack_function(
    code: Code, kind: str, pointers: Sequence[IR], strides: tuple[int, int], count: int, pitch: int,
    steps: tuple[Index, int], dtype: Any,
) -> None:  # fmt: skip
    """Write the copy of `count` columns (rows of a left operand) into lines of `pitch` numbers, one line a step.

    Pairs of bfloat16 become the words of one line, an odd last number together with a zero.

    Parameters
    ----------
    code : where to write
    kind : "copy" where the columns lie side by side, "turn" where the steps do, else "gather"
    pointers : from, to
    strides : bytes from column to column, from step (of one number, or of a pair) to step
    count : columns
    pitch : whole vectors, where the numbers after the columns become 0; or any number, where they are not written
    steps : numbers summed here, numbers of the whole sum; there is room for whole vectors of lines
    dtype : of the source
    """
    if kind == "turn":
        _turn(code, pointers, strides[0], count, pitch, steps, dtype)
        return
    if code.pairs:
        _pairs(code, kind, pointers, (strides[0], strides[1] // 2), count, pitch, steps)
        return
    {"copy": _copy, "gather": _gather}[kind](code, pointers, strides, count, pitch, steps[0], dtype)


def _pairs(
    code: Code, kind: str, pointers: Sequence[IR], strides: tuple[int, int], count: int, pitch: int,
    numbers: tuple[Index, int],
) -> None:  # fmt: skip
    """Lines of words from pairs of lines; `strides` are those of single numbers."""
    here, total = numbers

    def line(k: Index) -> Sequence[IR]:
        source = code.at(pointers[0], code.mul(k, 2 * strides[1]))
        to = code.at(pointers[1], code.mul(k, pitch * code.size))
        second: Index = strides[1]
        keep = None
        if total % 2:
            inside = code.b.icmp_signed("<", code.value(code.add(code.mul(k, 2), 1)), code.value(here))
            second, keep = (code.b.select(inside, code.value(n), code.value(0)) for n in (second, -1))
        if kind == "copy":
            _interleave(code, (source, code.at(source, second)), to, (count, pitch), keep)
        else:
            _gather_pairs(code, (source, code.at(source, second)), to, strides[0], (count, pitch), keep)
        return ()

    code.loop(code.divide(code.add(here, 1), 2)[0], line)


def _interleave(code: Code, lines: tuple[IR, IR], to: IR, sizes: tuple[int, int], keep: IR | None) -> None:
    """A line of words from two lines of numbers that lie side by side; `keep` masks the second."""
    count, pitch = sizes
    b, wide = code.b, ir.VectorType(ir.IntType(32), code.lanes)
    shift = ir.Constant(wide, [16] * code.lanes)
    for j in range(0, count, code.lanes):
        mask = code.lanes_of(code.mask(count - j))
        low, high = (
            b.zext(code.emitter.load(code.at(p, 2 * j), np.dtype(np.int16), code.lanes, mask).value, wide)
            for p in lines
        )
        if keep is not None:
            high = b.and_(high, code.spread(b.trunc(keep, ir.IntType(32))))
        words = b.bitcast(b.or_(low, b.shl(high, shift)), code.vector)
        code.store(words, code.at(to, j * code.size), _written(code, count - j, pitch))


def _gather_pairs(
    code: Code, lines: tuple[IR, IR], to: IR, stride: int, sizes: tuple[int, int], keep: IR | None
) -> None:  # fmt: skip
    count, pitch = sizes
    last = count // code.lanes * code.lanes
    if last < count and not pitch % code.lanes:
        code.store(code.zero, code.at(to, last * code.size))
    b, word = code.b, ir.IntType(32)

    def number(j: Index) -> Sequence[IR]:
        low, high = (b.zext(b.load(code.at(p, code.mul(j, stride)), typ=ir.IntType(16), align=2), word) for p in lines)
        if keep is not None:
            high = b.and_(high, b.trunc(keep, word))
        both = b.or_(low, b.shl(high, ir.Constant(word, 16)))
        b.store(both, code.at(to, code.mul(j, code.size)), align=4)
        return ()

    code.loop(count, number)


def _copy(
    code: Code, pointers: Sequence[IR], strides: tuple[int, int], count: int, pitch: int, steps: Index, dtype: Any
) -> None:  # fmt: skip
    def line(k: Index) -> Sequence[IR]:
        source, to = code.at(pointers[0], code.mul(k, strides[1])), code.at(pointers[1], code.mul(k, pitch * code.size))
        for j in range(0, count, code.lanes):
            x = code.load(code.at(source, j * dtype.itemsize), code.mask(count - j), dtype)
            code.store(x, code.at(to, j * code.size), _written(code, count - j, pitch))
        return ()

    code.loop(steps, line)


def _written(code: Code, count: int, pitch: int) -> Mask:
    """Which lanes of a line's vector are written, `count` of which are numbers."""
    return code.mask(count) if pitch % code.lanes else None


def _turn(
    code: Code, pointers: Sequence[IR], stride: int, count: int, pitch: int, steps: tuple[Index, int], dtype: Any
) -> None:  # fmt: skip
    """Steps are single numbers of `dtype`, also where lines are made of pairs."""
    lanes = code.lanes
    each = 2 if code.pairs else 1
    long = each * lanes
    room = code.room(lanes * lanes)

    def read(pointer: IR, some: Index | None) -> IR:
        if code.pairs:
            return code.words(pointer, some)
        return code.load(pointer, None if some is None else code.mask(some), dtype)

    def square(k: Index, j: Index, columns: int, some: int | None) -> None:
        source = code.at(pointers[0], code.add(code.mul(k, dtype.itemsize), code.mul(j, stride)))
        to = code.at(pointers[1], code.add(code.mul(k, pitch * code.size // each), code.mul(j, code.size)))

        def load(r: Index) -> IR:
            allowed: Index | None = some
            if columns < lanes:
                # no row past the last is touched
                inside = code.b.icmp_signed("<", code.value(r), code.value(columns))
                allowed = code.b.select(inside, code.value(long if some is None else some), code.value(0))
            return read(code.at(source, code.mul(r, stride)), allowed)

        written = _written(code, columns, pitch)
        code.transpose(room, load, lambda r, v: code.store(v, code.at(to, code.mul(r, pitch * code.size)), written))

    def lines(k: Index, some: int | None = None) -> Sequence[IR]:
        def whole(j: Index) -> Sequence[IR]:
            square(k, j, lanes, some)
            return ()

        code.loop(count // lanes * lanes, whole, step=lanes)
        if count % lanes:
            square(k, count // lanes * lanes, count % lanes, some)
        return ()

    here, total = steps
    groups, rest = code.divide(here, long)
    whole = code.mul(groups, long)
    code.loop(whole, lines, step=long)
    if total % long:
        # only the last part of a sum ends within a vector
        is_last = rest != 0 if isinstance(rest, int) else code.b.icmp_signed("!=", rest, code.value(0))
        code.when(is_last, lambda: (lines(whole, total % long), None)[1])


def _gather(
    code: Code, pointers: Sequence[IR], strides: tuple[int, int], count: int, pitch: int, steps: Index, dtype: Any
) -> None:  # fmt: skip
    def line(k: Index) -> Sequence[IR]:
        source, to = code.at(pointers[0], code.mul(k, strides[1])), code.at(pointers[1], code.mul(k, pitch * code.size))
        last = count // code.lanes * code.lanes
        if last < count and not pitch % code.lanes:
            code.store(code.zero, code.at(to, last * code.size))

        def number(j: Index) -> Sequence[IR]:
            x = code.load_number(code.at(source, code.mul(j, strides[0])), dtype)
            code.b.store(x, code.at(to, code.mul(j, code.size)))
            return ()

        code.loop(count, number)
        return ()

    code.loop(steps, line)
