"""Padding, resizing, sampling and rearranging beside PyTorch."""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy as np
import pytest

import rushlight
from tests.nn.spatial import draw, needs_torch, on_both, same_error, second_derivatives, torch

pytestmark = needs_torch

MODES = ("constant", "reflect", "replicate", "circular")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_pad(mode: str, n: int) -> None:
    rng = random.Random(n)
    checked = 0
    for _ in range(25):
        shape = (*(rng.randint(1, 3) for _ in range(rng.randint(1, 2))), *(rng.randint(2, 5) for _ in range(n)))
        amounts = [rng.randint(-1, 3) for _ in range(2 * n)]
        x = draw(rng, *shape)
        try:
            torch.nn.functional.pad(torch.tensor(x), amounts, mode)
        except RuntimeError as error:
            if "memory location" in str(error):
                continue
            with pytest.raises(RuntimeError) as ours:
                rushlight.nn.functional.pad(rushlight.tensor(x), amounts, mode)
            assert str(ours.value) == str(error)
            continue
        if min(amounts) < 0 and (
            mode == "circular"
            or any(n + a + b < 1 for n, a, b in zip(shape[::-1], amounts[::2], amounts[1::2], strict=False))
        ):
            # PyTorch reads places it has not written where circular padding wraps around what it cropped, and gives
            # memory it has not written as the gradient of an empty result
            continue
        on_both(lambda m, t, a=amounts: m.nn.functional.pad(t, a, mode), [x])
        checked += 1
    assert checked > 4


def test_constant_pad_values_and_dtypes() -> None:
    for dtype, value in (("int64", 1.7), ("float32", 2.5), ("bool", 1), ("float16", -1.0)):
        ours, theirs = (
            m.nn.functional.pad(m.ones(2, 3).to(getattr(m, dtype)), (1, 2, 0, 1), value=value)
            for m in (rushlight, torch)
        )
        assert str(ours.dtype) == str(theirs.dtype) and ours.tolist() == theirs.tolist()
    on_both(
        lambda m, t: m.nn.functional.pad(t, (1, 0, 0, 2, 1, 1, 2, 0, 0, 1)), [draw(random.Random(0), 1, 2, 3, 2, 2)]
    )


def test_errors_of_pad() -> None:
    for shape, amounts, mode in (
        ((2, 3), (1,), "constant"), ((2, 3), (1,) * 6, "constant"), ((2, 3), (-2, -2), "constant"),
        ((2, 3), (1, 2), "foo"), ((3,), (1, 2), "reflect"), ((2, 2, 3, 4), (1, 2), "replicate"),
        ((2, 2, 3), (3, 2), "reflect"), ((2, 0, 6), (1, 2), "reflect"), ((2, 2, 3), (4, 2), "circular"),
        ((1, 1, 6), (-4, -3), "replicate"),
    ):  # fmt: skip
        same_error(lambda m, s=shape, a=amounts, k=mode: m.nn.functional.pad(m.zeros(s), a, k))
    same_error(lambda m: m.nn.functional.pad(m.zeros(2, 3), (1, 2), "reflect", 1.0))
    same_error(lambda m: m.nn.functional.pad(m.zeros(2, 3), 1))
    same_error(lambda m: m.nn.functional.pad(m.zeros(2, 3), (1.5, 1)))
    same_error(lambda m: m.nn.functional.pad(m.zeros(1, 2, 3).bool(), (1, 1), "reflect"))


RANKS = {"nearest": (1, 2, 3), "nearest-exact": (1, 2, 3), "linear": (1,), "bilinear": (2,), "bicubic": (2,),
         "trilinear": (3,), "area": (1, 2, 3)}  # fmt: skip


