"""The worker processes of a `DataLoader`, as the main process sees them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
import warnings
import weakref
from dataclasses import replace
from multiprocessing.connection import wait
from typing import Any

from rushlight.errors import explain
from rushlight.utils.data.channel import Channel
from rushlight.utils.data.worker import Job, run_worker

# Ends of connections that live in this process; forked workers close their copies.
_open_connections: weakref.WeakSet[Any] = weakref.WeakSet()
SHUTDOWN_SECONDS = 2.0
STACK_SECONDS = 1.0


class Worker:
    """One worker process and the connection to it."""

    def __init__(self, context: Any, job: Job) -> None:
        self.id = job.worker_id
        ours, theirs = context.Pipe(duplex=True)
        inherited = [*_open_connections, ours] if context.get_start_method() == "fork" else []
        self.process = context.Process(
            target=run_worker, args=(theirs, inherited, job), name=f"rushlight-worker-{job.worker_id}", daemon=True
        )
        try:
            with warnings.catch_warnings():
                # Python 3.12 warns of a fork beside threads; the threads here are the BLAS library's, which copes.
                warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
                self.process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.channel = Channel(ours, job.in_flight)
        _open_connections.update(end for end in (ours, self.channel.socket) if end is not None)
        self.stack_file: int | None = None
        self.has_reported = False

    def receive(self) -> Any:
        """The next answer; None for the greeting that comes first."""
        if not self.has_reported:
            self.stack_file = self.channel.receive_file()
            self.has_reported = True
            return None
        return self.channel.receive()

    def stack(self) -> str:
        """What the process is doing now, or did when it crashed; empty where that cannot be found out."""
        if self.stack_file is None:
            return ""
        if self.process.is_alive() and hasattr(signal, "SIGUSR1"):
            before = os.fstat(self.stack_file).st_size
            os.kill(self.process.pid, signal.SIGUSR1)
            end = time.monotonic() + STACK_SECONDS
            while time.monotonic() < end:
                time.sleep(0.02)
                size = os.fstat(self.stack_file).st_size
                if size > before:
                    before, end = size, min(end, time.monotonic() + 0.1)
        return os.pread(self.stack_file, 16384, 0).decode(errors="replace").strip()

    def end_of_life(self) -> str:
        """How the process ended, in words."""
        self.process.join(SHUTDOWN_SECONDS)
        code = self.process.exitcode
        if code is None or code >= 0:
            return f"exit code {code}"
        name = signal.Signals(-code).name
        return f"killed by {name}" + (" (often: out of memory)" if name == "SIGKILL" else "")

    def close(self) -> None:
        """Let go of the connection; the worker ends when it notices."""
        self.channel.close()
        if self.stack_file is not None:
            os.close(self.stack_file)
            self.stack_file = None


def shut_down(workers: list[Worker], owner: int) -> None:
    """End worker processes: first by closing their connections, then by signals."""
    if os.getpid() != owner:
        return
    for worker in workers:
        with contextlib.suppress(OSError):
            worker.close()
    patience = time.monotonic() + SHUTDOWN_SECONDS
    for worker in workers:
        worker.process.join(max(0.0, patience - time.monotonic()))
    for end in ("terminate", "kill"):
        for worker in workers:
            if worker.process.is_alive():
                getattr(worker.process, end)()
        for worker in workers:
            worker.process.join(SHUTDOWN_SECONDS)
    workers.clear()


class Pool:
    """All workers of one loader.

    Parameters
    ----------
    job : Job
        Of worker 0; the others get their own number.
    context : multiprocessing context, or None for the default one
    timeout : float
        Longest wait for an answer in seconds; 0 waits forever.
    """

    def __init__(self, job: Job, context: Any, timeout: float) -> None:
        self.timeout = timeout
        self.workers: list[Worker] = []
        self._finalizer = weakref.finalize(self, shut_down, self.workers, os.getpid())
        context = context or multiprocessing.get_context()
        for i in range(job.num_workers):
            self.workers.append(Worker(context, replace(job, worker_id=i)))

    def send(self, worker_id: int, *task: Any) -> None:
        """Give a worker a task."""
        worker = self.workers[worker_id]
        try:
            worker.channel.send(task)
        except (BrokenPipeError, ConnectionError):
            raise self._death(worker) from None

    def answers(self, awaited: int) -> list[Any]:
        """Wait until answers come; `awaited` is the worker to blame when none does."""
        connections = {worker.channel.connection: worker for worker in self.workers}
        sentinels = {worker.process.sentinel: worker for worker in self.workers}
        ready = wait([*connections, *sentinels], self.timeout or None)
        if not ready:
            raise self._silence(self.workers[awaited])
        found = []
        for connection, worker in connections.items():
            while connection in ready and connection.poll():
                try:
                    answer = worker.receive()
                except (EOFError, OSError):
                    raise self._death(worker) from None
                if answer is not None:
                    found.append((worker.id, *answer))
        for sentinel, worker in sentinels.items():
            if sentinel in ready and not found:
                raise self._death(worker)
        return found

    def _death(self, worker: Worker) -> RuntimeError:
        pid, how = worker.process.pid, worker.end_of_life()
        return explain(
            RuntimeError(f"DataLoader worker (pid(s) {pid}) exited unexpectedly"),
            worker=f"{worker.id} of {len(self.workers)}, {how}",
            stack=worker.stack() or None,
            fix="num_workers=0 loads in the main process, where an error shows its own traceback",
        )

    def _silence(self, worker: Worker) -> RuntimeError:
        return explain(
            RuntimeError(f"DataLoader timed out after {self.timeout} seconds"),
            worker=f"{worker.id} of {len(self.workers)}, pid {worker.process.pid}",
            stack=worker.stack() or None,
        )

    def close(self) -> None:
        """End all workers."""
        self._finalizer()
