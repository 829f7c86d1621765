"""`Tensor`: storage, version, recording; one line per method that an op or function gives."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from rushlight import shared
from rushlight.device import CPU, check_available, device
from rushlight.dtypes import BY_NUMPY, KERNEL_NAMES, dtype, from_np, get_default_dtype
from rushlight.errors import GradientError, ShapeError, explain
from rushlight.formats import strided
from rushlight.functions import arithmetic as A
from rushlight.functions import backward as B
from rushlight.functions import convert as C
from rushlight.functions import diagonals as D
from rushlight.functions import indexing as X
from rushlight.functions import inplace as I
from rushlight.functions import matrix as M
from rushlight.functions import shape as S
from rushlight.functions.fast import NUMBERS, operator, plain_tensor
from rushlight.layout import wrap_dim
from rushlight.method_table import Methods
from rushlight.modes import state
from rushlight.ops import elementwise as E
from rushlight.ops.kinds import Op
from rushlight.ops.linear import storage_array
from rushlight.printing import tensor_repr
from rushlight.size import Size
from rushlight.storage import TypedStorage, UntypedStorage, address, element_strides
from rushlight.tape import (
    AccumulateGrad,
    Port,
    Variable,
    hooks_of,
    leaf_node,
    record,
    root_of,
    sync,
    wrap,
)

import weakref  # isort: skip


def _or_not_implemented(function: Callable[..., Any]) -> Callable[..., Any]:
    """An operator that lets Python try the other operand's side for foreign types."""

    def operator(self: Any, other: Any) -> Any:
        if isinstance(other, Variable) or isinstance(other, NUMBERS) or isinstance(other, np.generic):
            return function(self, other)
        if isinstance(other, np.ndarray):
            return function(self, wrap(other))
        return NotImplemented

    operator.__doc__ = function.__doc__
    return operator


def _reflected(function: Callable[..., Any]) -> Callable[..., Any]:
    def operator(self: Any, other: Any) -> Any:
        if isinstance(other, np.ndarray):
            other = wrap(other)
        elif not isinstance(other, (*NUMBERS, Variable, np.generic)):
            return NotImplemented
        return function(other, self)

    operator.__doc__ = function.__doc__
    return operator


def _no_size() -> Any:
    raise IndexError("Dimension specified as 0 but tensor has no dimensions")


def _legacy_data(args: tuple[Any, ...], wanted: Any) -> Any:
    """Data of `Tensor(2, 3)`, `Tensor([1, 2])`, `Tensor(other)`."""
    if not args:
        return np.empty(0, wanted)
    if all(type(a) is int for a in args) or len(args) == 1 and isinstance(args[0], Size):
        shape = args[0] if isinstance(args[0], Size) else args
        return np.zeros(tuple(shape), wanted)
    if len(args) > 1:
        raise TypeError(f"new() received an invalid combination of arguments - got {len(args)} arguments")
    source = args[0]
    if isinstance(source, Variable):
        return source._data if source._data.dtype == wanted else source._data.astype(wanted)
    if isinstance(source, (str, bytes)):
        raise TypeError(f"new(): invalid data type '{type(source).__name__}'")
    if source is None or isinstance(source, (float, bool, complex)):
        raise TypeError(f"new(): data must be a sequence (got {type(source).__name__})")
    return np.array(
        [C.item(x) if isinstance(x, Variable) else x for x in source] if isinstance(source, list) else source, wanted
    )


def _unpickled(cls: Any, data: Any, requires_grad: bool, attributes: dict[str, Any] | None) -> Any:
    """A leaf over `data`: pickling keeps values, not history."""
    t = object.__new__(cls)
    t._data = data
    t._node = None
    t._counter = [0]
    t._view = None
    if requires_grad:
        t._node = leaf_node(t)
    if attributes:
        t.__dict__.update(attributes)
    return t


def _deepcopied(data: Any, memo: dict[Any, Any]) -> Any:
    """A copy of `data` inside one copy of its storage, so that views of it stay views."""
    root = storage_array(data)
    key = ("storage", id(root))
    if key not in memo:
        memo[key] = (np.array(root, order="K", copy=True), root)
    new = memo[key][0]
    if root is data or data.size == 0:
        return new if root is data else data.copy()
    offset = address(data) - address(root)
    buffer = np.lib.stride_tricks.as_strided(new, (new.size,), (new.itemsize,)).view(np.uint8)
    return np.lib.stride_tricks.as_strided(
        buffer[offset : offset + data.itemsize].view(data.dtype), data.shape, data.strides
    )


