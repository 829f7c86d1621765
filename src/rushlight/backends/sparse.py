"""`SparseArray`: coordinates and values in the place of an array. Whatever does not know it fails, never densifies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np


class SparseError(NotImplementedError, AttributeError):
    """Something that sparse tensors do not have."""


class SparseArray:
    """An array of `shape` that is 0 but for `values` [nnz, ...] at `indices` [sparse dims, nnz]; repeated ones add."""

    __slots__ = ("indices", "shape", "values")
    # Makes the tensor over a SparseArray; `rushlight.sparse` sets it, since tensors come later in the import order.
    tensor: ClassVar[Callable[[Any], Any]]

    def __init__(self, indices: Any, values: Any, shape: tuple[int, ...]) -> None:
        self.indices, self.values, self.shape = indices, values, shape

    dtype = property(lambda self: self.values.dtype)
    ndim = property(lambda self: len(self.shape))
    itemsize = property(lambda self: self.values.itemsize)
    size = property(lambda self: int(np.prod(self.shape)))
    base = None

    def __getattr__(self, name: str) -> Any:
        raise SparseError(f"{name} is not implemented for sparse tensors; use .to_dense()")

    def __array__(self, *args: Any, **options: Any) -> Any:
        raise SparseError("this operation is not implemented for sparse tensors; use .to_dense()")

    def __array_function__(self, function: Any, types: Any, args: Any, named: Any) -> Any:
        raise SparseError(f"{function.__name__} is not implemented for sparse tensors; use .to_dense()")

    def __array_ufunc__(self, function: Any, method: str, *inputs: Any, **named: Any) -> Any:
        """Sums with arrays, which gradients need; nothing else."""
        if function is not np.add or method != "__call__":
            raise SparseError(f"{function.__name__} is not implemented for sparse tensors; use .to_dense()")
        dense = next(x for x in inputs if x is not self)
        (out,) = named.get("out") or (np.array(dense),)
        if out is not dense and named.get("out"):
            np.copyto(out, dense)
        np.add.at(out, tuple(self.indices), self.values)
        return out

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, SparseArray):
            return np.add(self, other)
        indices = np.concatenate([self.indices, other.indices], 1)
        return SparseArray(indices, np.concatenate([self.values, other.values]), self.shape)

    __radd__ = __add__

    def __mul__(self, other: Any) -> Any:
        if not isinstance(other, int | float | np.generic) and getattr(other, "ndim", None) != 0:
            raise SparseError("mul by an array is not implemented for sparse tensors; use .to_dense()")
        return SparseArray(self.indices, (self.values * other).astype(self.values.dtype), self.shape)

    __rmul__ = __mul__
