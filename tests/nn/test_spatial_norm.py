"""Normalisation beside PyTorch: values, running statistics, gradients, second derivatives, errors."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight.backends import numpy_norm
from tests.nn.spatial import draw, needs_torch, on_both, same_error, second_derivatives, torch

pytestmark = needs_torch

SHAPES = [(5, 3), (2, 3, 4), (4, 3, 5, 2), (2, 3, 2, 3, 2), (3, 1, 6)]


@pytest.fixture(params=[False, True])
def _small_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param:
        monkeypatch.setattr(numpy_norm, "BLOCK_BYTES", 100)
        monkeypatch.setattr(numpy_norm, "PARALLEL_ELEMENTS", 0)


@pytest.mark.usefixtures("_small_blocks")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("affine", [0, 1, 2])
def test_batch_norm(shape: tuple[int, ...], affine: int) -> None:
    rng = random.Random(affine)
    c = shape[1]
    factors = [draw(rng, c) for _ in range(affine)]
    x = draw(rng, *shape) * 3 + 5

    def training(m: Any, t: Any, *wb: Any) -> Any:
        return m.nn.functional.batch_norm(t, None, None, *wb, training=True, eps=1e-3)

    def evaluation(m: Any, t: Any, *wb: Any) -> Any:
        mean, var = m.arange(float(c)).double(), m.ones(c).double() + m.arange(float(c)).double()
        return m.nn.functional.batch_norm(t, mean, var, *wb)

    on_both(training, [x, *factors])
    on_both(evaluation, [x, *factors])


@pytest.mark.parametrize("momentum", [0.1, 0.7])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_running_statistics(momentum: float, dtype: str) -> None:
    rng = random.Random(0)
    batches = [draw(rng, 4, 3, 5) * 2 + 1 for _ in range(3)]
    found = []
    for m in (rushlight, torch):
        mean, var = m.zeros(3, dtype=getattr(m, dtype)), m.ones(3, dtype=getattr(m, dtype))
        for batch in batches:
            m.nn.functional.batch_norm(
                m.tensor(batch, dtype=getattr(m, dtype)), mean, var, training=True, momentum=momentum
            )
        found.append((mean.numpy(), var.numpy()))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6 if dtype == "float32" else 1e-12)


def test_batch_norm_of_data_far_from_zero() -> None:
    # sums of squares alone would lose all digits here
    x = draw(random.Random(0), 64, 4, 50) * 0.1 + 1000 + np.arange(4)[:, None]
    ours, theirs = (
        m.nn.functional.batch_norm(m.tensor(x, dtype=m.float32), None, None, training=True).numpy()
        for m in (rushlight, torch)
    )
    exact = (x - x.mean((0, 2), keepdims=True)) / np.sqrt(x.var((0, 2), keepdims=True) + 1e-5)
    assert np.abs(ours - exact).max() < 3 * np.abs(theirs - exact).max()


@pytest.mark.usefixtures("_small_blocks")
@pytest.mark.parametrize("affine", [0, 1, 2])
@pytest.mark.parametrize(("shape", "dims"), [((5, 7), 1), ((2, 3, 4), 2), ((2, 3, 4), 3), ((6,), 1), ((2, 3, 1), 1)])
def test_layer_norm(shape: tuple[int, ...], dims: int, affine: int) -> None:
    rng = random.Random(dims)
    inner = shape[len(shape) - dims :]
    arrays = [draw(rng, *shape) * 3 + 5, *(draw(rng, *inner) for _ in range(affine))]
    on_both(lambda m, t, *wb: m.nn.functional.layer_norm(t, inner, *wb, eps=1e-3), arrays)


@pytest.mark.usefixtures("_small_blocks")
@pytest.mark.parametrize("affine", [0, 1, 2])
@pytest.mark.parametrize(("shape", "groups"), [((3, 4), 2), ((2, 6, 5), 3), ((2, 4, 3, 2), 1), ((2, 4, 3, 2), 4)])
def test_group_norm(shape: tuple[int, ...], groups: int, affine: int) -> None:
    rng = random.Random(groups)
    arrays = [draw(rng, *shape) * 3 + 5, *(draw(rng, shape[1]) for _ in range(affine))]
    on_both(lambda m, t, *wb: m.nn.functional.group_norm(t, groups, *wb, eps=1e-3), arrays)


@pytest.mark.parametrize("affine", [0, 1])
@pytest.mark.parametrize(("shape", "dims"), [((5, 7), 1), ((2, 3, 4), 2), ((6,), 1)])
def test_rms_norm(shape: tuple[int, ...], dims: int, affine: int) -> None:
    rng = random.Random(dims)
    inner = shape[len(shape) - dims :]
    arrays = [draw(rng, *shape), *(draw(rng, *inner) for _ in range(affine))]
    on_both(lambda m, t, *w: m.nn.functional.rms_norm(t, inner, *w), arrays)
    for dtype in ("float32", "float16", "bfloat16"):
        tiny = [m.nn.functional.rms_norm(m.full((1, 4), 1e-4).to(getattr(m, dtype)), (4,)) for m in (rushlight, torch)]
        np.testing.assert_allclose(*(t.float().numpy() for t in tiny), rtol=1e-2)


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5), (2, 2, 3, 2, 2)])
def test_instance_norm(shape: tuple[int, ...]) -> None:
    rng = random.Random(1)
    x, w, b = draw(rng, *shape), draw(rng, shape[1]), draw(rng, shape[1])
    on_both(lambda m, t, w, b: m.nn.functional.instance_norm(t, None, None, w, b), [x, w, b])
    found = []
    for m in (rushlight, torch):
        mean, var = m.zeros(shape[1]).double(), m.ones(shape[1]).double()
        m.nn.functional.instance_norm(m.tensor(x), mean, var)
        out = m.nn.functional.instance_norm(m.tensor(x), mean, var, use_input_stats=False)
        found.append([t.numpy() for t in (mean, var, out)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_local_response_norms() -> None:
    rng = random.Random(1)
    for shape in ((2, 5, 3), (2, 5, 3, 4), (2, 4, 2, 3, 2)):
        for size in (1, 2, 3, 5):
            on_both(lambda m, t, s=size: m.nn.functional.local_response_norm(t, s, 0.3, 0.6, 1.5), [draw(rng, *shape)])
    for size in (1, 2, 3, 4, 5):
        values = [
            m.nn.CrossMapLRN2d(size, 0.3, 0.6, 1.5)(m.tensor(draw(random.Random(0), 2, 5, 3, 3)))
            for m in (rushlight, torch)
        ]
        np.testing.assert_allclose(*(v.numpy() for v in values), atol=1e-12)


def test_normalize() -> None:
    rng = random.Random(1)
    for p, dim in ((2.0, 1), (1.0, 0), (3.5, -1), (2.0, (0, 1))):
        on_both(lambda m, t, p=p, d=dim: m.nn.functional.normalize(t, p, d), [draw(rng, 3, 4, 2)])
    out = rushlight.empty(3, 2)
    assert rushlight.nn.functional.normalize(rushlight.ones(3, 2), out=out) is out
    np.testing.assert_allclose(out.numpy(), 0.5**0.5, rtol=1e-6)


def _second(m: Any, name: str, x: Any, *wb: Any) -> Any:
    f = m.nn.functional
    return {
        "batch": lambda: f.batch_norm(x, None, None, *wb, training=True, eps=0.1),
        "frozen": lambda: f.batch_norm(x, m.arange(2.0).double(), m.ones(2).double(), *wb, eps=0.1),
        "layer": lambda: f.layer_norm(x, (2, 3), *(v.view(2, 1).expand(2, 3) for v in wb), eps=0.1),
        "group": lambda: f.group_norm(x, 1, *wb, eps=0.1),
        "instance": lambda: f.instance_norm(x, None, None, *wb, eps=0.1),
        "rms": lambda: f.rms_norm(x, (3,), None, eps=0.1) * wb[0].view(2, 1) * wb[1].view(2, 1),
    }[name]()


@pytest.mark.parametrize("name", ["batch", "frozen", "layer", "group", "instance", "rms"])
def test_second_derivatives(name: str) -> None:
    rng = random.Random(0)
    arrays = [draw(rng, 3, 2, 3), draw(rng, 2), draw(rng, 2)]
    if name == "layer":
        # PyTorch's layer norm has a second derivative only where its operands are contiguous
        second_derivatives(
            lambda m, x, w, b: m.nn.functional.layer_norm(x, (2, 3), w, b, eps=0.1),
            [arrays[0], draw(rng, 2, 3), draw(rng, 2, 3)],
        )
        return
    second_derivatives(lambda m, x, w, b: _second(m, name, x, w, b), arrays)


def test_third_derivatives_exist() -> None:
    x = rushlight.tensor(draw(random.Random(0), 4, 2), requires_grad=True)
    y = rushlight.nn.functional.batch_norm(x, None, None, training=True, eps=0.1)
    g = (y**3).sum()
    for _ in range(3):
        (g,) = rushlight.autograd.grad(g, x, create_graph=True)
        g = (g * g).sum()
    assert g.isfinite() and g.item() > 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype: str) -> None:
    rng = random.Random(0)
    x, w, b = draw(rng, 4, 6, 5), draw(rng, 6), draw(rng, 6)
    for mixed in (False, True):
        found = []
        for m in (rushlight, torch):
            half = getattr(m, dtype)
            kind = m.float32 if mixed else half
            leaves = [m.tensor(x).to(half).requires_grad_(), *(m.tensor(v).to(kind).requires_grad_() for v in (w, b))]
            t, u, v = leaves
            f = m.nn.functional
            wide = (u.view(6, 1).expand(6, 5), v.view(6, 1).expand(6, 5))
            outs = [
                f.batch_norm(t, None, None, u, v, training=True),
                f.group_norm(t, 2, u, v),
                f.layer_norm(t, (6, 5), *wide),
            ]
            sum(o.float().pow(2).sum() for o in outs).backward()
            assert all(o.dtype == half for o in outs) and [q.grad.dtype for q in leaves] == [half, kind, kind]
            found.append([*(o.detach().float().numpy() for o in outs), *(q.grad.float().numpy() for q in leaves)])
        for a, c in zip(*found, strict=True):
            np.testing.assert_allclose(a, c, rtol=0.1, atol=0.15)


def test_empty_batches() -> None:
    for training in (True, False):
        on_both(
            lambda m, t, w, b, tr=training: m.nn.functional.batch_norm(
                t, m.zeros(3).double(), m.ones(3).double(), w, b, tr
            ),
            [np.zeros((0, 3, 4)), np.ones(3), np.ones(3)],
            grads=False,
        )
    for name, arguments in (("layer_norm", ((3, 4),)), ("group_norm", (3,))):
        on_both(
            lambda m, t, f=name, a=arguments: getattr(m.nn.functional, f)(t, *a), [np.zeros((0, 3, 4))], grads=False
        )


BATCH: list[tuple[tuple[int, ...], list[int | None], dict[str, Any]]] = [
    ((2, 3, 4), [None, None], {}),
    ((2, 3, 4), [3, None], {"training": True}),
    ((1, 3), [3, 3], {"training": True}),
    ((2, 3, 4), [4, 3], {}),
    ((2, 3, 4), [3, 4], {}),
    ((2, 3, 4), [3, 3, 4, 3], {}),
    ((2, 3, 4), [3, 3, 3, 4], {}),
    ((3,), [3, 3], {}),
    ((2, 3, 4), [3, 3], {"training": True, "eps": 0}),
]


@pytest.mark.parametrize("case", range(len(BATCH)))
def test_errors_of_batch_norm(case: int) -> None:
    shape, sizes, options = BATCH[case]
    same_error(
        lambda m: m.nn.functional.batch_norm(
            m.zeros(shape), *(None if n is None else m.ones(n) for n in sizes), **options
        )
    )


def test_errors() -> None:
    x = (2, 4, 3)
    for arguments in (((4,),), ((),), (3,), ((2, 4, 3, 1),)):
        same_error(lambda m, a=arguments: m.nn.functional.layer_norm(m.zeros(x), *a))
    same_error(lambda m: m.nn.functional.layer_norm(m.zeros(x), (3,), m.ones(4)))
    same_error(lambda m: m.nn.functional.layer_norm(m.zeros(x), (3,), m.ones(3), m.ones(4)))
    same_error(lambda m: m.nn.functional.layer_norm(m.zeros(x).long(), (3,)))
    same_error(lambda m: m.nn.functional.layer_norm(m.zeros(x).double(), (3,), m.ones(3)))
    for groups in (3, 0):
        same_error(lambda m, g=groups: m.nn.functional.group_norm(m.zeros(x), g))
    same_error(lambda m: m.nn.functional.group_norm(m.zeros(2), 1))
    same_error(lambda m: m.nn.functional.group_norm(m.zeros(1, 4), 4))
    same_error(lambda m: m.nn.functional.group_norm(m.zeros(x), 2, m.ones(3)))
    same_error(lambda m: m.nn.functional.instance_norm(m.zeros(2, 4, 1)))
    same_error(lambda m: m.nn.functional.instance_norm(m.zeros(x), use_input_stats=False))
    same_error(lambda m: m.nn.functional.rms_norm(m.zeros(x), (4,)))
    same_error(lambda m: m.nn.functional.rms_norm(m.zeros(x), (3,), m.ones(4)))
    same_error(lambda m: m.nn.functional.rms_norm(m.zeros(x).long(), (3,)))
    same_error(lambda m: m.nn.functional.local_response_norm(m.zeros(2, 4), 2))
    same_error(lambda m: m.nn.functional.batch_norm(m.zeros(2, 3).long(), m.zeros(3), m.ones(3)))
    same_error(
        lambda m: m.nn.functional.batch_norm(m.zeros(2, 3).double(), m.zeros(3), m.ones(3), m.ones(3), m.ones(3), True)
    )
