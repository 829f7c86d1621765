"""`rushlight.compile`: functions whose calls run as programs."""

from __future__ import annotations

import functools
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from rushlight import config
from rushlight.compiler.graph import Graph
from rushlight.compiler.guards import Guards, Names, Unguardable
from rushlight.compiler.binding import is_available
from rushlight.compiler.passes import optimise
from rushlight.compiler.program import build, host_steps
from rushlight.compiler.schedule import schedule
from rushlight.compiler.trace import Trace
from rushlight.compiler.trace_backward import Backward, Lazy, alive_in, tensors_in
from rushlight.compiler.trace_array import Restart, TraceBreak, is_users, line_of
from rushlight.compiler.guards_code import MISS, Bound, Results, Writer, checker, compiled_function, compiled_tests
from rushlight.compiler.trace_optimizer import step_group
from rushlight.compiler.trace_outcome import Reader, live_part
from rushlight.dtypes import get_default_dtype
from rushlight.errors import PACKAGE
from rushlight.modes import ACTIVE, state
from rushlight.nn.module import Module, set_call_compiler
from rushlight.tape import place

MOST_TRACES = 64
Trace.step_group = staticmethod(step_group)


class CompileError(RuntimeError):
    """The function cannot be one program, and `fullgraph=True` asked for one."""


class CompiledTrace:
    """One trace of a function, ready to run.

    Attributes
    ----------
    graph : what it computes
    program : the planned program
    steps : its kernels and host calls
    reason : why it was made
    calls : how often it ran
    seconds_to_trace, seconds_to_compile : what it took
    """

    def __init__(self, graph: Graph, program: Any, reason: str) -> None:
        self.graph = graph
        self.program = program
        self.reason = reason
        self.calls = 0
        self.seconds_to_trace = 0.0
        self.seconds_to_compile = 0.0
        self.call: Callable[[Any, Any], Any] = lambda args, kwargs: MISS
        self.what_changed: Callable[[Any, Any], list[str]] = lambda args, kwargs: []
        self.keeps: Any = None

    @property
    def steps(self) -> Any:
        """Kernels and host calls in order."""
        return self.program.steps


class EagerCase:
    """A state of Python in which the function runs eagerly."""

    def __init__(self, reason: str, call: Callable[[Any, Any], Any]) -> None:
        self.reason = reason
        self.call = call


class CompiledFunction:
    """A function that is traced on the first call and on calls that no trace fits.

    Attributes
    ----------
    traces : the traces there are, the latest used first
    """

    def __init__(self, fn: Callable[..., Any], *, fullgraph: bool = False) -> None:
        functools.update_wrapper(self, fn, updated=())
        self.fn = fn
        self.fullgraph = fullgraph
        self.traces: list[CompiledTrace] = []
        self.eager_cases: list[EagerCase] = []
        self.lock = threading.RLock()
        self.warned = False

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if ACTIVE and (state.trace is not None or is_unusual()):
            return self.fn(*args, **kwargs)
        with self.lock:
            traces = self.traces
            for i, trace in enumerate(traces):
                result = trace.call(args, kwargs)
                if result is not MISS:
                    if i:
                        traces.insert(0, traces.pop(i))
                    trace.calls += 1
                    return result
            return self._slow(args, kwargs)

    def _slow(self, args: Any, kwargs: Any) -> Any:
        if not config.get("COMPILE"):
            return self.fn(*args, **kwargs)
        for case in self.eager_cases:
            if case.call(args, kwargs):
                return self.fn(*args, **kwargs)
        try:
            trace = make_trace(self, args, kwargs)
        except TraceBreak as stop:
            return self._eagerly(stop, args, kwargs)
        self.traces.insert(0, trace)
        del self.traces[MOST_TRACES:]
        result = trace.call(args, kwargs)
        if result is MISS:
            about = trace.what_changed(args, kwargs) or ["Python values"]
            self.traces.remove(trace)
            return self._eagerly(TraceBreak(f"changes {about[0]} in each call"), args, kwargs)
        trace.calls += 1
        return result

    def _eagerly(self, stop: TraceBreak, args: Any, kwargs: Any) -> Any:
        at = f" at {place(stop.where)}" if stop.where is not None else ""
        name = getattr(self.fn, "__qualname__", type(self.fn).__name__)
        message = f"compile({name}): the function {stop.reason}{at}"
        if self.fullgraph:
            raise CompileError(f"{message}; fullgraph=True asks for one program")
        if not self.warned:
            self.warned = True
            warnings.warn(f"{message}; it runs eagerly", stacklevel=user_depth())
        if stop.holds is not None:
            self.eager_cases.insert(0, EagerCase(stop.reason, stop.holds))
            del self.eager_cases[MOST_TRACES:]
        return self.fn(*args, **kwargs)

    def reason(self, args: Any, kwargs: Any) -> str:
        """Why no trace fits a call."""
        if not self.traces:
            return "first call"
        nearest = min((t.what_changed(args, kwargs) for t in self.traces), key=len)
        return f"new {nearest[0]}" if nearest else "another layout of an array"


