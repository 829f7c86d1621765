"""Which calls of a graph run together: fusion into kernels, and the order of the steps.

Calls are taken in order. Each starts a unit of its own and then joins the units that make its operands, and those that
read what it reads, wherever their loops agree and no path runs from one to the other through a third.
"""

from __future__ import annotations

import gc
import heapq
from collections.abc import Callable, Iterator
from typing import Any

from rushlight.compiler.access_index import is_unchecked
from rushlight.compiler.binding import is_available
from rushlight.compiler.fuse_epilogue import FUSABLE, epilogue_of, product_group
from rushlight.compiler.graph import Call, Graph, Value
from rushlight.compiler.kernel import HostCall, Kernel, Step
from rushlight.compiler.kernels import (
    attention_lowering,
    conv_lowering,
    matmul_lowering,
    pool_lowering,
    recurrent_lowering,
)
from rushlight.compiler.loops import Group, Misfit, Space, batched, can_lower, fused_kernel, group_of, joined, separate
from rushlight.compiler.loops_along import place_kernel, take_kernel
from rushlight.compiler.loops_cat import cat_kernel
from rushlight.compiler.loops_nest import Form, analyse
from rushlight.compiler.loops_scan import scan_kernel
from rushlight.compiler.loops_scatter import scatter_kernel
from rushlight.compiler.schedule_again import compute_again
from rushlight.compiler.schedule_units import Unit, Units
from rushlight.ops.kinds import Elementwise, View

MOST_NODES = 120
MOST_ARRAYS = 28
ROW_BYTES = 768 << 10
SHARED_BYTES = 4 << 10
FOLLOWED_BYTES = 32 << 10
LITTLE = 8
"""How many times more it reads that makes a result little."""

SEEDS: dict[str, Callable[..., Kernel | list[Kernel] | None]] = {
    **matmul_lowering.SEEDS, **conv_lowering.SEEDS, **pool_lowering.SEEDS, **recurrent_lowering.SEEDS,
    **attention_lowering.SEEDS,
    "embedding_grad": scatter_kernel, "cumsum": scan_kernel,
    **dict.fromkeys(("gather", "take_along", "index_select"), take_kernel),
    **dict.fromkeys(("place_along", "scatter_add_zeros", "rows_place"), place_kernel),
    "cat": cat_kernel, "stack": cat_kernel,
}  # fmt: skip
"""Kernels with loops of their own: op name to `make(call, resolve)`, which gives None for what it cannot do."""


class Schedule(list[Step]):
    """Steps in order.

    Attributes
    ----------
    reasons : (maker, user, why they do not share a kernel), for neighbours that do not
    calls : those of the graph, some replaced by their expansion
    """

    def __init__(self, steps: Any = ()) -> None:
        super().__init__(steps)
        self.reasons: list[tuple[Call, Call, str]] = []
        self.calls: list[Call] = []


def schedule(graph: Graph) -> Schedule:
    """The steps that carry out a graph.

    Views become part of the code that reads them; calls that have no native form are host calls.
    """
    if not is_available():
        return Schedule(HostCall(c) for c in graph.calls if not isinstance(c.op, View))
    collects = gc.isenabled()
    gc.disable()  # much is made and all of it kept: going through it again and again finds nothing
    try:
        return _Scheduler(graph).run()
    finally:
        if collects:
            gc.enable()


