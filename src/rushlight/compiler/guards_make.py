"""From a call to a trace that is ready to run: the walk, the tracing, the program, the generated function."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rushlight import config
from rushlight.compiler.binding import is_available
from rushlight.compiler.cache_schedule import scheduled
from rushlight.compiler.graph import Graph, Value
from rushlight.compiler.guards import Guards, Names, Test, Unguardable, check_state
from rushlight.compiler.guards_code import MISS, Bound, Results, Writer, checker, compiled_function, compiled_tests
from rushlight.compiler.guards_places import Place, Rebinds
from rushlight.compiler.passes import optimise
from rushlight.compiler.program import build, host_steps
from rushlight.compiler.trace import Trace
from rushlight.compiler.trace_array import Restart, TraceBreak, is_users, line_of
from rushlight.compiler.trace_backward import Backward, Lazy, alive_in, tensors_in
from rushlight.compiler.trace_optimizer import step_group
from rushlight.compiler.trace_outcome import Reader, live_part
from rushlight.dtypes import get_default_dtype
from rushlight.modes import ACTIVE, state

MOST_RESTARTS = 16
Trace.step_group = staticmethod(step_group)
Call = Callable[[Any, Any], Any]


class CompiledTrace:
    """One trace of a function, ready to run.

    Attributes
    ----------
    graph : what was traced
    program : the planned program, with the graph that the passes made of it
    steps : its kernels and host calls
    reason : why it was made
    calls : how often it ran
    seconds_to_trace, seconds_to_compile : what it took
    call : `call(args, kwargs)` gives the result, or MISS where the trace does not hold
    what_changed : `what_changed(args, kwargs)` says why it does not hold
    """

    def __init__(self, graph: Graph, program: Any, reason: str, call: Call, what_changed: Call) -> None:
        self.graph = graph
        self.program = program
        self.reason = reason
        self.call = call
        self.what_changed = what_changed
        self.calls = 0
        self.seconds_to_trace = 0.0
        self.seconds_to_compile = 0.0

    @property
    def steps(self) -> Any:
        """Kernels and host calls in order."""
        return self.program.steps


class Request:
    """A call to be traced.

    Attributes
    ----------
    fn : the function
    reason : why no earlier trace fits
    lock : held while a program of the function runs
    numbers : the top-level arguments (position or name) whose numbers are inputs of the program, not part of it
    is_part : whether the function is the first part of one that goes on with the results
    """

    def __init__(
        self, fn: Any, args: Any, kwargs: Any, reason: str, lock: Any, numbers: frozenset[Any], is_part: bool = False
    ) -> None:
        self.is_part = is_part
        self.fn = fn
        self.args = args
        self.kwargs = kwargs
        self.reason = reason
        self.lock = lock
        self.numbers = numbers


def make_trace(request: Request) -> CompiledTrace:
    """Trace a call; everything is afterwards as it was.

    Raises
    ------
    TraceBreak
        If the call cannot be a program; its `holds` tells later calls of the same kind, where that is known.
    """
    flat: dict[int, Any] = {}
    loose: dict[Any, Place] = {}
    for _ in range(MOST_RESTARTS):
        names = Names()
        guards = Guards(names, loose)
        tests = mode_tests(names)
        try:
            _walk(guards, request)
        except Unguardable as error:
            raise TraceBreak(f"rests on what cannot be checked: {error}") from None
        try:
            return _Attempt(request, names, guards, tests, flat).run()
        except Restart as again:
            flat[id(again.args[0])] = again.args[0]
        except Rebinds as found:
            loose.update((p.name, p) for p in found.places)
    raise TraceBreak("changes memory in too many layouts")


def mode_tests(names: Names) -> list[Test]:
    """Tests of the modes that a trace is made in."""
    tests: list[Test] = [
        (f"state.grad is {state.grad}", "whether gradients are recorded"),
        (f"default_dtype() is {names.add(get_default_dtype())}", "the default dtype"),
    ]
    if not ACTIVE:
        return [("not ACTIVE", "a mode such as autocast"), *tests]
    tests.append((f"state.inference is {state.inference}", "inference mode"))
    cast = state.autocast
    if cast is None:
        return [*tests, ("state.autocast is None", "autocast")]
    caster, kind = names.add(cast), names.add(cast.settings.dtype["cpu"])
    tests.append((f"state.autocast is {caster} and {caster}.settings.dtype['cpu'] is {kind}", "autocast"))
    return tests


def _walk(guards: Guards, request: Request) -> None:
    """Find what a call rests on."""
    args, kwargs = request.args, request.kwargs
    guards.check(f"len(args) == {len(args)} and len(kwargs) == {len(kwargs)}", "the number of arguments")
    words = argument_names(request.fn)
    named = [(i, v, f"args[{i}]", words[i] if i < len(words) else f"argument {i}") for i, v in enumerate(args)]
    named += [(key, v, f"kwargs[{key!r}]", key) for key, v in kwargs.items()]
    for key, value, source, word in named:
        if key in request.numbers:
            guards.check(f"type({source}) is {guards.names.add(type(value))}", f"the type of {word}")
        else:
            guards.value(value, source, word, 1, True)
    guards.function(request.fn, getattr(request.fn, "__name__", "the function"))
    guards.settle()


def argument_names(fn: Any) -> tuple[str, ...]:
    """The names of a function's positional parameters."""
    code = getattr(fn, "__code__", None)
    if code is not None and getattr(fn, "__self__", None) is None:
        names: tuple[str, ...] = code.co_varnames[: code.co_argcount]
        return names
    inner = getattr(fn, "__func__", None) or getattr(fn, "forward", None) or type(fn).__call__
    inner = getattr(getattr(fn, "__self__", None), "forward", inner)
    code = getattr(getattr(inner, "__func__", inner), "__code__", None)
    return () if code is None else code.co_varnames[1 : code.co_argcount]


