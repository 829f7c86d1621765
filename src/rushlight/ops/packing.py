"""Padded batches of sequences to packed rows and back: each op is the gradient of the other."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.ops.kinds import Array, opaque
from rushlight.spec import Spec

Sizes = tuple[int, ...]


def _is_used(batch_sizes: Sizes, steps: int, batch: int) -> Any:
    """[steps, batch] of bool: sequence b has a step t. Sequences are sorted by falling length."""
    sizes = np.zeros(steps, np.int64)
    sizes[: len(batch_sizes)] = batch_sizes
    return np.arange(batch) < sizes[:, None]


def _packed_spec(x: Spec, batch_sizes: Sizes) -> Spec:
    return Spec((sum(batch_sizes), *x.shape[2:]), x.dtype)


def _padded_spec(x: Spec, batch_sizes: Sizes, steps: int, batch: int, padding: float) -> Spec:
    return Spec((steps, batch, *x.shape[1:]), x.dtype)


@opaque(
    spec=_packed_spec,
    name="PackPaddedSequenceBackward0",
    grad=lambda g, x_spec, batch_sizes: pad_rows(g, batch_sizes, x_spec.shape[0], x_spec.shape[1], 0.0),
)
def pack_rows(xp: Any, x: Array, batch_sizes: Sizes) -> Array:
    """The used steps of `x` [steps, batch, *], time first, as rows [sum(batch_sizes), *]."""
    return x[_is_used(batch_sizes, x.shape[0], x.shape[1])]


@opaque(spec=_padded_spec, name="CopySlices", grad=lambda g, batch_sizes: pack_rows(g, batch_sizes))
def pad_rows(xp: Any, x: Array, batch_sizes: Sizes, steps: int, batch: int, padding: float) -> Array:
    """Rows [sum(batch_sizes), *] as [steps, batch, *] with `padding` where a sequence has ended."""
    out = np.full((steps, batch, *x.shape[1:]), padding, x.dtype)
    out[_is_used(batch_sizes, steps, batch)] = x
    return out
