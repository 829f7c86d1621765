"""The array namespace of the CPU: the names that op bodies call, over NumPy.

NumPy's floating-point warnings are switched off here once (PyTorch has none); worker threads get a warnings
filter instead, as NumPy keeps that setting per thread.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from rushlight.backends.special import (
    digamma,
    erf,
    erfc,
    erfcx,
    erfinv,
    i0,
    i0e,
    i1,
    i1e,
    lgamma,
    log_ndtr,
    ndtr,
    ndtri,
    polygamma,
    zeta,
)  # fmt: skip

np.seterr(all="ignore")
warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"rushlight\.")

ndarray = np.ndarray
newaxis = np.newaxis
add, subtract, multiply, true_divide = np.add, np.subtract, np.multiply, np.true_divide
floor_divide, remainder, fmod, power, float_power = np.floor_divide, np.remainder, np.fmod, np.power, np.float_power
negative, positive, absolute, sign, reciprocal, square = (
    np.negative, np.positive, np.absolute, np.sign, np.reciprocal, np.square,
)  # fmt: skip
abs = np.absolute
exp, exp2, expm1, log, log2, log10, log1p, sqrt = (
    np.exp, np.exp2, np.expm1, np.log, np.log2, np.log10, np.log1p, np.sqrt,
)  # fmt: skip
sin, cos, tan, arcsin, arccos, arctan, arctan2 = np.sin, np.cos, np.tan, np.arcsin, np.arccos, np.arctan, np.arctan2
sinh, cosh, tanh, arcsinh, arccosh, arctanh = np.sinh, np.cosh, np.tanh, np.arcsinh, np.arccosh, np.arctanh
floor, ceil, trunc, rint, copysign, hypot, nextafter = (
    np.floor, np.ceil, np.trunc, np.rint, np.copysign, np.hypot, np.nextafter,
)  # fmt: skip
maximum, minimum, fmax, fmin, logaddexp, logaddexp2, heaviside = (
    np.maximum, np.minimum, np.fmax, np.fmin, np.logaddexp, np.logaddexp2, np.heaviside,
)  # fmt: skip
equal, not_equal, less, less_equal, greater, greater_equal = (
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal,
)  # fmt: skip
isnan, isinf, isfinite, signbit = np.isnan, np.isinf, np.isfinite, np.signbit
bitwise_and, bitwise_or, bitwise_xor, invert = np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert
left_shift, right_shift = np.left_shift, np.right_shift
logical_and, logical_or, logical_xor, logical_not = np.logical_and, np.logical_or, np.logical_xor, np.logical_not
gcd, lcm, ldexp, deg2rad, rad2deg = np.gcd, np.lcm, np.ldexp, np.deg2rad, np.rad2deg
conjugate, where, matmul, clip = np.conjugate, np.where, np.matmul, np.clip

__all__ = [
    "asarray", "astype", "digamma", "erf", "erfc", "erfcx", "erfinv", "expand", "i0", "i0e", "i1", "i1e", "lgamma",
    "log_ndtr", "ndtr", "ndtri", "polygamma", "zeta",
]  # fmt: skip


def asarray(x: Any) -> Any:
    """`x` as an array: NumPy returns scalars for 0-d results, tensors stay arrays."""
    return x if type(x) is np.ndarray else np.asarray(x)


def astype(x: Any, dtype: Any) -> Any:
    """`x` with another dtype; complex to real takes the real part."""
    if x.dtype.kind == "c" and dtype.kind != "c" and dtype.kind != "b":
        x = x.real
    return x.astype(dtype, order="C" if 0 in x.strides else "K")


def expand(x: Any, shape: tuple[int, ...]) -> Any:
    """`x` broadcast to `shape` by strides of 0, sharing memory."""
    lead = len(shape) - x.ndim
    kept = zip(x.shape, shape[lead:], x.strides, strict=True)
    strides = (0,) * lead + tuple(0 if n == 1 != m else s for n, m, s in kept)
    if x.flags.c_contiguous and x.size:
        return np.ndarray(shape, x.dtype, x, 0, strides)
    return np.lib.stride_tricks.as_strided(x, shape, strides)
