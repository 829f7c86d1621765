"""What arrays are while a program is traced: views of buffers whose contents are values of a graph.

A buffer stands for memory: its value is the graph value that the memory holds at this point of the program. A traced
array shows a buffer, whole or through a chain of views. Reading one gives a graph value; writing one gives its buffer
a new value, so that all other views of the same memory see the change: in-place programs become functional here.
"""

from __future__ import annotations

import functools
import math
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.compiler.graph import Value
from rushlight.errors import PACKAGE
from rushlight.layout import contiguous_strides
from rushlight.modes import state
from rushlight.ops.kinds import OPS, Array, opaque
from rushlight.spec import Spec

ndarray = np.ndarray
_OF_LAYOUT = {
    np.empty_like, np.zeros_like, np.ones_like, np.full_like, np.result_type, np.can_cast, np.shape, np.ndim, np.size,
    np.iscomplexobj, np.isrealobj,
}  # fmt: skip
_ARRAY_NAMES = frozenset(n for n in dir(np.ndarray) if not n.startswith("__"))


class TraceBreak(BaseException):
    """The program asks for something that only a run can tell; no `except Exception` of the user's may hide it."""

    def __init__(self, reason: str, where: Any = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.where = where
        self.holds: Any = None


def users_line() -> Any:
    """(code, instruction) of the innermost frame of a program of the user's."""
    frame: Any = sys._getframe(1)
    while frame is not None and not is_users(frame.f_code.co_filename):
        frame = frame.f_back
    return None if frame is None else (frame.f_code, frame.f_lasti)


def line_of(error: BaseException) -> Any:
    """The same for where an exception was raised."""
    trace, found = error.__traceback__, None
    while trace is not None:
        if is_users(trace.tb_frame.f_code.co_filename):
            found = trace.tb_frame.f_code, trace.tb_lasti
        trace = trace.tb_next
    return found


_LIBRARY = types.__file__.rpartition("/")[0]


@functools.cache
def is_users(path: str | None) -> bool:
    """Whether a file is a program of the user's: not this package, the standard library or an installed one."""
    if path is None:
        return True
    return not (path.startswith((PACKAGE, _LIBRARY, "<frozen", "<__array_function__")) or "site-packages" in path)


class Restart(BaseException):
    """Trace again with what was learnt."""


def broken(reason: str) -> TraceBreak:
    """A break at the user's present line."""
    return TraceBreak(reason, users_line())


Chain = tuple[tuple[str, tuple[tuple[str, Any], ...], int | None], ...]


@opaque(spec=lambda x, value, chain: x)
def write_view(xp: Any, x: Array, value: Array, chain: Chain) -> Array:
    """A copy of `x` whose part that a chain of views (name of the op, parameters, which result) shows is `value`."""
    out = np.array(x, order="C", copy=True)
    part = out
    for name, params, index in chain:
        part = OPS[name].eager((part,), dict(params))
        part = part if index is None else part[index]
    part[...] = value
    return out


class Buffer:
    """Memory while a program is traced.

    Attributes
    ----------
    value : what it holds now
    strides : in bytes, of the whole
    version : number of writes
    source : the input that brings it, None for results and constants
    """

    __slots__ = ("source", "strides", "value", "version", "storage")

    def __init__(self, value: Value, strides: Any = None, source: Any = None) -> None:
        self.value = value
        self.strides = strides
        self.version = 0
        self.source = source
        self.storage: Any = None


class _Flags:
    """The two flags that code asks about."""

    __slots__ = ("c_contiguous", "f_contiguous")
    writeable = True

    def __init__(self, phantom: Any) -> None:
        self.c_contiguous = phantom.flags.c_contiguous
        self.f_contiguous = phantom.flags.f_contiguous


class TracedArray:
    """An array of the program being traced."""

    __slots__ = ("buffer", "parent", "step", "spec", "_phantom", "_value", "_version", "__weakref__")
    op_rank = 1
    __array_ufunc__ = None

    def __init__(self, buffer: Buffer, spec: Spec, parent: Any = None, step: Any = None, phantom: Any = None) -> None:
        self.buffer = buffer
        self.spec = spec
        self.parent = parent
        self.step = step
        self._phantom = phantom
        self._value: Any = None
        self._version = -1

    # What it is

    shape = property(lambda self: self.spec.shape)
    dtype = property(lambda self: self.spec.dtype)
    ndim = property(lambda self: len(self.spec.shape))
    size = property(lambda self: math.prod(self.spec.shape))
    itemsize = property(lambda self: self.spec.dtype.itemsize)
    nbytes = property(lambda self: math.prod(self.spec.shape) * self.spec.dtype.itemsize)
    strides = property(lambda self: self.phantom.strides)
    flags = property(lambda self: _Flags(self.phantom))
    base = None

    @property
    def phantom(self) -> Any:
        """An array without memory that has this one's layout."""
        if self._phantom is None:
            shape, dtype = self.spec
            strides = self.buffer.strides
            if strides is None:
                strides = tuple(k * dtype.itemsize for k in contiguous_strides(shape))
            self._phantom = np.lib.stride_tricks.as_strided(np.empty(1, dtype), shape, strides)
        return self._phantom

    @property
    def is_contiguous(self) -> bool:
        """Whether its elements lie in row-major order."""
        if self.parent is None and self.buffer.strides is None:
            return True
        return bool(self.phantom.flags.c_contiguous)

    def chain(self) -> Chain:
        """The views that lead from the buffer to it."""
        steps = []
        node = self
        while node.parent is not None:
            op, params, index = node.step
            steps.append((op.name, tuple(params.items()), index))
            node = node.parent
        return tuple(reversed(steps))

    # Reading and writing

    def read(self) -> Value:
        """The graph value that it shows now."""
        version = self.buffer.version
        if self._version != version:
            if self.parent is None:
                self._value = self.buffer.value
            else:
                op, params, index = self.step
                got = state.trace.view_value(self.parent, op, params)
                self._value = got if index is None else got[index]
            self._version = version
        found: Value = self._value
        return found

    def write(self, value: Any) -> None:
        """Make the memory hold `value` here: anything that broadcasts to this shape."""
        state.trace.write(self, value)

    def copy(self, order: str = "C") -> TracedArray:
        """The contents as they are now."""
        copied: TracedArray = state.trace.snapshot(self)
        return copied

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        """The contents as another dtype."""
        dtype = np.dtype(dtype)
        return (self.copy() if copy else self) if dtype == self.dtype else OPS["cast"].apply((self,), {"dtype": dtype})

    def item(self) -> Any:
        """The one element as a number of the program."""
        if self.size != 1 or self.dtype.kind not in "fiuV":
            raise broken("reads a value (.item())")
        return state.trace.number_of(self)

    def interpret(self, op: Any, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Note an op."""
        trace = state.trace
        if trace is None:
            raise RuntimeError("a value of a compiled function was kept and used outside of it")
        return trace.interpret(op, operands, params)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """NumPy's questions about the layout, and new arrays in it; functions that read values are refused."""
        if func not in _OF_LAYOUT or func is np.full_like and isinstance(args[-1], TracedArray):
            raise broken(f"reads values with NumPy (np.{func.__name__})")
        return func(*(a.phantom if isinstance(a, TracedArray) else a for a in args), **kwargs)

    def __getitem__(self, index: Any) -> Any:
        if any(isinstance(i, (ndarray, TracedArray, list)) for i in (index if isinstance(index, tuple) else (index,))):
            raise broken("indexes an array by values")
        return OPS["getitem_slice"].apply((self,), {"index": index})

    def __setitem__(self, index: Any, value: Any) -> None:
        (self if index is Ellipsis else self[index]).write(value)

    def view(self, dtype: Any = None) -> Any:
        """The same memory, read as another dtype if one is given."""
        return self if dtype is None else OPS["view_as_dtype"].apply((self,), {"dtype": np.dtype(dtype)})

    def transpose(self, *dims: Any) -> Any:
        """Dims in another order."""
        order = dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims
        order = tuple(order or reversed(range(self.ndim)))
        return OPS["permute"].apply((self,), {"dims": order})

    def swapaxes(self, dim0: int, dim1: int) -> Any:
        """Two dims exchanged."""
        return OPS["transpose"].apply((self,), {"dim0": dim0, "dim1": dim1})

    T = property(lambda self: self.transpose())

    def reshape(self, *shape: Any) -> Any:
        """Another shape."""
        return OPS["reshape"](self, shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)

    def __len__(self) -> int:
        if not self.spec.shape:
            raise TypeError("len() of unsized object")
        return int(self.spec.shape[0])

    def __getattr__(self, name: str) -> Any:
        if name in _ARRAY_NAMES:
            raise broken(f"reads values with NumPy (.{name})")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<traced {self.dtype}{list(self.shape)}>"

    __hash__ = object.__hash__


def _refuses(what: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise broken(what)

    return method


for _name, _what in {
    "bool": "branches on a value (bool of a tensor)", "int": "reads a value (int of a tensor)",
    "float": "reads a value (float of a tensor)", "complex": "reads a value (complex of a tensor)",
    "index": "uses a value as an index", "iter": "iterates over values", "array": "reads values with NumPy",
    "array_interface__": "", "array_struct__": "",
}.items():  # fmt: skip
    if _what:
        setattr(TracedArray, f"__{_name}__", _refuses(_what))


def operator(name: str, swap: bool = False) -> Callable[..., Any]:
    """The method behind a Python operator."""

    def method(a: Any, b: Any) -> Any:
        if not isinstance(b, (TracedArray, ndarray, np.generic, int, float, complex)):
            return NotImplemented
        operands = (b, a) if swap else (a, b)
        return OPS[name].apply(operands, {})

    return method


OPERATORS = {
    "add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "floordiv": "floor_divide", "mod": "remainder",
    "gt": "gt", "lt": "lt", "ge": "ge", "le": "le", "eq": "eq", "ne": "ne", "or": "bitwise_or", "and": "bitwise_and",
    "xor": "bitwise_xor", "pow": "pow",
}  # fmt: skip
for _dunder, _op in OPERATORS.items():
    setattr(TracedArray, f"__{_dunder}__", operator(_op))
    if _dunder not in ("gt", "lt", "ge", "le", "eq", "ne"):
        setattr(TracedArray, f"__r{_dunder}__", operator(_op, swap=True))
for _dunder, _op in {"neg": "neg", "abs": "abs", "invert": "bitwise_not"}.items():
    setattr(TracedArray, f"__{_dunder}__", lambda a, name=_op: OPS[name].apply((a,), {}))
setattr(TracedArray, "__matmul__", lambda a, b: OPS["matmul"](a, b))  # noqa: B010
