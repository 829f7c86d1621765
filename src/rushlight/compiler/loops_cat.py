"""Arrays one after another in one: `cat` and `stack` as one kernel that copies rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rushlight.compiler.access import Access
from rushlight.compiler.binding import ir
from rushlight.compiler.graph import Call, Value
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.loops_code import Code
from rushlight.compiler.target import host

CHUNK_BYTES = 64 << 10
MOST_CHUNKS = 64
Resolve = Callable[[Value], Access | None]


@dataclass(frozen=True)
class Part:
    """Rows of an operand: slot, bytes from its start and from row to row, elements of a row, place in the result."""

    slot: int
    offset: int
    step: int
    size: int
    place: int


def cat_kernel(call: Call, resolve: Resolve) -> Kernel | None:
    """The kernel of `cat` or `stack`; None for operands whose rows do not lie in one piece."""
    out, dim = call.result, call.params["dim"]
    values = [v for v in call.operands[0] if v.shape != (0,)]
    dim %= len(out.shape)
    if out.dtype.kind == "c" or any(v.dtype != out.dtype or 0 in v.shape for v in values):
        return None
    accesses = [resolve(v) for v in values]
    roots = list(dict.fromkeys(a.root for a in accesses if a is not None))
    parts, place = [], 0
    for a in accesses:
        rows = None if a is None else _rows(a, dim)
        if a is None or rows is None:
            return None
        step, size = rows
        parts.append(Part(roots.index(a.root), a.offset, step, size, place))
        place += size
    outer = math.prod(out.shape[:dim])
    wanted = max(1, min(MOST_CHUNKS, outer * place * out.dtype.itemsize // CHUNK_BYTES))
    by_rows = outer >= wanted
    steps = outer if by_rows else len(parts)
    each = -(-steps // wanted)
    key = (str(out.dtype), len(roots), tuple(parts), outer, place, by_rows, each)
    chunks = -(-steps // each)

    def build(module: Any, name: str) -> None:
        _Copy(module, name, out.dtype, len(roots), tuple(parts), outer, by_rows, each).write()

    return Kernel(
        name=f"{call.op.name} of {len(parts)}", key=f"cat {key}", build=build, reads=tuple(roots), writes=(out,),
        chunks=chunks, calls=(call,),
    )  # fmt: skip


def _rows(a: Access, dim: int) -> tuple[int, int] | None:
    """Bytes from row to row and elements of a row, where rows are all dims from `dim` on."""
    item = a.dtype.itemsize
    row = Access(a.root, a.offset, a.shape[dim:], a.strides[dim:], a.dtype)
    if not row.is_contiguous:
        return None
    lead = [(n, s) for n, s in zip(a.shape[:dim], a.strides[:dim], strict=True) if n != 1]
    for (_, above), (n, below) in pairwise(lead):
        if above != below * n:
            return None
    return (lead[-1][1] if lead else 0), row.size if item else 0


class _Copy(Code):
    """Writes the function."""

    def __init__(
        self, module: Any, name: str, dtype: Any, roots: int, parts: tuple[Part, ...], outer: int, by_rows: bool,
        each: int,
    ) -> None:  # fmt: skip
        super().__init__(module, name)
        self.dtype, self.roots, self.parts = dtype, roots, parts
        self.outer, self.by_rows, self.each = outer, by_rows, each
        self.item = dtype.itemsize
        self.row_bytes = sum(p.size for p in parts) * self.item
        numbers = [n for p in parts for n in (8 * p.slot, p.offset, p.step, p.size, p.place * self.item)]
        kind = ir.ArrayType(ir.IntType(64), len(numbers))
        self.table = ir.GlobalVariable(module, kind, name + ".parts")
        self.table.linkage = "internal"
        self.table.global_constant = True
        self.table.initializer = ir.Constant(kind, numbers)
        self.table.type = ir.PointerType()

    def write(self) -> None:
        """All parts of some rows, or all rows of some parts."""
        b = self.b
        out = b.load(self.at(self.slots, 8 * self.roots), typ=ir.PointerType())
        steps = self.outer if self.by_rows else len(self.parts)
        first = self.times(self.chunk, self.each)
        stop = self.least(b.add(first, self.const(self.each)), steps)
        zero = self.const(0)
        rows = (first, stop) if self.by_rows else (zero, self.const(self.outer))
        parts = (zero, self.const(len(self.parts))) if self.by_rows else (first, stop)

        def part(k: Any, _: list[Any]) -> list[Any]:
            slot, offset, step, size, place = (
                b.load(self.at(self.table, b.add(self.times(k, 40), self.const(8 * i))), typ=ir.IntType(64))
                for i in range(5)
            )
            source = self.at(b.load(self.at(self.slots, slot), typ=ir.PointerType()), offset)
            target = self.at(out, place)

            def row(r: Any, _: list[Any]) -> list[Any]:
                self._copy(self.at(source, b.mul(r, step)), self.at(target, self.times(r, self.row_bytes)), size)
                return []

            self.loop(*rows, [], row)
            return []

        self.loop(*parts, [], part)
        b.ret_void()

    def _copy(self, source: Any, target: Any, size: Any) -> None:
        """Copy `size` elements, a vector at a time."""
        b, e = self.b, self.emitter
        width = min(16, host().lanes(self.dtype))
        whole = b.udiv(size, self.const(width))

        def vector(i: Any, _: list[Any]) -> list[Any]:
            at = self.times(i, width * self.item)
            e.store(e.load(self.at(source, at), self.dtype, width), self.at(target, at))
            return []

        self.guarded(b.icmp_signed(">", whole, self.const(0)), lambda: self._repeat(whole, vector))
        left = b.urem(size, self.const(width))

        def rest() -> None:
            at, mask = self.times(whole, width * self.item), e.first(left, width)
            e.store(e.load(self.at(source, at), self.dtype, width, mask), self.at(target, at), mask)

        self.guarded(b.icmp_signed(">", left, self.const(0)), rest)

    def _repeat(self, stop: Any, body: Callable[[Any, list[Any]], list[Any]]) -> None:
        self.loop(self.const(0), stop, [], body)
