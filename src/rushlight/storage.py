"""Storages: the memory behind tensors, as bytes and as elements."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rushlight.device import CPU, device
from rushlight.dtypes import dtype, from_np
from rushlight.layout import contiguous_strides
from rushlight.ops.linear import storage_array


def address(array: Any) -> int:
    """Address of an array's first element."""
    return int(array.__array_interface__["data"][0])


def element_strides(array: Any) -> tuple[int, ...]:
    """Strides in elements, as PyTorch counts them also where they do not matter (dims of size 1, no elements)."""
    if not array.size or array.base is None and array.flags.c_contiguous:
        return contiguous_strides(array.shape)
    item = array.itemsize
    if 0 not in array.strides:
        return tuple(s // item for s in array.strides)
    strides: list[int] = []
    for n, s in zip(reversed(array.shape), reversed(array.strides), strict=True):
        if s == 0 and n == 1:
            following = len(strides)
            strides.append(strides[-1] * array.shape[array.ndim - following] if following else 1)
        else:
            strides.append(s // item)
    return tuple(reversed(strides))


class UntypedStorage:
    """The bytes behind a tensor and all its views."""

    def __init__(self, array: Any) -> None:
        self._root = storage_array(array)

    @property
    def _bytes(self) -> Any:
        root = self._root
        flat = np.lib.stride_tricks.as_strided(root, (root.size,), (root.itemsize,))
        return flat.view(np.uint8)

    def data_ptr(self) -> int:
        """Address of the first byte."""
        return address(self._root)

    def nbytes(self) -> int:
        """Number of bytes."""
        return int(self._root.nbytes)

    size = nbytes

    @property
    def device(self) -> device:
        """Where the memory is."""
        return CPU

    def element_size(self) -> int:
        """1."""
        return 1

    def tolist(self) -> list[int]:
        """The bytes as ints."""
        return self._bytes.tolist()  # type: ignore[no-any-return]

    def __len__(self) -> int:
        return self.nbytes()

    def __getitem__(self, index: Any) -> Any:
        return self._bytes[index]

    def __iter__(self) -> Iterator[int]:
        return iter(self.tolist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntypedStorage) and self.data_ptr() == other.data_ptr()

    def __hash__(self) -> int:
        return self.data_ptr()

    def __repr__(self) -> str:
        lines = "\n".join(f" {b}" for b in self._bytes)
        return f"{lines}\n[torch.storage.UntypedStorage(device=cpu) of size {self.nbytes()}]"


class TypedStorage:
    """The memory behind a tensor, read as elements of its dtype."""

    def __init__(self, array: Any) -> None:
        self._untyped = UntypedStorage(array)
        self.dtype: dtype = from_np(array.dtype)

    @property
    def _elements(self) -> Any:
        return self._untyped._bytes.view(self.dtype.np)

    def untyped(self) -> UntypedStorage:
        """The same memory as bytes."""
        return self._untyped

    def data_ptr(self) -> int:
        """Address of the first element."""
        return self._untyped.data_ptr()

    def size(self) -> int:
        """Number of elements."""
        return self._untyped.nbytes() // int(self.dtype.itemsize)

    def nbytes(self) -> int:
        """Number of bytes."""
        return self._untyped.nbytes()

    def element_size(self) -> int:
        """Bytes per element."""
        return int(self.dtype.itemsize)

    @property
    def device(self) -> device:
        """Where the memory is."""
        return CPU

    def tolist(self) -> list[Any]:
        """The elements as Python numbers."""
        return self._elements.tolist()  # type: ignore[no-any-return]

    def __len__(self) -> int:
        return self.size()

    def __getitem__(self, index: Any) -> Any:
        got = self._elements[index]
        return got.item() if isinstance(got, np.generic) else got.tolist()

    def __setitem__(self, index: Any, value: Any) -> None:
        self._elements[index] = value

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tolist())

    def __repr__(self) -> str:
        lines = "\n".join(f" {x}" for x in self.tolist())
        return f"{lines}\n[torch.storage.TypedStorage(dtype={self.dtype!r}, device=cpu) of size {self.size()}]"
