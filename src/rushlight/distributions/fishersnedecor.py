"""Fisher and Snedecor's F distribution."""

from __future__ import annotations

import math
from numbers import Number
from typing import Any

from rushlight.distributions import constraints
from rushlight.distributions.distribution import Distribution, expand_parameters
from rushlight.distributions.gamma import Gamma
from rushlight.distributions.utils import broadcast_all
from rushlight.dtypes import finfo
from rushlight.functions.arithmetic import where
from rushlight.size import Size

__all__ = ["FisherSnedecor"]


class FisherSnedecor(Distribution):
    """Ratio of two chi-square draws, each divided by its degrees of freedom, `df1` and `df2`."""

    arg_constraints = {"df1": constraints.positive, "df2": constraints.positive}
    support = constraints.positive
    has_rsample = True
    expand = expand_parameters

    def __init__(self, df1: Any, df2: Any, validate_args: bool | None = None) -> None:
        self.df1, self.df2 = broadcast_all(df1, df2)
        numbers = isinstance(df1, Number) and isinstance(df2, Number)
        super().__init__(Size() if numbers else self.df1.size(), validate_args=validate_args)

    @property
    def mean(self) -> Any:
        """Not a number for df2 <= 2."""
        return where(self.df2 > 2, self.df2 / (self.df2 - 2), math.nan)

    @property
    def mode(self) -> Any:
        """Not a number for df1 <= 2."""
        place = (self.df1 - 2) / self.df1 * self.df2 / (self.df2 + 2)
        return where(self.df1 > 2, place, math.nan)

    @property
    def variance(self) -> Any:
        """Not a number for df2 <= 4."""
        a, b = self.df1, self.df2
        spread = 2 * b.pow(2) * (a + b - 2) / (a * (b - 2).pow(2) * (b - 4))
        return where(b > 4, spread, math.nan)

    def rsample(self, sample_shape: Any = ()) -> Any:
        """The ratio of two gamma draws of mean 1/2, never 0."""
        above, below = (Gamma(df * 0.5, df).rsample(sample_shape) for df in (self.df1, self.df2))
        tiny = finfo(below.dtype).tiny
        ratio = above / below.clamp(min=tiny)
        ratio.detach().clamp_(min=tiny)
        return ratio

    def log_prob(self, value: Any) -> Any:
        """Logarithm of the density."""
        if self._validate_args:
            self._validate_sample(value)
        a, b, ratio = self.df1 * 0.5, self.df2 * 0.5, self.df1 / self.df2
        constant = (a + b).lgamma() - a.lgamma() - b.lgamma() + a * ratio.log()
        return constant + (a - 1) * value.log() - (a + b) * (ratio * value).log1p()
