"""Tensors made of several: complex from parts, grids, block matrices."""

from __future__ import annotations

from typing import Any

from rushlight.functions.arithmetic import cos, sin
from rushlight.functions.shape import atleast_2d, cat, expand, reshape, stack
from rushlight.ops import linear
from rushlight.tape import record


def complex(real: Any, imag: Any) -> Any:
    """The complex tensor with these parts."""
    return linear.view_as_complex(stack((real, imag), -1))


def polar(abs: Any, angle: Any) -> Any:
    """The complex tensor with these magnitudes and angles."""
    return complex(abs * cos(angle), abs * sin(angle))


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Any, ...]:
    """Coordinate tensors of the grid that vectors span; indexing "ij" or "xy"."""
    given = list(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else list(tensors)
    if indexing == "xy" and len(given) > 1:
        return tuple(_swap(meshgrid(*_swap(given))))
    shape = tuple(x._data.size for x in given)
    grids = []
    for i, x in enumerate(given):
        one = [1] * len(given)
        one[i] = -1
        grids.append(expand(reshape(x, one), shape))
    return tuple(grids)


def _swap(items: Any) -> list[Any]:
    return [items[1], items[0], *items[2:]]


def cartesian_prod(*tensors: Any) -> Any:
    """All combinations of elements of vectors, one row each."""
    if len(tensors) == 1:
        return tensors[0]
    return stack([reshape(g, -1) for g in meshgrid(*tensors)], 1)


def block_diag(*tensors: Any) -> Any:
    """A matrix with the given ones along its diagonal."""
    blocks = [atleast_2d(x) for x in tensors]
    width = sum(b._data.shape[1] for b in blocks)
    rows, at = [], 0
    for b in blocks:
        shape = (b._data.shape[0], width)
        rows.append(
            record(linear.place_slice, (b,), {"shape": shape, "index": (slice(None), slice(at, at + b._data.shape[1]))})
        )
        at += b._data.shape[1]
    return cat(rows, 0)