class _Attempt:
    """One tracing of a call and the program made of it."""

    def __init__(self, request: Request, names: Names, guards: Guards, tests: list[Test], flat: dict[int, Any]) -> None:
        self.request = request
        self.names = names
        self.guards = guards
        self.tests = tests
        self.trace = Trace(flat)
        self.backward: Backward | None = None

    def run(self) -> CompiledTrace:
        """Trace, look at what was done, take it back, and compile."""
        started = time.perf_counter()
        done = False
        try:
            writer, source = self._traced()
            done = True
        except TraceBreak as stop:
            raise self._known(stop) from stop.__cause__
        except Exception as error:
            if not is_internal(error):
                raise
            what = f"does what cannot be traced ({type(error).__name__}: {error})"
            raise self._known(TraceBreak(what, line_of(error))) from error
        finally:
            self._take_back(done)
        self._check_python()
        traced = time.perf_counter()
        made = self._assembled(writer, source)
        made.seconds_to_trace = traced - started
        made.seconds_to_compile = time.perf_counter() - traced
        return made

    def _traced(self) -> tuple[Writer, str]:
        trace, request = self.trace, self.request
        trace.keep_generators(self.guards.generators)
        with trace:
            trace.lift_settings(self.guards.optimizers)
            args, kwargs = self._arguments()
            for place, held, value in self.guards.numbers:
                place.put(trace.argument_input(held, value))
            result = request.fn(*args, **kwargs)
            trace.drop_settings()
            alive = alive_in(tensors_in(result), trace)
            if alive and request.is_part:
                raise TraceBreak("leaves a history to the rest of the function")
            self.backward = Backward(trace, alive) if alive else None
        if trace.changed_settings:
            raise TraceBreak(f"changes {trace.changed_settings[0]} of an optimizer")
        if trace.drew():
            raise TraceBreak("draws random numbers in a way that is not traced")
        reader = Reader(trace)
        outcome = reader.read()
        outside = {id(v): v for v in self.names.space.values()}
        writer = Writer(self.names, self.guards, trace, outcome)
        writer.backward = self.backward
        if request.is_part and any(v is c for v in result for c, _ in self.guards.copies if id(c) not in outside):
            raise TraceBreak("hands a container on")
        results = Results(self.names, reader, writer.sources, outside)
        source = results.source(result)
        found = {p.name: p for p in self.guards.changed_places()}
        new = [p for name, p in found.items() if name not in self.guards.loose]
        if new:
            raise Rebinds(new)
        if found and (lost := self.guards.changed_otherwise()) is not None:
            raise TraceBreak(f"changes {lost}, which a compiled call would not repeat")
        writer.rebinds = [(self.names.add(p), results.source(p.get())) for p in found.values()]
        return writer, source

    def _arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """The arguments, with numbers that are inputs in the place of those that change."""
        args, kwargs = list(self.request.args), dict(self.request.kwargs)
        for key in self.request.numbers:
            held: Any = args if isinstance(key, int) else kwargs
            source = f"args[{key}]" if isinstance(key, int) else f"kwargs[{key!r}]"
            held[key] = self.trace.argument_input(source, held[key])
        return args, kwargs

    def _take_back(self, done: bool) -> None:
        trace = self.trace
        trace.drop_settings()
        trace.forget_entries()
        trace.undo()
        if not done:
            trace.forget_created()
        if not done or self.guards.loose:
            self.guards.restore()

    def _check_python(self) -> None:
        """Refuse a trace that changed something in Python that a run of its program would not change."""
        rebound = self.guards.rebound()
        tests = checker(self.names, [*self.tests, *self.guards.checks])
        changed = tests(self.request.args, self.request.kwargs) if rebound is None else [rebound]
        if changed:
            self.trace.forget_created()
            self.guards.restore()
            raise self._known(TraceBreak(f"changes {changed[0]}, which a compiled call would not repeat"))

    def _known(self, stop: TraceBreak) -> TraceBreak:
        stop.holds = compiled_tests(self.names, [*self.tests, *self.guards.checks])
        return stop

    def _assembled(self, writer: Writer, source: str) -> CompiledTrace:
        """The program and the function of a finished trace."""
        guards, trace, lines = self.guards, self.trace, writer.lines
        for optimizer in guards.optimizers:
            check_state(guards, optimizer)
        inputs, saved = self._cut(writer)
        writer.tensor_checks()
        first = writer.bind_lines([trace.inputs[v] for v in inputs])
        writer.output_lines()
        lines.append("run()")
        writer.bump_lines()
        if self.backward is not None:
            lazy = Lazy(self.backward, program_of, self.request.lock)
            writer.replay_lines({v: i for i, v in enumerate(inputs)}, saved, lazy)
        writer.after_lines(source)
        program = program_of(trace.graph)
        tests = [*self.tests, *guards.checks, *trace.number_tests, *writer.tests]
        call = compiled_function(self.names, tests, lines, Bound(program, first))
        what_changed = checker(self.names, tests, writer.layouts)
        return CompiledTrace(trace.graph, program, self.request.reason, call, what_changed)

    def _cut(self, writer: Writer) -> tuple[list[Value], dict[Value, int]]:
        """Make the graph what a run needs; returns its inputs and the outputs kept for the backward walk."""
        graph, outcome, backward = self.trace.graph, writer.outcome, self.backward
        saved: dict[Value, int] = {}
        kept: list[Value] = []
        if backward is not None:
            del graph.calls[backward.start : backward.stop]
            changed = {v for v, _ in graph.updates}
            kept = backward.kept
            for v in kept:
                if not v.is_input or v in changed:
                    saved[v] = len(outcome.outputs)
                    outcome.outputs.append(v)
        graph.outputs = list(outcome.outputs)
        graph.calls, wanted = live_part(graph, [])
        wanted.update(v for v, _ in graph.updates)
        wanted.update(kept)
        graph.inputs = [v for v in graph.inputs if v in wanted]
        return graph.inputs, saved


def program_of(graph: Graph) -> Any:
    """The planned program of a graph: native where that can be, else on NumPy."""
    graph = optimise(graph)
    native = is_available() and config.get("JIT")
    return build(graph, scheduled(graph) if native else host_steps(graph))


def is_internal(error: BaseException) -> bool:
    """Whether an exception was raised by a line of this package or a library, rather than of the user's."""
    trace = error.__traceback__
    last = None
    while trace is not None:
        last = trace.tb_frame.f_code.co_filename
        trace = trace.tb_next
    return last is not None and not is_users(last)


__all__ = ["MISS", "CompiledTrace", "Request", "make_trace", "program_of"]
