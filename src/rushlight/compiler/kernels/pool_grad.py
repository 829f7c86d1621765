"""Gradients of pooling as kernels: each position of the input collects from the windows that it lies in.

The positions of a line fall into one phase for each residue modulo the stride; those of a phase meet places of their
own, at neighbouring windows. The phases are shuffled together before they are stored.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rushlight.backends.numpy_pool import Windows
from rushlight.compiler.access import Access
from rushlight.compiler.binding import ir
from rushlight.compiler.graph import Call, Value
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.kernels.chunked import address, entry, part_of
from rushlight.compiler.kernels.conv_expand import both, conjunction, each, gather, inside, within
from rushlight.compiler.kernels.conv_shape import UNIT, Axis, three, transposed_axes
from rushlight.compiler.kernels.epilogue import Epilogue
from rushlight.compiler.kernels.microkernel import Code, Index, Mask
from rushlight.compiler.kernels.pool import (
    Average,
    Axes,
    Planes,
    chunks_of,
    lines_vectors,
    over_places,
    planes_of,
    scale_of,
    window_axes,
)
from rushlight.compiler.lanes_core import Lanes
from rushlight.compiler.target import host

IR = Any

# Kernels are written out once for each combination of residues.
MOST_PHASES = 36


@dataclass(frozen=True)
class Spreading:
    """What the code is made from: the phases of each dim, and where the gradient and the codes of its maxima lie."""

    phases: tuple[tuple[Axis, ...], ...]
    windows: Axes
    sizes: tuple[int, int, int]
    g: Planes
    codes: Planes | None
    code_type: str
    dtype: str
    lanes: int
    average: Average | None
    chunks: int
    operands: tuple[Operand, ...]


def spread_kernel(
    g: Access, codes: Access | None, out: Value, windows: Windows, average: Average | None,
    calls: tuple[Call, ...] = (), epilogue: Epilogue | None = None,
) -> Kernel | None:  # fmt: skip
    """The kernel of a pooling's gradient: of maxima with `codes`, or of averages; and of what follows on it."""
    dims = len(windows.kernel)
    planes = planes_of(g, dims)
    places = None if codes is None else planes_of(codes, dims)
    inputs = [] if epilogue is None else [_operand(a, dims) for a in epilogue.inputs]
    if planes is None or (codes is not None and places is None) or None in inputs:
        return None
    sizes = zip(
        windows.output_size, windows.kernel, windows.input_size, windows.stride, windows.padding, windows.dilation,
        strict=True,
    )  # fmt: skip
    phases = three([tuple(transposed_axes(*one)) for one in sizes], (UNIT,))
    if len(phases[0]) * len(phases[1]) * len(phases[2]) > MOST_PHASES:
        return None
    chunks = chunks_of(planes.count, int(np.prod(out.shape)))
    s = Spreading(
        phases, window_axes(windows), three(windows.input_size, 1), planes, places,
        "" if codes is None else codes.dtype.name, g.dtype.name, host().lanes(g.dtype), average, chunks,
        tuple(p for p in inputs if p is not None),
    )  # fmt: skip
    kind = "max pool" if codes is not None else "average pool"
    after = epilogue or Epilogue(lambda emitter, x, operands: [x], (), (out,), "")
    followers = "".join(f" {call.op.name}" for call in after.calls)
    return Kernel(
        name=f"{kind} gradient {'x'.join(map(str, g.shape))} by {'x'.join(map(str, windows.kernel))}"
        + (followers and f" +{followers}"),
        key=f"pool gradient {s} {after.key} {[v.dtype.name for v in after.outputs]} {len(after.sums)}",
        build=lambda module, name: build(module, name, s, after),
        reads=(g.root, *([] if codes is None else [codes.root]), *(a.root for a in after.inputs)),
        writes=after.outputs + after.sums,
        chunks=chunks,
        calls=calls + after.calls,
    )


@dataclass(frozen=True)
class Operand:
    """An operand of what follows: its planes, the strides of dims of size 1 being 0, and its dtype."""

    planes: Planes
    dtype: str


def _operand(a: Access, dims: int) -> Operand | None:
    """None for an operand whose lines are neither numbers side by side nor one number."""
    strides = tuple(0 if n == 1 else s for n, s in zip(a.shape, a.strides, strict=True))
    planes = planes_of(replace(a, strides=strides), dims)
    if planes is None or planes.strides[4] not in (0, a.dtype.itemsize):
        return None
    return Operand(planes, a.dtype.name)


