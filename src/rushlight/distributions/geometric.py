"""The geometric distribution."""

from __future__ import annotations

from numbers import Number
from typing import Any

from rushlight.distributions import constraints
from rushlight.distributions.distribution import Distribution, expand_parameters
from rushlight.distributions.utils import (
    broadcast_all,
    lazy_property,
    logits_to_probs,
    one_of,
    probs_to_logits,
    unit_draws,
)
from rushlight.dtypes import finfo
from rushlight.modes import no_grad
from rushlight.nn.functional.loss import binary_cross_entropy_with_logits
from rushlight.size import Size

__all__ = ["Geometric"]


class Geometric(Distribution):
    """Number of failures before the first success, which has probability `probs` (or log-odds `logits`)."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.nonnegative_integer
    expand = expand_parameters

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        one_of(probs, logits)
        name, given = ("logits", logits) if probs is None else ("probs", probs)
        if probs is not None:
            (self.probs,) = broadcast_all(probs)
        else:
            (self.logits,) = broadcast_all(logits)
        super().__init__(
            Size() if isinstance(given, Number) else self.__dict__[name].size(), validate_args=validate_args
        )
        if self._validate_args and probs is not None:
            valid = self.probs > 0
            if not valid.all():
                invalid = self.probs.data[~valid]
                raise ValueError(
                    f"Expected parameter probs ({type(self.probs).__name__} of shape {tuple(self.probs.shape)}) of "
                    f"distribution {self!r} to be positive but found invalid values:\n{invalid}"
                )

    @lazy_property
    def logits(self) -> Any:
        """Log-odds of a success."""
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Any:
        """Probability of a success."""
        return logits_to_probs(self.logits, is_binary=True)

    mean = property(lambda self: 1.0 / self.probs - 1.0)
    mode = property(lambda self: self.probs * 0)
    variance = property(lambda self: (1.0 / self.probs - 1.0) / self.probs)

    def sample(self, sample_shape: Any = ()) -> Any:
        """Draws by the inverse of the distribution function."""
        with no_grad():
            u = unit_draws(self._extended_shape(sample_shape), self.probs, finfo(self.probs.dtype).tiny, 1)
            return (u.log() / (-self.probs).log1p()).floor()

    def log_prob(self, value: Any) -> Any:
        """Logarithm of the probability."""
        if self._validate_args:
            self._validate_sample(value)
        value, probs = broadcast_all(value, self.probs)
        probs = probs.clone()
        probs[(probs == 1) & (value == 0)] = 0
        return value * (-probs).log1p() + self.probs.log()

    def entropy(self) -> Any:
        """The entropy of one trial over the probability of success."""
        return binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none") / self.probs
