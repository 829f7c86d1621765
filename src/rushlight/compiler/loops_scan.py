"""Running sums along a dim, seen as [outer, count, inner]: samples of the outer and inner dims side by side."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rushlight.compiler.access import Access
from rushlight.compiler.binding import ir
from rushlight.compiler.graph import Call, Value
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.loops_code import Code
from rushlight.compiler.target import host

CHUNK_BYTES = 32 << 10
MOST_CHUNKS = 64
# Sums that run side by side, so that none waits for its last addition.
ROWS = 8
Resolve = Callable[[Value], Access | None]


@dataclass(frozen=True)
class Scan:
    """Sizes of a kernel: a chunk has `each` groups of sums that run side by side, of `groups` in all."""

    outer: int
    count: int
    inner: int
    lanes: int
    reverse: bool
    offset: int
    groups: int
    each: int


def scan_kernel(call: Call, resolve: Resolve) -> Kernel | None:
    """The kernel of `cumsum`; None for what it cannot do."""
    (x,) = call.operands
    out = call.result
    found = resolve(x)
    if found is None or not found.is_contiguous or not x.shape or 0 in x.shape:
        return None
    if x.dtype.kind not in "fi" or x.dtype.itemsize < 4 or x.dtype != out.dtype:
        return None
    dim = call.params["dim"] % len(x.shape)
    outer, count, inner = math.prod(x.shape[:dim]), x.shape[dim], math.prod(x.shape[dim + 1 :])
    lanes = min(host().lanes(x.dtype), 1 << (inner.bit_length() - 1))
    groups = -(-outer // ROWS) if inner == 1 else outer * -(-inner // lanes)
    wanted = max(1, min(MOST_CHUNKS, groups, outer * count * inner * x.dtype.itemsize // CHUNK_BYTES))
    each = -(-groups // wanted)
    scan = Scan(outer, count, inner, lanes, bool(call.params["reverse"]), found.offset, groups, each)

    def build(module: Any, name: str) -> None:
        _Scan(module, name, x.dtype, scan).write()

    return Kernel(
        name=f"cumsum {outer}x{count}x{inner}", key=f"scan {x.dtype} {scan}", build=build, reads=(found.root,),
        writes=(out,), chunks=-(-groups // each), calls=(call,),
    )  # fmt: skip


class _Scan(Code):
    """Writes the function."""

    def __init__(self, module: Any, name: str, dtype: Any, scan: Scan) -> None:
        super().__init__(module, name)
        self.dtype, self.scan = dtype, scan
        source, self.target = (self.b.load(self.at(self.slots, 8 * i), typ=ir.PointerType()) for i in range(2))
        self.source = self.at(source, scan.offset)

    def write(self) -> None:
        """One chunk."""
        b, scan = self.b, self.scan
        first = self.times(self.chunk, scan.each)
        stop = self.least(b.add(first, self.const(scan.each)), scan.groups)

        def group(n: Any, _: list[Any]) -> list[Any]:
            self._run(*(self._rows(n) if scan.inner == 1 else self._columns(n)))
            return []

        self.loop(first, stop, [], group)
        b.ret_void()

    def _rows(self, n: Any) -> tuple[list[Any], Any, int]:
        """Where some rows begin; the last one again in the place of those that there are not."""
        b, scan = self.b, self.scan
        rows = [self.least(b.add(self.times(n, ROWS), self.const(i)), scan.outer - 1) for i in range(ROWS)]
        return [self.times(r, scan.count * self.dtype.itemsize) for r in rows], None, 1

    def _columns(self, n: Any) -> tuple[list[Any], Any, int]:
        """Where a vector of columns begins, and those of its lanes that are there."""
        b, scan = self.b, self.scan
        across = self.const(-(-scan.inner // scan.lanes))
        column = self.times(b.urem(n, across), scan.lanes)
        start = b.add(self.times(b.udiv(n, across), scan.count * scan.inner), column)
        exact = scan.inner % scan.lanes == 0
        mask = None if exact else self.emitter.first(b.sub(self.const(scan.inner), column), scan.lanes)
        return [self.times(start, self.dtype.itemsize)], mask, scan.lanes

    def _run(self, starts: list[Any], mask: Any, lanes: int) -> None:
        b, e, scan = self.b, self.emitter, self.scan

        def step(k: Any, sums: list[Any]) -> list[Any]:
            k = b.sub(self.const(scan.count - 1), k) if scan.reverse else k
            offset = self.times(k, scan.inner * self.dtype.itemsize)
            places = [b.add(start, offset) for start in starts]
            found = [e.load(self.at(self.source, p), self.dtype, lanes, mask) for p in places]
            new = [type(x)(e, s, self.dtype, lanes) + x for x, s in zip(found, sums, strict=True)]
            for p, x in zip(places, new, strict=True):
                e.store(x, self.at(self.target, p), mask)
            return [x.value for x in new]

        zero = e.constant(0, self.dtype, lanes).value
        self.loop(self.const(0), self.const(scan.count), [zero] * len(starts), step)