@pytest.mark.parametrize("mode", RANKS)
def test_interpolate(mode: str) -> None:
    # no factor of 2.3: there PyTorch's own gradient of nearest differs from its forward map
    rng = random.Random(len(mode))
    for n in RANKS[mode]:
        for _ in range(12 // n):
            shape = (2, 2, *(rng.randint(1, 7) for _ in range(n)))
            options: dict[str, Any] = {"mode": mode}
            if rng.random() < 0.5:
                options["size"] = tuple(rng.randint(1, 9) for _ in range(n))
            else:
                options["scale_factor"] = tuple(rng.choice([1.0, 1.7, 2.0, 2.6, 3.0]) for _ in range(n))
                options["recompute_scale_factor"] = rng.choice([None, True, False])
            if "linear" in mode or "cubic" in mode:
                options["align_corners"] = rng.choice([None, True, False])
            on_both(lambda m, t, o=options: m.nn.functional.interpolate(t, **o), [draw(rng, *shape)], 1e-8)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "lanczos"])
def test_antialiasing(mode: str) -> None:
    rng = random.Random(0)
    for size, corners in (
        ((3, 4), False),
        ((2, 11), mode != "lanczos"),
        ((9, 9), None),
        ((1, 5), False),
        ((7, 6), False),
    ):
        on_both(
            lambda m, t, s=size, c=corners: m.nn.functional.interpolate(
                t, s, mode=mode, align_corners=c, antialias=True
            ),
            [draw(rng, 2, 2, 7, 6)],
            1e-8,
        )


def test_float32_and_bytes_of_interpolate() -> None:
    x = (np.random.default_rng(0).random((1, 2, 13, 17)) * 255).astype(np.float32)
    for mode in ("nearest", "bilinear", "bicubic"):
        for size in ((7, 31), (26, 5)):
            values = [m.nn.functional.interpolate(m.tensor(x), size, mode=mode).numpy() for m in (rushlight, torch)]
            np.testing.assert_allclose(*values, rtol=2e-5, atol=2e-3)
    for mode in ("nearest", "bilinear"):
        ours, theirs = (
            m.nn.functional.interpolate(m.tensor(x).to(m.uint8), (7, 31), mode=mode).numpy() for m in (rushlight, torch)
        )
        assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= (0 if mode == "nearest" else 1)


def test_errors_of_interpolate() -> None:
    shape = (1, 2, 5, 5)
    for options in (
        {"size": 3, "scale_factor": 2}, {}, {"size": (3, 3, 3)}, {"scale_factor": (3, 3, 3)}, {"size": (2.5, 1)},
        {"size": 3, "align_corners": True}, {"size": 3, "mode": "foo"}, {"size": 0}, {"size": 0, "mode": "bilinear"},
        {"size": 3, "recompute_scale_factor": True}, {"size": 3, "antialias": True}, {"size": 3, "mode": "linear"},
        {"size": 3, "mode": "trilinear"}, {"size": 3, "mode": "lanczos"},
        {"size": 3, "mode": "lanczos", "align_corners": True},
    ):  # fmt: skip
        same_error(lambda m, o=options: m.nn.functional.interpolate(m.zeros(shape), **o))
    same_error(lambda m: m.nn.functional.interpolate(m.zeros(2, 5), size=3))
    same_error(lambda m: m.nn.functional.interpolate(m.zeros(2, 2, 5), size=3, mode="bicubic"))
    same_error(lambda m: m.nn.functional.interpolate(m.zeros(1, 0, 5, 5), size=3, mode="bilinear"))
    same_error(lambda m: m.nn.functional.interpolate(m.zeros(1, 2, 5, 5).long(), size=3))
    for name in ("upsample", "upsample_nearest", "upsample_bilinear"):
        with pytest.warns(UserWarning, match=name):
            getattr(rushlight.nn.functional, name)(rushlight.zeros(shape), size=3)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("corners", [False, True])
