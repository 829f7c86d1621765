"""Products of vectors of three."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.errors import ShapeError, explain
from rushlight.layout import broadcast_shapes, wrap_dim
from rushlight.ops.kinds import Array, opaque, sum_to_shape
from rushlight.ops.linear import conj_of
from rushlight.spec import Spec


def _cross_spec(x: Spec, y: Spec, dim: int = -1) -> Spec:
    if len(x.shape) != len(y.shape):
        raise explain(
            ShapeError("linalg.cross: inputs must have the same number of dimensions."), received=(x.shape, y.shape)
        )
    d = wrap_dim(dim, len(x.shape))
    if x.shape[d] != 3 or y.shape[d] != 3:
        raise explain(
            ShapeError(f"linalg.cross: inputs dimension {dim} must have length 3. Got {x.shape[d]} and {y.shape[d]}"),
            received=(x.shape, y.shape),
        )
    return Spec(broadcast_shapes(x.shape, y.shape), np.result_type(x.dtype, y.dtype))


@opaque(
    name="LinalgCrossBackward0",
    spec=_cross_spec,
    grad=(
        lambda g, y, x_spec, dim: sum_to_shape(cross(conj_of(y), g, dim), x_spec.shape),
        lambda g, x, y_spec, dim: sum_to_shape(cross(g, conj_of(x), dim), y_spec.shape),
    ),
)
def cross(xp: Any, x: Array, y: Array, dim: int = -1) -> Array:
    """Cross products along `dim`."""
    a, b = (np.moveaxis(v, dim, 0) for v in np.broadcast_arrays(x, y))
    parts = [a[(i + 1) % 3] * b[(i + 2) % 3] - a[(i + 2) % 3] * b[(i + 1) % 3] for i in range(3)]
    return np.stack(parts, axis=dim)
