"""The units of a schedule: calls that become one step, what each needs, and what it leaves to others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rushlight.compiler.access import resolve
from rushlight.compiler.fuse_expand import expanded
from rushlight.compiler.graph import Call, Graph, Value
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.loops import Group, Space
from rushlight.ops.kinds import View


@dataclass(eq=False)
class Unit:
    """Calls that become one step.

    Attributes
    ----------
    group : what they compute, where others may join
    kernel : made already; of a product, with what follows it
    before : the units it needs, directly or not, as bits
    stored : results that others need
    seed : the product that the others follow
    reads, made : the memory that they look at, and what they make
    effect_before, next_effect : of a draw of random numbers, those before and after it
    bit : its place in `before` of others
    """

    number: int
    calls: list[Call]
    group: Group | None = None
    kernel: Kernel | list[Kernel] | None = None
    before: int = 0
    stored: list[Value] = field(default_factory=list)
    seed: Call | None = None
    reads: set[Value] = field(default_factory=set)
    made: list[Value] = field(default_factory=list)
    effect_before: Unit | None = None
    next_effect: Unit | None = None
    bit: int = field(init=False)

    def __post_init__(self) -> None:
        self.bit = 1 << self.number


class Units:
    """The units of a graph in the making.

    Attributes
    ----------
    calls : that become steps, in order
    users : of each value with memory of its own, the calls that read it
    kept : the values that outlive the program
    units : by number
    maker, owner, readers : the unit of a value, of a call, and those that read a value
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.space = Space()
        self.units: dict[int, Unit] = {}
        self.maker: dict[Value, Unit] = {}
        self.owner: dict[int, Unit] = {}
        self.readers: dict[Value, dict[int, Unit]] = {}
        self.copied: set[Value] = set()
        self.roots: dict[Value, Value] = {}
        self.expanded = expanded(graph)
        self.calls = list(self._needed(_alive(graph, self.expanded)))
        self.users = self._users()
        self.kept = {self.root(v) for v in graph.kept()}
        self.last_effect: Unit | None = None
        self.count = 0

    def root(self, value: Value) -> Value:
        """The value whose memory `value` shows."""
        found = self.roots.get(value)
        if found is None:
            access = resolve(value, self.copied)
            if access is None:
                raise AssertionError(f"{value!r} has no memory")
            found = self.roots[value] = access.root
        return found

    def _access(self, value: Value) -> Any:
        return resolve(value, self.copied)

    def _needed(self, calls: list[Call]) -> Iterator[Call]:
        """All but views of memory; those that need a copy are noted as values with memory of their own."""
        for call in calls:
            if isinstance(call.op, View):
                if all(resolve(v, self.copied) is not None for v in call.results):
                    continue
                self.copied.update(call.results)
            yield call

    def _users(self) -> dict[Value, list[Call]]:
        users: dict[Value, list[Call]] = {}
        for call in self.calls:
            for value in dict.fromkeys(map(self.root, call.values())):
                users.setdefault(value, []).append(call)
        return users

    def _new(self, calls: list[Call], **more: Any) -> Unit:
        unit = Unit(self.count, calls, **more)
        self.count += 1
        unit.made = [v for c in calls for v in c.results]
        self.owner.update((id(c), unit) for c in calls)
        unit.reads = {self.root(v) for c in calls for v in c.values()}
        for value in unit.reads:
            maker = self.maker.get(value)
            if maker is not None:
                unit.before |= maker.before | maker.bit
        return unit

    def _register(self, unit: Unit, part: Unit | None = None) -> None:
        """Enter a unit, or what became part of it."""
        self.units[unit.number] = unit
        part = part or unit
        for call in part.calls:
            self.owner[id(call)] = unit
            for value in call.results:
                self.maker[value] = unit
        if part is not unit:
            unit.made += part.made
        for value in part.reads:
            self.readers.setdefault(value, {})[unit.number] = unit

    def _stored(self, group: Group, *units: Unit) -> list[Value]:
        """Results of the group of some units that others need."""
        stored = group.results if len(units) == 1 else [v for u in units for v in u.stored]
        return [
            v for v in stored
            if v in self.kept or any(self.owner.get(id(user)) not in units for user in self.users.get(v, ()))
        ]  # fmt: skip

    def _absorb(self, first: Unit, second: Unit) -> Unit:
        """Let `first` do what `second` does too."""
        self.units.pop(second.number, None)
        for value in second.reads:
            self.readers.get(value, {}).pop(second.number, None)
        first.calls = first.calls + second.calls
        first.before = (first.before | second.before) & ~(first.bit | second.bit)
        first.reads = first.reads | second.reads
        self._register(first, second)
        self._tell(first)
        return first

    def _tell(self, unit: Unit) -> None:
        """Let the units that come after one know all that it needs."""
        stack = [unit]
        while stack:
            unit = stack.pop()
            known = unit.before | unit.bit
            after = [r for v in unit.made for r in self.readers.get(v, {}).values()]
            if unit.next_effect is not None:
                after.append(unit.next_effect)
            for other in after:
                if other is not unit and known & ~other.before:
                    other.before |= known
                    stack.append(other)


def _alive(graph: Graph, calls: list[Call]) -> list[Call]:
    """The calls that outputs and updates need, and those with effects."""
    needed = set(graph.kept())
    out = []
    for call in reversed(calls):
        if call.has_effect or any(v in needed for v in call.results):
            needed.update(call.values())
            out.append(call)
    return out[::-1]
