"""Constructors that a weights-only load may call: each checks its arguments and charges for what it copies."""

from __future__ import annotations

import inspect
import math
import re
import sys
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any

import ml_dtypes
import numpy as np

from rushlight.device import device
from rushlight.serialization.storage import MAX_BYTES, MAX_DIMS, short
from rushlight.serialization.unpickle import Charge, check_key
from rushlight.size import Size

Maker = Callable[[tuple[Any, ...], Charge], object]

ENCODINGS = ("latin1", "latin-1", "utf-8", "utf8", "ascii")
FACTORIES = (list, dict, set, int, float, str, tuple, bool)
# Without a byte order: NumPy writes that into the state that follows.
NUMPY_CODE = re.compile(r"[biufc?]\d{0,2}\Z")
NATIVE_ORDERS = ("|", "=", "<" if sys.byteorder == "little" else ">")


def expect(condition: bool, what: str, args: tuple[Any, ...]) -> None:
    """Raise unless `condition` holds, naming what cannot be built from `args`."""
    if not condition:
        raise UnpicklingError(f"{what} cannot be built from ({', '.join(map(short, args[:8]))})")


def checked(function: Callable[..., object]) -> Maker:
    """Maker from a function that checks the values of its arguments, though not their number."""
    signature = inspect.signature(function)

    def make(args: tuple[Any, ...], charge: Charge) -> object:
        try:
            signature.bind(*args)
        except TypeError:
            expect(False, function.__name__, args)
        return function(*args)

    return make


def container(kind: Any, accepts: tuple[type, ...]) -> Maker:
    """Maker of a set or frozenset from nothing or from one container."""

    def make(args: tuple[Any, ...], charge: Charge) -> object:
        expect(len(args) == 0 or (len(args) == 1 and type(args[0]) in accepts), kind.__name__, args)
        if not args:
            return kind()
        charge(len(args[0]))
        return kind(check_key(item) for item in args[0])

    return make


def ordered_dict(args: tuple[Any, ...], charge: Charge) -> object:
    """`OrderedDict()`, or from a list of pairs as old pickles have it."""
    expect(len(args) == 0 or (len(args) == 1 and type(args[0]) is list), "OrderedDict", args)
    pairs = args[0] if args else []
    charge(len(pairs))
    expect(all(type(p) in (list, tuple) and len(p) == 2 for p in pairs), "OrderedDict", args)
    return OrderedDict((check_key(key), value) for key, value in pairs)


def counter(args: tuple[Any, ...], charge: Charge) -> object:
    """`Counter(dict)`."""
    expect(len(args) == 0 or (len(args) == 1 and type(args[0]) is dict), "Counter", args)
    charge(len(args[0]) if args else 0)
    return Counter(*args)


def default_dict(args: tuple[Any, ...], charge: Charge) -> object:
    """`defaultdict(list)`: only factories that make empty containers and zeros."""
    expect(len(args) <= 1, "defaultdict", args)
    factory = args[0] if args else None
    if factory is not None and not any(factory is kind for kind in FACTORIES):
        raise UnpicklingError(f"a defaultdict in the file wants {short(factory)} as its factory, which is not allowed")
    return defaultdict(factory)


def encode(args: tuple[Any, ...], charge: Charge) -> bytes:
    """`_codecs.encode(text, "latin1")`: how protocol 2 writes bytes."""
    expect(len(args) == 2 and type(args[0]) is str and args[1] in ENCODINGS, "bytes", args)
    charge(len(args[0]))
    try:
        return bytes(args[0].encode(args[1]))
    except UnicodeEncodeError:
        raise UnpicklingError("bytes in the file are damaged") from None


def empty_bytes(args: tuple[Any, ...], charge: Charge) -> bytes:
    """`bytes()`: how protocol 2 writes empty bytes."""
    expect(args == (), "bytes", args)
    return b""


def byte_array(args: tuple[Any, ...], charge: Charge) -> bytearray:
    """`bytearray(b"...")`; never from a number, which would be a length."""
    if len(args) == 2:
        args = (encode(args, charge),)
    expect(len(args) == 0 or (len(args) == 1 and type(args[0]) is bytes), "bytearray", args)
    charge(sum(map(len, args)))
    return bytearray(*args)


def complex_number(args: tuple[Any, ...], charge: Charge) -> complex:
    """`complex(real, imaginary)`."""
    expect(len(args) == 2 and all(type(a) is float for a in args), "complex", args)
    return complex(*args)


