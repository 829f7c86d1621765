"""The safetensors format: a JSON header and the bytes of the tensors, nothing that could run.

Layout: 8 bytes with the length of the header, the header, the data. Files are mapped, not read, and every offset is
checked against the data before a tensor is made.
"""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import ml_dtypes
import numpy as np

from rushlight.dtypes import BY_NUMPY
from rushlight.errors import explain
from rushlight.serialization.atomic import atomic_file
from rushlight.serialization.locations import check_device
from rushlight.serialization.storage import MAX_DIMS
from rushlight.storage import address
from rushlight.tape import wrap
from rushlight.tensor import Tensor

MAX_HEADER = 100_000_000
METADATA = "__metadata__"

# In the format's own order, by which its writer sorts tensors.
DTYPES: dict[str, Any] = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "I16": np.int16,
    "U16": np.uint16,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I32": np.int32,
    "U32": np.uint32,
    "F32": np.float32,
    "C64": np.complex64,
    "F64": np.float64,
    "I64": np.int64,
    "U64": np.uint64,
}
_CODE = {np.dtype(kind): code for code, kind in DTYPES.items()}
_RANK = {code: rank for rank, code in enumerate(DTYPES)}


class SafetensorError(RuntimeError):
    """A safetensors file that is damaged, or does not hold what was asked for."""


@dataclass(frozen=True)
class Entry:
    """One tensor of a file: where its bytes lie, counted from the start of the data."""

    code: str
    shape: tuple[int, ...]
    begin: int
    end: int


