"""The few functions that update rules call, over whatever operand a rule is run on.

A rule meets four kinds of value: Python floats (hyper-parameters, step counts: double precision, as PyTorch's own
host arithmetic), NumPy arrays (the eager step), recorded values (`program.py`) and Tensors (a differentiable or
traced step). Operators work on all of them by themselves; these functions do the rest.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rushlight import dtypes
from rushlight.functions import arithmetic as tensors
from rushlight.tensor import Tensor

Value = Any
NUMBERS = (float, int)


def sqrt(x: Value) -> Value:
    """Square root."""
    if isinstance(x, NUMBERS):
        return math.sqrt(x)
    if isinstance(x, (np.ndarray, np.generic)):
        return np.sqrt(x)
    return tensors.sqrt(x) if isinstance(x, Tensor) else x.call("sqrt")


def absolute(x: Value) -> Value:
    """Absolute value."""
    return abs(x)


def sign(x: Value) -> Value:
    """-1, 0 or 1; nan for nan."""
    if isinstance(x, (np.ndarray, np.generic)):
        return np.sign(x)
    return tensors.sign(x) if isinstance(x, Tensor) else x.call("sign")


def maximum(x: Value, y: Value) -> Value:
    """The larger of two values, elementwise; nan wins."""
    if isinstance(x, NUMBERS) and isinstance(y, NUMBERS):
        return max(x, y)
    if isinstance(x, (np.ndarray, np.generic)):
        return np.maximum(x, y)
    if isinstance(x, Tensor):
        return tensors.clamp(x, y, None) if isinstance(y, NUMBERS) else tensors.maximum(x, y)
    return x.call("maximum", y)


def minimum(x: Value, y: Value) -> Value:
    """The smaller of two values, elementwise; nan wins."""
    if isinstance(x, NUMBERS) and isinstance(y, NUMBERS):
        return min(x, y)
    if isinstance(x, (np.ndarray, np.generic)):
        return np.minimum(x, y)
    if isinstance(x, Tensor):
        return tensors.clamp(x, None, y) if isinstance(y, NUMBERS) else tensors.minimum(x, y)
    return x.call("minimum", y)


def where(condition: Value, x: Value, y: Value) -> Value:
    """`x` where `condition` holds, else `y`; a Python condition picks one of them."""
    if isinstance(condition, bool):
        return x if condition else y
    if isinstance(condition, (np.ndarray, np.bool_)):
        return np.where(condition, x, y)
    return tensors.where(condition, x, y) if isinstance(condition, Tensor) else condition.choose(x, y)


def mean_square(x: Value, dim: int | None = None) -> Value:
    """Mean of the squares along `dim`, kept as size 1; over everything where `dim` is None."""
    if isinstance(x, (np.ndarray, np.generic)):
        return np.mean(np.square(x), axis=dim, keepdims=dim is not None)
    if isinstance(x, Tensor):
        return (x * x).mean() if dim is None else (x * x).mean(dim, keepdim=True)
    return x.call("mean_square", dim)


def zeros_like(x: Value) -> Value:
    """Zeros of the shape, dtype and memory layout of `x`."""
    return np.zeros_like(x, subok=False)


def full_like(x: Value, value: float) -> Value:
    """`value` everywhere, in the shape, dtype and memory layout of `x`."""
    return np.full_like(x, value, subok=False)


def new_zeros(x: Value, shape: tuple[int, ...]) -> Value:
    """Zeros of another shape in the dtype of `x`."""
    return np.zeros(shape, x.dtype)


def mean(x: Value, dim: int) -> Value:
    """Mean along `dim`, kept as size 1."""
    if isinstance(x, np.ndarray):
        return np.mean(x, axis=dim, keepdims=True)
    return x.mean(dim, keepdim=True) if isinstance(x, Tensor) else x.call("mean", dim)


def transpose(x: Value) -> Value:
    """A matrix with rows and columns exchanged."""
    if isinstance(x, (np.ndarray, Tensor)):
        return x.T
    return x.call("transpose")


def round_to_bfloat16(x: Value) -> Value:
    """`x` with the precision of bfloat16, in the dtype it has."""
    if isinstance(x, (np.ndarray, np.generic)):
        return np.asarray(x).astype(dtypes.bfloat16.np).astype(x.dtype)
    return x.bfloat16().to(x.dtype) if isinstance(x, Tensor) else x.call("round_to_bfloat16")
