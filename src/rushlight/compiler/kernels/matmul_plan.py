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
# Cycles that handing out a chunk costs, what one call of a block costs besides its arithmetic, and to go on to the next
# row to store to.
HANDING, CALL, ROW = 1000, 25, 5
# Cycles an element for packing by copying, by transposing, element by element; and for turning a result.
PACKING = {"": 0.0, "copy": 0.1, "turn": 0.3, "gather": 1.5}
TURNING = 1.5
# Cycles an element for going through an operand once more.
BEFORE = 1.2
# An L1 cache holds this many lines that lie a multiple of PAGE bytes apart.
WAYS, PAGE, LINE = 8, 4096, 64
# An L2 cache holds WAYS lines that lie a multiple of L2_WAY bytes apart; so many pages are known to the processor.
L2_WAY, TLB = 128 * 1024, 2048
# Rows or columns that are read side by side, each of it once.
STREAMS = 6
# Cycles to go on to the next of rows that lie FAR_ROWS bytes or more apart.
JUMP, FAR_ROWS = 12, 512
# Sizes of an operand from which on it comes from further away, and bytes a cycle that then arrive.
NEAR, FAR = 512 * 1024, 4 * 1024 * 1024
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
    """out[.., m, n] = a[.., m, k] @ b[.., k, n]; `dtype` is that of the arithmetic.

    `paired` numbers of bfloat16 are summed two a step: then `k`, and the strides along it, are those of pairs.
    """

    batch: Ints
    m: int
    n: int
    k: int
    a: Matrix
    b: Matrix
    out: Matrix
    dtype: Any
    paired: int = 0

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
    before : whether a kernel of its own packs the whole left operand, block after block
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
    before: bool = False

    def turns_back(self, x: Product) -> bool:
        """Whether finished blocks are transposed on their way out; a result of one column lies right as it is."""
        return self.form == "turned" and x.n != 1

    def chunks(self, x: Product) -> tuple[int, int, int]:
        """Number of chunks along rows, columns, matrices."""
        sizes = (x.m, x.n, math.prod(x.batch))
        return tuple(-(-size // step) for size, step in zip(sizes, self.chunk, strict=True))  # type: ignore[return-value]

    def pitch(self, lanes: int) -> int:
        """Numbers of a step of a packed block of rows."""
        return self.rows if self.before else -(-self.rows // lanes) * lanes


@lru_cache(1024)
def choose(x: Product, machine: Machine, alone: bool = True) -> Plan:
    """The cheapest plan by estimated cycles; `alone`: that one kernel carries out."""
    plans = [_rows(x, machine, "rows"), _rows(x.turned, machine, "turned")]
    if not alone and all(x.a.batch) and all(x.b.batch):
        plans += [_rows(x, machine, "rows", True), _rows(x.turned, machine, "turned", True)]
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


def _rows(x: Product, machine: Machine, form: str, before: bool = False) -> Plan:
    """The cheapest plan with vectors along the columns of `x`."""
    size, lanes = x.dtype.itemsize, machine.lanes
    pack_b = _packing(x.b.column, x.b.row, x.n, x.k, x.b.dtype, x)
    if not pack_b and x.m > 32 and x.k > 8 and x.b.row >= FAR_ROWS and x.n > lanes:
        # rows of the right operand lie far apart
        pack_b = "copy"
    in_place = x.paired % 2 == 0 and x.a.column == size if x.paired else x.a.dtype == x.dtype
    pack_a = "" if in_place else _packing(x.a.row, x.a.column, x.m, x.k, x.a.dtype, x)
    if before:
        pack_a = pack_a or ("copy" if x.a.row == x.a.dtype.itemsize else "turn")
    far = 0.0 if pack_a else _scattered(x)
    left = x.m * x.k * size
    rate = RATES[(left > NEAR) + (left > FAR)]
    options = []
    for rows, vectors in _blocks(x, machine, bool(pack_a)):
        sets = _sets(rows * vectors, vectors, x.k, machine)
        columns, depth = vectors * lanes, x.k
        most = STACK // 2 // (columns * size) // lanes * lanes
        if (pack_b or pack_a and not before) and x.k > most:
            depth = -(-x.k // -(-x.k // most) // lanes) * lanes
            sets = 1

        def block(height: int, width: int, sets: int = sets) -> float:
            vectors = -(-width // lanes)
            jump = 0.0 if pack_b else _jump(x.b.row) + 1.5 * vectors
            fetch = _fetch(x.k * width * size) * vectors
            step = max(height * vectors, fetch, jump, 4 / sets, height * size / rate)
            packed = 0.0 if before else 3 * height * PACKING[pack_a]
            spread = far * -(-height * size // LINE)
            work = max(x.k * (step + spread + packed), height * (ROW + 2 * vectors))
            return float(work + CALL + 1.5 * height * vectors)

        # lines next to one another come by themselves, unless little is done with each or they are a page apart
        far_apart = pack_b == "copy" and (x.m < 8 or x.b.row % PAGE == 0)
        column = x.k * (PACKING[pack_b] + (_jump(x.b.row) / columns if far_apart else 0.0))
        turning = TURNING * -(-rows // lanes) * lanes / rows if form == "turned" and x.m > 1 else 0.0
        # a sum in parts comes back to its block's numbers
        parts = 0.3 * -(-x.k // depth) + 0.7 if depth < x.k else 0.0
        cost = _Cost(block, column, turning + parts)
        # the code of remainders is not free either
        spare = 1 + 0.005 * ((x.m % rows > 0 and x.m > rows) + (x.n % columns > 0 and x.n > columns)) + 5e-5 * rows
        options.append((cost.part(x.m, x.n, rows, columns) * spare, rows, vectors, sets, depth, cost))
    options.sort(key=lambda o: o[:3])
    plans = []
    for _, rows, vectors, sets, depth, cost in options[:3]:
        room = STACK // 4 // (vectors * lanes * size) if depth < x.k else x.m + rows
        chunk, cycles = _chunk(x, rows, vectors * lanes, cost, room)
        if before:
            cycles += math.prod(x.batch) * x.m * x.k * (BEFORE + PACKING[pack_a]) / 2 + 2 * HANDING
        plans.append(Plan(form, rows, vectors, sets, pack_a, pack_b, depth, chunk, cycles, before))
    return min(plans, key=lambda p: p.cost)


def _jump(step: int) -> float:
    """Cycles to go on to a row so many bytes further."""
    return 0.0 if step < FAR_ROWS else JUMP if step % PAGE else 2 * JUMP


def _scattered(x: Product) -> float:
    """Cycles for each line of a step of a left operand whose rows lie side by side and whose steps lie far apart."""
    lines = min(TLB, WAYS * L2_WAY // math.gcd(x.a.column, L2_WAY))
    if x.a.row != x.dtype.itemsize or x.a.column < 2 * FAR_ROWS or x.k <= 2 * lines:
        return 0.0
    return 5.0 if x.k <= 8 * lines else 30.0


def _blocks(x: Product, machine: Machine, pack_a: bool) -> Iterator[tuple[int, int]]:
    """Register blocks worth looking at: rows and vectors."""
    most_rows = min(x.m, machine.registers)
    if x.a.column == x.dtype.itemsize and x.k > 64 and not pack_a and x.a.row % 64 == 0:
        # rows whose lines fall on the same places of the cache would drive each other out
        most_rows = min(most_rows, max(4, WAYS * (PAGE // math.gcd(x.a.row, PAGE)) - 2))
    # the vectors of a single row are used once and need no registers of their own
    widest = machine.registers - 8 if x.m == 1 else min(8, machine.registers // 2 - 1)
    for vectors in range(1, min(widest, -(-x.n // machine.lanes)) + 1 if x.n else 2):
        most = max(1, min(most_rows, (machine.registers - 1) // vectors - 1))
        yield from ((rows, vectors) for rows in range(min(most, -(-8 // vectors)), most + 1))


def _sets(accumulators: int, vectors: int, k: int, machine: Machine) -> int:
    """Sets of accumulators that keep some eight multiply-adds in flight."""
    sets = max(1, min(8 // accumulators, k // 2))
    return sets if accumulators * sets + vectors + 1 <= machine.registers else 1


def _fetch(held: int) -> float:
    """Cycles to read a vector of the right operand again, where `held` bytes of it are in use."""
    return 1.0 if held <= 32 * 1024 else 2.5 if held <= NEAR else 5.0


def _packing(along: int, across: int, count: int, k: int, dtype: Any, x: Product) -> str:
    """How to bring an operand into rows of vectors: strides along the vector and along the sum."""
    if along == dtype.itemsize or count == 1:
        return "" if dtype == x.dtype else "copy"
    return "turn" if across == dtype.itemsize * (2 if x.paired else 1) or k == 1 and not x.paired else "gather"


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
    if not x.paired and (x.a.dtype != x.dtype or x.b.dtype != x.dtype):
        return None
    if x.a.column != size or x.b.row != size or x.k < lanes:
        return None
    steps = -(-x.k // lanes)
    # so many rows and columns of an operand that is read once, or whose lines fall on the same places of the cache
    tall, wide = (
        STREAMS if once or stride % PAGE == 0 and x.k * size >= PAGE else x.m + x.n
        for once, stride in ((x.n == 1, x.a.row), (x.m == 1, x.b.column))
    )

    def block(height: int, width: int) -> float:
        fetch = _fetch(x.k * width * size)
        step = max(height * width, 2 * height + fetch * width, 4)
        return steps * step + CALL + height * (width * 2.5 + 8)

    cost = _Cost(block)
    options = []
    for columns in range(1, min(lanes, x.n, wide) + 1):
        for rows in range(1, min(x.m, (machine.registers - 1) // columns - 1, tall) + 1):
            options.append((cost.part(x.m, x.n, rows, columns), rows, columns))
    if not options:
        return None
    _, rows, columns = min(options)
    chunk, cycles = _chunk(x, rows, columns, cost, x.m + rows)
    return Plan("dot", rows, columns, 1, "", "", x.k, chunk, cycles)
