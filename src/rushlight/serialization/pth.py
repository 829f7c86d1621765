"""`load`: PyTorch's files, read without running what is in them."""

from __future__ import annotations

import io
import mmap as mapping
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from pickle import UnpicklingError
from typing import IO, Any

import numpy as np

from rushlight.errors import explain
from rushlight.serialization import legacy
from rushlight.serialization.allowlist import WeightsOnly
from rushlight.serialization.archive import ArchiveReader, corrupted
from rushlight.serialization.locations import Mapper, mapper
from rushlight.serialization.safetensors import load_file
from rushlight.serialization.storage import UNTYPED, Storage, StorageType, storage_fields, swap_bytes
from rushlight.serialization.streams import OpenStream, SafeStream, Stream

ZIP = b"PK\3\4"
UNSAFE = (
    "In PyTorch 2.6, we changed the default value of the `weights_only` argument in `torch.load` from `False` to "
    "`True`. Re-running `torch.load` with `weights_only` set to `False` will likely succeed, but it can result in "
    "arbitrary code execution. Do it only if you got the file from a trusted source."
)


def load(
    f: Any,
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Read an object that `save`, of Rushlight or of PyTorch, wrote.

    By default nothing in the file can run code: tensors, parameters, containers, numbers, strings and a few other
    plain types are read, anything else is an error that names it. All lengths are checked before memory is taken.

    Parameters
    ----------
    f : str, path or file object
        A file object must be able to `read`, `seek` and `tell`. A path ending in `.safetensors` is read as such.
    map_location : device, str, dict or callable, optional
        Where tensors go; needed on a machine without the device that they were saved from.
    pickle_module : module, optional
        Only with `weights_only=False`.
    weights_only : bool, default True
        False unpickles any class, which RUNS CODE CHOSEN BY WHOEVER MADE THE FILE. Use it only on files you trust.
    mmap : bool, default False
        Map the file instead of reading it: tensors are read when they are used. Needs a path. Writing to the tensors
        does not change the file.
    encoding : str, default "utf-8"
        How strings written by Python 2 are decoded.

    Returns
    -------
    object
        Tensors that shared memory when they were saved share it again.

    Raises
    ------
    pickle.UnpicklingError
        If the file holds something that is not plain data, or is damaged.
    RuntimeError
        If the container is damaged or truncated, or a device is not there.

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO()
    >>> torch.save({"x": torch.arange(3)}, file)
    >>> _ = file.seek(0)
    >>> torch.load(file)
    {'x': tensor([0, 1, 2])}
    """
    safe = weights_only is None or weights_only
    if safe and pickle_module is not None:
        raise RuntimeError("Can not safely load weights when explicit pickle_module is specified")
    if isinstance(f, (str, os.PathLike)) and os.fspath(f).endswith(".safetensors"):
        return load_file(f, _one_device(map_location))
    options = {"encoding": "utf-8", **pickle_load_args}
    unknown = set(options) - {"encoding", "errors", "fix_imports", "buffers"}
    if unknown:
        raise TypeError(f"load() got an unexpected keyword argument {min(unknown)!r}")
    restore = mapper(map_location)
    with opened(f) as file:
        try:
            if _peek(file) != ZIP:
                return _load_old(file, restore, bool(mmap), safe, pickle_module, options)
            return _load_zip(f, file, restore, bool(mmap), safe, pickle_module, options)
        except UnpicklingError as error:
            if not safe:
                raise
            raise _weights_only_error(str(error)) from error.__cause__


def is_zip(f: Any) -> bool:
    """Whether the file object `f` stands at a zip archive; its position is kept."""
    return _peek(f) == ZIP


def opened(f: Any) -> AbstractContextManager[IO[bytes]]:
    """`f` as an open file: a path is opened and closed again, a file object is used as it is."""
    if isinstance(f, (str, os.PathLike)):
        return open(f, "rb")
    missing = next((name for name in ("read", "seek", "tell") if not hasattr(f, name)), None)
    if missing is not None:
        raise AttributeError(
            f"{type(f).__name__!r} object has no attribute {missing!r}. You can only torch.load from a file that is "
            "seekable. Please pre-load the data into a buffer like io.BytesIO and try to load from it instead."
        )
    return nullcontext(f)


def _peek(file: IO[bytes]) -> bytes:
    start = file.tell()
    first = file.read(len(ZIP))
    file.seek(start)
    return first


def _one_device(map_location: Any) -> str:
    if isinstance(map_location, dict) or callable(map_location):
        kind = "dict" if isinstance(map_location, dict) else "callable"
        raise RuntimeError(
            f"Loading safetensors file with {kind} map_location is not supported. Use a device string or "
            "torch.device instead."
        )
    return "cpu" if map_location is None else str(map_location)


def _load_old(file: IO[bytes], restore: Mapper, mmap: bool, safe: bool, module: Any, options: dict[str, Any]) -> Any:
    if mmap:
        raise RuntimeError(
            "mmap can only be used with files saved with `torch.save(_use_new_zipfile_serialization=True), "
            "please torch.save your checkpoint with this option in order to use mmap."
        )

    def open_stream(data: bytes) -> Stream:
        if safe:
            return SafeStream(data, 0, legacy.LegacyNames(), options["encoding"])
        return OpenStream(io.BytesIO(data), module, options)

    return legacy.load(file.read(), restore, open_stream)


def _load_zip(
    f: Any, file: IO[bytes], restore: Mapper, mmap: bool, safe: bool, module: Any, options: dict[str, Any]
) -> Any:
    reader = ArchiveReader(file)
    if "constants.pkl" in reader:
        if safe:
            raise RuntimeError(
                f"Cannot use ``weights_only=True`` with TorchScript archives passed to ``torch.load``. {UNSAFE}"
            )
        raise NotImplementedError("load: TorchScript archives hold programs, which Rushlight cannot run")
    mapped = None
    if mmap:
        if not isinstance(f, (str, os.PathLike)):
            raise ValueError("f must be a file path in order to use the mmap argument")
        mapped = mapping.mmap(file.fileno(), 0, access=mapping.ACCESS_COPY)
    storages = ZipStorages(reader, restore, mapped)
    data = reader.read("data.pkl")
    stream: Stream
    if safe:
        stream = SafeStream(data, 0, WeightsOnly(), options["encoding"])
    else:
        stream = OpenStream(io.BytesIO(data), module, options)
    return stream.read(storages.persistent_load)


class ZipStorages:
    """The storages of an archive, each read once, when the pickle first names it.

    Parameters
    ----------
    reader : ArchiveReader
    restore : callable
        Moves a storage to its device.
    mapped : mmap or None
        The whole file, if it is to be mapped instead of read.
    """

    def __init__(self, reader: ArchiveReader, restore: Mapper, mapped: mapping.mmap | None) -> None:
        self._reader = reader
        self._restore = restore
        self._mapped = mapped
        self._loaded: dict[str, Storage] = {}
        order = reader.read("byteorder") if "byteorder" in reader else b"little"
        if order not in (b"little", b"big"):
            raise ValueError(f"Unknown endianness type: {order[:20].decode(errors='replace')}")
        self._swap = order.decode() != sys.byteorder

    def persistent_load(self, pid: Any) -> Storage:
        """The storage that `pid` describes."""
        kind, key, location, count = storage_fields(pid, 5)
        if key not in self._loaded:
            self._loaded[key] = self._restore(self._read(kind, key, count), location)
        loaded = self._loaded[key]
        # One storage may be saved under two types; each tensor must see it as its own.
        return loaded if loaded.kind is kind else Storage(loaded.raw, kind)

    def _read(self, kind: StorageType, key: str, count: int) -> Storage:
        size = count * kind.dtype.itemsize
        name = f"data/{key}"
        if size > self._reader.find(name).size:
            raise corrupted(f"storage {key} has {self._reader.find(name).size} bytes where {size} were saved")
        raw = self._map(name, size)
        if raw is None:
            raw = np.empty(size, np.uint8)
            self._reader.read_into(name, raw.data)
        if self._swap:
            if kind.name == UNTYPED:
                raise NotImplementedError("load: an untyped storage in the other byte order cannot be read")
            swap_bytes(raw, kind.dtype)
        return Storage(raw, kind)

    def _map(self, name: str, size: int) -> Any | None:
        if self._mapped is None or not size:
            return None
        offset = self._reader.offset(name)
        return None if offset is None else np.frombuffer(self._mapped, np.uint8, size, offset)


def _weights_only_error(message: str) -> UnpicklingError:
    if "was not an allowed global by default" in message:
        head = (
            "Weights only load failed. This file can still be loaded, to do so you have two options, do those steps "
            f"only if you trust the source of the checkpoint. \n\t(1) {UNSAFE}\n\t(2) Alternatively, to load with "
            "`weights_only=True` please check the recommended steps in the following error message.\n\t"
            "WeightsUnpickler error: "
        )
        fix = "save a state_dict; or allow the class; or load(f, weights_only=False) if you trust the file"
    else:
        head, fix = f"Weights only load failed. {UNSAFE}\n\nWeightsUnpickler error: ", None
    return explain(UnpicklingError(head + message), fix=fix)
