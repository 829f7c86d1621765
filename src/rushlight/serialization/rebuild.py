"""Tensors to and from what pickles hold: a storage, an offset, sizes and strides.

The same functions serve the weights-only interpreter and ordinary pickles, so each checks what it is given.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any

import numpy as np

from rushlight.device import device
from rushlight.dtypes import ALL, from_np
from rushlight.dtypes import dtype as DType
from rushlight.nn import parameter
from rushlight.nn.parameter import Parameter
from rushlight.serialization import names
from rushlight.serialization.storage import STORAGE_TYPES, UNTYPED, Storage, short, storage_of, strided
from rushlight.size import Size
from rushlight.tape import wrap
from rushlight.tensor import Tensor


def rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any) -> Tensor:
    """A tensor over `storage`, in the form of PyTorch's first format."""
    if not isinstance(storage, Storage):
        raise UnpicklingError(f"a tensor in the file has {short(storage)} where its storage should be")
    return _wrap(strided(storage, offset, size, stride))


def rebuild_tensor_v2(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, metadata: Any = None
) -> Tensor:
    """A tensor over `storage`; hooks are never saved."""
    tensor = rebuild_tensor(storage, offset, size, stride)
    return _finish(tensor, storage, requires_grad, metadata)


def rebuild_tensor_v3(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, dtype: Any, metadata: Any = None
) -> Tensor:
    """A tensor of `dtype` over a storage that does not say its type."""
    if not isinstance(storage, Storage) or not isinstance(dtype, DType):
        raise UnpicklingError(f"a tensor in the file has {short(storage)} and {short(dtype)} as storage and dtype")
    tensor = _wrap(strided(storage, offset, size, stride, dtype.np))
    return _finish(tensor, storage, requires_grad, metadata)


def rebuild_parameter(data: Any, requires_grad: Any, hooks: Any) -> Tensor:
    """A `Parameter` over the memory of `data`."""
    if not isinstance(data, Tensor) or type(requires_grad) is not bool:
        raise UnpicklingError(f"a Parameter in the file holds {short(data)}")
    _check_differentiable(data, requires_grad)
    made: Tensor = Parameter(data.detach(), requires_grad)
    return made


def rebuild_parameter_with_state(data: Any, requires_grad: Any, hooks: Any, state: Any) -> Tensor:
    """A `Parameter` with attributes."""
    made = rebuild_parameter(data, requires_grad, hooks)
    set_attributes(made, state)
    return made


def rebuild_from_type_v2(function: Any, kind: Any, args: Any, state: Any) -> Any:
    """A tensor of the class `kind`, with attributes. Calls `function`: for ordinary pickles only."""
    return as_type(function(*args), kind, state)


def rebuild_sparse_tensor(layout: Any, data: Any) -> Any:
    """A sparse tensor."""
    raise NotImplementedError(f"the file holds a sparse tensor ({short(layout)}), which load does not support")


def get_layout(name: Any) -> Any:
    """The layout called `torch.strided`, `torch.sparse_coo` and so on."""
    return str(name)


def as_type(tensor: Any, kind: Any, state: Any) -> Any:
    """`tensor` as an instance of its subclass `kind`, with its attributes."""
    if type(tensor) is not kind:
        tensor = tensor.as_subclass(kind)
    if getattr(kind, "__setstate__", None) is not getattr(Tensor, "__setstate__", None):
        tensor.__setstate__(state)
    else:
        set_attributes(tensor, state)
    return tensor


def set_attributes(instance: Any, state: Any) -> None:
    """Attributes that a file gives to a container or tensor; it may not replace what the class has."""
    slots: Any = {}
    if type(state) is tuple and len(state) == 2:
        state, slots = state[0] or {}, state[1] or {}
    for part in (state, slots):
        if type(part) is not dict or not all(type(name) is str for name in part):
            raise UnpicklingError(f"the attributes of {type(instance)} in the file are {short(part)}, expected a dict")
        for name, value in part.items():
            if hasattr(type(instance), name) and name not in ("persistent", "_is_buffer"):
                raise UnpicklingError(f"the file would replace {type(instance).__name__}.{name[:60]}")
            setattr(instance, name, value)


def _wrap(array: Any) -> Tensor:
    from_np(array.dtype)  # raises for types that no tensor can have
    made: Tensor = wrap(array)
    return made


def _check_differentiable(tensor: Tensor, requires_grad: bool) -> None:
    if requires_grad and tensor._data.dtype.kind in "biu":
        raise UnpicklingError("a tensor in the file requires a gradient, but only floating and complex tensors can")


