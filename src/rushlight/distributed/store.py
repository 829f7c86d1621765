"""Stores: where processes leave small values for each other while they find together."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from rushlight.distributed.reduction import DistNetworkError, DistStoreError

DEFAULT_TIMEOUT = timedelta(minutes=5)
SET, GET, ADD, CHECK, DELETE, COUNT, COMPARE = range(1, 8)
FOUND, ABSENT = b"\1", b"\0"
MOST_BYTES = 1 << 26  # of one value


class Store:
    """Keys and values that all processes see."""

    timeout = DEFAULT_TIMEOUT

    def set_timeout(self, timeout: timedelta) -> None:
        """How long `get` and `wait` wait."""
        self.timeout = timeout

    def set(self, key: str, value: str | bytes) -> None:
        """Leave a value."""
        raise NotImplementedError

    def get(self, key: str) -> bytes:
        """A value; waits until it is there.

        Raises
        ------
        DistStoreError
            After the timeout.
        """
        return self._get(key, self.timeout.total_seconds())

    def _get(self, key: str, seconds: float) -> bytes:
        raise NotImplementedError

    def add(self, key: str, amount: int) -> int:
        """Add to a number that starts at 0, and return it."""
        raise NotImplementedError

    def check(self, keys: list[str]) -> bool:
        """Whether all keys are there."""
        raise NotImplementedError

    def delete_key(self, key: str) -> bool:
        """Remove a key; whether it was there."""
        raise NotImplementedError

    def num_keys(self) -> int:
        """Number of keys."""
        raise NotImplementedError

    def compare_set(self, key: str, expected_value: str | bytes, desired_value: str | bytes) -> bytes:
        """Set a key if it has the expected value (or is absent and that is empty); the value afterwards."""
        raise NotImplementedError

    def wait(self, keys: list[str], timeout: timedelta | None = None) -> None:
        """Wait until all keys are there."""
        end = time.monotonic() + (timeout or self.timeout).total_seconds()
        for key in keys:
            self._get(key, max(0.0, end - time.monotonic()))


def as_bytes(value: str | bytes) -> bytes:
    """Texts are stored as UTF-8."""
    return value.encode() if isinstance(value, str) else bytes(value)


class HashStore(Store):
    """A store within one process."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._changed = threading.Condition()

    def set(self, key: str, value: str | bytes) -> None:
        """Leave a value."""
        with self._changed:
            self._values[key] = as_bytes(value)
            self._changed.notify_all()

    def _get(self, key: str, seconds: float) -> bytes:
        with self._changed:
            if not self._changed.wait_for(lambda: key in self._values, seconds):
                raise DistStoreError(f"wait timeout after {round(seconds * 1000)}ms, keys: /{key}")
            return self._values[key]

    def add(self, key: str, amount: int) -> int:
        """Add to a number that starts at 0, and return it."""
        with self._changed:
            total = int(self._values.get(key, b"0")) + amount
            self._values[key] = str(total).encode()
            self._changed.notify_all()
            return total

    def check(self, keys: list[str]) -> bool:
        """Whether all keys are there."""
        with self._changed:
            return all(key in self._values for key in keys)

    def delete_key(self, key: str) -> bool:
        """Remove a key; whether it was there."""
        with self._changed:
            return self._values.pop(key, None) is not None

    def num_keys(self) -> int:
        """Number of keys."""
        with self._changed:
            return len(self._values)

    def compare_set(self, key: str, expected_value: str | bytes, desired_value: str | bytes) -> bytes:
        """Set a key if it has the expected value (or is absent and that is empty); the value afterwards."""
        with self._changed:
            held = self._values.get(key)
            if held == as_bytes(expected_value) or held is None and not expected_value:
                held = self._values[key] = as_bytes(desired_value)
                self._changed.notify_all()
            return as_bytes(expected_value) if held is None else held


class PrefixStore(Store):
    """A part of another store: every key gets a prefix."""

    def __init__(self, prefix: str, store: Store) -> None:
        self.prefix, self.underlying_store, self.timeout = prefix, store, store.timeout

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{key}"

    def set(self, key: str, value: str | bytes) -> None:
        """Leave a value."""
        self.underlying_store.set(self._key(key), value)

    def _get(self, key: str, seconds: float) -> bytes:
        return self.underlying_store._get(self._key(key), seconds)

    def add(self, key: str, amount: int) -> int:
        """Add to a number that starts at 0, and return it."""
        return self.underlying_store.add(self._key(key), amount)

    def check(self, keys: list[str]) -> bool:
        """Whether all keys are there."""
        return self.underlying_store.check([self._key(key) for key in keys])

    def delete_key(self, key: str) -> bool:
        """Remove a key; whether it was there."""
        return self.underlying_store.delete_key(self._key(key))

    def num_keys(self) -> int:
        """Number of keys of the whole store."""
        return self.underlying_store.num_keys()

    def compare_set(self, key: str, expected_value: str | bytes, desired_value: str | bytes) -> bytes:
        """Set a key if it has the expected value; the value afterwards."""
        return self.underlying_store.compare_set(self._key(key), expected_value, desired_value)


