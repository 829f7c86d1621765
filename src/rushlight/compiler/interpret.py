"""Running a graph call by call on NumPy: the reference that every compiled form must equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rushlight.compiler.graph import Call, Graph, Value


def run_call(call: Call, value: Any) -> tuple[Any, ...]:
    """The results of one call; `value(v)` gives the array of an operand."""
    operands = tuple(
        value(a) if isinstance(a, Value)
        else [value(e) if isinstance(e, Value) else e for e in a] if isinstance(a, (tuple, list))
        else a
        for a in call.operands
    )  # fmt: skip
    out = call.op.eager(operands, dict(call.params))
    results = out if isinstance(out, tuple) else (out,)
    return tuple(
        np.asarray(r, v.dtype) if v.dtype is not None else np.asarray(r)
        for r, v in zip(results, call.results, strict=True)
    )


def interpret(graph: Graph, inputs: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Run `graph` on arrays; returns the outputs and, in the order of `updates`, what the inputs hold afterwards."""
    known: dict[Value, Any] = dict(zip(graph.inputs, inputs, strict=True))
    run(graph.calls, known)
    look = lookup(known)
    return [look(v) for v in graph.outputs], [look(v) for _, v in graph.updates]


def lookup(known: Mapping[Value, Any]) -> Any:
    """A function from a value to its array, constants included."""
    return lambda v: v.data if v.data is not None else known[v]


def run(calls: Sequence[Call], known: dict[Value, Any]) -> None:
    """Run `calls`, adding their results to `known`."""
    look = lookup(known)
    for call in calls:
        known.update(zip(call.results, run_call(call, look), strict=True))
