"""Methods that make tensors like a given one, and a few rare ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.device import check_available
from rushlight.dtypes import dtype
from rushlight.functions import arithmetic, matrix
from rushlight.functions.calculus import index_reduce
from rushlight.functions.indexing import copy_
from rushlight.functions.inplace import resize_
from rushlight.functions.reduce import norm
from rushlight.functions.shape import as_strided, cast, ints
from rushlight.layout import wrap_dim
from rushlight.ops import linear
from rushlight.ops.kinds import OPS, sum_to_shape
from rushlight.size import Size
from rushlight.tape import Variable, apply_inplace, leaf_node, record, wrap


def finished(array: Any, requires_grad: bool = False) -> Any:
    """A new tensor over `array`, a leaf of the graph if asked."""
    t = wrap(array)
    if requires_grad:
        if array.dtype.kind not in "fcV":
            raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
        t._node = leaf_node(t)
    return t


def _np(self: Any, wanted: dtype | None) -> Any:
    return self._data.dtype if wanted is None else wanted.np


def new_zeros(self: Any, *size: Any, dtype: dtype | None = None, device: Any = None, layout: Any = None,
              pin_memory: bool = False, requires_grad: bool = False) -> Any:  # fmt: skip
    """Zeros of a shape, with this tensor's dtype."""
    check_available(device)
    return finished(np.zeros(ints(size), _np(self, dtype)), requires_grad)


def new_ones(self: Any, *size: Any, dtype: dtype | None = None, device: Any = None, layout: Any = None,
             pin_memory: bool = False, requires_grad: bool = False) -> Any:  # fmt: skip
    """Ones of a shape, with this tensor's dtype."""
    check_available(device)
    return finished(np.ones(ints(size), _np(self, dtype)), requires_grad)


def new_empty(self: Any, *size: Any, dtype: dtype | None = None, device: Any = None, layout: Any = None,
              pin_memory: bool = False, requires_grad: bool = False) -> Any:  # fmt: skip
    """Uninitialised elements of a shape, with this tensor's dtype."""
    check_available(device)
    return finished(np.empty(ints(size), _np(self, dtype)), requires_grad)


def new_full(self: Any, size: Any, fill_value: Any, *, dtype: dtype | None = None, device: Any = None,
             layout: Any = None,
             pin_memory: bool = False, requires_grad: bool = False) -> Any:  # fmt: skip
    """One number in a shape, with this tensor's dtype."""
    check_available(device)
    return finished(np.full(ints((size,)), fill_value, _np(self, dtype)), requires_grad)


def new_tensor(
    self: Any, data: Any, *, dtype: dtype | None = None, device: Any = None, requires_grad: bool = False
) -> Any:
    """A copy of data as a tensor with this tensor's dtype."""
    check_available(device)
    source = data._data if isinstance(data, Variable) else data
    return finished(np.array(source, _np(self, dtype)), requires_grad)


def new(self: Any, *data: Any, device: Any = None) -> Any:
    """A tensor of this one's dtype: uninitialised of given sizes, or with the elements of a sequence."""
    if len(data) == 1 and isinstance(data[0], (list, tuple, np.ndarray)) and not isinstance(data[0], Size):
        return new_tensor(self, data[0], device=device)
    return new_empty(self, *data, device=device)


def type_as(self: Any, other: Any) -> Any:
    """The tensor with the dtype of `other`."""
    return cast(self, other.dtype)


def sum_to_size(self: Any, *size: Any) -> Any:
    """The tensor summed down to a shape that broadcasts to its own."""
    return sum_to_shape(self, ints(size))


def resize_as_(self: Any, other: Any, memory_format: Any = None) -> Any:
    """Take the shape of `other` in place."""
    return resize_(self, tuple(other._data.shape))


def narrow_copy(self: Any, dim: int, start: int, length: int) -> Any:
    """`narrow` as a copy."""
    return record(linear.clone, (self.narrow(dim, start, length),), {})


