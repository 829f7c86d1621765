"""Softmax, its logarithm, and log-sum-exp."""

from __future__ import annotations

from typing import Any

from rushlight.backends import numpy_softmax as kernel
from rushlight.ops.elementwise import exp, isinf, log, where
from rushlight.ops.kinds import Array, composite
from rushlight.ops.linear import restore, sum
from rushlight.ops.reduce import amax
from rushlight.spec import spec_of


def _is_empty(x: Any, dim: int) -> bool:
    """Whether there is nothing along `dim`, not even a greatest element."""
    shape = spec_of(x).shape
    return bool(shape) and not shape[dim]


@composite(fast=kernel.softmax_grad)
def softmax_grad(g: Array, out: Array, dim: int) -> Array:
    """Gradient of softmax from its result."""
    return out * (g - sum(g * out, dim, True))


@composite(grad=lambda g, out, dim: softmax_grad(g, out, dim), fast=kernel.softmax)
def softmax(x: Array, dim: int) -> Array:
    """exp(x) / sum(exp(x)) along `dim`."""
    if _is_empty(x, dim):
        return exp(x)
    e = exp(x - amax(x, dim, True))
    return e / sum(e, dim, True)


@composite(fast=kernel.log_softmax_grad)
def log_softmax_grad(g: Array, out: Array, dim: int) -> Array:
    """Gradient of log_softmax from its result."""
    return g - exp(out) * sum(g, dim, True)


@composite(grad=lambda g, out, dim: log_softmax_grad(g, out, dim), fast=kernel.log_softmax)
def log_softmax(x: Array, dim: int) -> Array:
    """log(softmax(x)) along `dim`, exact where softmax underflows."""
    if _is_empty(x, dim):
        return exp(x)
    shifted = x - amax(x, dim, True)
    return shifted - log(sum(exp(shifted), dim, True))


def _logsumexp_grad(g: Any, x: Any, out: Any, x_spec: Any, dim: Any, keepdim: bool) -> Any:
    return restore(g, x_spec, dim, keepdim) * exp(x - restore(out, x_spec, dim, keepdim))


@composite(grad=_logsumexp_grad, fast=kernel.logsumexp)
def logsumexp(x: Array, dim: Any = None, keepdim: bool = False) -> Array:
    """log(sum(exp(x))) along `dim` (an int, a tuple, None for all)."""
    top = amax(x, dim, True)
    top = where(isinf(top), 0.0, top)
    total = log(sum(exp(x - top), dim, True)) + top
    return total if keepdim else sum(total, dim, False)
