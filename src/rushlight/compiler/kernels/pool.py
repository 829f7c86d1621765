"""Pooling as kernels: the maximum of each window with its code, and sums of windows times a scale.

A vector is neighbouring windows of one line; the places of a window are gone through in row-major order, so that ties
go to the first place and the last NaN wins, as in `backends.numpy_pool`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rushlight.backends.numpy_pool import Windows
from rushlight.compiler.access import Access
from rushlight.compiler.binding import ir
from rushlight.compiler.graph import Call, Value
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.kernels.chunked import address, entry, part_of
from rushlight.compiler.kernels.conv_expand import both, conjunction, each, gather, inside, within
from rushlight.compiler.kernels.conv_shape import MOST_CHUNKS, UNIT, Axis, forward_axis, three
from rushlight.compiler.kernels.microkernel import Code, Index, Mask
from rushlight.compiler.lanes_core import Lanes
from rushlight.compiler.target import host

Ints = tuple[int, ...]
IR = Any
Axes = tuple[Axis, Axis, Axis]

# Places of a window that are written out; the others are loops.
UNROLLED_PLACES = 25
# Vectors of a line that are written out.
UNROLLED_VECTORS = 4
# Numbers below which a piece of work is not worth handing to another core.
CHUNK_NUMBERS = 1 << 15


@dataclass(frozen=True)
class Planes:
    """Planes of an operand: the two leading sizes and all strides in bytes (leading two, then the three dims)."""

    outer: int
    inner: int
    strides: Ints
    offset: int

    @property
    def count(self) -> int:
        """Number of planes."""
        return self.outer * self.inner

    def at(self, code: Code, pointer: IR, plane: Index) -> IR:
        """Where a plane starts."""
        outer, inner = code.divide(plane, self.inner)
        return code.at(code.at(pointer, code.mul(outer, self.strides[0])), code.mul(inner, self.strides[1]))


def planes_of(x: Access, dims: int) -> Planes | None:
    """The planes that the last `dims` dims of an operand are; None where more than two strides lead to them."""
    lead = [(n, s) for n, s in zip(x.shape[:-dims], x.strides[:-dims], strict=True) if n != 1]
    joined: list[tuple[int, int]] = []
    for n, s in lead:
        if joined and joined[-1][1] == n * s:
            joined[-1] = (joined[-1][0] * n, s)
        else:
            joined.append((n, s))
    if len(joined) > 2:
        return None
    (outer, a), (inner, b) = ([(1, 0)] * (2 - len(joined)) + joined)[:2]
    return Planes(outer, inner, (a, b, *three(x.strides[-dims:], 0)), x.offset)


def window_axes(w: Windows) -> Axes:
    """The dims of windows."""
    sizes = zip(w.input_size, w.kernel, w.output_size, w.stride, w.padding, w.dilation, strict=True)
    first, middle, last = three([forward_axis(*dims) for dims in sizes], UNIT)
    return first, middle, last


@dataclass(frozen=True)
class Average:
    """What sums are multiplied by: a number, or one over how many places of a window count."""

    scale: float | None
    padding: Ints
    counts_padding: bool


@dataclass(frozen=True)
class Pooling:
    """What the code of a pooling is made from; `codes` is the dtype of a maximum's codes."""

    axes: Axes
    x: Planes
    dtype: str
    lanes: int
    codes: str | None
    average: Average | None
    chunks: int


