"""Convolution kernels against the bodies of the ops, for shapes around every block edge."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rushlight.backends import numpy_conv
from rushlight.backends.numpy_conv import Geometry
from rushlight.compiler import target
from rushlight.compiler.access import whole
from rushlight.compiler.binding import is_available
from rushlight.compiler.graph import Graph, Value
from rushlight.compiler.interpret import interpret
from rushlight.compiler.kernel import Kernel
from rushlight.compiler.kernels import (
    conv,
    conv_batch_plan,
    conv_plan,
    conv_shape,
    conv_weight,
    conv_weight_depthwise,
    conv_weight_dot,
    conv_weight_outer,
    conv_weight_sums,
)
from rushlight.compiler.kernels.conv import conv_kernel
from rushlight.compiler.kernels.conv_weight import weight_kernels
from rushlight.compiler.program import build
from rushlight.compiler.schedule import schedule
from rushlight.ops.conv import convolved_size
from rushlight.ops.kinds import OPS
from rushlight.spec import Spec
from tests.compiler.buffers import run_fenced

pytestmark = pytest.mark.skipif(not is_available(), reason="llvmlite is not installed")

Case = tuple[Any, ...]
SLOW = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@st.composite
def cases(draw: Any, kinds: tuple[str, ...] = ("forward", "data", "weight"), outputs: int = 19) -> Case:
    """(kind, dtype, layout, bias, images, groups, channels, outputs, geometry) of a small convolution."""
    dims = draw(st.sampled_from((1, 2, 2, 2, 3)))
    most = (70, 20, 7)[dims - 1]

    def several(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    kernel = several(1, 4)
    stride, dilation = several(1, 3), several(1, 3)
    padding = several(0, 3)
    size = several(1, most)
    size = tuple(max(n, d * (k - 1) + 1 - 2 * p, 1) for n, k, p, d in zip(size, kernel, padding, dilation, strict=True))
    if draw(st.booleans()):  # lines of whole vectors
        stride = (*stride[:-1], 1)
        length = draw(st.sampled_from((16, 32))) + dilation[-1] * (kernel[-1] - 1) - 2 * padding[-1]
        size = (*size[:-1], max(length, 1))
    out = convolved_size(size, kernel, stride, padding, dilation)
    groups = draw(st.sampled_from((1, 1, 1, 2, 5)))
    geometry = Geometry(size, kernel, out, stride, padding, dilation)
    return (
        draw(st.sampled_from(kinds)),
        draw(st.sampled_from(("f4", "f4", "f8"))),
        draw(st.sampled_from(("contiguous", "contiguous", "channels_last"))),
        draw(st.booleans()),
        draw(st.sampled_from((*range(1, 10), 16, 17, 33))),
        groups,
        draw(st.integers(1, 9)),
        draw(st.integers(1, outputs)),
        geometry,
    )


def laid_out(a: Any, layout: str) -> Any:
    """`a` with its channels last in memory."""
    return a if layout == "contiguous" else np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)


def value_of(a: Any) -> Value:
    """An input that brings `a`."""
    return Value(Spec(a.shape, a.dtype), strides=None if a.flags.c_contiguous else a.strides)


def prepared(case: Case) -> tuple[list[Any], dict[Value, Any], Value, Any]:
    """Kernels, their inputs, the result and what it has to be."""
    kind, dtype, layout, with_bias, n, groups, c, o, geometry = case
    rng = np.random.default_rng(0)
    c, o = c * groups, o * groups
    x = laid_out(rng.standard_normal((n, c, *geometry.input_size)).astype(dtype), layout)
    w = rng.standard_normal((o, c // groups, *geometry.kernel_size)).astype(dtype)
    g = laid_out(rng.standard_normal((n, o, *geometry.output_size)).astype(dtype), layout)
    wide = [a.astype("f8") for a in (x, w, g)]
    if kind == "weight":
        vx, vg, out = value_of(x), value_of(g), Value(Spec(w.shape, w.dtype))
        kernels = weight_kernels(whole(vx), whole(vg), out, geometry, groups)
        return kernels, {vx: x, vg: g}, out, numpy_conv.weight_gradient(wide[0], wide[2], geometry, groups)
    transposed = kind == "data"
    source, made, reference = (g, x, numpy_conv.input_gradient) if transposed else (x, g, numpy_conv.forward)
    b = rng.standard_normal(made.shape[1]).astype(dtype) if with_bias else None
    vs, vw, out = value_of(source), value_of(w), Value(Spec(made.shape, made.dtype))
    known = {vs: source, vw: w}
    access = None
    if b is not None:
        vb = value_of(b)
        known[vb] = b
        access = whole(vb)
    kernels = conv_kernel(whole(vs), whole(vw), access, out, geometry, groups, transposed=transposed)
    wide_bias = None if b is None else b.astype("f8")
    return kernels, known, out, reference(wide[2 if transposed else 0], wide[1], wide_bias, geometry, groups)


def compare(case: Case) -> None:
    """Fails unless the kernels of a case give what the op gives."""
    kernels, known, out, expected = prepared(case)
    run_fenced(kernels, known)
    first = known[out]
    size = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(first / size, expected / size, rtol=0, atol=2e-6 if first.dtype == np.float32 else 1e-13)
    again = dict(known)
    run_fenced(kernels, again, seed=1)
    assert again[out].tobytes() == first.tobytes()


@SLOW
@given(cases())
def test_against_the_ops(case: Case) -> None:
    compare(case)


@SLOW
@given(cases(), st.sampled_from((1 << 9, 1 << 12, 1 << 14)), st.sampled_from((16, 500, 20_000)), st.booleans())
def test_cut_into_many_pieces(case: Case, tile: int, products: int, heavy: bool) -> None:
    """Tiles, passes, slices, ranges and cells that only large convolutions have otherwise; packed weights."""
    names = {
        "TILE_BYTES": tile, "CHUNK_PRODUCTS": products, "SUMS_BYTES": 4 * tile, "STEPS": 4, "PASS_TAPS": 4,
        "TILE_POSITIONS": 20, "MOST_POSITIONS": 50, "LONG_LINE": 9, "SPLIT_OUTPUTS": 3,
        "PACK_BYTES": 0 if heavy else 1 << 30, "HEAVY_BYTES": 0 if heavy else 1 << 30,
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for module in (conv_plan, conv_shape, conv_weight_dot):
            for name, value in names.items():
                if hasattr(module, name):
                    patch.setattr(module, name, value)
        patch.setattr(conv_weight, "prefers_outer", lambda *sizes: False)
        compare(case)


@settings(SLOW, max_examples=40)
@given(cases(("weight",), 45), st.sampled_from((1 << 7, 1 << 12, 1 << 18)), st.sampled_from((16, 500, 1 << 19)))
def test_weight_gradient_by_outer_products(case: Case, tile: int, products: int) -> None:
    """Tiles, cells, splits and ranges; copied input where lines fall on the same places of the cache."""
    names = {
        "CHUNK_PRODUCTS": products, "SUMS_BYTES": 4 * tile, "COPY_BYTES": tile, "DEPTH": 20, "MOST_DEPTH": 60,
        "RANGE_POSITIONS": 12, "WAYS": tile >> 12,
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, value in names.items():
            patch.setattr(conv_weight_outer, name, value)
        patch.setattr(conv_weight_sums, "TURNED_ROWS", 5)
        patch.setattr(conv_weight, "prefers_outer", lambda *sizes: True)
        compare(case)


@settings(SLOW, max_examples=30)
@given(cases(("weight",)), st.integers(8, 37), st.sampled_from((1 << 9, 1 << 12, 1 << 18)), st.integers(4, 19))
def test_weight_gradient_of_depthwise(case: Case, groups: int, tile: int, products: int) -> None:
    case = (*case[:2], "contiguous", *case[3:5], groups, 1, 1, case[-1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv_weight_depthwise, "TILE_BYTES", tile)
        patch.setattr(conv_weight_depthwise, "CHUNK_PRODUCTS", 1 << products)
        compare(case)


@SLOW
@given(cases(), st.sampled_from((1 << 9, 1 << 12, 3 << 17)), st.sampled_from((16, 500, 1 << 19)), st.booleans())
def test_images_in_lanes(case: Case, tile: int, products: int, heavy: bool) -> None:
    names = {
        "TILE_BYTES": tile, "SUMS_BYTES": tile, "CHUNK_PRODUCTS": products, "SPLIT_OUTPUTS": 3,
        "PACK_BYTES": 0 if heavy else 1 << 30, "HEAVY_BYTES": 0 if heavy else 1 << 30,
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv, "MARGIN", float("inf"))
        for name, value in names.items():
            patch.setattr(conv_batch_plan, name, value)
        compare(case)


FEW = settings(SLOW, max_examples=8)


@pytest.mark.parametrize("margin", [0.0, float("inf")])
@pytest.mark.parametrize("which", [0, 1])
@FEW
@given(case=cases())
def test_narrower_vectors(which: int, margin: float, case: Case) -> None:
    hosts = target.narrower()
    if which < len(hosts):
        with target.use(hosts[which]), pytest.MonkeyPatch.context() as patch:
            patch.setattr(conv, "MARGIN", margin)
            compare(case)


def test_numbers_that_are_not_finite() -> None:
    """Zeros of the padding meet infinite weights as they do on NumPy; NaN goes where it is read and nowhere else."""
    rng = np.random.default_rng(0)
    geometry = Geometry((9, 9), (3, 3), (9, 9), (1, 1), (1, 1), (1, 1))
    x = rng.standard_normal((2, 3, 9, 9)).astype("f4")
    w = rng.standard_normal((4, 3, 3, 3)).astype("f4")
    x[0, 1, 4, 4], x[1, 2, 8, 8], w[1, 0, 0, 0] = np.nan, np.inf, np.inf
    vx, vw, out = value_of(x), value_of(w), Value(Spec((2, 4, 9, 9), x.dtype))
    known = {vx: x, vw: w}
    run_fenced(conv_kernel(whole(vx), whole(vw), None, out, geometry), known)
    with np.errstate(invalid="ignore"):
        expected = numpy_conv.forward(x, w, None, geometry, 1)
    np.testing.assert_array_equal(np.isnan(known[out]), np.isnan(expected))
    np.testing.assert_allclose(known[out], expected, rtol=1e-5, atol=1e-5)


def graph_of(case: Case, follow: Any) -> tuple[Graph, list[Any]]:
    """A graph of a convolution and what `follow(call, graph, result)` makes of it."""
    kind, dtype, layout, _, n, groups, c, o, geometry = case
    rng = np.random.default_rng(0)
    c, o = c * groups, o * groups
    transposed = kind == "data"
    source = (n, o, *geometry.output_size) if transposed else (n, c, *geometry.input_size)
    arrays = [laid_out(rng.standard_normal(source).astype(dtype), layout)]
    arrays.append(rng.standard_normal((o, c // groups, *geometry.kernel_size)).astype(dtype))
    arrays.append(rng.standard_normal(c if transposed else o).astype(dtype))
    graph = Graph()
    values = [graph.input(Spec(a.shape, a.dtype), strides=value_of(a).strides) for a in arrays]
    steps = {"stride": geometry.stride, "padding": geometry.padding, "dilation": geometry.dilation, "groups": groups}
    name, size = ("convolution_transposed", geometry.input_size) if transposed else ("convolution", None)
    y = graph.call(OPS[name], tuple(values), {**steps, "output_size": size})
    residual = rng.standard_normal(y.shape).astype(dtype)
    arrays.append(residual)
    graph.outputs = follow(graph, y, graph.input(Spec(y.shape, y.dtype)))
    return graph, arrays


def relu_of_sum(graph: Graph, y: Value, residual: Value) -> list[Value]:
    """ReLU of the sum with a residual, and the sum."""
    total = graph.call(OPS["add"], (y, residual), {})
    return [graph.call(OPS["relu"], (total,), {}), total]


@pytest.mark.parametrize("margin", [0.0, float("inf")])
@settings(SLOW, max_examples=20)
@given(case=cases())
def test_what_follows_is_fused(margin: float, case: Case) -> None:
    graph, arrays = graph_of(case, relu_of_sum)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv, "MARGIN", margin)
        steps = schedule(graph)
    assert all(isinstance(step, Kernel) for step in steps)
    assert sum(not step.name.endswith("packed") for step in steps) == 1
    for guard in ("after", "before"):
        made = build(graph, steps, guard=guard)(*arrays)
        expected, _ = interpret(graph, arrays)
        for a, b in zip(made, expected, strict=True):
            tolerance = 1e-4 if a.dtype == np.float32 else 1e-11
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