def save(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """The bytes of a safetensors file.

    Parameters
    ----------
    tensors : dict of str to Tensor
        Contiguous, and none sharing memory with another.
    metadata : dict of str to str, optional
        Notes kept in the header.

    Examples
    --------
    >>> from rushlight.serialization import safetensors
    >>> data = safetensors.save({"x": torch.arange(3)})
    >>> safetensors.load(data)
    {'x': tensor([0, 1, 2])}
    """
    header, arrays = _prepare(tensors, metadata)
    return b"".join([header, *(array.tobytes() for array in arrays)])


def save_file(
    tensors: dict[str, Tensor], filename: str | os.PathLike[str], metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file, whole or not at all; arguments as for `save`."""
    header, arrays = _prepare(tensors, metadata)
    with atomic_file(filename) as file:
        file.write(header)
        for array in arrays:
            file.write(memoryview(array.reshape(-1).view(np.uint8)))


def load(data: bytes) -> dict[str, Tensor]:
    """The tensors in the bytes of a safetensors file."""
    entries, _, start = parse(data)
    return {name: _tensor(name, _array(bytearray, data, start, entry)) for name, entry in entries.items()}


def load_file(filename: str | os.PathLike[str], device: Any = "cpu") -> dict[str, Tensor]:
    """The tensors in a safetensors file.

    The file is mapped: bytes are read when they are used. Writing to the tensors does not change the file.

    Parameters
    ----------
    filename : str or path
    device : str or device
    """
    with safe_open(filename, framework="pt", device=device) as file:
        return {name: file.get_tensor(name) for name in file.offset_keys()}


class safe_open:
    """An open safetensors file whose tensors are read one by one.

    Parameters
    ----------
    filename : str or path
    framework : {"pt", "np"}
        Whether `get_tensor` returns tensors or NumPy arrays.
    device : str or device

    Examples
    --------
    >>> from rushlight.serialization.safetensors import safe_open, save_file
    >>> save_file({"x": torch.arange(6).reshape(2, 3)}, "x.safetensors", {"made": "by hand"})
    >>> with safe_open("x.safetensors", framework="pt") as f:
    ...     f.keys(), f.metadata(), f.get_slice("x")[:, 1]
    (['x'], {'made': 'by hand'}, tensor([1, 4]))
    """

    def __init__(self, filename: str | os.PathLike[str], framework: str = "pt", device: Any = "cpu") -> None:
        if framework not in ("pt", "torch", "pytorch", "np", "numpy"):
            raise SafetensorError(f"framework {framework} is invalid")
        if not os.path.exists(filename):
            raise FileNotFoundError(f"No such file or directory: {os.fspath(filename)}")
        check_device(device)
        self._as_tensor = framework not in ("np", "numpy")
        with open(filename, "rb") as file:
            if os.fstat(file.fileno()).st_size < 8:
                raise _damaged("header too small")
            self._map: mmap.mmap | None = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self._entries, self._metadata, self._start = parse(self._map)

    def __enter__(self) -> safe_open:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Tensors made so far keep the mapping alive; it goes with the last of them.
        self._map = None

    def keys(self) -> list[str]:
        """Names of the tensors, sorted."""
        self._data()
        return sorted(self._entries)

    def offset_keys(self) -> list[str]:
        """Names of the tensors in the order of their bytes."""
        self._data()
        return list(self._entries)

    def metadata(self) -> dict[str, str] | None:
        """The notes in the header, or None."""
        self._data()
        return self._metadata

    def get_tensor(self, name: str) -> Any:
        """The tensor `name`."""
        array = _array(_in_place, self._data(), self._start, self._entry(name))
        return _tensor(name, array) if self._as_tensor else array

    def get_slice(self, name: str) -> SafeSlice:
        """A handle on `name` that reads only what it is indexed for."""
        entry = self._entry(name)
        array = _array(_in_place, self._data(), self._start, entry)
        return SafeSlice(name, entry.code, array, self._as_tensor)

    def _entry(self, name: str) -> Entry:
        self._data()
        if name not in self._entries:
            raise SafetensorError(f"File does not contain tensor {name}")
        return self._entries[name]

    def _data(self) -> mmap.mmap:
        if self._map is None:
            raise SafetensorError("File is closed")
        return self._map


class SafeSlice:
    """A tensor in an open file, read where it is indexed."""

    def __init__(self, name: str, code: str, array: Any, as_tensor: bool) -> None:
        self._name = name
        self._code = code
        self._array = array
        self._as_tensor = as_tensor

    def get_shape(self) -> list[int]:
        """Sizes of the whole tensor."""
        return list(self._array.shape)

    def get_dtype(self) -> str:
        """The format's name of the element type, such as "F32"."""
        return self._code

    def __getitem__(self, index: Any) -> Any:
        part = np.array(self._array[index], order="C")
        return _tensor(self._name, part) if self._as_tensor else part


def parse(data: Any) -> tuple[dict[str, Entry], dict[str, str] | None, int]:
    """Entries in the order of their bytes, the metadata, and where the data begins; everything checked.

    Parameters
    ----------
    data : bytes or mmap
        A whole file.
    """
    if len(data) < 8:
        raise _damaged("header too small")
    length = int.from_bytes(data[:8], "little")
    if length > MAX_HEADER:
        raise _damaged("header too large")
    if length > len(data) - 8:
        raise _damaged("invalid header length")
    header = _parse_json(data[8 : 8 + length])
    metadata = header.pop(METADATA, None)
    if metadata is not None and not (isinstance(metadata, dict) and all(map(_is_text, metadata.values()))):
        raise _damaged(f"invalid JSON in header: {METADATA} must map strings to strings")
    found = sorted(((name, _entry(name, info)) for name, info in header.items()), key=lambda p: (p[1].begin, p[1].end))
    position = 0
    for name, entry in found:
        if entry.begin != position:
            raise _damaged(f"invalid offset for tensor `{name[:60]}`")
        position = entry.end
    if position != len(data) - 8 - length:
        raise _damaged("incomplete metadata, file not fully covered")
    return dict(found), metadata, 8 + length


def _damaged(what: str) -> SafetensorError:
    return explain(SafetensorError(f"Error while deserializing: {what}"), fix="the file is damaged: get it again")


def _parse_json(text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) != len(pairs):
            raise _damaged("duplicate key in header")
        return table

    def no_constant(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=unique, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise _damaged(f"invalid JSON in header: {str(error)[:80]}") from None
    if not isinstance(header, dict):
        raise _damaged("invalid JSON in header: expected an object")
    return header


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _entry(name: str, info: Any) -> Entry:
    fields: dict[str, Any] = info if isinstance(info, dict) else {}
    code, shape, offsets = (fields.get(key, ()) for key in ("dtype", "shape", "data_offsets"))
    if not (_are_counts(shape) and _are_counts(offsets) and len(offsets) == 2 and len(shape) <= MAX_DIMS):
        raise _damaged(f"invalid JSON in header: the entry of `{name[:60]}`")
    if not isinstance(code, str) or code not in DTYPES:
        raise _damaged(
            f"invalid JSON in header: unknown variant `{str(code)[:20]}`, expected one of {', '.join(DTYPES)}"
        )
    begin, end = offsets
    if end < begin or math.prod(shape) * np.dtype(DTYPES[code]).itemsize != end - begin:
        raise _damaged("invalid shape, data type, or offset for tensor")
    return Entry(code, tuple(shape), begin, end)


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(n) is int and 0 <= n < 1 << 63 for n in values)


def _in_place(data: memoryview[int]) -> memoryview[int]:
    """A mapping is private to this process already: nothing needs copying."""
    return data


def _array(own: Callable[[Any], Any], data: Any, start: int, entry: Entry) -> Any:
    """The array that `entry` describes, over memory that may be written."""
    kind = np.dtype(DTYPES[entry.code])
    count = math.prod(entry.shape)
    if not count:
        return np.zeros(entry.shape, kind)
    part = own(memoryview(data)[start + entry.begin : start + entry.end])
    array = np.frombuffer(part, kind, count).reshape(entry.shape)
    return array if array.flags.aligned else array.copy()


def _tensor(name: str, array: Any) -> Tensor:
    if array.dtype not in BY_NUMPY:
        raise NotImplementedError(f"tensor {name} is of type {array.dtype}, which Rushlight does not have")
    made: Tensor = wrap(array)
    return made


def _prepare(tensors: Any, metadata: Any) -> tuple[bytes, list[Any]]:
    """The bytes before the data, and the arrays in the order in which they follow."""
    _check_tensors(tensors)
    if metadata is not None and not all(_is_text(k) and _is_text(v) for k, v in metadata.items()):
        raise TypeError("metadata must map strings to strings")
    arrays = {name: tensor._data for name, tensor in tensors.items()}
    names = sorted(arrays, key=lambda name: (-_RANK[_CODE[arrays[name].dtype]], name.encode()))
    header: dict[str, Any] = {} if metadata is None else {METADATA: metadata}
    position = 0
    for name in names:
        array = arrays[name]
        offsets = [position, position + array.nbytes]
        header[name] = {"dtype": _CODE[array.dtype], "shape": list(array.shape), "data_offsets": offsets}
        position = offsets[1]
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, [arrays[name] for name in names]


def _check_tensors(tensors: Any) -> None:
    if not isinstance(tensors, dict):
        raise ValueError(f"Expected a dict of [str, torch.Tensor] but received {type(tensors)}")
    for name, tensor in tensors.items():
        if not isinstance(name, str) or name == METADATA:
            raise TypeError(f"the name of a tensor must be a string other than {METADATA!r}, not {name!r}")
        if not isinstance(tensor, Tensor):
            raise ValueError(f"Key `{name}` is invalid, expected torch.Tensor but received {type(tensor)}")
        if tensor._data.dtype not in _CODE:
            raise explain(
                NotImplementedError(f"safetensors has no type for {name}, which is {tensor.dtype}"),
                expected=", ".join(DTYPES),
            )
        if not tensor._data.flags.c_contiguous:
            raise ValueError(
                f"You are trying to save a non contiguous tensor: `{name}` which is not allowed. It either means you "
                "are trying to save tensors which are reference of each other in which case it's recommended to save "
                "only the full tensors, and reslice at load time, or simply call `.contiguous()` on your tensor to "
                "pack it before saving."
            )
    shared = _sharing({name: tensor._data for name, tensor in tensors.items()})
    if shared:
        raise explain(
            RuntimeError(
                "Some tensors share memory, this will lead to duplicate memory on disk and potential differences when "
                f"loading them again: {shared}."
            ),
            fix="save one of them, or a .clone() of each",
        )


def _sharing(arrays: dict[str, Any]) -> list[set[str]]:
    """Groups of names whose arrays overlap."""
    spans = sorted((address(a), address(a) + a.nbytes, name) for name, a in arrays.items() if a.nbytes)
    groups: list[set[str]] = []
    reach, last = 0, ""
    for begin, end, name in spans:
        if begin < reach:
            if groups and last in groups[-1]:
                groups[-1].add(name)
            else:
                groups.append({last, name})
        if end > reach:
            reach, last = end, name
    return groups
