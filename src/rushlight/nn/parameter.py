"""Tensors that belong to modules: `Parameter`, `Buffer`, and their forms without a shape yet."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any, NoReturn

from rushlight.creation import empty
from rushlight.device import check_available, device
from rushlight.dtypes import NP_INEXACT, dtype
from rushlight.tape import Variable, leaf_node
from rushlight.tensor import Tensor

__all__ = [
    "Buffer",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "UninitializedTensorMixin",
    "is_lazy",
]

_NO_SHAPE = (
    "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in `load_state_dict` "
    "when trying to load an uninitialized parameter into an initialized one. Call `forward` to initialize the "
    "parameters before accessing their attributes."
)

# The slot under `Tensor._data`, which uninitialized tensors hide behind an error.
_ARRAY: Any = Variable.__dict__["_data"]


class _ParameterMeta(type):
    """Lets tensors of other classes count as parameters by the attribute `_is_param`."""

    def __instancecheck__(cls, instance: Any) -> bool:
        if type.__instancecheck__(cls, instance):
            return True
        return cls is Parameter and isinstance(instance, Tensor) and bool(getattr(instance, "_is_param", False))


class Parameter(Tensor, metaclass=_ParameterMeta):
    """A tensor that a module trains: assigned as an attribute it is listed by `parameters()`.

    Parameters
    ----------
    data : Tensor
        Its memory is shared.
    requires_grad : bool
        Whether gradients are recorded; `False` for frozen parameters.

    Examples
    --------
    >>> torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    Parameter containing:
    tensor([1., 2.], requires_grad=True)
    """

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Any:
        if data is None:
            data = empty(0)
        elif not isinstance(data, Tensor):
            raise AttributeError(f"'{type(data).__name__}' object has no attribute 'detach'")
        if type(data) in (Tensor, Parameter):
            return _shared(Parameter if cls is Parameter else cls, data, requires_grad)
        # A tensor of a class of the user's keeps it and is marked instead.
        marked = data.detach()
        if type(marked) is not type(data):
            return _shared(cls, data, requires_grad)
        marked.requires_grad_(requires_grad)
        marked._is_param = True
        return marked

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        pass

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        result = type(self)(self.data.clone(), self.requires_grad)
        memo[id(self)] = result
        return result

    def __repr__(self, **options: Any) -> str:  # type: ignore[override]
        return "Parameter containing:\n" + super().__repr__(**options)

    def __reduce_ex__(self, protocol: Any) -> Any:
        state = _attributes(self)
        arguments: tuple[Any, ...] = (self.data, self.requires_grad, OrderedDict())
        if not state:
            return _rebuild_parameter, arguments
        return _rebuild_parameter_with_state, (*arguments, state)


def _shared(cls: Any, data: Any, requires_grad: bool) -> Any:
    """An instance of `cls` over the memory of `data`."""
    out = object.__new__(cls)
    out._data = data._data
    out._node = None
    out._counter = data._counter
    out._view = None
    if requires_grad:
        if out._data.dtype not in NP_INEXACT:
            raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
        out._node = leaf_node(out)
    return out


def _attributes(tensor: Any) -> dict[str, Any]:
    """What the user has set on `tensor` besides its data."""
    return dict(getattr(tensor, "__dict__", {}))


def _rebuild_parameter(data: Any, requires_grad: bool, backward_hooks: Any) -> Any:
    return Parameter(data, requires_grad)


def _rebuild_parameter_with_state(data: Any, requires_grad: bool, backward_hooks: Any, state: dict[str, Any]) -> Any:
    out = Parameter(data, requires_grad)
    for name, value in state.items():
        setattr(out, name, copy.copy(value))
    return out


class _BufferMeta(type):
    """Tensors count as buffers by the attribute `_is_buffer`."""

    def __instancecheck__(cls, instance: Any) -> bool:
        if type.__instancecheck__(cls, instance):
            return True
        return cls is Buffer and isinstance(instance, Tensor) and bool(getattr(instance, "_is_buffer", False))


class Buffer(Tensor, metaclass=_BufferMeta):
    """A tensor that becomes a buffer of the module it is assigned to.

    Parameters
    ----------
    data : Tensor
        Its memory is shared.
    persistent : bool
        Whether `state_dict` holds it.

    Examples
    --------
    >>> module = torch.nn.Module()
    >>> module.mean = torch.nn.Buffer(torch.zeros(2))
    >>> list(module.state_dict())
    ['mean']
    """

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Any:
        out: Any = (empty(0) if data is None else data).detach()
        out.requires_grad_(data is not None and data.requires_grad)
        out.persistent = persistent
        out._is_buffer = True
        return out


class UninitializedTensorMixin:
    """A tensor without data: it has dtype and device, and gets a shape by `materialize`."""

    cls_to_become: Any
    _plain_class: Any

    @property
    def _data(self) -> NoReturn:
        """Every operation ends here."""
        raise ValueError(
            "Attempted to use an uninitialized parameter in an operation. This error happens when you are using a "
            "`LazyModule` or explicitly manipulating `torch.nn.parameter.UninitializedParameter` objects. When using "
            "LazyModules Call `forward` with a dummy batch to initialize the parameters before calling torch functions"
        )

    @property
    def shape(self) -> NoReturn:
        """There is none yet."""
        raise RuntimeError(_NO_SHAPE)

    @property
    def dtype(self) -> dtype:
        """The dtype that the data will have."""
        kind: dtype = self.data.dtype
        return kind

    @property
    def device(self) -> device:
        """Where the data will be."""
        place: device = self.data.device
        return place

    @property
    def data(self) -> Any:
        """An empty tensor that carries dtype and device."""
        return _shared(Tensor, _Bare(self), False)

    @data.setter
    def data(self, value: Tensor) -> None:
        _ARRAY.__set__(self, value._data)

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Become an ordinary parameter or buffer of this shape, in place; the values are uninitialised."""
        place = self.device if device is None else check_available(device)
        data = empty(shape, device=place, dtype=self.dtype if dtype is None else dtype)
        self.__class__ = self._plain_class
        self._data = data._data  # type: ignore[misc]  # now the slot of the class it became

    def share_memory_(self) -> NoReturn:
        """Refused: there is no memory."""
        raise RuntimeError(
            "Can't share memory on an uninitialized parameter or buffer. Call `forward` to initialize the parameters "
            "before calling `module.share_memory()`."
        )

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"<{type(self).__name__}>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return type(self), (self.requires_grad,)  # type: ignore[attr-defined]


