"""What `compiled.explain()` says: traces and why they were made, kernels and what they cost, and what was not fused."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from rushlight.compiler.binding import is_available
from rushlight.compiler.graph import Call, Graph, Value
from rushlight.compiler.kernel import Kernel, Step
from rushlight.compiler.program import build
from rushlight.compiler.schedule import schedule
from rushlight.compiler.text import text
from rushlight.ops.kinds import OPS
from rushlight.spec import Spec
from rushlight.tape.where import place

ROUNDS = 5
CACHED = 4 << 20  # bytes that a step may find in a cache, where a copy's bandwidth is no limit


@dataclass(frozen=True)
class Limits:
    """What this machine can do, measured: arithmetic per second of a matrix product, bytes per second of a copy."""

    flops: float
    bytes: float

    def share(self, step: Step, seconds: float) -> float:
        """The part that a step reaches of the limit of arithmetic (products), or of memory where caches do not help."""
        if isinstance(step, Kernel) and step.flops:
            return step.flops / self.flops / seconds
        moved = cost_of(step).bytes
        return moved / self.bytes / seconds if moved > CACHED else 0.0


@dataclass(frozen=True)
class Cost:
    """What a step moves and computes: bytes of its operands and results, and arithmetic of products."""

    bytes: int
    flops: int


@dataclass(frozen=True)
class StepReport:
    """A kernel or host call.

    Attributes
    ----------
    name : of the kernel, or of the op that NumPy runs
    is_native : whether it is a kernel
    calls : how many calls of ops it carries out
    where : the user's lines
    seconds : its time in a run, the least of some
    share : the part of the machine's limit that it reaches
    """

    name: str
    is_native: bool
    calls: int
    where: str
    cost: Cost
    seconds: float
    share: float


@dataclass
class TraceReport:
    """A trace: why there is one, what it became, and what that costs."""

    reason: str
    calls: int
    seconds_to_trace: float
    seconds_to_compile: float
    graph: str
    graph_calls: int
    memory: int
    steps: list[StepReport] = field(default_factory=list)
    apart: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """The time of all steps."""
        return sum(step.seconds for step in self.steps)


@dataclass
class Explanation:
    """A report that prints as text; its parts are attributes.

    Attributes
    ----------
    name : of the function
    traces : the latest used first
    eager : reasons for which calls ran eagerly
    """

    name: str
    traces: list[TraceReport]
    eager: list[str]

    def __str__(self) -> str:
        parts = [f"{self.name}: {_count(len(self.traces), 'trace')}"]
        parts += [f"runs eagerly where it {reason}" for reason in self.eager]
        for k, trace in enumerate(self.traces, 1):
            parts.append(f"\ntrace {k}: {trace.reason}")
            parts += _lines(trace)
        return "\n".join(parts) + "\n"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    __repr__ = __str__


def explain(compiled: Any) -> Explanation:
    """The report of a compiled function. Each program is run a few times on copies of what it was last given."""
    name = getattr(compiled.fn, "__qualname__", type(compiled.fn).__name__)
    return Explanation(name, [_trace(t) for t in compiled.traces], [c.reason for c in compiled.eager_cases])


def _trace(trace: Any) -> TraceReport:
    report = TraceReport(
        trace.reason, trace.calls, trace.seconds_to_trace, trace.seconds_to_compile, text(trace.program.graph),
        len(trace.program.graph.calls), trace.program.arena_bytes,
    )  # fmt: skip
    seconds, limits = measured(trace.program), machine()
    for step, spent in zip(trace.program.steps, seconds, strict=False):
        cost = cost_of(step)
        share = limits.share(step, spent) if spent else 0.0
        report.steps.append(
            StepReport(name_of(step), isinstance(step, Kernel), len(calls_of(step)), lines_of(step), cost, spent, share)
        )
    if seconds[len(trace.program.steps) :] and seconds[-1] > 0:
        report.steps.append(StepReport("copies at the end", True, 0, "", Cost(0, 0), seconds[-1], 0.0))
    reasons = getattr(trace.program.steps, "reasons", getattr(trace, "reasons", ()))
    report.apart = [(_at(a), _at(b), why) for a, b, why in reasons]
    return report


def calls_of(step: Step) -> tuple[Call, ...]:
    """The calls of the graph that a step carries out."""
    return step.calls if isinstance(step, Kernel) else (step.call,)


def name_of(step: Step) -> str:
    """What a step is called."""
    return step.name if isinstance(step, Kernel) else step.call.op.name


def cost_of(step: Step) -> Cost:
    """Bytes of each different operand and result once; arithmetic of products, or one for each element of each call."""
    if isinstance(step, Kernel):
        values: set[Value] = {*step.reads, *step.writes}
    else:
        values = {*step.call.values(), *step.call.results}
    moved = sum(_size(v) * v.dtype.itemsize for v in values)
    if isinstance(step, Kernel) and step.flops:
        return Cost(moved, step.flops)
    return Cost(moved, sum(max((_size(v) for v in (*c.values(), *c.results)), default=0) for c in calls_of(step)))


def _size(v: Value) -> int:
    return math.prod(v.shape)


def lines_of(step: Step) -> str:
    """The user's lines that a step comes from: `train.py:12, 14`."""
    found: dict[str, set[int]] = {}
    for call in calls_of(step):
        if call.where is not None:
            path, _, line = place(call.where).rpartition(":")
            found.setdefault(Path(path).name, set()).add(int(line))
    return "; ".join(f"{name}:{_ranges(sorted(lines))}" for name, lines in found.items())


