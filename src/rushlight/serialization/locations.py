"""`map_location`: where a storage goes, given where it was saved from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight.device import device
from rushlight.errors import explain
from rushlight.serialization.storage import STORAGE_TYPES, Storage

Mapper = Callable[[Storage, str], Storage]
NO_CUDA = (
    "Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is False. If you are running on a "
    "CPU-only machine, please use torch.load with map_location=torch.device('cpu') to map your storages to the CPU."
)


def default_restore_location(storage: Storage, location: str) -> Storage:
    """Put `storage`, which is in memory, where the tag `location` says."""
    kind = location.partition(":")[0]
    if kind == "cpu":
        return storage
    if kind == "cuda":
        raise explain(RuntimeError(NO_CUDA), received=location, fix="load(f, map_location='cpu')")
    if kind == "meta":
        raise NotImplementedError("load: tensors without data (map_location='meta') are not supported")
    raise explain(
        RuntimeError(
            f"don't know how to restore data location of torch.storage.UntypedStorage (tagged with {location[:60]})"
        ),
        expected="cpu",
        received=location[:60],
        fix="load(f, map_location='cpu')",
    )


def check_device(place: Any) -> None:
    """Raise if no tensor can be put on the device `place`."""
    mapper(place)(Storage(np.empty(0, np.uint8), STORAGE_TYPES["ByteStorage"]), "cpu")


def mapper(map_location: Any) -> Mapper:
    """The function from a storage and its tag to the storage in its place.

    Parameters
    ----------
    map_location : None, str, device, dict or callable
        As `load` takes it.
    """
    if map_location is None:
        return default_restore_location
    if isinstance(map_location, dict):
        table = {str(key): str(value) for key, value in map_location.items()}
        return lambda storage, location: default_restore_location(storage, table.get(location, location))
    if isinstance(map_location, (str, bytes, device)):
        place = map_location.decode() if isinstance(map_location, bytes) else str(map_location)
        return lambda storage, location: default_restore_location(storage, place)
    if not callable(map_location):
        raise TypeError(f"map_location must be a device, a string, a dict or a function, not {type(map_location)}")

    def call(storage: Storage, location: str) -> Storage:
        moved = map_location(storage, location)
        if moved is None:
            return default_restore_location(storage, location)
        if not isinstance(moved, Storage):
            raise TypeError(f"map_location must return a storage or None, not {type(moved)}")
        return moved

    return call
