"""The von Mises distribution of angles."""

from __future__ import annotations

import math
from typing import Any

from rushlight.creation import empty, zeros
from rushlight.distributions import constraints
from rushlight.distributions.distribution import Distribution
from rushlight.distributions.utils import broadcast_all, lazy_property
from rushlight.dtypes import bool_, float64
from rushlight.functions.arithmetic import where
from rushlight.functions.special import i0e, i1e
from rushlight.modes import no_grad
from rushlight.sampling import rand

__all__ = ["VonMises"]


class VonMises(Distribution):
    """Angles around `loc` in radians, between -pi and pi, with density e ** (concentration cos(x - loc)).

    Notes
    -----
    PyTorch: approximates Bessel functions by polynomials, to some seven digits; here they are exact.
    """

    arg_constraints = {"loc": constraints.real, "concentration": constraints.positive}
    support = constraints.real
    has_rsample = False

    def __init__(self, loc: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.loc, self.concentration = broadcast_all(loc, concentration)
        super().__init__(self.loc.shape, (), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution with its batch broadcast to `batch_shape`."""
        checks = self.__dict__.get("_validate_args")
        return type(self)(self.loc.expand(batch_shape), self.concentration.expand(batch_shape), validate_args=checks)

    mean = property(lambda self: self.loc)
    mode = property(lambda self: self.loc)

    @lazy_property
    def variance(self) -> Any:
        """1 - I1(k) / I0(k), that of directions."""
        return 1 - i1e(self.concentration) / i0e(self.concentration)

    def log_prob(self, value: Any) -> Any:
        """Logarithm of the density."""
        if self._validate_args:
            self._validate_sample(value)
        k = self.concentration
        return k * (value - self.loc).cos() - math.log(2 * math.pi) - (i0e(k).log() + k)

    def sample(self, sample_shape: Any = ()) -> Any:
        """Draws, by rejection from a wrapped Cauchy distribution [1]_, in double precision.

        References
        ----------
        .. [1] D. Best, N. Fisher, "Efficient simulation of the von Mises distribution", 1979.
        """
        shape = self._extended_shape(sample_shape)
        with no_grad():
            k = self.concentration.to(float64)
            tau = 1 + (1 + 4 * k.pow(2)).sqrt()
            rho = (tau - (2 * tau).sqrt()) / (2 * k)
            r = where(k < 1e-5, 1 / k + k, (1 + rho.pow(2)) / (2 * rho))  # the formula loses all digits near 0
            found, done = empty(shape, dtype=float64), zeros(shape, dtype=bool_)
            while not done.all():
                first, second, third = rand((3, *shape), dtype=float64).unbind()
                z = (math.pi * first).cos()
                f = (1 + r * z) / (r + z)
                c = k * (r - f)
                accepted = ((c * (2 - c) - second) > 0) | ((c / second).log() + 1 - c >= 0)
                if accepted.any():
                    found = where(accepted, (third - 0.5).sign() * f.acos(), found)
                    done = done | accepted
            turned = (found + math.pi + self.loc.to(float64)) % (2 * math.pi) - math.pi
            return turned.to(self.loc.dtype)
