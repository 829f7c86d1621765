"""The numbers of fused loops in LLVM code: what one vector of lanes loads, computes and stores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rushlight.compiler import lanes
from rushlight.compiler.lanes import Lanes, Namespace
from rushlight.compiler.loops_code import Code
from rushlight.compiler.loops_nest import Nest, Store
from rushlight.compiler.loops_nodes import Node

I64, BOOL = np.dtype(np.int64), np.dtype(np.bool_)
Env = dict[Node, Lanes]
Slots = dict[Any, int]


def identity(how: str, dtype: Any) -> Any:
    """What a combination starts from."""
    if how in ("max", "min"):
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)
            return limits.min if how == "max" else limits.max
        return -math.inf if how == "max" else math.inf
    return {"sum": 0, "prod": 1, "any": False, "all": True}[how]


def is_softmax(node: Node, total: Node) -> bool:
    """Whether a node is exp(x - max) / total: with totals from 1 on, multiplying by 1 / total is as exact."""
    if node.kind != "point" or node.op.name != "div" or len(node.operands) != 2 or total.op != "sum":
        return False
    top, bottom = node.operands
    if bottom is not total or total.operands[0] is not top or top.kind != "point" or top.op.name != "exp":
        return False
    shifted = top.operands[0]
    if shifted.kind != "point" or shifted.op.name != "sub" or len(shifted.operands) != 2:
        return False
    x, greatest = shifted.operands
    return greatest.kind == "reduce" and greatest.op == "max" and greatest.operands[0] is x and node.dtype.itemsize > 2


class Piece:
    """One vector of lanes: where it starts and which lanes count."""

    __slots__ = ("start", "mask", "env")

    def __init__(self, start: Any, mask: Lanes | None) -> None:
        self.start = start
        self.mask = mask
        self.env: Env = {}


class Values(Code):
    """Writes the values of a nest of loops, given where in the loops the code stands.

    Attributes
    ----------
    bases : addresses of roots
    pointers : addresses of arrays at the item
    index : indices of atoms
    outer : values that do not change within an item
    """

    def __init__(self, nest: Nest, module: Any, name: str) -> None:
        super().__init__(module, name)
        self.nest = nest
        self.xp = Namespace(self.emitter)
        self.bases: dict[Any, Any] = {}
        self.pointers: dict[Any, Any] = {}
        self.index: dict[int, Any] = {}
        self.outer: Env = {}
        self.buffers: dict[Node, Any] = {}
        self.buffered: set[Node] = set()
        self.inverses: dict[Node, Lanes] = {}

    def point_at(self, arrays: list[Any]) -> None:
        """The address of each array's element at this item."""
        nest = self.nest
        for array in arrays:
            if isinstance(array, Node) and array.kind == "index":
                continue
            if isinstance(array, Node):
                assert array.access is not None
                pointer = self.at(self.bases[array.access.root], array.access.offset)
                strides = nest.strides[array]
            else:
                pointer, strides = self.bases[array.value], array.strides
            for a in nest.outer:
                if strides.get(a):
                    pointer = self.at(pointer, self.times(self.index[a], strides[a]))
            self.pointers[array] = pointer

    def closure(self, phase: int) -> list[Node]:
        """Nodes inside the inner loops that the results of a phase need, operands first."""
        nest = self.nest
        wanted = nest.needed(phase, nest.stores_in(phase, 2), self.buffered)
        return [n for n in nest.nodes if n in wanted]

    def has_stores(self, phase: int, depth: int) -> bool:
        """Whether a phase writes results in a loop of that level or further in."""
        return bool(self.nest.stores_in(phase, depth))

    def emit_level(self, level: int, phase: int, env: Env, nodes: list[Node] | None, piece: Piece | None) -> None:
        """Compute nodes of one level (those of one phase, unless they are given)."""
        nest = self.nest
        for node in nest.nodes if nodes is None else nodes:
            if nest.levels[node] != level or node.kind == "reduce" or node in env:
                continue
            if nodes is None and nest.phases[node] != phase:
                continue
            env[node] = self.compute(node, env, piece, phase)

    def compute(self, node: Node, env: Env, piece: Piece | None, phase: int) -> Lanes:
        """The lanes of a node whose operands are in `env`."""
        if node in self.buffers and node in self.buffered and self.nest.phases[node] < phase:
            return self.emitter.load(self._in_buffer(node, piece), node.dtype, self.nest.width)
        if node.kind == "load":
            return self._load(node, piece)
        if node.kind == "rows":
            return self._rows(node, env[node.args[0].found()], piece)
        if node.kind == "index":
            return self._index(node, piece)
        if node.kind == "fill":
            return self.emitter.constant(node.args[0], node.dtype, 1)
        args = [env[a.found()] if isinstance(a, Node) else a for a in node.args]
        if node.kind == "cast":
            return args[0].astype(node.dtype)
        inverse = self.inverses.get(node)
        if inverse is None:
            out = lanes.apply(node.op, self.emitter, args, node.params).astype(node.dtype)
        else:
            out = args[0] * inverse
        if node in self.buffers and piece is not None:
            self.emitter.store(self.widened(out), self._in_buffer(node, piece))
        return out

    def _in_buffer(self, node: Node, piece: Piece | None) -> Any:
        assert piece is not None
        nest = self.nest
        position, step = piece.start, nest.lane_size
        for a in reversed(nest.inner):
            position = self.b.add(position, self.times(self.index[a], step))
            step *= nest.sizes[a]
        return self.at(self.buffers[node], self.times(position, node.dtype.itemsize))

    def _inner_address(self, pointer: Any, strides: dict[int, int]) -> Any:
        for a in self.nest.inner:
            if strides.get(a) and a in self.index:
                pointer = self.at(pointer, self.times(self.index[a], strides[a]))
        return pointer

    def _load(self, node: Node, piece: Piece | None) -> Lanes:
        nest, strides = self.nest, self.nest.strides[node]
        if node not in self.pointers:  # a 0-d operand, read once per chunk
            self.point_at([node])
        pointer = self._inner_address(self.pointers[node], strides)
        return self._vector(node, pointer, strides.get(nest.lane, 0) if nest.lane is not None else 0, piece)

    def _vector(self, node: Node, pointer: Any, step: int, piece: Piece | None) -> Lanes:
        """The lanes of an array that steps by `step` bytes from lane to lane."""
        nest = self.nest
        if not step or piece is None:
            return self.emitter.load(pointer, node.dtype, 1)
        pointer = self.at(pointer, self.times(piece.start, step))
        if step == node.dtype.itemsize or nest.width == 1:
            return self.emitter.load(pointer, node.dtype, nest.width, piece.mask)
        places = self.emitter.sequence(range(nest.width), I64)
        return self.emitter.gather(pointer, places, node.dtype, piece.mask, scale=step)

    def _rows(self, node: Node, index: Lanes, piece: Piece | None) -> Lanes:
        """Elements of the rows at `index`; NaN where there is no such row."""
        nest, strides, access = self.nest, self.nest.strides[node], node.access
        assert access is not None
        row, rows = access.strides[0], access.shape[0]
        if node not in self.pointers:
            self.point_at([node])
        pointer = self._inner_address(self.pointers[node], strides)
        index = index.astype(I64)
        valid = (index >= 0) & (index < rows)
        nothing = self.emitter.constant(math.nan, node.dtype, 1)
        if index.count > 1:
            mask = valid if piece is None or piece.mask is None else valid & piece.mask
            x = self.emitter.gather(pointer, index, node.dtype, mask, scale=row)
            return self.emitter.select(valid, x, self.emitter.splat(nothing, x.count))
        place = self.emitter.select(valid, index, index.constant(0)).value
        pointer = self.at(pointer, self.times(place, row))
        step = strides.get(nest.lane, 0) if nest.lane is not None else 0
        x = self._vector(node, pointer, step, piece)
        return self.emitter.select(self.emitter.splat(valid, x.count), x, self.emitter.splat(nothing, x.count))

    def _index(self, node: Node, piece: Piece | None) -> Lanes:
        nest, strides = self.nest, self.nest.strides[node]
        total: Any = self.const(0)
        for a, step in strides.items():
            if a != nest.lane:
                total = self.b.add(total, self.times(self.index[a], step))
        step = strides.get(nest.lane, 0) if nest.lane is not None else 0
        if not step or piece is None:
            return Lanes(self.emitter, total, I64, 1)
        total = self.b.add(total, self.times(piece.start, step))
        first = self.emitter.splat(total, nest.width, I64)
        out: Lanes = first + self.emitter.sequence([step * k for k in range(nest.width)], I64)
        return out

    def widened(self, x: Lanes) -> Lanes:
        """`x` in all lanes of a vector."""
        return x if x.count == self.nest.width else self.emitter.splat(x, self.nest.width)

    def store_level(self, level: int, phase: int, env: Env, piece: Piece | None) -> None:
        """Write the results of a phase that are due in the loop of that level."""
        for store in self.nest.stores:
            if self.nest.store_depth(store) == level and self.nest.phases[store.node] == phase:
                self._store(store, env, piece)

    def _store(self, store: Store, env: Env, piece: Piece | None) -> None:
        nest, x = self.nest, env[store.node] if store.node in env else self.outer[store.node]
        pointer = self._inner_address(self.pointers[store], store.strides)
        step = store.strides.get(nest.lane, 0) if nest.lane is not None else 0
        if piece is None or not step:
            self.emitter.store(x if x.count == 1 else x.part(0, 1), pointer)
            return
        pointer = self.at(pointer, self.times(piece.start, step))
        x = self.widened(x)
        if step == store.value.dtype.itemsize or nest.width == 1:
            self.emitter.store(x, pointer, piece.mask)
            return
        places = self.emitter.sequence(range(nest.width), I64)
        self.emitter.scatter(x, pointer, places, piece.mask, scale=step)
