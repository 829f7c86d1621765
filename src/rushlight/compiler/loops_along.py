"""Elements and rows taken by index, or added up by it: `gather`, `index_select` and their gradients.

Seen as [outer, many, inner], where the index runs along the middle. What is added up is cut by outer and inner, so that
a chunk owns what it writes and adds in the order of the index. Nothing outside an array is touched: what points there
adds nothing, and is looked over before the run where something is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rushlight.compiler.access import Access
from rushlight.compiler.access_index import is_unchecked
from rushlight.compiler.binding import ir
from rushlight.compiler.graph import Call, Value
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.loops_code import Code
from rushlight.compiler.target import host

CHUNK_BYTES = 32 << 10
MOST_CHUNKS = 64
LINE = 64
# Shorter rows are gone through element by element.
SHORTEST_ROW = 4
Resolve = Callable[[Value], Access | None]


@dataclass(frozen=True)
class Cut:
    """Sizes of a kernel and of its chunks.

    Attributes
    ----------
    outer, many, inner : of the array that the index points into
    count : indices along the middle
    full : whether each element has an index of its own, else each row
    adds : whether elements are added up at the index, else taken from there
    offsets : bytes to the first element that is moved, and to the first index
    parts, each : how many chunks share the outer dim, and the most of it that one has
    blocks, columns : the same of the inner dim (of the middle one, for what is taken)
    """

    outer: int
    many: int
    inner: int
    count: int
    full: bool
    adds: bool
    offsets: tuple[int, int]
    parts: int
    each: int
    blocks: int
    columns: int


def take_kernel(call: Call, resolve: Resolve) -> Kernel | None:
    """The kernel of `gather`, `take_along` or `index_select`; None for what it cannot do."""
    return None if is_unchecked(call) else _kernel(call, resolve, call.operands[0].shape, adds=False)


def place_kernel(call: Call, resolve: Resolve) -> Kernel | None:
    """The kernel of `place_along`, `scatter_add_zeros` or `rows_place`; None for what it cannot do."""
    return _kernel(call, resolve, call.params["shape"], adds=True)


def _kernel(call: Call, resolve: Resolve, shape: tuple[int, ...], *, adds: bool) -> Kernel | None:
    x, index = call.operands
    out = call.result
    if not shape or 0 in shape or 0 in x.shape or 0 in index.shape or index.dtype.kind != "i":
        return None
    if x.dtype.kind not in ("f" if adds else "fiu") or x.dtype.itemsize < 4:
        return None
    dim = call.params["dim"] % len(shape)
    full = call.op.name not in ("index_select", "rows_place")
    moved = x.shape if adds else out.shape
    if moved != (*shape[:dim], moved[dim], *shape[dim + 1 :]) or full and index.shape != moved:
        return None
    found, places = resolve(x), resolve(index)
    if found is None or places is None or not found.is_contiguous or not places.is_contiguous:
        return None
    roots = tuple(dict.fromkeys((found.root, places.root)))
    slots = tuple(8 * roots.index(r) for r in (found.root, places.root))
    cut = _cut(shape, dim, moved[dim], full, adds, x.dtype.itemsize, (found.offset, places.offset))

    def build(module: Any, name: str) -> None:
        _Along(module, name, x.dtype, index.dtype, (*slots, 8 * len(roots)), cut).write()

    return Kernel(
        name=f"{call.op.name} {cut.outer}x{cut.many}x{cut.inner} by {cut.count}",
        key=f"along {x.dtype} {index.dtype} {slots} {len(roots)} {cut}", build=build, reads=roots, writes=(out,),
        chunks=cut.parts * cut.blocks, calls=(call,),
    )  # fmt: skip


def _cut(
    shape: tuple[int, ...], dim: int, count: int, full: bool, adds: bool, item: int, offsets: tuple[int, int]
) -> Cut:
    outer, many, inner = math.prod(shape[:dim]), shape[dim], math.prod(shape[dim + 1 :])
    wanted = max(1, min(MOST_CHUNKS, outer * (many * adds + count) * inner * item // CHUNK_BYTES))
    parts = min(outer, wanted)
    each = -(-outer // parts)
    parts = -(-outer // each)
    # further cuts: of what is added up by whole cache lines of a row, of what is taken by indices
    size, unit = (inner, LINE // item) if adds else (count, 1)
    blocks = max(1, min(-(-size // unit), wanted // parts))
    columns = -(-size // blocks // unit) * unit
    return Cut(outer, many, inner, count, full, adds, offsets, parts, each, -(-size // columns), columns)


class _Along(Code):
    """Writes the function."""

    def __init__(self, module: Any, name: str, dtype: Any, index: Any, slots: tuple[int, ...], cut: Cut) -> None:
        super().__init__(module, name)
        self.dtype, self.index_dtype, self.cut = dtype, index, cut
        self.item = dtype.itemsize
        self.lanes = min(host().lanes(dtype), 1 << (cut.inner - 1).bit_length())
        x, places, self.out = (self.b.load(self.at(self.slots, s), typ=ir.PointerType()) for s in slots)
        self.x, self.places = self.at(x, cut.offsets[0]), self.at(places, cut.offsets[1])

    def write(self) -> None:
        """One chunk."""
        b, cut = self.b, self.cut
        part, block = b.udiv(self.chunk, self.const(cut.blocks)), b.urem(self.chunk, self.const(cut.blocks))
        first = self.times(part, cut.each)
        outer = first, self.least(b.add(first, self.const(cut.each)), cut.outer)
        start = self.times(block, cut.columns)
        stop = self.least(b.add(start, self.const(cut.columns)), cut.inner if cut.adds else cut.count)
        zero = self.const(0)
        columns, indices = (start, stop), (zero, self.const(cut.count))
        if not cut.adds:
            columns, indices = (zero, self.const(cut.inner)), columns

        def turn(o: Any, _: list[Any]) -> list[Any]:
            if cut.adds:
                self._clear(o, columns)
            self._each(indices, lambda k: self._row(o, k, columns))
            return []

        self.loop(*outer, [], turn)
        b.ret_void()

    def _each(self, span: tuple[Any, Any], body: Callable[[Any], None]) -> None:
        def turn(i: Any, _: list[Any]) -> list[Any]:
            body(i)
            return []

        self.loop(*span, [], turn)

    def _vectors(self, span: tuple[Any, Any], body: Callable[[Any, Any], None]) -> None:
        """body(first column, mask) for all columns of a span."""
        b = self.b
        count = b.sub(span[1], span[0])
        whole = b.udiv(count, self.const(self.lanes))

        def vector(i: Any) -> None:
            body(b.add(span[0], self.times(i, self.lanes)), None)

        self.guarded(b.icmp_signed(">", whole, self.const(0)), lambda: self._each((self.const(0), whole), vector))
        left = b.urem(count, self.const(self.lanes))
        if self.lanes > 1:
            mask = self.emitter.first(left, self.lanes)
            done = b.add(span[0], self.times(whole, self.lanes))
            self.guarded(b.icmp_signed(">", left, self.const(0)), lambda: body(done, mask))

    def _clear(self, o: Any, columns: tuple[Any, Any]) -> None:
        cut, zero = self.cut, self.emitter.constant(0, self.dtype, self.lanes)

        def row(n: Any) -> None:
            base = self._at(self.out, o, n, cut.many)
            self._vectors(columns, lambda c, mask: self.emitter.store(zero, self.at(base, self._bytes(c)), mask))

        self._each((self.const(0), self.const(cut.many)), row)

    def _bytes(self, c: Any) -> Any:
        return self.times(c, self.item)

    def _at(self, base: Any, o: Any, n: Any, count: int) -> Any:
        """The row `n` of `o` in [outer, count, inner]."""
        return self.at(base, self.times(self.b.add(self.times(o, count), n), self.cut.inner * self.item))

    def _place(self, offset: Any) -> Any:
        at = self.at(self.places, self.times(offset, self.index_dtype.itemsize))
        return self.emitter.load(at, self.index_dtype, 1).astype("int64").value

    def _row(self, o: Any, k: Any, columns: tuple[Any, Any]) -> None:
        """All columns at the k-th index."""
        b, cut = self.b, self.cut
        own = self._at(self.x if cut.adds else self.out, o, k, cut.count)
        there = self.out if cut.adds else self.x
        if cut.full or cut.inner < SHORTEST_ROW:
            row = self.times(b.add(self.times(o, cut.count), k), cut.inner)

            def column(c: Any) -> None:
                place = self._place(b.add(row, c) if cut.full else k)
                self._inside(place, lambda: self._move(self._at(there, o, place, cut.many), own, c, None, 1))

            self._each(columns, column)
            return
        place = self._place(k)
        there = self._at(there, o, place, cut.many)
        self._inside(place, lambda: self._vectors(columns, lambda c, mask: self._move(there, own, c, mask, self.lanes)))

    def _inside(self, place: Any, body: Callable[[], None]) -> None:
        self.guarded(self.b.icmp_unsigned("<", place, self.const(self.cut.many)), body)

    def _move(self, there: Any, own: Any, c: Any, mask: Any, lanes: int) -> None:
        """Add a piece of a row to what the index points at, or take it from there."""
        e, at = self.emitter, self._bytes(c)
        there, own = self.at(there, at), self.at(own, at)
        if self.cut.adds:
            x = e.load(there, self.dtype, lanes, mask) + e.load(own, self.dtype, lanes, mask)
            e.store(x, there, mask)
        else:
            e.store(e.load(there, self.dtype, lanes, mask), own, mask)