def _interpret(self: Any, op: Op, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
    """What an op called with tensors does: run and record."""
    return record(op, operands, params)


@plain_tensor
class Tensor(Methods, Variable):
    """A multi-dimensional array with strides over a storage, whose operations can be recorded and differentiated.

    Made by `rushlight.tensor`, `zeros`, `rand` and others; `Tensor(2, 3)` gives uninitialised float32 values.
    """

    __slots__ = ("__dict__",)
    interpret = _interpret
    __array_priority__ = 1000
    __array_ufunc__ = None
    legacy_dtype: dtype | None = None

    def __new__(cls, *args: Any, device: Any = None) -> Any:
        check_available(device)
        wanted = (cls.legacy_dtype or get_default_dtype()).np
        t = object.__new__(cls)
        t._data = _legacy_data(args, wanted)
        t._node = None
        t._counter = [0]
        t._view = None
        return t

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    @staticmethod
    def _make_subclass(cls: Any, data: Any, require_grad: bool = False) -> Any:
        """A tensor of a subclass over the memory of `data`."""
        t = object.__new__(cls)
        t._data = data._data
        t._node = None
        t._counter = [0]
        t._view = None
        if require_grad:
            t.requires_grad = True
        return t

    def as_subclass(self, cls: Any) -> Any:
        """The same data and history as an instance of `cls`."""
        t = object.__new__(cls)
        t._data, t._node, t._counter, t._view = self._data, self._node, self._counter, self._view
        return t

    # What it is

    @property
    def shape(self) -> Size:
        """Sizes of the dims."""
        return tuple.__new__(Size, self._data.shape)

    def size(self, dim: int | None = None) -> Any:
        """Sizes of the dims, or of one dim."""
        if dim is None:
            return tuple.__new__(Size, self._data.shape)
        shape = self._data.shape
        return shape[wrap_dim(dim, len(shape))] if shape else wrap_dim(dim, 0) or _no_size()

    @property
    def dtype(self) -> dtype:
        """Type of the elements."""
        found = BY_NUMPY.get(self._data.dtype)
        return from_np(self._data.dtype) if found is None else found

    @property
    def device(self) -> device:
        """Where the elements are."""
        return CPU

    @property
    def ndim(self) -> int:
        """Number of dims."""
        return len(self._data.shape)

    layout = strided
    is_cuda = is_sparse = is_quantized = is_mkldnn = is_mps = is_meta = is_xpu = is_nested = False
    is_cpu = True
    names = property(lambda self: (None,) * self._data.ndim, doc="Names of the dims: none.")
    itemsize = property(lambda self: self._data.itemsize, doc="Bytes per element.")
    nbytes = property(lambda self: self._data.nbytes, doc="Bytes of all elements.")

    def dim(self) -> int:
        """Number of dims."""
        return len(self._data.shape)

    ndimension = dim

    def numel(self) -> int:
        """Number of elements."""
        return int(self._data.size)

    nelement = numel

    def element_size(self) -> int:
        """Bytes per element."""
        return int(self._data.itemsize)

    def is_floating_point(self) -> bool:
        """Whether the dtype is floating."""
        return self.dtype.is_floating_point

    def is_complex(self) -> bool:
        """Whether the dtype is complex."""
        return self.dtype.is_complex

    def is_signed(self) -> bool:
        """Whether the dtype has negative numbers."""
        return self.dtype.is_signed

    def is_inference(self) -> bool:
        """Whether it was made in inference mode."""
        return self._counter is None

    def is_conj(self) -> bool:
        """False: conjugates are computed at once."""
        return False

    is_neg = is_conj

    def get_device(self) -> int:
        """-1 on the CPU."""
        return -1

    def is_same_size(self, other: Any) -> bool:
        """Whether shapes are equal."""
        return bool(self._data.shape == other._data.shape)

    # Storage

    def stride(self, dim: int | None = None) -> Any:
        """Elements between neighbours along each dim, or one dim."""
        strides = element_strides(self._data)
        return strides if dim is None else strides[wrap_dim(dim, len(strides))] if strides else _no_size()

    def storage_offset(self) -> int:
        """Position of the first element in the storage."""
        root = self.untyped_storage()
        return (address(self._data) - root.data_ptr()) // max(self._data.itemsize, 1) if self._data.size else 0

    def untyped_storage(self) -> UntypedStorage:
        """The memory behind this tensor and its views, as bytes."""
        return UntypedStorage(self._data)

    def storage(self) -> TypedStorage:
        """The memory behind this tensor and its views, as elements."""
        return TypedStorage(self._data)

    _typed_storage = storage

    def data_ptr(self) -> int:
        """Address of the first element, 0 without elements."""
        return address(self._data) if self._data.size else 0

    def is_set_to(self, tensor: Any) -> bool:
        """Whether both show the same memory alike."""
        return (self.data_ptr(), self.shape, self.stride()) == (tensor.data_ptr(), tensor.shape, tensor.stride())

    def share_memory_(self) -> Tensor:
        """Move the memory, with all tensors that show it, to where other processes can map it; return self."""
        shared.share(self)
        shared.register(type(self))
        return self

    def is_shared(self) -> bool:
        """Whether the memory is where other processes can map it."""
        return shared.is_shared(self)

    def pin_memory(self, device: Any = None) -> Tensor:
        """The tensor itself: there is no GPU to pin memory for."""
        return self

    def is_pinned(self, device: Any = None) -> bool:
        """Whether the memory is pinned for a GPU."""
        return False

    # Gradients

    @property
    def data(self) -> Any:
        """The same memory without history and with a version count of its own."""
        return wrap(self._data)

    @data.setter
    def data(self, new: Any) -> None:
        if not isinstance(new, Variable):
            raise TypeError(f"Variable data has to be a tensor, but got {type(new).__name__}")
        self._data = new._data

    @property
    def requires_grad(self) -> bool:
        """Whether operations on it are recorded."""
        if self._node is not None:
            return True
        # a view says what its base says, also one taken under no_grad or before the base was written from a graph
        return self._view is not None and root_of(self)._node is not None and self._data.dtype.kind in "fcV"

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        node = self._node
        if not isinstance(wanted, (bool, int)):
            raise RuntimeError("requires_grad must be a bool")
        if node is not None and type(node) is not AccumulateGrad:
            if not wanted:
                raise RuntimeError(
                    "you can only change requires_grad flags of leaf variables. If you want to use a computed "
                    "variable in a "
                    "subgraph that doesn't require differentiation use var_no_grad = var.detach()."
                )
            return
        if wanted and node is None:
            if self._data.dtype.kind not in "fcV":
                raise RuntimeError("only Tensors of floating point dtype can require gradients")
            if self._counter is None and not state.inference:
                raise RuntimeError(
                    "Setting requires_grad=True on inference tensor outside InferenceMode is not allowed."
                )
            self._node = leaf_node(self)
        elif not wanted:
            self._node = None

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set `requires_grad`."""
        self.requires_grad = requires_grad
        return self

    @property
    def grad(self) -> Any:
        """The gradient that backward added up here, or None."""
        try:
            grad = self._grad
        except AttributeError:
            return None
        return grad

    @grad.setter
    def grad(self, new: Any) -> None:
        if new is None:
            self._grad = None
            return
        if not isinstance(new, Variable):
            raise TypeError(f"assigned grad expected to be a Tensor or None but got grad of type {type(new).__name__}")
        if new is self:
            raise RuntimeError("can't assign Variable as its own grad")
        if new._data.shape != self._data.shape:
            raise explain(
                ShapeError(
                    f"attempting to assign a gradient of size '{list(new._data.shape)}' to a tensor of size "
                    f"'{list(self._data.shape)}'. Please ensure that the gradient and the tensor are the same size"
                ),
                expected=tuple(self._data.shape),
                received=tuple(new._data.shape),
            )
        if new._data.dtype != self._data.dtype:
            raise RuntimeError(
                f"attempting to assign a gradient with dtype '{KERNEL_NAMES[new._data.dtype.name].lower()}' to a "
                "tensor with "
                f"grad_dtype '{KERNEL_NAMES[self.dtype.name]}'. The gradient must match the tensor's grad_dtype "
                "(defaults to "
                "the tensor's dtype). You can set the tensor's grad_dtype attribute with a specific dtype, or "
                "None to allow "
                "any dtype. Set grad_dtype with caution. Diverging the dtypes of a tensor and its gradient may break "
                "downstream systems that assume they match."
            )
        self._grad = new

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

    @property
    def grad_fn(self) -> Any:
        """The node of the operation that made this tensor, None for leaves."""
        if self._view is not None:
            sync(self)
        node = self._node
        if node is None or type(node) is AccumulateGrad:
            return None
        return node.node if type(node) is Port else node

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made it."""
        if self._view is not None:
            sync(self)
        return self._node is None or type(self._node) is AccumulateGrad

    @property
    def output_nr(self) -> int:
        """Which of its node's results it is."""
        return self._node.index if type(self._node) is Port else 0

    @property
    def retains_grad(self) -> bool:
        """Whether `.grad` of this non-leaf is kept."""
        node = self._node
        return (
            node is not None
            and type(node) is not AccumulateGrad
            and node.hooks is not None
            and node.hooks.retain is not None
        )

    def retain_grad(self) -> None:
        """Keep `.grad` of a non-leaf in the backward walk."""
        if self._view is not None:
            sync(self)
        if self._node is None:
            raise GradientError("can't retain_grad on Tensor that has requires_grad=False")
        if type(self._node) is not AccumulateGrad:
            hooks_of(self._node).retain = weakref.ref(self)

    def backward(
        self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False, inputs: Any = None
    ) -> None:
        """Add to `.grad` of the leaves this tensor's gradients; see `autograd.backward`."""
        B.backward((self,), None if gradient is None else (gradient,), retain_graph, create_graph, inputs)

    def detach(self) -> Any:
        """The same memory without history; in-place changes are counted together."""
        t = wrap(self._data)
        t._counter = self._counter
        return t

    def detach_(self) -> Tensor:
        """Forget the history."""
        if self._view is not None:
            raise RuntimeError(
                "Can't detach views in-place. Use detach() instead. If you are using DistributedDataParallel (DDP) for "
                "training, and gradient_as_bucket_view is set as True, gradients are views of DDP buckets, and hence "
                "detach_() cannot be called on these gradients. To fix this error, please refer to the "
                "Optimizer.zero_grad() function in torch/optim/optimizer.py as the solution."
            )
        self._node = None
        return self

    def register_hook(self, hook: Callable[..., Any]) -> Any:
        """Call `hook(grad)` when the gradient of this tensor is computed; it may return another one."""
        if self._view is not None:
            sync(self)
        if self._node is None:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        return hooks_of(self._node).add("tensor", hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[..., Any]) -> Any:
        """Call `hook(self)` after a backward walk added to `.grad`."""
        if type(self._node) is not AccumulateGrad:
            raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
        return hooks_of(self._node).add("accumulated", hook)

    @property
    def _version(self) -> int:
        """Number of in-place changes of its memory."""
        if self._counter is None:
            raise RuntimeError("Inference tensors do not track version counter.")
        return int(self._counter[0])

    @property
    def _base(self) -> Any:
        return None if self._view is None else root_of(self)

    def _is_view(self) -> bool:
        return self._view is not None

    # Python

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        node = self.grad_fn
        name = type(self).__name__
        return tensor_repr(
            self._data,
            requires_grad=self.requires_grad,
            grad_fn=None if node is None else node.name().rpartition("::")[2],
            prefix="tensor(" if name in ("Tensor", "Parameter", "Buffer") else f"{name}(",
        )

    def __format__(self, spec: str) -> str:
        if not self._data.ndim and type(self) is Tensor:
            return format(C.item(self), spec)
        return object.__format__(self, spec)

    __hash__ = object.__hash__
    __len__ = C.length
    __bool__ = C.to_bool_value
    __int__ = C.to_int_value
    __float__ = C.to_float_value
    __complex__ = C.to_complex_value
    __index__ = C.to_index
    __array__ = C.array_protocol

    def __array_wrap__(self, array: Any, *context: Any) -> Any:
        return wrap(np.asarray(array))

    def __iter__(self) -> Iterator[Any]:
        if not self._data.ndim:
            raise TypeError("iteration over a 0-d tensor")
        return iter(S.unbind(self, 0))

    def __reversed__(self) -> Any:
        return D.flip(self, 0) if self._data.ndim else self

    def __contains__(self, element: Any) -> bool:
        if isinstance(element, (Variable, *NUMBERS)):
            return bool(A.eq(self, element)._data.any())
        raise RuntimeError(f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}.")

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if not self.is_leaf:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the "
                "moment.  "
                "If you were attempting to deepcopy a module, this may be because of a "
                "torch.nn.utils.weight_norm usage, "
                "see https://github.com/pytorch/pytorch/pull/103001"
            )
        if id(self) in memo:
            return memo[id(self)]
        new = object.__new__(type(self))
        new._data = _deepcopied(self._data, memo)
        new._node = None
        new._counter = [0]
        new._view = None
        memo[id(self)] = new
        if self.requires_grad:
            new._node = leaf_node(new)
        if self.grad is not None:
            new._grad = copy.deepcopy(self.grad, memo)
        if self.__dict__:
            new.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return new

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _unpickled, (type(self), self._data, self.requires_grad, self.__dict__ or None)

    def __dlpack__(self, **kwargs: Any) -> Any:
        if self._node is not None:
            raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
        return self._data.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> Any:
        return self._data.__dlpack_device__()

    __getitem__ = X.getitem
    __setitem__ = X.setitem

    # Operators

    __add__ = operator(E.add)
    __radd__ = operator(E.add)
    __sub__ = _or_not_implemented(A._sub)
    __rsub__ = _or_not_implemented(A.rsub)
    __mul__ = operator(E.mul)
    __rmul__ = operator(E.mul)
    __truediv__ = operator(E.div)
    __rtruediv__ = operator(E.rdiv)
    __floordiv__ = operator(E.floor_divide)
    __rfloordiv__ = _reflected(A._floor_divide)
    __mod__ = operator(E.remainder)
    __rmod__ = _reflected(A._remainder)
    __pow__ = _or_not_implemented(A.pow)
    __rpow__ = _reflected(A.pow)
    __matmul__ = _or_not_implemented(M.matmul_operator)
    __rmatmul__ = _reflected(M.matmul_operator)
    __and__ = __rand__ = _or_not_implemented(A.bitwise_and)
    __or__ = __ror__ = _or_not_implemented(A.bitwise_or)
    __xor__ = __rxor__ = _or_not_implemented(A.bitwise_xor)
    __lshift__ = _or_not_implemented(A.bitwise_left_shift)
    __rlshift__ = _reflected(A.bitwise_left_shift)
    __rrshift__ = _reflected(A.bitwise_right_shift)
    __rshift__ = _or_not_implemented(A.bitwise_right_shift)
    __neg__ = A.neg
    __pos__ = A.positive
    __abs__ = A.abs
    __invert__ = A.bitwise_not
    __eq__ = operator(E.eq)
    __ne__ = operator(E.ne)
    __lt__ = operator(E.lt)
    __le__ = operator(E.le)
    __gt__ = operator(E.gt)
    __ge__ = operator(E.ge)
    __iadd__ = _or_not_implemented(I._add_)
    __isub__ = _or_not_implemented(I.sub_)
    __imul__ = _or_not_implemented(I.mul_)
    __itruediv__ = _or_not_implemented(I._div_)
    __ifloordiv__ = _or_not_implemented(I._floor_)
    __imod__ = _or_not_implemented(I.binary_(E.remainder))
    __ipow__ = _or_not_implemented(I.pow_)
    __iand__ = _or_not_implemented(I.binary_(E.bitwise_and))
    __ior__ = _or_not_implemented(I.binary_(E.bitwise_or))
    __ixor__ = _or_not_implemented(I.binary_(E.bitwise_xor))
    __ilshift__ = _or_not_implemented(I.binary_(E.bitwise_left_shift))
    __irshift__ = _or_not_implemented(I.binary_(E.bitwise_right_shift))
