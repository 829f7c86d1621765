"""The Cauchy distribution."""

from __future__ import annotations

import math
from numbers import Number
from typing import Any

from rushlight.creation import empty, full
from rushlight.distributions import constraints
from rushlight.distributions.distribution import Distribution, expand_parameters
from rushlight.distributions.utils import broadcast_all
from rushlight.size import Size

__all__ = ["Cauchy"]


class Cauchy(Distribution):
    """Cauchy distribution of median `loc` and half width at half maximum `scale`."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True
    expand = expand_parameters

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        numbers = isinstance(loc, Number) and isinstance(scale, Number)
        super().__init__(Size() if numbers else self.loc.size(), validate_args=validate_args)

    @property
    def mean(self) -> Any:
        """Undefined."""
        return full(self._extended_shape(), math.nan, dtype=self.loc.dtype)

    mode = property(lambda self: self.loc)

    @property
    def variance(self) -> Any:
        """Infinite."""
        return full(self._extended_shape(), math.inf, dtype=self.loc.dtype)

    def rsample(self, sample_shape: Any = ()) -> Any:
        """`loc + scale * standard Cauchy`."""
        standard = empty(self._extended_shape(sample_shape), dtype=self.loc.dtype).cauchy_()
        return self.loc + standard * self.scale

    def log_prob(self, value: Any) -> Any:
        """Logarithm of the density."""
        if self._validate_args:
            self._validate_sample(value)
        return -math.log(math.pi) - self.scale.log() - (((value - self.loc) / self.scale) ** 2).log1p()

    def cdf(self, value: Any) -> Any:
        """Probability of a draw at most `value`."""
        if self._validate_args:
            self._validate_sample(value)
        return ((value - self.loc) / self.scale).atan() / math.pi + 0.5

    def icdf(self, value: Any) -> Any:
        """The inverse of `cdf`."""
        return (math.pi * (value - 0.5)).tan() * self.scale + self.loc

    def entropy(self) -> Any:
        """log(4 pi scale)."""
        return math.log(4 * math.pi) + self.scale.log()
