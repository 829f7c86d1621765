"""Native matrix products: every remainder, stride and batch against NumPy in float64."""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rushlight
from rushlight.compiler import target
from rushlight.compiler.access import Access, resolve, whole
from rushlight.compiler.binding import ir, is_available
from rushlight.compiler.graph import Graph, Value
from rushlight.compiler.interpret import interpret
from rushlight.compiler.kernels.epilogue import Epilogue
from rushlight.compiler.kernels.matmul import matmul_kernel, matmul_kernels
from rushlight.compiler.kernels.matmul_lowering import SEEDS
from rushlight.compiler.kernels.matmul_plan import Plan
from rushlight.ops.kinds import OPS
from rushlight.spec import Spec

pytestmark = pytest.mark.skipif(not is_available(), reason="needs llvmlite")
COMPILED: dict[str, int] = {}
BF16 = np.dtype(ml_dtypes.bfloat16)


def access(x):
    """The access that an array is, and the array that owns its memory."""
    owner = x
    while owner.base is not None:
        owner = owner.base
    root = Value(Spec(owner.shape, owner.dtype))
    start = x.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
    return Access(root, start, x.shape, x.strides, x.dtype), owner


def call(kernel, arrays, order=None):
    """Run a kernel on arrays by value."""
    key = f"{target.host()} {kernel.key}"
    if key not in COMPILED:
        module = ir.Module()
        kernel.build(module, "kernel")
        COMPILED[key] = target.load(target.compile_module(module))["kernel"]
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(COMPILED[key])
    used = [arrays[v] for v in (*kernel.reads, *kernel.writes)]
    slots = (ctypes.c_void_p * (len(used) + 1))(*(x.ctypes.data for x in used), 0)
    for chunk in range(kernel.chunks) if order is None else order(range(kernel.chunks)):
        function(slots, chunk)


def product(a, b, order=None, make=None, **options):
    """a @ b by a kernel, or by several: what the first ones leave for the last holds nans before."""
    (x, x_owner), (y, y_owner) = access(a), access(b)
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
    out = np.full(shape, np.nan).astype(a.dtype)
    z = Value(Spec(out.shape, out.dtype))
    known = {x.root: x_owner, y.root: y_owner, z: out}
    for kernel in make(x, y, z, **options) if make else [matmul_kernel(x, y, z, **options)]:
        known |= {v: np.full(v.shape, np.nan, v.dtype) for v in kernel.writes if v not in known}
        call(kernel, known, order)
    return out


def check(a, b, **options):
    got = product(a, b, **options)
    wide = np.matmul(a.astype(np.float64), b.astype(np.float64))
    k = a.shape[-1]
    size = np.matmul(np.abs(a.astype(np.float64)), np.abs(b.astype(np.float64)))
    steps = {4: 2**-23, 8: 2**-52}[a.dtype.itemsize]
    assert got.shape == wide.shape
    assert (np.abs(got - wide) <= (k + 2) * steps * size + 1e-300).all()


def draw(rng, shape, dtype, layout="c"):
    """Random numbers: row-major, transposed, or every other row and column of a larger array."""
    *lead, m, n = shape
    if layout == "t":
        return rng.standard_normal((*lead, n, m)).astype(dtype).swapaxes(-1, -2)
    if layout == "s":
        large = rng.standard_normal((*lead, 2 * m + 1, 3 * n + 2)).astype(dtype)
        return large[..., 1 : 2 * m + 1 : 2, 1 : 3 * n + 1 : 3]
    if layout == "r":
        return rng.standard_normal((*lead, m + 3, n + 5)).astype(dtype)[..., 2 : m + 2, 3 : n + 3]
    return rng.standard_normal(shape).astype(dtype)


SIZES = [
    (1, 1, 1), (1, 1, 40), (1, 17, 5), (17, 1, 33), (5, 7, 0), (3, 33, 1), (13, 31, 15), (16, 16, 16), (15, 17, 16),
    (31, 47, 17), (33, 10, 64), (10, 33, 64), (64, 65, 31), (30, 16, 100), (61, 49, 48), (2, 129, 70), (129, 3, 70),
]  # fmt: skip


@pytest.mark.parametrize("m,n,k", SIZES)
def test_layouts(m, n, k):
    rng = np.random.default_rng(m * 100 + n * 10 + k)
    for left, right in ("cc", "ct", "tc", "tt", "ss", "rr"):
        check(draw(rng, (m, k), np.float32, left), draw(rng, (k, n), np.float32, right))


