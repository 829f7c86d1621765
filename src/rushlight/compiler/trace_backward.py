"""Gradients wanted after the function returned: the backward walk as a program of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from rushlight.compiler.graph import Call, Graph, Value
from rushlight.compiler.trace import Boundary, Trace
from rushlight.compiler.trace_array import Buffer, TraceBreak, TracedArray
from rushlight.compiler.trace_outcome import is_spent
from rushlight.compiler.trace_watch import peek
from rushlight.ops.kinds import View
from rushlight.tape import AccumulateGrad, Node, Variable, changed_error, freed_error, run_backward


class Backward:
    """The second program of a trace.

    Attributes
    ----------
    alive : the tensors that the function returned with a history
    targets : the tensors from outside that get gradients
    graph : takes a gradient for each of `alive`, then what was kept; gives a gradient for each of `targets`
    kept : values of the first graph, in the order of the second one's inputs after the gradients
    """

    def __init__(self, trace: Trace, alive: list[Any]) -> None:
        self.trace = trace
        self.alive = alive
        self.start = len(trace.graph.calls)
        nodes = [peek(t, "_node") for t in alive]
        leaves = {id(n): n for n in leaves_of(nodes) if outside_of(n) is not None}
        for n in leaves_of(nodes):
            t = outside_of(n)
            if t is None or (type(n) is AccumulateGrad and id(t) in trace.log.born):
                leaves.pop(id(n), None)
        self.leaves = list(leaves.values())
        self.targets = [outside_of(n) for n in self.leaves]
        self.tangents = [trace.graph.input(traced_spec(t)) for t in alive]
        self.values = self._walk(nodes)
        self.stop = len(trace.graph.calls)
        del trace.graph.inputs[-len(alive) :]
        self.kept: list[Value] = []
        self.graph = Graph()
        self._build()

    def _walk(self, nodes: list[Any]) -> list[Value | None]:
        trace = self.trace
        seeds = [(n, TracedArray(Buffer(v), v.spec)) for n, v in zip(nodes, self.tangents, strict=True)]
        hooks = [n.hooks for n in self.leaves]
        for n in self.leaves:
            n.hooks = None
        try:
            got = run_backward(seeds, retain=True, create_graph=False, targets=self.leaves, accumulate=False)
        finally:
            for n, held in zip(self.leaves, hooks, strict=True):
                n.hooks = held
        values: list[Value | None] = []
        for n, t in zip(self.leaves, self.targets, strict=True):
            g = got.get(n)
            if g is None:
                values.append(None)
                continue
            if getattr(g, "is_sparse", False) or not hasattr(g, "dtype"):
                raise TraceBreak("has a sparse gradient")
            array = trace.snapshot(g)
            wanted = trace.array_of(t).dtype
            values.append((array if array.dtype == wanted else array.astype(wanted)).read())
        return values

    def _build(self) -> None:
        calls = self.trace.graph.calls
        mine = set(calls[self.start : self.stop])
        graph, known = self.graph, {}
        for v in self.tangents:
            known[v] = graph.input(v.spec)
        for call in _needed(calls[self.start : self.stop], [v for v in self.values if v is not None]):
            self._copy(call, known, mine)
        graph.outputs = [self._value(v, known, mine) for v in self.values if v is not None]

    def _copy(self, call: Call, known: dict[Value, Value], mine: set[Call]) -> None:
        def mapped(a: Any) -> Any:
            if isinstance(a, (tuple, list)):
                return tuple(map(mapped, a))
            return self._value(a, known, mine) if isinstance(a, Value) else a

        operands = tuple(map(mapped, call.operands))
        made = Call(call.op, operands, call.params, where=call.where)
        made.results = tuple(Value(r.spec, made, r.part) for r in call.results)
        known.update(zip(call.results, made.results, strict=True))
        self.graph.calls.append(made)

    def _value(self, v: Value, known: dict[Value, Value], mine: set[Call]) -> Value:
        found = known.get(v)
        if found is not None:
            return found
        if v.data is not None:
            return v
        call = v.call
        if call is not None and isinstance(call.op, View) and self._prefers_root(v, known):
            self._copy(call, known, mine)
            return known[v]
        if call in mine:
            raise TraceBreak("has an unusual backward walk")
        known[v] = self.graph.input(v.spec, strides=v.strides)
        self.kept.append(v)
        return known[v]

    def _prefers_root(self, v: Value, known: dict[Value, Value]) -> bool:
        """Whether to keep what a view was taken of, rather than the view."""
        root = v
        while root.call is not None and isinstance(root.call.op, View):
            (root,) = root.call.values()
        size = int(np.prod(root.shape))
        return root in known or root.call is None or size <= int(np.prod(v.shape))


def traced_spec(t: Any) -> Any:
    """Spec of a traced tensor."""
    data = peek(t, "_data")
    return data.spec


def alive_in(tensors: Iterator[Any], trace: Trace) -> list[Any]:
    """Those of the tensors in a result whose history was not walked; one for each node."""
    found: dict[int, Any] = {}
    for t in tensors:
        node = peek(t, "_node")
        if id(t) not in trace.log.born or node is None or type(node) in (AccumulateGrad, Boundary):
            continue
        if not isinstance(peek(t, "_data"), TracedArray) or is_spent(node):
            continue
        found.setdefault(id(node), t)
    return list(found.values())


def tensors_in(value: Any) -> Iterator[Any]:
    """The tensors in a nested result."""
    if isinstance(value, Variable):
        yield value
    elif isinstance(value, (list, tuple)):
        for v in value:
            yield from tensors_in(v)
    elif isinstance(value, dict):
        for v in value.values():
            yield from tensors_in(v)
    elif hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        yield from tensors_in(vars(value))


def leaves_of(nodes: list[Any]) -> list[Any]:
    """The nodes without edges that can be reached."""
    todo, seen, leaves = list(nodes), set(), []
    while todo:
        n = todo.pop()
        if n is None or id(n) in seen:
            continue
        seen.add(id(n))
        if type(n) in (AccumulateGrad, Boundary):
            leaves.append(n)
        todo.extend(n.edges)
    return leaves


def outside_of(node: Any) -> Any:
    """The tensor whose history a leaf node stands for."""
    return node.leaf() if type(node) is AccumulateGrad else node.tensor


def _needed(calls: list[Call], outputs: list[Value]) -> list[Call]:
    wanted, kept = set(outputs), []
    for call in reversed(calls):
        if call.has_effect or any(r in wanted for r in call.results):
            kept.append(call)
            wanted.update(call.values())
    return kept[::-1]


class Replay(Node):
    """The node of results whose backward walk is a program."""

    __slots__ = ("counts", "program", "wanted")
    ordinary = False

    def __init__(self, program: Lazy, edges: tuple[Any, ...], saved: list[Any], counts: Any, specs: Any) -> None:
        self.edges = edges
        self.saved = tuple(saved)
        self.versions = ()
        self.specs = self.where = self.hooks = None
        self.out_specs = specs
        self.program = program
        self.counts = counts

    def check(self) -> None:
        """Raise where the history was freed, or a tensor that it needs changed in place since."""
        if self.saved is None:
            raise freed_error()
        for t, counter, count in self.counts:
            if counter is not None and counter[0] != count:
                raise changed_error(t._data, "", counter, count, "kept by a compiled function")

    def pull(self, g: Any) -> Any:
        self.check()
        given = g if isinstance(g, tuple) else (g,)
        return self.program.run(given, self.saved or ())

    def pull_graph(self, g: Any) -> Any:
        raise NotImplementedError(
            "create_graph=True through a compiled function: call the function that was compiled instead"
        )


_NAMED: dict[str, type[Replay]] = {}


def replay_class(name: str) -> type[Replay]:
    """The class of such nodes that prints as `name`."""
    if name not in _NAMED:
        _NAMED[name] = type(name, (Replay,), {"__slots__": ()})
    return _NAMED[name]


class Lazy:
    """A backward program, built when it is first needed."""

    def __init__(self, backward: Backward, build: Callable[[Graph], Any], lock: Any) -> None:
        self.graph = backward.graph
        self.missing = [v is None for v in backward.values]
        self.tangents = [v.spec for v in backward.tangents]
        self.build = build
        self.lock = lock
        self.program: Any = None

    def run(self, tangents: Any, saved: Any) -> list[Any]:
        """The gradients of the targets."""
        with self.lock:
            if self.program is None:
                self.program = self.build(self.graph)
            given = [
                np.ascontiguousarray(np.asarray(g), s.dtype).reshape(s.shape)
                for g, s in zip(tangents, self.tangents, strict=True)
            ]
            outputs = iter(self.program(*given, *saved))
        return [None if none else next(outputs) for none in self.missing]
