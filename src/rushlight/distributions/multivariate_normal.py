"""The multivariate normal distribution."""

from __future__ import annotations

import math
from typing import Any

from rushlight.creation import eye
from rushlight.distributions import constraints
from rushlight.distributions.distribution import Distribution, expand_parameters
from rushlight.distributions.utils import lazy_property, standard_normal
from rushlight.functions.linalg.legacy import cholesky_inverse
from rushlight.functions.linalg.solving import cholesky, solve_triangular
from rushlight.functions.shape import broadcast_shapes_

__all__ = ["MultivariateNormal"]


def _lower_of_precision(precision: Any) -> Any:
    """The Cholesky factor of the inverse of `precision`, without forming that inverse."""
    reversed_lower = cholesky(precision.flip((-2, -1)))
    upper = reversed_lower.flip((-2, -1)).transpose(-2, -1)
    return solve_triangular(upper, eye(precision.shape[-1], dtype=precision.dtype), upper=False)


def _times(matrix: Any, vector: Any) -> Any:
    return matrix.matmul(vector.unsqueeze(-1)).squeeze(-1)


def _half_log_det(lower: Any) -> Any:
    return lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def _mahalanobis(lower: Any, away: Any) -> Any:
    """Squared distance |L**-1 x|**2 of each row."""
    shape = (*broadcast_shapes_(lower.shape[:-2], away.shape[:-1]), away.shape[-1])
    solved = solve_triangular(lower.expand((*shape, shape[-1])), away.expand(shape).unsqueeze(-1), upper=False)
    return solved.squeeze(-1).pow(2).sum(-1)


class MultivariateNormal(Distribution):
    """Normal distribution of vectors, with mean `loc` and one of three forms of its covariance.

    Parameters
    ----------
    loc : Tensor[..., K]
    covariance_matrix, precision_matrix : Tensor[..., K, K], optional
        Positive definite; `precision_matrix` is the inverse of the covariance.
    scale_tril : Tensor[..., K, K], optional
        Lower Cholesky factor of the covariance, with a positive diagonal.
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self, loc: Any, covariance_matrix: Any = None, precision_matrix: Any = None, scale_tril: Any = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        forms = {
            "covariance_matrix": covariance_matrix, "precision_matrix": precision_matrix, "scale_tril": scale_tril
        }  # fmt: skip
        given = [(name, matrix) for name, matrix in forms.items() if matrix is not None]
        if len(given) != 1:
            raise ValueError("Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified.")
        name, matrix = given[0]
        if matrix.dim() < 2:
            raise ValueError(f"{name} must be at least two-dimensional, with optional leading batch dimensions")
        batch_shape = broadcast_shapes_(matrix.shape[:-2], loc.shape[:-1])
        setattr(self, name, matrix.expand((*batch_shape, -1, -1)))
        self.loc = loc.expand((*batch_shape, -1))
        super().__init__(batch_shape, self.loc.shape[-1:], validate_args=validate_args)
        if name == "scale_tril":
            self._unbroadcasted_scale_tril = matrix
        else:
            self._unbroadcasted_scale_tril = (
                cholesky(matrix) if name == "covariance_matrix" else _lower_of_precision(matrix)
            )

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution with its batch broadcast to `batch_shape`."""
        new = expand_parameters(self, batch_shape, self._get_checked_instance(MultivariateNormal, _instance))
        new._unbroadcasted_scale_tril = self._unbroadcasted_scale_tril
        return new

    def _full(self, matrix: Any) -> Any:
        return matrix.expand((*self._batch_shape, *self._event_shape, *self._event_shape))

    @lazy_property
    def scale_tril(self) -> Any:
        """Lower Cholesky factor of the covariance."""
        return self._full(self._unbroadcasted_scale_tril)

    @lazy_property
    def covariance_matrix(self) -> Any:
        """The covariance."""
        return self._full(self._unbroadcasted_scale_tril.matmul(self._unbroadcasted_scale_tril.mT))

    @lazy_property
    def precision_matrix(self) -> Any:
        """The inverse of the covariance."""
        return self._full(cholesky_inverse(self._unbroadcasted_scale_tril))

    mean = property(lambda self: self.loc)
    mode = property(lambda self: self.loc)

    @property
    def variance(self) -> Any:
        """The diagonal of the covariance."""
        return self._unbroadcasted_scale_tril.pow(2).sum(-1).expand((*self._batch_shape, *self._event_shape))

    def rsample(self, sample_shape: Any = ()) -> Any:
        """`loc + scale_tril @ standard normal`."""
        standard = standard_normal(self._extended_shape(sample_shape), self.loc)
        return self.loc + _times(self._unbroadcasted_scale_tril, standard)

    def log_prob(self, value: Any) -> Any:
        """Logarithm of the density."""
        if self._validate_args:
            self._validate_sample(value)
        distance = _mahalanobis(self._unbroadcasted_scale_tril, value - self.loc)
        constant = self._event_shape[0] * math.log(2 * math.pi)
        return -0.5 * (constant + distance) - _half_log_det(self._unbroadcasted_scale_tril)

    def entropy(self) -> Any:
        """K/2 (1 + log(2 pi)) + log det(scale_tril)."""
        constant = 0.5 * self._event_shape[0] * (1.0 + math.log(2 * math.pi))
        return (constant + _half_log_det(self._unbroadcasted_scale_tril)).expand(self._batch_shape)
