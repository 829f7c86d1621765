"""Pooling beside PyTorch: values, indices, gradients, second derivatives, errors."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight.backends import numpy_pool
from tests.nn.spatial import draw, needs_torch, on_both, same_error, second_derivatives, torch

pytestmark = needs_torch

SIZES = {1: (9,), 2: (7, 8), 3: (5, 6, 4)}


def _windows(seed: int) -> tuple[int, random.Random, tuple[int, ...], dict[str, Any]]:
    rng = random.Random(seed)
    n = rng.choice([1, 2, 2, 3])
    kernel = tuple(rng.randint(1, 3) for _ in range(n))
    stride = tuple(rng.randint(1, 3) for _ in range(n)) if rng.random() < 0.7 else None
    padding = tuple(rng.randint(0, k // 2) for k in kernel)
    size = tuple(k + rng.randint(0, 6) for k in kernel)
    lead = (2, 3) if rng.random() < 0.8 else (3,)
    options = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": rng.random() < 0.5}
    return n, rng, (*lead, *size), options


@pytest.mark.parametrize("seed", range(40))
def test_max_pool(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_pool, "BLOCK_BYTES", (1, 1 << 18)[seed % 2])
    monkeypatch.setattr(numpy_pool, "PARALLEL_ELEMENTS", (0, 1 << 40)[seed // 2 % 2])
    n, rng, shape, options = _windows(seed)
    if rng.random() < 0.5:
        options["dilation"] = dilation = tuple(rng.randint(1, 2) for _ in range(n))
        reach = [(k - 1) * (d - 1) for k, d in zip(options["kernel_size"], dilation, strict=True)]
        shape = (*shape[:-n], *(m + r for m, r in zip(shape[-n:], reach, strict=True)))
        options["padding"] = tuple(
            min(p, k // 2) for p, k in zip(options["padding"], options["kernel_size"], strict=True)
        )
    # few distinct values, so that ties are common
    x = np.rint(draw(rng, *shape))
    if rng.random() < 0.3:
        x[np.random.default_rng(seed).random(x.shape) < 0.1] = np.nan
    pool = f"max_pool{n}d"
    on_both(lambda m, t: getattr(m.nn.functional, pool)(t, return_indices=True, **options), [x])
    on_both(lambda m, t: getattr(m.nn.functional, pool)(t, **options), [x])


@pytest.mark.parametrize("seed", range(30))
def test_avg_pool(seed: int) -> None:
    n, rng, shape, options = _windows(100 + seed)
    options["count_include_pad"] = rng.random() < 0.5
    if n > 1 and rng.random() < 0.4:
        options["divisor_override"] = rng.choice([1, 3, -2])
    on_both(lambda m, t: getattr(m.nn.functional, f"avg_pool{n}d")(t, **options), [draw(rng, *shape)])


@pytest.mark.parametrize("n", [1, 2, 3])
def test_adaptive_pools(n: int) -> None:
    rng = random.Random(n)
    size = SIZES[n]
    wanted: list[Any] = [
        1,
        2,
        3,
        tuple(m for m in size),
        tuple(max(1, m // 2) for m in size),
        tuple(m + 3 for m in size),
    ]
    if n > 1:
        wanted.append((None, *(2,) * (n - 1)))
    for output in wanted:
        for lead in ((2, 3), (3,)):
            x = np.rint(draw(rng, *lead, *size))
            on_both(lambda m, t, o=output: getattr(m.nn.functional, f"adaptive_avg_pool{n}d")(t, o), [x])
            on_both(lambda m, t, o=output: getattr(m.nn.functional, f"adaptive_max_pool{n}d")(t, o, True), [x])


@pytest.mark.parametrize("n", [2, 3])
def test_fractional_pool(n: int) -> None:
    rng = random.Random(n)
    size = {2: (11, 9), 3: (7, 8, 9)}[n]
    for seed in range(6):
        samples = np.random.default_rng(seed).random((2, 3, n))
        kernel, output = (2, 3)[seed % 2], tuple(rng.randint(1, m - 3) for m in size)
        on_both(
            lambda m, t, s, k=kernel, o=output: getattr(m.nn.functional, f"fractional_max_pool{n}d")(
                t, k, o, None, True, s.detach()
            ),
            [draw(rng, 2, 3, *size), samples],
        )
    found = []
    for m in (rushlight, torch):
        m.manual_seed(3)
        x = m.tensor(draw(random.Random(0), 2, 3, *size))
        found.append(getattr(m.nn.functional, f"fractional_max_pool{n}d")(x, 2, output_ratio=(0.5,) * n).tolist())
    assert found[0] == found[1]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_unpool(n: int) -> None:
    rng = random.Random(n)
    pool, unpool = f"max_pool{n}d", f"max_unpool{n}d"

    def call(m: Any, x: Any, size: Any = None) -> Any:
        values, indices = getattr(m.nn.functional, pool)(x, 2, 2, return_indices=True)
        return getattr(m.nn.functional, unpool)(values, indices, 2, 2, output_size=size)

    on_both(call, [draw(rng, 2, 3, *(6,) * n)])
    on_both(call, [draw(rng, 3, *(6,) * n)])
    on_both(lambda m, x: call(m, x, (7,) * n), [draw(rng, 2, 3, *(7,) * n)])
    for size in ((12,) * n, (9,) * (n + 1)):
        same_error(lambda m, s=size: call(m, m.ones(2, 3, *(6,) * n), s))
    for change in (100000, -100000):

        def wrong(m: Any, change: int = change) -> Any:
            values, indices = getattr(m.nn.functional, pool)(
                m.arange(3.0 * 6**n).view(1, 3, *(6,) * n), 2, return_indices=True
            )
            return getattr(m.nn.functional, unpool)(values, indices + change, 2)

        with pytest.raises(RuntimeError, match=r"Found an invalid max index: -?\d+ .output volumes are of size 6"):
            wrong(rushlight)
    same_error(
        lambda m: getattr(m.nn.functional, unpool)(m.ones(1, 2, *(2,) * n), m.ones(1, 2, *(2,) * n).long()[:, :1], 2)
    )


@pytest.mark.parametrize("n", [1, 2, 3])
def test_lp_pool(n: int) -> None:
    rng = random.Random(n)
    x = np.abs(draw(rng, 2, 3, *SIZES[n])) + 0.1
    for power, ceil_mode in ((2, False), (3.5, True), (1, False)):
        on_both(lambda m, t, p=power, c=ceil_mode: getattr(m.nn.functional, f"lp_pool{n}d")(t, p, 2, None, c), [x])


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("max_pool2d", (3, 2, 1)), ("avg_pool2d", (3, 2, 1)), ("adaptive_avg_pool2d", (3,)), ("adaptive_max_pool2d", (3,)),
     ("max_pool3d", (2,)), ("avg_pool3d", (2,)), ("adaptive_avg_pool3d", (2,)), ("lp_pool2d", (3.0, 2))],
)  # fmt: skip
def test_second_derivatives(name: str, arguments: tuple[Any, ...]) -> None:
    shape = (2, 2, 4, 5, 7) if "3d" in name else (2, 2, 5, 7)
    x = np.abs(draw(random.Random(0), *shape))
    if name == "adaptive_avg_pool3d":
        # PyTorch has no second derivative here: an expression with the same meaning stands for it
        leaf = rushlight.tensor(x).requires_grad_()
        assert rushlight.autograd.gradgradcheck(lambda t: rushlight.nn.functional.adaptive_avg_pool3d(t, 3), (leaf,))
        return
    second_derivatives(lambda m, t: getattr(m.nn.functional, name)(t, *arguments), [x])


def test_half_precision_and_integers() -> None:
    rng = random.Random(0)
    x = np.rint(draw(rng, 2, 3, 6, 6) * 9)
    cases = [("max_pool2d", d) for d in ("float16", "bfloat16", "int64", "int32", "uint8")]
    for name, dtype in [*cases, *(("avg_pool2d", d) for d in ("float16", "bfloat16", "int64"))]:
        ours, theirs = (
            getattr(m.nn.functional, name)(m.tensor(np.abs(x)).to(getattr(m, dtype)), 3, 2, 1)
            for m in (rushlight, torch)
        )
        assert str(ours.dtype) == str(theirs.dtype)
        assert ours.to(rushlight.float64).tolist() == theirs.double().tolist()
    same_error(lambda m: m.nn.functional.avg_pool2d(m.ones(1, 1, 4, 4).int(), 2))


def test_windows_of_more_than_256_places() -> None:
    on_both(
        lambda m, t: m.nn.functional.max_pool2d(t, 18, 3, return_indices=True), [draw(random.Random(0), 1, 2, 25, 27)]
    )


def test_infinite_gradients_stay_where_they_are() -> None:
    x = rushlight.arange(16.0).view(1, 1, 4, 4).requires_grad_()
    rushlight.nn.functional.max_pool2d(x, 2).backward(rushlight.tensor([[[[float("inf"), 1], [1, 1]]]]))
    assert not x.grad.isnan().any() and x.grad.isinf().sum() == 1


def _errors(n: int) -> list[Any]:
    shape = {1: (2, 3, 8), 2: (2, 3, 8, 8), 3: (2, 3, 8, 8, 8)}[n]
    calls = []
    for change in ({"padding": 2}, {"padding": -1}, {"kernel_size": 0}, {"stride": 0}, {"kernel_size": 9},
                   {"kernel_size": (2,) * 4}, {"stride": (2,) * 4}, {"padding": (1,) * 4}, {"kernel_size": 2.5},
                   {"kernel_size": "a"}):  # fmt: skip
        options = {"kernel_size": 2, **change}
        calls += [(f"{kind}_pool{n}d", shape, options) for kind in ("max", "avg")]
    calls += [(f"max_pool{n}d", shape, {"kernel_size": 2, "dilation": d}) for d in (0, (1,) * 4)]
    calls += [(f"{kind}_pool{n}d", shape[2:], {"kernel_size": 2}) for kind in ("max", "avg")]
    calls += [(f"max_pool{n}d", (2, 0, *shape[2:]), {"kernel_size": 2})]
    for kind in ("adaptive_max", "adaptive_avg"):
        name = f"{kind}_pool{n}d"
        calls += [(name, shape, {"output_size": size}) for size in ((2,) * 4, -1)]
        calls += [(name, (2, 3, *(0,) * n), {"output_size": 2}), (name, shape[2:], {"output_size": 2})]
    if n > 1:
        calls += [(f"avg_pool{n}d", shape, {"kernel_size": 2, "divisor_override": 0})]
        for options in ({}, {"output_size": 8}, {"kernel_size": (2,) * (n + 1), "output_size": 5}):
            calls.append((f"fractional_max_pool{n}d", shape, {"kernel_size": 2, **options}))
    return calls


@pytest.mark.parametrize("n", [1, 2, 3])
def test_errors(n: int) -> None:
    for name, shape, options in _errors(n):
        same_error(lambda m, f=name, s=shape, o=options: getattr(m.nn.functional, f)(m.zeros(s), **o))
    for kind in ("bool", "cfloat"):
        same_error(
            lambda m, k=kind: getattr(m.nn.functional, f"max_pool{n}d")(m.zeros(2, 3, *(8,) * n).to(getattr(m, k)), 2)
        )
    same_error(lambda m: getattr(m.nn.functional, f"max_pool{n}d")([1], 2))
