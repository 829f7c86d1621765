"""The backward walk."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from rushlight.backends import numpy as xp_numpy
from rushlight.backends.sparse import SparseArray
from rushlight.errors import ShapeError, explain
from rushlight.modes import state
from rushlight.tape.node import AccumulateGrad, Port
from rushlight.tape.variable import Variable, as_array, wrap
from rushlight.tape.where import place

ndarray = np.ndarray


class _Running(threading.local):
    """The walk that this thread is in."""

    walk: Any = None


_running = _Running()


def run_backward(
    seeds: Sequence[tuple[Any, Any]], *, retain: bool, create_graph: bool, targets: Sequence[Any] | None = None,
    accumulate: bool = True,
) -> dict[Any, Any]:  # fmt: skip
    """Walk the graph from `seeds` (node, gradient); returns the gradients that arrive at `targets`.

    Each node runs once, when all gradients of its result have arrived: linear in the number of edges, no recursion.
    With targets only the nodes that lead to one of them run.
    """
    waiting = _count_edges(seeds)
    wanted: Any = ()
    if targets is not None:
        wanted = set(targets)
        waiting = _leading_to(waiting, wanted)
    walk = _Walk(retain, create_graph, accumulate, wanted, waiting)
    before, outer = state.grad, _running.walk
    state.grad, _running.walk = create_graph, walk
    try:
        walk.run(seeds)
    finally:
        state.grad, _running.walk = before, outer
    return walk.captured


def will_run(node: Any) -> bool:
    """Whether the walk that this thread is in comes by `node`."""
    return _running.walk is not None and node in _running.walk.waiting


def current_walk() -> Any:
    """The walk that this thread is in, None outside of one."""
    return _running.walk


def _count_edges(seeds: Sequence[tuple[Any, Any]]) -> dict[Any, int]:
    """Each node that can be reached, with the number of edges into it."""
    waiting = {node: 0 for node, _ in seeds}
    todo = list(waiting)
    while todo:
        for edge in todo.pop().edges:
            if edge is not None:
                if edge in waiting:
                    waiting[edge] += 1
                else:
                    waiting[edge] = 1
                    todo.append(edge)
    return waiting


def _leading_to(waiting: dict[Any, int], targets: set[Any]) -> dict[Any, int]:
    """The part of `waiting` from which a target can be reached, its edges counted anew."""
    left = dict(waiting)
    order = [n for n in left if left[n] == 0]
    for node in order:
        for edge in node.edges:
            if edge is not None:
                left[edge] -= 1
                if left[edge] == 0:
                    order.append(edge)
    found: dict[Any, int] = {}
    for node in reversed(order):
        onward = [e for e in node.edges if e in found]
        if onward or node in targets:
            found[node] = 0
            for edge in onward:
                found[edge] += 1
    return found


class _Walk:
    """State of one backward walk."""

    def __init__(
        self, retain: bool, create_graph: bool, accumulate: bool, targets: Any, waiting: dict[Any, int]
    ) -> None:
        self.retain = retain
        self.create_graph = create_graph
        self.accumulate = accumulate
        self.targets = targets
        self.waiting = waiting
        self.captured: dict[Any, Any] = {}
        self.grads: dict[Any, Any] = {}
        self.owned: set[int] = set()

    def run(self, seeds: Sequence[tuple[Any, Any]]) -> None:
        grads, waiting, owned = self.grads, self.waiting, self.owned
        plain = not (self.create_graph or self.targets or state.anomaly or state.profiler)
        release = not self.retain
        for node, g in seeds:
            self.add(node, g.view() if type(g) is ndarray else g)
        ready = [n for n in grads if waiting.get(n) == 0]
        while ready:
            node = ready.pop()
            g = grads.pop(node, None)
            if owned:
                owned.discard(id(g))
            edges = node.edges
            if g is None:
                results: Sequence[Any] = (None,) * len(edges)
            elif plain and node.hooks is None and node.ordinary and type(g) is not list:
                if node.versions or node.saved is None:
                    node.check()
                results = node.formulas(g, node.saved)
                if release and node.keeps_tensors:
                    node.saved = None
                if not edges:
                    continue
            else:
                results = self.visit(node, g) or (None,) * len(edges)
            shared = type(g) is ndarray and len(edges) > 1
            for edge, r in zip(edges, results):  # noqa: B905
                left = waiting.get(edge)
                if left is None:
                    continue
                if r is not None:
                    if shared and r is g:
                        r = g.view()  # several receivers: having a base tells them that it is not theirs
                    if edge in grads or type(node) is Port:
                        self.add(edge, r, node)
                    else:
                        grads[edge] = r
                if left == 1:
                    ready.append(edge)
                else:
                    waiting[edge] = left - 1

    def add(self, edge: Any, g: Any, source: Any = None) -> None:
        """Add a gradient to what has arrived at `edge`; results of several outputs arrive in slots."""
        grads = self.grads
        if type(source) is Port:
            slots = grads.setdefault(edge, [None] * len(edge.out_specs))
            old = slots[source.index]
            slots[source.index] = g if old is None else old + g
            return
        old = grads.get(edge)
        if old is None:
            grads[edge] = g
        elif id(old) in self.owned and old.shape == g.shape and not self.create_graph and not hasattr(g, "buffer"):
            np.add(old, g, out=old)
        else:
            total = as_array(old + g) if not self.create_graph else old + g
            grads[edge] = total
            if type(total) is ndarray:
                self.owned.add(id(total))

    def visit(self, node: Any, g: Any) -> Sequence[Any]:
        """Run one node on its gradient; returns the gradients of its operands."""
        if type(g) is list:
            g = self._materialise(node, g)
        needed = not self.targets or any(e in self.waiting for e in node.edges)
        captured = node in self.targets
        if captured and needed:  # PyTorch's order: what runs on runs its hooks after the capture, what ends here before
            self.captured[node] = g
        hooks = node.hooks
        if hooks is not None:
            g = self._before(node, g)
        if captured and not needed:
            self.captured[node] = g
        if type(node) is Port:
            return (g,)
        results: Sequence[Any] = ()
        if type(node) is AccumulateGrad:
            if not self.accumulate:
                return ()
            if self.create_graph:
                node.add_tensor(g)
            else:
                node.formulas(g, ())
        elif not needed:
            return ()
        else:
            results = self._pulled(node, g)
        if state.anomaly and state.check_nan:
            check_anomaly(node, results)
        if hooks is not None and hooks.post:
            results = self._after(node, results, g)
        if hooks is not None and hooks.accumulated:
            leaf = node.leaf()
            for hook in list(hooks.accumulated.values()):
                hook(leaf)
        if not self.retain:
            node.release()
        return results

    def _pulled(self, node: Any, g: Any) -> Any:
        pull = node.pull_graph if self.create_graph else node.pull
        if state.profiler is not None:
            return state.profiler.timed(f"autograd::engine::evaluate_function: {node.name()}", pull, (g,))
        return pull(g)

    def _materialise(self, node: Any, slots: list[Any]) -> tuple[Any, ...]:
        filled = tuple(
            xp_numpy.expand(np.zeros((), s.dtype), s.shape) if g is None and s is not None and node.fills_missing else g
            for g, s in zip(slots, node.out_specs, strict=True)
        )
        return tuple(wrap(g) if type(g) is ndarray else g for g in filled) if self.create_graph else filled

    def _tensor(self, g: Any) -> Any:
        if isinstance(g, Variable) or g is None:
            return g
        return SparseArray.tensor(g) if type(g) is SparseArray else wrap(as_array(g))

    def _raw(self, g: Any) -> Any:
        return g if self.create_graph or not isinstance(g, Variable) else g._data

    def _before(self, node: Any, g: Any) -> Any:
        hooks = node.hooks
        several = isinstance(g, tuple)
        if not several:
            for hook in list(hooks.tensor.values()):
                given = self._tensor(g)
                got = hook(given)
                if got is not None:
                    check_hook_result(given, got)
                    given = got
                g = self._raw(given)
                g = g.view() if type(g) is ndarray else g
        for hook in list(hooks.pre.values()):
            got = hook(tuple(map(self._tensor, g)) if several else (self._tensor(g),))
            if got is not None:
                got = got if isinstance(got, tuple) else (got,)
                g = tuple(map(self._raw, got)) if several else self._raw(got[0])
        if hooks.retain is not None and not several:
            t = hooks.retain()
            if t is not None:
                kept = self._tensor(g) if self.create_graph else wrap(g.copy() if hasattr(g, "copy") else g)
                t._grad = kept if t.grad is None else t.grad + kept
        return g

    def _after(self, node: Any, results: Sequence[Any], g: Any) -> Sequence[Any]:
        incoming = tuple(map(self._tensor, g)) if isinstance(g, tuple) else (self._tensor(g),)
        for hook in list(node.hooks.post.values()):
            got = hook(tuple(map(self._tensor, results)), incoming)
            if got is not None:
                results = tuple(map(self._raw, got if isinstance(got, tuple) else (got,)))
        return results


def check_hook_result(given: Any, got: Any) -> None:
    """A tensor hook must return a gradient of the same shape."""
    if not isinstance(got, Variable):
        raise TypeError(f"expected Variable, but hook returned '{type(got).__name__}'")
    if got._data.shape != given._data.shape:
        raise ShapeError(
            f"hook '<hook>' has changed the size of value (original: {list(given._data.shape)}, got "
            f"{list(got._data.shape)})"
        )


def check_anomaly(node: Any, results: Sequence[Any]) -> None:
    """In anomaly mode: raise at the first node that makes a NaN, naming the line of its forward."""
    for i, r in enumerate(results):
        data = r._data if isinstance(r, Variable) else r
        if type(data) is ndarray and data.dtype.kind in "fc" and np.isnan(data).any():
            raise explain(
                RuntimeError(f"Function '{node.name()}' returned nan values in its {i}th output."),
                forward=f"recorded at {place(node.where)}",
            )