def user_depth() -> int:
    """How many frames of this package are above the user's."""
    frames = traceback.extract_stack()
    depth = 0
    for frame in reversed(frames):
        if not frame.filename.startswith(PACKAGE):
            break
        depth += 1
    return depth


def is_unusual() -> bool:
    """Whether a mode is on under which nothing is compiled."""
    return bool(state.saved_hooks or state.profiler is not None or state.anomaly)


def mode_tests(names: Names) -> list[tuple[str, str]]:
    """Tests of the modes that a trace was made in."""
    tests = [
        (f"state.grad is {state.grad}", "whether gradients are recorded"),
        (f"default_dtype() is {names.add(get_default_dtype())}", "the default dtype"),
    ]
    if not ACTIVE:
        return [("not ACTIVE", "a mode such as autocast"), *tests]
    cast = state.autocast
    tests.append((f"state.inference is {state.inference}", "inference mode"))
    if cast is None:
        tests.append(("state.autocast is None", "autocast"))
    else:
        tests.append((f"state.autocast is {names.add(cast)}", "autocast"))
        tests.append((f"{names.add(cast)}.settings.dtype['cpu'] is {names.add(cast.settings.dtype['cpu'])}", "autocast"))
    return tests


def make_trace(compiled: CompiledFunction, args: Any, kwargs: Any) -> CompiledTrace:
    """Trace a call; everything is afterwards as it was."""
    reason = compiled.reason(args, kwargs)
    names = Names()
    guards = Guards(names)
    tests = mode_tests(names)
    try:
        walk(guards, compiled.fn, args, kwargs)
    except Unguardable as error:
        raise TraceBreak(f"rests on what cannot be checked: {error}") from None
    flat: dict[int, Any] = {}
    for _ in range(16):
        try:
            return attempt(compiled, names, guards, tests, flat, args, kwargs, reason)
        except Restart as again:
            flat[id(again.args[0])] = again.args[0]
    raise TraceBreak("changes memory in too many layouts")


def walk(guards: Guards, fn: Any, args: Any, kwargs: Any) -> None:
    """Find what a call rests on."""
    guards.check(f"len(args) == {len(args)} and len(kwargs) == {len(kwargs)}", "the number of arguments")
    words = argument_names(fn)
    for i, value in enumerate(args):
        guards.value(value, f"args[{i}]", words[i] if i < len(words) else f"argument {i}", 1, True)
    for key, value in kwargs.items():
        guards.value(value, f"kwargs[{key!r}]", key, 1, True)
    guards.function(fn, getattr(fn, "__name__", "the function"))


def argument_names(fn: Any) -> tuple[str, ...]:
    """The names of a function's positional parameters."""
    code = getattr(fn, "__code__", None)
    if code is None:
        inner = getattr(fn, "__func__", None) or getattr(fn, "forward", None)
        code = getattr(getattr(inner, "__func__", inner), "__code__", None)
        return () if code is None else code.co_varnames[1 : code.co_argcount]
    names: tuple[str, ...] = code.co_varnames[: code.co_argcount]
    return names


def attempt(
    compiled: CompiledFunction, names: Names, guards: Guards, tests: list[Any], flat: dict[int, Any], args: Any,
    kwargs: Any, reason: str,
) -> CompiledTrace:  # fmt: skip
    """One tracing of a call and the program made of it."""
    started = time.perf_counter()
    trace = Trace(flat)
    done = False
    holds = checker(names, [*tests, *guards.checks])
    try:
        trace.keep_generators(guards.generators)
        with trace:
            trace.lift_settings(guards.optimizers)
            result = compiled.fn(*args, **kwargs)
            trace.drop_settings()
            alive = alive_in(tensors_in(result), trace)
            backward = Backward(trace, alive) if alive else None
        if trace.drew():
            raise TraceBreak("draws random numbers in a way that is not traced")
        reader = Reader(trace)
        outcome = reader.read()
        outside = {id(v): v for v in names.space.values()}
        writer = Writer(names, guards, trace, outcome)
        writer.backward = backward
        source = Results(names, reader, writer.sources, outside).source(result)
        done = True
    except TraceBreak as stop:
        stop.holds = compiled_tests(names, [*tests, *guards.checks])
        raise
    except Exception as error:
        if not is_internal(error):
            raise
        stop = TraceBreak(f"does what cannot be traced ({type(error).__name__}: {error})", line_of(error))
        stop.holds = compiled_tests(names, [*tests, *guards.checks])
        raise stop from error
    finally:
        trace.drop_settings()
        trace.forget_entries()
        trace.undo()
        if not done:
            trace.forget_created()
            guards.restore()
    rebound = guards.rebound()
    changed = holds(args, kwargs) if rebound is None else [rebound]
    if changed:
        trace.forget_created()
        guards.restore()
        stop = TraceBreak(f"changes {changed[0]}, which a compiled call would not repeat")
        stop.holds = compiled_tests(names, [*tests, *guards.checks])
        raise stop
    traced = time.perf_counter()
    made = assemble(compiled, names, guards, tests, trace, writer, source, reason)
    made.seconds_to_trace = traced - started
    made.seconds_to_compile = time.perf_counter() - traced
    return made


