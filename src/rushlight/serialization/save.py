"""`save`: objects with tensors into PyTorch's zip format."""

from __future__ import annotations

import os
import pickle
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import IO, Any

from rushlight.serialization import legacy
from rushlight.serialization.archive import ALIGNMENT, ArchiveWriter
from rushlight.serialization.atomic import atomic_file
from rushlight.serialization.pickler import dump

DEFAULT_PROTOCOL = 2


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
    if not 2 <= pickle_protocol <= pickle.HIGHEST_PROTOCOL:
        raise ValueError(f"pickle_protocol must be between 2 and {pickle.HIGHEST_PROTOCOL}, not {pickle_protocol}")
    if _use_new_zipfile_serialization:
        records = archive_records(obj, pickle_protocol)
        with _target(f) as file:
            write_archive(file, records)
    else:
        with _target(f) as file:
            legacy.save(file, *dump(obj, pickle_protocol, old=True), pickle_protocol)


def archive_records(obj: Any, protocol: int = DEFAULT_PROTOCOL) -> list[tuple[str, Any]]:
    """Names and contents of the records that hold `obj`."""
    pickled, storages = dump(obj, protocol)
    return [
        ("data.pkl", pickled),
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
