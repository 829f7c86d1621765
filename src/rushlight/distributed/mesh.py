"""Connections between every two processes of a group, and messages on them."""

from __future__ import annotations

import contextlib
import hmac
import secrets
import select
import socket
import struct
import time
from typing import Any

from rushlight.distributed.reduction import DistBackendError, DistNetworkError
from rushlight.distributed.store import Store, connected

# Of each message: what it belongs to, and how many bytes follow. A process that calls something else, or with another
# size, is noticed by that.
HEADER = struct.Struct("<QIQ")
HELLO = struct.Struct("<32sI")


class Mesh:
    """A socket to each other process.

    Parameters
    ----------
    store : Store
        Where the processes tell each other their addresses.
    rank, size : int
    address : str
        The address to listen on.
    timeout : float
        Seconds that any message may take.
    """

    def __init__(self, store: Store, rank: int, size: int, address: str, timeout: float) -> None:
        self.rank, self.size, self.timeout = rank, size, timeout
        self.sockets: dict[int, socket.socket] = {}
        if size > 1:
            self._connect(store, address)

    def _connect(self, store: Store, address: str) -> None:
        end = time.monotonic() + self.timeout
        if self.rank == 0:
            store.set("token", secrets.token_hex(16))
        token = store._get("token", self.timeout)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.create_server((address, 0), family=family, backlog=self.size) as server:
            store.set(f"address/{self.rank}", f"{address} {server.getsockname()[1]}")
            for other in range(self.rank):
                host, port = store._get(f"address/{other}", max(0.1, end - time.monotonic())).decode().split()
                made = connected(host, int(port), max(0.1, end - time.monotonic()), f"rank {other}")
                made.sendall(HELLO.pack(token, self.rank))
                self._keep(other, made)
            while len(self.sockets) < self.size - 1:
                server.settimeout(max(0.01, end - time.monotonic()))
                try:
                    made, _ = server.accept()
                except OSError as error:
                    missing = sorted(set(range(self.size)) - set(self.sockets) - {self.rank})
                    raise DistNetworkError(
                        f"Timed out after {self.timeout:g} seconds waiting for ranks {missing} to connect"
                    ) from error
                self._welcome(made, token)

    def _welcome(self, made: socket.socket, token: bytes) -> None:
        """Keep a connection whose other end proves to belong to the group."""
        made.settimeout(5.0)
        data = b""
        with contextlib.suppress(OSError):
            while len(data) < HELLO.size and (more := made.recv(HELLO.size - len(data))):
                data += more
        if len(data) == HELLO.size:
            claimed, rank = HELLO.unpack(data)
            if hmac.compare_digest(claimed, token) and self.rank < rank < self.size and rank not in self.sockets:
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._keep(rank, made)
                return
        made.close()

    def _keep(self, rank: int, made: socket.socket) -> None:
        made.setblocking(False)
        self.sockets[rank] = made

    def exchange(self, tag: int, kind: int, outgoing: list[tuple[int, Any]], incoming: list[tuple[int, Any]]) -> None:
        """Send buffers to some processes and fill buffers from some, all at the same time.

        Raises
        ------
        DistNetworkError
            If a connection breaks or nothing moves for the timeout.
        DistBackendError
            If a process sends something that does not belong to this call.
        """
        sends = {rank: _Send(self, rank, tag, kind, data) for rank, data in outgoing}
        receives = {rank: _Receive(self, rank, tag, kind, data) for rank, data in incoming}
        while sends or receives:
            readable, writable, _ = select.select(list(receives.values()), list(sends.values()), [], self.timeout)
            if not readable and not writable:
                waiting = sorted({*sends, *receives})
                raise DistNetworkError(
                    f"Timed out waiting {round(self.timeout * 1000)}ms for ranks {waiting}: do all processes call the "
                    "same operations in the same order?"
                )
            for send in writable:
                if send.advance():
                    del sends[send.rank]
            for receive in readable:
                if receive.advance():
                    del receives[receive.rank]

    def close(self) -> None:
        """Close all connections."""
        for made in self.sockets.values():
            made.close()
        self.sockets.clear()


def bytes_of(buffer: Any) -> memoryview:
    """The memory of a contiguous array, or of bytes, as bytes."""
    view = memoryview(buffer if isinstance(buffer, bytes | bytearray | memoryview) else _plain(buffer))
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def _plain(array: Any) -> Any:
    assert array.flags.c_contiguous, "only contiguous memory is sent"
    return array.reshape(-1).view("u1")


class _Transfer:
    def __init__(self, mesh: Mesh, rank: int, tag: int, kind: int, data: Any) -> None:
        if rank not in mesh.sockets:
            raise DistNetworkError(f"rank {mesh.rank} has no connection to rank {rank}")
        self.socket, self.rank, self.tag, self.kind = mesh.sockets[rank], rank, tag, kind
        self.body = bytes_of(data)
        self.done = 0

    def fileno(self) -> int:
        """For `select`."""
        return self.socket.fileno()

    def broken(self, error: object) -> DistNetworkError:
        return DistNetworkError(f"Connection to rank {self.rank} closed by peer: {error}")


class _Send(_Transfer):
    """A message on its way out."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.head = memoryview(HEADER.pack(self.tag, self.kind, len(self.body)))

    def advance(self) -> bool:
        """Send what the socket takes; whether that was all."""
        try:
            if self.head:
                self.head = self.head[self.socket.send(self.head) :]
            if not self.head and self.done < len(self.body):
                self.done += self.socket.send(self.body[self.done : self.done + (1 << 20)])
        except BlockingIOError:
            pass
        except OSError as error:
            raise self.broken(error) from error
        return not self.head and self.done == len(self.body)


class _Receive(_Transfer):
    """A message on its way in."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.head = bytearray()

    def advance(self) -> bool:
        """Take what has arrived; whether that was all."""
        try:
            if len(self.head) < HEADER.size:
                self._take_head()
            elif self.done < len(self.body):
                count = self.socket.recv_into(self.body[self.done : self.done + (1 << 20)])
                self.done += count
                if not count:
                    raise self.broken("the process has ended, or failed before this call")
        except BlockingIOError:
            pass
        except OSError as error:
            raise self.broken(error) from error
        return len(self.head) == HEADER.size and self.done == len(self.body)

    def _take_head(self) -> None:
        part = self.socket.recv(HEADER.size - len(self.head))
        if not part:
            raise self.broken("the process has ended, or failed before this call")
        self.head += part
        if len(self.head) < HEADER.size:
            return
        tag, kind, count = HEADER.unpack(self.head)
        if (tag, kind, count) != (self.tag, self.kind, len(self.body)):
            raise DistBackendError(
                f"rank {self.rank} sent {count} bytes of operation {kind} (number {tag}) where {len(self.body)} bytes "
                f"of operation {self.kind} (number {self.tag}) were expected: all processes must call the same "
                "operations with the same sizes in the same order"
            )
