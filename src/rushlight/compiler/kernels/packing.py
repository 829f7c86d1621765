"""Copying an operand into the order in which a block reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rushlight.compiler.kernels.microkernel import Code, Index, Mask

IR = Any


def pack_function(
    code: Code, kind: str, pointers: Sequence[IR], strides: tuple[int, int], count: int, pitch: int,
    steps: tuple[Index, int], dtype: Any,
) -> None:  # fmt: skip
    """Write the copy of `count` columns (rows of a left operand) into lines of `pitch` numbers, one line a step.

    Parameters
    ----------
    code : where to write
    kind : "copy" where the columns lie side by side, "turn" where the steps do, else "gather"
    pointers : from, to
    strides : bytes from column to column, from step to step
    count : columns; the numbers up to the next whole vector become 0
    pitch : whole vectors
    steps : lines here, lines of the whole sum; there is room for whole vectors of lines
    dtype : of the source
    """
    {"copy": _copy, "turn": _turn, "gather": _gather}[kind](code, pointers, strides, count, pitch, steps, dtype)


def _copy(
    code: Code, pointers: Sequence[IR], strides: tuple[int, int], count: int, pitch: int, steps: tuple[Index, int],
    dtype: Any,
) -> None:  # fmt: skip
    def line(k: Index) -> Sequence[IR]:
        source, to = code.at(pointers[0], code.mul(k, strides[1])), code.at(pointers[1], code.mul(k, pitch * code.size))
        for j in range(0, count, code.lanes):
            x = code.load(code.at(source, j * dtype.itemsize), code.mask(count - j), dtype)
            code.store(x, code.at(to, j * code.size))
        return ()

    code.loop(steps[0], line)


def _turn(
    code: Code, pointers: Sequence[IR], strides: tuple[int, int], count: int, pitch: int, steps: tuple[Index, int],
    dtype: Any,
) -> None:  # fmt: skip
    lanes = code.lanes
    room = code.room(lanes * lanes)

    def square(k: Index, j: Index, columns: int, mask: Mask) -> None:
        source = code.at(pointers[0], code.add(code.mul(k, dtype.itemsize), code.mul(j, strides[0])))
        to = code.at(pointers[1], code.add(code.mul(k, pitch * code.size), code.mul(j, code.size)))

        def load(r: Index) -> IR:
            allowed = mask
            if columns < lanes:
                # no row past the last is touched
                count = code.value(lanes if mask is None else mask)
                inside = code.b.icmp_signed("<", code.value(r), code.value(columns))
                allowed = code.mask(code.b.select(inside, count, code.value(0)))
            return code.load(code.at(source, code.mul(r, strides[0])), allowed, dtype)

        code.transpose(room, load, lambda r, v: code.store(v, code.at(to, code.mul(r, pitch * code.size))))

    def lines(k: Index, mask: Mask = None) -> Sequence[IR]:
        def whole(j: Index) -> Sequence[IR]:
            square(k, j, lanes, mask)
            return ()

        code.loop(count // lanes * lanes, whole, step=lanes)
        if count % lanes:
            square(k, count // lanes * lanes, count % lanes, mask)
        return ()

    here, total = steps
    groups, rest = code.divide(here, lanes)
    whole = code.mul(groups, lanes)
    code.loop(whole, lines, step=lanes)
    if total % lanes:
        # only the last part of a sum ends within a vector
        is_last = rest != 0 if isinstance(rest, int) else code.b.icmp_signed("!=", rest, code.value(0))
        code.when(is_last, lambda: (lines(whole, total % lanes), None)[1])


def _gather(
    code: Code, pointers: Sequence[IR], strides: tuple[int, int], count: int, pitch: int, steps: tuple[Index, int],
    dtype: Any,
) -> None:  # fmt: skip
    def line(k: Index) -> Sequence[IR]:
        source, to = code.at(pointers[0], code.mul(k, strides[1])), code.at(pointers[1], code.mul(k, pitch * code.size))
        last = count // code.lanes * code.lanes
        if last < count:
            code.store(code.zero, code.at(to, last * code.size))

        def number(j: Index) -> Sequence[IR]:
            x = code.load_number(code.at(source, code.mul(j, strides[0])), dtype)
            code.b.store(x, code.at(to, code.mul(j, code.size)))
            return ()

        code.loop(count, number)
        return ()

    code.loop(steps[0], line)
