"""Special functions: against recorded values in high precision, and side by side with PyTorch."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight import special
from rushlight.backends import special as kernels

# computed with 40 digits: (function, argument, value)
EXACT = [
    ("erf", 0.5, 0.5204998778130465), ("erf", 1e-10, 1.1283791670955126e-10), ("erf", 2.0, 0.9953222650189527),
    ("erfc", 5.0, 1.537459794428035e-12), ("erfc", 26.0, 5.663192408856143e-296), ("erfc", -1.0, 1.8427007929497148),
    ("erfinv", 0.5, 0.4769362762044699), ("erfinv", 0.9999999999, 4.572824958544925),
    ("erfcx", 10.0, 0.05614099274382259), ("lgamma", 0.1, 2.252712651734206), ("lgamma", 1.0, 0.0),
    ("lgamma", 2.5, 0.2846828704729192), ("lgamma", 100.0, 359.1342053695754), ("lgamma", -0.5, 1.2655121234846454),
    ("digamma", 1.0, -0.5772156649015329), ("digamma", 1.4616321449683622, -9.241265521729427e-17),
    ("digamma", 10.0, 2.251752589066721), ("digamma", -0.5, 0.03648997397857652), ("i0", 1.0, 1.2660658777520084),
    ("i0", 20.0, 43558282.559553534), ("i1", 1.0, 0.565159103992485), ("i0e", 100.0, 0.03994437929909668),
    ("i1e", -3.0, -0.19682671329730086), ("ndtr", -10.0, 7.619853024160525e-24),
    ("log_ndtr", -30.0, -454.3212439563432), ("ndtri", 1e-10, -6.361340902404057),
    ("ndtri", 0.975, 1.9599639845400538),
]  # fmt: skip


@pytest.mark.parametrize(("name", "x", "value"), EXACT)
def test_kernels_are_accurate_to_a_few_units_in_the_last_place(name: str, x: float, value: float) -> None:
    got = getattr(kernels, name)(np.array([x, x]))
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, value, rtol=2e-15, atol=2e-16)


def test_polygamma_and_zeta_are_accurate() -> None:
    np.testing.assert_allclose(kernels.polygamma(1, np.array([1.0])), math.pi**2 / 6, rtol=1e-15)
    np.testing.assert_allclose(kernels.polygamma(2, np.array([0.5])), -16.82879664423431999, rtol=1e-15)
    np.testing.assert_allclose(kernels.zeta(np.array([4.0]), np.array([1.0])), math.pi**4 / 90, rtol=1e-15)


def test_single_precision_erf_over_its_whole_range() -> None:
    x = np.concatenate([np.linspace(-6, 6, 100_001), np.geomspace(1e-38, 1, 1000)]).astype(np.float32)
    got, exact = kernels.erf(x), kernels.erf(x.astype(np.float64))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, exact, rtol=5e-7)
    ends = kernels.erf(np.array([np.inf, -np.inf, np.nan, -0.0], np.float32))
    assert ends[:2].tolist() == [1, -1] and np.isnan(ends[2]) and np.signbit(ends[3])


def test_shapes_dtypes_and_strides_are_kept() -> None:
    x = np.arange(12.0).reshape(3, 4).T[::2] / 12
    for name in ("erf", "erfc", "lgamma", "i0"):
        assert getattr(kernels, name)(x).shape == (2, 3)
        assert getattr(kernels, name)(x.astype(np.float16)).dtype == np.float16
        assert getattr(kernels, name)(np.array(0.5, np.float32)).shape == ()
        assert getattr(kernels, name)(np.zeros((0, 3))).shape == (0, 3)
    assert rushlight.i0(rushlight.tensor([1, 2])).dtype is rushlight.float32


wide = np.array([-30.0, -8.5, -3.2, -1.0, -0.4, -1e-3, 1e-3, 0.3, 0.99, 1.0, 1.7, 2.0, 3.5, 7.9, 8.1, 20.0, 60.0])
unit = np.array([1e-12, 1e-3, 0.1, 0.25, 0.5, 0.8, 0.95, 0.999, 1 - 1e-9])
above = np.array([1e-3, 0.2, 0.9, 1.0, 1.4, 2.0, 2.9, 3.1, 12.0, 300.0])
ONE: dict[str, tuple[Any, bool]] = {
    "erf": (wide, True), "erfc": (wide, True), "erfcx": (wide[3:], True), "erfinv": (2 * unit - 1, True),
    "gammaln": (above, True), "digamma": (above, True), "psi": (-above[:6] - 0.05, True), "entr": (above, True),
    "expit": (wide, True), "logit": (unit[1:-1], True), "i0": (wide, True), "i0e": (wide, True), "i1": (wide, True),
    "i1e": (wide, True), "ndtr": (wide, True), "log_ndtr": (wide, True), "ndtri": (unit, True), "sinc": (wide, True),
    "exp2": (wide, True), "expm1": (wide, True), "log1p": (above, True), "round": (wide, False),
    "bessel_j0": (wide, False), "bessel_j1": (wide, False), "bessel_y0": (above, False), "bessel_y1": (above, False),
    "modified_bessel_i0": (wide, False), "modified_bessel_i1": (wide, False), "modified_bessel_k0": (above, False),
    "modified_bessel_k1": (above, False), "scaled_modified_bessel_k0": (above, False),
    "scaled_modified_bessel_k1": (above, False), "spherical_bessel_j0": (wide, False), "airy_ai": (wide, False),
}  # fmt: skip


def compare(function: Callable[[Any], Any], arrays: list[Any], differentiable: bool, rtol: float = 1e-9) -> None:
    torch = pytest.importorskip("torch")
    results = []
    for t in (rushlight, torch):
        leaves = [t.tensor(a, dtype=t.float64, requires_grad=differentiable) for a in arrays]
        out = function((t, *leaves))
        if differentiable:
            (out * t.arange(1.0, out.numel() + 1, dtype=t.float64).reshape(out.shape)).sum().backward()
        results.append([out.detach().numpy(), *(x.grad.numpy() for x in leaves if x.grad is not None)])
    assert len(results[0]) == len(results[1])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=1e-13)


@pytest.mark.parametrize("name", ONE)
def test_one_operand(name: str) -> None:
    array, differentiable = ONE[name]
    # these of PyTorch hold eight digits
    rtol = 1e-7 if name in ("airy_ai", "bessel_j0", "bessel_j1") else 1e-9
    compare(lambda a: getattr(a[0].special, name)(a[1]), [array], differentiable, rtol)


@pytest.mark.parametrize("name", [n for n in ONE if n != "airy_ai"])
def test_values_at_the_ends(name: str) -> None:
    torch = pytest.importorskip("torch")
    ends = [0.0, -0.0, 1.0, -1.0, -2.0, 2.0, math.nan]
    if "bessel" not in name and name not in ("i0", "i1"):
        ends += [math.inf, -math.inf, 1e300, -1e300]
    for dtype in ("float64", "float32"):
        ours, theirs = (getattr(t.special, name)(t.tensor(ends, dtype=getattr(t, dtype))) for t in (rushlight, torch))
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-30)


TWO: dict[str, tuple[Callable[[Any], Any], list[Any]]] = {
    "xlogy": (lambda a: a[0].special.xlogy(a[1], a[2]), [above - 0.001, above]),
    "xlog1py": (lambda a: a[0].special.xlog1py(a[1], a[2]), [above - 0.001, above]),
    "zeta": (lambda a: a[0].special.zeta(3.5, a[1]), [above]),
    "gammainc": (lambda a: a[0].special.gammainc(a[0].tensor(2.5, dtype=a[0].float64), a[1]), [above]),
    "gammaincc": (lambda a: a[0].special.gammaincc(a[0].tensor([[2.5], [40.0]], dtype=a[0].float64), a[1]), [above]),
    "polygamma_1": (lambda a: a[0].polygamma(1, a[1]), [above]),
    "polygamma_3": (lambda a: a[1].polygamma(3), [above]),
    "multigammaln": (lambda a: a[0].special.multigammaln(a[1] + 2, 3), [above]),
    "logit_eps": (lambda a: a[0].logit(a[1], 0.2), [unit]),
    "logsumexp": (lambda a: a[0].special.logsumexp(a[1], 0), [wide]),
    "softmax": (lambda a: a[0].special.softmax(a[1], 0), [wide / 9]),
    "log_softmax": (lambda a: a[0].special.log_softmax(a[1], 0), [wide]),
}


@pytest.mark.parametrize("name", TWO)
def test_several_operands(name: str) -> None:
    function, arrays = TWO[name]
    compare(function, arrays, True)


@pytest.mark.parametrize("name", [n for n in special.__all__ if "polynomial" in n])
def test_polynomials(name: str) -> None:
    torch = pytest.importorskip("torch")
    x = np.array([-1.0, -0.7, 0.0, 0.3, 1.0, 1.5])
    for n in (0, 1, 2, 5, 9, -1):
        ours = getattr(special, name)(rushlight.tensor(x), n)
        theirs = getattr(torch.special, name)(torch.tensor(x), n)
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-8, atol=1e-8)


SECOND = {
    "i0": 0.7, "i0e": 0.7, "i1": 0.7, "i1e": 0.7, "erfcx": 0.7, "ndtr": 0.7, "log_ndtr": 0.7, "ndtri": 0.3, "entr": 0.7,
    "sinc": 0.7, "digamma": 0.7, "gammaln": 0.7, "erfinv": 0.4, "logit": 0.4,
}  # fmt: skip


@pytest.mark.parametrize("name", SECOND)
def test_second_derivatives(name: str) -> None:
    x = rushlight.tensor([SECOND[name]], dtype=rushlight.float64, requires_grad=True)
    assert rushlight.autograd.gradgradcheck(getattr(special, name), (x,))


def test_every_public_name_of_pytorch_is_there() -> None:
    torch = pytest.importorskip("torch")
    theirs = {n for n in torch.special.__all__ if not n.startswith("_")}
    assert theirs - set(special.__all__) == set()


ERRORS: dict[str, Callable[[Any], Any]] = {
    "negative order": lambda t: t.polygamma(-1, t.ones(2)),
    "order type": lambda t: t.polygamma(1.5, t.ones(2)),
    "dimension": lambda t: t.mvlgamma(t.ones(2), 0),
    "gradient of zeta": lambda t: t.special.zeta(t.tensor([2.0], requires_grad=True), t.tensor([1.0])).backward(),
}


@pytest.mark.parametrize("name", ERRORS)
def test_same_error_as_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(Exception) as theirs:
        ERRORS[name](torch)
    with pytest.raises(type(theirs.value)) as ours:
        ERRORS[name](rushlight)
    if "gradient" not in name:
        assert str(ours.value) == str(theirs.value)
