"""How a matrix product is cut: register block, packing, chunks. Everything follows from sizes and strides."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

Ints = tuple[int, ...]

# Bytes that a chunk may keep on its thread's stack, half of it for packed columns.
STACK = 256 * 1024
# Cycles that handing out a chunk costs, and what one call of a block costs besides its arithmetic.
HANDING, CALL = 1000, 25
# Cycles an element for packing by copying, by transposing, element by element; and for turning a result.
PACKING = {"": 0.0, "copy": 0.1, "turn": 0.3, "gather": 1.5}
TURNING = 1.5
# An L1 cache holds this many lines that lie a multiple of PAGE bytes apart.
WAYS, PAGE = 8, 4096
# Sizes of an operand from which on it comes from further away, and bytes a cycle that then arrive.
NEAR, FAR = 512 * 1024, 16 * 1024 * 1024
RATES = 16.0, 4.0, 2.0


@dataclass(frozen=True)
class Matrix:
    """An operand or the result: slot, bytes from its start, strides in bytes of batch dims, rows and columns."""

    slot: int
    offset: int
    batch: Ints
    row: int
    column: int
    dtype: Any

    @property
    def turned(self) -> Matrix:
        """The transposed matrix."""
        return replace(self, row=self.column, column=self.row)


@dataclass(frozen=True)
class Product:
    """out[.., m, n] = a[.., m, k] @ b[.., k, n]; `dtype` is that of the arithmetic."""

    batch: Ints
    m: int
    n: int
    k: int
    a: Matrix
    b: Matrix
    out: Matrix
    dtype: Any

    @property
    def turned(self) -> Product:
        """The same numbers as the product of the transposed operands in the other order."""
        return replace(self, m=self.n, n=self.m, a=self.b.turned, b=self.a.turned, out=self.out.turned)


@dataclass(frozen=True)
class Machine:
    """What the choice depends on: elements and number of vector registers."""

    lanes: int
    registers: int


@dataclass(frozen=True)
class Plan:
    """How the code goes about a product.

    Attributes
    ----------
    form : "rows" (rows broadcast, vectors along the columns), "turned" (the same of the transposed product), or "dot"
        (vectors along the summed dim)
    rows, vectors : the register block; in form "dot" `vectors` counts columns
    sets : accumulators of their own for so many steps in a row
    pack_a, pack_b : "" (read in place), "copy", "turn" (transpose) or "gather"
    depth : steps between visits to a block's accumulators; k, where all fit
    chunk : rows, columns and matrices of a chunk
    cost : estimated cycles
    """

    form: str
    rows: int
    vectors: int
    sets: int
    pack_a: str
    pack_b: str
    depth: int
    chunk: tuple[int, int, int]
    cost: float

    def turns_back(self, x: Product) -> bool:
        """Whether finished blocks are transposed on their way out; a result of one column lies right as it is."""
        return self.form == "turned" and x.n != 1

    def chunks(self, x: Product) -> tuple[int, int, int]:
        """Number of chunks along rows, columns, matrices."""
        sizes = (x.m, x.n, math.prod(x.batch))
        return tuple(-(-size // step) for size, step in zip(sizes, self.chunk, strict=True))  # type: ignore[return-value]


@lru_cache(1024)
def choose(x: Product, machine: Machine) -> Plan:
    """The cheapest plan by estimated cycles."""
    plans = [_rows(x, machine, "rows"), _rows(x.turned, machine, "turned")]
    dot = _dot(x, machine)
    if dot is not None:
        plans.append(dot)
    return min(plans, key=lambda p: p.cost)


@dataclass(frozen=True)
class _Cost:
    """Estimated cycles: of a block's call by rows and columns, of packing a column, of finishing a result."""

    block: Callable[[int, int], float]
    column: float = 0.0
    result: float = 0.0

    def part(self, height: int, width: int, rows: int, columns: int) -> float:
        """So many rows and columns in blocks of `rows` x `columns`."""
        total = self.column * width + self.result * height * width
        for w, panels in ((columns, width // columns), (width % columns, 1)):
            for h, lines in ((rows, height // rows), (height % rows, 1)):
                if w and h and panels and lines:
                    total += panels * lines * self.block(h, w)
        return float(total)


def _rows(x: Product, machine: Machine, form: str) -> Plan:
    """The cheapest plan with vectors along the columns of `x`."""
    size, lanes = x.dtype.itemsize, machine.lanes
    pack_b = _packing(x.b.column, x.b.row, x.n, x.k, x.b.dtype, x.dtype)
    if not pack_b and x.m > 32 and x.k > 8 and x.b.row >= 512 and x.n > lanes:
        # rows of the right operand lie far apart
        pack_b = "copy"
    pack_a = "" if x.a.dtype == x.dtype else _packing(x.a.row, x.a.column, x.m, x.k, x.a.dtype, x.dtype) or "copy"
    left = x.m * x.k * size
    rate = RATES[(left > NEAR) + (left > FAR)]
    options = []
    for rows, vectors in _blocks(x, machine, bool(pack_a)):
        sets = _sets(rows * vectors, vectors, x.k, machine)
        columns, depth = vectors * lanes, x.k
        most = STACK // 2 // (columns * size) // lanes * lanes
        if (pack_b or pack_a) and x.k > most:
            depth = -(-x.k // -(-x.k // most) // lanes) * lanes
            sets = 1

        def block(height: int, width: int, sets: int = sets) -> float:
            vectors = -(-width // lanes)
            step = max(height * vectors, _fetch(x.k * width * size) * vectors, 4 / sets, height * size / rate)
            return float(x.k * (step + height * PACKING[pack_a]) + CALL + 1.5 * height * vectors)

        turning = TURNING * -(-rows // lanes) * lanes / rows if form == "turned" and x.m > 1 else 0.0
        # a sum in parts comes back to its block's numbers
        parts = 0.3 * -(-x.k // depth) + 0.7 if depth < x.k else 0.0
        cost = _Cost(block, x.k * PACKING[pack_b], turning + parts)
        # the code of remainders is not free either
        spare = 1 + 0.005 * ((x.m % rows > 0 and x.m > rows) + (x.n % columns > 0 and x.n > columns)) + 5e-5 * rows
        options.append((cost.part(x.m, x.n, rows, columns) * spare, rows, vectors, sets, depth, cost))
    options.sort(key=lambda o: o[:3])
    plans = []
    for _, rows, vectors, sets, depth, cost in options[:3]:
        room = STACK // 2 // (vectors * lanes * size) if depth < x.k else x.m + rows
        chunk, cycles = _chunk(x, rows, vectors * lanes, cost, room)
        plans.append(Plan(form, rows, vectors, sets, pack_a, pack_b, depth, chunk, cycles))
    return min(plans, key=lambda p: p.cost)


def _blocks(x: Product, machine: Machine, pack_a: bool) -> Iterator[tuple[int, int]]:
    """Register blocks worth looking at: rows and vectors."""
    most_rows = min(x.m, machine.registers)
    if x.a.column == x.dtype.itemsize and x.k > 64 and not pack_a and x.a.row % 64 == 0:
        # rows whose lines fall on the same places of the cache would drive each other out
        most_rows = min(most_rows, max(4, WAYS * (PAGE // math.gcd(x.a.row, PAGE)) - 2))
    for vectors in range(1, min(8, -(-x.n // machine.lanes), machine.registers // 2 - 1) + 1 if x.n else 2):
        most = max(1, min(most_rows, (machine.registers - 1) // vectors - 1))
        yield from ((rows, vectors) for rows in range(min(most, -(-8 // vectors)), most + 1))


def _sets(accumulators: int, vectors: int, k: int, machine: Machine) -> int:
    """Sets of accumulators that keep some eight multiply-adds in flight."""
    sets = max(1, min(8 // accumulators, k // 2))
    return sets if accumulators * sets + vectors + 1 <= machine.registers else 1


def _fetch(held: int) -> float:
    """Cycles to read a vector of the right operand again, where `held` bytes of it are in use."""
    return 1.0 if held <= 32 * 1024 else 2.5 if held <= NEAR else 5.0


def _packing(along: int, across: int, count: int, k: int, dtype: Any, wanted: Any) -> str:
    """How to bring an operand into rows of vectors: strides along the vector and along the sum."""
    if along == dtype.itemsize or count == 1:
        return "" if dtype == wanted else "copy"
    return "turn" if across == dtype.itemsize or k == 1 else "gather"


def _chunk(x: Product, rows: int, columns: int, cost: _Cost, room: int) -> tuple[tuple[int, int, int], float]:
    """Rows, columns and matrices of a chunk, and the cycles of the whole product on two cores.

    The cut must do for few cores as for many; `room` is the most rows that a chunk may have.
    """
    batch = math.prod(x.batch)
    lines, panels = -(-x.m // rows), -(-x.n // columns)
    best: tuple[float, tuple[int, int, int], float] | None = None
    for tall in _cuts(lines, max(1, room // rows)):
        for wide in _cuts(panels, panels):
            part = cost.part(min(tall * rows, x.m), min(wide * columns, x.n), rows, columns)
            whole = tall >= lines and wide >= panels
            if not whole and batch >= 32 and room >= x.m:
                continue
            for thick in _cuts(batch, batch) if whole else (1,):
                count = -(-lines // tall) * -(-panels // wide) * -(-batch // thick)
                one = thick * part + HANDING
                two, many = -(-count // 2) * one, -(-count // 16) * one
                score = two + 0.25 * many
                if best is None or score < best[0]:
                    best = score, (tall * rows, wide * columns, thick), two
    assert best is not None
    return best[1], best[2]


def _cuts(count: int, most: int) -> list[int]:
    """Sizes of parts worth looking at, none above `most`."""
    parts = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
    return sorted({min(most, -(-count // n)) for n in parts if n <= max(count, 1)} or {1}) or [1]


def _dot(x: Product, machine: Machine) -> Plan | None:
    """The plan with vectors along the summed dim, where both operands allow it."""
    size, lanes = x.dtype.itemsize, machine.lanes
    if x.a.dtype != x.dtype or x.b.dtype != x.dtype or x.a.column != size or x.b.row != size or x.k < lanes:
        return None
    steps = -(-x.k // lanes)
    crowded = x.k * size >= PAGE and (x.a.row % PAGE == 0 or x.b.column % PAGE == 0)

    def block(height: int, width: int) -> float:
        fetch = 5.0 if crowded else _fetch(x.k * width * size)
        step = max(height * width, (5 if crowded else 2) * height + fetch * width, 4)
        return steps * step + CALL + height * (width * 2.5 + 8)

    cost = _Cost(block)
    options = []
    for columns in range(1, min(lanes, x.n) + 1):
        for rows in range(1, min(x.m, (machine.registers - 1) // columns - 1) + 1):
            options.append((cost.part(x.m, x.n, rows, columns), rows, columns))
    if not options:
        return None
    _, rows, columns = min(options)
    chunk, cycles = _chunk(x, rows, columns, cost, x.m + rows)
    return Plan("dot", rows, columns, 1, "", "", x.k, chunk, cycles)
