"""The register-blocked multiplication that matrix products and convolutions are made of, written as LLVM IR.

A block of `rows` x `vectors` accumulators takes, step by step, one number per row (broadcast) times one row of vectors:
batch-reduce matrix multiplication (E. Georganas et al., "High-Performance Deep Learning via a Single Building Block",
arXiv 1906.06440). Sizes and strides are constants of the code; remainders are masks, so nothing outside a buffer is
touched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rushlight.compiler.binding import ir
from rushlight.compiler.lanes_core import Emitter, Lanes

I16 = np.dtype(np.int16)
# An int known now, or an i64 of the running code.
Index = Any
# None: all lanes; an int: that many from the first; otherwise a vector of i1.
Mask = Any
IR = Any


class Code:
    """An IRBuilder with what these kernels need: byte addresses, counted loops, masked vectors of one dtype.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
    dtype : NumPy dtype of the arithmetic, float32 or float64
    lanes : elements of a vector
    pairs : whether operands are words of two bfloat16 numbers, whose products are summed in float32
    """

    def __init__(self, builder: IR, dtype: Any, lanes: int, *, pairs: bool = False) -> None:
        self.b = builder
        self.emitter = Emitter(builder, builder.module)
        self.dtype = np.dtype(dtype)
        self.size: int = self.dtype.itemsize
        self.lanes = lanes
        self.pairs = pairs
        self.i64 = ir.IntType(64)
        self.byte = ir.IntType(8)
        self.scalar = ir.FloatType() if self.size == 4 else ir.DoubleType()
        self.vector = ir.VectorType(self.scalar, lanes)
        self.bits = ir.VectorType(ir.IntType(1), lanes)
        self.zero = ir.Constant(self.vector, None)

    # Whole numbers: Python's where they are known, so that constants fold before LLVM sees them.

    def value(self, n: Index) -> IR:
        """`n` as an i64 of the code."""
        return ir.Constant(self.i64, n) if isinstance(n, int) else n

    def add(self, x: Index, y: Index) -> Index:
        """x + y."""
        if isinstance(x, int) and isinstance(y, int):
            return x + y
        if isinstance(x, int) and x == 0 or isinstance(y, int) and y == 0:
            return x if isinstance(y, int) else y
        return self.b.add(self.value(x), self.value(y), flags=("nsw",))

    def sub(self, x: Index, y: Index) -> Index:
        """x - y."""
        if isinstance(y, int):
            return self.add(x, -y)
        return self.b.sub(self.value(x), y, flags=("nsw",))

    def mul(self, x: Index, y: Index) -> Index:
        """x * y."""
        if isinstance(x, int) and isinstance(y, int):
            return x * y
        for one, other in ((x, y), (y, x)):
            if isinstance(one, int) and one in (0, 1):
                return one * other if isinstance(other, int) else other if one else 0
        return self.b.mul(self.value(x), self.value(y), flags=("nsw",))

    def divide(self, x: Index, y: int) -> tuple[Index, Index]:
        """Quotient and remainder of a non-negative number."""
        if isinstance(x, int):
            return divmod(x, y)
        if y == 1:
            return x, 0
        return self.b.udiv(x, self.value(y)), self.b.urem(x, self.value(y))

    def least(self, x: Index, y: Index) -> Index:
        """min(x, y)."""
        if isinstance(x, int) and isinstance(y, int):
            return min(x, y)
        x, y = self.value(x), self.value(y)
        return self.b.select(self.b.icmp_signed("<", x, y), x, y)

    def at(self, pointer: IR, offset: Index) -> IR:
        """The address `offset` bytes further."""
        if isinstance(offset, int) and offset == 0:
            return pointer
        return self.b.gep(pointer, [self.value(offset)], source_etype=self.byte)

    # Control flow

    def loop(
        self, count: Index, body: Callable[..., Sequence[IR]], carried: Sequence[IR] = (), step: int = 1
    ) -> Sequence[IR]:
        """body(i, *carried) for i = 0, step, 2 step, ... below `count`; it returns what the next turn is handed."""
        known = isinstance(count, int)
        if known and count <= 0:
            return carried
        if known and count <= step:
            return body(0, *carried)
        b = self.b
        before = b.block
        turn, after = b.append_basic_block("turn"), b.append_basic_block("after")
        if known:
            b.branch(turn)
        else:
            b.cbranch(b.icmp_signed(">", count, self.value(0)), turn, after)
        b.position_at_end(turn)
        i = b.phi(self.i64)
        i.add_incoming(self.value(0), before)
        held = [b.phi(v.type) for v in carried]
        for phi, v in zip(held, carried, strict=True):
            phi.add_incoming(v, before)
        new = body(i, *held)
        following = self.add(i, step)
        last = b.block
        i.add_incoming(following, last)
        for phi, v in zip(held, new, strict=True):
            phi.add_incoming(v, last)
        b.cbranch(b.icmp_signed("<", following, self.value(count)), turn, after)
        b.position_at_end(after)
        if known:
            return new
        out = [b.phi(v.type) for v in carried]
        for phi, old, v in zip(out, carried, new, strict=True):
            phi.add_incoming(old, before)
            phi.add_incoming(v, last)
        return out

    def when(self, condition: IR | bool, then: Callable[[], None], otherwise: Callable[[], None] | None = None) -> None:
        """Write both ways of a condition, or only the one that is taken where it is known."""
        if isinstance(condition, bool):
            chosen = then if condition else otherwise
            if chosen is not None:
                chosen()
        elif otherwise is None:
            with self.b.if_then(condition):
                then()
        else:
            with self.b.if_else(condition) as (yes, no):
                with yes:
                    then()
                with no:
                    otherwise()

    def room(self, elements: int) -> IR:
        """An array on the stack, aligned to cache lines; called in a function's first block only."""
        space = self.b.alloca(ir.ArrayType(self.scalar, max(elements, 1)))
        space.align = 64
        opaque = self.b.gep(space, [self.value(0)], source_etype=self.byte)
        opaque.type = ir.PointerType()
        return opaque

    # Vectors

    def call(self, name: str, result: IR, *args: IR) -> IR:
        """Call an intrinsic."""
        module = self.b.module
        known = module.globals.get(name)
        fn = known or ir.Function(module, ir.FunctionType(result, [a.type for a in args]), name)
        return self.b.call(fn, args)

    def mask(self, count: Index) -> Mask:
        """The first `count` lanes."""
        if isinstance(count, int):
            return None if count >= self.lanes else max(count, 0)
        wide = ir.VectorType(self.i64, self.lanes)
        return self.b.icmp_signed("<", ir.Constant(wide, list(range(self.lanes))), self.spread(count))

    def spread(self, x: IR) -> IR:
        """A vector with `x` in every lane."""
        wide = ir.VectorType(x.type, self.lanes)
        first = self.b.insert_element(ir.Constant(wide, ir.Undefined), x, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), None)
        return self.b.shuffle_vector(first, ir.Constant(wide, ir.Undefined), zeros)

    def lanes_of(self, mask: Mask) -> Lanes | None:
        """A mask as lanes."""
        if mask is None:
            return None
        if isinstance(mask, int):
            mask = ir.Constant(self.bits, [int(i < mask) for i in range(self.lanes)])
        return Lanes(self.emitter, mask, np.dtype(np.bool_), self.lanes)

    def load(self, pointer: IR, mask: Mask = None, dtype: Any = None) -> IR:
        """A vector from memory, 0 in the lanes left out; half precision is widened."""
        if isinstance(mask, int) and mask == 0:
            return self.zero
        return self.emitter.load(pointer, dtype or self.dtype, self.lanes, self.lanes_of(mask)).value

    def store(self, x: IR, pointer: IR, mask: Mask = None, dtype: Any = None) -> None:
        """A vector to memory, rounded to `dtype`."""
        if isinstance(mask, int) and mask == 0:
            return
        lanes = Lanes(self.emitter, x, self.dtype, self.lanes)
        if dtype is not None and dtype != self.dtype:
            lanes = lanes.astype(dtype)
        self.emitter.store(lanes, pointer, self.lanes_of(mask))

    def words(self, pointer: IR, count: Index | None = None) -> IR:
        """A vector of pairs of bfloat16: the first `count` numbers, all by default, and zeros."""
        mask = None
        if count is not None and not (isinstance(count, int) and count >= 2 * self.lanes):
            mask = self.emitter.first(count, 2 * self.lanes)
        return self.b.bitcast(self.emitter.load(pointer, I16, 2 * self.lanes, mask).value, self.vector)

    def load_number(self, pointer: IR, dtype: Any = None) -> IR:
        """One number from memory, half precision widened; of pairs one word."""
        if self.pairs and dtype is None:
            return self.b.bitcast(self.b.load(pointer, typ=ir.IntType(32), align=2), self.scalar)
        return self.emitter.load(pointer, dtype or self.dtype, 1).value

    def fma(self, x: IR, y: IR, z: IR) -> IR:
        """x * y + z, rounded once where the machine can; of pairs both products are added."""
        if self.pairs:
            x, y = (self.b.bitcast(v, ir.VectorType(_BFloat(), 2 * self.lanes)) for v in (x, y))
            return self.call("llvm.x86.avx512bf16.dpbf16ps.512", self.vector, z, y, x)
        return self.call(f"llvm.fmuladd.v{self.lanes}{_letter(self.scalar)}", self.vector, x, y, z)

    def pick(self, x: IR, y: IR, lanes: Sequence[int]) -> IR:
        """Lanes of x (from 0) and y (from `lanes` on)."""
        return self.b.shuffle_vector(x, y, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes)))

    def transpose(self, room: IR, load: Callable[[Index], IR], store: Callable[[Index, IR], None]) -> None:
        """Turn a square: `lanes` vectors that load(row) gives go to store(column, vector).

        Blocks of 1, 2, 4, ... change places, half of the steps before and half after a stay in `room` (lanes x lanes
        numbers): LLVM takes its time over long chains of shuffles.
        """
        n, size = self.lanes, self.size
        near = 1 << (n.bit_length() // 2)

        def place(row: Index) -> IR:
            return self.at(room, self.mul(row, n * size))

        def first(i: Index) -> Sequence[IR]:
            for r, v in enumerate(self._swapped([load(self.add(i, r)) for r in range(near)], 1)):
                self.store(v, place(self.add(i, r)))
            return ()

        def second(j: Index) -> Sequence[IR]:
            far = [self.add(j, r) for r in range(0, n, near)]
            for r, v in zip(far, self._swapped([self.load(place(r)) for r in far], near), strict=True):
                store(r, v)
            return ()

        self.loop(n, first, step=near)
        self.loop(near, second)

    def turned(self, rows: Sequence[IR]) -> list[IR]:
        """The columns of a square of `lanes` rows, in registers: more code than `transpose`, and faster."""
        return self._swapped(rows, 1)

    def _swapped(self, rows: Sequence[IR], step: int) -> list[IR]:
        """Rows whose numbers differ by `step`, after the exchanges between them."""
        now, n, apart = list(rows), self.lanes, 1
        while apart < len(rows):
            s = apart * step
            low = [i if not i & s else n + i - s for i in range(n)]
            high = [i + s if not i & s else n + i for i in range(n)]
            for i in range(len(rows)):
                if not i & apart:
                    x, y = now[i], now[i + apart]
                    now[i], now[i + apart] = self.pick(x, y, low), self.pick(x, y, high)
            apart *= 2
        return now

    def sums(self, rows: Sequence[IR]) -> IR:
        """The sum over the lanes of each of up to `lanes` vectors, one sum a lane."""
        now, n, s = [*rows, *[self.zero] * (self.lanes - len(rows))], self.lanes, 1
        while s < n:
            low = [i if not i & s else n + i - s for i in range(n)]
            high = [i + s if not i & s else n + i for i in range(n)]
            pairs = list(zip(now[::2], now[1::2], strict=True))
            now = [
                self.zero if x is self.zero else self.b.fadd(self.pick(x, y, low), self.pick(x, y, high))
                for x, y in pairs
            ]
            s *= 2
        return now[0]


class _BFloat(ir.Type if ir else object):  # type: ignore[misc]
    """LLVM's bfloat, which llvmlite has no name for."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


def _letter(kind: IR) -> str:
    return "f32" if str(kind) == "float" else "f64"


class Operands:
    """Where a block finds its numbers.

    Attributes
    ----------
    a : address of the first row's first number
    rows : bytes from `a` to each row's first number
    b : address of the first vector
    vectors : bytes from `b` to each vector
    steps : of each summed dim, outermost first: count, bytes that `a` moves on, bytes that `b` moves on
    mask : of the last vector of `b`
    """

    __slots__ = ("a", "b", "mask", "rows", "steps", "vectors")

    def __init__(
        self, a: IR, rows: Sequence[int], b: IR, vectors: Sequence[int], steps: Sequence[tuple[Index, int, int]],
        mask: Mask = None,
    ) -> None:  # fmt: skip
        self.a, self.rows = a, tuple(rows)
        self.b, self.vectors = b, tuple(vectors)
        self.steps = tuple(steps)
        self.mask = mask


def multiply(code: Code, x: Operands, start: Sequence[IR] | None = None, sets: int = 1) -> list[IR]:
    """Accumulators of a block, row by row, after all steps.

    Parameters
    ----------
    code : where to write
    x : the operands
    start : what the accumulators hold before; None: zeros
    sets : so many steps in a row go to accumulators of their own, added at the end: small blocks would wait otherwise
    """
    size = len(x.rows) * len(x.vectors)
    acc = list(start) if start is not None else [code.zero] * size
    if sets == 1:
        return list(_nest(code, x, x.steps, x.a, x.b, acc))
    ((count, a_step, b_step),) = x.steps
    whole = count // sets * sets

    def turn(i: Index, *held: IR) -> Sequence[IR]:
        new: list[IR] = []
        for s in range(sets):
            k = code.add(i, s)
            a, b = code.at(x.a, code.mul(k, a_step)), code.at(x.b, code.mul(k, b_step))
            new += _step(code, x, a, b, held[s * size : (s + 1) * size])
        return new

    held = code.loop(whole, turn, [*acc, *[code.zero] * (size * (sets - 1))], sets)
    acc = list(held[:size])
    for s in range(1, sets):
        acc = [code.b.fadd(p, q) for p, q in zip(acc, held[s * size : (s + 1) * size], strict=True)]
    for k in range(whole, count):
        acc = _step(code, x, code.at(x.a, k * a_step), code.at(x.b, k * b_step), acc)
    return acc


def _nest(code: Code, x: Operands, steps: Sequence[Any], a: IR, b: IR, acc: Sequence[IR]) -> Sequence[IR]:
    if not steps:
        return _step(code, x, a, b, acc)
    (count, a_step, b_step), *inner = steps

    def turn(i: Index, *held: IR) -> Sequence[IR]:
        return _nest(code, x, inner, code.at(a, code.mul(i, a_step)), code.at(b, code.mul(i, b_step)), held)

    return code.loop(count, turn, acc)


def _step(code: Code, x: Operands, a: IR, b: IR, acc: Sequence[IR]) -> list[IR]:
    last = len(x.vectors) - 1
    wide = [code.load(code.at(b, o), x.mask if j == last else None) for j, o in enumerate(x.vectors)]
    new = []
    for i, offset in enumerate(x.rows):
        number = code.spread(code.load_number(code.at(a, offset)))
        new += [code.fma(number, v, acc[i * len(wide) + j]) for j, v in enumerate(wide)]
    return new


def dot_products(code: Code, x: Operands, count: int) -> list[IR]:
    """Accumulators of a block whose operands both run along the summed dim: vectors of partial sums.

    `x.vectors` are the bytes from `x.b` to each column's first number, `count` the numbers summed.
    """
    acc = [code.zero] * (len(x.rows) * len(x.vectors))
    load = code.words if code.pairs else code.load
    lanes, size = (2 * code.lanes, code.size // 2) if code.pairs else (code.lanes, code.size)
    whole = count // lanes * lanes

    def turn(i: Index, *held: IR, some: int | None = None) -> Sequence[IR]:
        a, b = (code.at(p, code.mul(i, size)) for p in (x.a, x.b))
        columns = [load(code.at(b, o), some) for o in x.vectors]
        new = []
        for r, offset in enumerate(x.rows):
            row = load(code.at(a, offset), some)
            new += [code.fma(row, c, held[r * len(columns) + j]) for j, c in enumerate(columns)]
        return new

    acc = list(code.loop(whole, turn, acc, lanes))
    return list(turn(whole, *acc, some=count - whole)) if whole < count else acc
