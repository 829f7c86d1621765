"""Discrete Fourier transforms: complex to complex, real to complex, complex to real.

`scaling` is "none", "sqrt" (divide by the root of the number of points) or "n" (divide by that number). A
transform's matrix is symmetric, so its gradient is the transform in the other direction with the same scaling.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.ops.elementwise import mul
from rushlight.ops.kinds import Array, opaque
from rushlight.ops.linear import place_slice, real
from rushlight.spec import Spec

Dims = tuple[int, ...]
_FORWARD = {"none": "backward", "sqrt": "ortho", "n": "forward"}
_INVERSE = {"none": "forward", "sqrt": "ortho", "n": "backward"}


def _complex_of(dtype: Any) -> Any:
    return np.result_type(dtype, np.complex64)


@opaque(
    name="FftC2CBackward0",
    spec=lambda x, dims, scaling, forward: x,
    grad=lambda g, dims, scaling, forward: fft_c2c(g, dims, scaling, not forward),
)
def fft_c2c(xp: Any, x: Array, dims: Dims, scaling: str, forward: bool) -> Array:
    """Transform of complex numbers over `dims`."""
    if not x.size or not dims:
        return x.copy()
    function: Any = np.fft.fftn if forward else np.fft.ifftn
    return function(x, axes=dims, norm=(_FORWARD if forward else _INVERSE)[scaling])


def _r2c_spec(x: Spec, dims: Dims, scaling: str, onesided: bool) -> Spec:
    shape = list(x.shape)
    if onesided:
        shape[dims[-1]] = shape[dims[-1]] // 2 + 1
    return Spec(tuple(shape), _complex_of(x.dtype))


def _r2c_grad(g: Any, x_spec: Spec, dims: Dims, scaling: str, onesided: bool) -> Any:
    if onesided:
        last = dims[-1]
        index = (slice(None),) * last + (slice(0, x_spec.shape[last] // 2 + 1),)
        g = place_slice(g, x_spec.shape, index)
    return real(fft_c2c(g, dims, scaling, False))


@opaque(name="FftR2CBackward0", spec=_r2c_spec, grad=_r2c_grad)
def fft_r2c(xp: Any, x: Array, dims: Dims, scaling: str, onesided: bool) -> Array:
    """Forward transform of real numbers; onesided: the last of `dims` keeps its first n // 2 + 1 points."""
    spec = _r2c_spec(Spec(x.shape, x.dtype), dims, scaling, onesided)
    if not x.size:
        return np.zeros(spec.shape, spec.dtype)
    function: Any = np.fft.rfftn if onesided else np.fft.fftn
    out: Any = function(x, axes=dims, norm=_FORWARD[scaling])
    return out.astype(spec.dtype, copy=False)


def _c2r_spec(x: Spec, dims: Dims, scaling: str, size: int) -> Spec:
    shape = list(x.shape)
    shape[dims[-1]] = size
    return Spec(tuple(shape), np.empty(0, x.dtype).real.dtype)


def _c2r_grad(g: Any, dims: Dims, scaling: str, size: int) -> Any:
    last = dims[-1]
    half = fft_r2c(g, dims, scaling, True)
    # every point but the first and, for an even size, the last stands for itself and its mirror image
    weight = np.full(size // 2 + 1, 2.0, np.float32)
    weight[0] = 1
    if size % 2 == 0:
        weight[-1] = 1
    return mul(half, weight.reshape((-1,) + (1,) * (len(half.shape) - last - 1)))


@opaque(name="FftC2RBackward0", spec=_c2r_spec, grad=_c2r_grad)
def fft_c2r(xp: Any, x: Array, dims: Dims, scaling: str, size: int) -> Array:
    """Inverse transform to `size` real numbers along the last of `dims`, from the first size // 2 + 1 points."""
    spec = _c2r_spec(Spec(x.shape, x.dtype), dims, scaling, size)
    if not x.size:
        return np.zeros(spec.shape, spec.dtype)
    lengths = [x.shape[d] for d in dims[:-1]] + [size]
    function: Any = np.fft.irfftn
    out = function(x, s=lengths, axes=dims, norm=_INVERSE[scaling])
    return out.astype(spec.dtype, copy=False)
