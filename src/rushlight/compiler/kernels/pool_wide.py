"""Average pooling with wide windows: whole planes summed up, and windows side by side filled with their gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rushlight.backends.numpy_pool import Windows
from rushlight.compiler.access import Access
from rushlight.compiler.binding import ir
from rushlight.compiler.graph import Call, Value
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.kernels.chunked import address, entry, part_of
from rushlight.compiler.kernels.conv_expand import each
from rushlight.compiler.kernels.conv_shape import three
from rushlight.compiler.kernels.microkernel import Code, Index
from rushlight.compiler.kernels.pool import Planes, chunks_of, lines_vectors, planes_of
from rushlight.compiler.lanes_core import Lanes
from rushlight.compiler.target import host

IR = Any


@dataclass(frozen=True)
class Whole:
    """Planes that are summed up whole: their distance in bytes, their positions, the scale of the sums."""

    planes: int
    stride: int
    offset: int
    positions: int
    scale: float
    dtype: str
    lanes: int
    chunks: int

    @property
    def groups(self) -> int:
        """Groups of as many planes as a vector has lanes."""
        return -(-self.planes // self.lanes)


def whole_kernel(x: Access, out: Value, windows: Windows, scale: float, calls: tuple[Call, ...] = ()) -> Kernel | None:
    """The kernel of an average pooling with one window, the plane; None where planes are no runs of numbers."""
    planes = planes_of(x, len(windows.kernel))
    one_window = windows.covering and math.prod(windows.output_size) == 1
    if planes is None or planes.outer != 1 or not one_window or not _is_run(x, len(windows.kernel)):
        return None
    chunks = chunks_of(planes.count, x.size)
    positions = math.prod(windows.input_size)
    lanes = host().lanes(x.dtype)
    w = Whole(planes.inner, planes.strides[1], x.offset, positions, scale, x.dtype.name, lanes, chunks)
    return Kernel(
        name=f"average of planes {'x'.join(map(str, x.shape))}",
        key=f"pool whole {w}",
        build=lambda module, name: build_whole(module, name, w),
        reads=(x.root,),
        writes=(out,),
        chunks=chunks,
        calls=calls,
    )


def _is_run(x: Access, dims: int) -> bool:
    step = x.dtype.itemsize
    for n, s in zip(reversed(x.shape[-dims:]), reversed(x.strides[-dims:]), strict=True):
        if n != 1 and s != step:
            return False
        step *= n
    return True


def build_whole(module: Any, name: str, w: Whole) -> None:
    """Add the function that sums planes to a module."""
    code, slots, chunk = entry(module, name, w.dtype, w.lanes)
    x, out = code.at(address(code, slots, 0), w.offset), address(code, slots, 1)
    first, count = part_of(code, w.groups, w.chunks, chunk)

    def group(i: Index) -> None:
        start = code.mul(code.add(first, i), w.lanes)
        planes = [code.at(x, code.mul(code.least(code.add(start, n), w.planes - 1), w.stride)) for n in range(w.lanes)]

        def turn(p: Index, *held: IR, mask: int | None = None) -> Sequence[IR]:
            at = code.mul(p, code.size)
            return [
                code.b.fadd(total, code.load(code.at(plane, at), mask))
                for plane, total in zip(planes, held, strict=True)
            ]

        even = w.positions // w.lanes * w.lanes
        totals = code.loop(even, turn, [code.zero] * w.lanes, w.lanes)
        if even < w.positions:
            totals = turn(even, *totals, mask=w.positions - even)
        scale = ir.Constant(code.vector, [ir.Constant(code.scalar, w.scale)] * code.lanes)
        means = code.b.fmul(code.sums(totals), scale)
        mask = None if w.planes % w.lanes == 0 else code.mask(code.sub(w.planes, start))
        code.store(means, code.at(out, code.mul(start, code.size)), mask)

    each(code, count, group)
    code.b.ret_void()


@dataclass(frozen=True)
class Filling:
    """Windows side by side, each filled with its gradient times a number."""

    g: Planes
    size: tuple[int, int, int]
    kernel: tuple[int, int, int]
    scale: float
    dtype: str
    lanes: int
    chunks: int


def fill_kernel(g: Access, out: Value, windows: Windows, scale: float, calls: tuple[Call, ...] = ()) -> Kernel | None:
    """The kernel of an average pooling's gradient where windows cover the input without overlap."""
    planes = planes_of(g, len(windows.kernel))
    if planes is None or not windows.covering:
        return None
    chunks = chunks_of(planes.count, math.prod(out.shape))
    f = Filling(
        planes,
        three(windows.input_size, 1),
        three(windows.kernel, 1),
        scale,
        g.dtype.name,
        host().lanes(g.dtype),
        chunks,
    )
    return Kernel(
        name=f"average pool gradient {'x'.join(map(str, g.shape))} by {'x'.join(map(str, windows.kernel))}",
        key=f"pool fill {f}",
        build=lambda module, name: build_fill(module, name, f),
        reads=(g.root,),
        writes=(out,),
        chunks=chunks,
        calls=calls,
    )


def build_fill(module: Any, name: str, f: Filling) -> None:
    """Add the function that fills windows to a module."""
    code, slots, chunk = entry(module, name, f.dtype, f.lanes)
    g, out = code.at(address(code, slots, 0), f.g.offset), address(code, slots, 1)
    first, count = part_of(code, f.g.count, f.chunks, chunk)
    d, h, w = f.size
    factor = ir.Constant(code.vector, [ir.Constant(code.scalar, f.scale)] * code.lanes)

    def plane(i: Index) -> None:
        n = code.add(first, i)
        source = f.g.at(code, g, n)

        def line(a: Index, b: Index) -> None:
            from_line = code.at(source, code.mul(code.divide(a, f.kernel[0])[0], f.g.strides[2]))
            from_line = code.at(from_line, code.mul(code.divide(b, f.kernel[1])[0], f.g.strides[3]))
            target = code.at(out, code.mul(code.add(code.mul(code.add(code.mul(n, d), a), h), b), w * code.size))
            only = None if w != f.kernel[2] else code.b.fmul(code.spread(code.load_number(from_line)), factor)

            def vector(v: Index) -> None:
                start = code.mul(v, code.lanes)
                mask = code.mask(code.sub(w, start))
                numbers = (
                    only if only is not None else code.b.fmul(_windows_of(code, f, from_line, start, mask), factor)
                )
                code.store(numbers, code.at(target, code.mul(start, code.size)), mask)

            lines_vectors(code, w, vector)

        each(code, d, lambda a: each(code, h, lambda b: line(a, b)))

    each(code, count, plane)
    code.b.ret_void()


def _windows_of(code: Code, f: Filling, line: IR, start: Index, mask: Any) -> IR:
    """The gradient of the window that each lane lies in."""
    wide = ir.VectorType(code.i64, code.lanes)
    b = code.b
    lanes = b.add(ir.Constant(wide, list(range(code.lanes))), code.spread(code.value(start)))
    window = b.udiv(lanes, ir.Constant(wide, [f.kernel[2]] * code.lanes))
    where = b.mul(window, ir.Constant(wide, [f.g.strides[4]] * code.lanes))
    return code.emitter.gather(
        line, Lanes(code.emitter, where, np.dtype(np.int64), code.lanes), code.dtype, code.lanes_of(mask), scale=1
    ).value
