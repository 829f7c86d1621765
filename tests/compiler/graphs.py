"""Graphs for the tests of the compiler: from text, from traced steps, and running them on drawn numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.compiler.graph import Graph, Value
from rushlight.compiler.interpret import interpret
from rushlight.spec import Spec
from rushlight.tape import wrap
from tests.ops.test_trace import SHAPES, Tracer

F32 = np.dtype(np.float32)


def drawn(graph: Graph, seed: int = 0) -> list[Any]:
    """An array for each input."""
    rng = np.random.default_rng(seed)

    def draw(v: Value) -> Any:
        if v.dtype.kind == "b":
            return rng.random(v.shape) < 0.5
        if v.dtype.kind in "iu":
            return np.asarray(rng.integers(0, 3, v.shape)).astype(v.dtype)
        return np.asarray(rng.standard_normal(v.shape)).astype(v.dtype)

    return [draw(v) for v in graph.inputs]


def assert_same_program(a: Graph, b: Graph, seeds: int = 2, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """Both graphs give the same results and updates on drawn numbers."""
    for seed in range(seeds):
        arrays = drawn(a, seed)
        for x, y in zip(interpret(a, arrays), interpret(b, arrays), strict=True):
            for p, q in zip(x, y, strict=True):
                assert (p.shape, p.dtype) == (q.shape, q.dtype)
                np.testing.assert_allclose(p.astype(np.float64), q.astype(np.float64), rtol, atol)


def traced(step: Any, shapes: dict[str, tuple[int, ...]] = SHAPES, parameters: tuple[str, ...] = ()) -> Graph:
    """The graph of a step on tensors of `shapes`, those in `parameters` differentiated and updated in place."""
    program: list[Tracer] = []
    sources = {name: Tracer(program, Spec(shape, F32)) for name, shape in shapes.items()}
    tensors = {name: wrap(t) for name, t in sources.items()}
    for name in parameters:
        tensors[name].requires_grad_()
    loss = step(**tensors)
    graph, values = Graph(), {}
    made: dict[int, Any] = {}
    for t in program:
        if t.op is None:
            names = [n for n, s in sources.items() if s is t]
            values[t] = graph.input(t.spec, name=names[0])
            continue
        if id(t.operands) not in made or t.part is None:
            made[id(t.operands)] = graph.call(t.op, tuple(_operand(a, values) for a in t.operands), dict(t.params))
        out = made[id(t.operands)]
        values[t] = out if t.part is None else out[t.part]
    graph.outputs = [values[loss._data]]
    graph.updates = [(values[sources[n]], values[tensors[n]._data]) for n in parameters]
    return graph


def _operand(a: Any, values: dict[Any, Value]) -> Any:
    if isinstance(a, Tracer):
        return values[a]
    if isinstance(a, (list, tuple)):
        return tuple(_operand(e, values) for e in a)
    if isinstance(a, np.ndarray):
        return Value(Spec(a.shape, a.dtype), data=a)
    return a
