"""Random draws as ops: the operand gives shape, dtype and order in memory, or the parameters of each draw.

Numbers are drawn in the order of memory, as PyTorch's loops visit a tensor. The gradient of a draw is zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight import generator as draws
from rushlight.dtypes import NP_COMPLEX
from rushlight.generator import Generator
from rushlight.generator.engine import STATE_BYTES
from rushlight.ops.elementwise import eq, where, zeros_like
from rushlight.ops.kinds import OPS, Array, opaque
from rushlight.spec import Spec


def _same(x: Spec, **params: Any) -> Spec:
    return x


def _zero(g: Any) -> Any:
    return where(eq(g, g), zeros_like(g), zeros_like(g))


def in_memory_order(x: Any, draw: Callable[[int, Any], Any]) -> Any:
    """An array like `x` whose elements come from `draw(n, dtype)` in the order in which those of `x` lie in memory."""
    if x.dtype in NP_COMPLEX:
        parts = in_memory_order(_parts_of(x), draw)
        return parts[..., 0] + np.asarray(1j, x.dtype) * parts[..., 1]
    if x.flags.c_contiguous:
        return draw(x.size, x.dtype).reshape(x.shape)
    axes = sorted(range(x.ndim), key=lambda axis: -x.strides[axis])
    values = draw(x.size, x.dtype).reshape([x.shape[axis] for axis in axes])
    return values.transpose(np.argsort(axes))


def _parts_of(x: Any) -> Any:
    """Real and imaginary parts side by side in a new last dim, in the memory of `x`."""
    real = x.real
    return np.lib.stride_tricks.as_strided(real, (*x.shape, 2), (*x.strides, real.itemsize))


@opaque(spec=_same, grad=_zero, name="UniformBackward0")
def draw_uniform(xp: Any, x: Array, low: float, high: float, generator: Generator) -> Array:
    """Numbers from [low, high)."""
    return in_memory_order(x, lambda n, dtype: draws.uniform(generator, n, dtype, low, high))


@opaque(spec=_same, grad=_zero, name="NormalBackward0")
def draw_normal(xp: Any, x: Array, mean: float, std: float, generator: Generator) -> Array:
    """Normal numbers; the variance of complex ones is shared by their two parts."""
    spread = std / math.sqrt(2) if x.dtype in NP_COMPLEX else std
    dense = bool(x.flags.c_contiguous)
    return in_memory_order(x, lambda n, dtype: draws.normal(generator, n, dtype, mean, spread, contiguous=dense))


@opaque(spec=_same, grad=_zero, name="LogNormalBackward0")
def draw_log_normal(xp: Any, x: Array, mean: float, std: float, generator: Generator) -> Array:
    """Numbers whose logarithm is normal."""
    return in_memory_order(x, lambda n, dtype: draws.log_normal(generator, n, dtype, mean, std))


@opaque(spec=_same, grad=_zero, name="ExponentialBackward0")
def draw_exponential(xp: Any, x: Array, rate: float, generator: Generator) -> Array:
    """Exponential numbers."""
    return in_memory_order(x, lambda n, dtype: draws.exponential(generator, n, dtype, rate))


@opaque(spec=_same, grad=_zero, name="CauchyBackward0")
def draw_cauchy(xp: Any, x: Array, median: float, scale: float, generator: Generator) -> Array:
    """Cauchy numbers."""
    return in_memory_order(x, lambda n, dtype: draws.cauchy(generator, n, dtype, median, scale))


@opaque(spec=_same, grad=_zero, name="GeometricBackward0")
def draw_geometric(xp: Any, x: Array, p: float, generator: Generator) -> Array:
    """Numbers of trials until the first success."""
    return in_memory_order(x, lambda n, dtype: draws.geometric(generator, n, dtype, p))


@opaque(spec=_same, grad=_zero, name="RandomBackward0")
def draw_natural(xp: Any, x: Array, generator: Generator) -> Array:
    """Integers from 0 to the largest that the dtype holds exactly."""
    return in_memory_order(x, lambda n, dtype: draws.random_natural(generator, n, dtype))


@opaque(spec=_same, grad=_zero, name="RandomBackward0")
def draw_integers(xp: Any, x: Array, low: int, span: int, generator: Generator) -> Array:
    """Integers from [low, low + span); all of int64 where the span is 2**64."""
    if span == 2**64:
        return in_memory_order(x, lambda n, dtype: draws.random_full(generator, n, dtype))
    return in_memory_order(x, lambda n, dtype: draws.random_range(generator, n, dtype, low, span))


@opaque(spec=_same, grad=_zero, name="BernoulliBackward0")
def draw_bernoulli(xp: Any, x: Array, p: float, generator: Generator) -> Array:
    """1 with probability `p`, else 0."""
    return in_memory_order(x, lambda n, dtype: draws.bernoulli(generator, n, dtype, p))


@opaque(spec=lambda x, p, **_: x, grad=(_zero, _zero), name="BernoulliBackward0")
def draw_bernoulli_each(xp: Any, x: Array, p: Array, generator: Generator) -> Array:
    """1 with the probability at the same place of `p` (of the shape of `x`), else 0."""
    axes = sorted(range(x.ndim), key=lambda axis: -x.strides[axis])
    flat = np.ascontiguousarray(p.transpose(axes)).reshape(-1)
    return in_memory_order(x, lambda n, dtype: draws.bernoulli_each(generator, flat, dtype))


@opaque(spec=_same, grad=_zero, name="PoissonBackward0")
def poisson(xp: Any, rates: Array, generator: Generator) -> Array:
    """A Poisson number for each rate."""
    return draws.poisson(generator, rates.reshape(-1)).reshape(rates.shape)


@opaque(spec=lambda counts, p, **_: p, grad=None, name="BinomialBackward0")
def binomial(xp: Any, counts: Array, p: Array, generator: Generator) -> Array:
    """A binomial number for each count and probability (of one shape)."""
    return draws.binomial(generator, counts.reshape(-1), p.reshape(-1)).reshape(p.shape)


# What a traced program does to a generator itself, and draws without an operand: calls like all others there.


@opaque(spec=lambda function, args, shape, dtype, generator: Spec(shape, dtype))
def draw_fresh(xp: Any, function: str, args: tuple[Any, ...], shape: Any, dtype: Any, generator: Generator) -> Array:
    """Numbers of a drawing function of `rushlight.generator`, in a new array."""
    return getattr(draws, function)(generator, *args).reshape(shape)


def _contiguous_spec(op: str, shape: Any, dtype: Any, settings: Any, generator: Generator) -> Any:
    return OPS[op].spec((Spec(shape, dtype),), {**dict(settings), "generator": generator})


@opaque(spec=_contiguous_spec)
def draw_contiguous(xp: Any, op: str, shape: Any, dtype: Any, settings: Any, generator: Generator) -> Array:
    """What the op named `op` draws for a contiguous array of that shape and dtype, none of whose values it reads."""
    params = {**dict(settings), "generator": generator}
    return OPS[op].eager((np.empty(shape, dtype),), params)


def draw_into(target: Any, params: dict[str, Any]) -> None:
    """Put what `draw_contiguous` gives into an array of that shape and dtype."""
    if params["op"] == "dropout_factors" and target.flags.c_contiguous:
        p, flat = dict(params["settings"])["p"], target.reshape(-1)
        draws.dropout_factors(params["generator"], flat.size, flat.dtype, p, out=flat)
    else:
        np.copyto(target, draw_contiguous.eager((), dict(params)))


# Ops that look at the layout of their operand only.
LAYOUT_ONLY = frozenset(
    """
    draw_uniform draw_normal draw_log_normal draw_exponential draw_cauchy draw_geometric draw_natural draw_integers
    draw_bernoulli dropout_factors feature_factors alpha_factors
    """.split()
)


@opaque(spec=lambda seed, generator: Spec((), np.dtype(np.bool_)))
def seed_generator(xp: Any, seed: int, generator: Generator) -> Array:
    """Start the stream of a seed."""
    generator.manual_seed(seed)
    return np.asarray(True)


@opaque(spec=lambda generator: Spec((STATE_BYTES,), np.dtype(np.uint8)))
def save_generator(xp: Any, generator: Generator) -> Array:
    """The state of a generator."""
    return np.frombuffer(bytearray(generator.state_bytes()), np.uint8)


@opaque(spec=lambda kept, generator: Spec((), np.dtype(np.bool_)))
def load_generator(xp: Any, kept: Array, generator: Generator) -> Array:
    """Continue from a state."""
    generator.load_bytes(np.ascontiguousarray(kept).tobytes())
    return np.asarray(True)
