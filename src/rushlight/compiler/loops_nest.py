"""The shape of a fused kernel's loops: which atoms are rows, which are combined, which lie in vector lanes.

An item is what runs without a break: a block of a vector dim ("point"), a row that is combined ("row"), or a block of
columns that are combined over other dims ("col"). Chunks are ranges of items.
"""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any

from rushlight.compiler.access import byte_strides
from rushlight.compiler.graph import Value
from rushlight.compiler.loops_nodes import Node, Term
from rushlight.compiler.loops_space import Misfit, Run, Runs, Space

CHUNK_BYTES = 64 << 10
"""Traffic worth handing to another thread."""
MOST_CHUNKS = 64
ROW_LATENCY = 128
"""What joining the lanes of a vector costs, in bytes that could be moved meanwhile."""
REGISTER_PIECES = 8
BUFFER_BYTES = 32 << 10

Strides = dict[int, int]


@dataclass(eq=False)
class Store:
    """A result in memory."""

    value: Value
    node: Node
    strides: Strides


@dataclass(eq=False)
class Nest:
    """Loops and what happens in them.

    Attributes
    ----------
    nodes : live ones, operands first
    strides : of loads and indices, by atom: bytes, or steps
    outer, lane, inner : atoms of the items, of the vectors, and those combined one by one
    width, unroll : lanes of a vector, vectors side by side
    block : lanes per item where the lane dim is cut ("point" and "col"), else its size
    phases, levels : of nodes: after how many reductions, and in which loop
    """

    sizes: list[int]
    nodes: list[Node]
    stores: list[Store]
    strides: dict[Node, Strides]
    outer: list[int]
    lane: int | None
    inner: list[int]
    mode: str
    width: int = 1
    unroll: int = 1
    block: int = 1
    items: int = 1
    per_chunk: int = 1
    cost: float = 0.0
    phases: dict[Node, int] = field(default_factory=dict)
    levels: dict[Node, int] = field(default_factory=dict)

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return -(-self.items // self.per_chunk)

    @property
    def lane_size(self) -> int:
        """Steps of the lane atom."""
        return 1 if self.lane is None else self.sizes[self.lane]

    @property
    def blocks(self) -> int:
        """Pieces that the lane dim is cut into."""
        return 1 if self.mode == "row" else -(-self.lane_size // self.block)

    @property
    def depth(self) -> int:
        """The level of the first inner loop."""
        return 3 if self.mode == "col" else 2

    def level_of(self, atom: int) -> int:
        """Where an atom's loop stands."""
        if atom == self.lane:
            return 2 + len(self.inner) if self.mode == "row" else 2
        return self.depth + self.inner.index(atom) if atom in self.inner else 1

    def needed(self, phase: int, stores: list[Store], kept: Container[Node] = ()) -> set[Node]:
        """Nodes inside the inner loops that the combinations of a phase and `stores` need; `kept` ones need nothing."""
        stack = [n.args[0].found() for n in self.nodes if n.kind == "reduce" and self.phases[n] == phase + 1]
        stack += [s.node for s in stores]
        wanted: set[Node] = set()
        while stack:
            node = stack.pop()
            if node in wanted or self.levels[node] < 2 or node.kind == "reduce":
                continue
            wanted.add(node)
            if not (node in kept and self.phases[node] < phase):
                stack.extend(node.operands)
        return wanted

    def store_depth(self, store: Store) -> int:
        """The level of the loop that writes a result."""
        return max([self.levels[store.node], 1, *map(self.level_of, store.strides)])

    def stores_in(self, phase: int, depth: int) -> list[Store]:
        """Results that a phase writes in a loop of that level or further in."""
        return [s for s in self.stores if self.phases[s.node] == phase and self.store_depth(s) >= depth]

    @property
    def in_registers(self) -> bool:
        """Whether a whole row is held in registers through all phases."""
        return self.mode == "row" and not self.inner and self.lane_size <= REGISTER_PIECES * self.width


@dataclass
class Form:
    """What must hold for nodes to share loops, worked out: the atoms of rows and those combined."""

    nodes: list[Node]
    rows: set[int]
    combined: set[int]
    strides: dict[Node, Strides]
    stores: list[Store]
    orders: list[Run]


def strides_of(space: Space, runs: Runs, steps: tuple[int, ...]) -> Strides:
    """How far each atom's step moves, for dims with the given strides."""
    out: Strides = {}
    for run, step in zip(runs, steps, strict=True):
        for a in reversed(space.resolve(run)):
            out[a] = out.get(a, 0) + step
            step *= space.sizes[a]
    return {a: s for a, s in out.items() if s}


def _node_strides(space: Space, node: Node) -> Strides:
    """How a node that looks at memory, or counts, steps along each atom; not to be changed."""
    runs = tuple(map(space.resolve, node.runs))
    if node.steps is not None and node.steps[0] == runs:
        return node.steps[1]  # type: ignore[no-any-return]
    steps: tuple[int, ...] = (1,)
    if node.access is not None:
        steps = node.access.strides[1:] if node.kind == "rows" else node.access.strides
    strides = strides_of(space, runs, steps)
    node.steps = (runs, strides)
    return strides


def live_nodes(nodes: list[Node], targets: list[Node]) -> list[Node]:
    """Those of `nodes` that targets need, in order."""
    wanted: set[Node] = set()
    stack = list(targets)
    while stack:
        node = stack.pop()
        if node not in wanted:
            wanted.add(node)
            stack.extend(node.operands)
    return [n for n in nodes if n in wanted]


def analyse(space: Space, nodes: list[Node], stored: dict[Value, Term], *, strict: bool = False) -> Form:
    """Check that nodes fit one nest of loops; raises `Misfit` where they do not.

    `strict`: nothing may be combined more often than once, as it would be in rows that it does not depend on.
    """
    live = live_nodes(nodes, [t.node.found() for t in stored.values()])
    combined: set[int] = set()
    strides: dict[Node, Strides] = {}
    for node in live:
        if node.kind == "reduce":
            taken = {a for run in node.runs for a in space.resolve(run)}
            if combined and taken != combined:
                raise Misfit("combines other dims")
            combined = taken
        elif node.kind in ("load", "rows", "index", "product"):
            strides[node] = _node_strides(space, node)
    stores, orders = [], []
    atoms = set(combined)
    for each in strides.values():
        atoms.update(each)
    for value, term in stored.items():
        order = tuple(a for run in term.runs for a in space.resolve(run))
        if len(set(order)) < len(order):
            raise Misfit("a diagonal")
        steps = byte_strides(tuple(space.size(run) for run in term.runs), value.dtype.itemsize)
        stores.append(Store(value, term.node.found(), strides_of(space, term.runs, steps)))
        orders.append(order)
        atoms.update(order)
    rows = atoms - combined
    for order in orders:
        if set(order) != rows and set(order) != atoms:
            raise Misfit("a result of another extent")
    if strict and combined:
        _check_combined_once(live, rows, strides)
    return Form(live, rows, combined, strides, stores, orders)


def _check_combined_once(nodes: list[Node], rows: set[int], strides: dict[Node, Strides]) -> None:
    bits = {a: 1 << i for i, a in enumerate(rows)}
    every = (1 << len(rows)) - 1
    seen: dict[Node, int] = {}
    for node in nodes:
        mask = 0
        for a in strides.get(node, ()):
            mask |= bits.get(a, 0)
        for operand in node.operands:
            mask |= seen[operand]
        seen[node] = mask
        if node.kind == "reduce" and mask != every:
            raise Misfit("would be combined again for every row")


def _collapsed(sizes: list[int], order: list[int], tables: list[Strides]) -> list[int]:
    """Neighbouring atoms that all arrays step through evenly become one; changes `sizes` and `tables`."""
    out: list[int] = []
    for a in order:
        if out:
            o = out[-1]
            if all(t.get(o, 0) == t.get(a, 0) * sizes[a] for t in tables):
                sizes[a] *= sizes[o]
                for t in tables:
                    t.pop(o, None)
                out[-1] = a
                continue
        out.append(a)
    return out


def _order(form: Form, sizes: list[int]) -> tuple[list[int], list[int]]:
    """Rows as the largest result has them, combined atoms as the largest operand has them."""
    widest = max(form.orders, key=len, default=())
    rows = [a for a in widest if a in form.rows]
    if set(widest) >= form.combined:
        return rows, [a for a in widest if a in form.combined]

    def reach(strides: Strides) -> int:
        return math.prod(sizes[a] for a in strides if a in form.combined)

    main = max(form.strides.values(), key=reach, default={})
    return rows, sorted(form.combined, key=lambda a: (-main.get(a, 1 << 60), a))


def make_nest(space: Space, form: Form, width_of: Any) -> Nest:
    """Choose loops for nodes that fit; `width_of(dtype)` is the number of lanes of a vector register."""
    sizes = list(space.sizes)
    rows, combined = _order(form, sizes)
    strides = {n: dict(s) for n, s in form.strides.items()}
    stores = [Store(s.value, s.node, dict(s.strides)) for s in form.stores]
    tables = [*strides.values(), *(s.strides for s in stores)]
    rows = _collapsed(sizes, rows, tables)
    combined = _collapsed(sizes, combined, tables)
    scores = _lane_scores(form.nodes, strides, stores, rows + combined, sizes)
    best_row = max(reversed(rows), key=scores.__getitem__, default=None)
    best_combined = max(reversed(combined), key=scores.__getitem__, default=None)
    mode, lane = "point", best_row
    if best_combined is not None:
        by_row = best_row is not None and scores[best_row] > scores[best_combined]
        mode, lane = ("col", best_row) if by_row else ("row", best_combined)
    outer, inner = [a for a in rows if a != lane], [a for a in combined if a != lane]
    nest = Nest(sizes, form.nodes, stores, strides, outer, lane, inner, mode)
    _place(nest)
    _cut(nest, width_of)
    return nest


def _lane_scores(
    nodes: list[Node], strides: dict[Node, Strides], stores: list[Store], atoms: list[int], sizes: list[int]
) -> dict[int, float]:
    """How well each atom suits vector lanes: elements side by side in memory, and enough of them."""
    arrays = [(s, n.dtype.itemsize) for n, s in strides.items() if n.kind in ("load", "rows")]
    arrays += [(s.strides, s.value.dtype.itemsize) for s in stores]
    scores = dict.fromkeys(atoms, 0.0)
    for table, item in arrays:
        reach = math.prod(sizes[a] for a in table)
        for a in atoms:
            step = table.get(a, 0)
            scores[a] += 0.0 if not step else float(reach) if step == item else -2.0 * reach
    for a in atoms:
        if sizes[a] < 4 and scores[a] > 0:
            scores[a] *= sizes[a] / 4
    return scores


def _place(nest: Nest) -> None:
    """Phase and level of every node."""
    for node in nest.nodes:
        operands = node.operands
        phase = max((nest.phases[a] for a in operands), default=0)
        level = max((nest.levels[a] for a in operands), default=0)
        if node.kind == "reduce":
            phase, level = phase + 1, 2 if nest.mode == "col" else 1
        elif node in nest.strides:
            level = max([level, *(nest.level_of(a) for a in nest.strides[node])])
        nest.phases[node], nest.levels[node] = phase, level


def _cut(nest: Nest, width_of: Any) -> None:
    """Vector width, unrolling, blocks and chunks."""
    n = nest.lane_size
    widest = [width_of(node.dtype) for node in nest.nodes if node.dtype.itemsize >= 4]
    width = max(widest, default=width_of(nest.stores[0].value.dtype))
    while width > 1 and width >= 2 * n:
        width //= 2
    nest.width = width
    nest.unroll = side_by_side(nest.nodes)
    per_lane = _cost(nest)
    outer = math.prod(nest.sizes[a] for a in nest.outer)
    lanes = n if nest.mode != "row" else 1
    nest.cost = total = per_lane * outer * lanes
    wanted = max(1, min(MOST_CHUNKS, int(total // CHUNK_BYTES)))
    nest.block = n
    if nest.mode == "point":
        step = nest.width * nest.unroll
        if outer < wanted and n > step:
            pieces = -(-wanted // outer)
            nest.block = min(n, -(-n // pieces // step) * step) if pieces > 1 else n
            nest.block = max(step, -(-nest.block // step) * step)
    elif nest.mode == "col":
        nest.unroll = _columns(nest.width, n, outer, wanted)
        nest.block = nest.width * nest.unroll
    nest.items = outer * nest.blocks
    nest.per_chunk = -(-nest.items // min(wanted, nest.items))


def side_by_side(nodes: list[Node]) -> int:
    """How many vectors a loop works on at once, so that one waits for memory or sums while others go on."""
    busy = sum(node.kind == "point" for node in nodes) + 6 * sum(node.is_expensive for node in nodes)
    return 4 if busy <= 6 else 2 if busy <= 14 else 1


def _columns(width: int, n: int, outer: int, wanted: int) -> int:
    """Vectors side by side of a column block: as many as leave enough blocks."""
    for unroll in (8, 4, 2):
        if width * unroll <= n + width and outer * -(-n // (width * unroll)) >= wanted:
            return unroll
    return 1


def _cost(nest: Nest) -> float:
    """Traffic in bytes of one lane (of a whole row in mode "row"), arithmetic counted in bytes it could move."""
    combined = nest.inner + ([nest.lane] if nest.mode == "row" and nest.lane is not None else [])
    total = 0.0
    for node in nest.nodes:
        steps = 1
        if nest.levels[node] >= 2:
            touched = nest.strides[node] if node in nest.strides else combined
            steps = math.prod(nest.sizes[a] for a in combined if a in touched)
        if node.kind in ("load", "rows"):
            total += steps * node.dtype.itemsize
        elif node.kind == "point":
            total += steps * (8.0 if node.is_expensive else 1.0)
        elif node.kind == "reduce" and nest.mode == "row":
            total += ROW_LATENCY
    for store in nest.stores:
        total += store.value.dtype.itemsize * math.prod(nest.sizes[a] for a in combined if a in store.strides)
    return max(total, 1.0)
