"""Attention kernels against the bodies of the ops and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight.compiler import program
from rushlight.compiler.binding import is_available
from rushlight.compiler.graph import Graph
from rushlight.compiler.interpret import interpret
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.kernels.attention_backward import FOLDED
from rushlight.compiler.kernels.attention_lowering import MOST_FEATURES
from rushlight.compiler.passes.layouts import LEAST_QUERIES, attention_grad_laid, attention_laid
from rushlight.compiler.schedule import schedule
from rushlight.ops import native
from rushlight.ops.attention import attention, attention_grad
from rushlight.spec import Spec

pytestmark = pytest.mark.skipif(not is_available(), reason="llvmlite is not installed")

F = rushlight.nn.functional
# Relative to the largest number of a result.
CLOSE = {"f4": 4e-6, "f8": 1e-14}


def traced(op: Any, arrays: list[Any], params: dict[str, Any]) -> tuple[Graph, list[Any]]:
    """The graph of one call, and its inputs."""
    graph = Graph()
    values = []
    for a in arrays:
        strides = None if a is None or a.flags.c_contiguous else a.strides
        values.append(None if a is None else graph.input(Spec(a.shape, a.dtype), strides=strides))
    graph.outputs = list(graph.call(op, tuple(values), params))
    return graph, [a for a in arrays if a is not None]


def check(op: Any, arrays: list[Any], params: dict[str, Any], guard: str = "") -> list[Any]:
    """Fails unless kernels alone give what the body gives; what that is."""
    graph, inputs = traced(op, arrays, params)
    steps = schedule(graph)
    assert all(isinstance(step, Kernel) for step in steps)
    got = program.build(graph, steps, guard=guard)(*inputs)
    right = interpret(graph, inputs)[0]
    for x, y in zip(got, right, strict=True):
        scale = max(1.0, np.nanmax(np.abs(y), initial=0.0))
        np.testing.assert_allclose(x, y, rtol=0, atol=CLOSE[y.dtype.str[1:]] * scale)
    return right


def operands(shape: tuple[Any, ...], dtype: str = "f4", mask: str = "", drop: bool = False, lay: str = "") -> list[Any]:
    """q, k, v, mask, factors of dropout and g for (lead, queries, keys, features, values)."""
    lead, rows, columns, features, values = shape
    rng = np.random.default_rng(rows * columns)

    def numbers(*sizes: int) -> Any:
        if lay == "heads":  # [batch, tokens, heads, features], heads first
            return rng.standard_normal((*lead[:-1], sizes[0], *lead[-1:], sizes[1])).astype(dtype).swapaxes(-3, -2)
        if lay == "turned":
            return rng.standard_normal((*lead, *sizes[::-1])).astype(dtype).swapaxes(-1, -2)
        if lay == "spread":
            return np.broadcast_to(rng.standard_normal((*sizes[:1], 1)).astype(dtype), (*lead, *sizes))
        return rng.standard_normal((*lead, *sizes)).astype(dtype)

    masks = {
        "": lambda: None,
        "bool": lambda: rng.random((*lead, rows, columns)) > 0.3,
        "float": lambda: rng.standard_normal((rows, columns)).astype(dtype),
        "turned": lambda: rng.standard_normal((columns, rows)).astype(dtype).T,
        "padding": lambda: rng.random((*lead[:1], *[1] * len(lead), columns)) > 0.4,
        "hidden": lambda: np.where(rng.random((rows, columns)) > 0.4, 0, -np.inf).astype(dtype),
    }
    allowed = masks[mask]()
    if mask in ("bool", "hidden"):
        allowed[..., rows // 2, :] = False if mask == "bool" else -np.inf
    factors = (rng.random((*lead, rows, columns)) > 0.4).astype(dtype) / np.dtype(dtype).type(0.6) if drop else None
    return [
        numbers(rows, features), numbers(columns, features), numbers(columns, values), allowed, factors,
        numbers(rows, values),
    ]  # fmt: skip


def check_both(
    shape: tuple[Any, ...], causal: bool = False, mask_needs: bool = False, guard: str = "", **more: Any
) -> None:
    """Forward and backward."""
    *given, g = operands(shape, **more)
    scale = 1 / shape[3] ** 0.5
    out = check(attention, given, {"scale": scale, "causal": causal}, guard)
    params = {"scale": scale, "causal": causal, "mask_needs": mask_needs}
    check(attention_grad, [g, *given, *out], params, guard)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(
    "shape",
    [
        ((2, 3), 64, 64, 32, 32), ((), 2, 1, 1, 1), ((3,), 5, 70, 3, 18), ((1, 2), 37, 53, 19, 21),
        ((2,), 133, 9, 65, 16), ((), 300, 290, 24, 24),
    ],
)  # fmt: skip
def test_sizes(shape, dtype):
    check_both(shape, dtype=dtype)
    check_both(shape, dtype=dtype, causal=True)


@pytest.mark.parametrize("mask", ["bool", "float", "turned", "padding", "hidden"])
def test_masks_and_dropout(mask):
    needs = mask in ("float", "turned", "hidden")
    check_both(((2, 2), 21, 35, 20, 12), mask=mask, mask_needs=needs)
    check_both(((2, 1), 67, 150, 8, 8), mask=mask, mask_needs=needs, drop=True)
    check_both(((2,), 140, 67, 8, 8), mask=mask, causal=True)


@pytest.mark.parametrize("rows", [1, 4, LEAST_QUERIES - 1, LEAST_QUERIES])
def test_few_queries(rows):
    check_both(((2, 3), rows, 70, 16, 24))
    check_both(((2,), rows, 70, 16, 24), mask="hidden", mask_needs=True, drop=True, dtype="f8")
    check_both(((2,), rows, 9, 16, 8), mask="bool", causal=True, guard="after")
    *given, _ = operands(((2,), rows, 3, MOST_FEATURES + 1, 2), mask="padding")
    check(attention, given, {"scale": 0.01, "causal": False})


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("rows", [3, 20])
def test_half_precision_is_computed_in_float32(dtype, rows):
    rushlight.manual_seed(1)
    kind = getattr(rushlight, dtype)
    q, k, v = (rushlight.randn(2, 3, n, 16).to(kind).requires_grad_() for n in (rows, 30, 30))
    mask = rushlight.randn(rows, 30).to(kind)

    def step() -> Any:
        out = F.scaled_dot_product_attention(q, k, v, mask)
        return out, *rushlight.autograd.grad((out.float() ** 2).sum(), (q, k, v))

    compiled = rushlight.compile(step)
    got = compiled()
    assert all(isinstance(s, Kernel) for s in compiled.traces[-1].steps)
    for a, b in zip(got, step(), strict=True):
        assert a.dtype == kind
        np.testing.assert_allclose(a.detach().float().numpy(), b.detach().float().numpy(), rtol=0.02, atol=0.03)


@pytest.mark.parametrize("tokens", [5, 40])
def test_inference_holds_no_matrix_of_scores_but_for_few_queries(tokens):
    x = rushlight.randn(2, 2, tokens, 8)
    compiled = rushlight.compile(lambda: F.scaled_dot_product_attention(x, x, x, is_causal=True))
    np.testing.assert_allclose(
        compiled().numpy(), F.scaled_dot_product_attention(x, x, x, is_causal=True).numpy(), rtol=1e-5, atol=1e-6
    )
    names = [s.name for s in compiled.traces[-1].steps]
    assert any(n.startswith("attention") for n in names) == (tokens >= LEAST_QUERIES), names


@pytest.mark.parametrize("lay", ["heads", "turned", "spread"])
def test_strides_are_taken_as_they_are(lay):
    check_both(((2, 3), 37, 45, 19, 19), lay=lay)
    check_both(((2, 3), 150, 150, 16, 16), lay=lay, causal=True, drop=True)


@pytest.mark.parametrize("guard", ["after", "before"])
def test_nothing_outside_is_touched(guard):
    check_both(((2, 3), 37, 53, 19, 21), guard=guard, mask="bool", lay="heads", drop=True)
    check_both(((3,), 150, 170, 33, 9), guard=guard, causal=True)
    check_both(((), 7, 150, 40, 5), guard=guard, mask="float", mask_needs=True, dtype="f8")
    check_both(((2,), 35, 21, 17, 31), guard=guard, mask="padding", lay="turned")


def test_large_scores_and_nan():
    q, k, v, _, _, g = operands(((2,), 20, 40, 8, 8), "f8")
    params = {"scale": 30.0, "causal": False}
    out = check(attention, [q * 30, k * 30, v, None, None], params)
    assert np.isfinite(out[0]).all()
    q[0, 3], k[1, 5] = np.nan, np.inf
    out = check(attention, [q, k, v, None, None], params)
    assert np.isnan(out[0][0, 3]).all() and np.isfinite(out[0][0, 4:]).all()
    # keys that a boolean mask hides do not matter, whatever they are
    allowed = np.ones((20, 40), bool)
    allowed[:, 5] = False
    hidden = check(attention, [np.nan_to_num(q), k, v, allowed, None], params)
    assert np.isfinite(hidden[0]).all()
    params["scale"] = 1.0
    out = check(attention, [q, k, v, None, None], params)
    check(attention_grad, [g, q, k, v, None, None, *out], {**params, "mask_needs": False})


def test_any_number_of_threads_gives_the_same_bits():
    *given, g = operands(((1, 2), 200, 210, 16, 16))
    params = {"scale": 0.25, "causal": True}
    out = attention.eager(tuple(given), params)
    before = rushlight.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            rushlight.set_num_threads(threads)
            for op, arrays, more in (
                (attention, given, {}),
                (attention_grad, [g, *given, *out], {"mask_needs": False}),
            ):
                graph, inputs = traced(op, arrays, params | more)
                results.append([a.tobytes() for a in program.build(graph, schedule(graph))(*inputs)])
    finally:
        rushlight.set_num_threads(before)
    assert results[::2] == results[:1] * 3 and results[1::2] == results[1:2] * 3


@pytest.mark.parametrize("causal", [False, True])
def test_long_sequences_need_memory_of_their_length(causal):
    n, features = 4096, 16
    *given, g = operands(((1,), n, n, features, features))
    params = {"scale": 0.25, "causal": causal}
    graph, inputs = traced(attention, given, params)
    made = program.build(graph, schedule(graph))
    out = made(*inputs)
    graph, inputs = traced(attention_grad, [g, *given, *out], {**params, "mask_needs": False})
    back = program.build(graph, schedule(graph))
    assert made.plan.arena < 64 * n and back.plan.arena < 32 * 4 * n * features
    grads = back(*inputs)
    rows = slice(2048, 2304)
    q, k, v = (a.astype("f8")[0] for a in given[:3])
    s = q[rows] @ k.T * 0.25
    if causal:
        s = np.where(np.arange(n) > np.arange(2048, 2304)[:, None], -np.inf, s)
    p = np.exp(s - np.log(np.exp(s).sum(-1, keepdims=True)))
    np.testing.assert_allclose(out[0][0, rows], p @ v, atol=2e-6)
    slope = g[0, rows].astype("f8") @ v.T
    slope = p * (slope - (slope * p).sum(-1, keepdims=True))
    np.testing.assert_allclose(grads[0][0, rows], slope @ k * 0.25, atol=2e-6)
    # each row of weights sums to 1, and each row of slopes to 0
    np.testing.assert_allclose(grads[2].sum((0, 1)), g.sum((0, 1)), atol=2e-3)


def as_step(compiled: bool) -> Any:
    def step(x: Any, weight: Any, mask: Any, causal: bool) -> Any:
        b, t, c = x.shape
        q, k, v = (u.view(b, t, 4, c // 4).transpose(1, 2) for u in (x @ weight).split(c, 2))
        out = F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal).transpose(1, 2).reshape(b, t, c)
        return rushlight.autograd.grad((out * out).sum(), (x, weight) if mask is None else (x, weight, mask))

    return rushlight.compile(step) if compiled else step


@pytest.mark.parametrize("kind", ["plain", "causal", "mask"])
def test_compiled_steps_have_no_host_calls(kind):
    rushlight.manual_seed(0)
    x, weight = rushlight.randn(2, 30, 48, requires_grad=True), rushlight.randn(48, 144, requires_grad=True)
    mask = rushlight.randn(30, 30, requires_grad=True) if kind == "mask" else None
    step = as_step(True)
    got = step(x, weight, mask, kind == "causal")
    assert all(isinstance(s, Kernel) for s in step.traces[-1].steps)
    assert sum("attention" in s.name for s in step.traces[-1].steps) >= 2
    for a, b in zip(got, as_step(False)(x, weight, mask, kind == "causal"), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-4 * float(b.abs().max()))


def split(x: Any, heads: int) -> Any:
    """Queries, keys and values side by side in the features."""
    b, t, c = x.shape
    return tuple(u.view(b, t, heads, c // 3 // heads).transpose(1, 2) for u in x.split(c // 3, 2))


def unbound(x: Any, heads: int) -> Any:
    """A dim that says which."""
    b, t, c = x.shape
    return x.reshape(b, t, 3, heads, c // 3 // heads).permute(2, 0, 3, 1, 4).unbind(0)


def tokens_first(x: Any, heads: int) -> Any:
    """As multi-head attention has it: tokens, then the batch."""
    x = x.transpose(0, 1)
    t, b, c = x.shape
    parts = (u.reshape(t, b * heads, c // 3 // heads) for u in x.chunk(3, -1))
    return tuple(u.transpose(0, 1).view(b, heads, t, c // 3 // heads) for u in parts)


CUTS = {"split": split, "unbound": unbound, "tokens first": tokens_first}


@pytest.mark.parametrize("cut", CUTS.values(), ids=list(CUTS))
@pytest.mark.parametrize("sizes", [(4, 30, 4, 8), (16, 17, 1, 19), (1, 5, 16, 3), (2, 20, 3, 8)], ids=str)
def test_results_are_written_where_they_are_wanted(cut, sizes):
    batch, tokens, heads, features = sizes
    width = heads * features
    rushlight.manual_seed(0)
    x, weight = rushlight.randn(batch, tokens, width), rushlight.randn(width, 3 * width, requires_grad=True)

    def step() -> Any:
        q, k, v = cut(x @ weight, heads)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        out = out.permute(2, 0, 1, 3) if cut is tokens_first else out.transpose(1, 2)
        out = out.reshape(-1, width)
        return rushlight.autograd.grad((out * out * 0.5).sum(), weight), out

    compiled = rushlight.compile(step)
    (got,), out = compiled()
    (want,), right = step()
    np.testing.assert_allclose(out.detach().numpy(), right.detach().numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-4, atol=1e-4 * float(want.abs().max()))
    names = [s.name for s in compiled.traces[-1].steps]
    joins = [n for n in names if n.startswith(("cat", "stack", "unsafe_view"))]
    assert (not joins) == (batch * heads >= 16), names


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_laid_out_results(dtype):
    shape = ((4, 4), 37, 37, 19, 19)
    *given, g = operands(shape, dtype, mask="bool", drop=True, lay="heads")
    params = {"scale": 0.3, "causal": False}
    for order in ((0, 2, 1, 3), (2, 0, 1, 3), (1, 2, 0, 3)):
        check(attention_laid, given, {**params, "order": order}, "after")
    out = check(attention, given, params)
    for orders in (((1, 3, 0, 2, 4),), ((3, 1, 0, 2, 4),), ((0, 2, 1, 3), (0, 1, 2, 3), (2, 0, 1, 3))):
        check(attention_grad_laid, [g, *given, *out], {**params, "orders": orders}, "after")


@pytest.mark.parametrize("rows", [FOLDED, FOLDED + 3])
def test_few_and_many_rows_of_products(rows):
    check_both(((2,), rows, 40, 8, 8), causal=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["plain", "causal", "bool", "float"])
def test_large_eager_calls_beside_pytorch(kind, dtype):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(5)
    arrays = [rng.standard_normal((2, 4, n, 48)) for n in (60, 75, 75, 60)]
    allowed = rng.random((60, 75)) > 0.5
    allowed[7] = False
    assert arrays[0].size >= native.FLOORS["attention"]
    results = []
    for lib in (rushlight, torch):
        q, k, v, g = (lib.tensor(a, dtype=getattr(lib, dtype)) for a in arrays)
        mask = lib.tensor(allowed if kind == "bool" else arrays[1][0, 0, :60, :1] + np.zeros(75), dtype=None)
        mask = None if kind in ("plain", "causal") else mask if kind == "bool" else mask.to(q.dtype).requires_grad_()
        leaves = [x.requires_grad_() for x in (q, k, v)]
        out = lib.nn.functional.scaled_dot_product_attention(*leaves, mask, is_causal=kind == "causal")
        leaves += [mask] if kind == "float" else []
        results.append([out, *lib.autograd.grad(out, leaves, g)])
    close = 1e-5 if dtype == "float32" else 1e-13
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=close, atol=close)


def test_second_derivatives_of_large_calls():
    rng = np.random.default_rng(6)
    arrays = [rng.standard_normal((2, 2, 48, 48)) for _ in range(3)]
    x, k, v = (rushlight.tensor(a, requires_grad=True) for a in arrays)

    def slope(q: Any) -> Any:
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        (first,) = rushlight.autograd.grad((out**2).sum(), q, create_graph=True)
        return first

    d = rushlight.tensor(rng.standard_normal(x.shape))
    (second,) = rushlight.autograd.grad((slope(x) * d).sum(), x)
    step = 1e-5
    apart = (slope((x + step * d).detach().requires_grad_()) - slope((x - step * d).detach().requires_grad_())) / (
        2 * step
    )
    np.testing.assert_allclose(second.numpy(), apart.detach().numpy(), rtol=1e-5, atol=1e-6)
