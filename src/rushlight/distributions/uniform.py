"""The uniform distribution."""

from __future__ import annotations

from numbers import Number
from typing import Any

from rushlight.distributions import constraints
from rushlight.distributions.distribution import Distribution, expand_parameters
from rushlight.distributions.utils import broadcast_all, unit_draws
from rushlight.size import Size

__all__ = ["Uniform"]


class Uniform(Distribution):
    """Uniform distribution over [low, high)."""

    has_rsample = True
    expand = expand_parameters

    @property
    def arg_constraints(self) -> dict[str, Any]:
        """The constraint of each parameter: each bounds the other."""
        return {"low": constraints.less_than(self.high), "high": constraints.greater_than(self.low)}

    def __init__(self, low: Any, high: Any, validate_args: bool | None = None) -> None:
        self.low, self.high = broadcast_all(low, high)
        numbers = isinstance(low, Number) and isinstance(high, Number)
        super().__init__(Size() if numbers else self.low.size(), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        """[low, high]."""
        return constraints.interval(self.low, self.high)

    mean = property(lambda self: (self.high + self.low) / 2)
    stddev = property(lambda self: (self.high - self.low) / 12**0.5)
    variance = property(lambda self: (self.high - self.low).pow(2) / 12)

    @property
    def mode(self) -> Any:
        """Undefined: all values are equally likely."""
        return self.high * float("nan")

    def rsample(self, sample_shape: Any = ()) -> Any:
        """`low + unit uniform * (high - low)`."""
        return self.low + unit_draws(self._extended_shape(sample_shape), self.low) * (self.high - self.low)

    def log_prob(self, value: Any) -> Any:
        """Logarithm of the density: minus infinity outside."""
        if self._validate_args:
            self._validate_sample(value)
        inside = (self.low <= value).type_as(self.low) * (self.high > value).type_as(self.low)
        return inside.log() - (self.high - self.low).log()

    def cdf(self, value: Any) -> Any:
        """Probability of a draw at most `value`."""
        if self._validate_args:
            self._validate_sample(value)
        return ((value - self.low) / (self.high - self.low)).clamp(min=0, max=1)

    def icdf(self, value: Any) -> Any:
        """The inverse of `cdf`."""
        return value * (self.high - self.low) + self.low

    def entropy(self) -> Any:
        """log(high - low)."""
        return (self.high - self.low).log()