def test_grid_sample(mode: str, padding_mode: str, corners: bool) -> None:
    rng = random.Random(0)
    for size, out in (((4, 5), (3, 2)), ((1, 6), (2, 2)), ((3, 4, 2), (2, 3, 2))):
        if mode == "bicubic" and len(size) == 3:
            continue
        arrays = [draw(rng, 2, 3, *size), draw(rng, 2, *out, len(size))]
        on_both(lambda m, x, g: m.nn.functional.grid_sample(x, g, mode, padding_mode, corners), arrays, 1e-8)


def test_grid_sample_outside_reads_nothing() -> None:
    x = rushlight.full((1, 1, 2, 2), float("inf"))
    grid = rushlight.tensor([[[[5.0, 5.0], [float("nan"), 0.0], [0.0, 0.0]]]])
    out = rushlight.nn.functional.grid_sample(x, grid, align_corners=True).flatten().tolist()
    assert out == [0.0, 0.0, float("inf")]


@pytest.mark.filterwarnings("ignore:Since version 1.3.0, affine_grid")
def test_affine_grid() -> None:
    rng = random.Random(0)
    for corners in (False, True):
        for size in ((2, 3, 4, 5), (2, 1, 1, 3), (2, 3, 2, 3, 4)):
            n = len(size) - 2
            on_both(lambda m, t, s=size, c=corners: m.nn.functional.affine_grid(t, s, c), [draw(rng, 2, n, n + 1)])
    with pytest.warns(UserWarning, match="align_corners"):
        rushlight.nn.functional.affine_grid(rushlight.zeros(1, 2, 3), (1, 1, 2, 2))


def test_errors_of_sampling() -> None:
    f: Any = lambda m: m.nn.functional  # noqa: E731
    for x, grid in (
        ((1, 2, 5, 5), (2, 3, 3, 2)),
        ((1, 2, 5, 5), (1, 3, 3, 3)),
        ((1, 2, 5), (1, 3, 3, 2)),
        ((1, 2, 0, 5), (1, 3, 3, 2)),
    ):
        same_error(lambda m, x=x, g=grid: f(m).grid_sample(m.zeros(x), m.zeros(g), align_corners=False))
    for options in ({"mode": "x"}, {"padding_mode": "x"}):
        same_error(lambda m, o=options: f(m).grid_sample(m.zeros(1, 2, 5, 5), m.zeros(1, 3, 3, 2), **o))
    same_error(lambda m: f(m).grid_sample(m.zeros(1, 2, 5, 5), m.zeros(1, 3, 3, 2).double(), align_corners=False))
    same_error(
        lambda m: f(m).grid_sample(m.zeros(1, 1, 2, 2, 2), m.zeros(1, 1, 1, 1, 3), "bicubic", align_corners=False)
    )
    for theta, size in (
        ((1, 3, 4), (1, 2, 5, 5)),
        ((2, 3), (1, 2, 5, 5)),
        ((1, 2, 3), (1, 2, 5)),
        ((1, 2, 3), (1, 2, 0, 5)),
        ((2, 2, 3), (1, 2, 2, 5)),
    ):
        same_error(lambda m, t=theta, s=size: f(m).affine_grid(m.zeros(t), s, align_corners=False))


@pytest.mark.parametrize("seed", range(8))
def test_unfold_and_fold(seed: int) -> None:
    rng = random.Random(seed)
    kernel, stride, dilation, padding = (tuple(rng.randint(a, 3) for _ in "hw") for a in (1, 1, 1, 0))
    size = tuple(d * (k - 1) + 1 + rng.randint(0, 5) for k, d in zip(kernel, dilation, strict=True))
    lead = (2,) if seed % 2 else ()
    on_both(lambda m, x: m.nn.functional.unfold(x, kernel, dilation, padding, stride), [draw(rng, *lead, 3, *size)])
    columns = torch.nn.functional.unfold(torch.zeros(*lead, 3, *size), kernel, dilation, padding, stride).shape
    on_both(lambda m, x: m.nn.functional.fold(x, size, kernel, dilation, padding, stride), [draw(rng, *columns)])


