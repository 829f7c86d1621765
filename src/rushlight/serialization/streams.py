"""Pickles one after another: read by the interpreter that runs no code, or by Python's own unpickler."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pickle import UnpicklingError
from typing import IO, Any, Protocol

from rushlight.serialization import names
from rushlight.serialization.unpickle import Bytes, Machine, Policy

PersistentLoad = Callable[[Any], Any]


def no_persistent_ids(pid: Any) -> Any:
    """For pickles that hold none."""
    raise UnpicklingError("unsupported persistent id encountered")


class Stream(Protocol):
    """A place in a file where pickles follow one another."""

    position: int

    def read(self, persistent_load: PersistentLoad = no_persistent_ids) -> Any:
        """The next object; `position` moves behind it."""


class SafeStream:
    """Reads by the interpreter of `unpickle.py`.

    Parameters
    ----------
    data : bytes or mmap
    position : int
    policy : Policy
    encoding : str
    """

    def __init__(self, data: Bytes, position: int, policy: Policy, encoding: str) -> None:
        self.position = position
        self._data = data
        self._policy = policy
        self._encoding = encoding

    def read(self, persistent_load: PersistentLoad = no_persistent_ids) -> Any:
        """The next object."""
        machine = Machine(self._data, self._policy, persistent_load, self._encoding)
        result = machine.run(self.position)
        self.position = machine.position
        return result


class OpenStream:
    """Reads by Python's unpickler, which runs whatever the pickle says. Only ever on the user's explicit request.

    Parameters
    ----------
    file : binary file object
    module : module
        Has `Unpickler`; `pickle` or a module like it.
    options : dict
        Passed to the unpickler.
    """

    def __init__(self, file: IO[bytes], module: Any, options: dict[str, Any]) -> None:
        self._file = file
        self._options = options
        self._unpickler = _with_our_names(module)

    @property
    def position(self) -> int:
        """Where the next pickle begins."""
        return self._file.tell()

    @position.setter
    def position(self, value: int) -> None:
        self._file.seek(value)

    def read(self, persistent_load: PersistentLoad = no_persistent_ids) -> Any:
        """The next object."""
        unpickler = self._unpickler(self._file, **self._options)
        unpickler.persistent_load = persistent_load
        return unpickler.load()


def _with_our_names(module: Any) -> Any:
    """`module.Unpickler` that finds Rushlight's classes under PyTorch's names."""
    base: Any = pickle.Unpickler if module is None else module.Unpickler

    class Unpickler(base):  # type: ignore[misc]
        def find_class(self, module_name: str, name: str) -> Any:
            if module_name.partition(".")[0] != names.THEIRS:
                return super().find_class(module_name, name)
            try:
                return names.resolve(module_name, name)
            except AttributeError as error:
                raise UnpicklingError(str(error)) from None

    return Unpickler
