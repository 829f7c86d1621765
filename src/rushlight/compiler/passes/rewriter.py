"""Building a graph from another one, call by call, with rules applied to each as it is added.

A rule sees a call whose operands are already in their final form, so one walk through the program reaches a fixed
point except where a later use decides; the cost is linear in the number of calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rushlight.compiler.graph import Call, Graph, Value
from rushlight.ops.kinds import OPS

# A rule takes a call and the rewriter, and returns what stands for the call's results, or None.
Rewrite = Callable[[Call, Any], Any]


class Rewriter:
    """Copies a graph, replacing what `rules` (by name of op) replace.

    Attributes
    ----------
    share : gives the results of an earlier call that computes the same, or None
    graph : the new graph
    now : what stands for each value of the old graph that changed
    facts : for values looked at, the number that all elements equal, or None
    written : for results of `write_view`, (dim, how many positions of it writes side by side went to)
    """

    def __init__(self, old: Graph, rules: dict[str, list[Rewrite]], share: Callable[[Call], Any] | None = None) -> None:
        self.old = old
        self.share = share
        self.rules = rules
        self.graph = Graph(inputs=list(old.inputs))
        self.now: dict[Value, Value] = {}
        self.facts: dict[Value, Any] = {}
        self.written: dict[Value, tuple[int, int]] = {}
        self.where: Any = None

    def run(self) -> Graph:
        """The new graph. Inputs are the old ones, used or not."""
        for call in self.old.calls:
            self.where = call.where
            new = self._with_new_operands(call)
            results = self._added(new)
            self.now.update((a, b) for a, b in zip(call.results, results, strict=True) if a is not b)
        self.graph.outputs = [self._new(v) for v in self.old.outputs]
        self.graph.updates = [(target, self._new(v)) for target, v in self.old.updates]
        return self.graph

    def make(self, name: str, *operands: Any, **params: Any) -> Any:
        """The result of a call of the op `name`, simplified; for rules to say what stands for a call."""
        scratch = Graph()
        scratch.call(OPS[name], operands, params, self.where)
        results = self._added(scratch.calls[0])
        return results[0] if len(results) == 1 else results

    def _added(self, call: Call) -> tuple[Value, ...]:
        """The results of `call` in the new graph, after rules."""
        if not call.has_effect:
            for rule in self.rules.get(call.op.name, ()):
                found = rule(call, self)
                if found is not None:
                    return self._checked(call, found if isinstance(found, tuple) else (found,))
            known = self.share(call) if self.share else None
            if known is not None:
                return tuple(known)
        self.graph.calls.append(call)
        return call.results

    def _checked(self, call: Call, found: tuple[Value, ...]) -> tuple[Value, ...]:
        for old, new in zip(call.results, found, strict=True):
            if tuple(old.spec) != tuple(new.spec):
                raise AssertionError(f"a rule for {call.op.name} turned {old!r} into {new!r}")
        return found

    def _with_new_operands(self, call: Call) -> Call:
        now = self.now
        if not now or not any(v in now for v in call.values()):
            return call
        return moved(call, tuple(map(self._new, call.operands)))

    def _new(self, a: Any) -> Any:
        if isinstance(a, (tuple, list)):
            return tuple(map(self._new, a))
        return self.now.get(a, a) if isinstance(a, Value) else a


def moved(call: Call, operands: tuple[Any, ...]) -> Call:
    """The same call of other operands, of the same specs."""
    new = Call(call.op, operands, call.params, where=call.where)
    new.results = tuple(Value(v.spec, new, v.part, name=v.name) for v in call.results)
    return new


def by_op(rules: Iterable[tuple[tuple[str, ...], Rewrite]]) -> dict[str, list[Rewrite]]:
    """Rules grouped by the ops that they look at, in the order given."""
    found: dict[str, list[Rewrite]] = {}
    for names, rule in rules:
        for name in names:
            found.setdefault(name, []).append(rule)
    return found
