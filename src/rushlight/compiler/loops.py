"""Fused groups of calls: what they compute together, and the kernel that does it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rushlight.compiler.graph import Call, Value
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.lanes import Emitter, Lanes, apply
from rushlight.compiler.loops_emit import Batch, Writer
from rushlight.compiler.loops_lower import can_lower, lower
from rushlight.compiler.loops_nest import CHUNK_BYTES, Nest, analyse, make_nest
from rushlight.compiler.loops_nodes import Builder, Node, Term, view_runs
from rushlight.compiler.loops_space import Misfit, Space
from rushlight.compiler.target import host
from rushlight.ops.kinds import Elementwise, View

__all__ = ["Group", "Misfit", "Space", "batched", "can_lower", "emit_body", "fused_kernel", "group_of", "separate"]


dtype_name = functools.cache(str)
POINTWISE = frozenset({"load", "point", "cast", "fill", "index"})
FEW_ARRAYS = 24


class Group:
    """Calls that share loops.

    Attributes
    ----------
    calls : in order
    nodes : what they compute, operands first
    results : the values that they make, as terms
    loads : the values that they read, as terms
    """

    def __init__(
        self, space: Space, calls: list[Call], nodes: list[Node], results: dict[Value, Term], loads: dict[Value, Term]
    ) -> None:
        self.space = space
        self.calls = calls
        self.nodes = nodes
        self.results = results
        self.loads = loads
        self.combines = any(n.kind not in POINTWISE for n in nodes)
        self.aliased: list[Node] = []
        self.entered: list[Node] = []

    def is_pointwise(self, stored: Sequence[Value]) -> bool:
        """Whether each step gives one element of each of a few results: then the loops surely agree."""
        if self.combines or len(self.loads) + len(stored) > FEW_ARRAYS:
            return False
        resolve = self.space.resolve
        extents = {frozenset(a for run in self.results[v].runs for a in resolve(run)) for v in stored}
        if len(extents) != 1:
            return False
        (extent,) = extents
        return all(a in extent for term in self.loads.values() for run in term.runs for a in resolve(run))


def group_of(space: Space, call: Call, copied: Any = ()) -> Group:
    """A group of one call."""
    b = Builder(space, copied)
    terms = lower(b, call)
    return Group(space, [call], b.nodes, dict(zip(call.results, terms, strict=True)), b.loads)


def path_of_views(value: Value, source: Value) -> list[Call] | None:
    """The view calls that lead from `source` to `value`."""
    path: list[Call] = []
    while value is not source:
        call = value.call
        if call is None or not isinstance(call.op, View) or not isinstance(call.operands[0], Value):
            return None
        path.append(call)
        value = call.operands[0]
    return path[::-1]


def seen_as(group: Group, source: Value, value: Value) -> Term:
    """`value`, a view of a result of `group`, as a term without memory."""
    path = path_of_views(value, source)
    if path is None:
        raise Misfit("not a view of it")
    term = group.results[source]
    runs = term.runs
    for call in path:
        if len(call.results) != 1:
            raise Misfit(f"{call.op.name} of a value without memory")
        runs = view_runs(group.space, runs, call.op.name, call.result.shape, call.params)
    return Term(term.node, runs)


def joined(first: Group, second: Group, links: Iterable[tuple[Value, Value]]) -> Group:
    """Both groups in one, `second` taking results of `first` without memory.

    `links` are pairs (result of `first`, the operand of `second` that shows it). Raises `Misfit`; what was bound in the
    space until then is for the caller to undo.
    """
    space = first.space
    replaced: list[tuple[Node, Node]] = []
    loads = dict(second.loads)
    for source, value in links:
        term = seen_as(first, source, value)
        taken = loads.pop(value)
        space.unify_all(term.runs, taken.runs)
        replaced.append((taken.node, term.node))
    for value, taken in list(loads.items()):
        held = first.loads.get(value)
        if held is not None and held.node.kind == taken.node.kind == "load":
            mark = space.mark()
            try:
                space.unify_all(held.runs, taken.runs)
            except Misfit:
                space.undo(mark)
                continue
            replaced.append((taken.node, held.node))
            del loads[value]
    terms = (*first.results.values(), *second.results.values(), *first.loads.values(), *loads.values())
    for runs in {term.runs for term in terms}:
        atoms = [a for run in runs for a in space.resolve(run)]
        if len(set(atoms)) < len(atoms):
            raise Misfit("a diagonal")
    gone = {old for old, _ in replaced}
    out = Group(
        space,
        first.calls + second.calls,
        first.nodes + [n for n in second.nodes if n not in gone],
        {**first.results, **second.results},
        {**loads, **first.loads},
    )
    for old, new in replaced:
        old.alias = new.found()
    out.aliased = [old for old, _ in replaced]
    out.entered = second.nodes
    _forget_operands(second.nodes)
    return out


def separate(joint: Group) -> None:
    """Take back what `joined` did to the nodes of the second group."""
    for node in joint.aliased:
        node.alias = None
    _forget_operands(joint.entered)


def _forget_operands(nodes: list[Node]) -> None:
    for node in nodes:
        node.inputs = None


def emit_body(emitter: Emitter, calls: Sequence[Call], env: dict[Value, Lanes]) -> None:
    """Evaluate pointwise calls on lanes, adding their results to `env`.

    Views among them must leave every element in its lane (reshapes and broadcasts of values that are in `env`).
    """
    for call in calls:
        args = [env[a] if isinstance(a, Value) and a in env else _constant(a, emitter) for a in call.operands]
        name = call.op.name
        if isinstance(call.op, Elementwise):
            out = apply(call.op, emitter, args, call.params)
        elif name == "zeros_as":
            out = args[0].constant(0)
        elif isinstance(call.op, View) or name in ("cast", "copy", "clone"):
            out = args[0]
        else:
            raise NotImplementedError(f"{name} on lanes")
        env[call.result] = out.astype(call.result.dtype)


def _constant(a: Any, emitter: Emitter) -> Any:
    if not isinstance(a, Value):
        return a
    if not a.is_constant or a.data.size != 1:
        raise KeyError(f"{a!r} is not on lanes")
    return emitter.constant(a.data.item(), a.dtype, 1)


# Kernels


def _label(node: Node, numbers: dict[Node, int], nest: Nest, order: dict[int, int], slots: dict[Any, int]) -> str:
    """One line of a kernel's key."""
    parts = [node.kind, dtype_name(node.dtype)]
    if node.op is not None:
        parts.append(node.op if isinstance(node.op, str) else node.op.name)
    for a in node.args:
        parts.append(f"%{numbers[a.found()]}" if isinstance(a, Node) else repr(a))
    if node.params:
        parts.append(repr(sorted(node.params.items())))
    if node in nest.strides:
        parts.append(_text(nest.strides[node], order))
    if node.access is not None:
        parts.append(f"@{slots[node.access.root]}+{node.access.offset}")
        if node.kind == "rows":
            parts.append(f"row {node.access.strides[0]} of {node.access.shape[0]}")
    return " ".join(parts)


