"""Mixtures of distributions of one class."""

from __future__ import annotations

from typing import Any

from rushlight.distributions import constraints
from rushlight.distributions.categorical import Categorical
from rushlight.distributions.distribution import Distribution
from rushlight.functions.softmax import log_softmax, logsumexp
from rushlight.modes import no_grad
from rushlight.size import Size

__all__ = ["MixtureSameFamily"]


class MixtureSameFamily(Distribution):
    """Draws of `component_distribution` (the last dim of its batch), chosen by `mixture_distribution`."""

    arg_constraints: dict[str, Any] = {}
    has_rsample = False

    def __init__(
        self, mixture_distribution: Any, component_distribution: Any, validate_args: bool | None = None
    ) -> None:
        if not isinstance(mixture_distribution, Categorical):
            raise ValueError(" The Mixture distribution needs to be an  instance of torch.distributions.Categorical")
        if not isinstance(component_distribution, Distribution):
            raise ValueError("The Component distribution need to be an instance of torch.distributions.Distribution")
        chosen, parts = mixture_distribution.batch_shape, component_distribution.batch_shape[:-1]
        for a, b in zip(reversed(chosen), reversed(parts), strict=False):
            if a != 1 and b != 1 and a != b:
                raise ValueError(
                    f"`mixture_distribution.batch_shape` ({chosen}) is not compatible with "
                    f"`component_distribution.batch_shape`({parts})"
                )
        count = mixture_distribution.logits.shape[-1]
        if count != component_distribution.batch_shape[-1]:
            raise ValueError(
                f"`mixture_distribution component` ({count}) does not equal "
                f"`component_distribution.batch_shape[-1]` ({component_distribution.batch_shape[-1]})"
            )
        self._mixture_distribution, self._component_distribution = mixture_distribution, component_distribution
        self._event_ndims = len(component_distribution.event_shape)
        super().__init__(parts, component_distribution.event_shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution with its batch broadcast to `batch_shape`."""
        new = self._get_checked_instance(MixtureSameFamily, _instance)
        batch_shape = Size(batch_shape)
        count = self._component_distribution.batch_shape[-1:]
        new._component_distribution = self._component_distribution.expand(batch_shape + count)
        new._mixture_distribution = self._mixture_distribution.expand(batch_shape)
        new._event_ndims = self._event_ndims
        Distribution.__init__(new, batch_shape, new._component_distribution.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @constraints.dependent_property
    def support(self) -> Any:
        """That of the components."""
        return constraints.MixtureSameFamilyConstraint(self._component_distribution.support)

    mixture_distribution = property(lambda self: self._mixture_distribution)
    component_distribution = property(lambda self: self._component_distribution)

    def _weights(self) -> Any:
        probs = self._mixture_distribution.probs
        return probs.reshape((*probs.shape, *[1] * self._event_ndims))

    @property
    def mean(self) -> Any:
        """The weighted mean of the components' means."""
        return (self._weights() * self._component_distribution.mean).sum(-1 - self._event_ndims)

    @property
    def variance(self) -> Any:
        """Mean of the variances plus variance of the means."""
        weights, dim = self._weights(), -1 - self._event_ndims
        apart = (self._component_distribution.mean - self.mean.unsqueeze(dim)).pow(2)
        inside = (weights * self._component_distribution.variance).sum(dim)
        return inside + (weights * apart).sum(dim)

    def cdf(self, x: Any) -> Any:
        """The weighted mean of the components' probabilities."""
        return (self._component_distribution.cdf(self._padded(x)) * self._mixture_distribution.probs).sum(-1)

    def log_prob(self, x: Any) -> Any:
        """Logarithm of the weighted sum of densities."""
        if self._validate_args:
            self._validate_sample(x)
        densities = self._component_distribution.log_prob(self._padded(x))
        return logsumexp(densities + log_softmax(self._mixture_distribution.logits, dim=-1), dim=-1)

    def sample(self, sample_shape: Any = ()) -> Any:
        """Draws: of the choice first, then of all components."""
        with no_grad():
            dim = len(sample_shape) + len(self.batch_shape)
            choice = self._mixture_distribution.sample(sample_shape)
            draws = self._component_distribution.sample(sample_shape)
            choice = choice.reshape((*choice.shape, *[1] * (self._event_ndims + 1)))
            choice = choice.expand((*choice.shape[: dim + 1], *self.event_shape))
            return draws.gather(dim, choice).squeeze(dim)

    def _padded(self, x: Any) -> Any:
        return x.unsqueeze(-1 - self._event_ndims)

    def __repr__(self) -> str:
        return f"MixtureSameFamily(\n  {self.mixture_distribution},\n  {self.component_distribution})"
