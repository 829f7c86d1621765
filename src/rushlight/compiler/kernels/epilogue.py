"""What follows a product or a convolution on its numbers while they are in registers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rushlight.compiler.access import Access
from rushlight.compiler.graph import Call, Value
from rushlight.compiler.lanes_core import Emitter, Lanes
from rushlight.compiler.loops import emit_body
from rushlight.layout import view_strides

Ints = tuple[int, ...]
Emit = Callable[[Emitter, Lanes, Sequence[Lanes]], Sequence[Lanes]]
Resolve = Callable[[Value], Access | None]


@dataclass(frozen=True)
class Epilogue:
    """Pointwise arithmetic whose steps are the elements of a product, or of a convolution's result.

    Attributes
    ----------
    emit : emit(emitter, x, operands) writes it for one vector: `x` the product's numbers, `operands` those of `inputs`
        at the same places, lanes all; it returns the lanes of each output
    inputs : what it reads, broadcast to the shape of the result by strides of 0
    outputs : what it writes instead of the plain result: row-major over the elements of the result, dtypes of their own
    key : says all about `emit` that the code depends on
    calls : the graph's calls that it carries out
    """

    emit: Emit
    inputs: tuple[Access, ...]
    outputs: tuple[Value, ...]
    key: str
    calls: tuple[Call, ...] = ()


def follow(
    product: Value, calls: Sequence[Call], stored: Sequence[Value], resolve: Resolve, first: Epilogue | None = None
) -> Epilogue | None:
    """The epilogue that carries out pointwise calls on a product, or None where they do not step alike.

    Parameters
    ----------
    product : the result that the calls start from
    calls : elementwise calls and casts in order; operands are the product, results of calls before, these reshaped, or
        anything in memory that broadcasts to the product's elements
    stored : which of the product and the calls' results are needed in memory
    resolve : from a value to where it lies
    first : what turns the kernel's own numbers into the product
    """
    found = _Follower(product, resolve, first)
    if not all(map(found.take, calls)) or any(found.place(v) is None or v.dtype.kind == "c" for v in stored):
        return None
    outputs = tuple(stored)
    begin = len(first.inputs) if first else 0

    def emit(emitter: Emitter, x: Lanes, operands: Sequence[Lanes]) -> Sequence[Lanes]:
        if first:
            (x,) = first.emit(emitter, x, operands[:begin])
        env = {product: x.astype(product.dtype)}
        env.update(zip(found.values, operands[begin:], strict=True))
        for call in calls:
            for v in call.values():
                if v not in env and v in found.same:
                    env[v] = env[found.same[v]]
            emit_body(emitter, [call], env)
        return [env[found.same.get(v, v)] for v in outputs]

    return Epilogue(
        emit, (*(first.inputs if first else ()), *found.inputs), outputs,
        f"{first.key if first else ''} {'; '.join(found.lines)} -> {[found.place(v) for v in outputs]}",
        (*(first.calls if first else ()), *calls),
    )  # fmt: skip


class _Follower:
    """Collects what an epilogue's calls read, and a text that says what they do."""

    def __init__(self, product: Value, resolve: Resolve, first: Epilogue | None) -> None:
        self.shape = product.shape
        self.resolve = resolve
        self.known: dict[Value, str] = {product: f"%0:{product.dtype}"}
        self.same: dict[Value, Value] = {}
        self.values: list[Value] = []
        self.inputs: list[Access] = []
        self.lines: list[str] = []

    def place(self, value: Value) -> str | None:
        """How the text calls a value of this epilogue, or a reshape of one."""
        if value in self.known:
            return self.known[value]
        access = self.resolve(value)
        if access is None or access.root not in self.known:
            return None
        whole = not access.offset and access.is_contiguous and access.size == math.prod(access.root.shape)
        if not whole or access.dtype != access.root.dtype:
            return None
        self.same[value] = access.root
        return self.known[access.root]

    def take(self, call: Call) -> bool:
        """Add a call, if it steps through the product's elements in order."""
        if len(call.results) != 1 or math.prod(call.result.shape) != math.prod(self.shape):
            return False
        names = [self._operand(a, call.result.shape) for a in call.operands]
        if not all(names):
            return False
        params = sorted(call.params.items())
        self.known[call.result] = f"%{len(self.lines) + 1}:{call.result.dtype}"
        self.lines.append(f"{call.op.name}({', '.join(map(str, names))}, {params!r}) {call.result.dtype}")
        return True

    def _operand(self, a: Any, shape: Ints) -> str | None:
        if not isinstance(a, Value):
            return None if isinstance(a, (tuple, list)) else f"{type(a).__name__} {a!r}"
        if a.is_constant and a.data.size == 1:
            return f"{a.dtype} {a.data.item()!r}"
        found = self.place(a)
        if found:
            # a product that broadcasts against something larger was refused by its size
            return found if a.shape == shape or math.prod(a.shape) == math.prod(shape) else None
        if a in self.values:
            return f"in{self.values.index(a)}"
        access = self.resolve(a)
        if access is None or access.root in self.known:
            return None
        stretched = broadcast(access, shape)
        strides = view_strides(shape, stretched.strides, self.shape)
        if strides is None:
            return None
        self.values.append(a)
        self.inputs.append(replace(stretched, shape=self.shape, strides=strides))
        return f"in{len(self.values) - 1}"


def broadcast(x: Access, shape: Ints) -> Access:
    """The access stretched to `shape` by strides of 0."""
    lead = len(shape) - len(x.shape)
    strides = [0 if n == 1 != m else s for n, m, s in zip(x.shape, shape[lead:], x.strides, strict=True)]
    return replace(x, shape=shape, strides=(*[0] * lead, *strides))
