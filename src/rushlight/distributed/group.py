"""Process groups: the operations of a mesh in the order in which they were asked for, waited for or not."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

from rushlight.distributed import algorithms
from rushlight.distributed.mesh import Mesh
from rushlight.distributed.reduction import RedOpType
from rushlight.distributed.store import PrefixStore, Store


class Work:
    """An operation under way."""

    def __init__(self, future: Future[Any]) -> None:
        self._future = future

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Wait for the end; raises what went wrong."""
        self._future.result(None if timeout is None else timeout.total_seconds())
        return True

    synchronize = wait

    def is_completed(self) -> bool:
        """Whether it has ended, well or not."""
        return self._future.done()

    def is_success(self) -> bool:
        """Whether it has ended well."""
        return self._future.done() and self._future.exception() is None

    def exception(self) -> BaseException | None:
        """What went wrong."""
        return self._future.exception() if self._future.done() else None

    def result(self) -> Any:
        """What the operation gives."""
        return self._future.result()


class _Thread:
    """Does one thing after another; as a daemon it keeps no program from ending."""

    def __init__(self, name: str) -> None:
        self.tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.broken: BaseException | None = None
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, task: Callable[[], Any]) -> Future[Any]:
        """Do `task` when all tasks before it are done."""
        future: Future[Any] = Future()
        self.tasks.put((future, task))
        return future

    def _run(self) -> None:
        while (item := self.tasks.get()) is not None:
            future, task = item
            try:
                if self.broken is not None:
                    # Messages may be half sent: nothing that follows could be trusted.
                    raise type(self.broken)(f"an earlier operation failed: {self.broken}")
                future.set_result(task())
            except BaseException as error:
                if self.broken is None and isinstance(error, RuntimeError):
                    self.broken = error
                future.set_exception(error)
            del item, future, task

    def stop(self) -> None:
        """End after what was asked for."""
        self.tasks.put(None)


class ProcessGroup:
    """Some processes that work together; made by `init_process_group` and `new_group`.

    Attributes
    ----------
    ranks : list of int
        Their ranks in the whole program.
    """

    def __init__(
        self, store: Store, ranks: list[int], rank: int, address: str, timeout: timedelta, name: str, backend: str
    ) -> None:
        self.ranks, self.name, self.backend, self.timeout = ranks, name, backend, timeout
        self._rank = ranks.index(rank)
        self._store = PrefixStore(f"group/{name}", store)
        seconds = timeout.total_seconds()
        # Operations of all processes, and messages between two, do not wait for each other.
        self._mesh, self._direct = (
            Mesh(PrefixStore(kind, self._store), self._rank, len(ranks), address, seconds) for kind in ("all", "direct")
        )
        self._worker = _Thread(f"group {name}")
        self._senders: dict[int, _Thread] = {}
        self._receivers: dict[int, _Thread] = {}
        self._number = 0

    def rank(self) -> int:
        """The rank of this process in the group."""
        return self._rank

    def size(self) -> int:
        """Number of processes."""
        return len(self.ranks)

    def run(self, operation: Callable[[Mesh, int], Any]) -> Work:
        """Call `operation(mesh, number)` after all earlier ones; number is the same in all processes."""
        self._number += 1
        number = self._number
        return Work(self._worker.submit(lambda: operation(self._mesh, number)))

    # What `DistributedDataParallel` needs, on arrays

    def average(self, flat: Any) -> Work:
        """Replace the elements of `flat` by their mean over all processes."""
        return self.run(lambda mesh, number: algorithms.all_reduce(mesh, number, flat, RedOpType.AVG))

    def maximum(self, flat: Any) -> Work:
        """Replace the elements of `flat` by the greatest of all processes."""
        return self.run(lambda mesh, number: algorithms.all_reduce(mesh, number, flat, RedOpType.MAX))

    def spread(self, flat: Any, root: int = 0) -> Work:
        """Replace the elements of `flat` by those of one process."""
        return self.run(lambda mesh, number: algorithms.broadcast(mesh, number, flat, root))

    def gathered(self, rows: Any) -> Work:
        """Fill `rows`, one for each process, of which this process has filled its own."""
        return self.run(lambda mesh, number: algorithms.all_gather(mesh, number, rows.reshape(-1)))

    def send(self, data: Any, to: int, tag: int) -> Work:
        """Send contiguous memory to one process."""
        if to not in self._senders:
            self._senders[to] = _Thread(f"to {to}")
        kind = algorithms.POINT_TO_POINT
        return Work(self._senders[to].submit(lambda: self._direct.exchange(tag, kind, [(to, data)], [])))

    def receive(self, data: Any, source: int, tag: int) -> Work:
        """Fill contiguous memory from one process."""
        if source not in self._receivers:
            self._receivers[source] = _Thread(f"from {source}")
        kind = algorithms.POINT_TO_POINT
        return Work(self._receivers[source].submit(lambda: self._direct.exchange(tag, kind, [], [(source, data)])))

    def close(self) -> None:
        """Let go of all connections."""
        for thread in (self._worker, *self._senders.values(), *self._receivers.values()):
            thread.stop()
        self._mesh.close()
        self._direct.close()
