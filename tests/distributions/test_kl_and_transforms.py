"""Divergences, transforms and constraints side by side with PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rushlight

torch = pytest.importorskip("torch")

V, W = "m.tensor([0.5, 1.5, 3.0])", "m.tensor([0.7, 1.1, 2.0])"
R, S = "m.tensor([[0.1, 0.6, 0.3]])", "m.tensor([[0.3, 0.3, 0.4]])"
PAIRS = [
    (f"Normal({V}, {W})", f"Normal({W}, {V})"), (f"Bernoulli({V} / 4)", f"Bernoulli({W} / 3)"),
    ("Bernoulli(m.tensor([0.0, 1.0, 0.5]))", "Bernoulli(m.tensor([0.5, 0.0, 1.0]))"),
    (f"Beta({V}, {W})", f"Beta({W}, {V})"), (f"Binomial(5, {V} / 4)", f"Binomial(5, {W} / 3)"),
    (f"Binomial(6, {V} / 4)", f"Binomial(5, {W} / 3)"), (f"Categorical({R})", f"Categorical({S})"),
    ("Categorical(m.tensor([0.5, 0.5, 0.0]))", "Categorical(m.tensor([0.5, 0.0, 0.5]))"),
    (f"OneHotCategorical({R})", f"OneHotCategorical({S})"), (f"Cauchy({V}, {W})", f"Cauchy({W}, {V})"),
    (f"Dirichlet({V})", f"Dirichlet({W})"), (f"Exponential({V})", f"Exponential({W})"),
    (f"Gamma({V}, {W})", f"Gamma({W}, {V})"), (f"Geometric({V} / 4)", f"Geometric({W} / 3)"),
    (f"Gumbel({V}, {W})", f"Gumbel({W}, {V})"), (f"HalfNormal({V})", f"HalfNormal({W})"),
    (f"Laplace({V}, {W})", f"Laplace({W}, {V})"), (f"LogNormal({V}, {W})", f"LogNormal({W}, {V})"),
    (f"Poisson({V})", f"Poisson({W})"), (f"Uniform(0.0, {V})", f"Uniform(-1.0, {W})"),
    ("MultivariateNormal(m.zeros(2), m.eye(2) + 0.5)", "MultivariateNormal(m.ones(2), m.eye(2) * 2)"),
    (f"Independent(D.Normal({V}, {W}), 1)", f"Independent(D.Normal({W}, {V}), 1)"),
    (f"Uniform(0.0, {V})", f"Normal({W}, {V})"), (f"Normal({V}, {W})", f"Laplace({W}, {V})"),
    (f"Laplace({V}, {W})", f"Normal({W}, {V})"), (f"Exponential({V})", f"Normal({W}, {V})"),
    (f"Gamma({V}, {W})", f"Normal({W}, {V})"), (f"Beta({V}, {W})", f"Normal({W}, {V})"),
    (f"Gumbel({V}, {W})", f"Normal({W}, {V})"), (f"Exponential({V})", f"Gamma({W}, {V})"),
    (f"Gamma({V}, {W})", f"Exponential({W})"), (f"Normal({V}, {W})", f"Uniform(0.0, {W})"),
    (f"Bernoulli({V} / 4)", f"Poisson({W})"), (f"Poisson({V})", f"Bernoulli({W} / 3)"),
]  # fmt: skip


def value(library: Any, text: str) -> Any:
    return eval(text, {"m": library, "D": library.distributions, "c": library.distributions.constraints})


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_divergences(p: str, q: str) -> None:
    theirs, ours = (value(m, f"D.kl_divergence(D.{p}, D.{q})").numpy() for m in (torch, rushlight))
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_divergence_without_formula_and_registration() -> None:
    D = rushlight.distributions
    with pytest.raises(NotImplementedError):
        D.kl_divergence(D.Cauchy(0.0, 1.0), D.Poisson(1.0))

    class Mine(D.Normal):
        pass

    assert D.kl_divergence(Mine(0.0, 1.0), D.Normal(1.0, 1.0)).item() == 0.5

    @D.register_kl(Mine, D.Normal)
    def constant(p: Any, q: Any) -> float:
        return 7.0

    assert D.kl_divergence(Mine(0.0, 1.0), D.Normal(1.0, 1.0)) == 7.0
    with pytest.raises(TypeError):
        D.register_kl(int, Mine)


TRANSFORMS = [
    "ExpTransform()", "SigmoidTransform()", "TanhTransform()", "SoftplusTransform()", "AffineTransform(1.0, -2.0)",
    "AffineTransform(m.ones(3), m.tensor([1.0, 2.0, -3.0]), 1)", "StickBreakingTransform()", "SoftmaxTransform()",
    "ExpTransform().inv.inv", "AbsTransform()", "ComposeTransform([D.ExpTransform(), D.PowerTransform(2.0)])",
    "IndependentTransform(D.ExpTransform(), 1)", "ReshapeTransform((3,), (3, 1))",
    "ComposeTransform([D.AffineTransform(1.0, 2.0), D.StickBreakingTransform()])",
    "StackTransform([D.ExpTransform(), D.TanhTransform()], 0)",
    "CatTransform([D.ExpTransform(), D.TanhTransform()], 0)",
    "CumulativeDistributionTransform(D.Normal(0.0, 1.0))",
]  # fmt: skip


@pytest.mark.parametrize("text", TRANSFORMS)
def test_transforms(text: str) -> None:
    answers = []
    for m in (torch, rushlight):
        t = value(m, f"D.{text}")
        x = m.tensor([[0.1, -0.4, 0.8], [0.3, 0.2, -1.0]])
        y = t(x)
        answers.append([y.numpy(), t.inv(y).numpy(), repr(t), repr(t.domain), repr(t.codomain), t.bijective])
        if not text.startswith(("Softmax", "Abs")):
            answers[-1].append(t.log_abs_det_jacobian(x, y).numpy())
        if not text.startswith(("Stack", "Cat")):
            answers[-1].append(tuple(t.forward_shape((2, 3))))
    for theirs, ours in zip(*answers, strict=True):
        if isinstance(theirs, np.ndarray):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
        else:
            assert ours == theirs


CONSTRAINTS = [
    "c.positive", "c.real", "c.unit_interval", "c.simplex", "c.interval(0.0, 2.0)", "c.greater_than(1.0)",
    "c.less_than(1.0)", "c.real_vector", "c.nonnegative", "c.lower_cholesky", "c.boolean",
]  # fmt: skip


@pytest.mark.parametrize("text", CONSTRAINTS)
def test_transforms_to_constraints(text: str) -> None:
    for registry in ("biject_to", "transform_to"):
        shown = []
        for m in (torch, rushlight):
            try:
                t = value(m, f"D.{registry}({text})")
                x = m.tensor([[0.1, -0.4], [0.3, 0.2]])
                shown.append((repr(t), t(x).numpy().round(5).tolist(), value(m, text).check(t(x)).tolist()))
            except NotImplementedError:
                shown.append(None)
        assert shown[1] == shown[0], registry


@pytest.mark.parametrize("text", [
    "c.integer_interval(0, 3)", "c.half_open_interval(0.0, 1.0)", "c.one_hot", "c.corr_cholesky", "c.positive_definite",
    "c.positive_semidefinite", "c.symmetric", "c.square", "c.lower_triangular", "c.nonnegative_integer",
    "c.positive_integer", "c.multinomial(1)", "c.independent(c.boolean, 2)",
])  # fmt: skip
def test_constraints(text: str) -> None:
    for data in ([[1.0, 0.0], [0.0, 1.0]], [[1.0, 2.0], [2.0, 1.0]], [[0.5, 0.0], [0.2, -1.0]]):
        theirs, ours = (value(m, text).check(m.tensor(data)).tolist() for m in (torch, rushlight))
        assert ours == theirs
    assert repr(value(rushlight, text)) == repr(value(torch, text))
