"""`rushlight.compile`: functions whose calls run as programs."""

from __future__ import annotations

import functools
import inspect
import sys
import threading
import types
import warnings
from collections.abc import Callable
from typing import Any

from rushlight import config
from rushlight.compiler.draw import draw
from rushlight.compiler.explain import Explanation, explain
from rushlight.compiler.guards_make import MISS, CompiledTrace, Request, make_trace
from rushlight.compiler.registry import COMPILED
from rushlight.compiler.trace_array import TraceBreak, is_users
from rushlight.compiler.trace_split import cut, is_light, line_in, places
from rushlight.errors import PACKAGE
from rushlight.modes import ACTIVE, state
from rushlight.nn.module import Module, set_call_compiler
from rushlight.tape import place

MOST_TRACES = 64
# After as many cases that had to run eagerly, and none that compiled, the function is not tried again.
MOST_FAILURES = 16


class CompileError(RuntimeError):
    """The function cannot be one program, and `fullgraph=True` asked for one."""


class EagerCase:
    """A state of Python in which the function runs eagerly."""

    def __init__(self, reason: str, holds: Callable[[Any, Any], bool]) -> None:
        self.reason = reason
        self.holds = holds


class Numbers:
    """Which top-level arguments are numbers that change from call to call: inputs then, until that fails."""

    def __init__(self, dynamic: bool | None) -> None:
        self.dynamic = dynamic
        self.seen: dict[Any, Any] = {}
        self.changing: set[Any] = set()
        self.fixed: set[Any] = set()

    def of(self, args: Any, kwargs: Any) -> frozenset[Any]:
        """The arguments of a call to take as inputs."""
        if self.dynamic is False:
            return frozenset()
        for key, value in (*enumerate(args), *kwargs.items()):
            if type(value) not in (int, float) or key in self.fixed:
                self.changing.discard(key)
            elif self.dynamic or self.seen.setdefault(key, value) != value:
                self.changing.add(key)
        return frozenset(k for k in self.changing if (k in kwargs if isinstance(k, str) else k < len(args)))


class CompiledFunction:
    """A function that is traced on the first call and on calls that no trace fits.

    Attributes
    ----------
    traces : the traces there are, the latest used first
    eager_cases : the states in which it runs eagerly
    """

    def __init__(self, fn: Callable[..., Any], *, fullgraph: bool = False, dynamic: bool | None = None) -> None:
        functools.update_wrapper(self, fn, updated=())
        self.fn = fn
        self.fullgraph = fullgraph
        self.traces: list[CompiledTrace] = []
        self.eager_cases: list[EagerCase] = []
        self.numbers = Numbers(dynamic)
        self.lock = threading.RLock()
        self.warned = False
        self.halves: Any = None
        self.options = {"fullgraph": fullgraph, "dynamic": dynamic}
        COMPILED.add(self)

    def reset(self) -> None:
        """Forget the traces."""
        with self.lock:
            self.traces, self.eager_cases, self.halves = [], [], None

    def __reduce__(self) -> Any:
        found: Any = sys.modules.get(getattr(self, "__module__", ""))
        for name in getattr(self, "__qualname__", "").split("."):
            found = getattr(found, name, None)
        if found is self:
            return self.__qualname__
        return CompiledFunction._again, (self.fn, self.options)

    @classmethod
    def _again(cls, fn: Callable[..., Any], options: dict[str, Any]) -> CompiledFunction:
        """A copy or an unpickled one starts without traces."""
        return cls(fn, **options)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if ACTIVE and (state.trace is not None or state.saved_hooks or state.profiler is not None or state.anomaly):
            return self.fn(*args, **kwargs)
        if self.halves is not None:
            return self.halves(*args, **kwargs)
        with self.lock:
            traces = self.traces
            for i, trace in enumerate(traces):
                result = trace.call(args, kwargs)
                if result is not MISS:
                    if i:
                        traces.insert(0, traces.pop(i))
                    trace.calls += 1
                    return result
            if self._is_ready(args, kwargs):
                result = self._first_call(args, kwargs)
                if result is not MISS:
                    return result
        return self.fn(*args, **kwargs)

    def _is_ready(self, args: Any, kwargs: Any) -> bool:
        """Whether to trace a call that no trace fits."""
        if not config.get("COMPILE") or len(self.eager_cases) >= MOST_FAILURES and not self.traces:
            return False
        return not any(case.holds(args, kwargs) for case in self.eager_cases)

    def _first_call(self, args: Any, kwargs: Any) -> Any:
        """Trace a call and run the trace; MISS where it has to run eagerly."""
        try:
            trace = self._traced(args, kwargs)
        except TraceBreak as stop:
            if self._cut(stop, args, kwargs):
                return self.halves(*args, **kwargs)
            return self._eagerly(stop)
        result = trace.call(args, kwargs)
        if result is MISS:
            changed = trace.what_changed(args, kwargs) or ["Python values"]
            return self._eagerly(TraceBreak(f"changes {changed[0]} in each call"))
        trace.calls += 1
        self.traces.insert(0, trace)
        del self.traces[MOST_TRACES:]
        return result

    def _cut(self, stop: TraceBreak, args: Any, kwargs: Any) -> bool:
        """Try to compile the statements before the one that cannot be traced; whether that went well."""
        function, owner = getattr(self.fn, "__func__", self.fn), getattr(self.fn, "__self__", None)
        if self.fullgraph or self.traces or type(function) is not types.FunctionType:
            return False
        if not is_users(function.__code__.co_filename):
            return False
        for at in places(function, line_in(function, stop)):
            halves = cut(function, at, owner is not None)
            if halves is None:
                continue
            part = CompiledFunction(halves.first if owner is None else types.MethodType(halves.first, owner))
            whole = halves.whole(part)
            given = inspect.signature(function).bind(*(() if owner is None else (owner,)), *args, **kwargs)
            given.apply_defaults()
            taken = [given.arguments[name] for name in halves.taken]
            try:
                request = Request(part.fn, taken, {}, "first call", part.lock, frozenset(), is_part=True)
                part.traces.append(make_trace(request))
            except TraceBreak:
                continue
            self.traces = part.traces
            self.halves = whole if owner is None else types.MethodType(whole, owner)
            if not is_light(function, at):
                self._warn(stop, "; it runs eagerly from there on")
            return True
        return False

    def _traced(self, args: Any, kwargs: Any) -> CompiledTrace:
        reason = self._reason(args, kwargs)
        numbers = self.numbers.of(args, kwargs)
        if numbers:
            try:
                return make_trace(Request(self.fn, args, kwargs, reason, self.lock, numbers))
            except TraceBreak:
                self.numbers.fixed |= numbers
        return make_trace(Request(self.fn, args, kwargs, reason, self.lock, frozenset()))

    def _reason(self, args: Any, kwargs: Any) -> str:
        """Why no trace fits a call: how it differs from the trace that is nearest to it."""
        if not self.traces:
            return "first call"
        nearest = min((t.what_changed(args, kwargs) for t in self.traces), key=len)
        return f"new {nearest[0]}" if nearest else "another layout of an array"

    def _eagerly(self, stop: TraceBreak) -> Any:
        """Note that calls of this kind run eagerly, and say so once."""
        if self.fullgraph:
            raise CompileError(f"{self._message(stop)}; fullgraph=True asks for one program") from stop
        self._warn(stop, "; it runs eagerly")
        if stop.holds is not None:
            self.eager_cases.insert(0, EagerCase(stop.reason, stop.holds))
            del self.eager_cases[MOST_FAILURES:]
        return MISS

    def _message(self, stop: TraceBreak) -> str:
        at = "" if stop.where is None else f" at {place(stop.where)}"
        return f"compile({getattr(self.fn, '__qualname__', type(self.fn).__name__)}): the function {stop.reason}{at}"

    def _warn(self, stop: TraceBreak, what: str) -> None:
        if not self.warned:
            self.warned = True
            warnings.warn(f"{self._message(stop)}{what}", stacklevel=_frames_inside() + 1)

    def explain(self) -> Explanation:
        """What the function became: traces and why they were made, kernels and what they cost."""
        return explain(self)

    def draw(self, path: Any = None, **options: Any) -> Any:
        """A picture of the program that ran last; see `rushlight.compiler.draw`."""
        return draw(self, path, **options)


