"""Where the elements of a value lie: view calls followed back to the value that owns the memory."""

from __future__ import annotations

import functools
import math
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

import numpy as np

from rushlight.compiler.graph import Value
from rushlight.layout import contiguous_strides, view_strides
from rushlight.ops.kinds import View

Ints = tuple[int, ...]

# View ops whose body is a reshape: what strides do not allow would be copied, so they are worked out on strides alone.
RESHAPES = frozenset({"view_as", "unsafe_view"})
# View ops that look at memory outside the array they are given: on an array without memory they mean nothing.
_BEYOND = frozenset({"as_strided"})


@dataclass(frozen=True)
class Access:
    """The elements `root[offset + sum(index * strides)]` as an array of `shape` and `dtype`; bytes throughout."""

    root: Value
    offset: int
    shape: Ints
    strides: Ints
    dtype: Any

    @property
    def is_whole(self) -> bool:
        """Whether it is the root itself, row-major."""
        return not self.offset and self.dtype == self.root.dtype and self.is_contiguous and self.root.strides is None

    @property
    def is_contiguous(self) -> bool:
        """Whether its elements lie in row-major order without gaps."""
        step = self.dtype.itemsize
        for n, s in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if n != 1 and s != step:
                return 0 in self.shape
            step *= n
        return True

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def whole(value: Value) -> Access:
    """A value that has memory of its own."""
    strides = value.strides
    if strides is None:
        strides = byte_strides(value.shape, value.dtype.itemsize)
    if value.is_constant and not value.data.flags.c_contiguous:
        strides = tuple(value.data.strides)
    return Access(value, 0, value.shape, strides, value.dtype)


@functools.lru_cache(4096)
def byte_strides(shape: Ints, itemsize: int) -> Ints:
    """Row-major strides in bytes."""
    return tuple(k * itemsize for k in contiguous_strides(shape))


def is_view(value: Value) -> bool:
    """Whether a view call makes the value."""
    return value.call is not None and isinstance(value.call.op, View)


def resolve(value: Value, copied: Container[Value] = ()) -> Access | None:
    """The access that shows `value`, or None where a view call needs a copy.

    Values that no view call makes are their own root, and so are the views in `copied`.
    """
    if not is_view(value) or value in copied:
        return whole(value)
    call = value.call
    assert call is not None
    source = call.operands[0]
    base = resolve(source, copied) if isinstance(source, Value) else None
    return None if base is None else _through(base, call, value)


def _through(base: Access, call: Any, value: Value) -> Access | None:
    name = call.op.name
    if name in _BEYOND:
        return None
    if name in RESHAPES:
        return _reshaped(base, value)
    offset, shape, strides, dtype = _on_phantom(base, call, value.part)
    return Access(base.root, base.offset + offset, shape, strides, dtype)


def _reshaped(base: Access, value: Value) -> Access | None:
    strides = view_strides(base.shape, base.strides, value.shape)
    if base.is_contiguous:
        strides = byte_strides(value.shape, base.dtype.itemsize)
    return None if strides is None else Access(base.root, base.offset, value.shape, strides, base.dtype)


def _on_phantom(base: Access, call: Any, part: int) -> tuple[int, Ints, Ints, Any]:
    """Offset, shape, strides and dtype of a view's result, from its body run on an array without memory."""
    phantom = np.lib.stride_tricks.as_strided(np.empty(1, base.dtype), base.shape, base.strides)
    out = call.op.eager((phantom, *call.operands[1:]), dict(call.params))
    if isinstance(out, (tuple, list)):
        out = out[part]
    start = phantom.__array_interface__["data"][0]
    offset = out.__array_interface__["data"][0] - start if out.size else 0
    return offset, tuple(out.shape), tuple(out.strides), out.dtype
