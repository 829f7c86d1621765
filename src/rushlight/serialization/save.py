"""`save`: objects with tensors into PyTorch's zip format."""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import sys
import types
from contextlib import AbstractContextManager, nullcontext
from typing import IO, Any, ClassVar

from rushlight.nn.parameter import Parameter
from rushlight.serialization import legacy, names
from rushlight.serialization.archive import ALIGNMENT, ArchiveWriter
from rushlight.serialization.atomic import atomic_file
from rushlight.serialization.rebuild import reduce_tensor
from rushlight.serialization.storage import UNTYPED, Storage, StorageType, as_storage
from rushlight.storage import TypedStorage, UntypedStorage
from rushlight.tensor import Tensor

DEFAULT_PROTOCOL = 2
Records = list[tuple[str, Storage]]


def save(
    obj: Any,
    f: Any,
    pickle_module: Any = None,
    pickle_protocol: int = DEFAULT_PROTOCOL,
    _use_new_zipfile_serialization: bool = True,
) -> None:
    """Write `obj` so that `load`, of Rushlight and of PyTorch, reads it back.

    A file named by a path appears whole or not at all: a process killed while it saves leaves the file that was
    there before. Tensors that share memory share it again when they are loaded; all of a storage is written even if
    only part of it is in use.

    Parameters
    ----------
    obj : object
        Tensors, containers of them, state dicts; also whole modules, which only
        `load(weights_only=False)` reads.
    f : str, path or file object
        A file object must be able to `write`.
    pickle_module : module, optional
        Only `pickle`.
    pickle_protocol : int, default 2

    Examples
    --------
    >>> torch.save({"weight": torch.ones(2)}, "model.pt")
    >>> torch.load("model.pt")
    {'weight': tensor([1., 1.])}
    """
    if pickle_module is not None and pickle_module is not pickle:
        raise NotImplementedError(f"save: pickle_module={pickle_module!r} is not supported, only pickle is")
    if not isinstance(f, (str, os.PathLike)) and not hasattr(f, "write"):
        raise AttributeError("expected 'f' to be string, path, or a file-like object with a 'write' attribute")
    if _use_new_zipfile_serialization:
        records = archive_records(obj, pickle_protocol)
        with _target(f) as file:
            write_archive(file, records)
    else:
        with _target(f) as file:
            legacy.save(lambda buffer: _dump(obj, buffer, pickle_protocol, LegacyPickler), file, pickle_protocol)


def archive_records(obj: Any, protocol: int = DEFAULT_PROTOCOL) -> list[tuple[str, Any]]:
    """Names and contents of the records that hold `obj`."""
    buffer = io.BytesIO()
    storages = _dump(obj, buffer, protocol, Pickler)
    return [
        ("data.pkl", buffer.getvalue()),
        (".format_version", b"1"),
        (".storage_alignment", b"%d" % ALIGNMENT),
        ("byteorder", sys.byteorder.encode()),
        *((f"data/{key}", memoryview(storage.raw)) for key, storage in storages),
        ("version", b"3\n"),
    ]


def write_archive(file: IO[bytes], records: list[tuple[str, Any]]) -> None:
    """Write `records` as a zip archive."""
    writer = ArchiveWriter(file)
    for name, content in records:
        writer.write(name, content)
    writer.close()


def _target(f: Any) -> AbstractContextManager[IO[bytes]]:
    return atomic_file(f) if isinstance(f, (str, os.PathLike)) else nullcontext(f)


def _dump(obj: Any, buffer: IO[bytes], protocol: int, kind: type[Pickler]) -> Records:
    pickler = kind(buffer, protocol)
    pickler.dump(obj)
    return list(pickler.storages.values())


class Pickler(pickle._Pickler):
    """Writes Rushlight's objects under PyTorch's names, and storages as references to records.

    Python's pickler written in Python, because the one in C insists on finding each name in the module it names.
    """

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def __init__(self, file: IO[bytes], protocol: int) -> None:
        super().__init__(file, protocol)
        self.dispatch_table = {**copyreg.dispatch_table, Tensor: self._reduce, Parameter: self._reduce}
        self.storages: dict[tuple[int, int], tuple[str, Storage]] = {}

    def persistent_id(self, obj: Any) -> Any:
        """Storages are kept outside the pickle."""
        return self.describe(as_storage(obj)) if isinstance(obj, (UntypedStorage, TypedStorage)) else None

    def describe(self, storage: Storage) -> tuple[Any, ...]:
        """The persistent id of `storage`."""
        return ("storage", storage.kind, self.key_of(storage), "cpu", storage.count)

    def key_of(self, storage: Storage) -> str:
        """The name of the record that holds `storage`."""
        key, known = self.storages.setdefault(storage.key, (str(len(self.storages)), storage))
        if known.kind is not storage.kind and storage.kind.name != UNTYPED:
            raise RuntimeError("Cannot save multiple tensors or storages that view the same data as different types")
        return key

    def save_global(self, obj: Any, name: str | None = None) -> None:
        """Write the name by which `obj` is found again."""
        known = names.torch_name(obj, name or getattr(obj, "__qualname__", None) or obj.__name__)
        if known is None:
            super().save_global(obj, name)
            return
        self._write_name(*known)
        self.memoize(obj)

    def _write_name(self, module: str, name: str) -> None:
        if self.proto >= 4:
            self.save(module)
            self.save(name)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())

    def _save_storage_type(self, kind: StorageType) -> None:
        self._write_name("torch.storage" if kind.name == UNTYPED else "torch", kind.name)
        self.memoize(kind)

    def _reduce(self, tensor: Tensor) -> tuple[Any, ...]:
        return reduce_tensor(tensor, self._clashes)

    def _clashes(self, storage: Storage) -> bool:
        known = self.storages.get(storage.key)
        return known is not None and known[1].kind is not storage.kind

    dispatch[types.FunctionType] = save_global
    dispatch[StorageType] = _save_storage_type


class LegacyPickler(Pickler):
    """The same for the format before 2020, which describes storages by one field more."""

    def describe(self, storage: Storage) -> tuple[Any, ...]:
        """The persistent id of `storage`."""
        return (*super().describe(storage), None)
