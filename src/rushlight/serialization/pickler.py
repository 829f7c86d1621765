"""Pickles of objects with tensors, under the names that PyTorch would give them.

Two writers give the same bytes. The one in C is fast, but can only write the name by which Python finds an object, so
it writes Rushlight's names, and PyTorch's are put in afterwards. The one in Python can write any name, and takes over
where that is not certain to be right.
"""

from __future__ import annotations

import contextlib
import copyreg
import io
import pickle
import types
from typing import IO, Any, ClassVar

from rushlight.device import device
from rushlight.dtypes import dtype
from rushlight.generator import Generator
from rushlight.nn.parameter import Parameter
from rushlight.serialization import names
from rushlight.serialization.rebuild import reduce_tensor
from rushlight.serialization.storage import UNTYPED, Storage, StorageType, as_storage
from rushlight.storage import TypedStorage, UntypedStorage
from rushlight.tensor import Tensor

Records = list[tuple[str, Storage]]
STORAGES = (Storage, TypedStorage, UntypedStorage)
# Objects that pickles refer to by name.
NAMED = (type, types.FunctionType, dtype, StorageType)
FRAMELESS = 3  # up to this protocol nothing in a pickle states the length of a part that holds names


def dump(obj: Any, protocol: int, *, old: bool = False) -> tuple[bytes, Records]:
    """The pickle of `obj`, and its storages with their keys.

    Parameters
    ----------
    obj : object
    protocol : int
    old : bool
        Describe storages as the format before 2020 does.
    """
    if protocol <= FRAMELESS:
        storages = Storages(old)
        # What C cannot name, as a function made by another, Python may: if not, its error is the one to see.
        with contextlib.suppress(pickle.PicklingError):
            data = _dump_fast(obj, protocol, storages)
            if data is not None:
                return data, storages.records()
    storages, buffer = Storages(old), io.BytesIO()
    Pickler(buffer, protocol, storages).dump(obj)
    return buffer.getvalue(), storages.records()


class Storages:
    """The storages met in one pickle, each known by its memory."""

    def __init__(self, old: bool) -> None:
        self._old = old
        self._known: dict[tuple[int, int], tuple[str, Storage]] = {}
        self.dispatch_table: dict[type, Any] = {
            **copyreg.dispatch_table,
            Tensor: self._reduce,
            Parameter: self._reduce,
            device: _reduce_device,
            Generator: _reduce_generator,
        }

    def records(self) -> Records:
        """Keys and storages in the order in which they were met."""
        return list(self._known.values())

    def describe(self, given: Any) -> tuple[Any, ...]:
        """The persistent id of a storage."""
        storage = as_storage(given)
        key, known = self._known.setdefault(storage.key, (str(len(self._known)), storage))
        if known.kind is not storage.kind and storage.kind.name != UNTYPED:
            raise RuntimeError("Cannot save multiple tensors or storages that view the same data as different types")
        fields = ("storage", storage.kind, key, "cpu", storage.count)
        return (*fields, None) if self._old else fields

    def _reduce(self, tensor: Tensor) -> tuple[Any, ...]:
        return reduce_tensor(tensor, self._clashes)

    def _clashes(self, storage: Storage) -> bool:
        known = self._known.get(storage.key)
        return known is not None and known[1].kind is not storage.kind


def _reduce_device(place: device) -> tuple[Any, ...]:
    return device, (place.type,) if place.index is None else (place.type, place.index)


def _reduce_generator(generator: Generator) -> tuple[Any, ...]:
    return Generator, (generator.device,), (generator.initial_seed(), None, generator.get_state())


class _FastPickler(pickle.Pickler):
    """The pickler in C; notes every object of Rushlight's whose name it writes."""

    def __init__(self, file: IO[bytes], protocol: int, storages: Storages) -> None:
        super().__init__(file, protocol)
        self.dispatch_table = storages.dispatch_table
        self._storages = storages
        self.renamed: dict[bytes, bytes] = {}

    def persistent_id(self, obj: Any) -> Any:
        """Storages are kept outside the pickle."""
        return self._storages.describe(obj) if type(obj) in STORAGES else None

    def reducer_override(self, obj: Any) -> Any:
        """Look, and let the pickler go on as it would."""
        if isinstance(obj, NAMED):
            own = obj.__reduce__() if isinstance(obj, (dtype, StorageType)) else obj.__qualname__
            known = names.torch_name(obj, own)
            if known is not None:
                self.renamed[_global(obj.__module__, own)] = _global(*known)
        return NotImplemented


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _dump_fast(obj: Any, protocol: int, storages: Storages) -> bytes | None:
    """The pickle, or None if a name in it cannot be told from data that looks the same."""
    buffer = io.BytesIO()
    pickler = _FastPickler(buffer, protocol, storages)
    pickler.dump(obj)
    data = buffer.getvalue()
    for ours, theirs in pickler.renamed.items():
        # The memo makes a pickle write each name once: any other count means that data contains it too.
        if data.count(ours) != 1:
            return None
        data = data.replace(ours, theirs)
    return data


_Base: Any = pickle._Pickler


class Pickler(_Base):  # type: ignore[misc]
    """The pickler in Python: slower, and able to write any name."""

    dispatch: ClassVar[dict[type, Any]] = dict(_Base.dispatch)

    def __init__(self, file: IO[bytes], protocol: int, storages: Storages) -> None:
        super().__init__(file, protocol)
        self.dispatch_table = storages.dispatch_table
        self._storages = storages

    def persistent_id(self, obj: Any) -> Any:
        """Storages are kept outside the pickle."""
        return self._storages.describe(obj) if type(obj) in STORAGES else None

    def save_global(self, obj: Any, name: str | None = None) -> None:
        """Write the name by which `obj` is found again."""
        known = names.torch_name(obj, name or getattr(obj, "__qualname__", None) or obj.__name__)
        if known is None:
            super().save_global(obj, name)
            return
        if self.proto <= FRAMELESS:
            self.write(_global(*known))
        else:
            self.save(known[0])
            self.save(known[1])
            self.write(pickle.STACK_GLOBAL)
        self.memoize(obj)

    def _save_buffer(self, buffer: pickle.PickleBuffer) -> None:
        """The library's own method fails on the second empty buffer: it memoizes the same b"" twice."""
        with buffer.raw() as view:
            self.save(bytearray(view))

    dispatch[pickle.PickleBuffer] = _save_buffer
    dispatch[types.FunctionType] = save_global
