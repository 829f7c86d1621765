"""The order of dims in memory, and channels-last arrays: [N, C, *] whose channels lie next to each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def laid_out(x: Any, order: Sequence[int]) -> Any:
    """A copy of `x` whose dims lie in memory in that order."""
    made = np.empty([x.shape[d] for d in order], x.dtype)
    np.copyto(made, x.transpose(order))
    return made.transpose(np.argsort(order))


def is_channels_last(x: Any) -> bool:
    """Whether a 4- or 5-dimensional array's dims lie in memory as N, *, C, by PyTorch's rule for sizes of 1.

    A step along C is the shortest, one along N the longest; where only N and C have more than one element, rows of N
    as long as C count as row-major.
    """
    strides, shape = x.strides, x.shape
    least = 0
    for d in (1, *range(x.ndim - 1, 1, -1), 0):
        if shape[d] == 0 or strides[d] < least or (d == 0 and least == strides[1]):
            return False
        least = strides[d] * shape[d]
    return bool(strides[1])


def channels_last(x: Any) -> Any:
    """A channels-last copy of [N, C, *]; the array itself where it is one."""
    if not x.size or (is_channels_last(x) and np.moveaxis(x, 1, -1).flags.c_contiguous):
        return x
    return laid_out(x, (0, *range(2, x.ndim), 1))


def follow(results: Any, operands: Sequence[Any]) -> Any:
    """Results of an op with every [N, C, *] among them channels-last, if any of the operands is."""
    ndim = operands[0].ndim
    if ndim not in (4, 5) or not any(
        not a.flags.c_contiguous and a.ndim == ndim and is_channels_last(a) for a in operands
    ):
        return results
    if isinstance(results, tuple):
        return tuple(channels_last(a) if a is not None and a.ndim == ndim else a for a in results)
    return channels_last(results)
