"""Draws of integers and permutations as NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.dtypes import NP_FLOATING, NP_HALF
from rushlight.generator import native as code
from rushlight.generator.engine import Generator
from rushlight.generator.words import words32, words64

# PyTorch takes 64-bit draws from this range on, to keep the skew of the remainder small.
_WIDE_RANGE = 1 << 28
_LARGE_PERMUTATION = (2**32 - 1) // 20
# Swaps one by one cost about as much in Python as the sort of the vectorised form up to here.
_SHORT_PERMUTATION = 600


def random_range(generator: Generator, n: int, dtype: Any, low: int, span: int) -> Any:
    """`n` integers in [low, low + span), `0 < span <= 2**64 - 1`, as NumPy dtype `dtype`."""
    native = code.native(code.INTEGERS, n)
    with generator.lock:
        if native and span < _WIDE_RANGE:
            values = np.empty(n, np.int64)
            native.integers(generator.address, values, low, span)
            return cast_integers(values, dtype)
        if span < _WIDE_RANGE:
            values = _remainder32(words32(generator, n), span).astype(np.int64)
        else:
            values = (words64(generator, n) % np.uint64(span)).view(np.int64)
    if low:
        values += np.int64(low)
    return cast_integers(values, dtype)


def random_full(generator: Generator, n: int, dtype: Any) -> Any:
    """`n` integers over the whole range of int64, as `dtype` (the two-argument `random_(min, None)`)."""
    with generator.lock:
        return cast_integers(words64(generator, n).view(np.int64), dtype)


def random_natural(generator: Generator, n: int, dtype: Any) -> Any:
    """`n` integers from 0 to the largest of `dtype`; for floats to the last that all below are exact."""
    kind = np.dtype(dtype)
    with generator.lock:
        if kind.kind == "b":
            return (words32(generator, n) & np.uint32(1)).astype(kind)
        if kind in (np.dtype(np.int64), np.dtype(np.float64)):
            modulus = 2**63 if kind.kind == "i" else 2**53 + 1
            return (words64(generator, n) % np.uint64(modulus)).astype(kind)
        modulus = 2 ** mantissa_bits(kind) + 1 if kind in NP_FLOATING else int(np.iinfo(kind).max) + 1
        return cast_integers((words32(generator, n) % np.uint32(modulus)).astype(np.int64), kind)


def permutation(generator: Generator, n: int, dtype: Any) -> Any:
    """The numbers below `n` in random order: position i is exchanged with one of i, ..., n - 1."""
    if n < 2:
        return np.arange(n).astype(dtype)
    native = code.native(code.PERMUTATION, n)
    with generator.lock:
        if native and n < _LARGE_PERMUTATION:
            order = np.empty(n, np.int64)
            native.permutation(generator.address, order)
            return cast_integers(order, dtype)
        if n < _LARGE_PERMUTATION:
            offsets = words32(generator, n - 1) % np.arange(n, 1, -1, dtype=np.uint32)
        else:
            offsets = words64(generator, n - 1) % np.arange(n, 1, -1, dtype=np.uint64)
    targets = offsets.astype(np.int64) + np.arange(n - 1)
    swapped = _swapped(targets.tolist(), n) if n <= _SHORT_PERMUTATION else _after_swaps(targets, n)
    return cast_integers(np.asarray(swapped, np.int64), dtype)


def cast_integers(values: Any, dtype: Any) -> Any:
    """int64 `values` as `dtype`; half precision is reached through float32, as PyTorch does."""
    if dtype in NP_HALF:
        values = values.astype(np.float32)
    return values.astype(dtype, copy=False)


def mantissa_bits(dtype: Any) -> int:
    """Binary digits of a floating dtype, the implicit one included."""
    kind = np.dtype(dtype)
    if kind == np.dtype(np.float64):
        return 53
    if kind == np.dtype(np.float32):
        return 24
    return 11 if kind == np.dtype(np.float16) else 8


def _remainder32(words: Any, span: int) -> Any:
    if span & (span - 1) == 0:
        return words & np.uint32(span - 1)
    return words % np.uint32(span)


def _swapped(targets: list[int], n: int) -> list[int]:
    order = list(range(n))
    for i, j in enumerate(targets):
        order[i], order[j] = order[j], order[i]
    return order


def _after_swaps(targets: Any, n: int) -> Any:
    """What stands at each position after exchanging i with targets[i] for i = 0, 1, ..., without a loop.

    Step i takes what stands at its target and leaves there what stood at i. What stands at a position p just before
    step i was left there by the last earlier step with target p, or is p itself. So `displaced[i]`, the number that
    stands at i when step i comes, follows the chain i -> last earlier step with target i -> ..., and the result of
    step i is `displaced` of the last earlier step with the same target, or the target itself. Derived here.
    """
    steps = np.arange(n - 1)
    moves = targets != steps
    last_step_to = np.full(n, -1)
    last_step_to[targets[moves]] = steps[moves]
    displaced = _ends_of_chains(last_step_to)

    # Sorted by target, then by step, the step before in the list is the last earlier one with the same target.
    keys = np.sort((targets << 32) | steps)
    step, target = keys & 0xFFFFFFFF, keys >> 32
    same = target[1:] == target[:-1]
    result = np.empty(n, np.int64)
    result[step] = target
    later = step[1:][same]
    result[later] = displaced.take(step[:-1][same])
    still = np.flatnonzero(~moves)
    result[still] = displaced[still]
    result[n - 1] = displaced[n - 1]
    return result


def _ends_of_chains(previous: Any) -> Any:
    """Where each chain i -> previous[i] -> ... ends (at -1); previous[i] < i. Doubles the stride every round."""
    ends = np.arange(len(previous))
    chained = np.flatnonzero(previous >= 0)
    ends[chained] = previous[chained]
    while chained.size:
        reached = ends.take(chained)
        further = ends.take(reached)
        moved = further != reached
        chained = chained[moved]
        ends[chained] = further[moved]
    return ends
