"""Single ops of eager programs as compiled kernels.

An op, or the gradient formula of one, is traced on the layouts of its arguments into a small graph, which is scheduled
and planned like any other. Programs are kept per function and layouts. There is a bound to how many a function gets, so
that data whose shape changes with every call does not compile for ever: further layouts run interpreted.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rushlight.backends.memory_format import laid_out
from rushlight.compiler import program
from rushlight.compiler.access import resolve
from rushlight.compiler.binding import is_available
from rushlight.compiler.graph import Graph, Value
from rushlight.compiler.kernel import HostCall
from rushlight.compiler.passes import optimise
from rushlight.compiler.schedule import schedule
from rushlight.compiler.trace import Trace
from rushlight.compiler.trace_array import Buffer, Restart, TraceBreak, TracedArray
from rushlight.dtypes import NP_HALF
from rushlight.modes import state
from rushlight.ops.native import HALVES, MISSING, RECURRENT
from rushlight.spec import Spec

ndarray = np.ndarray
Ints = tuple[int, ...]
MOST_PROGRAMS = 2048
MOST_LAYOUTS = 256
"""Of one op, or of one formula, with all its parameters."""
MOST_LENGTHS = 64
"""The same of recurrent ops, which take long to compile and have a kernel for all numbers of steps besides."""
MOST_IDLE = 8
DTYPES = frozenset(map(np.dtype, (np.float32, np.float64, np.int64, np.int32, np.uint8, np.bool_)))
_programs: dict[Any, _Native | None] = {}
_counts: Counter[Any] = Counter()


def _keep_freed_memory() -> None:
    """Let the C library keep up to 64 MB that are freed instead of handing them back to the system.

    It does so of itself once a block of 32 MB was freed: without, results of some MB cost more in page faults than in
    arithmetic. The block is never touched.
    """
    np.empty((32 << 20) - (64 << 10), np.uint8)


_keep_freed_memory()


class _Turn:
    """Programs are made by one thread at a time; they run without a lock."""

    lock = threading.RLock()


def _renew_after_fork() -> None:
    _Turn.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)


class _Native:
    """A program of one function: what it gives back is an array, or a tuple of arrays and None.

    A run takes an instance off the list and puts it back, so that threads, and signal handlers that come in between,
    never share one. An interrupted run does not put it back.
    """

    __slots__ = ("form", "idle", "orders", "plan")

    def __init__(self, made: program.Program, form: Any, orders: Sequence[Ints | None] | None) -> None:
        self.plan = made.plan
        self.idle = [made]
        self.form = form
        self.orders = orders

    def __call__(self, arrays: list[Any]) -> Any:
        idle = self.idle
        try:
            instance = idle.pop()
        except IndexError:
            instance = program.Program(self.plan)
        out = instance.call_alike(arrays)
        if len(idle) < MOST_IDLE:
            idle.append(instance)
        if self.orders is not None:
            out = [a if order is None else laid_out(a, order) for a, order in zip(out, self.orders, strict=True)]
        if self.form is None:
            return out[0]
        return tuple([None if k is None else out[k] for k in self.form])


def run(key: Any, function: Callable[..., Any], arguments: tuple[Any, ...], body: Callable[..., Any]) -> Any:
    """`function(*arguments)` by a compiled program, or MISSING where there can be none.

    `key` says what the function is, its first item the name of an op; `body` is the function on arrays.
    """
    if state.trace is not None:
        return MISSING
    arrays = []
    layout = [key]
    for a in arguments:
        if type(a) is ndarray:
            arrays.append(a)
            layout += (a.shape, a.strides, a.dtype)
        else:
            layout += (type(a), a)
    whole = tuple(layout)
    try:
        native = _programs[whole]
    except KeyError:
        native = _added(whole, function, arguments, body)
    except TypeError:  # an argument that cannot be part of a key
        return MISSING
    return MISSING if native is None else native(arrays)


def _added(whole: Any, function: Callable[..., Any], arguments: tuple[Any, ...], body: Callable[..., Any]) -> Any:
    key = whole[0]
    counted = key[:2] if isinstance(key[-1], (int, str)) else key[0]
    with _Turn.lock:
        if whole in _programs:
            return _programs[whole]
        most = MOST_LENGTHS if key[0] in RECURRENT else MOST_LAYOUTS
        if _counts[counted] >= most or len(_programs) >= MOST_PROGRAMS:
            return None
        native = _compiled(key[0], function, arguments, body)
        _counts[counted] += 1
        _programs[whole] = native
        return native


def _compiled(
    name: str, function: Callable[..., Any], arguments: tuple[Any, ...], body: Callable[..., Any]
) -> _Native | None:
    arrays = [a for a in arguments if type(a) is ndarray]
    taken = DTYPES | NP_HALF if name in HALVES else DTYPES
    if not is_available() or any(a.dtype not in taken or not a.flags.aligned for a in arrays):
        return None
    traced = _traced(function, arguments)
    if traced is None:
        return None
    graph, form = traced
    try:
        graph = optimise(graph)
        steps = schedule(graph)
        if any(isinstance(step, HostCall) for step in steps) or _shows_inputs(graph):
            return None
        made = program.build(graph, steps)
    except Exception as error:  # the body on NumPy still gives the result
        warnings.warn(
            f"{name} runs on NumPy: no kernel could be made ({type(error).__name__}: {error})",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    if name in RECURRENT or all(a.flags.c_contiguous for a in arrays):  # a layer's results are row-major
        return _Native(made, form, None)
    orders = _orders(body(*arguments), arrays)
    return None if orders is None else _Native(made, form, orders if any(orders) else None)


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
    except (TraceBreak, Restart):
        return None
    except Exception:  # what is wrong with the operands, the body says best
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


def _shows_inputs(graph: Graph) -> bool:
    """Whether a result is an operand's memory, or a constant: the body shares it instead of a copy."""
    for v in graph.outputs:
        access = resolve(v)
        if access is not None and access.root.call is None:
            return True
    return False


def _orders(results: Any, arrays: Sequence[Any]) -> list[Ints | None] | None:
    """For each result its dims by descending stride, None where it is row-major.

    None altogether where the body gives anything but fresh dense arrays.
    """
    orders: list[Ints | None] = []
    for a in results if isinstance(results, (tuple, list)) else (results,):
        if a is None:
            continue
        if type(a) is not ndarray or any(np.may_share_memory(a, b) for b in arrays):
            return None
        order = tuple(sorted(range(a.ndim), key=lambda i: -a.strides[i]))
        if not a.transpose(order).flags.c_contiguous:
            return None
        orders.append(None if a.flags.c_contiguous else order)
    return orders
