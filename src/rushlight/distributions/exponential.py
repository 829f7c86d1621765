"""The exponential distribution."""

from __future__ import annotations

from numbers import Number
from typing import Any

from rushlight.creation import empty
from rushlight.distributions import constraints
from rushlight.distributions.distribution import expand_parameters
from rushlight.distributions.exp_family import ExponentialFamily
from rushlight.distributions.utils import broadcast_all
from rushlight.size import Size

__all__ = ["Exponential"]


class Exponential(ExponentialFamily):
    """Waiting time of events that come at `rate` per unit of time."""

    arg_constraints = {"rate": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True
    _mean_carrier_measure = 0
    expand = expand_parameters

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        (self.rate,) = broadcast_all(rate)
        super().__init__(Size() if isinstance(rate, Number) else self.rate.size(), validate_args=validate_args)

    mean = property(lambda self: self.rate.reciprocal())
    stddev = property(lambda self: self.rate.reciprocal())
    variance = property(lambda self: self.rate.pow(-2))
    mode = property(lambda self: self.rate * 0)

    def rsample(self, sample_shape: Any = ()) -> Any:
        """`standard exponential / rate`."""
        return empty(self._extended_shape(sample_shape), dtype=self.rate.dtype).exponential_() / self.rate

    def log_prob(self, value: Any) -> Any:
        """Logarithm of the density."""
        if self._validate_args:
            self._validate_sample(value)
        return self.rate.log() - self.rate * value

    def cdf(self, value: Any) -> Any:
        """Probability of a draw at most `value`."""
        if self._validate_args:
            self._validate_sample(value)
        return 1 - (-self.rate * value).exp()

    def icdf(self, value: Any) -> Any:
        """The inverse of `cdf`."""
        return -(-value).log1p() / self.rate

    def entropy(self) -> Any:
        """1 - log(rate)."""
        return 1.0 - self.rate.log()
