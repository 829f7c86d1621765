"""Convolutions beside PyTorch: values, gradients, second derivatives, errors."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight.backends import numpy_conv
from tests.nn.spatial import draw, needs_torch, on_both, same_error, second_derivatives, torch

pytestmark = needs_torch


def _configuration(seed: int, transposed: bool) -> tuple[int, list[Any], dict[str, Any]]:
    rng = random.Random(seed)
    n = rng.choice([1, 2, 2, 3])
    groups, c, o, batch = rng.choice([1, 1, 2, 3]), rng.randint(1, 3), rng.randint(1, 3), rng.randint(1, 3)
    kernel, stride, dilation, padding = (
        tuple(rng.randint(a, b) for _ in range(n)) for a, b in ((1, 4), (1, 4), (1, 3), (0, 3))
    )
    size = tuple(
        max(1, d * (k - 1) + 1 - 2 * p) + rng.randint(0, 6) for d, k, p in zip(dilation, kernel, padding, strict=True)
    )
    options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    if transposed:
        padding = tuple(min(p, d * (k - 1) // 2) for p, d, k in zip(padding, dilation, kernel, strict=True))
        extra = tuple(rng.randint(0, max(s, d) - 1) for s, d in zip(stride, dilation, strict=True))
        options.update(padding=padding, output_padding=extra)
    channels = (groups * c, o) if transposed else (groups * o, c)
    lead = (batch,) if rng.random() < 0.8 else ()
    arrays = [draw(rng, *lead, groups * c, *size), draw(rng, *channels, *kernel)]
    return n, [*arrays, draw(rng, groups * o) if rng.random() < 0.7 else None], options


@pytest.mark.parametrize("seed", range(40))
def test_convolution(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # blocks of every size, rows long and short, in one and several threads
    monkeypatch.setattr(numpy_conv, "BLOCK_BYTES", (1, 3000, 1 << 19)[seed % 3])
    monkeypatch.setattr(numpy_conv, "MOST_WASTE", (0, 1.6, 100)[seed // 3 % 3])
    monkeypatch.setattr(numpy_conv, "PARALLEL_PRODUCTS", (0, 1 << 40)[seed % 2])
    n, arrays, options = _configuration(seed, transposed=False)
    on_both(lambda m, x, w, b: getattr(m.nn.functional, f"conv{n}d")(x, w, b, **options), arrays)


@pytest.mark.parametrize("seed", range(30))
def test_transposed_convolution(seed: int) -> None:
    n, arrays, options = _configuration(1000 + seed, transposed=True)
    on_both(lambda m, x, w, b: getattr(m.nn.functional, f"conv_transpose{n}d")(x, w, b, **options), arrays)


@pytest.mark.parametrize("seed", range(0, 24, 3))
def test_second_derivatives(seed: int) -> None:
    for transposed in (False, True):
        n, arrays, options = _configuration(seed, transposed)
        name = f"conv_transpose{n}d" if transposed else f"conv{n}d"
        second_derivatives(lambda m, x, w, b, f=name, o=options: getattr(m.nn.functional, f)(x, w, b, **o), arrays)


@pytest.mark.parametrize(("kernel", "dilation"), [((3, 5), 1), ((2, 4), 1), ((3, 2), (2, 3))])
@pytest.mark.filterwarnings("ignore:Using padding")
def test_padding_same(kernel: tuple[int, int], dilation: Any) -> None:
    rng = random.Random(3)
    arrays = [draw(rng, 2, 3, 7, 8), draw(rng, 4, 3, *kernel), draw(rng, 4)]
    for padding in ("same", "valid"):
        on_both(lambda m, x, w, b, p=padding: m.nn.functional.conv2d(x, w, b, padding=p, dilation=dilation), arrays)


def test_float32_is_as_exact_as_torch() -> None:
    rng = random.Random(1)
    x, w = draw(rng, 4, 16, 20, 20).astype(np.float32), draw(rng, 8, 16, 3, 3).astype(np.float32)
    exact = torch.nn.functional.conv2d(
        torch.tensor(x, dtype=torch.float64), torch.tensor(w, dtype=torch.float64), padding=1
    )
    ours = rushlight.nn.functional.conv2d(rushlight.tensor(x), rushlight.tensor(w), padding=1)
    theirs = torch.nn.functional.conv2d(torch.tensor(x), torch.tensor(w), padding=1)
    error, bound = (np.abs(t.numpy() - exact.numpy()).max() for t in (ours, theirs))
    assert ours.dtype is rushlight.float32 and error < 3 * bound


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int64", "complex64"])
def test_other_dtypes(dtype: str) -> None:
    rng = random.Random(5)
    x, w = (np.rint(draw(rng, *shape) * 3) for shape in ((2, 3, 6, 6), (4, 3, 3, 3)))

    def call(m: Any) -> Any:
        a, b = (m.tensor(v).to(getattr(m, dtype)) for v in (x, w))
        return m.nn.functional.conv2d(a, b, stride=2)

    ours, theirs = call(rushlight), call(torch)
    assert str(ours.dtype) == str(theirs.dtype)
    if dtype == "complex64":
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-4)
    else:
        assert ours.to(rushlight.float64).tolist() == theirs.double().tolist()


def test_complex_gradients() -> None:
    rng = random.Random(6)
    arrays = [draw(rng, 2, 2, 5) + 1j * draw(rng, 2, 2, 5), draw(rng, 3, 2, 2) + 1j * draw(rng, 3, 2, 2)]
    grads = []
    for m in (rushlight, torch):
        leaves = [m.tensor(a).requires_grad_() for a in arrays]
        out = m.nn.functional.conv1d(*leaves)
        out.abs().sum().backward()
        grads.append([t.grad.numpy() for t in leaves])
    for a, b in zip(*grads, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)


def test_zero_sizes() -> None:
    on_both(lambda m, x, w: m.nn.functional.conv2d(x, w), [np.zeros((0, 3, 5, 5)), np.ones((4, 3, 3, 3))])
    nothing = rushlight.nn.functional.conv2d(rushlight.ones(2, 0, 5, 5), rushlight.ones(4, 0, 3, 3), rushlight.ones(4))
    assert nothing.shape == (2, 4, 3, 3) and nothing.eq(1).all()


def test_strided_inputs_give_contiguous_results() -> None:
    x = rushlight.rand(2, 6, 7, 4).permute(0, 3, 2, 1)
    w = rushlight.rand(3, 3, 5, 4).permute(1, 3, 2, 0).contiguous().transpose(2, 3)
    out = rushlight.nn.functional.conv2d(x, w)
    expected = torch.nn.functional.conv2d(torch.tensor(x.numpy()), torch.tensor(w.contiguous().numpy()))
    assert out.is_contiguous()
    np.testing.assert_allclose(out.numpy(), expected.numpy(), rtol=1e-5)


def test_results_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, g = (rng.normal(size=(40, c, 9, 9)).astype(np.float32) for c in (8, 5))
    geometry = numpy_conv.Geometry((9, 9), (3, 3), (9, 9), (1, 1), (1, 1), (1, 1))
    monkeypatch.setattr(numpy_conv, "PARALLEL_PRODUCTS", 0)
    found = []
    before = rushlight.backends.threads.get_num_threads()
    for threads in (1, 2, 5):
        rushlight.backends.threads.set_num_threads(threads)
        found.append(numpy_conv.weight_gradient(x, g, geometry, 1).tobytes())
    rushlight.backends.threads.set_num_threads(before)
    assert len(set(found)) == 1


Z = {"x": (1, 3, 8, 8), "w": (4, 3, 3, 3)}
ERRORS: list[tuple[tuple[int, ...], tuple[int, ...], Any, dict[str, Any]]] = [
    ((1, 3, 8, 8), (4, 2, 3, 3), None, {}),
    ((1, 3, 8, 8), (4, 3, 3, 3), None, {"groups": 2}),
    ((1, 4, 8, 8), (3, 2, 3, 3), None, {"groups": 2}),
    ((1, 4, 8, 8), (1, 2, 3, 3), None, {"groups": 2}),
    ((8, 8), (4, 3, 3, 3), None, {}),
    ((1, 3, 8, 8), (4, 3, 3), None, {}),
    ((1, 3, 8, 8), (4, 3, 3, 3), (3,), {}),
    ((1, 3, 2, 2), (4, 3, 3, 3), None, {}),
    ((1, 3, 2, 2), (4, 3, 9, 3), None, {"padding": 1}),
    ((1, 3, 8, 8), (4, 3, 3, 3), None, {"stride": 0}),
    ((1, 3, 8, 8), (4, 3, 3, 3), None, {"padding": -1}),
    ((1, 3, 8, 8), (4, 3, 3, 3), None, {"dilation": 0}),
    ((1, 3, 8, 8), (4, 3, 3, 3), None, {"groups": 0}),
    ((1, 3, 8, 8), (4, 3, 3, 3), None, {"stride": (1, 2, 3)}),
    ((1, 3, 8, 8), (4, 3, 3, 3), None, {"padding": (1, 2, 3)}),
    ((1, 3, 8, 8), (4, 3, 3, 3), None, {"padding": "foo"}),
    ((1, 3, 8, 8), (4, 3, 3, 3), None, {"padding": "same", "stride": 2}),
    ((1, 3, 8, 8), (4, 3, 0, 3), None, {}),
]


@pytest.mark.parametrize("case", range(len(ERRORS)))
def test_errors(case: int) -> None:
    x, w, b, options = ERRORS[case]
    same_error(lambda m: m.nn.functional.conv2d(m.zeros(x), m.zeros(w), None if b is None else m.zeros(b), **options))


def test_errors_of_transposed_convolution() -> None:
    for options in ({"output_padding": 1}, {"stride": 2, "output_padding": 2}, {"output_padding": -1}, {"groups": 3}):
        same_error(lambda m, o=options: m.nn.functional.conv_transpose2d(m.zeros(1, 4, 8, 8), m.zeros(4, 2, 3, 3), **o))
    same_error(lambda m: m.nn.functional.conv_transpose2d(m.zeros(1, 3, 8, 8), m.zeros(4, 2, 3, 3)))
    same_error(lambda m: m.nn.functional.conv_transpose2d(m.zeros(1, 4, 1, 1), m.zeros(4, 2, 3, 3), padding=4))
    same_error(lambda m: m.nn.functional.conv_transpose2d(m.zeros(1, 4, 8, 8), m.zeros(4, 2, 3, 3), m.zeros(3)))


def test_errors_of_types() -> None:
    same_error(lambda m: m.nn.functional.conv2d(m.zeros(1, 3, 8, 8), m.zeros(4, 3, 3, 3).double()))
    same_error(lambda m: m.nn.functional.conv2d(m.zeros(1, 3, 8, 8), m.zeros(4, 3, 3, 3), m.zeros(4).double()))
    same_error(lambda m: m.nn.functional.conv2d(m.zeros(1, 3, 8, 8).bool(), m.zeros(4, 3, 3, 3).bool()))
    for bad in ([1, 2], None, np.zeros((1, 3, 8, 8))):
        with pytest.raises(TypeError, match="conv2d"):
            rushlight.nn.functional.conv2d(bad, rushlight.zeros(4, 3, 3, 3))
    with pytest.raises(TypeError, match="tuple of ints"):
        rushlight.nn.functional.conv2d(rushlight.zeros(1, 3, 8, 8), rushlight.zeros(4, 3, 3, 3), stride=1.5)


def test_the_channel_error_names_the_fix() -> None:
    with pytest.raises(rushlight.errors.ShapeError) as caught:
        rushlight.nn.functional.conv2d(rushlight.zeros(1, 8, 8, 3), rushlight.zeros(4, 3, 3, 3))
    assert "permute(0, 3, 1, 2)" in caught.value.__notes__[0]


def test_conv_tbc() -> None:
    rng = random.Random(2)
    arrays = [draw(rng, 7, 2, 3), draw(rng, 3, 3, 4), draw(rng, 4)]
    out = [m.nn.functional.conv_tbc(*(m.tensor(a) for a in arrays), 1) for m in (rushlight, torch)]
    np.testing.assert_allclose(out[0].numpy(), out[1].numpy(), atol=1e-12)


def test_every_pair_of_stride_and_dilation_in_one_dimension() -> None:
    rng = random.Random(4)
    for stride, dilation, padding in itertools.product((1, 2, 3, 5), (1, 2, 4), (0, 2)):
        arrays = [draw(rng, 1, 2, 17), draw(rng, 2, 2, 3)]
        on_both(lambda m, x, w, s=stride, d=dilation, p=padding: m.nn.functional.conv1d(x, w, None, s, p, d), arrays)
