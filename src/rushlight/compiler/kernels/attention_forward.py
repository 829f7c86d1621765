"""Attention forward: a chunk takes a block of queries past all keys, with a running maximum and sum for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rushlight.compiler.access import Access
from rushlight.compiler.graph import Call, Value
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.kernels.attention_code import BOOL, IR, Attention, Ints, Place, Writer, places, result
from rushlight.compiler.kernels.microkernel import Index
from rushlight.compiler.lanes_core import Lanes
from rushlight.compiler.vmath_exp import exp
from rushlight.compiler.vmath_log import log


def forward_kernel(
    x: Attention, operands: Sequence[Access | None], results: tuple[Value, ...], calls: tuple[Call, ...],
    order: Ints | None = None,
) -> Kernel:  # fmt: skip
    """The kernel of an attention.

    Parameters
    ----------
    x : its sizes
    operands : q, k, v, mask, factors of dropout
    results : the result, and the logarithm of each row's sum
    order : of the result's dims in memory
    """
    roots, where = places(operands)
    at = [result(len(roots) + i, v, o) for i, (v, o) in enumerate(zip(results, (order, None), strict=True))]

    def build(module: Any, name: str) -> None:
        _Forward(module, name, x, where, at).write()

    blocks = -(-x.rows // x.width)
    share = _visible(x)
    return Kernel(
        name=f"attention {'x'.join(map(str, (*x.lead, x.rows, x.columns, x.features)))}",
        key=f"attention {x} {where} {at}", build=build, reads=roots, writes=results, chunks=x.batch * blocks,
        calls=calls, flops=int(2 * x.batch * x.rows * x.columns * (x.features + x.values) * share),
    )  # fmt: skip


def _visible(x: Attention) -> float:
    """The share of scores that are needed."""
    return 0.5 if x.causal and x.rows == x.columns else 1.0


class _Forward(Writer):
    """One block of queries."""

    def __init__(
        self, module: Any, name: str, x: Attention, where: Sequence[Place | None], at: Sequence[Place]
    ) -> None:
        super().__init__(module, name, x)
        code = self.code
        self.q, self.k, self.v, self.mask, self.drop = where
        self.at = at
        self.blocks = -(-x.rows // x.width)
        # one block of keys needs no running maximum
        self.is_short = x.columns <= x.block
        rows = x.padded(min(x.columns, x.block))
        self.queries = code.room(x.padded(x.features) * x.width)
        self.sums = code.room(x.padded(x.values) * x.width)
        self.scores = code.room(rows * x.width)
        self.added = code.room(rows * x.width) if self.mask else None
        self.factors = code.room(rows * x.width) if self.drop else None

    def write(self) -> None:
        """The whole chunk."""
        code, x = self.code, self.x
        self.index, block = code.divide(self.chunk, self.blocks)
        # the longest rows come first
        block = code.sub(self.blocks - 1, block) if x.causal else block
        self.first = code.mul(block, x.width)
        whole = x.rows % x.width == 0
        self.count: Index = x.width if whole else code.least(x.width, code.sub(x.rows, self.first))
        assert self.q is not None and self.k is not None and self.v is not None
        source = code.at(self.matrix(self.q, self.index), code.mul(self.first, self.q.strides[-2]))
        put = self.keep(self.queries, x.scale)
        self.take(source, (self.q.strides[-2], self.q.strides[-1]), (self.count, x.features), put, self.q.dtype)
        self.keys, self.numbers = self.matrix(self.k, self.index), self.matrix(self.v, self.index)
        limit: Index = x.columns
        if x.causal:
            limit = code.least(x.columns, code.add(self.first, x.width))
        lowest = code.spread(self.number(-math.inf).part(0, 1).value)
        carried = [lowest] * x.vectors + [code.zero] * x.vectors
        if self.is_short:
            carried = list(self.keys_block(0, limit, carried))
        else:
            self.clear(self.sums, x.values)
            blocks = code.divide(code.add(limit, x.block - 1), x.block)[0]

            def turn(i: Index, *held: IR) -> Sequence[IR]:
                start = code.mul(i, x.block)
                return self.keys_block(start, code.least(x.block, code.sub(limit, start)), held)

            carried = list(code.loop(blocks, turn, carried))
        self.finish(carried)
        code.b.ret_void()

    def keys_block(self, start: Index, count: Index, held: Sequence[IR]) -> Sequence[IR]:
        """Take in `count` keys from `start` on; `held` are maxima, then sums, of each vector."""
        x = self.x
        self.turn_operands(start, count)
        old = [self.lanes(v) for v in held[: x.vectors]]
        top = [self.lanes(v) for v in self.score(start, count, held[: x.vectors])]
        shift = [self.code.emitter.select(t == -math.inf, t.constant(0.0), t) for t in top]
        sums = [self.lanes(v) for v in held[x.vectors :]]
        fade = None
        if not self.is_short:
            fade = [exp(o - s) for o, s in zip(old, shift, strict=True)]
            sums = [s * f for s, f in zip(sums, fade, strict=True)]
        new = self.weigh(count, shift, [s.value for s in sums])
        self.add_values(start, count, fade)
        return [*(t.value for t in top), *new]

    def turn_operands(self, start: Index, count: Index) -> None:
        """The mask and the factors of dropout of these scores, keys by queries."""
        code = self.code
        for place, room in ((self.mask, self.added), (self.drop, self.factors)):
            if place is not None:
                row, column = place.strides[-2:]
                offset = code.add(code.mul(self.first, row), code.mul(start, column))
                at = code.at(self.matrix(place, self.index), offset)
                self.take(at, (row, column), (self.count, count), self.keep(room), place.dtype)

    def score(self, start: Index, count: Index, top: Sequence[IR]) -> Sequence[IR]:
        """Scores of `count` keys from `start` on; maxima with those before."""
        code, x = self.code, self.x
        assert self.k is not None
        row, column = self.k.strides[-2:]
        keys = code.at(self.keys, code.mul(start, row))
        self.multiply(keys, (row, column), (count, x.features), self.queries, self.scores, total=x.columns)
        if not x.causal:
            return code.loop(count, lambda i, *held: self.row(start, i, held, False), top)
        # keys up to the first query are seen by all
        free = code.least(count, code.sub(self.first, start))
        top = code.loop(free, lambda i, *held: self.row(start, i, held, False), top)
        return code.loop(code.sub(count, free), lambda i, *held: self.row(start, code.add(free, i), held, True), top)

    def row(self, start: Index, i: Index, top: Sequence[IR], at_edge: bool) -> Sequence[IR]:
        """Mask the scores of key `start` + `i`; maxima with those before."""
        code, e = self.code, self.code.emitter
        lowest = self.number(-math.inf)
        hidden = self.beyond(self.first, code.add(start, i), turned=False) if at_edge else None
        new = []
        for v, (offset, highest) in enumerate(zip(self.vectors(), map(self.lanes, top), strict=True)):
            at = code.at(self.line(self.scores, i), offset)
            s = self.lanes(code.load(at))
            if self.mask is not None:
                m = self.lanes(code.load(code.at(self.line(self.added, i), offset)))
                s = e.select(m != 0.0, s, lowest) if self.mask.dtype == BOOL else s + m
            if hidden is not None:
                s = self.lanes(code.b.select(hidden[v], lowest.value, s.value))
            if hidden is not None or self.mask is not None:
                code.store(s.value, at)
            # a NaN is not greater, and makes the sum one later
            new.append(e.select(s > highest, s, highest).value)
        return new

    def weigh(self, count: Index, shift: Sequence[Lanes], sums: Sequence[IR]) -> Sequence[IR]:
        """Scores become exponentials (and are dropped); their sums."""
        code = self.code

        def row(i: Index, *held: IR) -> Sequence[IR]:
            new = []
            for offset, s, total in zip(self.vectors(), shift, held, strict=True):
                at = code.at(self.line(self.scores, i), offset)
                p = exp(self.lanes(code.load(at)) - s)
                new.append(code.b.fadd(total, p.value))
                if self.drop is not None:
                    p = p * self.lanes(code.load(code.at(self.line(self.factors, i), offset)))
                code.store(p.value, at)
            return new

        return code.loop(count, row, sums)

    def add_values(self, start: Index, count: Index, fade: Sequence[Lanes] | None) -> None:
        """Add the values of these keys, by weight, to the sums, which fade first."""
        code, x = self.code, self.x
        assert self.v is not None
        row, column = self.v.strides[-2:]

        def faded(before: list[IR]) -> list[IR]:
            assert fade is not None
            return [code.b.fmul(o, fade[k % x.vectors].value) for k, o in enumerate(before)]

        self.multiply(
            code.at(self.numbers, code.mul(start, row)), (column, row), (x.values, count), self.scores, self.sums,
            faded if fade else None, total=x.values,
        )  # fmt: skip

    def finish(self, carried: Sequence[IR]) -> None:
        """Divide by the sums, turn back into rows; logarithms of the sums."""
        code, x, e = self.code, self.x, self.code.emitter
        top = [self.lanes(v) for v in carried[: x.vectors]]
        sums = [self.lanes(v) for v in carried[x.vectors :]]
        is_empty = [s == 0.0 for s in sums]
        sums = [e.select(c, s.constant(1.0), s) for c, s in zip(is_empty, sums, strict=True)]
        pitch = self.at[0].strides[-2]
        target = code.at(self.matrix(self.at[0], self.index), code.mul(self.first, pitch))
        self.give(self.sums, target, (self.count, x.values), pitch, [1.0 / s for s in sums])
        rows = code.at(self.matrix(self.at[1], self.index), code.mul(self.first, x.size))
        masks = self.masks(self.count)
        for v, offset in enumerate(self.vectors()):
            total = e.select(is_empty[v], sums[v].constant(0.0), top[v] + log(sums[v]))
            code.store(total.value, code.at(rows, offset), masks[v])
