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
from rushlight.compiler.lanes import Emitter
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
    if source is None or places is None or not source.is_contiguous or not places.is_contiguous or not g.spec.shape[-1]:
        return None
    rows, columns, count = call.params["rows"], g.shape[-1], math.prod(index.shape)
    lanes = min(host().lanes(out.dtype), 1 << (columns - 1).bit_length())
    vectors = -(-columns // lanes)
    wanted = max(1, (count * 2 + rows) * columns * out.dtype.itemsize // CHUNK_BYTES)
    each = max(1, min(MOST_VECTORS, vectors // wanted))
    chunks = -(-vectors // each)
    sizes = (rows, columns, count, lanes, each, chunks, call.params["padding_idx"])
    offsets = (source.offset, places.offset)

    def build(module: Any, name: str) -> None:
        _Scatter(module, name, out.dtype, index.dtype, sizes, offsets).write()

    return Kernel(
        name=f"embedding gradient {rows}x{columns} from {count}",
        key=f"scatter {out.dtype} {index.dtype} {sizes} {offsets}",
        build=build, reads=(source.root, places.root), writes=(out,), chunks=chunks, calls=(call,),
    )  # fmt: skip


class _Scatter:
    """Writes the function."""

    def __init__(self, module: Any, name: str, dtype: Any, index: Any, sizes: Any, offsets: Any) -> None:
        step = ir.IntType(64)
        fn = ir.Function(module, ir.FunctionType(ir.VoidType(), [ir.PointerType(), step]), name)
        self.slots, self.chunk = fn.args
        self.b = ir.IRBuilder(fn.append_basic_block("entry"))
        self.e = Emitter(self.b, module)
        self.dtype, self.index_dtype = dtype, index
        self.rows, self.columns, self.count, self.lanes, self.each, _, self.padding = sizes
        self.offsets = offsets

    def const(self, n: int) -> Any:
        """An i64 constant."""
        return ir.Constant(ir.IntType(64), n)

    def at(self, pointer: Any, offset: Any) -> Any:
        """pointer + offset bytes."""
        return self.b.gep(pointer, [offset], source_etype=ir.IntType(8))

    def loop(self, stop: int, body: Callable[[Any], None]) -> None:
        """`body(i)` for i below `stop`, which is at least 1."""
        b = self.b
        before = b.block
        head, done = b.append_basic_block("loop"), b.append_basic_block("after")
        b.branch(head)
        b.position_at_end(head)
        i = b.phi(ir.IntType(64))
        i.add_incoming(self.const(0), before)
        body(i)
        following = b.add(i, self.const(1))
        i.add_incoming(following, b.block)
        b.cbranch(b.icmp_signed("<", following, self.const(stop)), head, done)
        b.position_at_end(done)

    def write(self) -> None:
        """Zeros, then every row added to its place."""
        b, e = self.b, self.e
        g, index, out = (
            self.at(b.load(self.at(self.slots, self.const(8 * k)), typ=ir.PointerType()), self.const(offset))
            for k, offset in enumerate((*self.offsets, 0))
        )
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

        def clear(row: Any) -> None:
            base = self.at(out, b.mul(row, row_bytes))
            for offset, mask in pieces:
                e.store(zero, self.at(base, offset), mask)

        def add(n: Any) -> None:
            step = self.const(self.index_dtype.itemsize)
            place = e.load(self.at(index, b.mul(n, step)), self.index_dtype, 1).astype("int64").value
            valid = b.icmp_unsigned("<", place, self.const(self.rows))
            if self.padding >= 0:
                valid = b.and_(valid, b.icmp_signed("!=", place, self.const(self.padding)))
            with b.if_then(valid):
                source, target = self.at(g, b.mul(n, row_bytes)), self.at(out, b.mul(place, row_bytes))
                for offset, mask in pieces:
                    there = self.at(target, offset)
                    x = e.load(self.at(source, offset), self.dtype, self.lanes, mask)
                    e.store(e.load(there, self.dtype, self.lanes, mask) + x, there, mask)

        self.loop(self.rows, clear)
        if self.count:
            self.loop(self.count, add)
        b.ret_void()
