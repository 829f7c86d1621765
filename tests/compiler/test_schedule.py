"""What is fused with what: whole graphs against the interpreter, and how many kernels they take."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

import rushlight as torch
from rushlight.compiler.binding import is_available
from rushlight.compiler.graph import Graph, Value
from rushlight.compiler.interpret import interpret
from rushlight.compiler.kernel import HostCall, Kernel
from rushlight.compiler.schedule import schedule
from rushlight.ops.kinds import OPS
from rushlight.spec import Spec
from tests.compiler.graphs import drawn, traced
from tests.compiler.native import run_steps

pytestmark = pytest.mark.skipif(not is_available(), reason="needs llvmlite")
F = torch.nn.functional
F32, F64, I64 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)


def check(graph: Graph, *, tol: float = 3e-5, seeds: int = 1) -> list[Any]:
    """Run the schedule of a graph and compare; returns its steps."""
    steps = schedule(graph)
    for seed in range(seeds):
        arrays = drawn(graph, seed)
        wanted = interpret(graph, arrays)
        for inplace in (False, True):
            got = run_steps(graph, steps, arrays, inplace=inplace)
            for p, q in zip([*wanted[0], *wanted[1]], [*got[0], *got[1]], strict=True):
                assert (p.shape, p.dtype) == (q.shape, q.dtype)
                np.testing.assert_allclose(q.astype(np.float64), p.astype(np.float64), rtol=tol, atol=tol)
    return list(steps)


def softmax(x):
    return F.softmax(x, 1)


def log_softmax_step(x, g):
    y = F.log_softmax(x, 1)
    (y * g).sum().backward()
    return y


def layer_norm_step(x, w, b, g):
    y = F.layer_norm(x, (x.shape[-1],), w, b)
    (y * g).sum().backward()
    return y


def batch_norm_step(x, w, b, g):
    y = torch.relu(F.batch_norm(x, None, None, w, b, training=True))
    (y * g).sum().backward()
    return y


def linear_relu(x, w, b):
    return torch.relu(x @ w + b) * 2


def mlp_step(x, w1, b1, w2, b2):
    h = torch.relu(x @ w1 + b1)
    loss = ((h @ w2 + b2) ** 2).mean()
    loss.backward()
    with torch.no_grad():
        for p in (w1, b1, w2, b2):
            p -= 0.1 * p.grad
    return loss


@pytest.mark.parametrize("shape", [(8, 10), (5, 130), (3, 1000), (2, 7, 3)])
def test_softmax_is_one_kernel(shape):
    assert len(check(traced(softmax, {"x": shape}))) == 1


def test_a_log_softmax_and_its_gradient_are_one_kernel():
    for n in (10, 100, 700):
        assert len(check(traced(log_softmax_step, {"x": (9, n), "g": (9, n)}, ("x",)))) == 1


@pytest.mark.parametrize("n", [10, 128, 333])
def test_layer_norm_and_its_gradient(n):
    steps = check(traced(layer_norm_step, {"x": (4, 6, n), "w": (n,), "b": (n,), "g": (4, 6, n)}, ("x", "w", "b")))
    assert len(steps) <= 3  # rows, and the sums over rows for weight and bias


def test_batch_norm_and_its_gradient_are_one_kernel():
    shapes = {"x": (8, 6, 5, 7), "w": (6,), "b": (6,), "g": (8, 6, 5, 7)}
    assert len(check(traced(batch_norm_step, shapes, ("x", "w", "b")))) == 1


def test_bias_and_activation_join_a_product():
    (kernel,) = check(traced(linear_relu, {"x": (20, 30), "w": (30, 40), "b": (40,)}))
    assert isinstance(kernel, Kernel) and "matmul" in kernel.name


def linear_gelu(x, w, b):
    return F.gelu(x @ w + b)


def test_a_function_of_many_steps_joins_a_product_too():
    (kernel,) = check(traced(linear_gelu, {"x": (20, 30), "w": (30, 40), "b": (40,)}))
    assert isinstance(kernel, Kernel) and "matmul" in kernel.name


def conv_step(x, w, b, v, c, pool=F.avg_pool2d, act=torch.sigmoid):
    h = pool(act(F.conv2d(x, w, b, padding=1)), 2)
    loss = (F.conv2d(h, v, c) ** 2).mean()
    loss.backward()
    with torch.no_grad():
        for p in (w, b, v, c):
            p -= 0.1 * p.grad
    return loss


CONV_SHAPES = {"x": (3, 2, 10, 12), "w": (4, 2, 3, 3), "b": (4,), "v": (5, 4, 2, 2), "c": (5,)}


@pytest.mark.parametrize("act", [torch.sigmoid, torch.tanh, torch.relu])
@pytest.mark.parametrize("pool", [F.avg_pool2d, F.max_pool2d])
def test_what_lies_around_a_convolution_joins_it_or_its_pooling(pool, act):
    steps = check(traced(partial(conv_step, pool=pool, act=act), CONV_SHAPES, ("w", "b", "v", "c")), tol=1e-4)
    names = [s.name for s in steps if isinstance(s, Kernel)]
    (forward,) = (n for n in names if act.__name__ in n)
    assert forward.startswith("convolution")
    (backward,) = (n for n in names if "pool gradient" in n)
    assert "+" in backward and backward.endswith("mul sum")
    # what the gradient of a sigmoid needs besides its result is computed again, not kept
    (kept,) = (s.writes for s in steps if isinstance(s, Kernel) and s.name == forward)
    assert len(kept) == (2 if act is torch.relu else 1)


def test_what_no_later_loop_takes_on_joins_what_it_follows():
    """A few steps on a product that is kept: the sort is a host call, so they must be stored after all."""
    g = Graph()
    x, w = g.input(Spec((40, 30), F32)), g.input(Spec((30, 50), F32))
    y = g.call(OPS["mm"], (x, w), {})
    s = g.call(OPS["relu"], (y,), {})
    d = g.call(OPS["mul"], (s, g.call(OPS["sub"], (1.0, s), {})), {})
    more = g.call(OPS["sort_dim"], (d,), {"dim": 1, "descending": False})[0]
    again = g.call(OPS["mm"], (s, g.input(Spec((50, 20), F32))), {})
    g.outputs = [more, again]
    steps = check(g)
    assert len(steps) == 3 and len([s for s in steps if isinstance(s, Kernel)]) == 2


def test_draws_keep_their_order():
    """Draws come one after another, whatever is fused around them."""
    g = Graph()
    x = g.input(Spec((8, 8), F32))
    y = g.call(OPS["mul"], (x, x), {})
    draws = []
    for _ in range(3):
        factors = g.call(OPS["dropout_factors"], (y,), {"p": 0.5, "generator": torch.Generator()})
        y = g.call(OPS["add"], (g.call(OPS["mul"], (y, factors), {}), x), {})
        draws.append(factors.call)
    g.outputs = [y]
    order = [c for s in schedule(g) for c in ([s.call] if isinstance(s, HostCall) else s.calls) if c in draws]
    assert order == draws


def test_a_training_step_updates_its_parameters():
    shapes = {"x": (32, 20), "w1": (20, 30), "b1": (30,), "w2": (30, 5), "b2": (5,)}
    steps = check(traced(mlp_step, shapes, ("w1", "b1", "w2", "b2")), seeds=2)
    assert not [s for s in steps if isinstance(s, HostCall)]


def adam_graph(shapes: Any) -> Graph:
    """Adam's update of several parameters, each with a step count of its own."""
    g = Graph()
    for shape in shapes:
        p, d, m, v = (g.input(Spec(shape, F32)) for _ in range(4))
        t = g.input(Spec((), F64))
        step = g.call(OPS["add"], (g.call(OPS["square"], (t,), {}), 1.0), {})
        rate = g.call(OPS["cast"], (g.call(OPS["div"], (0.1, step), {}),), {"dtype": F32})
        m2 = g.call(OPS["add"], (m, g.call(OPS["mul"], (g.call(OPS["sub"], (d, m), {}), 0.1), {})), {})
        d2 = g.call(OPS["mul"], (g.call(OPS["mul"], (d, 0.01), {}), d), {})
        v2 = g.call(OPS["add"], (g.call(OPS["mul"], (g.call(OPS["square"], (v,), {}), 0.99), {}), d2), {})
        scale = g.call(OPS["add"], (g.call(OPS["sqrt"], (v2,), {}), 1e-3), {})
        p2 = g.call(OPS["sub"], (p, g.call(OPS["div"], (g.call(OPS["mul"], (m2, rate), {}), scale), {})), {})
        g.updates += [(p, p2), (m, m2), (v, v2), (t, step)]
    return g


