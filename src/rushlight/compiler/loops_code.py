"""Pieces of LLVM code that loops are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rushlight.compiler.binding import ir
from rushlight.compiler.lanes import Emitter


class Code:
    """A kernel's function `void name(ptr slots, i64 chunk)` being written."""

    def __init__(self, module: Any, name: str) -> None:
        fn = ir.Function(module, ir.FunctionType(ir.VoidType(), [ir.PointerType(), ir.IntType(64)]), name)
        self.slots, self.chunk = fn.args
        self.b = ir.IRBuilder(fn.append_basic_block("entry"))
        self.emitter = Emitter(self.b, module)

    def const(self, n: int) -> Any:
        """An i64 constant."""
        return ir.Constant(ir.IntType(64), n)

    def times(self, i: Any, n: int) -> Any:
        """i * n."""
        return i if n == 1 else self.b.mul(i, self.const(n))

    def at(self, pointer: Any, offset: Any) -> Any:
        """pointer + offset bytes."""
        if isinstance(offset, int):
            if not offset:
                return pointer
            offset = self.const(offset)
        return self.b.gep(pointer, [offset], source_etype=ir.IntType(8))

    def loop(self, start: Any, stop: Any, carried: list[Any], body: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
        """`body(i, carried)` for i from start to stop - 1; at least one step unless both are known to be equal."""
        b = self.b
        before = b.block
        head, done = b.append_basic_block("loop"), b.append_basic_block("after")
        b.branch(head)
        b.position_at_end(head)
        i = b.phi(start.type)
        i.add_incoming(start, before)
        phis = []
        for value in carried:
            phi = b.phi(value.type)
            phi.add_incoming(value, before)
            phis.append(phi)
        after = body(i, phis)
        following = b.add(i, self.const(1))
        i.add_incoming(following, b.block)
        for phi, value in zip(phis, after, strict=True):
            phi.add_incoming(value, b.block)
        b.cbranch(b.icmp_signed("<", following, stop), head, done)
        b.position_at_end(done)
        return after

    def guarded(self, condition: Any, body: Callable[[], None]) -> None:
        """`body()` where the condition holds."""
        with self.b.if_then(condition):
            body()

    def least(self, i: Any, n: int) -> Any:
        """min(i, n)."""
        return self.b.select(self.b.icmp_signed("<", i, self.const(n)), i, self.const(n))
