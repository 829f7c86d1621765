"""Padding: constant, by reflection, by repeating the edge, and circular; negative amounts crop."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.errors import ShapeError, explain
from rushlight.ops.kinds import Array, opaque
from rushlight.spec import Spec

Pads = tuple[tuple[int, int], ...]
Ints = tuple[int, ...]


def _padded_shape(shape: Ints, pads: Pads) -> Ints:
    lead = len(shape) - len(pads)
    return (*shape[:lead], *(n + a + b for n, (a, b) in zip(shape[lead:], pads, strict=True)))


def _constant_spec(x: Spec, pads: Pads, value: Any = 0) -> Spec:
    shape = _padded_shape(x.shape, pads)
    if min(shape, default=0) < 0:
        raise explain(
            ShapeError("narrow(): length must be non-negative."),
            received=f"input {list(x.shape)}, padding {pads}, which would give {list(shape)}",
        )
    return Spec(shape, x.dtype)


def _overlap(n: int, low: int, high: int) -> tuple[slice, slice]:
    """Where a dim of size n and the same dim padded by (low, high) show the same elements."""
    start, stop = max(0, -low), max(0, -low, n - max(0, -high))
    return slice(start, stop), slice(start + low, stop + low)


@opaque(
    name="ConstantPadNdBackward0",
    spec=_constant_spec,
    grad=lambda g, pads: constant_pad(g, tuple((-a, -b) for a, b in pads)),
    follows=1,
)
def constant_pad(xp: Any, x: Array, pads: Pads, value: Any = 0) -> Array:
    """The last dims of x with `pads` = ((before, after), ...) elements of `value` around them."""
    shape = _padded_shape(x.shape, pads)
    lead = (slice(None),) * (len(shape) - len(pads))
    places = [_overlap(n, a, b) for n, (a, b) in zip(x.shape[len(lead) :], pads, strict=True)]
    out = np.zeros(shape, x.dtype) if value == 0 else np.full(shape, value, x.dtype)
    out[(*lead, *(p[1] for p in places))] = x[(*lead, *(p[0] for p in places))]
    return out


def source_positions(mode: str, n: int, low: int, high: int) -> Any:
    """For each position of a padded dim, the position of the unpadded dim that it shows."""
    at = np.arange(-low, n + high)
    if mode == "replicate":
        return at.clip(0, n - 1)
    if mode == "reflect":
        at = np.abs(at)
        return np.where(at > n - 1, 2 * (n - 1) - at, at)
    start = max(0, -low)
    period = n + min(0, low) + min(0, high)
    return start + (at - start) % max(1, period)


def _check_filled(mode: str, shape: Ints, pads: Pads) -> None:
    n = len(pads)
    sizes = shape[len(shape) - n :]
    if 0 in shape[-n - 1 :]:
        raise ShapeError(
            f"Expected {n + 1}D or {n + 2}D (batch mode) tensor with possibly 0 batch size and other non-zero "
            f"dimensions for input, but got: {list(shape)}"
        )
    for i in range(n - 1, -1, -1):
        size, (low, high) = sizes[i], pads[i]
        if mode == "reflect" and max(low, high) >= size:
            raise explain(
                ShapeError(
                    f"Argument #{2 * (n - i) + 2}: Padding size should be less than the corresponding "
                    "input dimension, but got: "
                    f"padding ({low}, {high}) at dimension {len(shape) - n + i} of input {list(shape)}"
                ),
                expected=f"at most {size - 1} on each side, as the edge itself is not repeated",
            )
    letters = "DHW"[-n:]
    made = tuple(size + low + high for size, (low, high) in zip(sizes, pads, strict=True))
    if max(made) < 1:
        now = " ".join(f"{letter}: {size}" for letter, size in zip(letters, sizes, strict=True))
        then = " ".join(f"{letter}: {size}" for letter, size in zip(letters, made, strict=True))
        raise ShapeError(f"input ({now}) is too small. Calculated output {then}")
    if min(made) < 0:
        raise ShapeError(
            f"Trying to create tensor with negative dimension {min(made)}: {[*shape[: len(shape) - n], *made]}"
        )


def _check_circular(shape: Ints, pads: Pads) -> None:
    for size, (low, high) in zip(shape[len(shape) - len(pads) :], pads, strict=True):
        if max(low, high) > size + min(low, 0) + min(high, 0):
            raise ShapeError("Padding value causes wrapping around more than once.")
        if size + low + high < 0:
            raise ShapeError("Negative padding value is resulting in an empty dimension")


def _declare_pad(mode: str, title: str, n: int) -> Any:
    def pad_spec(x: Spec, pads: Pads) -> Spec:
        _check_circular(x.shape, pads) if mode == "circular" else _check_filled(mode, x.shape, pads)
        return Spec(_padded_shape(x.shape, pads), x.dtype)

    def pad(xp: Any, x: Array, pads: Pads) -> Array:
        for dim, (low, high) in enumerate(pads, x.ndim - len(pads)):
            if low or high:
                x = np.take(x, source_positions(mode, x.shape[dim], low, high), axis=dim)
        return x if x.base is None and x.flags.c_contiguous and any(map(any, pads)) else x.copy()

    pad.__name__ = f"{title}_pad{n}d"
    pad.__doc__ = f"The last {n} dims of x padded by the rule '{mode}'; `pads` = ((before, after), ...)."
    name = f"{title.capitalize()}Pad{n}DBackward0"

    def formula(g: Any, x_spec: Spec, pads: Pads) -> Any:
        return pad_grad(g, x_spec.shape, pads, mode)

    return opaque(name=name, spec=pad_spec, grad=formula, follows=1)(pad)


reflection_pads = tuple(_declare_pad("reflect", "reflection", n) for n in (1, 2, 3))
replication_pads = tuple(_declare_pad("replicate", "replication", n) for n in (1, 2, 3))
circular_pads = tuple(_declare_pad("circular", "circular", n) for n in (1, 2, 3))
PADS = {"reflect": reflection_pads, "replicate": replication_pads, "circular": circular_pads}


def _pad_again(g: Any, pads: Pads, mode: str) -> Any:
    return PADS[mode][len(pads) - 1](g, pads)


@opaque(spec=lambda g_out, shape, pads, mode: Spec(shape, g_out.dtype), grad=_pad_again, follows=1)
def pad_grad(xp: Any, g_out: Array, shape: Ints, pads: Pads, mode: str) -> Array:
    """The gradient of padding: each element of `shape` sums the gradients of the places that show it."""
    total = g_out.astype(np.float32) if g_out.dtype.itemsize == 2 else g_out
    for dim, (low, high) in enumerate(pads, len(shape) - len(pads)):
        n = shape[dim]
        lead = (slice(None),) * dim
        inner, padded = _overlap(n, low, high)
        folded = np.zeros((*total.shape[:dim], n, *total.shape[dim + 1 :]), total.dtype)
        folded[(*lead, inner)] = total[(*lead, padded)]
        sources = source_positions(mode, n, low, high)
        for i in (*range(padded.start), *range(padded.stop, len(sources))):
            folded[(*lead, sources[i])] += total[(*lead, i)]
        total = folded
    return total.astype(g_out.dtype) if total is not g_out else g_out.copy()
