"""A two-way connection between processes that passes arrays through shared memory.

A message is pickled with its arrays kept apart. A large one is written into an anonymous file in memory whose
descriptor travels over the connection; the receiver maps it, and the arrays it gets lie in that mapping. The file has
no name: when both processes have let go of it, or died, it is gone.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import socket
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from rushlight.shared import NON_LEAF, anonymous_file
from rushlight.tape import wrap
from rushlight.tensor import Tensor

ALIGNMENT = 64
CAN_SHARE = hasattr(socket, "send_fds") and hasattr(socket, "AF_UNIX")
# All messages under way in one direction must fit into the socket's buffer, or two blocked senders could wait for
# each other; larger messages are shared.
BUFFER = 65536


class _Pickler(pickle.Pickler):
    """Hands the memory of tensors out of band."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is not Tensor or type(value._data) is not np.ndarray:
            return NotImplemented
        if value.requires_grad and not value.is_leaf:
            raise RuntimeError(NON_LEAF)
        data: Any = np.ascontiguousarray(value._data)
        raw = pickle.PickleBuffer(data.reshape(-1).view(np.uint8))
        return _tensor, (raw, data.dtype, value._data.shape, value.requires_grad)


def _tensor(raw: Any, dtype: Any, shape: tuple[int, ...], requires_grad: bool) -> Tensor:
    made: Tensor = wrap(np.frombuffer(raw, np.uint8).view(dtype).reshape(shape))
    if requires_grad:
        made.requires_grad_()
    return made


def _pickled(message: Any) -> tuple[bytes, list[Any]]:
    stream = io.BytesIO()
    buffers: list[pickle.PickleBuffer] = []
    _Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(message)
    return stream.getvalue(), [buffer.raw() for buffer in buffers]


class Channel:
    """One end of a connection.

    Parameters
    ----------
    connection : multiprocessing.connection.Connection
        Made by `Pipe(duplex=True)`.
    in_flight : int
        How many messages may be under way in one direction.
    """

    def __init__(self, connection: Connection[Any, Any], in_flight: int) -> None:
        self.connection = connection
        self.limit = max(512, BUFFER // max(1, in_flight))
        self.socket = _socket_of(connection) if CAN_SHARE else None

    def send(self, message: Any) -> None:
        """Send any picklable object."""
        body, buffers = _pickled(message)
        sizes = [buffer.nbytes for buffer in buffers]
        if self.socket is None or len(body) + sum(sizes) <= self.limit:
            self.connection.send_bytes(pickle.dumps((body, [bytes(buffer) for buffer in buffers], None)))
            return
        descriptor = anonymous_file()
        try:
            for buffer in buffers:
                _write(descriptor, buffer)
            _write(descriptor, memoryview(body))
            self.connection.send_bytes(pickle.dumps((None, sizes, len(body))))
            socket.send_fds(self.socket, [b"f"], [descriptor])
        finally:
            os.close(descriptor)

    def send_file(self, descriptor: int) -> None:
        """Send an open file."""
        if self.socket is not None:
            socket.send_fds(self.socket, [b"f"], [descriptor])

    def receive_file(self) -> int | None:
        """Receive an open file; the descriptor belongs to the caller."""
        if self.socket is None:
            return None
        _, descriptors, _, _ = socket.recv_fds(self.socket, 1, 1)
        if not descriptors:
            raise EOFError
        return descriptors[0]

    def receive(self) -> Any:
        """Wait for a message; EOFError or OSError when the other end is gone."""
        body, buffers, size = pickle.loads(self.connection.recv_bytes())
        if size is None:
            return pickle.loads(body, buffers=[bytearray(buffer) for buffer in buffers])
        descriptor = self.receive_file()
        if descriptor is None:
            raise EOFError
        starts = _starts(buffers)
        try:
            memory = memoryview(mmap.mmap(descriptor, starts[-1] + size))
        finally:
            os.close(descriptor)
        views = [memory[start : start + count] for start, count in zip(starts, buffers, strict=False)]
        return pickle.loads(memory[starts[-1] :], buffers=views)

    def close(self) -> None:
        """Close this end."""
        self.connection.close()
        if self.socket is not None:
            self.socket.close()


def _socket_of(connection: Connection[Any, Any]) -> socket.socket:
    return socket.socket(fileno=os.dup(connection.fileno()))


def _starts(sizes: list[int]) -> list[int]:
    """Where the buffers begin, each aligned, and where the pickle after them begins."""
    starts = [0]
    for size in sizes:
        starts.append(-(-(starts[-1] + size) // ALIGNMENT) * ALIGNMENT)
    return starts


def _write(descriptor: int, data: Any) -> None:
    """Append `data` and fill up to the alignment; writing, unlike mapping, fails cleanly when memory is full."""
    view = memoryview(data).cast("B")
    while view:
        view = view[os.write(descriptor, view) :]
    gap = -os.lseek(descriptor, 0, os.SEEK_CUR) % ALIGNMENT
    if gap:
        os.write(descriptor, bytes(gap))
