"""Which names a file holds that a weights-only load refuses."""

from __future__ import annotations

from pickle import UnpicklingError
from typing import Any

from rushlight.serialization import names
from rushlight.serialization.allowlist import WeightsOnly
from rushlight.serialization.archive import ArchiveReader
from rushlight.serialization.pth import is_zip, opened
from rushlight.serialization.unpickle import Charge, Machine


def get_unsafe_globals_in_checkpoint(f: Any) -> list[str]:
    """Names in a file of `save` that `load` refuses unless they are allowed. Nothing in the file runs.

    Parameters
    ----------
    f : str, path or file object

    Returns
    -------
    list of str

    Examples
    --------
    >>> import collections, io
    >>> file = io.BytesIO()
    >>> torch.save(collections.deque([1]), file)
    >>> _ = file.seek(0)
    >>> torch.serialization.get_unsafe_globals_in_checkpoint(file)
    ['collections.deque']
    """
    with opened(f) as file:
        if not is_zip(file):
            raise ValueError("Expected input to be a checkpoint returned by torch.save")
        policy = _Look()
        Machine(ArchiveReader(file).read("data.pkl"), policy, lambda pid: _Blank()).run()
    return sorted(policy.refused)


class _Blank:
    """Stands for whatever the pickle would construct."""

    def extend(self, items: Any) -> None:
        """Items of something like a list."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """An item of something like a dict."""


class _Look:
    """A policy that allows every name and constructs nothing."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self._allowed = WeightsOnly()

    def find(self, module: str, name: str) -> object:
        """Note the name if it would be refused."""
        try:
            self._allowed.find(module, name)
        except (UnpicklingError, NotImplementedError):
            module, name = names.current_name(module, name)
            self.refused.add(f"{module}.{name}")
        return _Blank()

    def call(self, function: object, args: tuple[Any, ...], charge: Charge) -> object:
        """Nothing is called."""
        return _Blank()

    new = call

    def trusts(self, kind: object) -> bool:
        """Blanks take items."""
        return kind is _Blank

    def build(self, instance: Any, state: Any, charge: Charge) -> None:
        """Nothing has a state."""
