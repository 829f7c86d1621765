"""Making tensors: from data, filled, and in sequences."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rushlight.device import check_available
from rushlight.dtypes import ALL, default_np, dtype, from_np, get_default_dtype, set_default_dtype
from rushlight.errors import explain
from rushlight.functions.convert import TYPE_NAMES, as_dtype
from rushlight.functions.fast import store
from rushlight.functions.new import finished
from rushlight.functions.shape import contiguous, ints
from rushlight.modes import ACTIVE, state
from rushlight.ops.linear import storage_array
from rushlight.tape import Variable, wrap
from rushlight.tensor import Tensor

NATIVE = frozenset(d.np for d in ALL)


# From data


def _of_python(data: Any, wanted: Any) -> Any:
    """A new array with the elements of numbers or nested sequences, which may hold tensors."""
    if isinstance(data, (list, tuple)):
        _check_rectangular(data, ())
        data = _without_tensors(data)
    if data is None:
        raise RuntimeError("Could not infer dtype of NoneType")
    try:
        array = np.array(data) if wanted is None else _converted(data, wanted)
    except OverflowError:
        raise ValueError("Overflow when unpacking long long") from None
    except ValueError as error:
        raise ValueError(f"cannot make a tensor of this data: {error}") from None
    if wanted is not None:
        return array
    return _inferred(array, data)


def _converted(data: Any, wanted: Any) -> Any:
    array = np.array(data)
    if array.dtype.kind in "OUSM":
        raise _no_tensor_of(data)
    if array.dtype.kind == "c" and wanted.kind not in "cb":
        raise TypeError("must be real number, not complex")
    if (
        wanted.kind in "iu"
        and array.size
        and array.dtype.kind in "iu"
        and not isinstance(data, (np.generic, np.ndarray))
    ):
        limits = np.iinfo(wanted)
        low = -limits.max - 1 if wanted.kind == "u" else limits.min  # negative numbers wrap around
        if int(array.max()) > limits.max or int(array.min()) < low:
            raise RuntimeError(f"value cannot be converted to type {wanted.name} without overflow")
    return array.astype(wanted)


def _no_tensor_of(data: Any) -> Exception:
    bad = data
    while isinstance(bad, (list, tuple)) and bad:
        bad = next((x for x in bad if isinstance(x, (list, tuple)) or not isinstance(x, (int, float, complex))), bad[0])
    if isinstance(bad, str) and bad is not data and bad is _first_leaf(data):
        return ValueError(f"too many dimensions '{type(bad).__name__}'")
    if isinstance(bad, (str, bytes)):
        return TypeError(f"new(): invalid data type '{type(bad).__name__}'")
    return RuntimeError(f"Could not infer dtype of {type(bad).__name__}")


def _first_leaf(data: Any) -> Any:
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return data


def _inferred(array: Any, data: Any) -> Any:
    kind = array.dtype.kind
    if kind in "fc" and array.dtype.itemsize > (4 if kind == "f" else 8):
        own = _numpy_inexact(data)
        return array.astype(np.result_type(default_np(2 if kind == "f" else 3), *own))
    if kind in "ibfc":
        return array
    if kind == "u" and array.dtype == np.uint64 and not isinstance(data, (np.generic, np.ndarray)):
        raise ValueError("Overflow when unpacking long long")
    if kind == "u":
        return array if array.dtype in NATIVE else array.astype(np.int64)
    if kind == "O" and array.size and all(isinstance(x, int) for x in array.ravel()):
        raise ValueError("Overflow when unpacking long long")
    raise _no_tensor_of(data)


def _numpy_inexact(data: Any) -> set[Any]:
    """dtypes of the NumPy numbers and arrays among the data: they keep their precision, Python's floats do not."""
    if isinstance(data, (np.generic, np.ndarray)):
        return {data.dtype} if data.dtype.kind in "fc" else set()
    if not isinstance(data, (list, tuple)):
        return set()
    kinds = set(map(type, data))
    if kinds <= {float, int, bool, complex}:
        return set()
    return set().union(*map(_numpy_inexact, data))


