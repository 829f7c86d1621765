"""Distributions of the exponential family."""

from __future__ import annotations

from typing import Any

from rushlight.autograd import grad
from rushlight.distributions.distribution import Distribution

__all__ = ["ExponentialFamily"]


class ExponentialFamily(Distribution):
    """density(x) = exp(<statistics(x), natural parameters> - F(natural parameters) + k(x)).

    Subclasses may define `_natural_params`, `_log_normalizer` (F) and `_mean_carrier_measure` (the mean of k);
    the common families here state their entropies directly.
    """

    @property
    def _natural_params(self) -> tuple[Any, ...]:
        raise NotImplementedError

    def _log_normalizer(self, *natural_params: Any) -> Any:
        raise NotImplementedError

    @property
    def _mean_carrier_measure(self) -> float:
        raise NotImplementedError

    def entropy(self) -> Any:
        """Entropy from the gradient of the log-normaliser: F - <parameters, dF> - mean of k."""
        constant = -self._mean_carrier_measure
        parameters = [p.detach().requires_grad_() for p in self._natural_params]
        normalizer = self._log_normalizer(*parameters)
        gradients = grad(normalizer.sum(), parameters, create_graph=True)
        result = constant + normalizer
        for p, g in zip(parameters, gradients, strict=True):
            result = result - (p * g).reshape((*self._batch_shape, -1)).sum(-1)
        return result