def _finish(tensor: Tensor, storage: Storage, requires_grad: Any, metadata: Any) -> Tensor:
    if type(requires_grad) is not bool or not (metadata is None or type(metadata) is dict):
        raise UnpicklingError(f"a tensor in the file has requires_grad {short(requires_grad)}")
    marks = metadata or {}
    if marks.get("conj") or marks.get("neg"):
        tensor = _wrap(_resolved(tensor._data, storage, marks))
    _check_differentiable(tensor, requires_grad)
    if requires_grad:
        tensor.requires_grad = True
    return tensor


def _resolved(data: Any, storage: Storage, marks: dict[Any, Any]) -> Any:
    """PyTorch conjugates and negates lazily; here the values are worked out, which ends sharing of memory."""
    if storage.pending:
        raise NotImplementedError("load: the file, of the old format, holds a conjugate view")
    data = np.conj(data) if marks.get("conj") else data
    return np.negative(data) if marks.get("neg") else data


def tensor_attributes(tensor: Tensor) -> dict[str, Any]:
    """Attributes that the user gave to `tensor`."""
    return dict(getattr(tensor, "__dict__", {}))


def reduce_tensor(tensor: Tensor, clashes: Callable[[Storage], bool] | None = None) -> tuple[Any, ...]:
    """What `tensor.__reduce_ex__` returns: PyTorch's rebuild function and its arguments.

    Views of one storage stay views of one storage. A tensor that is not a leaf becomes one.

    Parameters
    ----------
    tensor : Tensor
    clashes : callable, optional
        Whether a storage was already written as another type, so that this tensor must say its type itself.
    """
    state = tensor_attributes(tensor)
    if type(tensor) is Parameter:
        plain = tensor.detach()
        if state:
            return rebuild_parameter_with_state, (plain, tensor.requires_grad, OrderedDict(), state)
        return rebuild_parameter, (plain, tensor.requires_grad, OrderedDict())
    function, args = _reduce_data(tensor, clashes)
    if type(tensor) is Tensor and not state:
        return function, args
    return rebuild_from_type_v2, (function, type(tensor), args, state)


def _reduce_data(tensor: Tensor, clashes: Callable[[Storage], bool] | None) -> tuple[Any, tuple[Any, ...]]:
    """Rebuild function and arguments for the data of `tensor`."""
    storage, offset, size, stride = storage_of(tensor._data)
    geometry: tuple[Any, ...] = (offset, size, stride, bool(tensor.requires_grad), OrderedDict())
    if storage.kind.name == UNTYPED or (clashes is not None and clashes(storage)):
        storage.kind = STORAGE_TYPES[UNTYPED]
        return rebuild_tensor_v3, (storage, *geometry, from_np(tensor._data.dtype))
    return rebuild_tensor_v2, (storage, *geometry)


# Functions that check all they are given, so that a weights-only load may call them.
CHECKED = (rebuild_tensor, rebuild_tensor_v2, rebuild_tensor_v3, rebuild_parameter, rebuild_sparse_tensor, get_layout)

NAMES: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor"): rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor_v2,
    ("torch._utils", "_rebuild_tensor_v3"): rebuild_tensor_v3,
    ("torch._utils", "_rebuild_parameter"): rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): rebuild_parameter_with_state,
    ("torch._utils", "_rebuild_sparse_tensor"): rebuild_sparse_tensor,
    ("torch._tensor", "_rebuild_from_type_v2"): rebuild_from_type_v2,
    ("torch.serialization", "_get_layout"): get_layout,
    ("torch", "Tensor"): Tensor,
    ("torch", "Size"): Size,
    ("torch", "device"): device,
    ("torch.nn.parameter", "Parameter"): Parameter,
}
NAMES.update({("torch", _dtype.name): _dtype for _dtype in ALL})
for _place, _value in NAMES.items():
    names.register(*_place, _value)
for _name, _kind in STORAGE_TYPES.items():
    names.alias("torch.storage" if _name == UNTYPED else "torch", _name, _kind)
names.alias("torch._utils", "_rebuild_parameter", parameter._rebuild_parameter)
names.alias("torch._utils", "_rebuild_parameter_with_state", parameter._rebuild_parameter_with_state)


def _reduce_ex(tensor: Tensor, protocol: Any) -> tuple[Any, ...]:
    return reduce_tensor(tensor)


# `tensor` comes before `serialization` in the order of imports, so the method is put in here.
Tensor.__reduce_ex__ = _reduce_ex  # type: ignore[method-assign,assignment]