def _check_rectangular(data: Any, path: tuple[int, ...]) -> int | None:
    """Raise PyTorch's error where nested sequences differ in length."""
    first: Any = None
    for i, x in enumerate(data):
        length = len(x) if isinstance(x, (list, tuple)) or isinstance(x, np.ndarray) and x.ndim else None
        if i == 0:
            first = length
        elif length != first:
            if first is None:
                raise TypeError(f"'{type(x).__name__}' object cannot be interpreted as an integer")
            if length is None:
                raise explain(
                    TypeError("not a sequence"), received=f"element {i} at dim {len(path) + 1} is a {type(x).__name__}"
                )
            raise ValueError(f"expected sequence of length {first} at dim {len(path) + 1} (got {length})")
        if length is not None and not isinstance(x, np.ndarray):
            _check_rectangular(x, (*path, i))
    return first  # type: ignore[no-any-return]


def _without_tensors(data: Any) -> Any:
    if isinstance(data, (list, tuple)):
        return [_without_tensors(x) for x in data]
    if isinstance(data, Variable):
        return data._data.tolist() if data._data.ndim == 0 else data._data
    return data


def tensor(
    data: Any, *, dtype: dtype | None = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False
) -> Any:
    """A new tensor with a copy of `data`.

    Parameters
    ----------
    data : number, nested sequence, numpy.ndarray or Tensor
    dtype : dtype, optional
        Inferred by default: Python floats give the default dtype, ints int64.
    device : device, optional
    requires_grad : bool

    Examples
    --------
    >>> torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    tensor([[1., 2.],
            [3., 4.]])
    """
    check_available(device)
    wanted = None if dtype is None else dtype.np
    if isinstance(data, Variable):
        array = np.array(data._data if wanted is None else data._data.astype(wanted), order="K", copy=True)
    elif isinstance(data, np.ndarray):
        _check_memory(data)
        array = np.array(data, wanted, order="K", copy=True)
    else:
        array = _of_python(data, wanted)
        array = np.ascontiguousarray(array).reshape(array.shape)
    return finished(array, requires_grad)


def _check_memory(array: Any) -> None:
    """Raise PyTorch's errors for arrays whose elements or order no tensor can have."""
    if ACTIVE and state.trace is not None:
        state.trace.refuse("makes a tensor from a NumPy array")
    if not array.dtype.isnative:
        raise ValueError(
            "given numpy array has byte order different from the native byte order. Conversion between byte orders is "
            "currently not supported."
        )
    from_np(array.dtype)
    if any(s < 0 for s in array.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative strides are "
            "not currently "
            "supported. (You can probably work around this by making a copy of your array  with array.copy().) "
        )


def as_tensor(data: Any, dtype: dtype | None = None, device: Any = None) -> Any:
    """`data` as a tensor, sharing memory with tensors and NumPy arrays where dtypes allow it."""
    check_available(device)
    if isinstance(data, Variable):
        return data if dtype is None else data.to(dtype)  # type: ignore[attr-defined]
    if isinstance(data, np.ndarray):
        t = from_numpy(data)
        return t if dtype is None else t.to(dtype)
    return tensor(data, dtype=dtype)


def asarray(
    obj: Any, *, dtype: dtype | None = None, device: Any = None, copy: bool | None = None, requires_grad: bool = False
) -> Any:
    """`obj` as a tensor; `copy=True` copies always, `copy=False` never."""
    t = as_tensor(obj, dtype, device)
    if copy:
        t = t.detach().clone()
    return t.requires_grad_() if requires_grad else t


