"""A training run in one file: written whole or not at all, verified before anything is changed by it."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterable
from typing import Any

import numpy as np

from rushlight.errors import explain
from rushlight.generator import default_generator
from rushlight.serialization.archive import ArchiveReader, corrupted
from rushlight.serialization.atomic import atomic_file
from rushlight.serialization.pth import load
from rushlight.serialization.save import archive_records, write_archive
from rushlight.tape import wrap
from rushlight.tensor import Tensor

FORMAT = "rushlight checkpoint 1"
CHECKSUM = "checksum"
PARTS = ("model", "optimizer", "scheduler", "generators", "loader")


def save_checkpoint(
    path: str | os.PathLike[str],
    *,
    model: Any = None,
    optimizer: Any = None,
    scheduler: Any = None,
    generators: Any = None,
    loader: Any = None,
    extra: Any = None,
) -> None:
    """Write all that a training run needs to go on, in one file.

    Killing the process at any moment leaves the previous checkpoint at `path` whole. The file is an ordinary one of
    `save`, with a SHA-256 sum of its contents added, so `load` reads it too. Random state is always saved: that of
    the default generator, of Python's `random` and of NumPy's global generator.

    Parameters
    ----------
    path : str or path
    model, optimizer, scheduler, loader : object, optional
        Anything with `state_dict()`; also a dict, list or tuple of such objects.
    generators : Generator, numpy.random.Generator or random.Random, optional
        Generators of your own besides the global ones; also a dict, list or tuple of them.
    extra : object, optional
        Plain data of your own, such as the epoch: numbers, strings, tensors, containers.

    Examples
    --------
    >>> import tempfile
    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = folder + "/run.pt"
    ...     torch.save_checkpoint(path, model=model, optimizer=optimizer, extra={"epoch": 3})
    ...     torch.load_checkpoint(path, model=model, optimizer=optimizer)
    {'epoch': 3}
    """
    given = (model, optimizer, scheduler, generators, loader)
    content = {
        "format": FORMAT,
        "parts": {name: _state_of(part, name) for name, part in zip(PARTS, given, strict=True) if part is not None},
        "random": _global_random_state(),
        "extra": extra,
    }
    records = archive_records(content)
    records.append((CHECKSUM, _digest((name, [data]) for name, data in records).encode()))
    with atomic_file(path) as file:
        write_archive(file, records)


def load_checkpoint(
    path: str | os.PathLike[str],
    *,
    model: Any = None,
    optimizer: Any = None,
    scheduler: Any = None,
    generators: Any = None,
    loader: Any = None,
    restore_random: bool = True,
    map_location: Any = None,
) -> Any:
    """Put a training run back to where `save_checkpoint` found it, and return `extra`.

    The file is verified whole before any object is changed. It is read as `load` reads: nothing in it can run code.

    Parameters
    ----------
    path : str or path
    model, optimizer, scheduler, generators, loader : object, optional
        The objects to restore, in the form in which they were saved. Parts of the file that are not asked for are
        left alone.
    restore_random : bool, default True
        Also restore the global random state. Pass False when loading only to predict.
    map_location : device, str, dict or callable, optional
        As for `load`.

    Returns
    -------
    object
        The `extra` that was saved.

    Raises
    ------
    RuntimeError
        If the file is damaged or is no checkpoint.
    KeyError
        If the file lacks a part that is asked for.
    """
    content = _verified(path, map_location)
    given = dict(zip(PARTS, (model, optimizer, scheduler, generators, loader), strict=True))
    wanted = {name: part for name, part in given.items() if part is not None}
    for name in wanted:
        if name not in content["parts"]:
            saved = ", ".join(content["parts"]) or "nothing"
            raise explain(KeyError(f"the checkpoint {os.fspath(path)} holds no {name}"), expected=name, received=saved)
    for name, part in wanted.items():
        _restore(part, content["parts"][name], name)
    if restore_random:
        _restore_global_random(content["random"])
    return content["extra"]


def _verified(path: str | os.PathLike[str], map_location: Any) -> dict[str, Any]:
    with open(path, "rb") as file:
        reader = ArchiveReader(file)
        names = [name for name in reader.names() if name != CHECKSUM]
        if CHECKSUM not in reader:
            raise explain(
                RuntimeError(f"{os.fspath(path)} is not a checkpoint of save_checkpoint"), fix="read it with load()"
            )
        if _digest((name, reader.chunks(name)) for name in names).encode() != reader.read(CHECKSUM):
            raise corrupted(f"the checkpoint {os.fspath(path)} does not match its checksum")
        file.seek(0)
        content = load(file, map_location)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise RuntimeError(f"{os.fspath(path)} is a checkpoint of another version of Rushlight")
    return content


def _digest(records: Iterable[tuple[str, Iterable[Any]]]) -> str:
    """SHA-256 of names and contents, each with its length so that no two lists of records give the same bytes."""
    total = hashlib.sha256()
    for name, pieces in records:
        own, size = hashlib.sha256(), 0
        for piece in pieces:
            own.update(piece)
            size += len(piece)
        total.update(f"{len(name)} {name} {size} ".encode() + own.digest())
    return total.hexdigest()


def _state_of(part: Any, what: str) -> Any:
    """State of an object, or of each in a container."""
    if hasattr(part, "state_dict"):
        return part.state_dict()
    if isinstance(part, dict):
        return {key: _state_of(value, f"{what}[{key!r}]") for key, value in part.items()}
    if isinstance(part, (list, tuple)):
        return [_state_of(value, f"{what}[{i}]") for i, value in enumerate(part)]
    if isinstance(part, np.random.Generator):
        return _plain(part.bit_generator.state)
    for name in ("get_state", "getstate"):
        if hasattr(part, name):
            return getattr(part, name)()
    raise TypeError(f"save_checkpoint: {what} is a {type(part).__name__}, which has no state_dict()")


def _restore(part: Any, state: Any, what: str) -> None:
    if hasattr(part, "load_state_dict"):
        part.load_state_dict(state)
    elif isinstance(part, (dict, list, tuple)):
        keys = list(part) if isinstance(part, dict) else list(range(len(part)))
        kind = dict if isinstance(part, dict) else list
        if not isinstance(state, kind) or len(state) != len(keys) or (kind is dict and set(keys) != set(state)):
            raise KeyError(f"load_checkpoint: {what} was not saved as these {len(keys)} objects")
        for key in keys:
            _restore(part[key], state[key], f"{what}[{key!r}]")
    elif isinstance(part, np.random.Generator):
        part.bit_generator.state = _arrays(state)
    elif hasattr(part, "set_state"):
        part.set_state(state)
    elif hasattr(part, "setstate"):
        part.setstate(state)
    else:
        raise TypeError(f"load_checkpoint: {what} is a {type(part).__name__}, which has no load_state_dict()")


def _global_random_state() -> dict[str, Any]:
    return {
        "rushlight": default_generator.get_state(),
        "python": random.getstate(),
        "numpy": _plain(np.random.get_state(legacy=False)),
    }


def _restore_global_random(state: dict[str, Any]) -> None:
    default_generator.set_state(state["rushlight"])
    random.setstate(state["python"])
    np.random.set_state(_arrays(state["numpy"]))


def _plain(state: Any) -> Any:
    """NumPy's state with tensors for arrays, so that PyTorch's `load` reads the file too."""
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    if isinstance(state, np.ndarray):
        return wrap(state.copy())
    return state.item() if isinstance(state, np.generic) else state


def _arrays(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _arrays(value) for key, value in state.items()}
    return state._data if isinstance(state, Tensor) else state