class _Writer:
    """The code of one gradient's function."""

    def __init__(self, code: Code, s: Spreading, after: Epilogue, slots: IR) -> None:
        self.code, self.s, self.after = code, s, after
        own = 1 if s.codes is None else 2
        count = own + len(after.inputs) + len(after.outputs) + len(after.sums)
        at = [address(code, slots, i) for i in range(count)]
        self.g = code.at(at[0], s.g.offset)
        self.codes = None if s.codes is None else code.at(at[1], s.codes.offset)
        self.inputs = [code.at(p, o.planes.offset) for p, o in zip(at[own:], s.operands, strict=False)]
        own += len(after.inputs)
        self.outs, self.sums = at[own : own + len(after.outputs)], at[own + len(after.outputs) :]
        # sums over a plane, one for each vector that is made side by side
        self.totals = [[self.accumulator() for _ in s.phases[2]] for _ in after.sums]
        self.operands: list[IR] = []

    def accumulator(self) -> IR:
        """A vector on the stack, for LLVM to keep in a register."""
        return self.code.b.alloca(self.code.vector)

    def plane(self, n: Index) -> None:
        """One plane of the input's gradient."""
        code, s = self.code, self.s
        g = s.g.at(code, self.g, n)
        codes = None if s.codes is None else s.codes.at(code, self.codes, n)
        self.operands = [o.planes.at(code, p, n) for o, p in zip(s.operands, self.inputs, strict=True)]
        for total in itertools.chain(*self.totals):
            code.b.store(code.zero, total)
        for rows, middle in itertools.product(*s.phases[:2]):
            self.lines(g, codes, rows, middle, code.mul(n, s.sizes[0]))
        for totals, out in zip(self.totals, self.sums, strict=True):
            held = [code.b.load(t, typ=code.vector) for t in totals]
            total = functools.reduce(code.b.fadd, held)
            code.store(code.sums([total]), code.at(out, code.mul(n, code.size)), 1)

    def lines(self, g: IR, codes: IR, rows: Axis, middle: Axis, first_row: Index) -> None:
        """The lines of one combination of residues, of a plane whose rows start at `first_row`."""
        code, s = self.code, self.s

        def line(d: Index, h: Index) -> None:
            row = code.add(code.mul(d, rows.out_every), rows.out_first)
            at = code.add(code.mul(h, middle.out_every), middle.out_first)
            place = code.mul(code.add(code.mul(code.add(first_row, row), s.sizes[1]), at), s.sizes[2])
            sources = [
                code.at(code.at(p, code.mul(row, o.planes.strides[2])), code.mul(at, o.planes.strides[3]))
                for p, o in zip(self.operands, s.operands, strict=True)
            ]
            count = max(a.out for a in s.phases[2])
            lines_vectors(code, count, lambda v: self.vectors(g, codes, (rows, middle), (d, h), v, place, sources))

        each(code, rows.out, lambda d: each(code, middle.out, lambda h: line(d, h)))

    def vectors(
        self, g: IR, codes: IR, axes: tuple[Axis, Axis], at: tuple[Index, Index], v: Index, place: Index,
        sources: list[IR],
    ) -> None:  # fmt: skip
        """As many vectors of a line, which begins at `place` of the result, as the last dim has phases."""
        code, s = self.code, self.s
        phases = [self.phase(g, codes, (*axes, last), at, v) for last in s.phases[2]]
        every = s.phases[2][0].out_every
        for part in range(every):
            out = _interleaved(code, phases, every, part)
            first = code.add(code.mul(v, code.lanes * every), part * code.lanes)
            mask = code.mask(code.sub(s.sizes[2], first))
            if not (isinstance(mask, int) and mask == 0):
                self.put(out, part, first, place, sources, mask)

    def put(self, x: IR, part: int, first: Index, place: Index, sources: list[IR], mask: Mask) -> None:
        """Write what follows from a vector that begins at `first` of its line."""
        code, where = self.code, self.code.lanes_of(mask)
        operands = []
        for source, o in zip(sources, self.s.operands, strict=True):
            kind, step = np.dtype(o.dtype), o.planes.strides[4]
            if step:
                operands.append(code.emitter.load(code.at(source, code.mul(first, step)), kind, code.lanes, where))
            else:
                operands.append(code.emitter.splat(code.emitter.load(source, kind, 1), code.lanes))
        made = self.after.emit(code.emitter, Lanes(code.emitter, x, code.dtype, code.lanes), operands)
        at = code.add(place, first)
        for lanes, out, value in zip(made, self.outs, self.after.outputs, strict=False):
            code.emitter.store(lanes, code.at(out, code.mul(at, value.dtype.itemsize)), where)
        for lanes, totals in zip(made[len(self.outs) :], self.totals, strict=True):
            counted = lanes.value if where is None else code.b.select(where.value, lanes.value, code.zero)
            held = code.b.load(totals[part], typ=code.vector)
            code.b.store(code.b.fadd(held, counted), totals[part])

    def phase(self, g: IR, codes: IR, axes: Axes, at: tuple[Index, Index], v: Index) -> IR:
        """What one vector of positions of a phase collects."""
        code = self.code
        if not all(axis.taps for axis in axes):
            return code.zero
        return over_places(
            code, axes, lambda i, j, k, total: [self.collect(g, codes, axes, at, v, (i, j, k), total)], [code.zero]
        )[0]

    def collect(
        self, g: IR, codes: IR, axes: Axes, at: tuple[Index, Index], v: Index, taps: Sequence[Index], total: IR
    ) -> IR:
        """Add what comes from one place of the windows."""
        code, s = self.code, self.s
        last = axes[2]
        window = [
            code.add(code.add(o, code.mul(k, axis.reach)), axis.base)
            for axis, o, k in zip(axes, (*at, code.mul(v, code.lanes)), taps, strict=True)
        ]
        valid = conjunction(code, _exists(code, window[0], axes[0]), _exists(code, window[1], axes[1]))
        row = None if valid is True else ir.Constant(code.bits, None) if valid is False else code.spread(valid)
        mask = both(code, inside(code, window[2], 1, last.source), row)
        numbers = self.numbers(g, s.g, window, mask)
        if codes is not None and s.codes is not None:
            return code.b.fadd(total, self.chosen(numbers, codes, axes, window, taps, mask))
        assert s.average is not None
        return code.b.fadd(total, code.b.fmul(numbers, scale_of(code, s.average, s.windows, *window)))

    def numbers(self, g: IR, planes: Planes, window: Sequence[Index], mask: Mask) -> IR:
        """The gradient of neighbouring windows."""
        code = self.code
        for i, step in zip(window, planes.strides[2:], strict=True):
            g = code.at(g, code.mul(i, step))
        step = planes.strides[4]
        return code.load(g, mask) if step == code.size else gather(code, g, step, mask)

    def chosen(
        self, numbers: IR, codes: IR, axes: Axes, window: Sequence[Index], taps: Sequence[Index], mask: Mask
    ) -> IR:
        """The gradient where the windows' maxima are at this place, else 0."""
        code, s = self.code, self.s
        assert s.codes is not None
        kind = np.dtype(s.code_type)
        for i, step in zip(window, s.codes.strides[2:], strict=True):
            codes = code.at(codes, code.mul(i, step))
        held = code.emitter.load(codes, kind, code.lanes, code.lanes_of(mask)).value
        number: Index = 0
        for axis, full, k in zip(axes, s.windows, taps, strict=True):
            tap = code.add(code.mul(k, axis.tap_every), axis.tap_first)
            number = code.add(code.mul(number, full.taps), tap)
        word = held.type.element
        if isinstance(number, int):
            wanted = ir.Constant(held.type, [number] * code.lanes)
        else:
            wanted = code.spread(code.b.trunc(number, word) if word.width < 64 else number)
        here = code.b.icmp_signed("==", held, wanted)
        return code.b.select(here, numbers, code.zero)