def test_errors_of_fold() -> None:
    f: Any = lambda m: m.nn.functional  # noqa: E731
    for shape, options in (
        ((2, 5), {"kernel_size": 3}), ((1, 1, 2, 5, 5), {"kernel_size": 3}), ((1, 2, 5, 5), {"kernel_size": 7}),
        ((1, 2, 5, 5), {"kernel_size": (3, 3, 3)}), ((1, 2, 5, 5), {"kernel_size": 0}),
        ((1, 2, 5, 5), {"kernel_size": 2, "stride": 0}), ((1, 2, 5, 5), {"kernel_size": 2, "dilation": 0}),
        ((1, 2, 5, 5), {"kernel_size": 2, "padding": -1}),
    ):  # fmt: skip
        same_error(lambda m, s=shape, o=options: f(m).unfold(m.zeros(s), **o))
    for shape, size in (((1, 18, 8), (5, 5)), ((1, 17, 9), (5, 5)), ((1, 1, 18, 9), (5, 5)), ((1, 18, 9), (2, 2))):
        same_error(lambda m, s=shape, o=size: f(m).fold(m.zeros(s), o, 3))
    same_error(lambda m: f(m).unfold(m.zeros(1, 2, 5, 5).long(), 2))


def test_shuffles() -> None:
    rng = random.Random(0)
    for lead in ((), (2,), (2, 3)):
        on_both(lambda m, x: m.nn.functional.pixel_shuffle(x, 3), [draw(rng, *lead, 18, 2, 3)])
        on_both(lambda m, x: m.nn.functional.pixel_unshuffle(x, 2), [draw(rng, *lead, 2, 4, 6)])
    for shape in ((2, 6, 3), (1, 6, 2, 3)):
        on_both(lambda m, x: m.nn.functional.channel_shuffle(x, 3), [draw(rng, *shape)])
    f: Any = lambda m: m.nn.functional  # noqa: E731
    for name, shape, factor in (
        ("pixel_shuffle", (1, 7, 2, 2), 2), ("pixel_shuffle", (2, 2), 2), ("pixel_shuffle", (1, 8, 2, 2), 0),
        ("pixel_unshuffle", (1, 2, 5, 4), 2), ("pixel_unshuffle", (1, 2, 4, 5), 2),
        ("pixel_unshuffle", (1, 2, 4, 4), 0),
        ("pixel_unshuffle", (4, 4), 2), ("channel_shuffle", (1, 5, 3), 2), ("channel_shuffle", (4, 3), 2),
        ("channel_shuffle", (1, 4, 3), 0),
    ):  # fmt: skip
        same_error(lambda m, n=name, s=shape, r=factor: getattr(f(m), n)(m.zeros(s), r))


def test_second_derivatives() -> None:
    rng = random.Random(0)
    for mode in ("reflect", "replicate", "circular", "constant"):
        second_derivatives(lambda m, x, k=mode: m.nn.functional.pad(x, (1, 2, 2, 0), k), [draw(rng, 1, 2, 3, 4)])
    for mode in ("bilinear", "bicubic", "nearest"):
        second_derivatives(lambda m, x, k=mode: m.nn.functional.interpolate(x, (5, 3), mode=k), [draw(rng, 1, 2, 3, 4)])
    second_derivatives(lambda m, x: m.nn.functional.unfold(x, 2, padding=1), [draw(rng, 1, 2, 3, 4)])
    second_derivatives(lambda m, x: m.nn.functional.pixel_shuffle(x, 2), [draw(rng, 1, 4, 3, 2)])
    leaves = [rushlight.tensor(draw(rng, *s)).requires_grad_() for s in ((1, 2, 3, 4), (1, 2, 2, 2))]
    for mode in ("bilinear", "bicubic"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sample = lambda x, g, k=mode: rushlight.nn.functional.grid_sample(x, g * 0.3, k, align_corners=False)  # noqa: E731
            assert rushlight.autograd.gradgradcheck(sample, tuple(leaves))
