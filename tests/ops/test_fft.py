"""`rushlight.fft` side by side with PyTorch: values, gradients, errors."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rushlight

torch = pytest.importorskip("torch")
ONE = ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
MANY = tuple(name + end for name in ONE for end in ("2", "n"))
NEEDS_REAL = {"rfft", "ihfft", "rfft2", "rfftn", "ihfft2", "ihfftn"}


def both(name: str, x: Any, seed: int, **kwargs: Any) -> None:
    """Compare value, gradient and name of the node."""
    results = []
    for t in (rushlight, torch):
        leaf = t.from_numpy(x.copy()).requires_grad_()
        out = getattr(t.fft, name)(leaf, **kwargs)
        rng = np.random.default_rng(seed)
        weight = rng.normal(size=tuple(out.shape))
        if out.is_complex():
            weight = weight + 1j * rng.normal(size=tuple(out.shape))
        loss = (out * t.from_numpy(np.asarray(weight))).sum()
        (loss.real if out.is_complex() else loss).backward()
        results.append((out.detach().resolve_conj().numpy(), leaf.grad.resolve_conj().numpy()))
    (ours, our_grad), (theirs, their_grad) = results
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(our_grad, their_grad, rtol=1e-9, atol=1e-10)


def draw(seed: int, shape: Any, is_complex: bool) -> Any:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape)
    return x + 1j * rng.normal(size=shape) if is_complex else x


norms = st.sampled_from([None, "backward", "ortho", "forward"])


@given(
    name=st.sampled_from(ONE), shape=st.lists(st.integers(2, 6), min_size=1, max_size=3).map(tuple),
    n=st.none() | st.integers(1, 9), norm=norms, is_complex=st.booleans(), data=st.data(), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_one_dim(name: str, shape: Any, n: Any, norm: Any, is_complex: bool, data: Any, seed: int) -> None:
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    both(name, draw(seed, shape, is_complex and name not in NEEDS_REAL), seed, n=n, dim=dim, norm=norm)


@given(
    name=st.sampled_from(MANY), shape=st.lists(st.integers(2, 5), min_size=2, max_size=3).map(tuple), norm=norms,
    is_complex=st.booleans(), data=st.data(), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_several_dims(name: str, shape: Any, norm: Any, is_complex: bool, data: Any, seed: int) -> None:
    count = 2 if name.endswith("2") else data.draw(st.integers(1, len(shape)))
    kwargs: dict[str, Any] = {"norm": norm}
    if data.draw(st.booleans()):
        kwargs["dim"] = tuple(data.draw(st.permutations(range(len(shape))))[:count])
    elif name.endswith("n"):
        count = len(shape)
    if data.draw(st.booleans()):
        kwargs["s"] = tuple(data.draw(st.lists(st.integers(1, 7) | st.just(-1), min_size=count, max_size=count)))
    both(name, draw(seed, shape, is_complex and name not in NEEDS_REAL), seed, **kwargs)


def test_second_derivative_of_a_spectrum() -> None:
    x = rushlight.tensor([1.0, 2.0, -1.0, 0.5], dtype=rushlight.float64, requires_grad=True)
    functions = (lambda v: rushlight.fft.rfft(v).abs().pow(4).sum(), lambda v: rushlight.fft.irfft(v, 5).pow(3).sum())
    for function in functions:
        assert rushlight.autograd.gradgradcheck(function, (x,))


@pytest.mark.parametrize("n", range(1, 8))
def test_frequencies_and_shifts(n: int) -> None:
    for name in ("fftfreq", "rfftfreq"):
        ours, theirs = (getattr(t.fft, name)(n, 0.3, dtype=t.float64) for t in (rushlight, torch))
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)
    for name in ("fftshift", "ifftshift"):
        for dim in (None, 0, (-1, 0)):
            ours, theirs = (getattr(t.fft, name)(t.arange(n * 5).reshape(n, 5), dim) for t in (rushlight, torch))
            assert ours.tolist() == theirs.tolist()


def test_float32_integers_and_out() -> None:
    x = rushlight.arange(8)
    assert rushlight.fft.fft(x).dtype is rushlight.complex64
    assert rushlight.fft.irfft(rushlight.fft.rfft(x)).dtype is rushlight.float32
    assert rushlight.fft.fft2(rushlight.ones(2, 2) > 0)[0, 0].item() == 4
    out = rushlight.empty(8, dtype=rushlight.complex64)
    assert rushlight.fft.fft(x, out=out) is out and out[0].item() == 28


STFT: dict[str, dict[str, Any]] = {
    "plain": {"n_fft": 16},
    "hop": {"n_fft": 16, "hop_length": 5, "window": "hann"},
    "short window": {"n_fft": 16, "win_length": 10, "window": "hann", "normalized": True},
    "two sided": {"n_fft": 15, "onesided": False, "pad_mode": "constant"},
    "not centred": {"n_fft": 16, "center": False, "window": "hamming"},
}


@pytest.mark.filterwarnings("ignore:A window was not provided")
@pytest.mark.parametrize("name", STFT)
def test_short_time_transform_and_inverse(name: str) -> None:
    x = draw(0, (2, 60), False)
    results = []
    for t in (rushlight, torch):
        options = dict(STFT[name])
        kind = options.pop("window", None)
        window = t.ones(options.get("win_length", options["n_fft"]), dtype=t.float64)
        if kind:
            window = getattr(t, f"{kind}_window")(window.numel(), dtype=t.float64)
        leaf = t.from_numpy(x).requires_grad_()
        spectrum = t.stft(leaf, window=window, return_complex=True, **options)
        options.pop("pad_mode", None)
        back = t.istft(spectrum, window=window, **options)
        (spectrum.abs().pow(3).sum() + (back**2).sum()).backward()
        results.append([spectrum.detach().numpy(), back.detach().numpy(), leaf.grad.numpy()])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)
    assert tuple(rushlight.stft(rushlight.ones(60), 16, return_complex=False).shape) == (9, 16, 2)


ERRORS: dict[str, Callable[[Any], Any]] = {
    "norm": lambda t: t.fft.fft(t.ones(4), norm="x"),
    "no points": lambda t: t.fft.fft(t.ones(4), n=0),
    "dim": lambda t: t.fft.fft(t.ones(4), dim=3),
    "0-d": lambda t: t.fft.fft(t.tensor(1.0)),
    "half": lambda t: t.fft.fft(t.ones(4, dtype=t.float16)),
    "complex": lambda t: t.fft.rfft(t.ones(4, dtype=t.complex64)),
    "too short": lambda t: t.fft.irfft(t.ones(1)),
    "too many sizes": lambda t: t.fft.fftn(t.ones(4, 4), s=(1, 2, 3)),
    "sizes and dims": lambda t: t.fft.fftn(t.ones(4, 4), s=(1, 2), dim=(0,)),
    "dim twice": lambda t: t.fft.fftn(t.ones(4, 4), dim=(0, 0)),
    "no dim": lambda t: t.fft.rfftn(t.ones(4, 4), dim=()),
    "one dim": lambda t: t.fft.fft2(t.ones(4)),
    "list": lambda t: t.fft.fft([1.0, 2.0]),
    "frequencies": lambda t: t.fft.fftfreq(4, dtype=t.int64),
}


@pytest.mark.parametrize("name", ERRORS)
def test_same_error_as_pytorch(name: str) -> None:
    with pytest.raises(Exception) as theirs:
        ERRORS[name](torch)
    with pytest.raises(type(theirs.value)) as ours:
        ERRORS[name](rushlight)
    assert str(ours.value) == str(theirs.value)
