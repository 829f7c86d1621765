"""Gamma and Dirichlet draws whose gradients follow the draw (implicit reparameterisation)."""

from __future__ import annotations

from typing import Any

from rushlight import generator as draws
from rushlight.backends import draw_gradient
from rushlight.generator import Generator
from rushlight.ops.kinds import Array, opaque
from rushlight.ops.linear import sum
from rushlight.spec import Spec


def _like_first(x: Spec, *others: Spec, **params: Any) -> Spec:
    return x


@opaque(spec=_like_first, grad=None)
def standard_gamma_grad(xp: Any, shape: Array, x: Array) -> Array:
    """How gamma draws `x` move with their `shape`."""
    return draw_gradient.standard_gamma_grad(shape, x)


@opaque(spec=_like_first, grad=None)
def dirichlet_grad(xp: Any, x: Array, concentration: Array, total: Array) -> Array:
    """How Dirichlet draws `x` move with their concentrations, before the coupling of the outputs."""
    return draw_gradient.dirichlet_grad(x, concentration, total)


@opaque(spec=_like_first, name="StandardGammaBackward0", grad=lambda g, shape, out: g * standard_gamma_grad(shape, out))
def standard_gamma(xp: Any, shape: Array, generator: Generator) -> Array:
    """A gamma number of scale 1 for each shape."""
    return draws.standard_gamma(generator, shape.reshape(-1)).reshape(shape.shape)


def _moved_concentration(g: Any, concentration: Any, out: Any) -> Any:
    total = sum(concentration, dim=-1, keepdim=True)
    return dirichlet_grad(out, concentration, total) * (g - sum(out * g, dim=-1, keepdim=True))


@opaque(spec=_like_first, name="_DirichletBackward", grad=_moved_concentration)
def sample_dirichlet(xp: Any, concentration: Array, generator: Generator) -> Array:
    """A point of the simplex for each row of concentrations."""
    return draws.dirichlet(generator, concentration)
