"""Sparse tensors of coordinates and values (COO): `torch.sparse_coo_tensor` and `torch.sparse`.

Their arithmetic is that of their values, recorded as for any tensor; the gradient of a sparse tensor has its places.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from rushlight.backends.sparse import SparseArray, SparseError
from rushlight.creation import as_tensor, zeros
from rushlight.device import check_available
from rushlight.dtypes import bfloat16, bool_, float16, float32, float64, get_default_dtype, int64
from rushlight.errors import ShapeError, explain
from rushlight.formats import sparse_coo
from rushlight.functions.indexing import index_add, index_select
from rushlight.functions.shape import cat
from rushlight.size import Size
from rushlight.tape import Variable, wrap
from rushlight.tensor import Tensor

__all__ = ["addmm", "check_sparse_tensor_invariants", "mm", "sparse_coo_tensor", "sum"]


class SparseTensor(Tensor):
    """A tensor that is 0 but for some places; made by `sparse_coo_tensor` and `Tensor.to_sparse`."""

    is_sparse = True
    layout = sparse_coo
    _indices_array: Any
    _values_tensor: Any
    _merged: bool

    @property
    def requires_grad(self) -> bool:
        """Whether its values require gradients."""
        return bool(self._values_tensor.requires_grad)

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        self._values_tensor.requires_grad = wanted

    is_leaf = property(lambda self: self._values_tensor.is_leaf)
    grad_fn = property(lambda self: self._values_tensor.grad_fn)

    @property
    def grad(self) -> Any:
        """The gradient that backward added up, at the places of this tensor."""
        g = self._values_tensor.grad
        if g is None or self._merged:
            return None if g is None else self._with(g)
        # PyTorch names each place once: elements that share a place all have its gradient.
        sizes = self.shape[: self.sparse_dim()]
        _, first = np.unique(_flat(self._indices_array, sizes), return_index=True)
        return made(self._indices_array[:, first], g[wrap(first)], tuple(self.shape), True)

    @grad.setter
    def grad(self, new: Any) -> None:
        self._values_tensor.grad = None if new is None else new._values()

    def _with(self, values: Any, merged: bool | None = None) -> Any:
        """The same places with other values."""
        shape = (*self.shape[: self.sparse_dim()], *values.shape[1:])
        return made(self._indices_array, values, shape, self._merged if merged is None else merged)

    def sparse_dim(self) -> int:
        """Number of dims that the indices address."""
        return int(self._indices_array.shape[0])

    def dense_dim(self) -> int:
        """Number of dims of each value."""
        return int(self._values_tensor.dim() - 1)

    def _nnz(self) -> int:
        return int(self._indices_array.shape[1])

    def _indices(self) -> Any:
        return wrap(self._indices_array)

    def _values(self) -> Any:
        return self._values_tensor.detach()

    def is_coalesced(self) -> bool:
        """Whether each place is named once, in order."""
        return self._merged

    def indices(self) -> Any:
        """Places [sparse dims, nnz] of a coalesced tensor."""
        self._need_merged("indices")
        return self._indices()

    def values(self) -> Any:
        """Values of a coalesced tensor."""
        self._need_merged("values")
        return self._values_tensor

    def _need_merged(self, what: str) -> None:
        if not self._merged:
            raise RuntimeError(f"Cannot get {what} on an uncoalesced tensor, please call .coalesce() first")

    def coalesce(self) -> Any:
        """Each place once, in order, with the sum of its values."""
        if self._merged:
            return self
        sizes = self.shape[: self.sparse_dim()]
        places, which = np.unique(_flat(self._indices_array, sizes), return_inverse=True)
        start = zeros((len(places), *self._values_tensor.shape[1:]), dtype=self.dtype)
        values = index_add(start, 0, wrap(which.astype(np.int64)), self._values_tensor)
        indices = np.stack(np.unravel_index(places, sizes)).astype(np.int64)
        return made(indices, values, tuple(self.shape), True)

    def to_dense(self, dtype: Any = None, **options: Any) -> Any:
        """The same numbers with all zeros."""
        sizes = self.shape[: self.sparse_dim()]
        start = zeros((int(np.prod(sizes)), *self._values_tensor.shape[1:]), dtype=self.dtype)
        dense = index_add(start, 0, wrap(_flat(self._indices_array, sizes)), self._values_tensor).reshape(self.shape)
        return dense if dtype is None else dense.to(dtype)

    def to_sparse(self, sparse_dim: int | None = None, **options: Any) -> Any:
        """Itself."""
        return self

    def detach(self) -> Any:
        """The same values without history."""
        return self._with(self._values_tensor.detach())

    def clone(self, **options: Any) -> Any:
        """A copy."""
        return self._with(self._values_tensor.clone())

    def to(self, *args: Any, **options: Any) -> Any:
        """With values of another dtype."""
        return self._with(self._values_tensor.to(*args, **options))

    def double(self) -> Any:
        """With float64 values."""
        return self.to(float64)

    def float(self) -> Any:
        """With float32 values."""
        return self.to(float32)

    def half(self) -> Any:
        """With float16 values."""
        return self.to(float16)

    def bfloat16(self) -> Any:
        """With bfloat16 values."""
        return self.to(bfloat16)

    def zero_(self) -> Any:
        """Remove all places."""
        empty = made(self._indices_array[:, :0], self._values_tensor.detach()[:0], tuple(self.shape), True)
        self._data, self._indices_array = empty._data, empty._indices_array
        self._values_tensor, self._merged = empty._values_tensor, True
        return self

    def t(self) -> Any:
        """The transposed matrix."""
        return self.transpose(0, 1)

    T = property(lambda self: self.t())

    def transpose(self, dim0: int, dim1: int) -> Any:
        """With two sparse dims exchanged."""
        order = list(range(self.dim()))
        order[dim0], order[dim1] = order[dim1], order[dim0]
        n = self.sparse_dim()
        if sorted(order[:n]) != list(range(n)):
            raise SparseError("transpose of a sparse dim with a dense one is not implemented for sparse tensors")
        return made(self._indices_array[order[:n]], self._values_tensor, tuple(self.shape[d] for d in order), False)

    def sum(self, dim: Any = None, **options: Any) -> Any:  # type: ignore[override]
        """The sum of all elements, or along sparse dims."""
        if dim is None:
            return self._values_tensor.sum()
        gone = {d % self.dim() for d in ([dim] if isinstance(dim, int) else dim)}
        inner = [d - self.sparse_dim() + 1 for d in gone if d >= self.sparse_dim()]
        values = self._values_tensor.sum(inner) if inner else self._values_tensor
        kept = [d for d in range(self.sparse_dim()) if d not in gone]
        if not kept:
            return values.sum(0)
        shape = tuple(n for d, n in enumerate(self.shape) if d not in gone)
        return made(self._indices_array[kept], values, shape, False).coalesce()

    def _add(self, other: Any, alpha: Any = 1) -> Any:
        if not isinstance(other, Variable):
            raise SparseError("adding a number is not implemented for sparse tensors; use .to_dense()")
        if not isinstance(other, SparseTensor):
            raise RuntimeError("add(sparse, dense) is not supported. Use add(dense, sparse) instead.")
        if other.shape != self.shape:
            raise ShapeError(
                f"add: expected sizes of 'self' and 'other' to match, but {list(self.shape)} != {list(other.shape)}"
            )
        indices = np.concatenate([self._indices_array, other._indices_array], 1)
        added = made(indices, cat([self._values_tensor, other._values_tensor * alpha]), tuple(self.shape), False)
        return added.coalesce()

    def _mul(self, other: Any) -> Any:
        if isinstance(other, SparseTensor):
            raise SparseError("the product of two sparse tensors is not implemented")
        if isinstance(other, Variable) and other.dim():  # type: ignore[attr-defined]
            picked = other.expand(self.shape)[tuple(map(wrap, self._indices_array))]  # type: ignore[attr-defined]
            return self._with(self._values_tensor * picked)
        return self._with(self._values_tensor * other)

    def sparse_product(self, dense: Any) -> Any:
        """This matrix times a dense matrix or vector."""
        if self.dim() != 2 or self.dense_dim() or dense.is_sparse or dense.dim() not in (1, 2):
            raise SparseError("matmul of these operands is not implemented for sparse tensors: sparse [n, m] @ dense")
        if self.shape[1] != dense.shape[0]:
            raise explain(
                ShapeError(f"addmm: Argument #3 (dense): Expected dim 0 size {self.shape[1]}, got {dense.shape[0]}"),
                sparse=tuple(self.shape),
                dense=tuple(dense.shape),
            )
        rows, columns = map(wrap, self._indices_array)
        weights = self._values_tensor if dense.dim() == 1 else self._values_tensor.unsqueeze(1)
        start = zeros((self.shape[0], *dense.shape[1:]), dtype=self.dtype)
        return index_add(start, 0, rows, weights * index_select(dense, 0, columns))

    def fill_(self, value: Any) -> Any:
        """Remove all places, for the value 0."""
        if value != 0:
            raise SparseError("fill_ with another value than 0 is not implemented for sparse tensors")
        return self.zero_()

    __add__ = add = _add  # type: ignore[assignment]
    __mul__ = __rmul__ = mul = multiply = _mul  # type: ignore[assignment]
    matmul = mm = mv = sparse_product  # type: ignore[assignment]
    __matmul__ = sparse_product

    def __radd__(self, other: Any) -> Any:
        if isinstance(other, Variable):
            return other + self.to_dense()
        return self._add(other)

    def __sub__(self, other: Any) -> Any:
        return self._add(other, -1)

    def __neg__(self) -> Any:  # type: ignore[override]
        return self._with(-self._values_tensor)

    def __truediv__(self, other: Any) -> Any:
        return self._with(self._values_tensor / other)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        copied = self.detach().clone()
        copied.requires_grad = self.requires_grad
        memo[id(self)] = copied
        return copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        values = self._values_tensor.detach()
        return _rebuilt, (self._indices(), values, tuple(self.shape), self._merged, self.requires_grad)

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        parts = [f"indices={_indented(self._indices(), 8)}", f"values={_indented(self._values(), 7)}"]
        text = "tensor(" + ",\n       ".join(parts)
        text += f",\n       size={tuple(self.shape)}, nnz={self._nnz()}"
        if self.dtype is not get_default_dtype() and self.dtype not in (int64, bool_):
            text += f", dtype={self.dtype}"
        text += ", layout=torch.sparse_coo"
        if self.requires_grad:
            text += ", requires_grad=True" if self.is_leaf else f", grad_fn=<{self.grad_fn.name()}>"
        return text + ")"


def _indented(t: Any, spaces: int) -> str:
    text = re.sub(r",\s+dtype=torch\.\w+\)$", ")", repr(t))
    return textwrap.indent(text, " " * (spaces + 7)).lstrip()


def _flat(indices: Any, sizes: Any) -> Any:
    """Places as numbers in row-major order."""
    flat = np.zeros(indices.shape[1], np.int64)
    for row, size in zip(indices, sizes, strict=True):
        flat = flat * size + row
    return flat


def made(indices: Any, values: Any, shape: tuple[int, ...], merged: bool) -> Any:
    """A sparse tensor over an index array and a tensor of values, unchecked."""
    t = object.__new__(SparseTensor)
    t._data = SparseArray(indices, values._data, tuple(shape))
    t._node = t._view = None
    t._counter = [0]
    t._indices_array, t._values_tensor, t._merged = indices, values, merged
    return t


def _rebuilt(indices: Any, values: Any, shape: tuple[int, ...], merged: bool, requires_grad: bool) -> Any:
    t = made(indices._data, values, shape, merged)
    t.requires_grad = requires_grad
    return t


SparseArray.tensor = staticmethod(lambda array: made(array.indices, wrap(array.values), array.shape, False))


def sparse_coo_tensor(
    indices: Any, values: Any = None, size: Any = None, *, dtype: Any = None, device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False, check_invariants: bool | None = None,
    is_coalesced: bool | None = None,
) -> Any:  # fmt: skip
    """A tensor that is 0 but for `values` at `indices`.

    Parameters
    ----------
    indices : Tensor[sparse dims, nnz], integers
    values : Tensor[nnz, *dense dims]
    size : sequence of int, optional
        Just large enough if not given.
    dtype, device, requires_grad
        As of `tensor`.

    Examples
    --------
    >>> torch.sparse_coo_tensor([[0, 1], [2, 0]], [3.0, 4.0], (2, 3)).to_dense()
    tensor([[0., 0., 3.],
            [4., 0., 0.]])

    Notes
    -----
    PyTorch: indices are checked only with `check_invariants=True`; here always.
    """
    check_available(device)
    if values is None:
        shape = Size(indices)
        return made(np.zeros((len(shape), 0), np.int64), zeros((0,), dtype=dtype), shape, True)
    places = as_tensor(indices)._data
    values = as_tensor(values) if dtype is None else as_tensor(values).to(dtype)
    if places.ndim != 2 or places.dtype.kind not in "iu" and places.size:
        raise ShapeError(f"indices must be sparse_dim x nnz, but got: {list(places.shape)}")
    places = places.astype(np.int64)
    if values.dim() == 0 or places.shape[1] != values.shape[0]:
        raise ShapeError(
            "indices and values must have same nnz, but got nnz from indices: "
            f"{places.shape[1]}, nnz from values: {values.shape[0] if values.dim() else 1}"
        )
    if size is None:
        largest = places.max(1) + 1 if places.size else np.zeros(len(places), np.int64)
        size = (*largest.tolist(), *values.shape[1:])
    shape = Size(size)
    _check_places(places, values, shape)
    if requires_grad:
        values = values.detach().clone().requires_grad_()
    return made(places, values, shape, bool(is_coalesced))


def _check_places(places: Any, values: Any, shape: Size) -> None:
    if len(shape) != len(places) + values.dim() - 1:
        raise ShapeError(
            f"number of dimensions must be sparse_dim ({len(places)}) + dense_dim ({values.dim() - 1}), but got "
            f"{len(shape)}"
        )
    if places.size and (places < 0).any():
        raise RuntimeError(f"found negative index {places.min()} for dim {int((places < 0).any(1).argmax())}")
    for dim, (row, size) in enumerate(zip(places, shape, strict=False)):
        if row.size and row.max() >= size:
            raise RuntimeError(
                f"size is inconsistent with indices: for dim {dim}, size is {size} but found index {row.max()}"
            )
    if tuple(shape[len(places) :]) != tuple(values.shape[1:]):
        raise ShapeError(
            f"values has incorrect size, expected {[values.shape[0], *shape[len(places) :]]}, got {list(values.shape)}"
        )


def to_sparse(self: Any, sparse_dim: int | None = None, *, layout: Any = None, **options: Any) -> Any:
    """The places that are not 0, in the first `sparse_dim` dims (all by default)."""
    if layout is not None and layout is not sparse_coo:
        raise NotImplementedError(f"to_sparse(layout={layout!r}) is not implemented; torch.sparse_coo is")
    n = self.dim() if sparse_dim is None else sparse_dim
    filled = self._data != 0
    places = np.stack(np.nonzero(filled.any(axis=tuple(range(n, self.dim()))))).astype(np.int64)
    return made(places, self[tuple(map(wrap, places))], tuple(self.shape), True)


def to_dense(self: Any, dtype: Any = None, **options: Any) -> Any:
    """Itself, for a tensor that is dense."""
    return self if dtype is None else self.to(dtype)


def mm(mat1: Any, mat2: Any, reduce: str | None = None) -> Any:
    """A sparse matrix times a dense one."""
    if reduce is not None:
        raise NotImplementedError("torch.sparse.mm(reduce=...) is not implemented")
    return mat1.sparse_product(mat2) if mat1.is_sparse else mat1.mm(mat2)


def addmm(mat: Any, mat1: Any, mat2: Any, *, beta: Any = 1.0, alpha: Any = 1.0) -> Any:
    """beta * mat + alpha * (sparse mat1 @ mat2)."""
    return mat * beta + mm(mat1, mat2) * alpha


def sum(input: Any, dim: Any = None, dtype: Any = None) -> Any:
    """The sum of all elements, or along dims."""
    return (input if dtype is None else input.to(dtype)).sum(dim)


@contextmanager
def check_sparse_tensor_invariants(enable: bool = True) -> Iterator[None]:
    """Accepted: indices are always checked."""
    yield


# Tensors come before this module in the import order.
Tensor.to_sparse = to_sparse  # type: ignore[attr-defined]
Tensor.to_dense = to_dense
