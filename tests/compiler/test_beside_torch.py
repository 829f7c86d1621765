"""The heavy ops beside PyTorch, configurations drawn: eager calls by kernels and compiled ones, results and gradients.

A drawn program is a function of a module (`torch` or `rushlight`) and of tensors; sizes lie around the edges of vectors
and register blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import rushlight
from rushlight.compiler.binding import is_available
from tests.compiler.test_eager import set_floors

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not is_available(), reason="llvmlite is not installed")

DRAWN = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
EDGE = st.sampled_from((1, 2, 3, 5, 7, 8, 9, 13, 15, 16, 17, 24, 31, 32, 33, 47, 48, 49, 63, 64, 65))
SMALL = st.integers(1, 9)
DTYPE = st.sampled_from(("float32", "float32", "float64"))
# Rounding of a long sum, relative to the largest number of a result.
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}


@dataclass
class Program:
    """`run(module, *tensors)` gives tensors; `arrays` are its float operands, all differentiated, `rest` the others."""

    run: Callable[..., Any]
    arrays: list[Any]
    text: str
    rest: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        return f"{self.text} of {[(a.shape, a.strides, a.dtype.name) for a in self.arrays]}"


def several(results: Any) -> list[Any]:
    """The tensors of a result."""
    if isinstance(results, (tuple, list)):
        return [t for r in results for t in several(r)]
    return [results]


def in_layout(a: Any, layout: str) -> Any:
    """The same numbers, laid out otherwise: "turned" (the last two dims), "last" (channels), "stepped"."""
    if layout == "turned" and a.ndim > 1:
        return np.ascontiguousarray(a.swapaxes(-1, -2)).swapaxes(-1, -2)
    if layout == "last" and a.ndim > 2:
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)
    if layout == "stepped" and a.ndim:
        wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
        wide[..., ::2] = a
        return wide[..., ::2]
    return a


def given_to(module: Any, a: Any) -> Any:
    """A leaf of that module in the array's layout; other than floats as they are."""
    if a.dtype.kind != "f":
        return module.from_numpy(a)
    base = a if a.base is None or not isinstance(a.base, np.ndarray) else a.base
    tensor = module.from_numpy(np.array(base)).as_strided(a.shape, [s // a.itemsize for s in a.strides])
    return tensor.requires_grad_()


def step(module: Any, run: Callable[..., Any]) -> Callable[..., Any]:
    """Results of a program and the gradients of a weighted sum of them."""

    def call(*tensors: Any) -> list[Any]:
        results = [t for t in several(run(module, *tensors)) if t.requires_grad]
        total: Any = 0
        for k, t in enumerate(results):
            weight = module.linspace(0.5, 1.5 + k, t.numel(), dtype=t.dtype).reshape(t.shape)
            total = total + (t * weight).sum()
        wanted = [t for t in tensors if t.requires_grad]
        grads = module.autograd.grad(total, wanted, allow_unused=True)
        return [*(t.detach() for t in results), *grads]

    return call


def compare(program: Program, patch: Any) -> None:
    """Fails unless eager kernels and the compiled program give what PyTorch gives."""
    operands = [*program.arrays, *program.rest]
    expected = step(torch, program.run)(*(given_to(torch, a) for a in operands))
    run = step(rushlight, program.run)
    set_floors(patch, 0)
    tensors = [given_to(rushlight, a) for a in operands]
    for how, received in (("eager", run(*tensors)), ("compiled", rushlight.compile(run)(*tensors))):
        assert len(received) == len(expected)
        for k, (a, b) in enumerate(zip(received, expected, strict=True)):
            where = f"{how}, tensor {k} of {program}"
            assert (a is None) == (b is None), where
            if b is None:
                continue
            assert (tuple(a.shape), str(a.dtype)) == (tuple(b.shape), str(b.dtype)), where
            x, y = a.numpy(), b.numpy()
            size = max(1.0, float(np.abs(y).max(initial=0)))
            np.testing.assert_allclose(x / size, y / size, rtol=0, atol=TOLERANCE[y.dtype.name], err_msg=where)


@pytest.fixture
def patch():
    """Floors as they were, afterwards."""
    with pytest.MonkeyPatch.context() as made:
        yield made


def numbers(draw: Any, dtype: str, *shapes: tuple[int, ...], layouts: tuple[str, ...] = ("",)) -> list[Any]:
    """Normal numbers in those shapes, each in a drawn layout."""
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    made = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    return [in_layout(a, draw(st.sampled_from(layouts))) for a in made]


@st.composite
def products(draw: Any) -> Program:
    """Matrix products, with a batch or without, and linear layers."""
    m, k, n = draw(EDGE), draw(EDGE), draw(EDGE)
    batch = draw(st.sampled_from(((), (), (3,), (2, 1), (2, 3))))
    lay = ("", "turned", "stepped")
    if draw(st.booleans()):
        arrays = numbers(draw, draw(DTYPE), (*batch, m, k), (n, k), (n,), layouts=lay)
        act = draw(st.sampled_from(("relu", "gelu", "sigmoid", "tanh", "silu")))
        return Program(lambda t, x, w, b: getattr(t.nn.functional, act)(t.nn.functional.linear(x, w, b)), arrays, act)
    arrays = numbers(draw, draw(DTYPE), (*batch, m, k), (k, n) if draw(st.booleans()) else (*batch, k, n), layouts=lay)
    return Program(lambda t, x, y: x @ y, arrays, "product")


@st.composite
def convolutions(draw: Any) -> Program:
    """Convolutions of 1 to 3 dims and their transposes."""
    dims = draw(st.sampled_from((1, 2, 2, 3)))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    kernel, stride, dilation, padding = each(1, 4), each(1, 3), each(1, 2), each(0, 2)
    groups = draw(st.sampled_from((1, 1, 2, 5)))
    c, o = draw(SMALL) * groups, draw(st.sampled_from((1, 2, 3, 6, 15, 16, 17, 33))) * groups
    most = (65, 20, 7)[dims - 1]
    size = tuple(max(n, d * (k - 1) + 1) for n, k, d in zip(each(1, most), kernel, dilation, strict=True))
    name = f"conv{dims}d"
    if draw(st.booleans()):
        shapes = (draw(SMALL), c, *size), (o, c // groups, *kernel), (o,)
        more = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    else:
        name = f"conv_transpose{dims}d"
        shapes = (draw(SMALL), o, *size), (o, c // groups, *kernel), (c,)
        extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
        fits = zip(size, stride, padding, dilation, kernel, extra, strict=True)
        if any((n - 1) * s - 2 * p + d * (k - 1) + e + 1 < 1 for n, s, p, d, k, e in fits):
            padding = (0,) * dims
        more = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "output_padding": extra}
    arrays = numbers(draw, draw(DTYPE), *shapes, layouts=("",))
    arrays[0] = in_layout(arrays[0], draw(st.sampled_from(("", "", "last"))))
    act = draw(st.sampled_from(("relu", "sigmoid", "tanh", None)))

    def run(t: Any, x: Any, w: Any, b: Any) -> Any:
        y = getattr(t.nn.functional, name)(x, w, b, **more)
        return y if act is None else getattr(t, act)(y)

    return Program(run, arrays, f"{name} {more} {act}")


@st.composite
def pools(draw: Any) -> Program:
    """Pooling layers."""
    dims = draw(st.sampled_from((1, 2, 2, 3)))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    kernel = each(1, 4)
    name = draw(st.sampled_from(("max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool"))) + f"{dims}d"
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    size = tuple(max(n, k) for n, k in zip(each(1, (65, 20, 9)[dims - 1]), kernel, strict=True))
    x = numbers(draw, draw(DTYPE), (draw(SMALL), draw(SMALL), *size), layouts=("", "", "last"))
    if name.startswith("adaptive"):
        args: dict[str, Any] = {"output_size": tuple(draw(st.integers(1, n + 2)) for n in size)}
    else:
        args = {"kernel_size": kernel, "stride": each(1, 3), "padding": padding, "ceil_mode": draw(st.booleans())}
        if name == "avg_pool1d":
            args = {k: v[0] if isinstance(v, tuple) else v for k, v in args.items()}
    return Program(lambda t, x: getattr(t.nn.functional, name)(x, **args), x, f"{name} {args}")


@st.composite
def norms(draw: Any) -> Program:
    """Batch, layer, group and instance norm with what often follows."""
    kind = draw(st.sampled_from(("batch", "layer", "group", "instance")))
    groups = draw(st.sampled_from((1, 2, 3)))
    c = groups * draw(st.sampled_from((1, 2, 5, 8, 16, 17)))
    shape = (draw(st.integers(2, 9)), c, *(draw(EDGE) for _ in range(draw(st.sampled_from((1, 2)))) if kind))
    if math.prod(shape[2:]) < 2:
        shape = (*shape[:-1], 7)
    width = shape[-1] if kind == "layer" else c
    arrays = numbers(draw, draw(DTYPE), shape, (width,), (width,))

    def run(t: Any, x: Any, w: Any, b: Any) -> Any:
        f = t.nn.functional
        if kind == "batch":
            return t.relu(f.batch_norm(x, None, None, w, b, training=True))
        if kind == "layer":
            return f.layer_norm(x, (width,), w, b) + x
        if kind == "group":
            return f.silu(f.group_norm(x, groups, w, b))
        return f.instance_norm(x, weight=w, bias=b)

    return Program(run, arrays, f"{kind} norm, {groups} groups")


@st.composite
def recurrences(draw: Any) -> Program:
    """LSTM, GRU and RNN: layers, directions, batch first or not."""
    kind = draw(st.sampled_from(("lstm", "gru", "rnn_tanh", "rnn_relu")))
    inputs, hidden = draw(st.sampled_from((1, 3, 16, 17))), draw(st.sampled_from((1, 5, 15, 16, 33)))
    layers, both, first = draw(st.sampled_from((1, 1, 2))), draw(st.booleans()), draw(st.booleans())
    steps, batch = draw(st.integers(1, 9)), draw(SMALL)
    gates = {"lstm": 4, "gru": 3}.get(kind, 1)
    shapes: list[tuple[int, ...]] = [(batch, steps, inputs) if first else (steps, batch, inputs)]
    for layer in range(layers):
        for _ in range(1 + both):
            wide = inputs if layer == 0 else hidden * (1 + both)
            shapes += [(gates * hidden, wide), (gates * hidden, hidden), (gates * hidden,), (gates * hidden,)]

    def run(t: Any, x: Any, *weights: Any) -> Any:
        start = t.zeros(layers * (1 + both), batch, hidden, dtype=x.dtype)
        state = [start, start] if kind == "lstm" else start
        return getattr(t, kind)(x, state, weights, True, layers, 0.0, True, both, first)

    text = f"{kind}({inputs}, {hidden}, {layers}, bidirectional={both}, batch_first={first})"
    return Program(run, [a * 0.3 for a in numbers(draw, draw(DTYPE), *shapes)], text)


@st.composite
def attentions(draw: Any) -> Program:
    """Scaled dot product attention with masks and grouped heads."""
    grouped = draw(st.booleans())
    heads, batch = draw(st.sampled_from((2, 4))), draw(st.integers(1, 3))
    q, k, e, v = draw(EDGE), draw(EDGE), draw(EDGE), draw(EDGE)
    few = heads // 2 if grouped else heads
    mask = draw(st.sampled_from((None, "causal", "float", "bool")))
    shapes = [(batch, heads, q, e), (batch, few, k, e), (batch, few, k, v)]
    shapes += [(q, k)] if mask == "float" else []
    allowed = (np.tril(np.ones((q, k), bool), 1),) if mask == "bool" else ()

    def run(t: Any, q: Any, k: Any, v: Any, bias: Any = None) -> Any:
        attend = t.nn.functional.scaled_dot_product_attention
        return attend(q, k, v, bias, is_causal=mask == "causal", enable_gqa=grouped)

    arrays = numbers(draw, draw(DTYPE), *shapes, layouts=("", "turned"))
    return Program(run, arrays, f"attention, mask {mask}, grouped {grouped}", allowed)


@st.composite
def lookups(draw: Any) -> Program:
    """Reading and adding by index, softmax over any axis, joining and permuting."""
    rows, columns, count = draw(EDGE), draw(EDGE), draw(EDGE)
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    index = rng.integers(0, rows, count)
    table = rng.integers(0, rows, (count, columns))
    dim = draw(st.integers(0, 1))

    def run(t: Any, x: Any, y: Any, i: Any, j: Any) -> Any:
        f = t.nn.functional
        return {
            "embedding": lambda: f.embedding(i, x),
            "index_select": lambda: x.index_select(0, i),
            "index": lambda: x[i] * 2,
            "index_add": lambda: x.index_add(0, i, y),
            "gather": lambda: x.gather(0, j),
            "scatter_add": lambda: x.scatter_add(0, j, y),
            "softmax": lambda: x.softmax(dim) + y.log_softmax(dim).sum(),
            "cat": lambda: t.cat([x, y, x], 0).t().contiguous(),
            "permute": lambda: x.reshape(1, *x.shape).permute(2, 0, 1).contiguous() * y.sum(),
            "cumsum": lambda: x.cumsum(dim) + y.logsumexp(dim).sum(),
        }[kind]()

    kind = draw(
        st.sampled_from(("embedding", "index_select", "index", "index_add", "gather", "scatter_add", "softmax"))
        | st.sampled_from(("cat", "permute", "cumsum"))
    )
    arrays = numbers(draw, draw(DTYPE), (rows, columns), (count, columns), layouts=("", "turned"))
    return Program(run, arrays, f"{kind} {dim}", (index, table))


KINDS = (products, convolutions, pools, norms, recurrences, attentions, lookups)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_results_and_gradients_are_those_of_pytorch(kind, patch):
    @DRAWN
    @given(kind())
    def check(program: Program) -> None:
        compare(program, patch)

    check()
