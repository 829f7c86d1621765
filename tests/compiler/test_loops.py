"""Fused loops against the interpreter: pointwise, reductions, rows, look-ups, in place and out of place."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from rushlight.compiler.binding import is_available
from rushlight.compiler.graph import Graph, Value
from rushlight.compiler.interpret import interpret
from rushlight.compiler.kernel import HostCall, Kernel
from rushlight.compiler.schedule import schedule
from rushlight.dtypes import bfloat16
from rushlight.ops import activation, attention, embedding, loss, norm, softmax
from rushlight.ops.kinds import OPS
from rushlight.spec import Spec
from tests.compiler.native import run_steps

pytestmark = pytest.mark.skipif(not is_available(), reason="needs llvmlite")
FILES = (activation, attention, embedding, loss, norm, softmax)
F32, F64, I64, BOOL, BF16 = (np.dtype(d) for d in (np.float32, np.float64, np.int64, np.bool_, bfloat16.np))
# around the width of a vector, of four of them, and of a row in registers
SIZES = (1, 2, 3, 5, 8, 15, 16, 17, 31, 64, 65, 127, 130, 300)


def array(rng: Any, shape: tuple[int, ...], dtype: Any, strides: Any = None) -> Any:
    """Drawn numbers, laid out by `strides` (in elements of a buffer made large enough) if given."""
    if dtype == BOOL:
        x = np.asarray(rng.random(shape) < 0.5)
    elif dtype.kind in "iu":
        x = np.asarray(rng.integers(-4, 5, shape)).astype(dtype)
    else:
        x = np.asarray(rng.standard_normal(shape)).astype(dtype)
    if strides is None:
        return x
    room = np.zeros(1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)), dtype)
    out = np.lib.stride_tricks.as_strided(room, shape, tuple(s * dtype.itemsize for s in strides))
    out[...] = x
    return out


def given(graph: Graph, rng: Any, shape: tuple[int, ...], dtype: Any = F32, strides: Any = None) -> tuple[Value, Any]:
    """An input with numbers for it."""
    x = array(rng, shape, dtype, strides)
    return graph.input(Spec(shape, dtype), strides=None if strides is None else x.strides), x


def check(graph: Graph, arrays: Any, *, tol: float = 2e-5, host: tuple[str, ...] = ()) -> list[Any]:
    """The schedule of a graph gives what the interpreter gives, in fresh memory and in place; returns the steps."""
    steps = schedule(graph)
    assert {s.call.op.name for s in steps if isinstance(s, HostCall)} <= set(host)
    wanted, changed = interpret(graph, arrays)
    for inplace in (False, True):
        got, after = run_steps(graph, steps, arrays, inplace=inplace)
        for p, q in zip([*wanted, *changed], [*got, *after], strict=True):
            assert (p.shape, p.dtype) == (q.shape, q.dtype)
            np.testing.assert_allclose(q.astype(np.float64), p.astype(np.float64), rtol=tol, atol=tol)
    return steps


def tolerance(dtype: Any) -> float:
    return {F64: 1e-12, BF16: 2e-2}.get(dtype, 2e-5)


BROADCASTS = [
    ((), ()), ((1,), ()), ((7,), (7,)), ((1, 1), (5, 1)), ((4, 1, 6), (3, 1)), ((17,), (5, 17)), ((5, 17), (5, 1)),
    ((2, 3, 4), (3, 4)), ((33, 65), (33, 65)), ((3, 1, 40), (1, 6, 40)), ((4099,), ()),
]  # fmt: skip


@pytest.mark.parametrize("shapes", BROADCASTS, ids=str)
@pytest.mark.parametrize("dtype", [F32, F64, I64, BF16], ids=str)
def test_pointwise_chains(shapes, dtype):
    rng, g = np.random.default_rng(0), Graph()
    (x, a), (y, b) = (given(g, rng, s, dtype) for s in shapes)
    total = g.call(OPS["add"], (x, y), {})
    product = g.call(OPS["mul"], (total, g.call(OPS["maximum"], (x, y), {})), {})
    chosen = g.call(OPS["where"], (g.call(OPS["gt"], (product, y), {}), total, g.call(OPS["neg"], (product,), {})), {})
    g.outputs = [chosen, g.call(OPS["cast"], (product,), {"dtype": F64}), g.call(OPS["lt"], (x, y), {})]
    steps = check(g, [a, b], tol=tolerance(dtype))
    assert len(steps) <= 2


def test_functions_of_one_array_at_odd_sizes():
    rng = np.random.default_rng(1)
    for n, op in itertools.product(SIZES, ("exp", "sigmoid", "gelu", "sqrt")):
        g = Graph()
        x, a = given(g, rng, (n,))
        g.outputs = [g.call(OPS[op], (g.call(OPS["mul"], (x, x), {}),), dict(OPS[op].defaults))]
        check(g, [a])


@pytest.mark.parametrize(
    "shape, strides",
    [((5, 7), (1, 5)), ((6, 20), (60, 1)), ((6, 20), (60, 3)), ((3, 4, 18), (18, 54, 1)), ((40,), (2,))],
)
def test_operands_of_any_strides(shape, strides):
    rng, g = np.random.default_rng(2), Graph()
    (x, a), (y, b) = given(g, rng, shape, F32, strides), given(g, rng, shape)
    g.outputs = [g.call(OPS["sub"], (x, y), {}), g.call(OPS["sum"], (x,), {"dim": (0,), "keepdim": False})]
    check(g, [a, b])


def test_views_are_read_in_place_and_copied_where_they_must_be():
    rng, g = np.random.default_rng(3), Graph()
    x, a = given(g, rng, (4, 6, 10))
    turned = g.call(OPS["transpose"], (x,), {"dim0": 0, "dim1": 2})
    part = g.call(OPS["getitem_slice"], (turned,), {"index": (slice(1, 9, 2), slice(None), slice(1, None))})
    flat = g.call(OPS["unsafe_view"], (turned,), {"shape": (60, 4)})
    wide = g.call(OPS["expand"], (g.call(OPS["unsqueeze"], (part,), {"dim": 0}),), {"shape": (3, *part.shape)})
    g.outputs = [
        g.call(OPS["mul"], (part, part), {}), g.call(OPS["exp"], (flat,), {}), g.call(OPS["neg"], (wide,), {}),
        g.call(OPS["unsafe_view"], (g.call(OPS["exp"], (turned,), {}),), {"shape": (15, 16)}),
    ]  # fmt: skip
    check(g, [a])


@pytest.mark.parametrize("op", ["sum", "mean", "amax", "amin", "prod", "all", "any", "count_nonzero", "var", "std"])
@pytest.mark.parametrize(
    "shape, dims",
    [
        ((), None), ((1,), None), ((5,), (0,)), ((9, 33), None), ((9, 33), (0,)), ((9, 33), (1,)), ((300, 3), (0,)),
        ((3, 300), (1,)), ((4, 3, 5, 7), (0, 2, 3)), ((4, 3, 5, 7), (1,)), ((4, 3, 5, 7), (1, 3)), ((6, 1, 8), (1,)),
        ((2, 130), (1,)), ((700, 300), (0,)), ((400, 500), None), ((3, 4, 7, 12), (0, 2, 3)),
        ((3, 2, 20, 20), (0, 2, 3)),
    ],
    ids=str,
)  # fmt: skip
def test_reductions(op, shape, dims):
    rng = np.random.default_rng(4)
    host = (op,) if op in ("var", "std", "mean") else ()
    for dtype in (F32, F64, I64, BOOL, BF16):
        takes = "biufV" if op in ("all", "any", "count_nonzero", "amax", "amin") else "fV" if op in host else "iufV"
        if dtype.kind not in takes or op == "prod" and dtype == BF16:
            continue
        g = Graph()
        x, a = given(g, rng, shape, dtype)
        params = {**OPS[op].defaults, "dim": dims}
        if dtype.kind in "biu" and op in ("sum", "prod"):
            x = g.call(OPS["cast"], (x,), {"dtype": I64})
        g.outputs = [g.call(OPS[op], (x,), params)]
        check(g, [a], tol=5 * tolerance(dtype), host=host if 1 in shape or not shape else ())


def test_nan_wins_an_extreme_and_infinities_stay():
    g = Graph()
    x, a = given(g, np.random.default_rng(5), (3, 40))
    a[0, 7], a[1, 3], a[2, 39] = np.nan, np.inf, -np.inf
    g.outputs = [g.call(OPS[op], (x,), {"dim": d, "keepdim": False}) for op in ("amax", "amin") for d in ((0,), (1,))]
    got = run_steps(g, schedule(g), [a])[0]
    for p, q in zip(interpret(g, [a])[0], got, strict=True):
        np.testing.assert_array_equal(q, p)


def test_empty_arrays_are_left_to_the_host():
    g = Graph()
    x, a = given(g, np.random.default_rng(6), (0, 4))
    g.outputs = [g.call(OPS["exp"], (x,), {}), g.call(OPS["sum"], (x,), {"dim": (0,), "keepdim": False})]
    check(g, [a], host=("exp", "sum"))


@pytest.mark.parametrize("dtype", [F32, F64, BF16], ids=str)
def test_softmax_rows_of_every_length(dtype):
    rng = np.random.default_rng(7)
    for n, dim in itertools.product((*SIZES, 1000), (0, 1)):
        g = Graph()
        x, a = given(g, rng, (n, 5) if dim == 0 else (5, n), dtype)
        top = g.call(OPS["amax"], (x,), {"dim": (dim,), "keepdim": True})
        e = g.call(OPS["exp"], (g.call(OPS["sub"], (x, top), {}),), {})
        g.outputs = [g.call(OPS["div"], (e, g.call(OPS["sum"], (e,), {"dim": (dim,), "keepdim": True})), {})]
        assert len(check(g, [a], tol=tolerance(dtype))) == 1


def test_rows_over_several_dims_that_fit_no_register():
    rng, g = np.random.default_rng(8), Graph()
    x, a = given(g, rng, (3, 5, 7, 41))
    mean = g.call(OPS["mean"], (x,), {"dim": (1, 3), "keepdim": True})
    d = g.call(OPS["exp"], (g.call(OPS["sub"], (x, mean), {}),), {})
    g.outputs = [g.call(OPS["div"], (d, g.call(OPS["sum"], (d,), {"dim": (1, 3), "keepdim": True})), {})]
    assert len(check(g, [a])) == 1


def cross_entropy_graph(n: int, classes: int, reduction: str, weighted: bool, extra: tuple[int, ...] = ()) -> Graph:
    """Loss and gradient of the scores, labels 2 ignored."""
    g = Graph()
    x = g.input(Spec((n, classes, *extra) if n else (classes,), F32))
    t = g.input(Spec((n, *extra) if n else (), I64))
    w = g.input(Spec((classes,), F32)) if weighted else None
    params = {"ignore_index": 2, "reduction": reduction}
    out, p = g.call(OPS["cross_entropy"], (x, t, w), params)
    up = Value(out.spec, data=np.full(out.shape, 0.5, np.float32))
    placed = g.call(OPS["nll_loss_grad"], (up, t, w), {"shape": x.shape, **params})
    total = g.call(OPS["sum"], (placed,), {"dim": (1 if n else 0,), "keepdim": True})
    g.outputs = [out, g.call(OPS["sub"], (placed, g.call(OPS["mul"], (p, total), {})), {})]
    return g


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("n, classes, extra", [(37, 10, ()), (0, 5, ()), (12, 65, ()), (6, 300, ()), (4, 3, (5,))])
def test_cross_entropy_and_its_gradient(n, classes, extra, reduction):
    rng = np.random.default_rng(9)
    for weighted in (False, True):
        g = cross_entropy_graph(n, classes, reduction, weighted, extra)
        arrays = [array(rng, g.inputs[0].shape, F32) * 3, np.asarray(rng.integers(0, classes, g.inputs[1].shape))]
        check(g, [*arrays, rng.random(classes).astype(np.float32)] if weighted else arrays)


def test_a_label_out_of_range_makes_the_loss_nan():
    g = cross_entropy_graph(8, 10, "mean", False)
    labels = np.array([0, 1, 2, 3, 4, 5, 6, 10])
    loss, _ = run_steps(g, schedule(g), [np.zeros((8, 10), np.float32), labels])[0]
    assert np.isnan(loss)


@pytest.mark.parametrize(
    "rows, columns, shape", [(65, 128, (4, 6)), (7, 5, (9,)), (10, 300, (3, 2)), (5, 1, (40,)), (3, 16, ())]
)
def test_embedding_and_its_gradient(rows, columns, shape):
    rng, g = np.random.default_rng(10), Graph()
    (w, a), (y, b) = given(g, rng, (rows, columns)), given(g, rng, (*shape, columns))
    index = g.input(Spec(shape, I64))
    params = {"padding_idx": 1, "scale_by_count": False}
    found = g.call(OPS["embedding"], (w, index), params)
    g.outputs = [
        g.call(OPS["mul"], (found, y), {}), g.call(OPS["embedding_grad"], (y, index), {"rows": rows, **params})
    ]  # fmt: skip
    check(g, [a, b, np.asarray(rng.integers(0, rows, shape))])


def test_a_row_that_is_not_there_is_nan():
    g = Graph()
    w, index = g.input(Spec((4, 20), F32)), g.input(Spec((3,), I64))
    g.outputs = [g.call(OPS["embedding"], (w, index), {"padding_idx": -1, "scale_by_count": False})]
    (got,), _ = run_steps(g, schedule(g), [np.ones((4, 20), np.float32), np.array([3, 4, -1])])
    assert (got[0] == 1).all() and np.isnan(got[1:]).all()


@pytest.mark.parametrize("op", ["tril", "triu"])
def test_triangles(op):
    rng = np.random.default_rng(11)
    for diagonal in (-2, 0, 3):
        g = Graph()
        x, a = given(g, rng, (2, 6, 19))
        g.outputs = [g.call(OPS[op], (x,), {"diagonal": diagonal})]
        check(g, [a])


@pytest.mark.parametrize("masked", ["", "float", "bool"])
@pytest.mark.parametrize("causal", [False, True])
def test_attention(masked, causal):
    rng, g = np.random.default_rng(12), Graph()
    inputs = [given(g, rng, (2, 3, 9, 16)) for _ in range(3)]
    if masked:
        inputs.append(given(g, rng, (9, 9), F32 if masked == "float" else BOOL))
    operands = [v for v, _ in inputs] + [None] * (5 - len(inputs))
    g.outputs = [g.call(OPS["attention"], tuple(operands), {"scale": 0.3, "causal": causal})[0]]
    check(g, [a for _, a in inputs])


def test_sums_over_very_many_are_added_up_in_two_steps():
    rng = np.random.default_rng(13)
    for shape, dims in [((600, 500), None), ((50176, 3), (0,)), ((4, 300, 200), (1, 2))]:
        for op in ("sum", "mean", "amax"):
            g = Graph()
            x, a = given(g, rng, shape)
            g.outputs = [g.call(OPS[op], (g.call(OPS["mul"], (x, x), {}),), {"dim": dims, "keepdim": False})]
            steps = check(g, [a], tol=1e-4)
            assert len(steps) == 2 and isinstance(steps[0], Kernel) and steps[0].chunks > 4


@pytest.mark.parametrize("op", ["cat", "stack"])
def test_arrays_side_by_side(op):
    rng = np.random.default_rng(14)
    for shape, dim, dtype in [
        ((4, 5), 0, F32), ((4, 5), 1, F32), ((3, 70, 6), 1, F64), ((300, 65), -1, I64), ((7,), 0, BOOL),
        ((5, 33), 1, BF16),
    ]:  # fmt: skip
        g = Graph()
        count = 3 if len(shape) > 1 else 40
        inputs = [given(g, rng, shape, dtype) for _ in range(count)]
        dims = len(shape) + (op == "stack")
        operands = [v for v, _ in inputs]
        if len(shape) == 2 and op == "cat" and dim % 2:  # a part of a larger array, in rows
            operands[0] = g.call(OPS["getitem_slice"], (operands[0],), {"index": (slice(None), slice(1, 4))})
        g.outputs = [g.call(OPS[op], (tuple(operands),), {"dim": dim % dims})]
        check(g, [a for _, a in inputs], tol=tolerance(dtype))


def test_a_result_known_early_keeps_off_what_is_read_late() -> None:
    """A row in registers is loaded in the first phase that needs it, which may come after a store."""
    graph, rng = Graph(), np.random.default_rng(0)
    (x, a), (y, b), (z, c) = (given(graph, rng, (6, 32)) for _ in range(3))
    early = graph.call(OPS["mul"], (x, y), {})
    total = graph.call(OPS["sum"], (early,), {"dim": (1,), "keepdim": True})
    late = graph.call(OPS["mul"], (graph.call(OPS["mul"], (total, early), {}), z), {})
    graph.outputs = [early, late]
    (kernel,) = check(graph, [a, b, c])
    read = kernel.reads.index(z)
    assert (kernel.writes.index(early), read) not in kernel.inplace
    assert (kernel.writes.index(late), read) in kernel.inplace


@pytest.mark.parametrize("dtype", [BF16, np.dtype(np.float16), np.dtype(np.int16), np.dtype(np.uint8), BOOL], ids=str)
@pytest.mark.parametrize("n", [1, 17, 33, 65])
def test_one_lane_of_a_narrow_dtype(dtype: Any, n: int) -> None:
    graph, rng = Graph(), np.random.default_rng(0)
    x, a = given(graph, rng, (5, n), dtype)
    chosen = graph.call(OPS["where"], (graph.call(OPS["gt"], (x, 0), {}), x, 0), {})
    graph.outputs = [chosen, graph.call(OPS["clone"], (graph.call(OPS["t"], (x,), {}),), {})]
    check(graph, [a], tol=0)


def normalised(g: Graph, x: Value, scale: Value, shape: tuple[int, ...]) -> tuple[Value, Value, Value]:
    """x less its mean over all but dim 1, that times `scale` behind a ReLU, and the mask of the ReLU."""
    mean = g.call(OPS["mean"], (x,), {"dim": (0, 2, 3), "keepdim": True})
    centred = g.call(OPS["sub"], (x, mean), {})
    out = g.call(OPS["relu"], (g.call(OPS["mul"], (centred, scale), {}),), {})
    return centred, out, g.call(OPS["gt"], (out, 0), {})


def stored_by(steps: list[Any]) -> set[Value]:
    return {v for s in steps for v in (s.writes if isinstance(s, Kernel) else s.call.results)}


@pytest.mark.parametrize("shape", [(32, 4, 32, 32), (24, 16, 20, 19), (96, 6, 16, 15)], ids=str)
def test_what_follows_from_kept_arrays_is_not_stored(shape: tuple[int, ...]) -> None:
    """The difference from the mean and a ReLU's mask, read on the other side of a product."""
    rng, g = np.random.default_rng(15), Graph()
    (x, a), (scale, b) = given(g, rng, shape), given(g, rng, (1, shape[1], 1, 1))
    w, c = given(g, rng, (shape[-1],) * 2)
    centred, out, mask = normalised(g, x, scale, shape)
    flat = g.call(OPS["unsafe_view"], (out,), {"shape": (out.shape[0] * out.shape[1] * out.shape[2], shape[-1])})
    back = g.call(OPS["unsafe_view"], (g.call(OPS["mm"], (flat, w), {}),), {"shape": shape})
    masked = g.call(OPS["mul"], (back, mask), {})
    total = g.call(OPS["sum"], (g.call(OPS["mul"], (masked, centred), {}),), {"dim": (0, 2, 3), "keepdim": True})
    g.outputs = [g.call(OPS["mul"], (g.call(OPS["mul"], (centred, total), {}), masked), {})]
    steps = check(g, [a, b, c], tol=5e-3)
    stored = stored_by(steps)
    assert out in stored and centred not in stored and mask not in stored


def test_what_others_than_loops_read_is_stored() -> None:
    """A product, rows that are looked up and the program's outputs need their arrays in memory."""
    rng, g = np.random.default_rng(16), Graph()
    shape = (16, 4, 32, 32)
    (x, a), (scale, b), (w, c) = given(g, rng, shape), given(g, rng, (1, 4, 1, 1)), given(g, rng, (32, 32))
    centred, out, mask = normalised(g, x, scale, shape)
    rows = g.call(OPS["unsafe_view"], (centred,), {"shape": (2048, 32)})
    index = g.input(Spec((7,), I64))
    g.outputs = [
        g.call(OPS["mm"], (rows, w), {}), mask, out,
        g.call(OPS["embedding"], (rows, index), {"padding_idx": -1, "scale_by_count": False}),
    ]  # fmt: skip
    steps = check(g, [a, b, c, rng.integers(0, 2048, 7)], tol=1e-4)
    assert {centred, mask, out} <= stored_by(steps)
