"""PyTorch's formats before 2020: a run of pickles followed by the storages, and before that a tar archive."""

from __future__ import annotations

import pickle
import struct
import sys
from collections.abc import Callable
from pickle import UnpicklingError
from typing import IO, Any

import numpy as np

from rushlight.serialization.allowlist import WeightsOnly
from rushlight.serialization.locations import Mapper
from rushlight.serialization.rebuild import rebuild_tensor
from rushlight.serialization.storage import STORAGE_TYPES, Storage, StorageType, as_text, short, storage_fields
from rushlight.serialization.streams import Stream

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
TAR_BLOCK = 512
TAR_MAGIC = slice(257, 262)

# Makes a stream of the pickles in some bytes.
Open = Callable[[bytes], Stream]


class LegacyNames(WeightsOnly):
    """The weights-only policy, and names that only old files hold."""

    def find(self, module: str, name: str) -> object:
        """As `WeightsOnly.find`; a tensor class such as `torch.FloatTensor` is just a name."""
        if module in ("torch", "torch.cuda") and name.replace("Tensor", "Storage") in STORAGE_TYPES:
            return STORAGE_TYPES.get(name, name)
        return super().find(module, name)


def load(data: bytes, restore: Mapper, open_stream: Open) -> Any:
    """The object in a file that is not a zip archive."""
    if data[TAR_MAGIC] == b"ustar":
        return _load_tar(data, restore, open_stream)
    stream = open_stream(data)
    if stream.read() != MAGIC:
        raise RuntimeError("Invalid magic number; corrupt file?")
    version = stream.read()
    if version != PROTOCOL:
        raise RuntimeError(f"Invalid protocol version: {short(version)}")
    stream.read()  # sizes of C types on the machine that saved; nothing depends on them
    storages = LegacyStorages(restore, len(data))
    result = stream.read(storages.persistent_load)
    storages.fill(data, stream)
    return result


class LegacyStorages:
    """Storages of the format whose contents follow the pickle: made empty, filled at the end.

    Parameters
    ----------
    restore : callable
        Moves a storage to its device.
    limit : int
        Length of the file, which all storages together cannot exceed.
    """

    def __init__(self, restore: Mapper, limit: int) -> None:
        self._restore = restore
        self._left = limit
        self._made: dict[str, Storage] = {}
        self._views: dict[str, Storage] = {}

    def persistent_load(self, pid: Any) -> Any:
        """The storage that `pid` describes, or the class in a record of a module's source code."""
        if type(pid) is tuple and len(pid) == 4 and as_text(pid[0]) == "module":
            return pid[1]
        kind, key, location, count, view = storage_fields(pid, 6)
        if key not in self._made:
            size = count * kind.dtype.itemsize
            self._left -= size
            if self._left < 0:
                raise UnpicklingError("the storages in the file claim more bytes than the file has")
            made = Storage(np.zeros(size, np.uint8), kind)
            made.pending = True
            self._made[key] = self._restore(made, location)
        return self._made[key] if view is None else self._view(self._made[key], view)

    def _view(self, root: Storage, view: Any) -> Storage:
        """Part of a storage, as very old files have it."""
        good = type(view) is tuple and len(view) == 3 and all(type(n) is int and n >= 0 for n in view[1:])
        key = as_text(view[0]) if good else None
        if type(key) is not str:
            raise UnpicklingError("a view of a storage in the file is not described as PyTorch does")
        if key not in self._views:
            self._views[key] = part_of(root, view[1], view[2])
        return self._views[key]

    def fill(self, data: bytes, stream: Stream) -> None:
        """Read the list of keys at `stream`, and behind it the contents in the same order."""
        keys = stream.read()
        if type(keys) is not list:
            raise UnpicklingError(f"the file has {short(keys)} where its list of storages should be")
        position = stream.position
        for key in map(as_text, keys):
            storage = self._made.pop(key, None) if type(key) is str else None
            if storage is None:
                raise UnpicklingError(f"the file lists the storage {short(key)}, which nothing uses")
            position = read_counted(data, position, storage)
        if self._made:
            raise UnpicklingError(f"the file lacks the contents of the storage {short(min(self._made))}")


def part_of(root: Storage, offset: int, count: int) -> Storage:
    """`count` elements of `root` from `offset`, sharing its memory."""
    step = root.kind.dtype.itemsize
    if (offset + count) * step > root.raw.nbytes:
        raise UnpicklingError("a view of a storage in the file reaches beyond it")
    part = Storage(root.raw[offset * step : (offset + count) * step], root.kind)
    part.pending = root.pending
    return part


def read_counted(data: bytes, position: int, storage: Storage) -> int:
    """Fill `storage` from a count of elements and the elements; the position behind them."""
    if position + 8 > len(data):
        raise RuntimeError("unexpected EOF. The file might be corrupted.")
    (count,) = struct.unpack_from("<q", data, position)
    size: int = storage.raw.nbytes
    if count * storage.kind.dtype.itemsize != size or position + 8 + size > len(data):
        raise RuntimeError("unexpected EOF. The file might be corrupted.")
    storage.raw[:] = np.frombuffer(data, np.uint8, size, position + 8)
    storage.pending = False
    return position + 8 + size


