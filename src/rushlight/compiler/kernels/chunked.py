"""What functions of kernels that are cut into chunks begin with."""

from __future__ import annotations

from typing import Any

from rushlight.compiler.binding import ir
from rushlight.compiler.kernels.microkernel import Code, Index

IR = Any


def entry(module: Any, name: str, dtype: Any, lanes: int) -> tuple[Code, IR, IR]:
    """A function with the kernels' signature: where to write it, its slots and its chunk."""
    kind = ir.FunctionType(ir.VoidType(), [ir.PointerType(), ir.IntType(64)])
    fn = ir.Function(module, kind, name)
    return Code(ir.IRBuilder(fn.append_basic_block("entry")), dtype, lanes), *fn.args


def address(code: Code, slots: IR, i: int) -> IR:
    """The i-th address of the slots."""
    return code.b.load(code.at(slots, 8 * i), typ=ir.PointerType())


def bounds(code: Code, total: int, count: int, i: Index) -> tuple[Index, Index]:
    """Start and end of the i-th of `count` ranges of `total` things."""
    low = code.divide(code.mul(i, total), count)[0]
    return low, code.divide(code.mul(code.add(i, 1), total), count)[0]


def part_of(code: Code, total: int, count: int, i: Index) -> tuple[Index, Index]:
    """Start and length of the i-th of `count` ranges of `total` things."""
    low, high = bounds(code, total, count, i)
    return low, code.sub(high, low)
