"""The negative binomial distribution."""

from __future__ import annotations

from typing import Any

from rushlight.distributions import constraints
from rushlight.distributions.distribution import Distribution, expand_parameters
from rushlight.distributions.gamma import Gamma
from rushlight.distributions.utils import broadcast_all, lazy_property, logits_to_probs, one_of, probs_to_logits
from rushlight.modes import no_grad
from rushlight.nn.functional.activation import logsigmoid
from rushlight.sampling import poisson

__all__ = ["NegativeBinomial"]


class NegativeBinomial(Distribution):
    """Number of successes of probability `probs` before `total_count` failures."""

    arg_constraints = {
        "total_count": constraints.greater_than_eq(0),
        "probs": constraints.half_open_interval(0.0, 1.0),
        "logits": constraints.real,
    }
    support = constraints.nonnegative_integer

    def __init__(
        self, total_count: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        one_of(probs, logits)
        name, given = ("probs", probs) if probs is not None else ("logits", logits)
        total_count, given = broadcast_all(total_count, given)
        self.total_count = total_count.type_as(given)
        setattr(self, name, given)
        super().__init__(given.size(), validate_args=validate_args)

    expand = expand_parameters

    @lazy_property
    def logits(self) -> Any:
        """Log-odds."""
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Any:
        """Probabilities."""
        return logits_to_probs(self.logits, is_binary=True)

    mean = property(lambda self: self.total_count * self.logits.exp())
    mode = property(lambda self: ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0.0))
    variance = property(lambda self: self.mean / (-self.logits).sigmoid())
    param_shape = property(lambda self: self.total_count.size())

    def sample(self, sample_shape: Any = ()) -> Any:
        """Poisson draws whose rates are gamma draws."""
        with no_grad():
            # total_count may be 0, hence unchecked
            rates = Gamma(self.total_count, (-self.logits).exp(), validate_args=False)
            return poisson(rates.sample(sample_shape))

    def log_prob(self, value: Any) -> Any:
        """Logarithm of the probability: log C(n + k - 1, k) + n log(1 - p) + k log p."""
        if self._validate_args:
            self._validate_sample(value)
        n = self.total_count
        ways = (n + value).lgamma() - (1.0 + value).lgamma() - n.lgamma()
        ways = ways.masked_fill(n + value == 0.0, 0.0)  # of no trials: one way, where lgamma(0) is infinite
        return n * logsigmoid(-self.logits) + value * logsigmoid(self.logits) + ways