def test_updates_of_equal_parameters_share_a_kernel():
    steps = check(adam_graph([(4, 5)] * 6))
    assert len(steps) == 2 and all(isinstance(s, Kernel) for s in steps)
    assert len(check(adam_graph([(300, 70), (70,), (300, 70), (70,)]))) <= 4


def test_equal_layers_have_equal_code_and_others_do_not():
    def keys(*shapes):
        return [k.key for k in schedule(adam_graph(shapes)) if isinstance(k, Kernel) and len(k.writes) == 3]

    first, second = keys((300, 70)), keys((70, 300))
    assert first == second  # both are 21000 numbers in a row
    assert first != keys((300, 71))


def test_a_path_through_another_kernel_is_no_reason_for_a_circle():
    """exp -> matmul -> add, where the add also reads the exp: they must not become one kernel."""
    g = Graph()
    x = g.input(Spec((6, 6), F32))
    e = g.call(OPS["exp"], (x,), {})
    s = g.call(OPS["sort_dim"], (e,), {"dim": 1, "descending": False})[0]
    g.outputs = [g.call(OPS["add"], (g.call(OPS["mul"], (e, e), {}), s), {})]
    steps = check(g)
    assert len(steps) == 3 and isinstance(steps[1], HostCall)
    assert any("between" in why for *_, why in schedule(g).reasons)