def _frames_inside() -> int:
    """How many frames of this package are above the user's."""
    depth, frame = 0, sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        depth, frame = depth + 1, frame.f_back  # type: ignore[assignment]
    return depth


class OptimizedModule(Module):
    """A module whose calls are compiled; parameters, buffers and attributes are those of the module itself."""

    def __init__(self, module: Module, **options: Any) -> None:
        super().__init__()
        self._orig_mod = module
        object.__setattr__(self, "_compiled", CompiledFunction(module.__call__, **options))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._compiled(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the module."""
        return self._compiled(*args, **kwargs)

    def explain(self) -> Explanation:
        """What the module's calls became; see `CompiledFunction.explain`."""
        found: Explanation = self._compiled.explain()
        return found

    def draw(self, path: Any = None, **options: Any) -> Any:
        """A picture of the program that ran last."""
        return self._compiled.draw(path, **options)

    def __getattr__(self, name: str) -> Any:
        if name == "_orig_mod":
            return self.__dict__["_modules"][name]
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self._orig_mod, name)


def compile(
    model: Any = None, *, fullgraph: bool = False, dynamic: bool | None = None, backend: Any = "inductor",
    mode: str | None = None, options: dict[str, Any] | None = None, disable: bool = False, name: str | None = None,
) -> Any:  # fmt: skip
    """Make a function or module run as a program: traced once, then replayed in one native call.

    A whole training step may be compiled: `zero_grad`, forward, loss, `backward` and `optimizer.step`.

    Parameters
    ----------
    model : callable or Module, optional
        What to compile; without it a decorator is returned.
    fullgraph : bool
        Raise where the function cannot be one program, instead of running it eagerly with a warning.
    dynamic : bool, optional
        Whether numbers among the arguments are inputs of the program: once they changed (None), always or never.
        Each new shape is compiled for itself.
    disable : bool
        Return `model` as it is.
    backend, mode, options, name
        Accepted as PyTorch spells them.

    Returns
    -------
    A callable with the same arguments and results, and with `traces`, `explain()` and `draw()`; a Module for a Module.

    Notes
    -----
    PyTorch: compiles up to `backward()`, and needs a C++ compiler.

    Examples
    --------
    >>> @torch.compile
    ... def double(x):
    ...     return x + x
    >>> double(torch.ones(2))
    tensor([2., 2.])
    """
    if model is None:
        return functools.partial(
            compile, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode, options=options, disable=disable
        )
    if not callable(model):
        raise TypeError(f"compile(): expected a function or module, received {type(model).__name__}")
    if disable:
        return model
    if isinstance(model, Module):
        return OptimizedModule(model, fullgraph=fullgraph, dynamic=dynamic)
    return CompiledFunction(model, fullgraph=fullgraph, dynamic=dynamic)


def _compiled_call(function: Callable[..., Any], *args: Any, **options: Any) -> Callable[..., Any]:
    return CompiledFunction(function, fullgraph=bool(options.get("fullgraph")), dynamic=options.get("dynamic"))


set_call_compiler(_compiled_call)
