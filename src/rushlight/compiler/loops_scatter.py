"""Rows added up by index: the gradient of an embedding, without atomics.

Each chunk owns a block of columns and goes through all rows in order, so that the sums do not depend on threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from rushlight.compiler.access import Access
from rushlight.compiler.binding import ir
from rushlight.compiler.graph import Call, Value
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.loops_code import Code
from rushlight.compiler.target import host

CHUNK_BYTES = 64 << 10
MOST_VECTORS = 4
Resolve = Callable[[Value], Access | None]


def scatter_kernel(call: Call, resolve: Resolve) -> Kernel | None:
    """The kernel of `embedding_grad`; None for what it cannot do. Indices out of range add nothing."""
    g, index = call.operands
    out = call.result
    if call.params["scale_by_count"] or out.dtype.kind != "f" or out.dtype.itemsize < 4 or index.dtype.kind != "i":
        return None
    source, places = resolve(g), resolve(index)
    if source is None or places is None or 0 in g.shape or source.strides[-1] != out.dtype.itemsize:
        return None
    rows, columns, count = call.params["rows"], g.shape[-1], math.prod(index.shape)
    lanes = min(host().lanes(out.dtype), 1 << (columns - 1).bit_length())
    vectors = -(-columns // lanes)
    wanted = max(1, (count * 2 + rows) * columns * out.dtype.itemsize // CHUNK_BYTES)
    each = max(1, min(MOST_VECTORS, vectors // wanted))
    chunks = -(-vectors // each)
    sizes = (rows, columns, count, lanes, each, chunks, call.params["padding_idx"])
    layout = (index.shape, (source.offset, *source.strides[:-1]), (places.offset, *places.strides))

    def build(module: Any, name: str) -> None:
        _Scatter(module, name, out.dtype, index.dtype, sizes, layout).write()

    return Kernel(
        name=f"embedding gradient {rows}x{columns} from {count}",
        key=f"scatter {out.dtype} {index.dtype} {sizes} {layout}",
        build=build, reads=(source.root, places.root), writes=(out,), chunks=chunks, calls=(call,),
    )  # fmt: skip


class _Scatter(Code):
    """Writes the function."""

    def __init__(self, module: Any, name: str, dtype: Any, index: Any, sizes: Any, layout: Any) -> None:
        super().__init__(module, name)
        self.dtype, self.index_dtype = dtype, index
        self.rows, self.columns, self.count, self.lanes, self.each, _, self.padding = sizes
        self.shape, self.source, self.places = layout

    def place(self, n: Any, steps: tuple[int, ...]) -> Any:
        """Offset of row `n`, counted over all dims; `steps` are the first row's offset and the strides of the dims."""
        total: Any = self.const(steps[0])
        for size, step in zip(reversed(self.shape[1:]), reversed(steps[2:]), strict=True):
            total = self.b.add(total, self.times(self.b.urem(n, self.const(size)), step))
            n = self.b.udiv(n, self.const(size))
        return self.b.add(total, self.times(n, steps[1])) if len(steps) > 1 else total

    def write(self) -> None:
        """Zeros, then every row added to its place."""
        b, e = self.b, self.emitter
        g, index, out = (b.load(self.at(self.slots, 8 * k), typ=ir.PointerType()) for k in range(3))
        item = self.dtype.itemsize
        row_bytes = self.const(self.columns * item)
        first = b.mul(self.chunk, self.const(self.each * self.lanes))
        pieces = []
        for u in range(self.each):
            start = b.add(first, self.const(u * self.lanes))
            exact = self.columns % (self.lanes * self.each) == 0
            mask = None if exact else e.first(b.sub(self.const(self.columns), start), self.lanes)
            pieces.append((b.mul(start, self.const(item)), mask))
        zero = e.constant(0, self.dtype, self.lanes)

        def clear(row: Any, _: list[Any]) -> list[Any]:
            base = self.at(out, b.mul(row, row_bytes))
            for offset, mask in pieces:
                e.store(zero, self.at(base, offset), mask)
            return []

        def add(n: Any, _: list[Any]) -> list[Any]:
            place = e.load(self.at(index, self.place(n, self.places)), self.index_dtype, 1).astype("int64").value
            valid = b.icmp_unsigned("<", place, self.const(self.rows))
            if self.padding >= 0:
                valid = b.and_(valid, b.icmp_signed("!=", place, self.const(self.padding)))
            with b.if_then(valid):
                source, target = self.at(g, self.place(n, self.source)), self.at(out, b.mul(place, row_bytes))
                for offset, mask in pieces:
                    there = self.at(target, offset)
                    x = e.load(self.at(source, offset), self.dtype, self.lanes, mask)
                    e.store(e.load(there, self.dtype, self.lanes, mask) + x, there, mask)
            return []

        zero_step = self.const(0)
        self.loop(zero_step, self.const(self.rows), [], clear)
        if self.count:
            self.loop(zero_step, self.const(self.count), [], add)
        b.ret_void()