def test_one_dim_is_not_mistaken_for_two():
    """Pairs of elements of a row, all of them, not each with itself."""
    g = Graph()
    x = g.input(Spec((3, 4), F32))
    a, b = g.call(OPS["exp"], (x,), {}), g.call(OPS["neg"], (x,), {})
    down, across = (g.call(OPS["unsqueeze"], (v,), {"dim": d}) for v, d in ((a, 2), (b, 1)))
    pairs = g.call(OPS["mul"], (down, across), {})
    g.outputs = [g.call(OPS["sum"], (pairs,), {"dim": (1, 2), "keepdim": False})]
    check(g)


def test_reasons_name_what_kept_neighbours_apart():
    g = Graph()
    x = g.input(Spec((40, 50), F32))
    s = g.call(OPS["sum"], (x,), {"dim": (1,), "keepdim": False})
    g.outputs = [g.call(OPS["sum"], (s,), {"dim": (0,), "keepdim": False})]
    ((first, second, why),) = schedule(g).reasons
    assert (first.op.name, second.op.name, why) == ("sum", "sum", "combines other dims")


def test_chunks_follow_from_sizes_alone():
    for kernel in schedule(adam_graph([(500, 700)])):
        assert isinstance(kernel, Kernel)
        assert (kernel.chunks > 4) == (kernel.writes[0].shape == (500, 700))


def _grown(rng: Any, g: Graph, pool: list[Value]) -> Value:
    """One more call on values of a pool."""

    def pick(*kinds: str) -> Value:
        fitting = [v for v in pool if not kinds or v.dtype.kind in kinds]
        return fitting[rng.integers(len(fitting))]

    x = pick("f")
    kind = rng.integers(10)
    if kind < 3:
        fitting = [v for v in pool if v.shape == x.shape and v.dtype == x.dtype] or [x]
        y = fitting[rng.integers(len(fitting))]
        return g.call(OPS[rng.choice(["add", "mul", "sub", "maximum"])], (x, y), {})
    if kind < 5:
        return g.call(OPS[rng.choice(["tanh", "sigmoid", "neg", "abs"])], (x,), {})
    if kind == 5 and x.shape:
        d = int(rng.integers(len(x.shape)))
        out = g.call(OPS[rng.choice(["mean", "amax", "sum"])], (x,), {"dim": (d,), "keepdim": True})
        return g.call(OPS["expand"], (out,), {"shape": x.shape}) if rng.random() < 0.7 else out
    if kind == 6 and len(x.shape) > 1:
        return g.call(OPS["transpose"], (x,), {"dim0": 0, "dim1": len(x.shape) - 1})
    if kind == 7:
        return g.call(OPS["unsafe_view"], (x,), {"shape": tuple(reversed(x.shape))})
    if kind == 8 and len(x.shape) == 2:
        fitting = [v for v in pool if len(v.shape) == 2 and v.shape[0] == x.shape[1] and v.dtype == x.dtype]
        if fitting:
            return g.call(OPS["mul"], (g.call(OPS["mm"], (x, fitting[rng.integers(len(fitting))]), {}), 0.2), {})
    if kind == 9 and x.shape and x.shape[0] > 2:
        return g.call(OPS["getitem_slice"], (x,), {"index": (slice(1, None),)})
    return g.call(OPS["where"], (g.call(OPS["gt"], (x, 0.1), {}), x, 0.5), {})


@pytest.mark.parametrize("seed", range(30))
def test_random_programs(seed):
    rng, g = np.random.default_rng(seed), Graph()
    n, m = (int(k) for k in rng.choice([3, 8, 17, 20, 33], 2))
    pool = [g.input(Spec(s, F32)) for s in ((n, m), (n, m), (m, n), (m,), ())]
    for _ in range(25):
        pool.append(_grown(rng, g, pool))
    chosen = rng.choice(len(pool) - 5, 6, replace=False) + 5
    g.outputs = [pool[i] for i in chosen]
    g.updates = [(g.inputs[0], v) for v in pool[::-1] if v.shape == (n, m) and v.dtype == F32][:1]
    check(g, tol=1e-4)
