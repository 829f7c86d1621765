"""Seeing every look at a tensor while a program is traced, and taking every change back.

The five slots of `Variable` are ordinary slots: nothing in eager mode pays for a hook. While a trace runs, descriptors
of this file stand in their place. The first read of `_data` of a tensor from outside the program gives a traced array;
the first change of anything is noted, so that an ended, failed or interrupted trace leaves all tensors as they were.
"""

from __future__ import annotations

import builtins
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.modes import state
from rushlight.tape import AccumulateGrad, Variable

ndarray = np.ndarray
UNSET = object()
SLOTS = ("_data", "_node", "_counter", "_view", "_grad")
_slots = {name: Variable.__dict__[name] for name in SLOTS}
GET = {name: slot.__get__ for name, slot in _slots.items()}
PUT = {name: slot.__set__ for name, slot in _slots.items()}
DROP = {name: slot.__delete__ for name, slot in _slots.items()}


def peek(t: Any, name: str) -> Any:
    """A slot of a tensor as it is, UNSET where it is empty."""
    try:
        return GET[name](t)
    except AttributeError:
        return UNSET


class Log:
    """What slots held before the program changed them.

    Attributes
    ----------
    before : for each slot and tensor that was there before: (tensor, old value)
    counters : for each version list that was there before: (list, its old contents)
    born : the tensors that the program made
    """

    def __init__(self) -> None:
        self.before: dict[tuple[str, int], tuple[Any, Any]] = {}
        self.counters: dict[int, tuple[list[Any], list[Any]]] = {}
        self.born: dict[int, Any] = {}

    def note(self, name: str, t: Any) -> None:
        """Remember a slot before its first change."""
        if id(t) in self.born or (name, id(t)) in self.before:
            return
        old = peek(t, name)
        if name == "_data" and old is UNSET:
            self.born[id(t)] = t
            return
        if name != "_data" and peek(t, "_data") is UNSET:
            return
        self.before[name, id(t)] = (t, old)

    def note_counter(self, counter: Any) -> None:
        """Remember the contents of a version list that is about to be looked at."""
        if counter is not None and id(counter) not in self.counters:
            self.counters[id(counter)] = (counter, list(counter))

    def undo(self) -> None:
        """Put everything back."""
        for (name, _), (t, old) in self.before.items():
            if old is not UNSET:
                PUT[name](t, old)
            elif peek(t, name) is not UNSET:
                DROP[name](t)
        for counter, old in self.counters.values():
            counter[:] = old


class _Watch:
    """Stands for one slot while a trace runs in some thread; other threads pass through."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.get = GET[name]
        self.put = PUT[name]

    def __get__(self, t: Any, cls: Any = None) -> Any:
        return self if t is None else self.get(t)

    def __set__(self, t: Any, value: Any) -> None:
        trace = state.trace
        if trace is not None:
            trace.log.note(self.name, t)
        self.put(t, value)

    def __delete__(self, t: Any) -> None:
        trace = state.trace
        if trace is not None:
            trace.log.note(self.name, t)
        DROP[self.name](t)


class _WatchData(_Watch):
    def __get__(self, t: Any, cls: Any = None) -> Any:
        if t is None:
            return self
        value = self.get(t)
        trace = state.trace
        if trace is None or type(value).__name__ == "TracedArray":
            return value
        return trace.seen(t, value)


class _WatchNode(_Watch):
    def __get__(self, t: Any, cls: Any = None) -> Any:
        if t is None:
            return self
        node = self.get(t)
        if node is None or type(node) is AccumulateGrad:
            return node
        trace = state.trace
        return node if trace is None else trace.seen_node(t, node)


class _WatchCounter(_Watch):
    def __get__(self, t: Any, cls: Any = None) -> Any:
        if t is None:
            return self
        counter = self.get(t)
        trace = state.trace
        if trace is not None and id(t) not in trace.log.born:
            trace.log.note_counter(counter)
        return counter


class _WatchGrad(_Watch):
    def __get__(self, t: Any, cls: Any = None) -> Any:
        if t is None:
            return self
        grad = self.get(t)
        trace = state.trace
        if trace is not None:
            trace.seen_grad(t, grad)
        return grad


def _refusing(function: Callable[..., Any], what: str) -> Callable[..., Any]:
    """`function`, which a trace must not meet."""

    def guarded(*args: Any, **kwargs: Any) -> Any:
        if state.trace is not None:
            state.trace.refuse(what)
        return function(*args, **kwargs)

    return guarded


def _printing(*args: Any, **kwargs: Any) -> None:
    """`print`: what a trace prints, each call of its program prints again."""
    if state.trace is None:
        _print(*args, **kwargs)
    elif kwargs.get("file") is not None:
        state.trace.refuse("prints to a file")
    else:
        state.trace.prints.append((tuple(map(str, args)), kwargs))


_print = builtins.print
CLOCKS = tuple(getattr(time, name) for name in ("time", "perf_counter", "monotonic", "process_time", "time_ns"))
# (owner, name, what stands there while a trace runs)
_PYTHON: list[tuple[Any, str, Any]] = [
    (builtins, "print", _printing),
    (logging.Logger, "handle", _refusing(logging.Logger.handle, "writes to a log")),
    *((time, clock.__name__, _refusing(clock, "reads the clock")) for clock in CLOCKS),
]
_real = [getattr(owner, name) for owner, name, _ in _PYTHON]
_KINDS = {"_data": _WatchData, "_node": _WatchNode, "_counter": _WatchCounter, "_grad": _WatchGrad}
_lock = threading.RLock()
_depth = 0


def watch() -> None:
    """Put the descriptors of this file in the place of the slots."""
    global _depth
    with _lock:
        _depth += 1
        if _depth == 1:
            for name in SLOTS:
                setattr(Variable, name, _KINDS.get(name, _Watch)(name))
            for i, (owner, name, instead) in enumerate(_PYTHON):
                _real[i] = getattr(owner, name)
                setattr(owner, name, instead)


def unwatch() -> None:
    """Put the slots back."""
    global _depth
    with _lock:
        _depth -= 1
        if _depth == 0:
            for name, slot in _slots.items():
                setattr(Variable, name, slot)
            for (owner, name, _), real in zip(_PYTHON, _real, strict=True):
                setattr(owner, name, real)
