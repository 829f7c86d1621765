"""In-place methods: derived from the ops, with a short path where nothing is recorded."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.functions import arithmetic
from rushlight.functions.fast import operand
from rushlight.layout import contiguous_strides
from rushlight.modes import ACTIVE, state
from rushlight.ops import elementwise as ops
from rushlight.ops import linear
from rushlight.ops.kinds import OPS, Elementwise, result_dtype
from rushlight.ops.linear import storage_array
from rushlight.storage import UntypedStorage, address
from rushlight.tape import (
    Variable,
    apply_inplace,
    bump,
    check_castable,
    check_no_overlap,
    check_no_partial_overlap,
    check_writable,
    wrap,
)

ndarray = np.ndarray


def _is_plain(t: Any, other: Any) -> bool:
    """Whether changing `t` by `other` needs no history."""
    if ACTIVE or t._counter is None or type(t._data) is not ndarray:
        return False
    if not state.grad:
        return True
    if t._node is not None or t._view is not None:
        return False
    return not isinstance(other, Variable) or other._node is None and other._view is None


def unary_(op: Elementwise) -> Callable[..., Any]:
    """The in-place form of an op on one tensor."""
    ufunc = op.ufunc
    kinds = "".join(k for k in op.kinds if k in "fc")

    def method(self: Any) -> Any:
        x = self._data
        if ufunc is not None and _is_plain(self, None) and x.dtype.kind in kinds and 0 not in x.strides:
            ufunc(x, out=x)
            bump(self)
            return self
        return apply_inplace(op, (self,), {**op.defaults})

    method.__name__ = method.__qualname__ = op.name + "_"
    method.__doc__ = f"In-place form of `{op.name}`."
    return method


def binary_(op: Elementwise) -> Callable[..., Any]:
    """The in-place form of an op on two operands."""
    ufunc = op.ufunc

    def method(self: Any, other: Any) -> Any:
        x = self._data
        if ufunc is not None and op.result != "bool" and x.dtype.kind in op.kinds and _is_plain(self, other):
            y = other._data if isinstance(other, Variable) else other
            same = (
                x.dtype is y.dtype if isinstance(other, Variable) else x.dtype.kind in "fc" and type(y) in (int, float)
            )
            fits = not isinstance(other, Variable) or y.shape == x.shape or y.ndim == 0
            if same and fits and 0 not in x.strides and x.dtype.kind in "fci":
                if op.result != "float" or x.dtype.kind in "fc":
                    check_no_partial_overlap(x, y)
                    ufunc(x, y, out=x)
                    bump(self)
                    return self
        return apply_inplace(op, (self, operand(other, op.name + "_", 2)), {**op.defaults})

    method.__name__ = method.__qualname__ = op.name + "_"
    method.__doc__ = f"In-place form of `{op.name}`."
    return method


_add_, _minus_, mul_, _div_, _floor_, _trunc_ = map(
    binary_, (ops.add, ops.sub, ops.mul, ops.div, ops.floor_divide, ops.div_trunc)
)


def add_(self: Any, other: Any, *, alpha: Any = 1) -> Any:
    """Add alpha * other."""
    return _add_(self, arithmetic.scaled(self, other, alpha))


def sub_(self: Any, other: Any, *, alpha: Any = 1) -> Any:
    """Subtract alpha * other."""
    arithmetic.refuse_bool_minus(self, other)
    return _minus_(self, arithmetic.scaled(self, other, alpha))


def div_(self: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    """Divide by other."""
    return {None: _div_, "floor": _floor_, "trunc": _trunc_}[rounding_mode](self, other)


def pow_(self: Any, exponent: Any) -> Any:
    """Raise to a power."""
    if isinstance(exponent, Variable):
        return apply_inplace(ops.pow, (self, exponent), {})
    exponent = operand(exponent, "pow", 2)
    if self._data.dtype.kind in "biu" and isinstance(exponent, int) and exponent < 0:
        raise RuntimeError("Integers to negative integer powers are not allowed.")
    check_castable(result_dtype((self, exponent)).np, self._data.dtype)
    if self._data.dtype.kind == "b":
        return apply_inplace(linear.copy_into, (self, arithmetic.pow(self, exponent)), {})
    return apply_inplace(ops.pow_scalar, (self,), {"exponent": exponent})


def clamp_(self: Any, min: Any = None, max: Any = None) -> Any:
    """Limit to min..max."""
    if isinstance(min, Variable) or isinstance(max, Variable):
        if min is not None:
            apply_inplace(ops.maximum, (self, min), {})
        return self if max is None else apply_inplace(ops.minimum, (self, max), {})
    return apply_inplace(ops.clamp, (self,), {"min": min, "max": max})


def clamp_min_(self: Any, min: Any) -> Any:
    """Raise elements to at least min."""
    return clamp_(self, min=min)


def clamp_max_(self: Any, max: Any) -> Any:
    """Lower elements to at most max."""
    return clamp_(self, max=max)


def lerp_(self: Any, end: Any, weight: Any) -> Any:
    """Move towards `end` by a share `weight` of the distance."""
    if isinstance(weight, Variable):
        return apply_inplace(ops.lerp, (self, end, weight), {})
    return apply_inplace(ops.lerp_scalar, (self, end), {"weight": weight})


def addcmul_(self: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    """Add value * tensor1 * tensor2."""
    return apply_inplace(ops.addcmul, (self, tensor1, tensor2), {"value": value})


def addcdiv_(self: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    """Add value * tensor1 / tensor2."""
    return apply_inplace(ops.addcdiv, (self, tensor1, tensor2), {"value": value})


def round_(self: Any, *, decimals: int = 0) -> Any:
    """Round to integers, or to multiples of 10**-decimals."""
    return apply_inplace(ops.round, (self,), {"decimals": decimals})


def nan_to_num_(self: Any, nan: Any = None, posinf: Any = None, neginf: Any = None) -> Any:
    """Replace NaN and infinities by numbers."""
    return apply_inplace(ops.nan_to_num, (self,), {"nan": nan or 0.0, "posinf": posinf, "neginf": neginf})


_minus_self_ = unary_(ops.neg)


def neg_(self: Any) -> Any:
    """Change signs."""
    if self._data.dtype.kind == "b":
        arithmetic.neg(self)  # raises
    return _minus_self_(self)


def conj_physical_(self: Any) -> Any:
    """Conjugate."""
    return apply_inplace(linear.conj, (self,), {})


def tril_(self: Any, diagonal: int = 0) -> Any:
    """Set all above the diagonal to 0."""
    return apply_inplace(linear.tril, (self,), {"diagonal": diagonal})


def triu_(self: Any, diagonal: int = 0) -> Any:
    """Set all below the diagonal to 0."""
    return apply_inplace(linear.triu, (self,), {"diagonal": diagonal})


def cumsum_(self: Any, dim: int) -> Any:
    """Replace by the running sum along `dim`."""
    return apply_inplace(OPS["cumsum"], (self,), {"dim": dim % max(self._data.ndim, 1), "reverse": False})


def cumprod_(self: Any, dim: int) -> Any:
    """Replace by the running product along `dim`."""
    return apply_inplace(OPS["cumprod"], (self,), {"dim": dim % max(self._data.ndim, 1)})


def fill_(self: Any, value: Any) -> Any:
    """Set all elements to one number."""
    if isinstance(value, Variable):
        if value._data.ndim:
            raise RuntimeError(
                f"fill_ only supports 0-dimension value tensor but got tensor with {value._data.ndim} dimensions."
            )
        return apply_inplace(linear.copy_into, (self, value), {})
    if not isinstance(value, (int, float, complex, np.generic)):
        raise TypeError(f"fill_(): argument 'value' (position 1) must be Tensor or Number, not {type(value).__name__}")
    check_writable(self)
    if _is_plain(self, None) or self._node is None and self._view is None:
        check_no_overlap(self._data)
        self._data[...] = value
        bump(self)
        return self
    filler = wrap(np.asarray(value).astype(self._data.dtype))
    return apply_inplace(linear.copy_into, (self, filler), {})


def zero_(self: Any) -> Any:
    """Set all elements to 0."""
    return fill_(self, 0)


def fill_diagonal_(self: Any, fill_value: Any, wrap: bool = False) -> Any:
    """Set the main diagonal to one number."""
    check_writable(self)
    np.fill_diagonal(self._data, fill_value, wrap)
    bump(self)
    return self


def t_(self: Any) -> Any:
    """Transpose a matrix in place: the same memory, other strides."""
    return _restride(self, self._data.T)


def transpose_(self: Any, dim0: int, dim1: int) -> Any:
    """Exchange two dims in place."""
    return _restride(self, self._data.swapaxes(dim0, dim1))


def squeeze_(self: Any, dim: Any = None) -> Any:
    """Remove dims of size 1 in place."""
    if dim is None:
        return _restride(self, self._data.squeeze())
    return _restride(self, self._data.squeeze(dim)) if self._data.shape[dim] == 1 else self


def unsqueeze_(self: Any, dim: int) -> Any:
    """Insert a dim of size 1 in place."""
    return _restride(self, np.expand_dims(self._data, dim))


def _restride(self: Any, data: Any) -> Any:
    if self._node is not None:
        raise NotImplementedError(
            "changing the shape in place of a tensor that requires a gradient; use the out-of-place form"
        )
    self._data = data
    bump(self)
    return self


def resize_(self: Any, *sizes: Any, memory_format: Any = None) -> Any:
    """Change the shape in place; memory grows if needed, new elements are undefined (0 here)."""
    shape = sizes[0] if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
    if self._node is not None:
        raise RuntimeError("cannot resize variables that require grad")
    self._data = _resized(self._data, tuple(shape))
    bump(self)
    return self


def _resized(data: Any, shape: tuple[int, ...]) -> Any:
    """The storage of `data` from its offset on seen with `shape`; a larger copy where the storage is too small."""
    root = storage_array(data)
    memory = np.lib.stride_tricks.as_strided(root, (root.size,), (root.itemsize,)).view(np.uint8)
    offset = address(data) - address(root) if data.size else 0
    needed = math.prod(shape) * data.itemsize
    if offset + needed > memory.size:
        larger = np.zeros(offset + needed, np.uint8)
        larger[: memory.size] = memory
        memory = larger
    return memory[offset : offset + needed].view(data.dtype).reshape(shape)


def set_(self: Any, source: Any = None, storage_offset: int = 0, size: Any = None, stride: Any = None) -> Any:
    """Show the memory of another tensor or storage, with its layout or a given one."""
    if source is None:
        self._data = np.empty(0, self._data.dtype)
        return self
    if isinstance(source, Variable):
        memory, self._counter = source._data, source._counter
        if size is None:
            self._data = memory
            return self
    else:
        memory = (source if isinstance(source, UntypedStorage) else source.untyped())._bytes.view(self._data.dtype)
    flat = storage_array(memory).reshape(-1).view(self._data.dtype) if isinstance(source, Variable) else memory
    sizes = (flat.size - storage_offset,) if size is None else tuple(size)
    steps = contiguous_strides(sizes) if stride is None else tuple(stride)
    if storage_offset + sum((n - 1) * s for n, s in zip(sizes, steps, strict=True)) >= flat.size > 0:
        raise RuntimeError(
            f"setStorage: sizes {list(sizes)}, strides {list(steps)} are out of bounds for storage of size "
            f"{flat.nbytes}"
        )
    self._data = np.lib.stride_tricks.as_strided(flat[storage_offset:], sizes, tuple(s * flat.itemsize for s in steps))
    return self


def index_map_(self: Any, function: Callable[[Any], Any]) -> Any:
    """Apply a Python function to each element in place (`apply_`)."""
    check_writable(self)
    flat = [function(v) for v in self._data.reshape(-1).tolist()]
    self._data[...] = np.asarray(flat, self._data.dtype).reshape(self._data.shape)
    bump(self)
    return self