def assemble(
    compiled: CompiledFunction, names: Names, guards: Guards, tests: list[Any], trace: Trace, writer: Writer,
    source: str, reason: str,
) -> CompiledTrace:  # fmt: skip
    """The program and the function of a finished trace."""
    outcome = writer.outcome
    for optimizer in guards.optimizers:
        guards.optimizer_state(optimizer)
    graph = trace.graph
    backward = writer.backward
    saved: dict[Any, int] = {}
    if backward is not None:
        del graph.calls[backward.start : backward.stop]
        changed = {v for v, _ in graph.updates}
        for v in backward.kept:
            if not v.is_input or v in changed:
                saved[v] = len(outcome.outputs)
                outcome.outputs.append(v)
    graph.outputs = list(outcome.outputs)
    graph.calls, wanted = live_part(graph, [])
    wanted.update(v for v, _ in graph.updates)
    wanted.update(() if backward is None else backward.kept)
    inputs = [v for v in graph.inputs if v in wanted]
    graph.inputs = inputs
    writer.tensor_checks()
    first = writer.bind_lines([trace.inputs[v] for v in inputs])
    writer.output_lines()
    writer.lines.append("run()")
    writer.bump_lines()
    if backward is not None:
        lazy = Lazy(backward, program_of, compiled.lock)
        writer.replay_lines({v: i for i, v in enumerate(inputs)}, saved, lazy)
    writer.after_lines(source)
    program = program_of(graph)
    bound = Bound(program, first)
    every = [*tests, *guards.checks, *writer.tests]
    made = CompiledTrace(graph, program, reason)
    made.call = compiled_function(names, every, writer.lines, bound)
    made.what_changed = checker(names, every, writer.layouts)
    made.keeps = bound
    return made


def program_of(graph: Graph) -> Any:
    """The planned program of a graph: native where that can be, else on NumPy."""
    graph = optimise(graph)
    native = is_available() and config.get("JIT")
    return build(graph, schedule(graph) if native else host_steps(graph))


def is_internal(error: BaseException) -> bool:
    """Whether an exception was raised by a line of this package or a library, rather than of the user's."""
    trace = error.__traceback__
    last = None
    while trace is not None:
        last = trace.tb_frame.f_code.co_filename
        trace = trace.tb_next
    return last is not None and not is_users(last)


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
        return self._orig_mod(*args, **kwargs)

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

    Parameters
    ----------
    model : callable or Module, optional
        What to compile; without it a decorator is returned.
    fullgraph : bool
        Raise where the function cannot be one program, instead of running it eagerly with a warning.
    disable : bool
        Return `model` as it is.
    dynamic, backend, mode, options, name
        Accepted as PyTorch spells them; each new shape is compiled for itself.

    Returns
    -------
    A callable with the same arguments and results; a Module for a Module.

    Examples
    --------
    >>> @torch.compile
    ... def double(x):
    ...     return x + x
    >>> double(torch.ones(2))
    tensor([2., 2.])
    """
    if model is None:
        return lambda given: compile(
            given, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode, options=options, disable=disable
        )
    if not callable(model):
        raise TypeError(f"compile(): expected a function or module, received {type(model).__name__}")
    if disable:
        return model
    if isinstance(model, Module):
        return OptimizedModule(model, fullgraph=fullgraph)
    return CompiledFunction(model, fullgraph=fullgraph)


def _compiled_call(function: Callable[..., Any], *args: Any, **options: Any) -> Callable[..., Any]:
    return CompiledFunction(function, fullgraph=bool(options.get("fullgraph")))


set_call_compiler(_compiled_call)
