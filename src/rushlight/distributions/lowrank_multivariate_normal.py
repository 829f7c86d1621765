"""Normal distributions of vectors whose covariance is of low rank but for the diagonal."""

from __future__ import annotations

import math
from typing import Any

from rushlight.creation import eye
from rushlight.distributions import constraints
from rushlight.distributions.distribution import Distribution, expand_parameters
from rushlight.distributions.multivariate_normal import _half_log_det, _mahalanobis, _times
from rushlight.distributions.utils import lazy_property, standard_normal
from rushlight.functions.diagonals import diag_embed
from rushlight.functions.linalg.legacy import cholesky
from rushlight.functions.linalg.solving import solve_triangular
from rushlight.functions.shape import broadcast_tensors

__all__ = ["LowRankMultivariateNormal"]


class LowRankMultivariateNormal(Distribution):
    """Normal distribution with covariance `cov_factor @ cov_factor.mT + diag(cov_diag)`.

    All that is computed costs as much as systems of the rank of the factor, by Woodbury's identity and the matrix
    determinant lemma.

    Parameters
    ----------
    loc : Tensor[..., K]
    cov_factor : Tensor[..., K, R]
    cov_diag : Tensor[..., K]
        Positive.
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc: Any, cov_factor: Any, cov_diag: Any, validate_args: bool | None = None) -> None:
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        event_shape = loc.shape[-1:]
        if cov_factor.dim() < 2:
            raise ValueError("cov_factor must be at least two-dimensional, with optional leading batch dimensions")
        if cov_factor.shape[-2:-1] != event_shape:
            raise ValueError(f"cov_factor must be a batch of matrices with shape {event_shape[0]} x m")
        if cov_diag.shape[-1:] != event_shape:
            raise ValueError(f"cov_diag must be a batch of vectors with shape {event_shape}")
        try:
            place, self.cov_factor, spread = broadcast_tensors(loc.unsqueeze(-1), cov_factor, cov_diag.unsqueeze(-1))
        except RuntimeError as error:
            raise ValueError(
                f"Incompatible batch shapes: loc {loc.shape}, cov_factor {cov_factor.shape}, cov_diag {cov_diag.shape}"
            ) from error
        self.loc, self.cov_diag = place[..., 0], spread[..., 0]
        self._factor, self._diagonal = cov_factor, cov_diag
        # Lower Cholesky factor of 1 + W.T D**-1 W, the small matrix of Woodbury's identity.
        self._capacitance_tril = cholesky(_plus_one(self._scaled() @ cov_factor))
        super().__init__(self.loc.shape[:-1], event_shape, validate_args=validate_args)

    def _scaled(self) -> Any:
        """W.T D**-1."""
        return self._factor.mT / self._diagonal.unsqueeze(-2)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution with its batch broadcast to `batch_shape`."""
        new = expand_parameters(self, batch_shape, self._get_checked_instance(LowRankMultivariateNormal, _instance))
        for name in ("_factor", "_diagonal", "_capacitance_tril"):
            setattr(new, name, getattr(self, name))
        return new

    def _full(self, matrix: Any) -> Any:
        return matrix.expand((*self._batch_shape, *self._event_shape, *self._event_shape))

    mean = property(lambda self: self.loc)
    mode = property(lambda self: self.loc)

    @lazy_property
    def variance(self) -> Any:
        """The diagonal of the covariance."""
        diagonal = self._factor.pow(2).sum(-1) + self._diagonal
        return diagonal.expand((*self._batch_shape, *self._event_shape))

    @lazy_property
    def scale_tril(self) -> Any:
        """Lower Cholesky factor of the covariance: D**0.5 times that of 1 + V V.T, whose eigenvalues are at least 1."""
        root = self._diagonal.sqrt().unsqueeze(-1)
        scaled = self._factor / root
        return self._full(root * cholesky(_plus_one(scaled @ scaled.mT)))

    @lazy_property
    def covariance_matrix(self) -> Any:
        """The covariance."""
        return self._full(self._factor @ self._factor.mT + diag_embed(self._diagonal))

    @lazy_property
    def precision_matrix(self) -> Any:
        """The inverse of the covariance."""
        solved = solve_triangular(self._capacitance_tril, self._scaled(), upper=False)
        return self._full(diag_embed(self._diagonal.reciprocal()) - solved.mT @ solved)

    def rsample(self, sample_shape: Any = ()) -> Any:
        """`loc + W @ standard normal + D**0.5 * standard normal`."""
        shape = self._extended_shape(sample_shape)
        first = standard_normal((*shape[:-1], self.cov_factor.shape[-1]), self.loc)
        second = standard_normal(shape, self.loc)
        return self.loc + _times(self._factor, first) + self._diagonal.sqrt() * second

    def _log_det(self) -> Any:
        return 2 * _half_log_det(self._capacitance_tril) + self._diagonal.log().sum(-1)

    def log_prob(self, value: Any) -> Any:
        """Logarithm of the density."""
        if self._validate_args:
            self._validate_sample(value)
        away = value - self.loc
        inside = _mahalanobis(self._capacitance_tril, _times(self._scaled(), away))
        distance = (away.pow(2) / self._diagonal).sum(-1) - inside
        return -0.5 * (self._event_shape[0] * math.log(2 * math.pi) + self._log_det() + distance)

    def entropy(self) -> Any:
        """K/2 (1 + log(2 pi)) + log det / 2."""
        value = 0.5 * (self._event_shape[0] * (1.0 + math.log(2 * math.pi)) + self._log_det())
        return value.expand(self._batch_shape) if self._batch_shape else value


def _plus_one(matrix: Any) -> Any:
    return matrix + eye(matrix.shape[-1], dtype=matrix.dtype)