def _text(strides: dict[int, int], order: dict[int, int]) -> str:
    return str(sorted((order[a], s) for a, s in strides.items()))


def key_of(nest: Nest, slots: dict[Any, int]) -> str:
    """All that the code of a nest depends on."""
    atoms = [*nest.outer, *([] if nest.lane is None else [nest.lane]), *nest.inner]
    order = {a: i for i, a in enumerate(atoms)}
    numbers = {n: i for i, n in enumerate(nest.nodes)}
    lines = [
        f"{nest.mode} {len(nest.outer)} {[nest.sizes[a] for a in atoms]} width {nest.width} x {nest.unroll} block "
        f"{nest.block} items {nest.items} per {nest.per_chunk}"
    ]
    lines += [_label(n, numbers, nest, order, slots) for n in nest.nodes]
    lines += [
        f"store %{numbers[s.node]} {dtype_name(s.value.dtype)} {_text(s.strides, order)} @{slots[s.value]}"
        for s in nest.stores
    ]
    return "\n".join(lines)


def name_of(calls: Sequence[Call]) -> str:
    """A short name for people."""
    names = [c.op.name for c in calls if not isinstance(c.op, View)] or [c.op.name for c in calls]
    return " ".join(names) if len(names) <= 6 else f"{' '.join(names[:4])} … {names[-1]} ({len(names)} ops)"