@pytest.mark.parametrize("layouts", ["cc", "ct", "tc", "tt", "sr"])
def test_double(layouts):
    rng = np.random.default_rng(1)
    for m, n, k in ((1, 9, 20), (9, 1, 20), (13, 27, 33), (40, 40, 8)):
        check(draw(rng, (m, k), np.float64, layouts[0]), draw(rng, (k, n), np.float64, layouts[1]))


def check_half(a, b, **options):
    """float32 sums, rounded once."""
    got = product(a, b, **options)
    a, b = a.astype(np.float64), b.astype(np.float64)
    want, size = np.matmul(a, b), np.matmul(np.abs(a), np.abs(b))
    step = 2.0**-8 if got.dtype == BF16 else 2.0**-11
    assert (np.abs(got.astype(np.float64) - want) <= step * np.abs(want) + (a.shape[-1] + 2) * 2**-23 * size).all()


@pytest.mark.parametrize("dtype", [BF16, np.dtype(np.float16)], ids=str)
def test_half_precision(dtype):
    rng = np.random.default_rng(2)
    for host in (target.host(), *target.narrower()[:1]):
        with target.use(host):
            for m, n, k in ((19, 37, 45), (1, 21, 64), (33, 1, 71), (5, 40, 1), (40, 3, 300), (3, 35, 2)):
                for left, right in ("cc", "ct", "tc", "ss"):
                    check_half(draw(rng, (m, k), dtype, left), draw(rng, (k, n), dtype, right))
            check_half(draw(rng, (3, 9, 33), dtype), draw(rng, (3, 33, 7), dtype, "t"))
            check_half(draw(rng, (70, 4097), dtype), draw(rng, (4097, 20), dtype))


def test_half_precision_like_pytorch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    a, b = draw(rng, (70, 300), BF16), draw(rng, (300, 90), BF16)
    a[3, 2], b[1, 20], b[4, 7] = np.inf, np.nan, -np.inf
    x, y = (torch.from_numpy(v.view(np.int16)).view(torch.bfloat16) for v in (a, b))
    want = (x @ y).float().numpy()
    got = product(a, b).astype(np.float32)
    np.testing.assert_allclose(got, want, rtol=2**-7, atol=2**-9)


@pytest.mark.parametrize(
    "left,right",
    [
        ((3, 9, 20), (3, 20, 17)), ((5, 1, 4, 8), (3, 8, 5)), ((2, 3, 9, 20), (20, 33)), ((7, 40), (4, 40, 10)),
        ((48, 9, 16), (48, 16, 9)), ((1, 6, 5), (4, 5, 6)), ((2, 1, 3, 5, 6), (2, 4, 1, 6, 7)),
    ],
)  # fmt: skip
def test_batches(left, right):
    rng = np.random.default_rng(3)
    for layouts in ("cc", "ct", "tc", "ss"):
        check(draw(rng, left, np.float32, layouts[0]), draw(rng, right, np.float32, layouts[1]))
    # heads of one projection: batch dims interleaved with rows
    x = rng.standard_normal((2, 7, 3, 8)).astype(np.float32).transpose(0, 2, 1, 3)
    check(x, x.swapaxes(-1, -2))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 70), st.integers(1, 70), st.integers(0, 70), st.sampled_from(["cc", "ct", "tc", "tt", "sr"]),
    st.sampled_from([(), (3,)]),
)  # fmt: skip
def test_random(m, n, k, layouts, batch):
    rng = np.random.default_rng(m + 71 * n + 71 * 71 * k)
    check(draw(rng, (*batch, m, k), np.float32, layouts[0]), draw(rng, (*batch, k, n), np.float32, layouts[1]))


def test_long_sums():
    """Sums in parts, and left operands whose rows fall on the same lines of the cache."""
    rng = np.random.default_rng(4)
    check(draw(rng, (70, 4096), np.float32), draw(rng, (50, 4096), np.float32).T)
    check(draw(rng, (40, 3001), np.float32), draw(rng, (3001, 40), np.float32, "s"))
    check(draw(rng, (1, 5000), np.float32), draw(rng, (5000, 1), np.float32))