def _packed(*parts: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def _exactly(stream: Any, count: int) -> bytes:
    data: bytes = stream.read(count)
    if len(data) != count:
        raise EOFError
    return data


def _part(stream: Any) -> bytes:
    (count,) = struct.unpack("<I", _exactly(stream, 4))
    if count > MOST_BYTES:
        raise EOFError
    return _exactly(stream, count)


class _Handler(socketserver.StreamRequestHandler):
    """Answers one process."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        with contextlib.suppress(EOFError, OSError, ValueError):
            while True:
                (command,) = _exactly(self.rfile, 1)
                self.wfile.write(self._answer(command))

    def _answer(self, command: int) -> bytes:
        store: HashStore = self.server.values  # type: ignore[attr-defined]
        key = _part(self.rfile).decode()
        if command == SET:
            store.set(key, _part(self.rfile))
            return _packed(FOUND)
        if command == GET:
            try:
                return _packed(FOUND, store._get(key, float(_part(self.rfile))))
            except DistStoreError:
                return _packed(ABSENT)
        if command == ADD:
            return _packed(str(store.add(key, int(_part(self.rfile)))).encode())
        if command == CHECK:
            return _packed(FOUND if store.check(key.split("\n")) else ABSENT)
        if command == DELETE:
            return _packed(FOUND if store.delete_key(key) else ABSENT)
        if command == COUNT:
            return _packed(str(store.num_keys()).encode())
        return _packed(store.compare_set(key, _part(self.rfile), _part(self.rfile)))


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], family: socket.AddressFamily) -> None:
        self.address_family = family
        self.values = HashStore()
        super().__init__(address, _Handler)


class TCPStore(Store):
    """A store that one process keeps and the others ask over TCP.

    Anyone who reaches the port can read and change it: use it on a machine or in a network that you trust.

    Parameters
    ----------
    host_name : str
    port : int
        0 lets the keeper choose; `port` tells.
    world_size : int, optional
        With `wait_for_workers` the constructor returns when so many processes are there.
    is_master : bool
        Whether this process keeps it.
    timeout : timedelta
    """

    def __init__(
        self,
        host_name: str,
        port: int,
        world_size: int | None = None,
        is_master: bool = False,
        timeout: timedelta = DEFAULT_TIMEOUT,
        wait_for_workers: bool = True,
    ) -> None:
        self.host, self.timeout = host_name, timeout
        self._lock = threading.Lock()
        self._server: _Server | None = None
        if is_master:
            self._server = _listening(host_name, port)
            port = self._server.server_address[1]
            threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()
        self.port = port
        self._socket = connected(host_name, port, timeout.total_seconds(), "the store")
        self._stream: Any = self._socket.makefile("rb")
        if world_size is not None and wait_for_workers:
            arrived = self.add("init/arrived", 1)
            if arrived >= world_size:
                self.set("init/complete", b"1")
            self.get("init/complete")

    @contextlib.contextmanager
    def _asking(self, seconds: float) -> Iterator[None]:
        with self._lock:
            self._socket.settimeout(seconds)
            try:
                yield
            except (OSError, EOFError, struct.error) as error:
                message = f"the store at {self.host}:{self.port} does not answer: {error or 'connection closed'}"
                raise DistNetworkError(message) from error

    def _ask(self, command: int, *parts: bytes, seconds: float | None = None) -> bytes:
        with self._asking(self.timeout.total_seconds() if seconds is None else seconds):
            self._socket.sendall(bytes([command]) + _packed(*parts))
            return _part(self._stream)

    def set(self, key: str, value: str | bytes) -> None:
        """Leave a value."""
        self._ask(SET, key.encode(), as_bytes(value))

    def _get(self, key: str, seconds: float) -> bytes:
        with self._asking(seconds + 10):  # the keeper itself watches the time
            self._socket.sendall(bytes([GET]) + _packed(key.encode(), repr(seconds).encode()))
            found = _part(self._stream)
            if found == FOUND:
                return _part(self._stream)
        raise DistStoreError(f"wait timeout after {round(seconds * 1000)}ms, keys: /{key}")

    def add(self, key: str, amount: int) -> int:
        """Add to a number that starts at 0, and return it."""
        return int(self._ask(ADD, key.encode(), str(amount).encode()))

    def check(self, keys: list[str]) -> bool:
        """Whether all keys are there."""
        return self._ask(CHECK, "\n".join(keys).encode()) == FOUND

    def delete_key(self, key: str) -> bool:
        """Remove a key; whether it was there."""
        return self._ask(DELETE, key.encode()) == FOUND

    def num_keys(self) -> int:
        """Number of keys."""
        return int(self._ask(COUNT, b""))

    def compare_set(self, key: str, expected_value: str | bytes, desired_value: str | bytes) -> bytes:
        """Set a key if it has the expected value (or is absent and that is empty); the value afterwards."""
        return self._ask(COMPARE, key.encode(), as_bytes(expected_value), as_bytes(desired_value))

    @property
    def local_address(self) -> str:
        """The address under which the keeper's machine sees this process."""
        return str(self._socket.getsockname()[0])

    def close(self) -> None:
        """Let go of the connection, and of the store itself where it is kept."""
        self._stream.close()
        self._socket.close()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


def _listening(host: str, port: int) -> _Server:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return _Server(address[:2], family)  # type: ignore[arg-type]
    except OSError as error:
        raise DistNetworkError(
            f"The server socket has failed to listen on {host}:{port} ({error}). Is the port in use by another "
            "program, and is this machine the one that MASTER_ADDR names?"
        ) from error


def connected(host: str, port: int, seconds: float, what: str) -> socket.socket:
    """A connection; tries again until the other side listens."""
    end = time.monotonic() + seconds
    pause = 0.01
    while True:
        try:
            made = socket.create_connection((host, port), max(0.1, min(5.0, end - time.monotonic())))
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return made
        except OSError as error:
            if time.monotonic() + pause > end:
                raise DistNetworkError(
                    f"Timed out after {seconds:g} seconds waiting for {what} at {host}:{port} ({error})"
                ) from error
        time.sleep(pause)
        pause = min(0.5, pause * 1.5)
