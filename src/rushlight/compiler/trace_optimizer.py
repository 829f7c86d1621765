"""Optimizers in a trace: the pure update rule on traced arrays, hyper-parameters as inputs."""

from __future__ import annotations

from itertools import repeat
from typing import Any

import numpy as np

from rushlight.compiler.trace import Trace
from rushlight.compiler.trace_array import broken
from rushlight.dtypes import NP_HALF
from rushlight.modes import set_grad_enabled
from rushlight.tape import Variable, bump, wrap


def step_group(trace: Trace, engine: Any, group: dict[str, Any]) -> None:
    """Note the update of every parameter of a group that has a gradient."""
    if group.get("differentiable"):
        raise broken("uses a differentiable optimizer step")
    optimizer = engine.optimizer
    hyper = {name: _lifted(trace, group, name) for name in optimizer.defaults if name in group}
    with set_grad_enabled(False):
        for p in group["params"]:
            grad = p.grad
            if grad is not None:
                _step(trace, engine, p, grad, group, hyper)


def _lifted(trace: Trace, group: dict[str, Any], name: str) -> Any:
    """A hyper-parameter as the rule gets it: floats are inputs, all else is fixed (and guarded)."""
    value = group[name]
    if isinstance(value, (tuple, list)):
        return tuple(map(_number, repeat(trace), value))
    if type(value) is float:
        return trace.number_input(group, name, value)
    return _number(trace, value)


def _number(trace: Trace, value: Any) -> Any:
    if isinstance(value, Variable):
        return trace.number_of(trace.as_traced(value._data))
    return value.item() if isinstance(value, np.generic) else value


def _step(trace: Trace, engine: Any, p: Any, grad: Any, group: dict[str, Any], hyper: dict[str, Any]) -> None:
    optimizer = engine.optimizer
    if getattr(grad, "is_sparse", False) or p._data.dtype.kind == "c":
        raise broken("updates a parameter that is complex or has a sparse gradient")
    held = optimizer.state.get(p)
    if not held:
        held = _initial(trace, engine, p, group)
    scalars = optimizer.scalar_state
    given = {
        name: t.double() if name in scalars else _wide(trace, t) if isinstance(t, Variable) else t
        for name, t in held.items()
    }
    settings = optimizer.settings(p, hyper)
    new_p, new_state = optimizer.update(_wide(trace, p), _wide(trace, grad), given, settings)
    for name, value in new_state.items():
        data = getattr(value, "_data", value)
        if isinstance(held.get(name), Variable):
            trace.write_tensor(held[name], data)
            bump(held[name])
        else:
            trace.new_entry(optimizer, p, name, wrap(trace.snapshot(_like(trace, data, p._data))))
    trace.write_tensor(p, getattr(new_p, "_data", new_p))
    bump(p)


def _wide(trace: Trace, t: Any) -> Any:
    """A tensor's contents now, without history; half precision in float32."""
    data = trace.snapshot(t._data)
    return wrap(data.astype(np.float32) if data.dtype in NP_HALF else data)


def _like(trace: Trace, value: Any, data: Any) -> Any:
    value = trace.as_traced(value)
    return value if value.dtype == data.dtype else value.astype(data.dtype)


def _initial(trace: Trace, engine: Any, p: Any, group: dict[str, Any]) -> dict[str, Any]:
    """State that does not exist yet is made for real; it stays if the trace succeeds."""
    array = trace.array_of(p)
    if type(array) is not np.ndarray:
        raise broken("optimizes a tensor made in the step")
    optimizer = engine.optimizer
    there = p in optimizer.state
    with trace.outside(), trace.original(p):
        made: dict[str, Any] = engine.initial_state(p, _as_written(trace, group))
    if made:
        trace.created.append((optimizer, p, there))
    return made


def _as_written(trace: Trace, group: dict[str, Any]) -> dict[str, Any]:
    """A group with the numbers and tensors that the user put there."""
    written = {key: value for held, key, value, _ in trace.settings if held is group}
    return {
        key: wrap(trace.array_of(value)) if isinstance(value, Variable) else value
        for key, value in {**group, **written}.items()
    }
