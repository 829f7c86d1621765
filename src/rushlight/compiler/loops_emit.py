"""LLVM code of a nest of loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from rushlight.compiler.binding import ir
from rushlight.compiler.lanes import Lanes
from rushlight.compiler.loops_nest import BUFFER_BYTES, side_by_side
from rushlight.compiler.loops_nodes import Node
from rushlight.compiler.loops_values import Env, Piece, Slots, Values, identity, is_softmax


@dataclass(frozen=True)
class Batch:
    """Groups of one structure that a kernel goes through, `each` per chunk, with so many reads and writes each."""

    count: int
    each: int
    reads: int
    writes: int


class Writer(Values):
    """Writes the function of a kernel; `slots` gives the position of each root's address."""

    def write(self, slots: Slots, batch: Batch | None = None) -> None:
        """Write everything."""
        b = self.b
        self._plan_buffers()
        if batch is None:
            self._chunk(slots, self.chunk, lambda slot: self.const(8 * slot))
        else:
            first = self.times(self.chunk, batch.each)
            stop = self.least(b.add(first, self.const(batch.each)), batch.count)
            self.loop(first, stop, [], lambda member, _: self._member(slots, batch, member))
        b.ret_void()

    def _member(self, slots: Slots, batch: Batch, member: Any) -> list[Any]:
        """One group of several: its slots stand `reads` and `writes` apart."""

        def offset(slot: int) -> Any:
            per, start = (batch.reads, slot), (batch.writes, (batch.count - 1) * batch.reads + slot)
            step, place = per if slot < batch.reads else start
            return self.b.add(self.times(member, 8 * step), self.const(8 * place))

        self._chunk(slots, self.const(0), offset)
        return []

    def _chunk(self, slots: Slots, chunk: Any, offset: Callable[[int], Any]) -> None:
        nest, b = self.nest, self.b
        for root, slot in slots.items():
            self.bases[root] = b.load(self.at(self.slots, offset(slot)), typ=ir.PointerType())
        self.emit_level(0, 0, self.outer, None, None)
        start = self.times(chunk, nest.per_chunk)
        if nest.items == 1:
            self._item(self.const(0))
            return
        stop = b.add(start, self.const(nest.per_chunk))
        if nest.items % nest.per_chunk:
            stop = self.least(stop, nest.items)
        self.loop(start, stop, [], lambda i, _: self._item(i))

    def _plan_buffers(self) -> None:
        """Rows of values that a later phase needs and that are dear to compute again."""
        nest = self.nest
        if nest.mode != "row" or nest.in_registers:
            return
        size = math.prod(nest.sizes[a] for a in nest.inner) * nest.lane_size
        padded = size + nest.width
        for node in nest.nodes:
            later = any(
                node in user.operands and nest.levels[user] >= 2 and nest.phases[user] > nest.phases[node]
                for user in nest.nodes
            )
            if later and nest.levels[node] >= 2 and node.is_expensive and padded * node.dtype.itemsize <= BUFFER_BYTES:
                kind = self.emitter.scalar_type(node.dtype, memory=True)
                buffer = self.b.alloca(kind, padded)
                buffer.type = ir.PointerType()
                self.buffers[node] = buffer

    def _item(self, item: Any) -> list[Any]:
        nest = self.nest
        self._decode(item)
        self.point_at(list(nest.strides) + list(nest.stores))
        pieces: list[Piece] | None = None
        if nest.mode == "col":
            pieces = self._column_pieces()
        elif nest.in_registers:
            pieces = self._register_pieces()
        for phase in range(max(nest.phases.values(), default=0) + 1):
            self.emit_level(1, phase, self.outer, None, None)
            self.store_level(1, phase, self.outer, None)
            if nest.mode == "point":
                self._point_loop()
            elif nest.mode == "col":
                assert pieces is not None
                self._columns(phase, pieces)
            else:
                self._row(phase, pieces)
        return []

    def _decode(self, item: Any) -> None:
        """Indices of the outer atoms and of the lane block, from the item's number."""
        nest, b = self.nest, self.b
        left = item
        if nest.mode != "row" and nest.blocks > 1:
            self.lane_block = b.urem(left, self.const(nest.blocks))
            left = b.udiv(left, self.const(nest.blocks))
        else:
            self.lane_block = None
            if nest.mode != "row" and not nest.outer:
                return
        for k in range(len(nest.outer) - 1, -1, -1):
            n = nest.sizes[nest.outer[k]]
            if k == 0:
                self.index[nest.outer[0]] = left
            else:
                self.index[nest.outer[k]] = b.urem(left, self.const(n))
                left = b.udiv(left, self.const(n))

    # Pointwise

    def _point_loop(self) -> None:
        nest, b = self.nest, self.b
        nodes = self.closure(0)
        if nest.lane is None:
            self._point_pieces([Piece(self.const(0), None)], nodes)
            return
        step = nest.width * nest.unroll
        n, origin = self._block_extent()
        if isinstance(n, int):
            whole, rest = divmod(n, step)
            if whole:
                self._full_pieces(origin, self.const(whole), whole, nodes)
            self._point_pieces(self._rest_pieces(origin, whole * step, rest), nodes)
            return
        trips = b.udiv(n, self.const(step))

        def full() -> None:
            self._full_pieces(origin, trips, 2, nodes)

        self.guarded(b.icmp_signed(">", trips, self.const(0)), full)
        if nest.lane_size % step:
            self._ragged(origin, b.mul(trips, self.const(step)), n, nodes)

    def _block_extent(self) -> tuple[Any, Any]:
        """Lanes in this item's block (an int where all blocks have as many) and where it starts."""
        nest, b = self.nest, self.b
        if nest.blocks == 1:
            return nest.lane_size, self.const(0)
        origin = b.mul(self.lane_block, self.const(nest.block))
        if nest.lane_size % nest.block == 0:
            return nest.block, origin
        left = b.sub(self.const(nest.lane_size), origin)
        size = self.const(nest.block)
        return b.select(b.icmp_signed("<", left, size), left, size), origin

    def _full_pieces(self, origin: Any, trips: Any, known: int, nodes: list[Node]) -> None:
        nest = self.nest

        def body(i: Any, _: list[Any]) -> list[Any]:
            base = self.b.add(origin, self.times(i, nest.width * nest.unroll))
            starts = [self.b.add(base, self.const(u * nest.width)) if u else base for u in range(nest.unroll)]
            self._point_pieces([Piece(s, None) for s in starts], nodes)
            return []

        if known == 1:
            body(self.const(0), [])
        else:
            self.loop(self.const(0), trips, [], body)

    def _rest_pieces(self, origin: Any, start: int, count: int) -> list[Piece]:
        """Pieces for the last lanes, the last one masked."""
        width, pieces = self.nest.width, []
        while count > 0:
            mask = self.emitter.first(count, width) if count < width else None
            pieces.append(Piece(self.b.add(origin, self.const(start)), mask))
            start, count = start + width, count - width
        return pieces

    def _ragged(self, origin: Any, start: Any, n: Any, nodes: list[Node]) -> None:
        """The lanes after `start` of a block whose size is known only when it runs."""
        b, width = self.b, self.nest.width
        trips = b.udiv(b.add(b.sub(n, start), self.const(width - 1)), self.const(width))

        def body(i: Any, _: list[Any]) -> list[Any]:
            here = b.add(start, self.times(i, width))
            mask = self.emitter.first(b.sub(n, here), width)
            self._point_pieces([Piece(b.add(origin, here), mask)], nodes)
            return []

        self.guarded(b.icmp_signed(">", trips, self.const(0)), lambda: self._run(trips, body))

    def _run(self, trips: Any, body: Callable[[Any, list[Any]], list[Any]]) -> None:
        self.loop(self.const(0), trips, [], body)

    def _point_pieces(self, pieces: list[Piece], nodes: list[Node]) -> None:
        for piece in pieces:
            env = dict(self.outer)
            for node in nodes:
                if node not in env:
                    env[node] = self.compute(node, env, piece, 0)
            self.store_level(2, 0, env, piece)

    # Combining

    def _reductions(self, phase: int) -> list[Node]:
        return [n for n in self.nest.nodes if n.kind == "reduce" and self.nest.phases[n] == phase + 1]

    def _start(self, nodes: list[Node], copies: int) -> list[Any]:
        width = self.nest.width
        one = [self.emitter.constant(identity(n.op, n.dtype), n.dtype, width).value for n in nodes]
        return [v for v in one for _ in range(copies)]

    def combine(self, node: Node, x: Lanes, y: Lanes) -> Lanes:
        """Two partial results of a reduction."""
        out: Lanes
        if node.op in ("sum", "prod"):
            out = x + y if node.op == "sum" else x * y
        elif node.op in ("any", "all"):
            out = x | y if node.op == "any" else x & y
        else:
            out = (self.xp.maximum if node.op == "max" else self.xp.minimum)(x, y)
        return out

    def _accumulate(self, node: Node, total: Any, env: Env, mask: Lanes | None) -> Any:
        x = self.widened(env[node.args[0].found()].astype(node.dtype))
        if mask is not None:
            x = self.emitter.select(mask, x, self.emitter.constant(identity(node.op, node.dtype), node.dtype, x.count))
        return self.combine(node, Lanes(self.emitter, total, node.dtype, x.count), x).value

    def _row(self, phase: int, pieces: list[Piece] | None) -> None:
        nest = self.nest
        nodes, reductions = self.closure(phase), self._reductions(phase)
        if not nodes and not reductions and not self.has_stores(phase, 2):
            return
        if pieces is not None:
            totals = self._register_row(phase, pieces, nodes, reductions)
        else:
            self.unroll = min(side_by_side(nodes), self._row_vectors())
            start = self._start(reductions, self.unroll)
            totals = self._inner_loops(0, phase, dict(self.outer), nodes, reductions, start)
        copies = len(totals) // max(1, len(reductions))
        for k, node in enumerate(reductions):
            parts = [Lanes(self.emitter, v, node.dtype, nest.width) for v in totals[k * copies : (k + 1) * copies]]
            while len(parts) > 1:
                parts = [self.combine(node, *parts[i : i + 2]) for i in range(0, len(parts), 2)]
            self.outer[node] = total = self.emitter.reduce(parts[0], partial(self.combine, node))
            quotients = [n for n in nest.nodes if is_softmax(n, node)]
            if quotients:
                self.inverses.update(dict.fromkeys(quotients, total.constant(1) / total))
        self.buffered.update(n for n in nodes if n in self.buffers)

    def _row_vectors(self) -> int:
        """Vectors of a row's lanes, rounded up to a power of two."""
        return 1 << (-(-self.nest.lane_size // self.nest.width) - 1).bit_length()

    def _register_pieces(self) -> list[Piece]:
        pieces = self._rest_pieces(self.const(0), 0, self.nest.lane_size)
        return pieces

    def _register_row(self, phase: int, pieces: list[Piece], nodes: list[Node], reductions: list[Node]) -> list[Any]:
        totals: dict[Node, Any] = {}
        for piece in pieces:
            env = {**self.outer, **piece.env}
            for node in nodes:
                if node not in env:
                    piece.env[node] = env[node] = self.compute(node, env, piece, phase)
            self.store_level(2, phase, env, piece)
            for node in reductions:
                total = totals.get(node)
                if total is None and piece.mask is None:
                    totals[node] = self.widened(env[node.args[0].found()].astype(node.dtype)).value
                else:
                    total = self._start([node], 1)[0] if total is None else total
                    totals[node] = self._accumulate(node, total, env, piece.mask)
        return [totals[n] for n in reductions]

    def _inner_loops(
        self, depth: int, phase: int, env: Env, nodes: list[Node], reductions: list[Node], totals: list[Any]
    ) -> list[Any]:
        """Loops over the combined atoms, lanes innermost."""
        nest = self.nest
        if depth == len(nest.inner):
            return self._lane_loop(phase, env, nodes, reductions, totals)
        atom = nest.inner[depth]

        def body(i: Any, sums: list[Any]) -> list[Any]:
            self.index[atom] = i
            here = dict(env)
            self.emit_level(nest.depth + depth, phase, here, nodes, None)
            return self._inner_loops(depth + 1, phase, here, nodes, reductions, sums)

        return self.loop(self.const(0), self.const(nest.sizes[atom]), totals, body)

    def _lane_loop(
        self, phase: int, env: Env, nodes: list[Node], reductions: list[Node], totals: list[Any]
    ) -> list[Any]:
        nest, unroll = self.nest, self.unroll
        step = nest.width * unroll
        whole, rest = divmod(nest.lane_size, step)

        def pieces_body(pieces: list[Piece], sums: list[Any]) -> list[Any]:
            out = list(sums)
            for u, piece in enumerate(pieces):
                here = dict(env)
                for node in nodes:
                    if node not in here:
                        here[node] = self.compute(node, here, piece, phase)
                self.store_level(2 + len(nest.inner), phase, here, piece)
                for k, node in enumerate(reductions):
                    at = k * unroll + u
                    out[at] = self._accumulate(node, out[at], here, piece.mask)
            return out

        def body(i: Any, sums: list[Any]) -> list[Any]:
            base = self.times(i, step)
            starts = [self.b.add(base, self.const(u * nest.width)) if u else base for u in range(unroll)]
            return pieces_body([Piece(s, None) for s in starts], sums)

        if whole == 1:
            totals = body(self.const(0), totals)
        elif whole:
            totals = self.loop(self.const(0), self.const(whole), totals, body)
        return pieces_body(self._rest_pieces(self.const(0), whole * step, rest), totals) if rest else totals

    # Columns

    def _column_pieces(self) -> list[Piece]:
        nest, b = self.nest, self.b
        n, width = nest.lane_size, nest.width
        origin = self.const(0) if self.lane_block is None else b.mul(self.lane_block, self.const(nest.block))
        pieces = []
        for u in range(nest.unroll):
            start = b.add(origin, self.const(u * width))
            if nest.blocks == 1:
                left = n - u * width
                mask = None if left >= width else self.emitter.first(max(left, 0), width)
            else:
                mask = self.emitter.first(b.sub(self.const(n), start), width) if n % nest.block else None
            pieces.append(Piece(start, mask))
        return pieces

    def _columns(self, phase: int, pieces: list[Piece]) -> None:
        nest = self.nest
        nodes, reductions = self.closure(phase), self._reductions(phase)
        for piece in pieces:
            env = {**self.outer, **piece.env}
            for node in nest.nodes:
                if nest.levels[node] == 2 and nest.phases[node] == phase and node.kind != "reduce":
                    piece.env[node] = env[node] = self.compute(node, env, piece, phase)
            self.store_level(2, phase, env, piece)
        if not reductions and not self.has_stores(phase, 3):
            return
        totals = self._start(reductions, len(pieces))
        envs = [{**self.outer, **p.env} for p in pieces]
        totals = self._column_loops(0, phase, pieces, envs, nodes, reductions, totals)
        for k, node in enumerate(reductions):
            for u, piece in enumerate(pieces):
                piece.env[node] = Lanes(self.emitter, totals[k * len(pieces) + u], node.dtype, nest.width)

    def _column_loops(
        self, depth: int, phase: int, pieces: list[Piece], envs: list[Env], nodes: list[Node], reductions: list[Node],
        totals: list[Any],
    ) -> list[Any]:  # fmt: skip
        nest = self.nest
        atom = nest.inner[depth]
        is_last = depth + 1 == len(nest.inner)

        def body(i: Any, sums: list[Any]) -> list[Any]:
            self.index[atom] = i
            here = [dict(env) for env in envs]
            for piece, env in zip(pieces, here, strict=True):
                for node in nodes:
                    if nest.levels[node] == nest.depth + depth and node not in env:
                        env[node] = self.compute(node, env, piece, phase)
                self.store_level(nest.depth + depth, phase, env, piece)
            if not is_last:
                return self._column_loops(depth + 1, phase, pieces, here, nodes, reductions, sums)
            out = list(sums)
            for k, node in enumerate(reductions):
                for u, env in enumerate(here):
                    at = k * len(pieces) + u
                    out[at] = self._accumulate(node, out[at], env, None)
            return out

        return self.loop(self.const(0), self.const(nest.sizes[atom]), totals, body)
