"""The continuous Bernoulli distribution."""

from __future__ import annotations

import math
from numbers import Number
from typing import Any

from rushlight.distributions import constraints
from rushlight.distributions.distribution import expand_parameters
from rushlight.distributions.exp_family import ExponentialFamily
from rushlight.distributions.utils import (
    broadcast_all,
    clamp_probs,
    lazy_property,
    logits_to_probs,
    one_of,
    probs_to_logits,
)
from rushlight.functions.arithmetic import where
from rushlight.modes import no_grad
from rushlight.nn.functional.loss import binary_cross_entropy_with_logits
from rushlight.sampling import rand
from rushlight.size import Size

__all__ = ["ContinuousBernoulli"]


class ContinuousBernoulli(ExponentialFamily):
    """Values between 0 and 1 whose density grows as probs**x (1 - probs)**(1 - x) [1]_.

    Where `probs` lies between `lims`, close to 1/2, series take the place of formulas that lose all digits there.

    References
    ----------
    .. [1] G. Loaiza-Ganem, J. Cunningham, "The continuous Bernoulli: fixing a pervasive error in variational
       autoencoders", 2019.
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval
    _mean_carrier_measure = 0
    has_rsample = True

    def __init__(
        self,
        probs: Any = None,
        logits: Any = None,
        lims: tuple[float, float] = (0.499, 0.501),
        validate_args: bool | None = None,
    ) -> None:
        one_of(probs, logits)
        given = probs if probs is not None else logits
        (value,) = broadcast_all(given)
        if probs is not None:
            if validate_args is not None and not self.arg_constraints["probs"].check(value).all():
                raise ValueError("The parameter probs has invalid values")
            value = clamp_probs(value)
        setattr(self, "probs" if probs is not None else "logits", value)
        self._lims = lims
        super().__init__(Size() if isinstance(given, Number) else value.size(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution with its batch broadcast to `batch_shape`."""
        new = expand_parameters(self, batch_shape, self._get_checked_instance(ContinuousBernoulli, _instance))
        new._lims = self._lims
        return new

    @lazy_property
    def logits(self) -> Any:
        """Log-odds of the parameter."""
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Any:
        """The parameter; not the mean."""
        return clamp_probs(logits_to_probs(self.logits, is_binary=True))

    param_shape = property(lambda self: (self.probs if "probs" in self.__dict__ else self.logits).size())

    def _by_formula(self) -> Any:
        """Where the formulas hold."""
        low, high = self._lims
        return (self.probs <= low) | (self.probs > high)

    def _safe(self) -> Any:
        """`probs`, elsewhere a value that no formula trips over."""
        return where(self._by_formula(), self.probs, self._lims[0])

    def _log_constant(self) -> Any:
        """log of 2 artanh(1 - 2p) / (1 - 2p)."""
        p = self._safe()
        formula = ((-p).log1p() - p.log()).abs().log() - (1 - 2 * p).abs().log()
        x = (self.probs - 0.5).pow(2)
        return where(self._by_formula(), formula, math.log(2.0) + (4.0 / 3.0 + 104.0 / 45.0 * x) * x)

    @property
    def mean(self) -> Any:
        """p / (2p - 1) + 1 / (log(1 - p) - log p)."""
        p, x = self._safe(), self.probs - 0.5
        formula = p / (2 * p - 1) + 1 / ((-p).log1p() - p.log())
        return where(self._by_formula(), formula, 0.5 + (1.0 / 3.0 + 16.0 / 45.0 * x.pow(2)) * x)

    @property
    def variance(self) -> Any:
        """p (p - 1) / (1 - 2p)**2 + 1 / (log(1 - p) - log p)**2."""
        p, x = self._safe(), (self.probs - 0.5).pow(2)
        formula = p * (p - 1) / (1 - 2 * p).pow(2) + 1 / ((-p).log1p() - p.log()).pow(2)
        return where(self._by_formula(), formula, 1.0 / 12.0 - (1.0 / 15.0 - 128.0 / 945.0 * x) * x)

    def sample(self, sample_shape: Any = ()) -> Any:
        """Draws by the inverse of `cdf`, without gradient."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Draws by the inverse of `cdf`."""
        return self.icdf(rand(self._extended_shape(sample_shape), dtype=self.probs.dtype))

    def log_prob(self, value: Any) -> Any:
        """Logarithm of the density."""
        if self._validate_args:
            self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        return -binary_cross_entropy_with_logits(logits, value, reduction="none") + self._log_constant()

    def cdf(self, value: Any) -> Any:
        """Probability of a draw at most `value`."""
        if self._validate_args:
            self._validate_sample(value)
        p = self._safe()
        formula = (p.pow(value) * (1 - p).pow(1 - value) + p - 1) / (2 * p - 1)
        inside = where(self._by_formula(), formula, value)
        return where(value <= 0, 0.0, where(value >= 1, 1.0, inside))

    def icdf(self, value: Any) -> Any:
        """The inverse of `cdf`."""
        p = self._safe()
        rest = (-p).log1p()
        return where(self._by_formula(), ((value * (2 * p - 1) - p).log1p() - rest) / (p.log() - rest), value)

    def entropy(self) -> Any:
        """Expected `-log_prob`."""
        none, one = (-self.probs).log1p(), self.probs.log()
        return self.mean * (none - one) - self._log_constant() - none

    @property
    def _natural_params(self) -> tuple[Any, ...]:
        return (self.logits,)

    def _log_normalizer(self, x: Any) -> Any:
        low, high = (limit - 0.5 for limit in self._lims)
        by_formula = (x <= low) | (x > high)
        safe = where(by_formula, x, low)
        series = 0.5 * x + x.pow(2) / 24.0 - x.pow(4) / 2880.0
        return where(by_formula, safe.expm1().abs().log() - safe.abs().log(), series)
