"""Elements and rows taken and added up by index: kernels against the bodies of the ops, compiled and eagerly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rushlight as torch
from rushlight.backends import threads
from rushlight.compiler import program
from rushlight.compiler.access import resolve
from rushlight.compiler.binding import is_available
from rushlight.compiler.graph import Graph
from rushlight.compiler.interpret import run_call
from rushlight.compiler.kernel import HostCall
from rushlight.compiler.schedule import SEEDS, schedule
from rushlight.ops.kinds import OPS
from rushlight.spec import Spec
from tests.compiler.buffers import run_fenced
from tests.compiler.steps import check

pytestmark = pytest.mark.skipif(not is_available(), reason="llvmlite is not installed")
RNG = np.random.default_rng(0)
# around vectors and cache lines, several chunks along each dim, and one of everything
SHAPES = [(5, 7, 3), (40, 33, 17), (100, 64), (3, 200, 64), (1, 1, 1), (6, 1), (900, 5), (9,)]


def call_of(name: str, x: Any, index: Any, **params: Any) -> Any:
    """A graph with one call, and the arrays by value."""
    graph = Graph()
    values = [graph.input(Spec(a.shape, a.dtype)) for a in (x, index)]
    graph.outputs = [graph.call(OPS[name], tuple(values), params)]
    return graph, dict(zip(values, (x, index), strict=True))


def compare(name: str, x: Any, index: Any, **params: Any) -> None:
    """Fails unless kernel and planned program, with pages around each array that nobody may touch, equal the body."""
    graph, known = call_of(name, x, index, **params)
    call = graph.calls[0]
    kernel = SEEDS[name](call, resolve)
    assert kernel is not None
    right = run_call(call, lambda v: known[v])[0]
    for guard in ("after", "before"):
        (found,) = program.build(graph, schedule(graph), guard=guard)(x, index)
        np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-5)
    run_fenced([kernel], known)
    np.testing.assert_allclose(known[call.result], right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("index_dtype", [np.int64, np.int32])
@pytest.mark.parametrize("shape", SHAPES)
def test_kernels_equal_bodies(shape, index_dtype):
    dtype = np.float32 if index_dtype == np.int64 else np.float64
    for dim in range(len(shape)):
        count = max(1, shape[dim] * 2 // 3)
        part = (*shape[:dim], count, *shape[dim + 1 :])
        each = RNG.integers(0, shape[dim], part).astype(index_dtype)
        rows = RNG.integers(0, shape[dim], count).astype(index_dtype)
        x, g = (RNG.standard_normal(s).astype(dtype) for s in (shape, part))
        compare("take_along", x, each, dim=dim)
        compare("index_select", x, rows, dim=dim)
        compare("rows_place", g, rows, shape=shape, dim=dim)
        compare("scatter_add_zeros", g, each, shape=shape, dim=dim)


def test_integers_are_taken():
    compare("take_along", RNG.integers(0, 9, (6, 20)), RNG.integers(0, 20, (6, 4)), dim=1)


def test_what_points_outside_adds_nothing():
    graph, known = call_of("rows_place", np.ones((3, 8), np.float32), np.array([1, 7, -1]), shape=(4, 8), dim=0)
    run_fenced([SEEDS["rows_place"](graph.calls[0], resolve)], known)
    assert known[graph.outputs[0]].sum(1).tolist() == [0, 8, 0, 0]


def test_same_bits_for_any_number_of_threads():
    x, index = RNG.standard_normal((4000, 70)).astype(np.float32), RNG.integers(0, 50, 4000)
    graph, _ = call_of("rows_place", x, index, shape=(50, 70), dim=0)
    found, before = set(), threads.get_num_threads()
    try:
        for n in (1, 2, 3):
            threads.set_num_threads(n)
            found.add(program.build(graph, schedule(graph))(x, index)[0].tobytes())
    finally:
        threads.set_num_threads(before)
    assert len(found) == 1


STEPS = {
    "gather": lambda x, y, i, j: x.gather(1, i),
    "index_select": lambda x, y, i, j: x.index_select(0, j),
    "index_add": lambda x, y, i, j: x.index_add(0, j, y, alpha=2),
    "scatter_add": lambda x, y, i, j: x.scatter_add(0, i, y),
}


@pytest.mark.parametrize("name", STEPS)
def test_compiled_without_the_host(name):
    def build() -> Any:
        x = torch.randn(30, 9).requires_grad_()
        y = torch.randn(40, 9).requires_grad_()
        i, j = torch.randint(0, 9, (30 if name == "gather" else 40, 9)), torch.randint(0, 30, (40,))

        def step() -> Any:
            x.grad = y.grad = None
            loss = (STEPS[name](x, y, i, j).sin() * torch.arange(9)).sum()
            loss.backward()
            return loss, x.grad.clone()

        return step, None

    fn = check(build, calls=2)
    assert [s for t in fn.traces for s in t.steps if isinstance(s, HostCall)] == []


@pytest.mark.parametrize("name", ["gather", "index_select", "index_add", "scatter_add"])
def test_an_index_outside_raises(name):
    x = torch.randn(300, 40)
    i = torch.full((300, 40), 300) if name in ("gather", "scatter_add") else torch.full((300,), 300)
    call = STEPS[name] if name != "gather" else lambda x, y, i, j: x.gather(0, i)
    for fn in (call, torch.compile(call)):
        with pytest.raises(IndexError, match="out of bounds for dimension 0 with size 300"):
            fn(x, x, i, i)


def test_rows_by_negative_numbers():
    x = torch.randn(300, 40).requires_grad_()
    at = RNG.integers(-300, 300, (20, 30))
    x[torch.from_numpy(at)].sin().sum().backward()
    right = np.zeros((300, 40), np.float32)
    np.add.at(right, at % 300, np.cos(x.detach().numpy()[at]))
    np.testing.assert_allclose(x.grad.numpy(), right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("largest", [True, False])
def test_topk_without_sorting_all_equals_sorting(largest):
    for x in (RNG.standard_normal((4, 90)), RNG.integers(0, 12, (4, 90)).astype(float), np.full((2, 80), np.nan)):
        x[0, ::7] = np.nan
        for k in (1, 5, 11):
            values, order = (t.numpy() for t in torch.from_numpy(x).topk(k, -1, largest))
            whole = OPS["sort_dim"].body(None, x, -1, largest)[1][:, :k]
            np.testing.assert_array_equal(order, whole)
            np.testing.assert_array_equal(values, np.take_along_axis(x, whole, -1))


@pytest.mark.parametrize("shape", [(7,), (33, 100), (5, 17, 3), (4, 9, 16), (3, 50, 40), (700, 70)])
def test_running_sums(shape):
    for dim in range(len(shape)):
        for reverse, dtype in ((False, np.float32), (True, np.float64), (True, np.int64)):
            x = (RNG.standard_normal(shape) * 9).astype(dtype)
            graph = Graph()
            value = graph.input(Spec(x.shape, x.dtype))
            graph.outputs = [graph.call(OPS["cumsum"], (value,), {"dim": dim, "reverse": reverse})]
            right = OPS["cumsum"].body(None, x, dim, reverse)
            for guard in ("after", "before"):
                (found,) = program.build(graph, schedule(graph), guard=guard)(x)
                np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-3 if dtype == np.float32 else 1e-9)
            known = {value: x}
            run_fenced([SEEDS["cumsum"](graph.calls[0], resolve)], known)
            np.testing.assert_array_equal(known[graph.outputs[0]], found)
