"""Programs with native steps: memory shared in place, copies, host calls in between, guard pages, overhead."""

import subprocess
import sys
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from rushlight.compiler.binding import ir, is_available
from rushlight.compiler.graph import Call, Graph, Value
from rushlight.compiler.interpret import interpret
from rushlight.compiler.kernel import HostCall, Kernel
from rushlight.compiler.program import build, host_steps
from rushlight.ops.kinds import OPS
from rushlight.spec import Spec

pytestmark = pytest.mark.skipif(not is_available(), reason="needs llvmlite")
F32 = np.dtype(np.float32)
CHUNK = 64


def add_kernel(call: Call, *, inplace: bool = True, beyond: int = 0) -> Kernel:
    """`add` or `mul` of two arrays, 64 elements a chunk; `beyond`: elements that it wrongly touches past the end."""
    size = int(np.prod(call.result.shape)) + beyond
    method = {"add": "fadd", "mul": "fmul"}[call.op.name]

    def emit(module: Any, name: str) -> None:
        i64, f32, ptr = ir.IntType(64), ir.FloatType(), ir.PointerType()
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [ptr, i64]), name)
        slots, chunk = function.args
        b = ir.IRBuilder(function.append_basic_block())
        x, y, z = (b.load(b.gep(slots, [i64(k)], source_etype=ptr), typ=ptr) for k in range(3))
        start = b.mul(chunk, i64(CHUNK))
        stop = b.add(start, i64(CHUNK))
        stop = b.select(b.icmp_unsigned("<", stop, i64(size)), stop, i64(size))
        before, loop, done = b.block, b.append_basic_block(), b.append_basic_block()
        b.cbranch(b.icmp_unsigned("<", start, stop), loop, done)
        b.position_at_end(loop)
        i = b.phi(i64)
        i.add_incoming(start, before)
        left, right = (b.load(b.gep(p, [i], source_etype=f32), typ=f32) for p in (x, y))
        b.store(getattr(b, method)(left, right), b.gep(z, [i], source_etype=f32))
        following = b.add(i, i64(1))
        i.add_incoming(following, loop)
        b.cbranch(b.icmp_unsigned("<", following, stop), loop, done)
        b.position_at_end(done)
        b.ret_void()

    reads = tuple(call.values())
    chunks = max(1, -(-size // CHUNK))
    return Kernel(
        call.op.name, f"test {call.op.name} {size} {CHUNK}", emit, reads, call.results, chunks=chunks,
        inplace=((0, 0), (0, 1)) if inplace else (), calls=(call,),
    )  # fmt: skip


def steps_of(graph: Graph, **options: Any) -> list[Any]:
    return [
        add_kernel(s.call, **options) if s.call.op.name in ("add", "mul") else s
        for s in host_steps(graph)
        if isinstance(s, HostCall)
    ]


def descent(size: int = 200, host: bool = False) -> tuple[Graph, list[np.ndarray]]:
    """p, m, g: m' = m * d + g; p' = p + m' * r; out = p' * p'."""
    graph = Graph()
    p, m, g, d, r = (graph.input(Spec((size,), F32)) for _ in range(5))

    def call(name: str, *operands: Value) -> Value:
        return graph.call(OPS[name], operands, {})

    m2 = call("add", call("mul", m, d), g)
    step = call("mul", m2, r)
    p2 = call("add", p, call("neg", step) if host else step)
    graph.outputs = [call("mul", p2, p2)]
    graph.updates = [(p, p2), (m, m2)]
    rng = np.random.default_rng(0)
    return graph, [rng.standard_normal(size).astype(F32) for _ in range(5)]


def check(graph: Graph, inputs: list[np.ndarray], program: Any) -> None:
    for _ in range(3):
        outputs, updated = interpret(graph, [x.copy() for x in inputs])
        after = [x.copy() for x in inputs]
        for (target, _), value in zip(graph.updates, updated, strict=True):
            after[graph.inputs.index(target)] = value
        got = program(*inputs)
        for a, b in zip((*got, *inputs), (*outputs, *after), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("size", [1, 64, 65, 200, 5000])
@pytest.mark.parametrize("host", [False, True])
@pytest.mark.parametrize("inplace", [False, True])
def test_updates_in_place_and_copied(size: int, host: bool, inplace: bool) -> None:
    graph, inputs = descent(size, host)
    program = build(graph, steps_of(graph, inplace=inplace))
    check(graph, inputs, program)
    assert len(program.plan.copies) == (0 if inplace else 2 - 1)
    if inplace:
        assert program.arena_bytes <= 2 * (size * 4 + 64)


def test_equal_kernels_are_made_once() -> None:
    graph, _ = descent()
    program = build(graph, steps_of(graph))
    assert len({k.key for k in program.kernels}) < len(program.kernels)
    functions = {piece[0] for piece in program._pieces_by_step if isinstance(piece, tuple)}
    assert len(functions) == len({k.key for k in program.kernels})


def test_views_between_kernels_and_constants() -> None:
    graph = Graph()
    x = graph.input(Spec((6, 4), F32))
    c = Value(Spec((6, 4), F32), data=np.arange(24, dtype=F32).reshape(4, 6).T)
    y = graph.call(OPS["add"], (x, c), {})
    t = graph.call(OPS["permute"], (y,), {"dims": (1, 0)})
    flat = graph.call(OPS["unsafe_view"], (t,), {"shape": (24,)})  # a kernel reads it: copied by the host
    z = graph.call(OPS["mul"], (flat, flat), {})
    graph.outputs = [z, t, graph.call(OPS["exp"], (t,), {}), x, c]
    graph.updates = [(x, y)]
    check(graph, [np.ones((6, 4), F32)], build(graph, steps_of(graph)))


def test_large_programs_share_one_block() -> None:
    graphs = [descent(size, host) for size in (30_000, 50_000) for host in (False, True)]
    programs = [build(graph, steps_of(graph)) for graph, _ in graphs]
    for _ in range(2):
        for (graph, inputs), program in zip(graphs, programs, strict=True):
            check(graph, inputs, program)
    assert len({id(program._memory.block) for program in programs[2:]}) == 1


def test_programs_that_run_at_once_do_not_meet() -> None:
    made = [descent(30_000, host=True) for _ in range(4)]
    programs = [build(graph, steps_of(graph)) for graph, _ in made]

    def work(k: int) -> None:
        for _ in range(10):
            check(*made[k], programs[k])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


def test_a_call_keeps_no_array() -> None:
    graph, inputs = descent(30_000, host=True)
    program = build(graph, steps_of(graph))
    output = weakref.ref(program(*inputs)[0])
    held = weakref.ref(inputs[0])
    del inputs
    assert output() is None
    assert held() is None


def test_profile_is_a_run() -> None:
    graph, inputs = descent()
    program = build(graph, steps_of(graph))
    outputs, _ = interpret(graph, [x.copy() for x in inputs])
    for i, x in enumerate(inputs):
        program.bind(i, x)
    got = program.new_outputs()
    seconds = program.profile()
    assert len(seconds) == len(program.steps) + 1
    assert all(s >= 0 for s in seconds)
    np.testing.assert_array_equal(got[0], outputs[0])


def test_a_small_program_costs_little() -> None:
    graph, inputs = descent(10)
    program = build(graph, steps_of(graph))
    program(*inputs)
    best = min(_seconds(program.run) for _ in range(20))
    assert best / 1000 < 20e-6


def _seconds(function: Any) -> float:
    start = time.perf_counter()
    for _ in range(1000):
        function()
    return time.perf_counter() - start


def random_graph(rng: np.random.Generator) -> Graph:
    """Sums, products, views, outputs and updates at random, over inputs of 12 elements."""
    shapes = [(12,), (3, 4), (4, 3)]
    graph = Graph()
    values = [graph.input(Spec(shapes[rng.integers(3)], F32)) for _ in range(rng.integers(1, 5))]
    for _ in range(rng.integers(0, 14)):
        x = values[rng.integers(len(values))]
        kind = rng.integers(6)
        if kind == 0:
            made = graph.call(OPS["unsafe_view"], (x,), {"shape": shapes[rng.integers(3)]})
        elif kind == 1:
            made = graph.call(OPS["permute"], (x,), {"dims": tuple(reversed(range(x.spec.ndim)))})
        elif kind == 2:
            made = graph.call(OPS["neg"], (x,), {})
        else:
            alike = [v for v in values if v.shape == x.shape]
            y = alike[rng.integers(len(alike))]
            made = graph.call(OPS[("add", "mul")[kind % 2]], (x, y), {})
        values.append(made)
    graph.outputs = [values[k] for k in rng.integers(len(values), size=rng.integers(0, 4))]
    for x in graph.inputs:
        alike = [v for v in values if v.shape == x.shape]
        if rng.random() < 0.6:
            graph.updates.append((x, alike[rng.integers(len(alike))]))
    return graph


@pytest.mark.parametrize("seed", range(8))
def test_random_programs_equal_the_interpreter(seed: int) -> None:
    for k in range(40):
        rng = np.random.default_rng((seed, k))
        graph = random_graph(rng)
        inputs = [rng.standard_normal(x.shape).astype(F32) for x in graph.inputs]
        steps = [
            add_kernel(step.call, inplace=bool(rng.integers(2)))
            if isinstance(step, HostCall) and step.call.op.name in ("add", "mul") and rng.random() < 0.7
            else step
            for step in host_steps(graph)
        ]
        check(graph, inputs, build(graph, steps))


GUARDED = """
import sys
from tests.compiler.test_program import *
beyond, side = int(sys.argv[1]), sys.argv[2]
for host in (False, True):
    graph, inputs = descent(100, host)
    program = build(graph, steps_of(graph, beyond=beyond), guard=side)
    check(graph, inputs, program)
print("fine")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no mprotect")
@pytest.mark.parametrize(("beyond", "side", "survives"), [(0, "after", True), (0, "before", True), (1, "after", False)])
def test_guard_pages(beyond: int, side: str, survives: bool) -> None:
    command = [sys.executable, "-c", GUARDED, str(beyond), side]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip() == "fine") == survives, done.stderr
    assert survives or done.returncode < 0