def fused_kernel(group: Group, stored: Sequence[Value], calls: Sequence[Call] | None = None) -> Kernel:
    """The kernel of a group that leaves the values `stored` in memory; raises `Misfit`."""
    form = analyse(group.space, group.nodes, {v: group.results[v] for v in stored})
    nest = make_nest(group.space, form, host().lanes)
    roots = list(dict.fromkeys(n.access.root for n in nest.nodes if n.access is not None))
    slots: dict[Any, int] = {v: i for i, v in enumerate([*roots, *stored])}

    return FusedKernel(
        name=name_of(group.calls),
        key="loops " + key_of(nest, slots),
        build=lambda module, name: Writer(nest, module, name).write(slots),
        reads=tuple(roots),
        writes=tuple(stored),
        chunks=nest.chunks,
        calls=tuple(group.calls if calls is None else calls),
        inplace=_inplace(nest, slots, len(roots)),
        nest=nest,
        slots=slots,
    )


@dataclass(frozen=True, eq=False)
class FusedKernel(Kernel):
    """A kernel of one nest of loops."""

    nest: Any = None
    slots: Any = None


def batched(kernels: Sequence[Kernel]) -> Kernel:
    """One kernel for several of one key and one chunk each."""
    first = kernels[0]
    assert isinstance(first, FusedKernel)
    nest, slots = first.nest, first.slots
    reads = [v for k in kernels for v in k.reads]
    writes = [v for k in kernels for v in k.writes]
    count, per_read, per_write = len(kernels), len(first.reads), len(first.writes)
    chunks = max(1, min(count, int(count * nest.cost // CHUNK_BYTES)))
    batch = Batch(count, -(-count // chunks), per_read, per_write)
    pairs = [
        (m * per_write + w, m * per_read + r)
        for m, k in enumerate(kernels)
        for w, r in k.inplace
        if reads.count(k.reads[r]) == 1
    ]
    return Kernel(
        name=f"{first.name} x {count}",
        key=f"{first.key}\n{batch}",
        build=lambda module, name: Writer(nest, module, name).write(slots, batch),
        reads=tuple(reads),
        writes=tuple(writes),
        chunks=-(-count // batch.each),
        calls=tuple(c for k in kernels for c in k.calls),
        inplace=tuple(pairs),
    )


def _inplace(nest: Nest, slots: dict[Any, int], reads: int) -> tuple[tuple[int, int], ...]:
    """Pairs of a result and an operand of which each element is read, in the same step, before it is written."""
    pairs = []
    for store in nest.stores:
        for root, slot in slots.items():
            if slot < reads and _may_overwrite(nest, store, root):
                pairs.append((slots[store.value] - reads, slot))
    return tuple(pairs)


def _may_overwrite(nest: Nest, store: Any, root: Value) -> bool:
    if root.is_constant or root.shape == () != store.value.shape:
        return False
    for node in nest.nodes:
        access = node.access
        if access is None or access.root is not root:
            continue
        if node.kind == "rows" or access.offset or nest.strides[node] != store.strides:
            return False
        if access.dtype.itemsize != store.value.dtype.itemsize:
            return False
        if nest.mode != "point" and nest.levels[node] >= 2 and not _is_last_use(nest, node, store):
            return False
        if nest.levels[node] == 0 and nest.items > 1:
            return False
    return True


def _is_last_use(nest: Nest, node: Node, store: Any) -> bool:
    """Whether no phase after that of the store reads the row; registers are loaded where they are needed first."""
    place, last = nest.phases[store.node], max(nest.phases.values())
    if nest.mode == "row" and nest.in_registers:
        return any(node in nest.needed(p, nest.stores_in(p, 2)) for p in range(place + 1))
    return place == last