def _ranges(lines: list[int]) -> str:
    return ", ".join(map(str, lines)) if len(lines) <= 4 else f"{lines[0]}-{lines[-1]}"


def measured(program: Any, rounds: int = ROUNDS) -> list[float]:
    """Seconds of each step and, last, of the copies at the end: the least of some runs on copies of the inputs.

    Inputs, outputs and generators are afterwards as they were.
    """
    inputs, outputs = program.bound()
    if any(a is None for a in inputs):
        return [0.0] * (len(program.steps) + 1)
    generators = [c.params["generator"] for c in program.graph.calls if c.has_effect]
    states = [g.get_state() for g in generators]
    try:
        for i, array in enumerate(inputs):
            program.bind(i, _twin(array))
        program.new_outputs()
        return [min(times) for times in zip(*(program.profile() for _ in range(rounds)), strict=True)]
    finally:
        for i, array in enumerate(inputs):
            program.bind(i, array)
        for k, array in enumerate(outputs):
            if array is not None:
                program.set_output(k, array)
        for generator, held in zip(generators, states, strict=True):
            generator.set_state(held)


def _twin(array: Any) -> Any:
    """A copy with the same strides."""
    if array.flags.c_contiguous or not array.size:
        return array.copy(order="C")
    low = sum((n - 1) * s for n, s in zip(array.shape, array.strides, strict=True) if s < 0)
    high = sum((n - 1) * s for n, s in zip(array.shape, array.strides, strict=True) if s > 0) + array.itemsize
    twin = np.ndarray(array.shape, array.dtype, np.zeros(high - low, np.uint8), -low, array.strides)
    np.copyto(twin, array)
    return twin


@cache
def machine() -> Limits:
    """Measure the machine, once in a process, in some tenths of a second: the faster product of NumPy's and ours."""
    n = 1024
    a = np.ones((n, n), np.float32)
    big = np.ones(1 << 23, np.float32)
    other = np.empty_like(big)
    product = _least(lambda: a @ a)
    if is_available():
        graph = Graph()
        x = graph.input(Spec((n, n), a.dtype))
        graph.outputs = [graph.call(OPS["mm"], (x, x), {})]
        program = build(graph, schedule(graph))
        written = program(a)  # the runs below write there again
        product = min(product, _least(program.run))
        del written
    return Limits(2.0 * n**3 / product, 2.0 * big.nbytes / _least(lambda: np.copyto(other, big)))


def _least(work: Any) -> float:
    times = []
    for _ in range(8):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def _at(call: Call) -> str:
    if call.where is None:
        return call.op.name
    path, _, line = place(call.where).rpartition(":")
    return f"{call.op.name} ({Path(path).name}:{line})"


def _lines(trace: TraceReport) -> list[str]:
    limits = machine()
    native = sum(s.is_native for s in trace.steps)
    host = len(trace.steps) - native
    made = f"{trace.seconds_to_trace:.2f} s of tracing and {trace.seconds_to_compile:.2f} s of compiling"
    parts = f"{_count(native, 'kernel')} and {_count(host, 'call')} of NumPy"
    lines = [
        f"  made in {made}; ran {_count(trace.calls, 'time')}",
        f"  {_count(trace.graph_calls, 'call')} of ops in {parts}; {_amount(trace.memory, 'B')} between them; "
        f"{_time(trace.seconds)} a run",
        f"  limits of this machine: {_amount(limits.flops, 'FLOP/s')} (product), {_amount(limits.bytes, 'B/s')} (copy)",
        "",
    ]
    lines += _table(trace.steps)
    if trace.apart:
        lines += ["", "  not fused:"]
        lines += [f"    {a} and {b}: {why}" for a, b, why in trace.apart]
    lines += ["", "  graph:", *(f"    {line}" for line in trace.graph.splitlines())]
    return lines


def _table(steps: Sequence[StepReport]) -> list[str]:
    rows = [("step", "calls", "bytes", "FLOPs", "time", "of limit", "lines")]
    rows += [
        (
            s.name if s.is_native or not s.calls else f"NumPy: {s.name}", str(s.calls or ""),
            _amount(s.cost.bytes, "B"), _amount(s.cost.flops, ""), _time(s.seconds),
            f"{100 * s.share:.0f} %" if s.share else "", s.where,
        )
        for s in steps
    ]  # fmt: skip
    widths = [min(60, max(len(row[k]) for row in rows)) for k in range(len(rows[0]))]

    def line(row: tuple[str, ...]) -> str:
        numbers = "  ".join(f"{cell:>{w}}" for cell, w in zip(row[1:-1], widths[1:-1], strict=True))
        return f"  {row[0]:<{widths[0]}}  {numbers}  {row[-1]}".rstrip()

    return [line(row) for row in rows]


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _amount(n: float, unit: str) -> str:
    """`1.5 MB`."""
    for power, letter in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if n >= 10**power:
            return f"{n / 10**power:.3g} {letter}{unit}"
    return f"{n:.3g} {unit}".rstrip()


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} us"