class _Memory:
    """Presents an array's memory so that NumPy treats it as a new owner: tensors of it get offset 0."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.__array_interface__ = array.__array_interface__


def from_numpy(array: Any) -> Any:
    """A tensor over the memory of a NumPy array.

    Examples
    --------
    >>> a = np.zeros(2)
    >>> t = torch.from_numpy(a)
    >>> t[0] = 1
    >>> a
    array([1., 0.])
    """
    if not isinstance(array, np.ndarray):
        kind = type(array)
        shown = f"numpy.{kind.__name__}" if kind.__module__ == "numpy" else kind.__name__
        raise TypeError(f"expected np.ndarray (got {shown})")
    _check_memory(array)
    if (
        array.base is not None
        and storage_array(array) is not array
        and array.dtype in NATIVE
        and array.dtype.kind != "V"
    ):
        return wrap(np.asarray(_Memory(array)))
    return wrap(array.view(np.ndarray))


def from_dlpack(source: Any) -> Any:
    """A tensor over the memory of an object with `__dlpack__`."""
    return wrap(np.from_dlpack(source) if not isinstance(source, Variable) else source._data)


def frombuffer(buffer: Any, *, dtype: dtype, count: int = -1, offset: int = 0, requires_grad: bool = False) -> Any:
    """A tensor over the memory of a buffer."""
    return finished(np.frombuffer(buffer, dtype.np, count, offset), requires_grad)


def scalar_tensor(value: Any, *, dtype: dtype | None = None, device: Any = None) -> Any:
    """A 0-d tensor, of the default dtype unless given."""
    return tensor(value, dtype=dtype or get_default_dtype(), device=device)


# Filled


def _shape(size: tuple[Any, ...], name: str) -> tuple[int, ...]:
    shape = ints(size)
    for n in shape:
        if n < 0:
            if name == "zeros":
                raise explain(RuntimeError("zeros: Dimension size must be non-negative."), received=shape)
            raise RuntimeError(f"Trying to create tensor with negative dimension {n}: {list(shape)}")
    return shape


def _filler(name: str, make: Callable[[Any, Any], Any], what: str) -> Any:
    def create(
        *size: Any, out: Any = None, dtype: dtype | None = None, layout: Any = None, device: Any = None,
        requires_grad: bool = False, pin_memory: bool = False, memory_format: Any = None, **named: Any,
    ) -> Any:  # fmt: skip
        if device is not None:
            check_available(device)
        if "size" in named:
            size = (named.pop("size"),)
        if named:
            raise TypeError(f"{name}() got an unexpected keyword argument '{next(iter(named))}'")
        if not size:
            raise TypeError(f'{name}() missing 1 required positional arguments: "size"')
        shape = _shape(size, name)
        if getattr(memory_format, "name", "").startswith("channels_last"):
            return finished(
                contiguous(wrap(make(shape, (dtype or get_default_dtype()).np)), memory_format)._data, requires_grad
            )
        if out is not None:
            return store(wrap(make(shape, out._data.dtype)), out)
        return finished(make(shape, (dtype or get_default_dtype()).np), requires_grad)

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f"{what} of the shape `size`, of the default dtype unless given."
    return create


zeros = _filler("zeros", np.zeros, "Zeros")
ones = _filler("ones", np.ones, "Ones")
empty = _filler("empty", np.empty, "Uninitialised elements")


def full(
    size: Any, fill_value: Any, *, out: Any = None, dtype: dtype | None = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Any:  # fmt: skip
    """One number in the shape `size`; its type gives the dtype."""
    check_available(device)
    shape = _shape((size,), "full")
    value = fill_value._data.item() if isinstance(fill_value, Variable) else fill_value
    if not isinstance(value, (int, float, complex, np.generic)):
        raise TypeError(f"full(): argument 'fill_value' (position 2) must be Number, not {type(value).__name__}")
    if dtype is None:
        category = (
            0
            if isinstance(value, (bool, np.bool_))
            else 1
            if isinstance(value, int)
            else 3
            if isinstance(value, complex)
            else 2
        )
        wanted = default_np(category)
    else:
        wanted = dtype.np
    array = np.full(shape, value, wanted)
    return finished(array, requires_grad) if out is None else store(wrap(array), out)


def _like(make: Callable[..., Any], what: str) -> Any:
    def create(
        input: Any, *, dtype: dtype | None = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
        memory_format: Any = None,
    ) -> Any:  # fmt: skip
        check_available(device)
        if not isinstance(input, Variable):
            raise TypeError(
                f"{create.__name__}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}"
            )
        data = input._data
        order = "C" if 0 in data.strides else "K"
        return finished(make(data, dtype=None if dtype is None else dtype.np, order=order), requires_grad)

    create.__doc__ = f"{what} of the shape and dtype of `input`."
    return create


zeros_like = _like(np.zeros_like, "Zeros")
ones_like = _like(np.ones_like, "Ones")
empty_like = _like(np.empty_like, "Uninitialised elements")
for _function, _name in ((zeros_like, "zeros_like"), (ones_like, "ones_like"), (empty_like, "empty_like")):
    _function.__name__ = _function.__qualname__ = _name


def full_like(
    input: Any, fill_value: Any, *, dtype: dtype | None = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False, memory_format: Any = None,
) -> Any:  # fmt: skip
    """One number in the shape and dtype of `input`."""
    check_available(device)
    return finished(np.full_like(input._data, fill_value, dtype=None if dtype is None else dtype.np), requires_grad)


def empty_strided(
    size: Any, stride: Any, *, dtype: dtype | None = None, device: Any = None, requires_grad: bool = False
) -> Any:
    """Uninitialised elements with given sizes and strides."""
    check_available(device)
    wanted = (dtype or get_default_dtype()).np
    sizes, strides = ints((size,)), ints((stride,))
    count = 1 + sum((n - 1) * s for n, s in zip(sizes, strides, strict=True)) if 0 not in sizes else 0
    memory = np.empty(count, wanted)
    return finished(
        np.lib.stride_tricks.as_strided(memory, sizes, tuple(s * wanted.itemsize for s in strides)), requires_grad
    )


def eye(
    n: int, m: int | None = None, *, out: Any = None, dtype: dtype | None = None, layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:  # fmt: skip
    """The n x m matrix with ones on its diagonal."""
    check_available(device)
    for name, k in (("n", n), ("m", m)):
        if k is not None and k < 0:
            raise RuntimeError(f"{name} must be greater or equal to 0, got {k}")
    array = np.eye(n, m, dtype=(dtype or get_default_dtype()).np)
    return finished(array, requires_grad) if out is None else store(wrap(array.astype(out._data.dtype)), out)


# Sequences


def _number(x: Any) -> Any:
    return x._data.item() if isinstance(x, Variable) else x


def arange(
    start: Any = None, end: Any = None, step: Any = 1, *, out: Any = None, dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None, requires_grad: bool = False,
) -> Any:  # fmt: skip
    """start, start + step, ... up to but without `end`; `arange(end)` starts at 0.

    Examples
    --------
    >>> torch.arange(5)
    tensor([0, 1, 2, 3, 4])
    """
    check_available(device)
    if end is None:
        start, end = None, start
    if end is None:
        raise TypeError('arange() missing 1 required positional arguments: "end"')
    start = 0 if start is None else start
    start, end, step = _number(start), _number(end), _number(step)
    if not all(map(math.isfinite, (start, end))):
        raise RuntimeError(f"unsupported range: {start:g} -> {end:g}")
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (end - start) / step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    if dtype is None:
        floating = any(isinstance(x, float) for x in (start, end, step))
        wanted = get_default_dtype().np if floating else np.dtype(np.int64)
    else:
        wanted = dtype.np
    count = math.ceil((end - start) / step)
    if wanted.kind in "iu" and all(isinstance(x, int) for x in (start, end, step)):
        array = np.arange(start, end, step).astype(wanted)
    else:
        array = (start + np.arange(count) * step).astype(wanted)
    return finished(array, requires_grad)


def range_(start: Any, end: Any = None, step: Any = 1, *, dtype: dtype | None = None) -> Any:
    """As `arange`, with `end` included (deprecated in PyTorch)."""
    if end is None:
        start, end = 0, start
    count = math.floor((end - start) / step) + 1
    return finished((start + np.arange(count) * step).astype((dtype or get_default_dtype()).np))


def linspace(
    start: Any, end: Any, steps: int, *, out: Any = None, dtype: dtype | None = None, layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:  # fmt: skip
    """`steps` evenly spaced numbers from start to end, both included."""
    check_available(device)
    start, end = _number(start), _number(end)
    fitting = (
        get_default_dtype().to_complex()
        if isinstance(start, complex) or isinstance(end, complex)
        else get_default_dtype()
    )
    wanted = (dtype or fitting).np
    return finished(_linspace(start, end, steps, wanted), requires_grad)


def _linspace(start: Any, end: Any, steps: int, wanted: Any) -> Any:
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    if steps == 0:
        return np.empty(0, wanted)
    if steps == 1:
        return np.full(1, start, wanted)
    wide = wanted if wanted in (np.float32, np.float64) or wanted.kind == "c" else np.dtype(np.float32)
    if wanted.kind in "iu":
        wide = np.dtype(np.float64)
    # From either end towards the middle, as PyTorch does: symmetric, and exact at both ends.
    step = wide.type((wide.type(end) - wide.type(start)) / wide.type(steps - 1))
    index = np.arange(steps)
    low = wide.type(start) + step * index.astype(wide)
    high = wide.type(end) - step * (steps - 1 - index).astype(wide)
    return np.where(index < steps // 2, low, high).astype(wanted)


def logspace(
    start: Any, end: Any, steps: int, base: float = 10.0, *, out: Any = None, dtype: dtype | None = None,
    layout: Any = None,
    device: Any = None, requires_grad: bool = False,
) -> Any:  # fmt: skip
    """base raised to evenly spaced powers from start to end."""
    check_available(device)
    wanted = (dtype or get_default_dtype()).np
    powers = _linspace(_number(start), _number(end), steps, np.dtype(np.float64))
    return finished(np.power(base, powers).astype(wanted), requires_grad)


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: dtype | None = None, device: Any = None) -> Any:
    """Positions of the lower triangle: one row of row numbers, one of column numbers."""
    check_available(device)
    return wrap(np.stack(np.tril_indices(row, offset, col)).astype(np.int64 if dtype is None else dtype.np))


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: dtype | None = None, device: Any = None) -> Any:
    """Positions of the upper triangle: one row of row numbers, one of column numbers."""
    check_available(device)
    return wrap(np.stack(np.triu_indices(row, offset, col)).astype(np.int64 if dtype is None else dtype.np))


def combinations(input: Any, r: int = 2, with_replacement: bool = False) -> Any:
    """All combinations of r elements of a vector, one row each."""
    n = input._data.shape[0]
    grid = np.indices((n,) * r).reshape(r, -1).T
    ordered = (np.diff(grid, axis=1) >= (0 if with_replacement else 1)).all(1)
    return input[wrap(np.ascontiguousarray(grid[ordered]))]


def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """Powers of a vector's elements in columns."""
    n = x._data.shape[0] if N is None else N
    powers = np.arange(n) if increasing else np.arange(n)[::-1]
    return x.unsqueeze(-1) ** wrap(np.ascontiguousarray(powers).astype(x._data.dtype))


