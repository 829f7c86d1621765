"""A weight as magnitude times direction."""

from __future__ import annotations

from typing import Any

from rushlight.ops.elementwise import sqrt
from rushlight.ops.kinds import Array, composite
from rushlight.ops.linear import reshape
from rushlight.ops.linear import sum as sum_over

Dims = tuple[int, ...]


def _length(v: Any, dims: Dims) -> Any:
    return sqrt(sum_over(v * v, dims, True))


def _direction_grad(g: Any, v: Any, magnitude: Any, dims: Dims) -> Any:
    # derived here: w = v m / |v|, so dw = (m / |v|) (dv - v <v, dv> / |v|^2)
    length = _length(v, dims)
    return magnitude / length * (g - v * (sum_over(g * v, dims, True) / (length * length)))


@composite(
    name="WeightNormInterfaceBackward0",
    grad=(
        _direction_grad,
        lambda g, v, magnitude_spec, dims: reshape(
            sum_over(g * v, dims, True) / _length(v, dims), magnitude_spec.shape
        ),
    ),
)
def weight_norm(v: Array, magnitude: Array, dims: Dims) -> Array:
    """`v` scaled so that its norm over `dims` is `magnitude` [1].

    References
    ----------
    .. [1] T. Salimans, D. P. Kingma, "Weight Normalization", arXiv 1602.07868.
    """
    return v * (magnitude / _length(v, dims))
