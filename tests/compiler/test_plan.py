"""Memory plans and programs: every way in which outputs, updates, views and inputs meet, against the interpreter."""

import numpy as np
import pytest

from rushlight.compiler.graph import Graph, Value
from rushlight.compiler.interpret import interpret
from rushlight.compiler.plan import Block, pack
from rushlight.compiler.program import Program, build, host_steps
from rushlight.ops.kinds import OPS, Opaque
from rushlight.spec import Spec

F32 = np.dtype(np.float32)


def call(graph: Graph, name: str, *operands: object, **params: object) -> Value:
    return graph.call(OPS[name], operands, params)


def compare(graph: Graph, inputs: list[np.ndarray], program: Program | None = None) -> Program:
    """Run twice on changing inputs; outputs and updated inputs must be the interpreter's, other inputs untouched."""
    program = program or build(graph, host_steps(graph))
    for _ in range(2):
        outputs, updated = interpret(graph, [x.copy() for x in inputs])
        after = [x.copy() for x in inputs]
        for (target, _), value in zip(graph.updates, updated, strict=True):
            after[graph.inputs.index(target)] = value
        got = program(*inputs)
        for a, b in zip(got, outputs, strict=True):
            np.testing.assert_array_equal(a, b, strict=True)
            assert a.flags.c_contiguous
            assert not any(np.shares_memory(a, x) for x in inputs)
        for x, b in zip(inputs, after, strict=True):
            np.testing.assert_array_equal(x, b)
    return program


def arrays(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(F32) for shape in shapes]


def graph_of(*shapes: tuple[int, ...]) -> Graph:
    graph = Graph()
    for shape in shapes:
        graph.input(Spec(shape, F32))
    return graph


def test_outputs_and_an_update() -> None:
    graph = graph_of((4, 3), (4, 3))
    x, y = graph.inputs
    s = call(graph, "add", x, y)
    p = call(graph, "mul", s, 2.0)
    graph.outputs = [s, p, s, x]
    graph.updates = [(x, p)]
    compare(graph, arrays((4, 3), (4, 3)))


def test_an_update_is_written_in_place_only_after_the_last_read() -> None:
    graph = graph_of((5,), (5,))
    x, y = graph.inputs
    new = call(graph, "add", x, y)
    later = call(graph, "mul", x, y)
    graph.outputs = [later]
    graph.updates = [(x, new)]
    program = compare(graph, arrays((5,), (5,)))
    assert len(program.plan.copies) == 1
    graph.calls.reverse()
    assert not compare(graph, arrays((5,), (5,))).plan.copies


def test_swapped_inputs() -> None:
    graph = graph_of((3, 2), (3, 2), (2, 3))
    x, y, z = graph.inputs
    graph.updates = [(x, y), (y, x), (z, call(graph, "permute", x, dims=(1, 0)))]
    compare(graph, arrays((3, 2), (3, 2), (2, 3)))


def test_an_input_becomes_a_view_of_itself() -> None:
    graph = graph_of((3, 3), (4, 4), (4, 2))
    x, y, z = graph.inputs
    part = call(graph, "getitem_slice", y, index=(slice(None, None, -1), slice(2, 4)))
    graph.updates = [
        (x, call(graph, "permute", x, dims=(1, 0))),
        (y, call(graph, "getitem_slice", y, index=slice(None, None, -1))),
        (z, part),
    ]
    compare(graph, arrays((3, 3), (4, 4), (4, 2)))


def test_one_value_for_two_inputs_and_an_output() -> None:
    graph = graph_of((4,), (4,))
    x, y = graph.inputs
    v = call(graph, "add", x, y)
    graph.updates = [(x, v), (y, v)]
    graph.outputs = [v, v]
    compare(graph, arrays((4,), (4,)))


def test_views_of_everything_as_outputs() -> None:
    graph = graph_of((2, 6))
    (x,) = graph.inputs
    constant = Value(Spec((3,), F32), data=np.arange(3, dtype=F32))
    s = call(graph, "exp", x)
    t = call(graph, "permute", s, dims=(1, 0))
    r = call(graph, "unsafe_view", t, shape=(3, 4))  # no view of `s`: a copy
    parts = call(graph, "split", s, sizes=(2, 4), dim=1)
    graph.outputs = [
        t, r, *parts, constant, call(graph, "expand", constant, shape=(2, 3)),
        call(graph, "unsafe_view", s, shape=(12,)), call(graph, "permute", x, dims=(1, 0)),
        call(graph, "add", t, 1.0), call(graph, "add", call(graph, "expand", constant, shape=(4, 3)), 1.0),
    ]  # fmt: skip
    compare(graph, arrays((2, 6)))


def test_zero_size_and_zero_dims() -> None:
    graph = graph_of((0, 3), ())
    x, y = graph.inputs
    e = call(graph, "exp", x)
    v = call(graph, "permute", e, dims=(1, 0))
    graph.outputs = [e, v, call(graph, "exp", y)]
    graph.updates = [(x, e), (y, call(graph, "neg", y))]
    compare(graph, arrays((0, 3), ()))


def test_strided_inputs() -> None:
    graph = Graph()
    x = graph.input(Spec((3, 4), F32), strides=(4, 12))
    y = graph.input(Spec((4,), F32), strides=(-8,))
    graph.outputs = [call(graph, "add", call(graph, "mul", x, 2.0), y), x, y]
    graph.updates = [(x, call(graph, "add", x, y)), (y, call(graph, "exp", y))]
    base, row = arrays((4, 3), (8,))
    program = build(graph, host_steps(graph))
    compare(graph, [base.T, row[::-2]], program)
    with pytest.raises(ValueError, match="strides"):
        program.bind(0, base.T.copy())


def test_a_host_value_that_shows_planned_memory_is_copied() -> None:
    def given_back(x: "Array") -> "Array":  # type: ignore[name-defined]  # noqa: F821
        return x

    op = Opaque(given_back, spec=lambda x: x)
    del OPS["given_back"]
    graph = graph_of((4,))
    (x,) = graph.inputs
    same = graph.call(op, (x,), {})
    graph.updates = [(x, call(graph, "exp", x))]
    graph.outputs = [call(graph, "mul", same, 2.0)]
    assert not compare(graph, arrays((4,))).plan.copies


def test_a_missing_step_is_an_error() -> None:
    graph = graph_of((4,))
    graph.outputs = [call(graph, "exp", graph.inputs[0])]
    with pytest.raises(ValueError, match="exp"):
        build(graph, [])


def test_blocks_in_use_together_do_not_overlap() -> None:
    rng = np.random.default_rng(0)
    for count in (0, 1, 5, 60):
        firsts, lengths, sizes = (rng.integers(n, size=count) for n in (40, 12, 5000))
        blocks = [Block(int(s), int(f), int(f + n)) for f, n, s in zip(firsts, lengths, sizes, strict=True)]
        top = pack(blocks)
        for a in blocks:
            assert a.offset % 64 == 0
            assert a.offset + a.size <= top
            for b in blocks:
                apart = a.last < b.first or b.last < a.first
                assert a is b or apart or a.offset + a.size <= b.offset or b.offset + b.size <= a.offset
        used = [sum(-(-b.size // 64) * 64 for b in blocks if b.first <= at <= b.last) for at in range(52)]
        assert top <= 1.2 * max(used)


def test_a_gap_is_used_again() -> None:
    blocks = [Block(1000, 0, 1), Block(500, 0, 3), Block(900, 2, 3), Block(60, 2, 2)]
    assert pack(blocks) == 1024 + 512
    assert [b.offset for b in blocks] == [0, 1024, 0, 960]
