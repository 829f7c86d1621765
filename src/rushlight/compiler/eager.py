"""Single ops of eager programs as compiled kernels.

An op, or the gradient formula of one, is traced on the layouts of its arguments into a small graph, which is scheduled
and planned like any other. Programs are kept per function and layouts, the least recently used are dropped.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.compiler import program
from rushlight.compiler.binding import is_available
from rushlight.compiler.graph import Graph, Value
from rushlight.compiler.kernel import HostCall
from rushlight.compiler.passes import optimise
from rushlight.compiler.schedule import schedule
from rushlight.compiler.trace import Trace
from rushlight.compiler.trace_array import Buffer, Restart, TraceBreak, TracedArray
from rushlight.modes import state
from rushlight.ops.native import MISSING
from rushlight.spec import Spec

ndarray = np.ndarray
MOST_PROGRAMS = 512
DTYPES = frozenset(map(np.dtype, (np.float32, np.float64, np.int64, np.int32, np.uint8, np.bool_)))
_programs: OrderedDict[Any, _Native | None] = OrderedDict()


class _Turn:
    """Programs are made and run by one thread at a time."""

    lock = threading.RLock()


def _renew_after_fork() -> None:
    _Turn.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)


class _Native:
    """A program of one function: what it gives back is an array, or a tuple of arrays and None."""

    def __init__(self, made: program.Program, form: Any) -> None:
        self.program = made
        self.form = form

    def __call__(self, arrays: list[Any]) -> Any:
        out = self.program(*arrays)
        if self.form is None:
            return out[0]
        return tuple(None if k is None else out[k] for k in self.form)


def run(key: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """`function(*arguments)` by a compiled program, or MISSING where there can be none."""
    if state.trace is not None:
        return MISSING
    layout = tuple((a.shape, a.strides, a.dtype) if type(a) is ndarray else a for a in arguments)
    try:
        whole = (key, layout)
        with _Turn.lock:
            if whole in _programs:
                _programs.move_to_end(whole)
                native = _programs[whole]
            else:
                native = _programs[whole] = _compiled(function, arguments)
                if len(_programs) > MOST_PROGRAMS:
                    _programs.popitem(last=False)
            if native is None:
                return MISSING
            return native([a for a in arguments if type(a) is ndarray])
    except TypeError:  # an argument that cannot be a key
        return MISSING


def _compiled(function: Callable[..., Any], arguments: tuple[Any, ...]) -> _Native | None:
    arrays = [a for a in arguments if type(a) is ndarray]
    if not is_available() or any(a.dtype not in DTYPES or not a.flags.aligned for a in arrays):
        return None
    traced = _traced(function, arguments)
    if traced is None:
        return None
    graph, form = traced
    graph = optimise(graph)
    steps = schedule(graph)
    if any(isinstance(step, HostCall) for step in steps):
        return None
    return _Native(program.build(graph, steps), form)


def _traced(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Graph, Any] | None:
    """The graph of a call, and which of its outputs is which result."""
    before = state.grad
    state.grad = False
    try:
        with Trace() as trace:
            graph = trace.graph
            out = function(*(_input(graph, a) if type(a) is ndarray else a for a in arguments))
            several = isinstance(out, (tuple, list))
            results = tuple(out) if several else (out,)
            graph.outputs = [trace.operand(r) for r in results if r is not None]
    except (TraceBreak, Restart, NotImplementedError):
        return None
    finally:
        state.grad = before
    if any(not isinstance(v, Value) or v.call is None for v in graph.outputs):
        return None
    if not several:
        return graph, None
    numbers = iter(range(len(results)))
    return graph, tuple(None if r is None else next(numbers) for r in results)


def _input(graph: Graph, a: Any) -> TracedArray:
    spec = Spec(a.shape, a.dtype)
    strides = None if a.flags.c_contiguous else a.strides
    return TracedArray(Buffer(graph.input(spec, strides=strides), strides), spec)
