"""The Bernoulli distribution."""

from __future__ import annotations

from numbers import Number
from typing import Any

from rushlight.creation import arange
from rushlight.distributions import constraints
from rushlight.distributions.distribution import expand_parameters
from rushlight.distributions.exp_family import ExponentialFamily
from rushlight.distributions.utils import broadcast_all, lazy_property, logits_to_probs, one_of, probs_to_logits
from rushlight.functions import random
from rushlight.functions.arithmetic import where
from rushlight.modes import no_grad
from rushlight.nn.functional.loss import binary_cross_entropy_with_logits
from rushlight.size import Size

__all__ = ["Bernoulli"]


class Bernoulli(ExponentialFamily):
    """1 with probability `probs` (or of log-odds `logits`), else 0."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.boolean
    has_enumerate_support = True
    _mean_carrier_measure = 0
    expand = expand_parameters

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        one_of(probs, logits)
        given = logits if probs is None else probs
        if probs is not None:
            (self.probs,) = broadcast_all(probs)
        else:
            (self.logits,) = broadcast_all(logits)
        super().__init__(Size() if isinstance(given, Number) else self.param_shape, validate_args=validate_args)

    @lazy_property
    def logits(self) -> Any:
        """Log-odds of 1."""
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Any:
        """Probability of 1."""
        return logits_to_probs(self.logits, is_binary=True)

    mean = property(lambda self: self.probs)
    variance = property(lambda self: self.probs * (1 - self.probs))

    @property
    def param_shape(self) -> Size:
        """Shape of the given parameter."""
        return Size((self.__dict__["probs"] if "probs" in self.__dict__ else self.__dict__["logits"]).shape)

    @property
    def mode(self) -> Any:
        """The likelier value, undefined at 1/2."""
        return where(self.probs == 0.5, float("nan"), (self.probs >= 0.5).to(self.probs.dtype))

    def sample(self, sample_shape: Any = ()) -> Any:
        """Draws."""
        with no_grad():
            return random.bernoulli(self.probs.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Any) -> Any:
        """Logarithm of the probability."""
        if self._validate_args:
            self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        return -binary_cross_entropy_with_logits(logits, value, reduction="none")

    def entropy(self) -> Any:
        """-p log p - (1 - p) log(1 - p)."""
        return binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")

    def enumerate_support(self, expand: bool = True) -> Any:
        """0 and 1."""
        values = arange(2, dtype=self.probs.dtype).view((-1, *[1] * len(self._batch_shape)))
        return values.expand((-1, *self._batch_shape)) if expand else values
