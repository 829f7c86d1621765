"""Resizing of the last dims by nearest, linear, cubic and antialiased filters: separable linear maps."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.backends import numpy_resample
from rushlight.backends.numpy_resample import Resampling
from rushlight.backends.precision import narrow, widen
from rushlight.errors import ShapeError
from rushlight.ops.kinds import Array, opaque
from rushlight.spec import Spec

Plans = tuple[Resampling, ...]


def _resized_spec(x: Spec, plans: Plans) -> Spec:
    n = len(plans)
    output = tuple(p.output_size for p in plans)
    if min((*x.shape[x.ndim - n :], *output)) < 1:
        letters = "DHW"[-n:]
        now, then = (
            ", ".join(f"{letter}: {m}" for letter, m in zip(letters, sizes, strict=True))
            for sizes in (x.shape[x.ndim - n :], output)
        )
        raise ShapeError(f"Input and output sizes should be greater than 0, but got input ({now}) output ({then})")
    if 0 in x.shape[1:]:
        raise ShapeError(f"Non-empty {x.ndim}D data tensor expected but got a tensor with sizes {list(x.shape)}")
    return Spec((*x.shape[: x.ndim - n], *output), x.dtype)


def _resize(x: Any, plans: Plans) -> Any:
    if x.dtype.kind == "u" and not plans[0].filter.startswith("nearest"):
        return np.rint(numpy_resample.resample(x.astype(np.float32), plans)).clip(0, 255).astype(x.dtype)
    wide = x if plans[0].filter.startswith("nearest") else widen(x)[0]
    out = numpy_resample.resample(wide, plans)
    return narrow(out if out is not x else x.copy(), x.dtype)


def _declare_resize(title: str, name: str) -> Any:
    def resize(xp: Any, x: Array, plans: Plans) -> Array:
        return _resize(x, plans)

    resize.__name__ = f"upsample_{title}"
    resize.__doc__ = f"The last dims of x resized ({title}); one plan per dim."
    declare = opaque(name=name, spec=_resized_spec, grad=lambda g, plans: resize_grad(g, plans, title), follows=1)
    return declare(resize)


RESIZES = {
    title: _declare_resize(title, name)
    for title, name in {
        "nearest1d": "UpsampleNearest1DBackward0",
        "nearest2d": "UpsampleNearest2DBackward0",
        "nearest3d": "UpsampleNearest3DBackward0",
        "nearest_exact1d": "UpsampleNearestExact1DBackward0",
        "nearest_exact2d": "UpsampleNearestExact2DBackward0",
        "nearest_exact3d": "UpsampleNearestExact3DBackward0",
        "linear1d": "UpsampleLinear1DBackward0",
        "bilinear2d": "UpsampleBilinear2DBackward0",
        "bicubic2d": "UpsampleBicubic2DBackward0",
        "trilinear3d": "UpsampleTrilinear3DBackward0",
        "bilinear2d_aa": "UpsampleBilinear2DAaBackward0",
        "bicubic2d_aa": "UpsampleBicubic2DAaBackward0",
        "lanczos2d_aa": "UpsampleLanczos2DAaBackward0",
    }.items()
}


def _grad_spec(g: Spec, plans: Plans, title: str) -> Spec:
    return Spec((*g.shape[: g.ndim - len(plans)], *(p.input_size for p in plans)), g.dtype)


@opaque(spec=_grad_spec, grad=lambda g, plans, title: RESIZES[title](g, plans), follows=1)
def resize_grad(xp: Any, g_out: Array, plans: Plans, title: str) -> Array:
    """The gradient of resizing: the transposed map."""
    (wide,) = widen(g_out)
    out = numpy_resample.resample_gradient(wide, plans)
    return narrow(out if out is not g_out else g_out.copy(), g_out.dtype)
