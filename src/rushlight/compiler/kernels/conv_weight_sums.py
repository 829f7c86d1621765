"""The second kernel of a weight gradient by outer products: the ranges' sums added up and put in their places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rushlight.compiler.kernels.chunked import address, entry, part_of
from rushlight.compiler.kernels.conv_expand import each
from rushlight.compiler.kernels.conv_shape import MOST_CHUNKS
from rushlight.compiler.kernels.conv_weight_outer import OuterGradient
from rushlight.compiler.kernels.microkernel import Code, Index

IR = Any

# Rows of sums that are turned at once.
TURNED_ROWS = 64


def parts_of(w: OuterGradient) -> tuple[int, int]:
    """Rows of sums that the second kernel takes at once, and how often."""
    rows = min(w.sum_rows, TURNED_ROWS)
    return rows, w.groups * w.panels * -(-w.sum_rows // rows)


def chunks(w: OuterGradient) -> int:
    """Chunks of the second kernel."""
    return max(1, min(MOST_CHUNKS, w.ranges * w.range_bytes >> 16, parts_of(w)[1]))


def build(module: Any, name: str, w: OuterGradient) -> None:
    """Add the function that adds up the ranges' sums and puts them in their places."""
    code, slots, chunk = entry(module, name, w.dtype, w.lanes)
    sums, out = address(code, slots, 0), address(code, slots, 1)
    rows, total = parts_of(w)
    rooms = code.room(w.lanes * w.lanes), code.room(-(-rows // w.lanes) * w.lanes * w.width)
    first, count = part_of(code, total, chunks(w), chunk)
    parts = -(-w.sum_rows // rows)

    def one(i: Index) -> None:
        n, part = code.divide(code.add(first, i), parts)
        group, panel = code.divide(n, w.panels)
        start = code.mul(part, rows)
        height = rows if w.sum_rows % rows == 0 else code.least(rows, code.sub(w.sum_rows, start))
        source = code.at(sums, code.add(code.mul(n, w.sum_rows * w.pitch), code.mul(start, w.pitch)))
        output = code.mul(panel, w.width)
        across = w.width if w.outputs % w.width == 0 else code.least(w.width, code.sub(w.outputs, output))
        target = code.at(out, code.mul(group, w.outputs * w.sum_rows * w.size))
        if w.swapped:
            target = code.at(target, code.add(code.mul(start, w.outputs * w.size), code.mul(output, w.size)))
            _add_up(code, w, source, height, across, target, w.outputs * w.size)
        else:
            target = code.at(target, code.add(code.mul(output, w.sum_rows * w.size), code.mul(start, w.size)))
            _add_up(code, w, source, height, w.width, rooms[1], w.pitch)
            _turn_back(code, w, rooms, height, across, target)

    each(code, count, one)
    code.b.ret_void()


def _add_up(code: Code, w: OuterGradient, source: IR, height: Index, across: Index, target: IR, step: int) -> None:
    """Rows of the ranges' totals."""
    width = w.lanes * w.size

    def row(r: Index) -> None:
        for v in range(w.block.vectors):
            here = code.at(source, code.add(code.mul(r, w.pitch), v * width))

            def further(n: Index, sofar: IR, here: IR = here) -> Sequence[IR]:
                return [code.b.fadd(sofar, code.load(code.at(here, code.mul(code.add(n, 1), w.range_bytes))))]

            number = code.loop(w.ranges - 1, further, [code.load(here)])[0]
            mask = code.mask(code.sub(across, v * w.lanes))
            code.store(number, code.at(target, code.add(code.mul(r, step), v * width)), mask)

    each(code, height, row)


def _turn_back(code: Code, w: OuterGradient, rooms: tuple[IR, IR], height: Index, across: Index, target: IR) -> None:
    """Store a run of channels and taps for each output channel."""
    square, held = rooms
    lanes, size = w.lanes, w.size
    row_bytes = w.sum_rows * size

    def column(v: Index) -> None:
        def rows(r: Index) -> None:
            first = code.mul(r, lanes)
            corner = code.at(held, code.add(code.mul(first, w.pitch), code.mul(v, lanes * size)))
            to = code.at(target, code.add(code.mul(v, lanes * row_bytes), code.mul(first, size)))
            here = None if isinstance(height, int) and height % lanes == 0 else code.sub(height, first)

            def store(j: Index, x: IR) -> None:
                mask = here
                if w.outputs % w.width:
                    inside = code.b.icmp_signed("<", code.add(code.mul(v, lanes), j), code.value(across))
                    mask = code.b.select(inside, code.value(lanes if here is None else here), code.value(0))
                code.store(x, code.at(to, code.mul(j, row_bytes)), None if mask is None else code.mask(mask))

            code.transpose(square, lambda i: code.load(code.at(corner, code.mul(i, w.pitch))), store)

        each(code, code.divide(code.add(height, lanes - 1), lanes)[0], rows)

    each(code, w.block.vectors, column)
