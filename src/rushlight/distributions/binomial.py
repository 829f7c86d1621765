"""The binomial distribution."""

from __future__ import annotations

from typing import Any

from rushlight.creation import arange
from rushlight.distributions import constraints
from rushlight.distributions.distribution import Distribution, expand_parameters
from rushlight.distributions.utils import broadcast_all, lazy_property, logits_to_probs, one_of, probs_to_logits
from rushlight.functions import random
from rushlight.modes import no_grad

__all__ = ["Binomial"]


class Binomial(Distribution):
    """Number of successes among `total_count` trials of probability `probs` (or log-odds `logits`)."""

    arg_constraints = {
        "total_count": constraints.nonnegative_integer,
        "probs": constraints.unit_interval,
        "logits": constraints.real,
    }
    has_enumerate_support = True
    expand = expand_parameters

    def __init__(
        self, total_count: Any = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        one_of(probs, logits)
        if probs is not None:
            self.total_count, self.probs = broadcast_all(total_count, probs)
            self.total_count = self.total_count.type_as(self.probs)
        else:
            self.total_count, self.logits = broadcast_all(total_count, logits)
            self.total_count = self.total_count.type_as(self.logits)
        super().__init__(self.total_count.size(), validate_args=validate_args)

    @lazy_property
    def logits(self) -> Any:
        """Log-odds of a success."""
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Any:
        """Probability of a success."""
        return logits_to_probs(self.logits, is_binary=True)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        """0 to `total_count`."""
        return constraints.integer_interval(0, self.total_count)

    mean = property(lambda self: self.total_count * self.probs)
    variance = property(lambda self: self.total_count * self.probs * (1 - self.probs))
    mode = property(lambda self: ((self.total_count + 1) * self.probs).floor().clamp(max=self.total_count))
    param_shape = property(lambda self: self.total_count.size())

    def sample(self, sample_shape: Any = ()) -> Any:
        """Draws."""
        shape = self._extended_shape(sample_shape)
        with no_grad():
            return random.binomial(self.total_count.expand(shape), self.probs.expand(shape))

    def log_prob(self, value: Any) -> Any:
        """Logarithm of the probability: log C(n, k) + k log p + (n - k) log(1 - p), from log-odds."""
        if self._validate_args:
            self._validate_sample(value)
        n, x = self.total_count, self.logits
        ways = (n + 1).lgamma() - (value + 1).lgamma() - (n - value + 1).lgamma()
        log_total = x.clamp(min=0) + (-x.abs()).exp().log1p()
        return value * x - n * log_total + ways

    def entropy(self) -> Any:
        """Expected `-log_prob`, summed over all values; one `total_count` for the whole batch."""
        if not self.total_count.min() == int(self.total_count.max()):
            raise NotImplementedError("Inhomogeneous total count not supported by `entropy`.")
        log_prob = self.log_prob(self.enumerate_support(False))
        return -(log_prob.exp() * log_prob).sum(0)

    def enumerate_support(self, expand: bool = True) -> Any:
        """0 to `total_count`."""
        most = int(self.total_count.max())
        if not self.total_count.min() == most:
            raise NotImplementedError("Inhomogeneous total count not supported by `enumerate_support`.")
        values = arange(1 + most, dtype=self.total_count.dtype).view((-1, *[1] * len(self._batch_shape)))
        return values.expand((-1, *self._batch_shape)) if expand else values