def hann_window(window_length: int, periodic: bool = True, *, dtype: dtype | None = None, device: Any = None) -> Any:
    """0.5 - 0.5 cos(2 pi n / N)."""
    return _cosine_window((0.5, 0.5), window_length, periodic, dtype)


def hamming_window(
    window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, *, dtype: dtype | None = None
) -> Any:
    """alpha - beta cos(2 pi n / N)."""
    return _cosine_window((alpha, beta), window_length, periodic, dtype)


def blackman_window(window_length: int, periodic: bool = True, *, dtype: dtype | None = None) -> Any:
    """0.42 - 0.5 cos(2 pi n / N) + 0.08 cos(4 pi n / N)."""
    return _cosine_window((0.42, 0.5, 0.08), window_length, periodic, dtype)


def _cosine_window(terms: Sequence[float], length: int, periodic: bool, wanted: dtype | None) -> Any:
    if length == 1:
        return wrap(np.ones(1, (wanted or get_default_dtype()).np))
    angle = 2 * math.pi * np.arange(length) / (length if periodic else length - 1)
    values = sum((-1) ** k * a * np.cos(k * angle) for k, a in enumerate(terms))
    return wrap(np.asarray(values).astype((wanted or get_default_dtype()).np))


def bartlett_window(window_length: int, periodic: bool = True, *, dtype: dtype | None = None) -> Any:
    """The triangular window."""
    if window_length == 1:
        return wrap(np.ones(1, (dtype or get_default_dtype()).np))
    n = window_length if periodic else window_length - 1
    values = 1 - np.abs(2 * np.arange(window_length) / max(n, 1) - 1)
    return wrap(values.astype((dtype or get_default_dtype()).np))


def kaiser_window(
    window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype: dtype | None = None, device: Any = None
) -> Any:
    """The Kaiser window: I0(beta * sqrt(1 - x * x)) / I0(beta)."""
    check_available(device)
    values = np.kaiser(window_length + (periodic and window_length > 1), beta)[:window_length]
    return wrap(values.astype((dtype or get_default_dtype()).np))


# Legacy constructors


class _LegacyType(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        wanted = cls.__dict__.get("legacy_dtype")
        return isinstance(instance, Tensor) and instance.dtype is wanted


def _legacy(name: str, wanted: dtype) -> Any:
    def make(cls: Any, *args: Any, device: Any = None) -> Any:
        t = Tensor.__new__(cls, *args, device=device)
        return wrap(t._data)

    return _LegacyType(
        name,
        (Tensor,),
        {"__new__": make, "legacy_dtype": wanted, "dtype": wanted, "__doc__": f"Makes {wanted.name} tensors."},
    )


LEGACY = {name.rpartition(".")[2]: _legacy(name.rpartition(".")[2], d) for name, d in TYPE_NAMES.items()}


def set_default_tensor_type(kind: Any) -> None:
    """Set the default dtype from a tensor type or its name."""
    set_default_dtype(as_dtype(kind))
