"""The generalized Pareto distribution."""

from __future__ import annotations

import math
from numbers import Number
from typing import Any

from rushlight.distributions import constraints
from rushlight.distributions.distribution import Distribution, expand_parameters
from rushlight.distributions.utils import broadcast_all
from rushlight.functions.arithmetic import isclose, where
from rushlight.sampling import rand
from rushlight.size import Size

__all__ = ["GeneralizedPareto"]


class GeneralizedPareto(Distribution):
    """Excesses over `loc`: P(x > loc + scale z) = (1 + c z) ** (-1/c), c the `concentration`; e ** -z for c = 0."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive, "concentration": constraints.real}
    has_rsample = True
    expand = expand_parameters

    def __init__(self, loc: Any, scale: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale, self.concentration = broadcast_all(loc, scale, concentration)
        numbers = all(isinstance(value, Number) for value in (loc, scale, concentration))
        super().__init__(Size() if numbers else self.loc.size(), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        """From `loc`, for a negative concentration up to `loc - scale / concentration`."""
        c = self.concentration
        return constraints.interval(self.loc, where(c < 0, self.loc - self.scale / c, math.inf))

    mode = property(lambda self: self.loc)

    @property
    def mean(self) -> Any:
        """Not a number for a concentration of 1 and more."""
        c = self.concentration
        valid = c < 1
        return where(valid, self.loc + self.scale / (1 - where(valid, c, 0.5)), math.nan)

    @property
    def variance(self) -> Any:
        """Not a number for a concentration of 1/2 and more."""
        c = self.concentration
        valid = c < 0.5
        safe = where(valid, c, 0.25)
        return where(valid, self.scale**2 / ((1 - safe) ** 2 * (1 - 2 * safe)), math.nan)

    def _split(self) -> tuple[Any, Any]:
        """Where the concentration is 0, and the concentration with 1 there."""
        zero = isclose(self.concentration, self.concentration * 0)
        return zero, where(zero, 1.0, self.concentration)

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Draws by the inverse of `cdf`."""
        return self.icdf(rand(self._extended_shape(sample_shape), dtype=self.loc.dtype))

    def log_prob(self, value: Any) -> Any:
        """Logarithm of the density."""
        if self._validate_args:
            self._validate_sample(value)
        z = (value - self.loc) / self.scale
        zero, c = self._split()
        slope = 1 / c + z * 0 + 1
        return -self.scale.log() - where(zero, z, where(slope == 0, slope, slope * (c * z).log1p()))

    def log_survival_function(self, value: Any) -> Any:
        """Logarithm of the probability of a draw beyond `value`."""
        if self._validate_args:
            self._validate_sample(value)
        z = (value - self.loc) / self.scale
        zero, c = self._split()
        return where(zero, -z, -(c * z).log1p() / c)

    def log_cdf(self, value: Any) -> Any:
        """Logarithm of `cdf`."""
        return (-self.log_survival_function(value).exp()).log1p()

    def cdf(self, value: Any) -> Any:
        """Probability of a draw at most `value`."""
        return self.log_cdf(value).exp()

    def icdf(self, value: Any) -> Any:
        """The inverse of `cdf`."""
        zero, c = self._split()
        log_rest = (-value).log1p()
        return where(zero, self.loc - self.scale * log_rest, self.loc + self.scale / c * (-c * log_rest).expm1())

    def entropy(self) -> Any:
        """log(scale) + concentration + 1."""
        return (self.scale.log() + self.concentration + 1).expand(self._batch_shape)
