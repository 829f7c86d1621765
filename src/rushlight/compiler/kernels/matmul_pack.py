"""The kernel that brings the left operand of a large product into the order in which its blocks read it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from rushlight.compiler.binding import ir
from rushlight.compiler.graph import Value
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.kernels.chunked import address, part_of
from rushlight.compiler.kernels.matmul_code import batch_offset, new_function
from rushlight.compiler.kernels.matmul_plan import Machine, Plan, Product
from rushlight.compiler.kernels.microkernel import Code, Index
from rushlight.compiler.kernels.packing import pack_function
from rushlight.spec import Spec

IR = Any
# Numbers that a chunk is to copy at least, and the most chunks.
CHUNK, MOST_CHUNKS = 1 << 15, 16
# Steps that all blocks of a chunk go through before the next ones, of whole squares and of single lines: lines far
# apart tend to fall on the same places of the cache, which holds eight of them.
SQUARES, LINES = 64, 8


def pack_before(x: Product, root: Value, plan: Plan, machine: Machine) -> tuple[Kernel, Product]:
    """What packs the left operand (of a turned product: the right one), which lies in `root`; and the product then."""
    turned = plan.form == "turned"
    oriented = x.turned if turned else x
    blocks, line = -(-oriented.m // plan.rows), plan.pitch(machine.lanes) * x.dtype.itemsize
    # packing by transposing writes whole vectors of lines
    block = -(-x.k // machine.lanes) * machine.lanes * line
    count = math.prod(x.batch) * blocks
    packed = Value(Spec((count * block // x.dtype.itemsize,), x.dtype), name="packed operand")
    strides, step = [], blocks * block
    for n in reversed(x.batch):
        strides.append(step)
        step *= n
    there = replace(oriented.a, offset=0, batch=tuple(reversed(strides)), row=block, column=line, dtype=x.dtype)
    moved = replace(oriented, a=there)
    source = replace(oriented.a, slot=0)
    chunks = max(1, min(MOST_CHUNKS, count, count * plan.rows * x.k // CHUNK))
    kernel = Kernel(
        name=f"operand {'x'.join(map(str, (*x.batch, oriented.m, x.paired or x.k)))} packed",
        key=f"matmul pack {source} {x.batch} {oriented.m} {x.k} {x.paired} {plan} {machine} {chunks}",
        build=lambda module, name: _Writer(module, name, replace(oriented, a=source), plan, machine).write(
            block, blocks, chunks
        ),
        reads=(root,),
        writes=(packed,),
        chunks=chunks,
    )
    return kernel, moved.turned if turned else moved


class _Writer:
    def __init__(self, module: Any, name: str, x: Product, plan: Plan, machine: Machine) -> None:
        self.module, self.name = module, name
        self.x, self.plan, self.machine = x, plan, machine

    def write(self, block: int, blocks: int, chunks: int) -> None:
        """Each chunk packs blocks that follow one another."""
        x, rows, each = self.x, self.plan.rows, 2 if self.x.paired else 1
        fn, builder = new_function(self.module, self.name, [ir.PointerType(), ir.IntType(64)], inner=False)
        code = Code(builder, x.dtype, self.machine.lanes)
        slots, chunk = fn.args
        source, out = (address(code, slots, i) for i in range(2))
        source = code.at(source, x.a.offset)
        low, mine = part_of(code, math.prod(x.batch) * blocks, chunks, chunk)
        edge = x.m % rows
        whole, last = self._packing(rows), self._packing(edge) if edge else None

        line = self.plan.pitch(self.machine.lanes) * x.dtype.itemsize

        steps = SQUARES if self.plan.pack_a == "turn" else LINES

        def part(q: Index) -> tuple[()]:
            count = code.least(steps * each, code.sub(x.paired or x.k, code.mul(q, each)))

            def one(j: Index) -> tuple[()]:
                n = code.add(low, j)
                index, i = code.divide(n, blocks)
                at = code.add(batch_offset(code, x.a, x.batch, index), code.mul(i, rows * x.a.row))
                here = code.at(source, code.add(at, code.mul(q, x.a.column)))
                arguments = [here, code.at(out, code.add(code.mul(n, block), code.mul(q, line))), code.value(count)]
                is_last = code.b.icmp_signed("==", code.value(i), code.value(blocks - 1)) if last else False
                code.when(is_last, lambda: code.b.call(last, arguments), lambda: code.b.call(whole, arguments))
                return ()

            code.loop(mine, one)
            return ()

        code.loop(x.k, part, step=steps)
        builder.ret_void()

    def _packing(self, count: int) -> Any:
        x, pointer = self.x, ir.PointerType()
        fn, builder = new_function(self.module, f"{self.name}.pack{count}", [pointer, pointer, ir.IntType(64)])
        code = Code(builder, x.dtype, self.machine.lanes, pairs=x.paired > 0)
        steps = fn.args[2], x.paired or x.k
        pitch, strides = self.plan.pitch(self.machine.lanes), (x.a.row, x.a.column)
        pack_function(code, self.plan.pack_a, fn.args[:2], strides, count, pitch, steps, x.a.dtype)
        builder.ret_void()
        return fn