class _Bare:
    """The empty array of an uninitialized tensor, in the form `_shared` reads."""

    def __init__(self, owner: Any) -> None:
        self._data = _ARRAY.__get__(owner)
        self._counter = owner._counter


class UninitializedParameter(UninitializedTensorMixin, Parameter):  # type: ignore[misc]
    """A parameter whose shape is not known yet, see `LazyLinear`.

    Examples
    --------
    >>> weight = torch.nn.UninitializedParameter()
    >>> weight.materialize((2, 3))
    >>> type(weight).__name__, weight.shape
    ('Parameter', torch.Size([2, 3]))
    """

    cls_to_become = Parameter
    _plain_class = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> Any:
        return _without_shape(cls, requires_grad, device, dtype)

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> None:
        pass

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.requires_grad, self.device, self.dtype)
        return memo[id(self)]


class UninitializedBuffer(UninitializedTensorMixin, Tensor):  # type: ignore[misc]
    """A buffer whose shape is not known yet."""

    cls_to_become = Tensor
    _plain_class = Tensor

    def __new__(
        cls, requires_grad: bool = False, device: Any = None, dtype: Any = None, persistent: bool = True
    ) -> Any:
        out = _without_shape(cls, requires_grad, device, dtype)
        out.persistent = persistent
        out._is_buffer = True
        return out

    def __init__(
        self, requires_grad: bool = False, device: Any = None, dtype: Any = None, persistent: bool = True
    ) -> None:
        pass


def _without_shape(cls: Any, requires_grad: bool, device: Any, dtype: Any) -> Any:
    plain = empty(0, device=device, dtype=dtype)
    out = object.__new__(cls)
    _ARRAY.__set__(out, plain._data)
    out._node = None
    out._counter = plain._counter
    out._view = None
    if requires_grad:
        out._node = leaf_node(out)
    return out


def is_lazy(param: Any) -> bool:
    """Whether `param` has no shape yet."""
    return isinstance(param, UninitializedTensorMixin)
