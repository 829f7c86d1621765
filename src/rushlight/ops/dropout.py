"""The random factors of dropout, drawn as PyTorch draws them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rushlight import generator as draws
from rushlight.generator import Generator
from rushlight.ops.kinds import Array, opaque
from rushlight.ops.random import in_memory_order
from rushlight.spec import Spec

# Limit of selu at minus infinity, which alpha dropout puts in the place of what it drops:
# G. Klambauer et al., "Self-Normalizing Neural Networks", 2017.
SELU_LIMIT = 1.7580993408473766


@opaque(spec=lambda x, p, generator: x)
def dropout_factors(xp: Any, x: Array, p: float, generator: Generator) -> Array:
    """For each element of an array like `x`: 0 with probability `p`, else 1 / (1 - p)."""
    return in_memory_order(x, lambda n, dtype: draws.dropout_factors(generator, n, dtype, p))


def feature_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of one factor for each sample and channel."""
    return (*shape[:2], *(1 for _ in shape[2:]))


@opaque(spec=lambda x, p, generator: Spec(feature_shape(x.shape), x.dtype))
def feature_factors(xp: Any, x: Array, p: float, generator: Generator) -> Array:
    """dropout_factors for whole channels of `x`, [N, C, *]."""
    blank = np.empty(feature_shape(x.shape), x.dtype)
    return dropout_factors.eager((blank,), {"p": p, "generator": generator})


def _alpha(keep: Any, p: float, dtype: Any) -> tuple[Any, Any]:
    """Factor and summand that drop to SELU_LIMIT and keep mean and variance."""
    a = 1 / math.sqrt((SELU_LIMIT * SELU_LIMIT * p + 1) * (1 - p))
    kept = keep.astype(dtype)
    return kept * dtype.type(a), (kept - dtype.type(1)) * dtype.type(SELU_LIMIT * a) + dtype.type(SELU_LIMIT * a * p)


@opaque(spec=lambda x, p, features, generator: (Spec(feature_shape(x.shape) if features else x.shape, x.dtype),) * 2)
def alpha_factors(xp: Any, x: Array, p: float, features: bool, generator: Generator) -> tuple[Array, Array]:
    """Factor and summand of alpha dropout, for each element or each channel."""
    like = np.empty(feature_shape(x.shape), x.dtype) if features else x
    keep = in_memory_order(like, lambda n, dtype: draws.bernoulli(generator, n, np.dtype(np.bool_), 1 - p))
    return _alpha(keep, p, x.dtype)


@opaque(spec=lambda x, low, high, generator: x)
def rrelu_factors(xp: Any, x: Array, low: float, high: float, generator: Generator) -> Array:
    """A slope from [low, high) for each element of `x` up to 0, drawn in order; 1 for the others."""
    flat = np.ascontiguousarray(x).reshape(-1)
    below = flat <= 0
    factors = np.ones(flat.shape, x.dtype)
    factors[below] = draws.uniform(generator, int(np.count_nonzero(below)), np.dtype(np.float64), low, high)
    return factors.reshape(x.shape)