@pytest.mark.parametrize("form", ["rows", "turned"])
@pytest.mark.parametrize("pack_a,pack_b", [("", "gather"), ("turn", "turn"), ("gather", "turn"), ("turn", "gather")])
@pytest.mark.parametrize("sets,depth", [(1, 37), (3, 37), (1, 16)])
def test_every_plan(form, pack_a, pack_b, sets, depth):
    rng = np.random.default_rng(5)
    a, b = draw(rng, (21, 37), np.float32), draw(rng, (35, 37), np.float32).T
    check(a, b, plan=Plan(form, 4, 1, sets, pack_a, pack_b, depth, (8, 16, 1), 0.0))
    wide = 1 if sets == 3 else 2
    check(a, b, plan=Plan(form, 3, wide, sets, pack_a, pack_b, depth, (21 if form == "rows" else 36, 64, 1), 0.0))


TURN, COPY, GATHER = "turn", "copy", "gather"
LAYOUTS = {
    "rows": {"cc": (TURN, COPY), "ct": (TURN, TURN), "tc": (COPY, COPY), "ss": (GATHER, GATHER)},
    "turned": {"cc": (COPY, TURN), "ct": (TURN, TURN), "tt": (TURN, COPY), "ss": (GATHER, GATHER)},
}


@pytest.mark.parametrize("dtype", [np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.float16), BF16], ids=str)
@pytest.mark.parametrize("form", ["rows", "turned"])
def test_an_operand_packed_before(form, dtype):
    rng = np.random.default_rng(11)
    size = 8 if dtype.itemsize == 8 else 16
    for (layout, packs), batch, k in itertools.product(LAYOUTS[form].items(), ((), (3,)), (73, 16)):
        for rows, depth in ((4, 16), (9, 1000)):
            plan = Plan(
                form,
                rows,
                1,
                1,
                *packs,
                min(depth, -(-k // 2) if dtype == BF16 else k),
                (3 * rows, 2 * size, 1),
                0,
                True,
            )
            a, b = draw(rng, (*batch, 21, k), dtype, layout[0]), draw(rng, (*batch, k, 35), dtype, layout[1])
            (check_half if dtype.itemsize == 2 else check)(a, b, make=matmul_kernels, plan=plan)


def test_large_transposed_operands_are_packed_before():
    """Steps of a page each drive one another out of the cache."""
    rng = np.random.default_rng(12)
    a, b = draw(rng, (1024, 1030), np.float32)[:, :64].T, draw(rng, (1024, 40), np.float32)
    check(a, b, make=matmul_kernels)
    plans = {}
    for n in (40, 1024):
        (x, _), (y, _) = access(np.empty((2048, 1024), np.float32).T), access(np.empty((2048, n), np.float32))
        plans[n] = len(matmul_kernels(x, y, Value(Spec((1024, n), np.dtype(np.float32)))))
    assert plans == {40: 1, 1024: 2} or target.host().vector_bytes < 64


def test_infinity_stays_where_it_is():
    """Nothing outside the operands takes part: 0 * inf in a remainder would be nan."""
    for k, layouts in itertools.product((5, 16, 33), ("cc", "ct", "tc", "tt")):
        rng = np.random.default_rng(k)
        a, b = draw(rng, (9, k), np.float32, layouts[0]), draw(rng, (k, 21), np.float32, layouts[1])
        a[3, 2], b[1, 20], b[4, 7] = np.inf, np.nan, -np.inf
        with np.errstate(invalid="ignore"):
            want = a.astype(np.float64) @ b.astype(np.float64)
        np.testing.assert_allclose(product(a, b), want, rtol=1e-4, atol=1e-4)


def test_bits_do_not_depend_on_the_order_of_chunks():
    rng = np.random.default_rng(6)
    for a, b in ((draw(rng, (200, 300), np.float32), draw(rng, (300, 210), np.float32, "t")),
                 (draw(rng, (40, 30, 60), np.float32), draw(rng, (40, 60, 30), np.float32))):  # fmt: skip
        want = product(a, b)
        assert (product(a, b, order=reversed) == want).all()
        assert (product(a, b, order=lambda chunks: rng.permutation(chunks).tolist()) == want).all()


def test_narrower_vectors():
    """The same code for machines with fewer and shorter registers."""
    rng = np.random.default_rng(7)
    for host in target.narrower():
        with target.use(host):
            for layouts in ("cc", "ct", "tc", "tt", "ss"):
                for m, n, k in ((13, 27, 19), (1, 40, 9), (40, 1, 9), (17, 10, 33)):
                    check(draw(rng, (m, k), np.float32, layouts[0]), draw(rng, (k, n), np.float32, layouts[1]))
                check(draw(rng, (9, 9), np.float64, layouts[0]), draw(rng, (9, 9), np.float64, layouts[1]))


@pytest.mark.parametrize("m,n,k", [(20, 35, 9), (64, 10, 40), (32, 64, 300), (40, 1, 33), (3, 5, 64)])
@pytest.mark.parametrize("layouts", ["cc", "ct", "tc", "tt"])
def test_epilogue(m, n, k, layouts):
    """Bias along columns, a factor along rows, a transposed operand; two results, one of them a mask."""
    rng = np.random.default_rng(8)
    a, b = draw(rng, (m, k), np.float32, layouts[0]), draw(rng, (k, n), np.float32, layouts[1])
    bias, factor, other = (rng.standard_normal(s).astype(np.float32) for s in (n, (m, 1), (n, m)))
    (x, xs), (y, ys) = access(a), access(b)
    values = [Value(Spec(v.shape, v.dtype)) for v in (bias, factor, other)]
    inputs = (
        Access(values[0], 0, (m, n), (0, 4), bias.dtype),
        Access(values[1], 0, (m, n), (4, 0), bias.dtype),
        Access(values[2], 0, (m, n), (4, 4 * m), bias.dtype),
    )
    first, second = Value(Spec((m, n), np.dtype(np.bool_))), Value(Spec((m, n), np.dtype(np.float32)))

    def emit(_, numbers, operands):
        total = (numbers + operands[0]) * operands[1] + operands[2]
        return [total > 0, total]

    epilogue = Epilogue(emit, inputs, (first, second), "test")
    mask, total = np.zeros((m, n), np.bool_), np.zeros((m, n), np.float32)
    arrays = {
        x.root: xs,
        y.root: ys,
        first: mask,
        second: total,
        **dict(zip(values, (bias, factor, other), strict=True)),
    }
    call(matmul_kernel(x, y, Value(Spec((m, n), np.dtype(np.float32))), epilogue=epilogue), arrays)
    want = (a.astype(np.float64) @ b + bias) * factor + other.T
    np.testing.assert_allclose(total, want, rtol=1e-4, atol=1e-4)
    assert (mask == (total > 0)).all()


def test_weight_update_in_place():
    """An optimizer's step on a weight gradient: parameter and momentum are read and written."""
    rng = np.random.default_rng(9)
    g, x = draw(rng, (50, 33), np.float32), draw(rng, (50, 70), np.float32)
    p, v = rng.standard_normal((33, 70)).astype(np.float32), rng.standard_normal((33, 70)).astype(np.float32)
    want_v = 0.9 * v + g.T @ x
    want_p = p - 0.1 * want_v
    (a, a_owner), (b, b_owner) = access(g.T), access(x)
    old = [Value(Spec(p.shape, p.dtype)) for _ in range(2)]
    new = [Value(Spec(p.shape, p.dtype)) for _ in range(2)]

    def emit(_, gradient, operands):
        moved = operands[1] * 0.9 + gradient
        return [operands[0] - moved * 0.1, moved]

    epilogue = Epilogue(emit, tuple(map(whole, old)), tuple(new), "momentum")
    kernel = matmul_kernel(a, b, new[0], epilogue=epilogue)
    assert {(0, 2), (1, 3)} <= set(kernel.inplace)
    call(kernel, {a.root: a_owner, b.root: b_owner, old[0]: p, old[1]: v, new[0]: p, new[1]: v})
    np.testing.assert_allclose(v, want_v, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(p, want_p, rtol=1e-4, atol=1e-4)


GUARDED = """
import itertools
import os
import subprocess
import sys
from pathlib import Path
import ml_dtypes
import numpy as np
from rushlight.compiler import program
from rushlight.compiler.graph import Graph
from rushlight.compiler.schedule import schedule
from rushlight.ops.kinds import OPS
from rushlight.spec import Spec

for dtype, side in (("float32", "after"), ("float64", "before"), ("float16", "after"), ("bfloat16", "after")):
    graph, arrays = Graph(), []
    rng = np.random.default_rng(0)
    sizes = [(3, 5, 7), (33, 17, 18), (30, 10, 33), (1, 40, 19), (40, 1, 19)]
    if dtype == "bfloat16":
        sizes += [(3, 5, 8), (1, 3, 65), (17, 33, 1)]
    for (m, n, k), turned in itertools.product(sizes, range(4)):
        if dtype in ("float64", "float16") and m != 33:
            continue
        pair = []
        for i, shape in enumerate([(m, k), (k, n)]):
            flip = turned >> i & 1
            arrays.append(rng.standard_normal(shape[::-1] if flip else shape).astype(dtype))
            x = graph.input(Spec(arrays[-1].shape, arrays[-1].dtype))
            pair.append(graph.call(OPS["t"], (x,), {}) if flip else x)
        graph.outputs.append(graph.call(OPS["mm"], tuple(pair), {}))
    steps = schedule(graph)
    assert all(type(s).__name__ == "Kernel" for s in steps)
    built = program.build(graph, steps, guard=side)
    outs = [np.empty(v.shape, v.dtype) for v in graph.outputs]
    for i, x in enumerate(arrays):
        built.bind(i, x)
    for i, x in enumerate(outs):
        built.set_output(i, x)
    built.run()
    for call, out in zip((c for c in graph.calls if c.op.name == "mm"), outs):
        a, b = (arrays[graph.inputs.index(v)] if v.is_input else arrays[graph.inputs.index(v.call.operands[0])].T
                for v in call.operands)
        want = a.astype("float64") @ b.astype("float64")
        error = {"float16": 3e-2, "bfloat16": 0.2}.get(dtype, 1e-4)
        assert np.allclose(out.astype("float64"), want, atol=error)
"""


def test_nothing_outside_the_buffers_is_touched():
    subprocess.run([sys.executable, "-c", GUARDED], check=True, timeout=60, env=environment())


def environment():
    """The environment of a process that imports this package."""
    places = [str(Path(target.__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places)}


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_eager_half_precision_is_rounded_once(kind):
    """A layer's map, bias included, and its gradients: what float64 gives, rounded to half precision."""
    rng = np.random.default_rng(13)
    arrays = [rng.standard_normal(s).astype(np.float32) for s in ((100, 130), (90, 130), (90,))]
    dtype = getattr(rushlight, kind)
    x, w, b = (rushlight.tensor(v).to(dtype).requires_grad_() for v in arrays)
    out = rushlight.nn.functional.linear(x, w, b)
    seed = rushlight.tensor(rng.standard_normal((100, 90)).astype(np.float32)).to(dtype)
    out.backward(seed)
    g, x64, w64, b64 = (v.detach().double().numpy() for v in (seed, x, w, b))
    step = 2.0**-8 if kind == "bfloat16" else 2.0**-11
    for got, want in ((out, x64 @ w64.T + b64), (x.grad, g @ w64), (w.grad, g.T @ x64), (b.grad, g.sum(0))):
        assert got.dtype == dtype
        error = np.abs(got.detach().double().numpy() - want)
        assert (error <= step * np.abs(want) + 1e-4).all()


@pytest.mark.parametrize("shape", [(30, 20), (20,), (30, 1), ()])
def test_addmm(shape):
    rng = np.random.default_rng(10)
    graph = Graph()
    arrays = [rng.standard_normal(s).astype(np.float32) for s in (shape, (30, 40), (40, 20), (20, 40))]
    c, x, y, z = (graph.input(Spec(v.shape, v.dtype)) for v in arrays)
    turned = graph.call(OPS["t"], (z,), {})
    for right, alpha, beta in ((y, 1, 1), (turned, 0.5, -2), (turned, 2, 0)):
        graph.outputs.append(graph.call(OPS["addmm"], (c, x, right), {"alpha": alpha, "beta": beta}))
    known = dict(zip(graph.inputs, arrays, strict=True))
    for v in graph.outputs:
        (kernel,) = SEEDS["addmm"](v.call, resolve)
        known[v] = np.full(v.shape, np.nan, np.float32)
        call(kernel, known)
    for v, want in zip(graph.outputs, interpret(graph, arrays)[0], strict=True):
        np.testing.assert_allclose(known[v], want, rtol=1e-4, atol=1e-4)


def test_what_has_no_kernel():
    graph = Graph()
    whole_numbers = [graph.input(Spec((4, 4), np.dtype(np.int64))) for _ in range(2)]
    empty = [graph.input(Spec(s, np.dtype(np.float32))) for s in ((0, 4), (4, 4))]
    for pair in (whole_numbers, empty):
        assert SEEDS["mm"](graph.call(OPS["mm"], tuple(pair), {}).call, resolve) is None
