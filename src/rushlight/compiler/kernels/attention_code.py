"""What the kernels of attention share: sizes and their cut into blocks, where operands lie, turning rows into lanes.

FlashAttention (T. Dao et al., arXiv 2205.14135): no matrix of all scores exists. Forward, a chunk's queries are the
lanes of vectors, so that maxima and sums need no work across lanes, and keys and values are read number by number,
whatever their strides; backward, keys are the lanes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from rushlight.compiler.access import Access, byte_strides
from rushlight.compiler.binding import ir
from rushlight.compiler.graph import Value
from rushlight.compiler.kernels.chunked import entry
from rushlight.compiler.kernels.microkernel import Index, Mask, Operands, multiply
from rushlight.compiler.lanes_core import Lanes
from rushlight.compiler.target import host

IR = Any
Ints = tuple[int, ...]
BOOL = np.dtype(np.bool_)
# Queries or keys up to which blocks of a causal attention have one vector.
NARROW = 256
# Chunks that there should be, however few heads.
CHUNKS = 16


@dataclass(frozen=True)
class Place:
    """Where an operand or a result lies: slot, bytes from its start, strides in bytes, dtype."""

    slot: int
    offset: int
    strides: Ints
    dtype: Any


@dataclass(frozen=True)
class Attention:
    """The sizes of an attention and the blocks of its kernels.

    Attributes
    ----------
    lead : batch dims
    rows, columns : queries, keys
    features, values : sizes of a query or key, of a value
    scale, causal : as the op has them
    dtype : name
    lanes, vectors : of what runs along the lanes: a chunk's queries forward, a block of keys backward
    tile : accumulators in the other direction
    block : rows in the other direction whose scores are held at once
    """

    lead: Ints
    rows: int
    columns: int
    features: int
    values: int
    scale: float
    causal: bool
    dtype: str
    lanes: int
    vectors: int
    tile: int
    block: int

    @property
    def batch(self) -> int:
        """How many matrices."""
        return math.prod(self.lead)

    @property
    def size(self) -> int:
        """Bytes of a number."""
        return np.dtype(self.dtype).itemsize

    @property
    def width(self) -> int:
        """Numbers in the lanes of all vectors."""
        return self.lanes * self.vectors

    @property
    def line(self) -> int:
        """Bytes of so many numbers."""
        return self.width * self.size

    def padded(self, n: int) -> int:
        """`n` up to whole vectors."""
        return -(-n // self.lanes) * self.lanes


def sizes(q: Access, k: Access, v: Access, scale: float, causal: bool, *, across: int, block: int) -> Attention:
    """The cut of an attention whose lanes run along `across` rows: from sizes alone."""
    machine = host()
    lanes = machine.lanes(q.dtype)
    while lanes > 4 and across <= lanes // 2:
        lanes //= 2
    wide = machine.registers >= 32
    # blocks at the edge of a causal mask do half of their work in vain: small ones where many are there
    vectors = 2 if across > (NARROW if causal else lanes) else 1
    return Attention(
        q.shape[:-2], q.shape[-2], k.shape[-2], q.shape[-1], v.shape[-1], float(scale), causal,
        np.dtype(q.dtype).name, lanes, vectors, 8 if wide else 4, block,
    )  # fmt: skip


def places(operands: Sequence[Access | None]) -> tuple[tuple[Value, ...], list[Place | None]]:
    """The roots of some operands, each once, and where the operands lie."""
    roots = tuple(dict.fromkeys(a.root for a in operands if a is not None))
    return roots, [
        None if a is None else Place(roots.index(a.root), a.offset, _steps(a.shape, a.strides), a.dtype)
        for a in operands
    ]


def _steps(shape: Ints, strides: Ints) -> Ints:
    return tuple(0 if n == 1 else s for n, s in zip(shape, strides, strict=True))


def result(slot: int, value: Value, order: Ints | None = None, part: int | None = None) -> Place:
    """Where a result lies.

    `order` are the dims of the result as they lie in memory. With a `part`, dim 0 says which of several results it is.
    """
    strides = byte_strides(value.shape, value.dtype.itemsize)
    if order is not None:
        strides = tuple(strides[order.index(d)] for d in range(len(order)))
    if part is None:
        return Place(slot, 0, strides, value.dtype)
    return Place(slot, part * strides[0], strides[1:], value.dtype)


class Writer:
    """Writes one chunk of a kernel of attention."""

    def __init__(self, module: Any, name: str, x: Attention) -> None:
        self.x = x
        self.code, self.slots, self.chunk = entry(module, name, np.dtype(x.dtype), x.lanes)
        self.square = self.code.room(x.lanes * x.lanes)

    def array(self, slot: int) -> IR:
        """The address of an array."""
        return self.code.b.load(self.code.at(self.slots, 8 * slot), typ=ir.PointerType())

    def matrix(self, place: Place, index: Index) -> IR:
        """The address of the matrix (or row) of one batch index."""
        code, lead = self.code, self.x.lead
        base = self.array(place.slot)
        offset: Index = place.offset
        for n, stride in zip(reversed(lead), reversed(place.strides[: len(lead)]), strict=True):
            index, i = code.divide(index, n)
            offset = code.add(offset, code.mul(i, stride))
        return code.at(base, offset)

    def lanes(self, x: IR) -> Lanes:
        """A vector as lanes."""
        return Lanes(self.code.emitter, x, self.code.dtype, self.code.lanes)

    def number(self, x: float) -> Lanes:
        """A number in all lanes."""
        return self.code.emitter.constant(x, self.code.dtype, self.code.lanes)

    def vectors(self) -> list[int]:
        """Bytes from the first of a line's vectors to each."""
        return [v * self.x.lanes * self.x.size for v in range(self.x.vectors)]

    def masks(self, count: Index) -> list[Mask]:
        """The lanes of `count` numbers, vector by vector."""
        code, x = self.code, self.x
        if isinstance(count, int) and count >= x.width:
            return [None] * x.vectors
        return [code.mask(code.sub(count, v * x.lanes)) for v in range(x.vectors)]

    def line(self, room: IR, row: Index) -> IR:
        """The address of a row of a room [rows, width]."""
        return self.code.at(room, self.code.mul(row, self.x.line))

    def spread(self, pointer: IR) -> Lanes:
        """A number from memory in all lanes."""
        return self.lanes(self.code.spread(self.code.load_number(pointer)))

    def clear(self, room: IR, rows: int) -> None:
        """Fill rows of a room [rows, width] with zeros."""
        code = self.code

        def row(i: Index) -> tuple[()]:
            for o in self.vectors():
                code.store(code.zero, code.at(self.line(room, i), o))
            return ()

        code.loop(rows, row)

    # Between memory and rooms

    def take(
        self, source: IR, steps: tuple[int, int], sizes: tuple[Index, Index], put: Callable[[int, Index, Lanes], None],
        dtype: Any,
    ) -> None:  # fmt: skip
        """Read a matrix whose rows become lanes: put(vector, column, lanes) for all columns, up to whole vectors.

        Parameters
        ----------
        source : address of its first number
        steps : bytes from row to row, from column to column
        sizes : rows, columns; other lanes are 0
        put : what to do with a vector of a column
        dtype : of the numbers
        """
        for v in range(self.x.vectors):
            first = v * self.x.lanes
            count = self.code.sub(sizes[0], first)
            if isinstance(count, int) and count <= 0:
                count = 0
            self._take(source, first, steps, (count, sizes[1]), partial(put, v), dtype)

    def _take(
        self, source: IR, first: int, steps: tuple[int, int], sizes: tuple[Index, Index],
        put: Callable[[Index, Lanes], None], dtype: Any,
    ) -> None:  # fmt: skip
        code, e, n = self.code, self.code.emitter, self.code.lanes
        (across, along), (count, columns) = steps, sizes
        lanes = code.lanes_of(code.mask(count))
        source = code.at(source, first * across)
        if along != dtype.itemsize or across in (0, dtype.itemsize):

            def column(u: Index) -> tuple[()]:
                at = code.at(source, code.mul(u, along))
                if across == dtype.itemsize:
                    put(u, e.load(at, dtype, n, lanes))
                elif across == 0:
                    put(u, e.splat(e.load(at, dtype, 1), n))
                else:
                    put(u, e.gather(at, e.sequence(range(n), np.dtype(np.int64)), dtype, lanes, scale=across))
                return ()

            code.loop(columns, column)
            return

        def square(u: Index) -> tuple[()]:
            wide = code.least(n, code.sub(columns, u))
            at = code.at(source, code.mul(u, along))

            def load(r: Index) -> IR:
                mask = code.lanes_of(self._within(r, count, wide))
                return self._number(e.load(code.at(at, code.mul(r, across)), dtype, n, mask)).value

            code.transpose(self.square, load, lambda r, x: put(code.add(u, r), self.lanes(x)))
            return ()

        code.loop(columns, square, step=n)

    def _number(self, x: Lanes) -> Lanes:
        return x if x.dtype == self.code.dtype else x.astype(self.code.dtype)

    def _within(self, row: Index, rows: Index, wide: Index) -> Mask:
        """So many lanes, none for a row that there is not."""
        code = self.code
        if isinstance(rows, int) and rows >= code.lanes:
            return code.mask(wide)
        inside = code.b.icmp_signed("<", code.value(row), code.value(rows))
        return code.mask(code.b.select(inside, code.value(wide), code.value(0)))

    def keep(self, room: IR, factor: float = 1.0) -> Callable[[int, Index, Lanes], None]:
        """A `put` that stores into a room [columns, width], times a factor."""

        def put(vector: int, column: Index, x: Lanes) -> None:
            at = self.code.at(self.line(room, column), self.vectors()[vector])
            x = self._number(x)
            self.code.store((x if factor == 1.0 else x * factor).value, at)

        return put

    def give(
        self, room: IR, target: IR, sizes: tuple[Index, int], pitch: int, factors: Sequence[Lanes | None] | None = None
    ) -> None:
        """Write a room [columns, width] as a matrix of `sizes`: lanes become rows, `pitch` bytes apart.

        `factors`, of each vector, multiply the rows.
        """
        code, n = self.code, self.code.lanes
        rows, columns = sizes
        for v, offset in enumerate(self.vectors()):
            first = v * n
            count = code.sub(rows, first)
            factor = factors[v] if factors else None

            def square(
                u: Index, first: int = first, offset: int = offset, count: Index = count, factor: Any = factor
            ) -> tuple[()]:
                wide = code.least(n, code.sub(columns, u)) if columns % n else n
                at = code.at(target, code.add(code.mul(u, code.size), first * pitch))

                def load(r: Index) -> IR:
                    x = code.load(code.at(self.line(room, code.add(u, r)), offset))
                    return x if factor is None else (self.lanes(x) * factor).value

                def store(r: Index, x: IR) -> None:
                    code.store(x, code.at(at, code.mul(r, pitch)), self._within(r, count, wide))

                code.transpose(self.square, load, store)
                return ()

            code.loop(columns, square, step=n)

    def along(self, pointer: IR, place: Place, mask: Mask) -> Lanes:
        """A vector along the last dim of an operand."""
        code, e, n = self.code, self.code.emitter, self.code.lanes
        step, lanes = place.strides[-1], code.lanes_of(mask)
        if step == place.dtype.itemsize:
            return e.load(pointer, place.dtype, n, lanes)
        if step == 0:
            return e.splat(e.load(pointer, place.dtype, 1), n)
        return e.gather(pointer, e.sequence(range(n), np.dtype(np.int64)), place.dtype, lanes, scale=step)

    # Products

    def dots(self, sides: Sequence[tuple[IR, Place]], rows: int, count: int) -> IR:
        """The sums of the products of two matrices' rows of `count` numbers, a lane for each row."""
        code, n = self.code, self.code.lanes

        def turn(i: Index, *totals: IR, mask: Mask = None) -> Sequence[IR]:
            inside, new = code.lanes_of(mask), []
            for r, total in enumerate(totals):
                x, y = (
                    self.along(code.at(at, code.add(r * p.strides[-2], code.mul(i, p.strides[-1]))), p, mask)
                    for at, p in sides
                )
                if inside is not None:  # what is spread out fills all lanes
                    x, y = (code.emitter.select(inside, v, v.constant(0.0)) for v in (x, y))
                new.append(code.fma(x.value, y.value, total))
            return new

        whole = count // n * n
        totals = list(code.loop(whole, turn, [code.zero] * rows, step=n))
        if whole < count:
            totals = list(turn(whole, *totals, mask=count - whole))
        return code.sums(totals)

    def tiles(self, count: Index, body: Callable[..., Sequence[IR]], carried: Sequence[IR], total: int) -> Sequence[IR]:
        """body(first row, rows, *carried) for tiles of `count` rows; `total` rows end where `count` is no multiple."""
        code, tile = self.code, self.x.tile
        whole, rest = code.divide(count, tile)
        out = code.loop(whole, lambda i, *held: body(code.mul(i, tile), tile, *held), carried)
        if total % tile == 0:
            return out
        start = code.mul(whole, tile)
        once = rest if isinstance(rest, int) else code.least(rest, 1)
        once = min(once, 1) if isinstance(once, int) else once
        return code.loop(once, lambda _, *held: body(start, total % tile, *held), out)

    def multiply(
        self, matrix: IR, steps: tuple[int, int], sizes: tuple[Index, Index], room: IR, target: IR,
        start: Callable[[list[IR]], list[IR]] | None = None, *, total: int,
    ) -> None:  # fmt: skip
        """target[i, :] = start(target[i, :]) + the sum over j of matrix[i, j] * room[j, :].

        Parameters
        ----------
        matrix : address of its first number
        steps : bytes from i to i + 1, from j to j + 1
        sizes : of i, of j
        room, target : [sizes, width]
        start : makes what sums start from out of what is there; None: zeros
        total : where the number of i is not a multiple of the tile, it ends as this does
        """
        code, (across, along), (count, depth) = self.code, steps, sizes

        def tile(i: Index, n: int) -> tuple[()]:
            to = self.line(target, i)
            before = None if start is None else start(self.load_lines(to, n))
            a = code.at(matrix, code.mul(i, across))
            block = Operands(a, [r * across for r in range(n)], room, self.vectors(), [(depth, along, self.x.line)])
            self.store_lines(to, multiply(code, block, before))
            return ()

        self.tiles(count, tile, (), total)

    def load_lines(self, room: IR, rows: int) -> list[IR]:
        """The vectors of some rows of a room."""
        return [self.code.load(self.code.at(room, r * self.x.line + o)) for r in range(rows) for o in self.vectors()]

    def store_lines(self, room: IR, values: Sequence[IR]) -> None:
        """Write vectors to the rows of a room."""
        places = [r * self.x.line + o for r in range(len(values) // self.x.vectors) for o in self.vectors()]
        for at, value in zip(places, values, strict=True):
            self.code.store(value, self.code.at(room, at))

    def beyond(self, row: Index, column: Index, *, turned: bool) -> list[IR]:
        """Which lanes a causal mask forbids for a row of scores, vector by vector.

        Lanes are queries from `row` on and `column` is the key; `turned`, keys from `column` on and `row` the query.
        """
        code, x = self.code, self.x
        narrow = ir.IntType(32)
        apart = code.value(code.sub(row, column) if turned else code.sub(column, row))
        limit = code.spread(code.b.trunc(apart, narrow))
        sign = ">" if turned else "<"
        kind = ir.VectorType(narrow, x.lanes)
        return [
            code.b.icmp_signed(sign, ir.Constant(kind, list(range(v * x.lanes, (v + 1) * x.lanes))), limit)
            for v in range(x.vectors)
        ]