def select_scatter(self: Any, src: Any, dim: int, index: int) -> Any:
    """A copy with the slice at `index` of `dim` replaced by `src`."""
    out = record(linear.clone, (self,), {})
    out.select(dim, index).copy_(src)
    return out


def slice_scatter(self: Any, src: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    """A copy with a range of `dim` replaced by `src`."""
    out = record(linear.clone, (self,), {})
    out[(slice(None),) * wrap_dim(dim, self._data.ndim) + (slice(start, end, step),)] = src
    return out


def diagonal_scatter(self: Any, src: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """A copy with a diagonal replaced by `src`."""
    out = record(linear.clone, (self,), {})
    out.diagonal(offset, dim1, dim2).copy_(src)
    return out


def addmm_(self: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """Replace by beta * self + alpha * (mat1 @ mat2)."""
    return apply_inplace(OPS["addmm"], (self, mat1, mat2), {"beta": beta, "alpha": alpha})


def baddbmm_(self: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """Replace by beta * self + alpha * (batch1 @ batch2)."""
    return apply_inplace(OPS["baddbmm"], (self, batch1, batch2), {"beta": beta, "alpha": alpha})


def new_empty_strided(self: Any, size: Any, stride: Any, *, dtype: dtype | None = None, device: Any = None,
                      layout: Any = None, pin_memory: bool = False, requires_grad: bool = False) -> Any:  # fmt: skip
    """Uninitialised elements of given sizes and strides, with this tensor's dtype."""
    check_available(device)
    sizes, strides = ints((size,)), ints((stride,))
    count = 1 + sum((n - 1) * s for n, s in zip(sizes, strides, strict=True)) if 0 not in sizes else 0
    memory = np.empty(count, _np(self, dtype))
    steps = tuple(s * memory.itemsize for s in strides)
    return finished(np.lib.stride_tricks.as_strided(memory, sizes, steps), requires_grad)


def _replaced(function: Any, name: str) -> Any:
    """The in-place form of a function: its result is copied over the tensor."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return copy_(self, function(self, *args, **kwargs))

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"In-place form of `{name[:-1]}`."
    return method


addmv_, addr_, addbmm_ = (_replaced(f, f.__name__ + "_") for f in (matrix.addmv, matrix.addr, matrix.addbmm))
float_power_, ldexp_ = (_replaced(f, f.__name__ + "_") for f in (arithmetic.float_power, arithmetic.ldexp))
index_reduce_ = _replaced(index_reduce, "index_reduce_")


def as_strided_(self: Any, size: Any, stride: Any, storage_offset: int | None = None) -> Any:
    """Show the storage with other sizes and strides, in place."""
    if self._node is not None:
        raise NotImplementedError("as_strided_() of a tensor that requires a gradient; use as_strided()")
    self._data = as_strided(self, size, stride, storage_offset)._data
    return self


def to_dense(self: Any, dtype: dtype | None = None, *, masked_grad: bool | None = None) -> Any:
    """The tensor itself: it is dense."""
    return self if dtype is None else cast(self, dtype)


def renorm(self: Any, p: float, dim: int, maxnorm: float) -> Any:
    """Slices along `dim` scaled down so that their p-norm is at most `maxnorm`."""
    dims = tuple(d for d in range(self._data.ndim) if d != wrap_dim(dim, self._data.ndim))
    size = norm(self, p, dims, True)
    return self * (maxnorm / (size + 1e-7)).clamp(max=1)


renorm_ = _replaced(renorm, "renorm_")


def resolve(self: Any) -> Any:
    """The tensor itself: conjugates and negatives are computed at once."""
    return self


def module_load(self: Any, other: Any, assign: bool = False) -> Any:
    """What `load_state_dict` puts in this tensor's place."""
    return other if assign else self.copy_(other).detach()


def map_(self: Any, tensor: Any, function: Any) -> Any:
    """Apply a Python function of two elements in place."""
    pairs = zip(self._data.reshape(-1).tolist(), tensor._data.reshape(-1).tolist(), strict=True)
    values = [function(a, b) for a, b in pairs]
    self._data[...] = np.asarray(values, self._data.dtype).reshape(self._data.shape)
    return self
