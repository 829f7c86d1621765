"""Pooling kernels against the bodies of the ops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rushlight.compiler.access import resolve
from rushlight.compiler.binding import is_available
from rushlight.compiler.graph import Graph, Value
from rushlight.compiler.interpret import interpret, run_call
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.kernels.pool_lowering import SEEDS, spreads
from rushlight.compiler.schedule import schedule
from rushlight.ops.kinds import OPS
from rushlight.ops.pool import even_windows, pool_windows, pooled_size
from rushlight.spec import Spec
from tests.compiler.buffers import run_fenced
from tests.compiler.test_conv import laid_out

pytestmark = pytest.mark.skipif(not is_available(), reason="llvmlite is not installed")

SLOW = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def run(name: str, params: dict[str, Any], arrays: list[Any]) -> None:
    """Fails unless the kernel of an op gives what its body gives."""
    graph = Graph()
    values = []
    for a in arrays:
        strides = None if a.flags.c_contiguous else a.strides
        values.append(graph.input(Spec(a.shape, a.dtype), strides=strides))
    graph.call(OPS[name], tuple(values), params)
    (call,) = graph.calls
    kernel = SEEDS[name](call, resolve)
    assert kernel is not None
    known: dict[Value, Any] = dict(zip(values, arrays, strict=True))
    run_fenced([kernel], known)
    expected = run_call(call, lambda v: known[v])
    for value, right in zip(call.results, expected, strict=True):
        if value.dtype.kind == "u":
            np.testing.assert_array_equal(known[value], right)
        else:
            np.testing.assert_allclose(known[value], right, rtol=0, atol=1e-5 if right.dtype == np.float32 else 1e-13)
    again = dict(zip(values, arrays, strict=True))
    run_fenced([kernel], again, seed=1)
    assert all(again[v].tobytes() == known[v].tobytes() for v in call.results)


@st.composite
def windows(draw: Any) -> tuple[Any, ...]:
    """(lead, size, kernel, stride, padding, dilation, ceil_mode) of a small pooling."""
    dims = draw(st.sampled_from((2, 2, 2, 3)))
    most = 40 if dims == 2 else 8

    def several(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    kernel, stride, dilation = several(1, 4), several(1, 4), several(1, 2)
    padding = tuple(draw(st.integers(0, ((k - 1) * d + 1) // 2)) for k, d in zip(kernel, dilation, strict=True))
    least = (max(1, (k - 1) * d + 1 - 2 * p) for k, p, d in zip(kernel, padding, dilation, strict=True))
    size = tuple(max(a, b) for a, b in zip(several(1, most), least, strict=True))
    lead = draw(st.sampled_from(((3,), (2, 3), (1, 1), (4, 5))))
    return lead, size, kernel, stride, padding, dilation, draw(st.booleans())


def numbers(shape: tuple[int, ...], dtype: str, layout: str, special: bool) -> Any:
    """Small whole numbers, so that ties are common, with NaN and infinities if `special`."""
    rng = np.random.default_rng(0)
    a = rng.integers(-3, 4, shape).astype(dtype)
    if special:
        a[rng.random(shape) < 0.1] = np.nan
        a[rng.random(shape) < 0.1] = -np.inf
        a[rng.random(shape) < 0.1] = np.inf
    return laid_out(a, layout) if len(shape) > 3 else a


LAYOUTS = st.sampled_from(("contiguous", "contiguous", "channels_last"))
DTYPES = st.sampled_from(("f4", "f8"))


@SLOW
@given(windows(), DTYPES, LAYOUTS, st.booleans())
def test_maximum(case: Any, dtype: str, layout: str, special: bool) -> None:
    lead, size, kernel, stride, padding, dilation, ceil = case
    names = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil}
    run(f"max_pool{len(size)}d_with_codes", names, [numbers((*lead, *size), dtype, layout, special)])


@SLOW
@given(windows(), DTYPES, LAYOUTS)
def test_gradient_of_maximum(case: Any, dtype: str, layout: str) -> None:
    lead, size, kernel, stride, padding, dilation, ceil = case
    found = pool_windows(size, kernel, stride, padding, dilation, ceil)
    g = numbers((*lead, *found.output_size), dtype, layout, False)
    x = np.random.default_rng(1).standard_normal((*lead, *size)).astype(dtype)
    params = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil}
    codes = OPS[f"max_pool{len(size)}d_with_codes"].eager((x,), params)[1]
    run("max_pool_grad", {"windows": found}, [g, codes])


@SLOW
@given(windows(), DTYPES, LAYOUTS, st.booleans(), st.sampled_from((None, None, 3)))
def test_average_and_its_gradient(case: Any, dtype: str, layout: str, count: bool, divisor: int | None) -> None:
    lead, size, kernel, stride, padding, _, ceil = case
    ones = (1,) * len(size)
    padding = tuple(min(p, k // 2) for p, k in zip(padding, kernel, strict=True))
    if min(pooled_size(size, kernel, stride, padding, ones, ceil)) < 1:
        return
    names = {"kernel": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil, "count_include_pad": count}
    run(f"avg_pool{len(size)}d", {**names, "divisor": divisor}, [numbers((*lead, *size), dtype, layout, False)])
    found = pool_windows(size, kernel, stride, padding, ones, ceil)
    more = {"windows": found, "count_include_pad": count, "divisor": divisor}
    run("avg_pool_grad", more, [numbers((*lead, *found.output_size), dtype, layout, False)])


@pytest.mark.parametrize(
    ("size", "out"), [((8, 8), (1, 1)), ((7, 7), (1, 1)), ((12, 6), (3, 2)), ((4, 6, 2), (2, 1, 1))]
)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_adaptive(size: tuple[int, ...], out: tuple[int, ...], layout: str) -> None:
    assert even_windows(size, out)
    for lead in ((3, 19), (1, 1)):
        run(f"adaptive_avg_pool{len(size)}d", {"output_size": out}, [numbers((*lead, *size), "f4", layout, False)])
        run("adaptive_avg_pool_grad", {"size": size}, [numbers((*lead, *out), "f4", layout, False)])


def followed(g: Graph, spread: Value, lead: tuple[int, ...], more: dict[Value, Any], whole: bool) -> None:
    """What follows a gradient in a network: a mask, a factor per channel, the sum over each channel; checked."""
    shape = spread.shape
    dims = len(shape) - len(lead)
    rng = np.random.default_rng(2)
    mask = g.input(Spec(shape, np.dtype(np.bool_)))
    per_channel = g.input(Spec((lead[-1], *[1] * dims), spread.dtype))
    more[mask], more[per_channel] = rng.random(shape) < 0.5, rng.standard_normal(per_channel.shape).astype(spread.dtype)
    out = g.call(OPS["mul"], (g.call(OPS["mul"], (spread, mask), {}), per_channel), {})
    summed = tuple(i for i in range(len(shape)) if i != len(lead) - 1)
    g.outputs = [g.call(OPS["sum"], (out,), {"dim": summed, "keepdim": False}), *([out] if whole else [])]
    steps = schedule(g)
    kernels = [step for step in steps if isinstance(step, Kernel)]
    if len(kernels) < len(steps):
        assert not spreads(spread.call)
        return
    assert "gradient" in kernels[0].name
    assert not spreads(spread.call) or "+ mul mul sum" in kernels[0].name
    wanted, _ = interpret(g, [more[v] for v in g.inputs])
    bits = set()
    for seed in range(2):
        known = dict(more)
        run_fenced(kernels, known, seed)
        for value, right in zip(g.outputs, wanted, strict=True):
            close = 1e-4 if right.dtype == np.float32 else 1e-12
            np.testing.assert_allclose(known[value], right, rtol=close, atol=close * max(1, right.size // 50))
        bits.add(b"".join(known[value].tobytes() for value in g.outputs))
    assert len(bits) == 1


@SLOW
@given(windows(), DTYPES, LAYOUTS, st.booleans(), st.booleans())
def test_what_follows_a_gradient(case: Any, dtype: str, layout: str, of_maximum: bool, whole: bool) -> None:
    lead, size, kernel, stride, padding, dilation, ceil = case
    if not of_maximum:
        dilation, padding = (1,) * len(size), tuple(min(p, k // 2) for p, k in zip(padding, kernel, strict=True))
        if min(pooled_size(size, kernel, stride, padding, dilation, ceil)) < 1:
            return
    found = pool_windows(size, kernel, stride, padding, dilation, ceil)
    given_ = numbers((*lead, *found.output_size), dtype, layout, False)
    g = Graph()
    source = g.input(Spec(given_.shape, given_.dtype), strides=None if given_.flags.c_contiguous else given_.strides)
    known: dict[Value, Any] = {source: given_}
    if of_maximum:
        params = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil}
        x = np.random.default_rng(1).standard_normal((*lead, *size)).astype(dtype)
        made = OPS[f"max_pool{len(size)}d_with_codes"].eager((x,), params)[1]
        codes = g.input(Spec(made.shape, made.dtype))
        known[codes] = made
        spread = g.call(OPS["max_pool_grad"], (source, codes), {"windows": found})
    else:
        more = {"windows": found, "count_include_pad": True, "divisor": None}
        spread = g.call(OPS["avg_pool_grad"], (source,), more)
    followed(g, spread, lead, known, whole)


@pytest.mark.parametrize(("size", "out"), [((8, 6), (4, 2)), ((8, 8), (1, 1))])
def test_what_follows_an_adaptive_gradient(size: tuple[int, ...], out: tuple[int, ...]) -> None:
    g = Graph()
    source = g.input(Spec((3, 5, *out), np.dtype(np.float32)))
    spread = g.call(OPS["adaptive_avg_pool_grad"], (source,), {"size": size})
    followed(g, spread, (3, 5), {source: numbers(source.shape, "f4", "contiguous", False)}, True)
