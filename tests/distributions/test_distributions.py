"""Distributions side by side with PyTorch: draws, densities, moments, gradients, text, errors."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import rushlight

torch = pytest.importorskip("torch")

V = "m.tensor([0.5, 1.5, 3.0])"
P = "m.tensor([0.2, 0.5, 0.9])"
R = "m.tensor([[0.1, 0.6, 0.3], [0.3, 0.3, 0.4]])"
COV = "m.tensor([[2.0, 0.5], [0.5, 1.0]])"

# A distribution, and what cannot be equal draw for draw: the composition rounds differently in the last place.
CASES = [
    f"Normal({V}, {V})", "Normal(0.0, 2.0)", f"Uniform(-1.0, {V})", f"Laplace(1.0, {V})", f"Cauchy({V}, 2.0)",
    f"Exponential({V})", f"Gamma({V}, 2.0)", f"Chi2({V})", f"StudentT({V} + 2, 1.0, 2.0)", f"Dirichlet({V})",
    f"Dirichlet({R})", f"Beta({V}, 2.0)", "Beta(2.0, 3.0)", f"Poisson({V})", f"Bernoulli({P})",
    f"Bernoulli(logits={V})", "Bernoulli(0.25)", f"Geometric({P})", f"Geometric(logits={V})", f"Binomial(5, {P})",
    f"Binomial(4, logits={V})", f"Categorical({R})", f"Categorical(logits={R})", f"OneHotCategorical({R})",
    f"OneHotCategoricalStraightThrough({R})", f"Multinomial(5, {R})", f"MultivariateNormal(m.zeros(2), {COV})",
    f"MultivariateNormal(m.zeros(3, 2), precision_matrix={COV})",
    f"MultivariateNormal(m.ones(2), scale_tril=m.linalg.cholesky({COV}))", f"LogNormal({V}, 0.5)", f"HalfNormal({V})",
    f"Gumbel({V}, 2.0)", "Gumbel(0.0, 1.0)", f"Independent(D.Normal(m.zeros(2, 3), {V}), 1)",
    f"TransformedDistribution(D.Normal({V}, 1.0), [D.AffineTransform(1.0, -2.0), D.SigmoidTransform()])",
    "TransformedDistribution(D.Normal(m.zeros(2), 1.0), D.StickBreakingTransform())",
    f"TransformedDistribution(D.Normal({V}, 1.0), [D.TanhTransform(cache_size=1)])",
    f"HalfCauchy({V})", f"InverseGamma({V} + 2, 1.5)", f"NegativeBinomial({V}, {P})",
    f"NegativeBinomial(3, logits={V})",
    f"Pareto({V}, 3.0)", f"Weibull({V}, 2.0)", f"RelaxedBernoulli(m.tensor(0.7), {P})",
    f"RelaxedBernoulli(m.tensor(0.7), logits={V})", f"relaxed_bernoulli.LogitRelaxedBernoulli(m.tensor(0.5), {P})",
    f"RelaxedOneHotCategorical(m.tensor(0.7), {R})", f"RelaxedOneHotCategorical(m.tensor([0.5]), logits={R})",
    f"LogisticNormal({V}, 0.5)", "LogisticNormal(0.0, 0.5)", f"FisherSnedecor({V} + 4, 5.0)",
    "FisherSnedecor(1.0, 2.0)",
    f"Kumaraswamy({V}, 2.0)", f"LowRankMultivariateNormal(m.zeros(2), {COV}[:, :1], m.tensor([1.0, 2.0]))",
    "LowRankMultivariateNormal(m.ones(3, 2), m.ones(2, 4), m.ones(3, 2) / 2)",
    f"ContinuousBernoulli({P})", f"ContinuousBernoulli(logits={V} - 1.5)", "ContinuousBernoulli(0.3)",
    f"VonMises({V}, {V})", f"GeneralizedPareto(0.5, {V}, 0.2)",
    "GeneralizedPareto(1.0, 2.0, m.tensor([0.0, -0.5, 0.7]))", "GeneralizedPareto(0.0, 1.0, 0.25)",
    "LKJCholesky(3, 0.5)", "LKJCholesky(4, m.tensor([5.0, 9.0]))",
    "TransformedDistribution(D.Normal(m.zeros(6), 1.0), D.CorrCholeskyTransform())",
    f"MixtureSameFamily(D.Categorical({P}), D.Normal({V}, 1.0))",
    f"MixtureSameFamily(D.Categorical({P}), D.Independent(D.Normal(m.zeros(3, 2), 1.0), 1))",
]  # fmt: skip
QUESTIONS = [
    "d.batch_shape", "d.event_shape", "d", "d.support", "d.has_rsample", "d.has_enumerate_support", "d.arg_constraints",
    "d.mean", "d.variance", "d.stddev", "d.mode", "d.entropy()", "d.perplexity()", "d.log_prob(x)", "d.cdf(x)",
    "d.icdf(d.cdf(x))", "d.enumerate_support()", "d.enumerate_support(False)", "d.support.check(x)",
    "d.expand((4, *d.batch_shape))", "d.expand((4, *d.batch_shape)).sample()",
    "d.expand((4, *d.batch_shape)).log_prob(x)",
    "d.param_shape", "d.log_prob(-x - 0.3)", "d.log_prob(m.zeros(7, 7))", "d.log_prob(3)", "d.sample((2,)).dtype",
]  # fmt: skip


def made(library: Any, text: str) -> Any:
    return eval(f"D.{text}", {"m": library, "D": library.distributions})


def outcome(library: Any, text: str, question: str, x: Any) -> Any:
    names = {"m": library, "d": made(library, text), "x": library.tensor(x)}
    library.manual_seed(3)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer = eval(question, names)
    except Exception as error:
        return type(error).__name__, str(error) if isinstance(error, ValueError) else ""
    return answer.detach().numpy() if hasattr(answer, "detach") else repr(answer)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and np.allclose(a, b, 2e-5, 2e-6, equal_nan=True)
    return bool(isinstance(a, type(b)) and a == b)


@pytest.mark.parametrize("text", CASES)
def test_draws_are_pytorchs(text: str) -> None:
    for shape in [(), (5,), (2, 20)]:
        drawn = []
        for library in (torch, rushlight):
            library.manual_seed(1)
            drawn.append(made(library, text).sample(shape).numpy())
        assert drawn[0].shape == drawn[1].shape and drawn[0].dtype == drawn[1].dtype
        np.testing.assert_allclose(drawn[1], drawn[0], rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize("text", CASES)
def test_answers_are_pytorchs(text: str) -> None:
    torch.manual_seed(2)
    x = made(torch, text).sample((4,) if "expand" not in text else ()).numpy()
    for question in QUESTIONS:
        theirs, ours = (outcome(library, text, question, x) for library in (torch, rushlight))
        assert same(ours, theirs), f"{question}:\nrushlight {ours}\npytorch   {theirs}"


REPARAMETRISED = [
    ("Normal(a, b)", 1e-5), ("Uniform(a, a + b)", 1e-5), ("Laplace(a, b)", 1e-5), ("Cauchy(a, b)", 1e-5),
    ("Exponential(b)", 1e-5), ("Gamma(a, b)", 2e-3), ("Beta(a, b)", 1e-2), ("Dirichlet(a)", 1e-2),
    ("StudentT(a + 2, a, b)", 2e-3), ("LogNormal(a, b)", 1e-5), ("HalfNormal(b)", 1e-5), ("Gumbel(a, b)", 1e-4),
    ("MultivariateNormal(a, scale_tril=m.diag_embed(b))", 1e-5), ("HalfCauchy(b)", 1e-4),
    ("ContinuousBernoulli(logits=a)", 1e-3), ("Weibull(a, b)", 1e-3),
    ("InverseGamma(a + 2, b)", 5e-3), ("Pareto(a, b + 1)", 1e-3), ("Kumaraswamy(a, b)", 1e-3),
    ("LowRankMultivariateNormal(a, b[:, None], a)", 1e-4),
    ("MultivariateNormal(a, m.diag_embed(b) + 0.1)", 1e-4), ("OneHotCategoricalStraightThrough(logits=a)", 1e-5),
]  # fmt: skip


@pytest.mark.parametrize(("text", "tolerance"), REPARAMETRISED)
def test_gradients_of_draws_and_densities(text: str, tolerance: float) -> None:
    found = []
    for library in (torch, rushlight):
        library.manual_seed(4)
        a = library.tensor([0.7, 1.3, 2.5], requires_grad=True)
        b = library.tensor([0.4, 1.1, 2.0], requires_grad=True)
        d = eval(f"D.{text}", {"m": library, "D": library.distributions, "a": a, "b": b})
        x = d.rsample((6,))
        weights = library.arange(float(x.numel())).reshape(x.shape)
        (x * weights).sum().backward()
        first = [p.grad.numpy().copy() if p.grad is not None else None for p in (a, b)]
        a.grad = b.grad = None
        d = eval(f"D.{text}", {"m": library, "D": library.distributions, "a": a, "b": b})
        (d.log_prob(x.detach()).sum() + d.entropy().sum()).backward()
        found.append((first, [p.grad.numpy().copy() if p.grad is not None else None for p in (a, b)]))
    for theirs, ours in zip(found[0][0] + found[0][1], found[1][0] + found[1][1], strict=True):
        assert (theirs is None) == (ours is None)
        if theirs is not None:
            np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


ERRORS = [
    "Normal(m.tensor([0.0, float('nan')]), 1.0)", "Normal(0.0, -1.0)", "Normal('a', 1.0)", "Uniform(1.0, 0.0)",
    "Bernoulli(0.5, 0.5)", "Bernoulli()", "Bernoulli(2.0)",
    "Categorical(m.tensor(1.0))", "Categorical(m.tensor([-1.0, 2.0]))",
    "Dirichlet(m.tensor(1.0))", "Geometric(0.0)",
    "MultivariateNormal(m.zeros(2))", "MultivariateNormal(m.tensor(0.0), m.eye(2))",
    "MultivariateNormal(m.zeros(2), -m.eye(2))", "Multinomial(m.ones(2), m.ones(2))",
    "Independent(D.Normal(0.0, 1.0), 1)",
    "TransformedDistribution(D.Normal(0.0, 1.0), 3)", "MixtureSameFamily(3, 4)",
    "Normal(0.0, 1.0).expand((2,)).log_prob(m.zeros(3))",
    "Poisson(1.0).rsample()", "Bernoulli(0.5).log_prob(m.tensor(2.0))",
    "Binomial(m.tensor([2.0, 3.0]), 0.5).enumerate_support()",
]  # fmt: skip


@pytest.mark.parametrize("text", ERRORS)
def test_errors_are_pytorchs(text: str) -> None:
    seen = []
    for library in (torch, rushlight):
        with pytest.raises((ValueError, NotImplementedError, TypeError)) as caught:
            made(library, text)
        seen.append((caught.type.__name__, str(caught.value)))
    assert seen[1] == seen[0]


def test_checks_can_be_turned_off() -> None:
    D = rushlight.distributions
    assert D.Normal(0.0, -1.0, validate_args=False).scale.item() == -1.0
    assert D.Bernoulli(0.5, validate_args=False).log_prob(rushlight.tensor(0.5)).item() == pytest.approx(np.log(0.5))
    with pytest.raises(NotImplementedError, match="Wishart"):
        _ = D.Wishart


def test_a_users_own_distribution() -> None:
    class Fixed(rushlight.distributions.Distribution):
        arg_constraints: dict[str, Any] = {}

        def rsample(self, sample_shape: Any = ()) -> Any:
            return rushlight.ones(self._extended_shape(sample_shape))

    assert Fixed().sample((2,)).tolist() == [1.0, 1.0]
    with pytest.raises(NotImplementedError):
        Fixed().log_prob(rushlight.ones(1))