def size(args: tuple[Any, ...], charge: Charge) -> Size:
    """`torch.Size((2, 3))`."""
    good = len(args) == 1 and type(args[0]) in (tuple, list, Size) and len(args[0]) <= MAX_DIMS
    expect(good and all(type(n) is int for n in args[0]), "torch.Size", args)
    charge(len(args[0]))
    return Size(args[0])


def a_device(args: tuple[Any, ...], charge: Charge) -> device:
    """`torch.device("cuda", 1)`."""
    good = len(args) in (1, 2) and type(args[0]) is str and all(type(a) is int and 0 <= a < 1024 for a in args[1:])
    expect(good, "torch.device", args)
    try:
        return device(*args)
    except RuntimeError:
        expect(False, "torch.device", args)
        raise


def numpy_dtype(args: tuple[Any, ...], charge: Charge) -> Any:
    """`numpy.dtype("f8", False, True)`."""
    code = args[0] if args else None
    if code is ml_dtypes.bfloat16:
        return np.dtype(ml_dtypes.bfloat16)
    expect(type(code) is str and NUMPY_CODE.match(code) is not None, "numpy.dtype", args[:1])
    try:
        return np.dtype(code)
    except TypeError:
        raise UnpicklingError(f"there is no numpy.dtype {short(code)}") from None


def check_dtype_state(state: Any) -> None:
    """The state says the byte order; the dtype is already shared, so only this machine's can be accepted."""
    order = state[1] if type(state) is tuple and len(state) >= 2 else None
    if order not in NATIVE_ORDERS:
        raise UnpicklingError(f"a numpy.dtype in the file has the byte order {short(order)}, which is not supported")


def _numpy_kind(value: Any) -> Any:
    if not isinstance(value, np.dtype):
        raise UnpicklingError(f"a numpy object in the file has {short(value)} where its dtype should be")
    return value


def numpy_scalar(args: tuple[Any, ...], charge: Charge) -> Any:
    """`scalar(dtype, bytes)`."""
    expect(len(args) == 2 and type(args[1]) is bytes, "numpy scalar", args)
    kind = _numpy_kind(args[0])
    expect(len(args[1]) == kind.itemsize, "numpy scalar", args)
    return np.frombuffer(args[1], kind)[0]


def numpy_shell(args: tuple[Any, ...], charge: Charge) -> Any:
    """`_reconstruct(ndarray, (0,), b"b")`: an empty array that its state fills."""
    expect(len(args) == 3 and args[0] is np.ndarray, "numpy.ndarray", args)
    return np.empty(0, np.int8)


def _check_shape(shape: Any, kind: Any, data: Any) -> None:
    good = type(shape) is tuple and len(shape) <= MAX_DIMS
    good = good and all(type(n) is int and 0 <= n <= MAX_BYTES for n in shape)
    if not good or math.prod(shape) * kind.itemsize != len(data):
        raise UnpicklingError("a numpy array in the file does not have as many bytes as its shape says")
    if math.prod(max(n, 1) for n in shape) > MAX_BYTES // kind.itemsize:
        raise UnpicklingError("a numpy array in the file has an impossible shape")


def fill_array(instance: Any, state: Any, charge: Charge) -> None:
    """Give the empty array that `numpy_shell` made its shape and bytes."""
    if type(state) is not tuple or len(state) != 5 or type(state[4]) is not bytes or type(state[3]) is not bool:
        raise UnpicklingError(f"a numpy array in the file has the state {short(state)}")
    _, shape, kind, _, data = state
    _check_shape(shape, _numpy_kind(kind), data)
    charge(len(data))
    instance.__setstate__(state)


def numpy_array(args: tuple[Any, ...], charge: Charge) -> Any:
    """`_frombuffer(data, dtype, shape, order)`: arrays in protocol 5."""
    expect(len(args) == 4 and type(args[0]) in (bytes, bytearray) and args[3] in ("C", "F"), "numpy.ndarray", args)
    data, kind, shape, order = args
    _check_shape(shape, _numpy_kind(kind), data)
    charge(len(data))
    return np.frombuffer(bytearray(data), kind).reshape(shape, order=order)


MAKERS: dict[Any, Maker] = {
    set: container(set, (list, tuple, set)),
    frozenset: container(frozenset, (list, tuple, set, frozenset)),
    OrderedDict: ordered_dict,
    Counter: counter,
    defaultdict: default_dict,
    bytes: empty_bytes,
    bytearray: byte_array,
    complex: complex_number,
    Size: size,
    device: a_device,
    np.dtype: numpy_dtype,
}