def _load_tar(data: bytes, restore: Mapper, open_stream: Open) -> Any:
    parts = tar_parts(data)
    if not {"storages", "tensors", "pickle"} <= set(parts):
        raise RuntimeError("the tar archive does not hold storages, tensors and pickle: it is not a PyTorch file")
    objects = _tar_storages(parts["storages"], restore, open_stream)
    stream = open_stream(parts["tensors"])
    for _ in range(_count(stream.read())):
        fields = stream.read()
        if type(fields) is not tuple or len(fields) != 3 or not isinstance(objects.get(_count(fields[1])), Storage):
            raise UnpicklingError("a tensor in the file is not described as PyTorch does")
        objects[_count(fields[0])], stream.position = _tar_tensor(parts["tensors"], stream.position, objects[fields[1]])

    def persistent_load(pid: Any) -> Any:
        if type(pid) is tuple and len(pid) == 4:
            return pid[0]
        try:
            return objects[int(pid)]
        except (KeyError, TypeError, ValueError):
            raise UnpicklingError(f"the file refers to an object that it does not hold: {short(pid)}") from None

    return open_stream(parts["pickle"]).read(persistent_load)


def tar_parts(data: bytes) -> dict[str, bytes]:
    """The files in a tar archive by name."""
    parts: dict[str, bytes] = {}
    position = 0
    while position + TAR_BLOCK <= len(data) and data[position] != 0:
        header = data[position : position + TAR_BLOCK]
        name = header[:100].rstrip(b"\0").decode("utf-8", "replace").removeprefix("./")
        try:
            size = int(header[124:136].strip(b"\0 ") or b"0", 8)
        except ValueError:
            raise RuntimeError("the tar archive is damaged") from None
        start = position + TAR_BLOCK
        if size < 0 or start + size > len(data):
            raise RuntimeError("the tar archive is truncated")
        parts[name] = data[start : start + size]
        position = start + -(-size // TAR_BLOCK) * TAR_BLOCK
    return parts


def _tar_storages(data: bytes, restore: Mapper, open_stream: Open) -> dict[int, Any]:
    stream = open_stream(data)
    objects: dict[int, Any] = {}
    for _ in range(_count(stream.read())):
        fields = stream.read()
        if type(fields) is not tuple or len(fields) != 3 or not isinstance(fields[2], StorageType):
            raise UnpicklingError("a storage in the file is not described as PyTorch does")
        key, location, kind = _count(fields[0]), as_text(fields[1]), fields[2]
        start = stream.position
        count = struct.unpack_from("<q", data, start)[0] if start + 8 <= len(data) else -1
        if not 0 <= count * kind.dtype.itemsize <= len(data) - start:
            raise RuntimeError("unexpected EOF. The file might be corrupted.")
        storage = Storage(np.zeros(count * kind.dtype.itemsize, np.uint8), kind)
        stream.position = read_counted(data, start, storage)
        objects[key] = restore(storage, str(location))
    views = stream.read()
    for view in views if type(views) is list else []:
        if type(view) not in (tuple, list) or len(view) != 4 or not isinstance(objects.get(_count(view[1])), Storage):
            raise UnpicklingError("a view of a storage in the file is not described as PyTorch does")
        objects[_count(view[0])] = part_of(objects[view[1]], _count(view[2]), _count(view[3]))
    return objects


def _tar_tensor(data: bytes, position: int, storage: Storage) -> tuple[Any, int]:
    """The tensor whose geometry stands in binary at `position`, and the position behind it."""
    dims = struct.unpack_from("<i", data, position)[0] if position + 8 <= len(data) else -1
    if not 0 <= dims <= 64 or position + 16 + 16 * dims > len(data):
        raise UnpicklingError("a tensor in the file is not described as PyTorch does")
    numbers = struct.unpack_from(f"<{2 * dims + 1}q", data, position + 8)
    tensor = rebuild_tensor(storage, numbers[-1], tuple(numbers[:dims]), tuple(numbers[dims:-1]))
    return tensor, position + 16 + 16 * dims


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise UnpicklingError(f"the file has {short(value)} where a count should be")
    return value


def save(file: IO[bytes], pickled: bytes, records: list[tuple[str, Storage]], protocol: int) -> None:
    """Write the format that ended with PyTorch 1.5.

    Parameters
    ----------
    file : binary file object
    pickled : bytes
        The object, its storages described in the old way.
    records : list of (str, Storage)
    protocol : int
        Of the pickles.
    """
    sizes = {"short": 2, "int": 4, "long": struct.calcsize("l")}
    info = {"protocol_version": PROTOCOL, "little_endian": sys.byteorder == "little", "type_sizes": sizes}
    for value in (MAGIC, PROTOCOL, info):
        pickle.dump(value, file, protocol)
    file.write(pickled)
    storages = sorted(records)
    pickle.dump([key for key, _ in storages], file, protocol)
    for _, storage in storages:
        file.write(struct.pack("<q", storage.count))
        file.write(memoryview(storage.raw))