def _exists(code: Code, at: Index, axis: Axis) -> IR | bool:
    """Whether a window exists, without asking where all do."""
    reach = (axis.taps - 1) * axis.reach
    low, high = axis.base + min(0, reach), axis.base + max(0, reach) + axis.out - 1
    return True if low >= 0 and high < axis.source else within(code, at, axis)


def _interleaved(code: Code, phases: Sequence[IR], every: int, part: int) -> IR:
    """Vector `part` of the numbers of all phases in turn."""
    if every == 1:
        return phases[0]
    places = [divmod(part * code.lanes + i, every) for i in range(code.lanes)]
    out = code.pick(phases[0], phases[0], [lane for lane, _ in places])
    for n, numbers in enumerate(phases[1:], 1):
        out = code.pick(out, numbers, [code.lanes + lane if p == n else i for i, (lane, p) in enumerate(places)])
    return out


def build(module: Any, name: str, s: Spreading, after: Epilogue) -> None:
    """Add the function of a pooling's gradient, and of what follows on it, to a module."""
    code, slots, chunk = entry(module, name, s.dtype, s.lanes)
    writer = _Writer(code, s, after, slots)
    first, count = part_of(code, s.g.count, s.chunks, chunk)
    each(code, count, lambda i: writer.plane(code.add(first, i)))
    code.b.ret_void()
