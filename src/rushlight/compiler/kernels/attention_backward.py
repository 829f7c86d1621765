"""Attention backward: a chunk takes blocks of keys past all queries and computes their weights again.

The gradients of the block's keys and values stay with the chunk. Those of queries are added up over blocks in a fixed
order; where there are few heads, each of several groups of blocks has a copy of its own, and a last kernel adds those.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rushlight.compiler.access import Access, whole
from rushlight.compiler.graph import Call, Value
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.kernels.attention_code import BOOL, CHUNKS, IR, Attention, Ints, Place, Writer, places, result
from rushlight.compiler.kernels.microkernel import Index, Operands, multiply
from rushlight.compiler.lanes_core import Lanes
from rushlight.compiler.vmath_exp import exp
from rushlight.spec import Spec

# Rows of a chunk of the kernels that go along rows only.
ROWS = 64
# Queries up to which each chunk sums up rows of g * out itself.
FOLDED = 1024
# Numbers of a chunk of the kernel that adds up copies.
SUMMED = 1 << 12


def backward_kernels(
    x: Attention, operands: Sequence[Access | None], results: tuple[Value, ...], calls: tuple[Call, ...],
    orders: tuple[Ints, ...] | None = None,
) -> list[Kernel]:  # fmt: skip
    """The kernels of the gradient.

    Parameters
    ----------
    x : its sizes
    operands : g, q, k, v, mask, factors of dropout, result, logarithm of each row's sum
    results : gradients of q, k, v, and of the scores where they are wanted; or one value that holds the first three
    orders : of the dims of each result in memory
    """
    g, q, k, v, mask, drop, out, total = operands
    assert g is not None and q is not None and out is not None
    of_scores = len(results) > 3
    factor = 1.0 if of_scores else x.scale
    blocks = -(-x.columns // x.width)
    groups = min(blocks, max(1, CHUNKS // max(x.batch, 1)))
    if orders and groups > 1:
        raise NotImplementedError("copies of gradients in another layout")
    copies = Value(Spec((groups, *q.shape), q.dtype), name="gradients of queries") if groups > 1 else results[0]
    writes = (copies, *results[1:])
    first = [] if x.rows <= FOLDED else [_row_products(x, g, out, factor)]
    roots, where = places((g, q, k, v, mask, drop, total, whole(first[0].writes[0]) if first else out))
    at = _targets(len(roots), writes, orders)

    def build(module: Any, name: str) -> None:
        _Backward(module, name, x, where, at, groups, factor).write()

    share = 0.5 if x.causal and x.rows == x.columns else 1.0
    main = Kernel(
        name=f"attention gradient {'x'.join(map(str, (*x.lead, x.rows, x.columns, x.features)))}",
        key=f"attention gradient {x} {where} {at} {groups}", build=build, reads=roots, writes=writes,
        chunks=x.batch * groups, calls=calls,
        flops=int(2 * x.batch * x.rows * x.columns * (3 * x.features + 2 * x.values) * share),
    )  # fmt: skip
    return [*first, main] if groups == 1 else [*first, main, _added(x, copies, results[0])]


def _targets(slot: int, writes: tuple[Value, ...], orders: tuple[Ints, ...] | None) -> list[Place]:
    """Where the results lie, those of queries, keys and values first."""
    if orders is None:
        return [result(slot + i, value) for i, value in enumerate(writes)]
    if len(orders) == 1:
        return [result(slot, writes[0], orders[0], part) for part in range(3)]
    return [result(slot + i, value, order) for i, (value, order) in enumerate(zip(writes, orders, strict=True))]


def _row_products(x: Attention, g: Access, out: Access, factor: float) -> Kernel:
    """The sum over each row of g * out, times a factor."""
    value = Value(Spec((*x.lead, x.rows, 1), g.dtype), name="g * out of rows")
    roots, where = places((g, out))
    place = result(len(roots), value)
    blocks = -(-x.rows // ROWS)

    def build(module: Any, name: str) -> None:
        w = Writer(module, name, x)
        code = w.code
        index, block = code.divide(w.chunk, blocks)
        start = code.mul(block, ROWS)
        bases = [w.matrix(p, index) for p in (*where, place) if p is not None]

        def row(i: Index) -> tuple[()]:
            i = code.add(start, i)
            sides = [(code.at(b, code.mul(i, p.strides[-2])), p) for b, p in zip(bases, where, strict=False) if p]
            total = w.lanes(w.dots(sides, 1, x.values)).part(0, 1) * factor
            code.emitter.store(total, code.at(bases[2], code.mul(i, x.size)))
            return ()

        code.loop(code.least(ROWS, code.sub(x.rows, start)) if blocks > 1 else x.rows, row)
        code.b.ret_void()

    key = f"attention rows {x} {where} {place} {factor}"
    return Kernel("rows of g * out", key, build, roots, (value,), chunks=x.batch * blocks)


def _added(x: Attention, copies: Value, total: Value) -> Kernel:
    """The sum of the copies, in order."""
    count = math.prod(total.shape)

    def build(module: Any, name: str) -> None:
        w = Writer(module, name, x)
        code = w.code
        start = code.mul(w.chunk, SUMMED)
        source, target = (code.at(w.array(slot), code.mul(start, x.size)) for slot in (0, 1))

        def vector(i: Index) -> tuple[()]:
            at = code.mul(i, x.size)
            mask = code.mask(code.sub(code.sub(count, start), i)) if count % x.lanes else None
            out = code.load(code.at(source, at), mask)
            for c in range(1, copies.shape[0]):
                out = code.b.fadd(out, code.load(code.at(source, code.add(at, c * count * x.size)), mask))
            code.store(out, code.at(target, at), mask)
            return ()

        code.loop(code.least(SUMMED, code.sub(count, start)), vector, step=x.lanes)
        code.b.ret_void()

    key = f"attention sum {x} {copies.shape}"
    return Kernel("sum of query gradients", key, build, (copies,), (total,), chunks=-(-count // SUMMED))


class _Backward(Writer):
    """One group of blocks of keys."""

    def __init__(
        self, module: Any, name: str, x: Attention, where: Sequence[Place | None], at: Sequence[Place], groups: int,
        factor: float,
    ) -> None:  # fmt: skip
        super().__init__(module, name, x)
        code = self.code
        g, q, k, v, self.mask, self.drop, total, products = where
        assert g and q and k and v and total and products
        self.g, self.q, self.k, self.v, self.total, self.products = g, q, k, v, total, products
        self.at, self.groups, self.factor = at, groups, factor
        rows = min(x.rows, x.block)
        features, values = x.padded(x.features), x.padded(x.values)
        self.keys, self.key_grads = (code.room(features * x.width) for _ in range(2))
        self.numbers, self.number_grads = (code.room(values * x.width) for _ in range(2))
        self.weights, self.slopes = (code.room(rows * x.width) for _ in range(2))
        # products with rows of keys take them as vectors
        self.row_products = code.room(x.padded(x.rows)) if x.rows <= FOLDED else None
        self.is_packed = k.strides[-1] != x.size
        self.packed = code.room(features * x.width) if self.is_packed else None

    def write(self) -> None:
        """The whole chunk."""
        code, x = self.code, self.x
        index, group = code.divide(self.chunk, self.groups)
        places = (self.g, self.q, self.k, self.v, self.total, self.products)
        self.base = {p: self.matrix(p, index) for p in places}
        self.extra = [None if p is None else self.matrix(p, index) for p in (self.mask, self.drop)]
        own = self.at[0]
        if self.groups > 1:
            own = replace(own, strides=own.strides[1:])
        self.pitch = own.strides[-2]
        self.query_grads = code.at(self.matrix(own, index), code.mul(group, x.batch * x.rows * x.features * x.size))
        self.targets = [self.matrix(p, index) for p in self.at[1:]]
        code.loop(x.rows, lambda i: self.empty(code.at(self.query_grads, code.mul(i, self.pitch)), x.features))
        if self.row_products is not None:
            self.multiply_rows(self.row_products)
        blocks = -(-x.columns // x.width)
        turns = code.divide(code.sub(blocks - 1 + self.groups, group), self.groups)[0]

        def turn(i: Index) -> tuple[()]:
            self.block(code.mul(code.add(code.mul(i, self.groups), group), x.width))
            return ()

        code.loop(turns, turn)
        code.b.ret_void()

    def multiply_rows(self, room: IR) -> None:
        """The sum over each row of g * out, times a factor."""
        code, x = self.code, self.x
        sides = [(self.base[p], p) for p in (self.g, self.products)]

        def some(i: Index, rows: int) -> tuple[()]:
            at = [(code.at(base, code.mul(i, p.strides[-2])), p) for base, p in sides]
            found = self.dots(at, rows, x.values)
            code.store((self.lanes(found) * self.factor).value, code.at(room, code.mul(i, x.size)))
            return ()

        whole = x.rows // x.lanes * x.lanes
        code.loop(whole, lambda i: some(i, x.lanes), step=x.lanes)
        if whole < x.rows:
            some(whole, x.rows - whole)

    def empty(self, at: IR, count: int) -> tuple[()]:
        """Fill memory with zeros."""
        code, n = self.code, self.x.lanes

        def vector(i: Index) -> tuple[()]:
            code.store(code.zero, code.at(at, code.mul(i, code.size)))
            return ()

        code.loop(count // n * n, vector, step=n)
        code.store(code.zero, code.at(at, count // n * n * code.size), code.mask(count % n))
        return ()

    def block(self, start: Index) -> None:
        """The keys from `start` on."""
        code, x = self.code, self.x
        self.start = start
        self.count: Index = x.width if x.columns % x.width == 0 else code.least(x.width, code.sub(x.columns, start))
        k, v = ((code.at(self.base[p], code.mul(start, p.strides[-2])), p) for p in (self.k, self.v))
        for (at, p), room, features, factor in (
            (k, self.keys, x.features, x.scale),
            (v, self.numbers, x.values, self.factor),
        ):
            put = self.keep(room, factor)
            self.take(at, (p.strides[-2], p.strides[-1]), (self.count, features), put, p.dtype)
        if self.packed is not None:
            self.pack(*k)
        self.clear(self.key_grads, x.features)
        self.clear(self.number_grads, x.values)
        first: Index = start if x.causal else 0
        left = code.sub(x.rows, first)
        blocks = (
            -(-x.rows // x.block)
            if not x.causal
            else code.b.sdiv(code.value(code.add(left, x.block - 1)), code.value(x.block))
        )

        def turn(i: Index) -> tuple[()]:
            done = code.mul(i, x.block)
            self.queries(code.add(first, done), code.least(x.block, code.sub(left, done)))
            return ()

        code.loop(blocks, turn)
        for room, target, features in ((self.key_grads, 0, x.features), (self.number_grads, 1, x.values)):
            pitch = self.at[1 + target].strides[-2]
            at = code.at(self.targets[target], code.mul(start, pitch))
            self.give(room, at, (self.count, features), pitch)

    def pack(self, source: IR, place: Place) -> None:
        """The keys row by row."""
        code, x = self.code, self.x
        row, column = place.strides[-2:]
        pitch = x.padded(x.features) * x.size

        def key(j: Index) -> tuple[()]:
            def number(d: Index) -> tuple[()]:
                n = code.load_number(code.at(source, code.add(code.mul(j, row), code.mul(d, column))))
                code.b.store(n, code.at(self.packed, code.add(code.mul(j, pitch), code.mul(d, x.size))))
                return ()

            code.loop(x.features, number)
            return ()

        code.loop(self.count, key)

    def queries(self, first: Index, count: Index) -> None:
        """`count` queries from `first` on."""
        code, x = self.code, self.x
        self.first = first
        at = {p: code.at(self.base[p], code.mul(first, p.strides[-2])) for p in (self.q, self.g)}
        sides = (
            (self.q, x.features, self.keys, self.weights, self.slopes, self.key_grads),
            (self.g, x.values, self.numbers, self.slopes, self.weights, self.number_grads),
        )
        for p, features, room, target, *_ in sides:
            self.multiply(at[p], (p.strides[-2], p.strides[-1]), (count, features), room, target, total=x.rows)
        edge: Index = 0
        if x.causal:
            # queries before the last key of the block do not see all of it
            edge = code.sub(code.add(self.start, x.width), first)
            edge = code.least(count, code.b.select(code.b.icmp_signed(">", edge, code.value(0)), edge, code.value(0)))
            code.loop(edge, lambda i: self.row(i, True))
        code.loop(code.sub(count, edge), lambda i: self.row(code.add(edge, i), False))
        for p, features, _, _, room, grads in sides:
            steps = p.strides[-1], p.strides[-2]
            self.multiply(at[p], steps, (features, count), room, grads, lambda before: before, total=features)
        self.add_rows(first, count)

    def row(self, i: Index, at_edge: bool) -> tuple[()]:
        """From scores and gradients of weights of a query to weights and gradients of scores."""
        code, x = self.code, self.x
        row = code.add(self.first, i)
        hidden = self.beyond(row, self.start, turned=True) if at_edge else None
        total = self.spread(code.at(self.base[self.total], code.mul(row, self.total.strides[-2])))
        less = self.spread(code.at(self.row_products or self.base[self.products], code.mul(row, x.size)))
        for v, offset in enumerate(self.vectors()):
            at, to = (code.at(self.line(room, i), offset) for room in (self.weights, self.slopes))
            p = exp(self.masked(self.lanes(code.load(at)), row, v, hidden) - total)
            slope = self.lanes(code.load(to))
            factor = self.read(1, row, v)
            if factor is not None:
                slope = slope * factor
            slope = (slope - less) * p
            if len(self.at) > 3:
                self.give_slope(slope, row, v)
                slope = slope * x.scale
            code.store(slope.value, to)
            code.store((p if factor is None else p * factor).value, at)
        return ()

    def masked(self, s: Lanes, row: Index, vector: int, hidden: list[IR] | None) -> Lanes:
        """Scores of a vector of a row with what forbids some of them."""
        e = self.code.emitter
        lowest = self.number(-math.inf)
        mask = self.read(0, row, vector)
        if mask is not None:
            s = e.select(mask, s, lowest) if mask.dtype == BOOL else s + mask
        return s if hidden is None else self.lanes(self.code.b.select(hidden[vector], lowest.value, s.value))

    def give_slope(self, slope: Lanes, row: Index, vector: int) -> None:
        """Store the gradient of scores."""
        code, x = self.code, self.x
        column = code.add(self.start, vector * x.lanes)
        at = code.at(self.targets[2], code.mul(code.add(code.mul(row, x.columns), column), x.size))
        code.store(slope.value, at, self.masks(self.count)[vector])

    def read(self, which: int, row: Index, vector: int) -> Lanes | None:
        """A vector of a row of the mask (0) or of the factors of dropout (1)."""
        p, base = (self.mask, self.drop)[which], self.extra[which]
        if p is None:
            return None
        code, x = self.code, self.x
        column = code.add(self.start, vector * x.lanes)
        at = code.at(base, code.add(code.mul(row, p.strides[-2]), code.mul(column, p.strides[-1])))
        found = self.along(at, p, self.masks(self.count)[vector])
        return found if found.dtype in (BOOL, code.dtype) else found.astype(code.dtype)

    def add_rows(self, first: Index, count: Index) -> None:
        """Gradients of queries: rows of slopes times rows of keys."""
        code, x = self.code, self.x
        group = 2 * x.lanes
        if self.packed is not None:
            keys, step = self.packed, x.padded(x.features) * x.size
        else:
            step = self.k.strides[-2]
            keys = code.at(self.base[self.k], code.mul(self.start, step))

        def tile(i: Index, n: int) -> tuple[()]:
            a = self.line(self.slopes, i)
            target = code.at(self.query_grads, code.mul(code.add(first, i), self.pitch))

            def some(d: Index, width: int) -> tuple[()]:
                vectors = [o * x.size for o in range(0, width, x.lanes)]
                mask = code.mask(width - (len(vectors) - 1) * x.lanes)
                at = code.at(target, code.mul(d, x.size))
                spots = [
                    (code.at(at, r * self.pitch + o), mask if o == vectors[-1] else None)
                    for r in range(n) for o in vectors
                ]  # fmt: skip
                b = code.at(keys, code.mul(d, x.size))
                block = Operands(a, [r * x.line for r in range(n)], b, vectors, [(self.count, x.size, step)], mask)
                found = multiply(code, block, [code.load(*spot) for spot in spots])
                for value, spot in zip(found, spots, strict=True):
                    code.store(value, *spot)
                return ()

            whole = x.features // group * group
            code.loop(whole, lambda d: some(d, group), step=group)
            if whole < x.features:
                some(whole, x.features - whole)
            return ()

        self.tiles(count, tile, (), x.rows)
