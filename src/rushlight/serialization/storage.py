"""Storages: the memory that tensors view, as files see it."""

from __future__ import annotations

import math
import sys
from pickle import UnpicklingError
from typing import Any

import ml_dtypes
import numpy as np

from rushlight.dtypes import from_np
from rushlight.ops.linear import storage_array as owner_of
from rushlight.storage import TypedStorage, UntypedStorage, address

MAX_DIMS = 64
MAX_BYTES = 1 << 62

# Names of PyTorch's storage classes; a dtype without one is kept as UntypedStorage with the dtype beside it.
STORAGE_NAMES: dict[str, Any] = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
    "ComplexDoubleStorage": np.complex128,
    "ComplexFloatStorage": np.complex64,
}
UNTYPED = "UntypedStorage"
QUANTIZED = ("QInt8Storage", "QUInt8Storage", "QInt32Storage", "QUInt4x2Storage", "QUInt2x4Storage")
_NAME_OF = {np.dtype(kind): name for name, kind in STORAGE_NAMES.items()}


class StorageType:
    """A storage class named in a pickle, such as `torch.FloatStorage`."""

    __slots__ = ("dtype", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.dtype: np.dtype[Any] = np.dtype(STORAGE_NAMES.get(name, np.uint8))

    def __repr__(self) -> str:
        return f"<storage type {self.name}>"

    def __reduce__(self) -> str:
        return f"KIND_{self.name}"


STORAGE_TYPES = {name: StorageType(name) for name in (*STORAGE_NAMES, UNTYPED)}
# Pickles find an object by a name in its module.
globals().update({kind.__reduce__(): kind for kind in STORAGE_TYPES.values()})


class Storage(TypedStorage):
    """A run of bytes, and the storage class under which it was or will be saved.

    Attributes
    ----------
    raw : ndarray of uint8, one dimension
    kind : StorageType
    pending : bool
        The contents are not read yet.
    """

    def __init__(self, raw: Any, kind: StorageType) -> None:
        super().__init__(raw)
        self.raw = raw
        self.kind = kind
        self.pending = False
        self.dtype = from_np(kind.dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        # Ordinary pickling: the bytes go through NumPy, whose memo keeps shared storages shared.
        return (restore_storage, (owner_of(self.raw), self.kind.name))

    @property
    def count(self) -> int:
        """Number of elements."""
        return int(self.raw.nbytes) // self.kind.dtype.itemsize

    @property
    def key(self) -> tuple[int, int]:
        """Equal for two storages that are the same memory."""
        return (address(self.raw), self.raw.nbytes) if self.raw.nbytes else (id(self), 0)


def restore_storage(owner: Any, kind: str) -> Storage:
    """The storage whose memory is the array `owner`."""
    raw = raw_bytes(owner)
    return Storage(raw_bytes(owner.copy()) if raw is None else raw, STORAGE_TYPES[kind])


def as_storage(given: UntypedStorage | TypedStorage) -> Storage:
    """A tensor's storage in the form in which files know it."""
    if isinstance(given, Storage):
        return given
    untyped = given if isinstance(given, UntypedStorage) else given.untyped()
    kind = storage_type(given.dtype.np) if isinstance(given, TypedStorage) else STORAGE_TYPES[UNTYPED]
    return restore_storage(untyped._root, kind.name)


def storage_type(dtype: np.dtype[Any]) -> StorageType:
    """PyTorch's storage class for elements of `dtype`."""
    return STORAGE_TYPES[_NAME_OF.get(dtype, UNTYPED)]


def raw_bytes(owner: Any) -> Any | None:
    """The memory of `owner` as one flat array of bytes, or None if it is not one gap-free run."""
    dense = owner
    if not owner.flags.c_contiguous:
        dense = owner.transpose(sorted(range(owner.ndim), key=lambda d: -abs(owner.strides[d])))
        if not dense.flags.c_contiguous:
            return None
    return dense.reshape(-1).view(np.uint8)


def storage_of(array: Any) -> tuple[Storage, int, tuple[int, ...], tuple[int, ...]]:
    """Storage, offset, size and stride (in elements) that describe `array`.

    An array that no storage can describe (negative strides, misaligned) is copied into a storage of its own.
    """
    owner = owner_of(array)
    raw = raw_bytes(owner)
    step = array.itemsize
    if raw is not None and all(s >= 0 and s % step == 0 for s in array.strides):
        offset = address(array) - address(raw) if array.size else 0
        if offset % step == 0 and 0 <= offset and offset + span(array.shape, array.strides, step) <= raw.nbytes:
            stride = tuple(s // step for s in array.strides)
            if not array.size and not any(stride):
                stride = contiguous_stride(array.shape)  # NumPy gives new empty arrays strides of 0
            return Storage(raw, storage_type(array.dtype)), offset // step, array.shape, stride
    return storage_of(np.array(array, order="C", copy=True))


def contiguous_stride(size: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a contiguous tensor as PyTorch states them, empty tensors included."""
    return tuple(math.prod(max(n, 1) for n in size[d + 1 :]) for d in range(len(size)))


def span(size: tuple[int, ...], stride: tuple[int, ...], itemsize: int) -> int:
    """Length from the first element to the end of the last; `stride` and the result in the unit of `itemsize`."""
    if 0 in size:
        return 0
    return sum((n - 1) * s for n, s in zip(size, stride, strict=True)) + itemsize


def strided(storage: Storage, offset: Any, size: Any, stride: Any, dtype: np.dtype[Any] | None = None) -> Any:
    """The array that views `storage` as described, after checking that it stays inside."""
    kind = storage.kind.dtype if dtype is None else dtype
    size, stride = _whole_numbers("size", size), _whole_numbers("stride", stride)
    (offset,) = _whole_numbers("storage_offset", (offset,))
    if len(size) != len(stride) or len(size) > MAX_DIMS:
        raise UnpicklingError(f"a tensor in the file has size {list(size)} but stride {list(stride)}")
    step = kind.itemsize
    if math.prod(max(n, 1) for n in size) > MAX_BYTES // step or max(stride, default=0) > MAX_BYTES // step:
        raise UnpicklingError(f"a tensor in the file has the impossible size {list(size)}, stride {list(stride)}")
    needed = (offset + span(size, stride, 1)) * step if 0 not in size else 0
    if needed > storage.raw.nbytes:
        raise UnpicklingError(
            f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset}, and itemsize {step} "
            f"requiring a storage size of {needed} are out of bounds for storage of size {storage.raw.nbytes}"
        )
    if needed == 0 or (address(storage.raw) + offset * step) % kind.alignment == 0:
        strides = tuple(s * step for s in stride)
        return np.ndarray(size, kind, buffer=storage.raw, offset=offset * step if needed else 0, strides=strides)
    aligned = Storage(storage.raw.copy(), storage.kind)
    return strided(aligned, offset, size, stride, kind)


def swap_bytes(raw: Any, dtype: np.dtype[Any]) -> None:
    """Turn elements of `dtype` from the other byte order into this machine's, in place."""
    width = dtype.itemsize // 2 if dtype.kind == "c" else dtype.itemsize
    if width > 1:
        raw[:] = raw.reshape(-1, width)[:, ::-1].reshape(-1)


def other_byte_order(order: str) -> bool:
    """Whether data written in `order` ("little" or "big") must be swapped here."""
    return order != sys.byteorder


def _whole_numbers(what: str, values: Any) -> tuple[int, ...]:
    if not isinstance(values, (tuple, list)) or not all(type(n) is int and 0 <= n <= MAX_BYTES for n in values):
        raise UnpicklingError(f"a tensor in the file has an impossible {what}: {short(values)}")
    return tuple(values)


def short(value: object) -> str:
    """A print of `value` that cannot be long, whatever the file put there."""
    if isinstance(value, (str, bytes)):
        return repr(value[:60])
    name = getattr(value, "__qualname__", None) if callable(value) else None
    if isinstance(name, str):
        return f"{value.__module__}.{name}"
    return repr(value) if type(value) in (bool, float, type(None)) else f"a {type(value).__name__}"


def storage_fields(pid: Any, length: int) -> tuple[Any, ...]:
    """Type, key, location, count (and view) of a persistent id, checked."""
    if type(pid) is not tuple or not pid:
        raise UnpicklingError(f"persistent_load id must be tuple or int, but got {type(pid)}")
    if as_text(pid[0]) != "storage":
        raise UnpicklingError(f"Only persistent_load of storage is allowed, but got {short(pid[0])}")
    fields: tuple[Any, ...] = pid[1:] if len(pid) == length else (None,) * (length - 1)
    kind, key, location, count, *view = fields
    key, location = as_text(key), as_text(location)
    good = isinstance(kind, StorageType) and type(key) is str and type(location) is str and type(count) is int
    if not good or count < 0:
        raise UnpicklingError("a storage in the file is not described as PyTorch does")
    return kind, key, location, count, *view


def as_text(value: Any) -> Any:
    """Names that Python 2 wrote arrive as bytes under `encoding="bytes"`."""
    return value.decode("ascii", "replace") if type(value) is bytes else value
