"""Files of records with checksums (TFRecord), which TensorBoard reads."""

from __future__ import annotations

import itertools
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from rushlight.utils.tensorboard import wire
from rushlight.utils.tensorboard.crc32c import masked

_numbers = itertools.count()


def framed(record: bytes) -> bytes:
    """Length, checksum of the length, the record, its checksum."""
    length = struct.pack("<Q", len(record))
    return length + struct.pack("<I", masked(length)) + record + struct.pack("<I", masked(record))


def records(path: str | Path) -> Iterator[bytes]:
    """The records of a file, each checked; an unfinished one at the end is left out.

    Raises
    ------
    ValueError
        If a checksum is wrong.
    """
    with open(path, "rb") as file:
        while len(head := file.read(12)) == 12:
            length, check = struct.unpack("<QI", head)
            if masked(head[:8]) != check:
                raise ValueError(f"{path}: the checksum of a record's length is wrong")
            body = file.read(length + 4)
            if len(body) < length + 4:
                return
            if masked(body[:-4]) != struct.unpack("<I", body[-4:])[0]:
                raise ValueError(f"{path}: the checksum of a record is wrong")
            yield body[:-4]


def event(body: bytes, step: int | None, walltime: float | None) -> bytes:
    """An Event message around an encoded field."""
    head = wire.double(1, time.time() if walltime is None else walltime)
    return head + (b"" if step is None else wire.integer(2, int(step))) + body


class EventFile:
    """One event file, opened when made; events from several threads come in one after another."""

    def __init__(self, folder: Path, max_queue: int = 10, flush_secs: float = 120, suffix: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        self.path = folder / (name + suffix)
        self._max_queue, self._flush_secs = max_queue, flush_secs
        self._waiting, self._flushed = 0, time.monotonic()
        self._lock = threading.Lock()
        self._file = open(self.path, "ab")
        self.add(event(wire.text(3, "brain.Event:2"), None, None))
        self.flush()

    def add(self, encoded: bytes) -> None:
        """Append an event; a few may wait in memory for the next flush."""
        with self._lock:
            self._file.write(framed(encoded))
            self._waiting += 1
            late = time.monotonic() - self._flushed > self._flush_secs
        if late or self._waiting > self._max_queue:
            self.flush()

    def flush(self) -> None:
        """Hand all events to the operating system."""
        with self._lock:
            if not self._file.closed:
                self._file.flush()
            self._waiting, self._flushed = 0, time.monotonic()

    def close(self) -> None:
        """Write what waits, and close."""
        with self._lock:
            self._file.close()