def chunks_of(planes: int, numbers: int) -> int:
    """Chunks for so many planes of numbers altogether."""
    return max(1, min(MOST_CHUNKS, planes, numbers // CHUNK_NUMBERS))


def pool_kernel(
    x: Access, outs: tuple[Value, ...], windows: Windows, average: Average | None, calls: tuple[Call, ...] = ()
) -> Kernel | None:
    """The kernel of a pooling: `outs` are the maxima and their codes, or only the averages."""
    dims = len(windows.kernel)
    planes = planes_of(x, dims)
    if planes is None:
        return None
    codes = None if average else outs[1].dtype.name
    lanes = host().lanes(x.dtype)
    chunks = chunks_of(planes.count, x.size)
    p = Pooling(window_axes(windows), planes, x.dtype.name, lanes, codes, average, chunks)
    kind = "max pool" if average is None else "average pool"
    return Kernel(
        name=f"{kind} {'x'.join(map(str, x.shape))} by {'x'.join(map(str, windows.kernel))}",
        key=f"pool {p}",
        build=lambda module, name: build(module, name, p),
        reads=(x.root,),
        writes=outs,
        chunks=chunks,
        calls=calls,
    )


def build(module: Any, name: str, p: Pooling) -> None:
    """Add the function of a pooling to a module."""
    code, slots, chunk = entry(module, name, p.dtype, p.lanes)
    x = code.at(address(code, slots, 0), p.x.offset)
    outs = [address(code, slots, 1 + i) for i in range(2 if p.codes else 1)]
    sizes = [code.size, *([np.dtype(p.codes).itemsize] if p.codes else [])]
    first, count = part_of(code, p.x.count, p.chunks, chunk)
    rows, middle, last = p.axes

    def plane(i: Index) -> None:
        n = code.add(first, i)
        source = p.x.at(code, x, n)

        def line(d: Index, h: Index) -> None:
            place = code.add(code.mul(code.add(code.mul(n, rows.out), d), middle.out), h)
            targets = [code.at(o, code.mul(place, last.out * size)) for o, size in zip(outs, sizes, strict=True)]
            lines_vectors(code, last.out, lambda v: _windows(code, p, source, d, h, v, targets))

        each(code, rows.out, lambda d: each(code, middle.out, lambda h: line(d, h)))

    each(code, count, plane)
    code.b.ret_void()


def lines_vectors(code: Code, size: int, body: Callable[[Index], None]) -> None:
    """body(v) for the vectors of a line."""
    count = -(-size // code.lanes)
    if count > UNROLLED_VECTORS:
        each(code, count, body)
        return
    for v in range(count):
        body(v)


class Line:
    """Numbers of the input that neighbouring windows have at one place."""

    def __init__(self, code: Code, p: Pooling, source: IR, d: Index, h: Index, v: Index) -> None:
        self.code, self.p, self.source = code, p, source
        self.d, self.h, self.v = d, h, v
        self.loaded: dict[Any, tuple[IR, IR]] = {}

    def load(self, kd: Index, kh: Index, kw: Index) -> tuple[IR, Mask]:
        """A vector, 0 in the lanes whose place is outside of the input, and the other lanes."""
        code = self.code
        rows, middle, last = self.p.axes
        _, _, *strides = self.p.x.strides
        a, b = (
            code.add(code.add(code.mul(o, axis.step), code.mul(k, axis.reach)), axis.base)
            for axis, o, k in ((rows, self.d, kd), (middle, self.h, kh))
        )
        valid = conjunction(code, _inside(code, a, rows), _inside(code, b, middle))
        row = None if valid is True else ir.Constant(code.bits, None) if valid is False else code.spread(valid)
        line = code.at(code.at(self.source, code.mul(a, strides[0])), code.mul(b, strides[1]))
        first = code.add(code.add(code.mul(self.v, code.lanes * last.step), code.mul(kw, last.reach)), last.base)
        exists = code.mask(code.sub(last.out, code.mul(self.v, code.lanes)))
        mask = both(code, both(code, self._columns(first), exists), row)
        step = strides[2] * last.step
        if last.step == 2 and strides[2] == code.size and isinstance(kw, int):
            return self._pairs(
                line, tuple(k if isinstance(k, int) else id(k) for k in (kd, kh)), first, kw * last.reach, row
            ), mask
        pointer = code.at(line, code.mul(first, strides[2]))
        return (code.load(pointer, mask) if step == code.size else gather(code, pointer, step, mask)), mask

    def _columns(self, first: Index) -> Mask:
        last = self.p.axes[2]
        end = last.base + (last.out - 1) * last.step + (last.taps - 1) * last.reach
        if last.base >= 0 and end < last.source:
            return None
        return inside(self.code, first, last.step, last.source)

    def _pairs(self, line: IR, row: Any, first: Index, offset: int, valid: Mask) -> IR:
        """Every second number, from two vectors that the next place shares."""
        code, odd = self.code, offset % 2
        start = code.sub(first, odd)
        key = (*row, offset - odd)
        if key not in self.loaded:
            size = self.p.axes[2].source
            self.loaded[key] = tuple(
                code.load(code.at(line, code.mul(at, code.size)), both(code, inside(code, at, 1, size), valid))
                for at in (start, code.add(start, code.lanes))
            )
        return code.pick(*self.loaded[key], range(odd, 2 * code.lanes, 2))


def _inside(code: Code, at: Index, axis: Axis) -> IR | bool:
    """Whether a position exists, without asking where all do."""
    end = axis.base + (axis.out - 1) * axis.step + (axis.taps - 1) * axis.reach
    return True if axis.base >= 0 and end < axis.source else within(code, at, axis)


def over_places(
    code: Code, axes: Sequence[Axis], body: Callable[..., Sequence[IR]], held: Sequence[IR]
) -> Sequence[IR]:
    """held = body(kd, kh, kw, *held) for each place of a window."""
    a, b, c = (axis.taps for axis in axes)
    if a * b * c <= UNROLLED_PLACES:
        for place in np.ndindex(a, b, c):
            held = body(*place, *held)
        return held

    def rows(i: Index, *x: IR) -> Sequence[IR]:
        def middle(j: Index, *y: IR) -> Sequence[IR]:
            return code.loop(c, lambda k, *z: body(i, j, k, *z), y)

        return code.loop(b, middle, x)

    return code.loop(a, rows, held)


def _windows(code: Code, p: Pooling, source: IR, d: Index, h: Index, v: Index, targets: Sequence[IR]) -> None:
    """One vector of windows."""
    line = Line(code, p, source, d, h, v)
    exists = code.mask(code.sub(p.axes[2].out, code.mul(v, code.lanes)))
    at = code.mul(v, code.lanes)
    if p.average is not None:

        def add(kd: Index, kh: Index, kw: Index, total: IR) -> Sequence[IR]:
            return [code.b.fadd(total, line.load(kd, kh, kw)[0])]

        total = over_places(code, p.axes, add, [code.zero])[0]
        out = code.b.fmul(total, scale_of(code, p.average, p.axes, d, h, at))
        code.store(out, code.at(targets[0], code.mul(at, code.size)), exists)
        return
    value, places = _maximum(code, p, line)
    code.store(value, code.at(targets[0], code.mul(at, code.size)), exists)
    kind = np.dtype(p.codes)
    there = code.at(targets[1], code.mul(at, kind.itemsize))
    code.emitter.store(Lanes(code.emitter, places, kind, code.lanes), there, code.lanes_of(exists))


def _maximum(code: Code, p: Pooling, line: Line) -> Sequence[IR]:
    _, middle, last = p.axes
    number = ir.IntType(8 * np.dtype(p.codes).itemsize)
    kind = ir.VectorType(number, code.lanes)
    low = ir.Constant(code.vector, [ir.Constant(code.scalar, float("-inf"))] * code.lanes)

    def place(kd: Index, kh: Index, kw: Index, value: IR, places: IR) -> Sequence[IR]:
        other, mask = line.load(kd, kh, kw)
        b = code.b
        wins = b.or_(b.fcmp_ordered(">", other, value), b.fcmp_unordered("uno", other, other))
        if mask is not None:
            wins = both(code, mask, wins)
        n = code.add(code.mul(code.add(code.mul(kd, middle.taps), kh), last.taps), kw)
        if isinstance(n, int):
            here = ir.Constant(kind, [n] * code.lanes)
        else:
            here = code.spread(b.trunc(n, number) if number.width < 64 else n)
        return [b.select(wins, other, value), b.select(wins, here, places)]

    return over_places(code, p.axes, place, [low, ir.Constant(kind, [0] * code.lanes)])


def scale_of(code: Code, a: Average, axes: Axes, d: Index, h: Index, first: Index) -> IR:
    """What the sums of a vector of windows, `first` of their line and those after it, are multiplied by."""
    if a.scale is not None:
        return ir.Constant(code.vector, [ir.Constant(code.scalar, a.scale)] * code.lanes)
    rows, middle, last = axes
    p, q, r = three(a.padding, 0)
    counts = code.mul(_count(code, a, rows, p, d), _count(code, a, middle, q, h))
    word = ir.VectorType(code.i64, code.lanes)
    lane = code.b.add(ir.Constant(word, list(range(code.lanes))), code.spread(code.value(first)))
    across = _count_lanes(code, a, last, r, lane, word)
    product = code.b.mul(across, code.spread(code.value(counts)))
    one = ir.Constant(code.vector, [ir.Constant(code.scalar, 1.0)] * code.lanes)
    return code.b.fdiv(one, code.b.sitofp(product, code.vector))


def _bounds(a: Average, axis: Axis, padding: int) -> tuple[int, int]:
    """Positions, relative to the input, at which places begin and cease to count."""
    return (-padding, axis.source + padding) if a.counts_padding else (0, axis.source)


def _count(code: Code, a: Average, axis: Axis, padding: int, o: Index) -> Index:
    """Places of window `o` that count along one dim, at least 1: a window that does not exist divides by it, too."""
    low, high = _bounds(a, axis, padding)
    start = code.add(code.mul(o, axis.step), axis.base)
    stop = code.least(code.add(start, axis.taps), high)
    if isinstance(start, int):
        return max(1, stop - max(start, low))
    return _most(code, code.sub(stop, _most(code, start, low)), 1)


def _most(code: Code, x: IR, n: int) -> IR:
    """max(x, n)."""
    return code.b.select(code.b.icmp_signed("<", x, code.value(n)), code.value(n), x)


def _count_lanes(code: Code, a: Average, axis: Axis, padding: int, o: IR, word: IR) -> IR:
    low, high = (ir.Constant(word, [n] * code.lanes) for n in _bounds(a, axis, padding))
    step, base, taps = (ir.Constant(word, [n] * code.lanes) for n in (axis.step, axis.base, axis.taps))
    b = code.b
    start = b.add(b.mul(o, step), base)
    stop = b.add(start, taps)
    stop = b.select(b.icmp_signed("<", stop, high), stop, high)
    start = b.select(b.icmp_signed(">", start, low), start, low)
    # lanes beyond the last window would divide by nothing
    count = b.sub(stop, start)
    one = ir.Constant(word, [1] * code.lanes)
    return b.select(b.icmp_signed(">", count, one), count, one)


def average_of(windows: Windows, count_padding: bool, scale: Any) -> Average:
    """The scale of an average pooling: `scale` as `ops.pool.average_scale` gives it."""
    number = float(scale) if np.ndim(scale) == 0 or math.prod(np.shape(scale)) == 1 else None
    return Average(number, windows.padding, count_padding)