class _Scheduler(Units):
    """Which units join, and their order."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.postponed: list[tuple[Unit, Unit]] = []
        self.reasons: list[tuple[Call, Call, str]] = []

    def run(self) -> Schedule:
        """Fuse and order."""
        for call in self.calls:
            self._enter(call)
        self._join_postponed()
        self._follow_products()
        compute_again(self)
        self._batch()
        out = Schedule(self._steps())
        out.reasons, out.calls = self.reasons, self.expanded
        return out

    def _enter(self, call: Call) -> None:
        group = self._group(call)
        if group is None:
            self._opaque(call)
            return
        unit = self._new([call], group=group)
        unit.stored = self._stored(group, unit)
        unit = self._join_makers(unit)
        wider = self._join_readers(unit)
        # a product takes on what follows it once all that reads it is one group
        unit = wider if wider is unit else self._join_makers(wider)
        self._register(unit)

    def _group(self, call: Call) -> Group | None:
        if call.op.name in SEEDS or is_unchecked(call) or not can_lower(call):
            return None
        mark = self.space.mark()
        try:
            group = group_of(self.space, call, self.copied)
            if not isinstance(call.op, Elementwise):
                analyse(self.space, group.nodes, group.results)
        except (Misfit, KeyError, NotImplementedError):
            self.space.undo(mark)
            return None
        return group

    def _opaque(self, call: Call) -> None:
        make = SEEDS.get(call.op.name)
        kernel = make(call, self._access) if make else None
        unit = self._new([call], kernel=kernel)
        if kernel is not None and call.op.name in FUSABLE:
            unit.group = product_group(self.space, call)
            unit.seed = call
            unit.stored = self._stored(unit.group, unit)
        if call.has_effect:
            if self.last_effect is not None:
                unit.before |= self.last_effect.before | self.last_effect.bit
                self.last_effect.next_effect = unit
                unit.effect_before = self.last_effect
            self.last_effect = unit
        self._register(unit)

    # Joining

    def _join_makers(self, unit: Unit) -> Unit:
        assert unit.group is not None
        tried: set[int] = set()
        while True:
            makers = {self.maker.get(self.root(v)) for v in unit.group.loads} - {None, unit}
            left = [m for m in makers if m is not None and m.number not in tried]
            if not left:
                return unit
            own = {id(c) for c in unit.calls}
            # What only this unit reads comes first: a product that has taken the unit on takes nothing else on. Then
            # those that need others: joining an earlier one would leave them in between.
            maker = min(left, key=lambda m: (not self._is_private(m, own), -m.before.bit_count(), -m.number))
            tried.add(maker.number)
            if self.units.get(maker.number) is maker:
                unit = self._try(maker, unit) or unit

    def _is_private(self, maker: Unit, users: set[int]) -> bool:
        """Whether only calls among `users` read what a unit makes."""
        return maker.seed is None and all(
            v not in self.kept and all(id(c) in users or self.owner.get(id(c)) is maker for c in self.users.get(v, ()))
            for v in maker.made
        )

    def _join_readers(self, unit: Unit) -> Unit:
        """Join one that reads the same large array without either needing the other."""
        assert unit.group is not None
        for value in list(unit.group.loads):
            root = self.root(value)
            if _bytes(root) < SHARED_BYTES:
                continue
            for other in list(self.readers.get(root, {}).values())[-4:]:
                related = other is unit or other.before & unit.bit or unit.before & other.bit
                if self.units.get(other.number) is other and other.group is not None and not other.seed and not related:
                    unit = self._try(other, unit, quiet=True) or unit
        return unit

    def _try(self, first: Unit, second: Unit, *, quiet: bool = False) -> Unit | None:
        if first is second:
            return None
        why = self._obstacle(first, second)
        if not why:
            made = self._merged(first, second)
            if isinstance(made, Unit):
                return made
            why = made
        if not quiet:
            self.reasons.append((first.calls[-1], second.calls[0], why))
        return None

    def _obstacle(self, first: Unit, second: Unit) -> str:
        if first.group is None:
            return "a kernel with loops of its own" if first.kernel else "runs on the host"
        assert second.group is not None
        if second.seed is not None:
            return "a product of its own"
        if first.before & second.bit:
            return "needs it"
        looked_up = {n.access.root for n in second.group.nodes if n.kind == "rows" and n.access is not None}
        if looked_up & first.group.results.keys():
            return "rows are looked up in it"
        if len(first.group.nodes) + len(second.group.nodes) > MOST_NODES:
            return "enough work for one kernel"
        for value in second.reads:
            maker = self.maker.get(value)
            if maker is not None and maker.before & first.bit and maker is not second:
                return f"{maker.calls[-1].op.name} lies between"
        return ""

    def _merged(self, first: Unit, second: Unit, *, late: bool = False, again: bool = False) -> Unit | str:
        """Both in one, or why not; `late`: whatever else needs the product, `again`: what was postponed before."""
        assert first.group is not None and second.group is not None
        links = []
        for value in second.group.loads:
            source = self.root(value)
            if source in first.group.results:
                links.append((source, value))
        mark = self.space.mark()
        group = None
        try:
            group = joined(first.group, second.group, links)
            stored = self._stored(group, first, second)
            sources = [source for source, _ in links]
            if first.seed and not late and not again and self._is_cheaper_again(second, sources, stored):
                self.postponed.append((first, second))
                raise Misfit("cheaper to compute again than to keep")
            if not first.seed and group.is_pointwise(stored):
                return self._accepted(first, second, group, stored)
            form = analyse(self.space, group.nodes, {v: group.results[v] for v in stored}, strict=True)
            why = _unwise(self.space, form)
            if first.seed and not why:
                why = self._unfinished(group, sources)
                if not why and not late and first.seed.result in stored:
                    why = "the product is kept"
            if first.seed and not why:
                epilogue_of(self.space, form, group, stored)
        except Misfit as misfit:
            why = str(misfit)
        if why or group is None:
            self.space.undo(mark)
            if group is not None:
                separate(group)
            return why
        return self._accepted(first, second, group, stored)

    def _accepted(self, first: Unit, second: Unit, group: Group, stored: list[Value]) -> Unit:
        first.group, first.stored, first.kernel = group, stored, None
        return self._absorb(first, second)

    def _is_cheaper_again(self, second: Unit, sources: list[Value], stored: list[Value]) -> bool:
        """Whether a few steps follow from values that are kept anyway, and nothing but later loops needs the results.

        Those loops then take the steps on, and read what is kept instead of something else of that size.
        """
        group = second.group
        assert group is not None
        made = [v for v in stored if v in group.results]
        if not made or not sources or not all(source in stored for source in sources):
            return False
        if group.combines or any(n.is_expensive or n.kind == "index" for n in group.nodes):
            return False
        if any(self.root(v) not in sources and _bytes(self.root(v)) >= SHARED_BYTES for v in group.loads):
            return False
        if sum(map(_bytes, made)) < sum(map(_bytes, dict.fromkeys(sources))):
            return False
        own = set(map(id, second.calls))
        return not any(
            v in self.kept or id(user) in self.owner or user.op.name in SEEDS
            for v in made
            for user in self.users.get(v, ())
            if id(user) not in own
        )

    def _join_postponed(self) -> None:
        """What nothing took on after all joins what it follows."""
        for first, second in self.postponed:
            alive = all(self.units.get(unit.number) is unit for unit in (first, second))
            if alive and not self._obstacle(first, second):
                self._merged(first, second, again=True)

    def _unfinished(self, group: Group, sources: list[Value]) -> str:
        """Whether other loops read what is joined to a product: then joining this reader saves nothing."""
        own = set(map(id, group.calls))
        for source in sources:
            for user in self.users.get(source, ()):
                if id(user) not in own and user.op.name not in SEEDS:
                    return f"{user.op.name} reads it too"
        return ""

    def _product(self, unit: Unit) -> list[Kernel]:
        """The kernel of a product and what follows it, or of each call where there is no such kernel."""
        seed, group = unit.seed, unit.group
        assert seed is not None and group is not None
        form = analyse(self.space, group.nodes, {v: group.results[v] for v in unit.stored})
        make = SEEDS[seed.op.name]
        fused = _listed(make(seed, self._access, epilogue=epilogue_of(self.space, form, group, unit.stored)))
        if fused:
            return fused
        alone = _listed(make(seed, self._access))
        singles = [group_of(self.space, c, self.copied) for c in group.calls if c is not seed]
        return [*alone, *(fused_kernel(g, list(g.results)) for g in singles)]

    def _follow_products(self) -> None:
        """Small products that are kept and read by one other kernel (an optimizer's) do its work too.

        Of larger ones a pass of its own streams through memory faster than the tiles of a product do.
        """
        for unit in list(self.units.values()):
            if unit.seed is None or self.units.get(unit.number) is not unit or unit.seed.result not in unit.stored:
                continue
            if _bytes(unit.seed.result) > FOLLOWED_BYTES:
                continue
            readers = self.readers.get(unit.seed.result, {})
            followers = [r for r in readers.values() if r.group is not None and r.seed is None]
            if len(followers) == 1 and followers[0] is not unit and not self._obstacle(unit, followers[0]):
                self._merged(unit, followers[0], late=True)

    def _batch(self) -> None:
        """Small groups of one structure become one kernel that goes through them."""
        alike: dict[str, list[Unit]] = {}
        for unit in list(self.units.values()):
            if unit.group is None or unit.seed is not None or not unit.stored:
                continue
            unit.kernel = fused_kernel(unit.group, unit.stored)
            if unit.kernel.chunks == 1:
                alike.setdefault(unit.kernel.key, []).append(unit)
        for units in alike.values():
            while len(units) > 1:
                chosen = self._independent(units)
                units = [u for u in units if u not in chosen]
                if len(chosen) > 1:
                    self._put_together(chosen)

    def _independent(self, units: list[Unit]) -> list[Unit]:
        chosen: list[Unit] = []
        bits = 0
        for unit in units:
            if not unit.before & bits and not any(c.before & unit.bit for c in chosen):
                chosen.append(unit)
                bits |= unit.bit
        return chosen

    def _put_together(self, units: list[Unit]) -> None:
        kernel = batched([u.kernel for u in units if isinstance(u.kernel, Kernel)])
        first, *others = units
        for other in others:
            self._absorb(first, other)
        first.kernel = kernel

    # Steps

    def _steps(self) -> Iterator[Step]:
        waiting = {u.number: u for u in self.units.values()}
        direct = {n: self._direct(u) for n, u in waiting.items()}
        place = self._places(direct)
        waits = {n: len(makers) for n, makers in direct.items()}
        ready = [(place[n], n) for n, count in waits.items() if not count]
        heapq.heapify(ready)
        users: dict[int, list[int]] = {}
        for n, makers in direct.items():
            for k in makers:
                users.setdefault(k, []).append(n)
        done = 0
        while ready:
            _, n = heapq.heappop(ready)
            done += 1
            yield from self._step(waiting[n])
            for k in users.get(n, ()):
                waits[k] -= 1
                if not waits[k]:
                    heapq.heappush(ready, (place[k], k))
        if done < len(waiting):
            raise AssertionError("the steps need one another in a circle")

    def _places(self, direct: dict[int, set[int]]) -> dict[int, int]:
        """Where each unit belongs among the calls, given the units that each one needs."""
        position = {id(c): i for i, c in enumerate(self.calls)}
        place = {n: self._place(self.units[n], position) for n in direct}
        stack = list(direct)
        while stack:
            n = stack.pop()
            for k in direct[n]:
                if place[k] > place[n]:
                    place[k] = place[n]
                    stack.append(k)
        return place

    def _place(self, unit: Unit, position: dict[int, int]) -> int:
        """At its last call; what makes little of much comes as soon as that is made, when it is in the cache yet."""
        last = max(position[id(c)] for c in unit.calls)
        if unit.group is None or unit.seed is not None or not unit.group.combines:
            return last
        large = [v for v in unit.reads if _bytes(v) >= SHARED_BYTES]
        if not large or LITTLE * sum(map(_bytes, unit.stored)) > sum(map(_bytes, large)):
            return last
        return max(position.get(id(v.call), 0) for v in large)

    def _direct(self, unit: Unit) -> set[int]:
        """The units whose results one takes, and the draw before it."""
        makers = {self.maker[v].number for v in unit.reads if v in self.maker}
        if unit.effect_before is not None:
            makers.add(unit.effect_before.number)
        return makers - {unit.number}

    def _step(self, unit: Unit) -> Iterator[Step]:
        if unit.seed is not None and unit.kernel is None:
            yield from self._product(unit)
        elif isinstance(unit.kernel, list):
            yield from unit.kernel
        elif unit.kernel is not None:
            yield unit.kernel
        elif unit.group is None:
            yield from map(HostCall, unit.calls)
        elif unit.stored:
            yield fused_kernel(unit.group, unit.stored)


def _listed(made: Kernel | list[Kernel] | None) -> list[Kernel]:
    return [made] if isinstance(made, Kernel) else made or []


def _bytes(value: Value) -> int:
    n: int = value.dtype.itemsize
    for k in value.shape:
        n *= k
    return n


def _unwise(space: Space, form: Form) -> str:
    """Why loops that agree are better kept apart; empty where they are not."""
    loads = [n for n in form.nodes if n.kind in ("load", "rows")]
    if len({n.access.root for n in loads if n.access}) + len(form.stores) > MOST_ARRAYS:
        return "too many arrays for one kernel"
    if not form.combined:
        return ""
    late = _after_reduction(form)
    if not late:
        return ""
    steps = space.size(tuple(form.combined))
    row = sum(n.dtype.itemsize * steps for n in loads if any(a in form.combined for a in form.strides[n]))
    if row > ROW_BYTES:
        return "a row is too long to stay in the cache"
    if space.size(tuple(form.rows)) < 4 and row > 64 << 10:
        return "too few rows to share among threads"
    return ""


def _after_reduction(form: Form) -> bool:
    """Whether whole rows are gone through again after something was combined."""
    late: set[Any] = set()
    full: set[Any] = set()
    for node in form.nodes:
        operands = node.operands
        if node.kind == "reduce":
            late.add(node)
            if operands[0] in late:
                return True
            continue
        if any(a in late for a in operands):
            late.add(node)
        if any(a in full for a in operands) or any(a in form.combined for a in form.strides.get(node, ())):
            full.add(node)
        if node in late and node in full:
            return True
    return any(s.node in late and any(a in form.combined for a in s.strides) for s in form.stores)
