"""The LKJ distribution of correlation matrices, as their Cholesky factors."""

from __future__ import annotations

import math
from typing import Any

from rushlight.creation import arange
from rushlight.distributions import constraints
from rushlight.distributions.beta import Beta
from rushlight.distributions.distribution import Distribution
from rushlight.distributions.utils import broadcast_all
from rushlight.dtypes import finfo
from rushlight.functions.diagonals import diag_embed
from rushlight.functions.shape import cat
from rushlight.functions.special import mvlgamma
from rushlight.modes import no_grad
from rushlight.sampling import randn
from rushlight.size import Size

__all__ = ["LKJCholesky"]


class LKJCholesky(Distribution):
    """Cholesky factors of correlation matrices with density det(matrix) ** (concentration - 1) [1]_.

    Parameters
    ----------
    dim : int
        Rows of the matrices.
    concentration : float or Tensor
        1: all correlation matrices alike; more: weaker correlations.

    References
    ----------
    .. [1] D. Lewandowski, D. Kurowicka, H. Joe, "Generating random correlation matrices based on vines and extended
       onion method", 2009.
    """

    arg_constraints = {"concentration": constraints.positive}
    support = constraints.corr_cholesky

    def __init__(self, dim: int, concentration: Any = 1.0, validate_args: bool | None = None) -> None:
        if dim < 2:
            raise ValueError(f"Expected dim to be an integer greater than or equal to 2. Found dim={dim}.")
        self.dim = dim
        (self.concentration,) = broadcast_all(concentration)
        # The squared length of a row without its diagonal is beta-distributed (section 3.2 of [1]).
        before = arange(dim - 1, dtype=self.concentration.dtype)
        before = cat([before.new_zeros((1,)), before])
        whole = self.concentration + 0.5 * (dim - 2)
        self._beta = Beta(before + 0.5, whole.unsqueeze(-1) - 0.5 * before)
        super().__init__(self.concentration.size(), Size((dim, dim)), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution with its batch broadcast to `batch_shape`."""
        new = self._get_checked_instance(LKJCholesky, _instance)
        new.dim = self.dim
        new.concentration = self.concentration.expand(batch_shape)
        new._beta = self._beta.expand((*batch_shape, self.dim))
        Distribution.__init__(new, batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def sample(self, sample_shape: Any = ()) -> Any:
        """Draws, row by row: a length, a direction, and a diagonal that makes the row a unit vector."""
        with no_grad():
            length = self._beta.sample(sample_shape).unsqueeze(-1).sqrt()
            direction = randn(self._extended_shape(sample_shape), dtype=length.dtype).tril(-1)
            direction = (direction / direction.norm(dim=-1, keepdim=True)).clone()
            direction[..., 0, :].fill_(0.0)  # 0 / 0 in the first row, which has nothing before its diagonal
            rows = length * direction
            diagonal = (1 - rows.pow(2).sum(-1)).clamp(min=finfo(rows.dtype).tiny).sqrt()
            return rows + diag_embed(diagonal)

    def log_prob(self, value: Any) -> Any:
        """Logarithm of the density: sum of (2 c - 2 + dim - i) log L_ii, normalised as on page 1999 of [1]."""
        if self._validate_args:
            self._validate_sample(value)
        n = self.dim - 1
        diagonal = value.diagonal(dim1=-1, dim2=-2)[..., 1:]
        order = 2 * (self.concentration - 1).unsqueeze(-1) + self.dim - arange(2, self.dim + 1)
        alpha = self.concentration + 0.5 * n
        constant = 0.5 * n * math.log(math.pi) + mvlgamma(alpha - 0.5, n) - alpha.lgamma() * n
        return (order * diagonal.log()).sum(-1) - constant
