"""What a worker process of a `DataLoader` does."""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rushlight.backends.threads import set_num_threads
from rushlight.random import manual_seed
from rushlight.shared import anonymous_file
from rushlight.utils.data import random_state
from rushlight.utils.data.channel import Channel
from rushlight.utils.data.fetch import Fetch, iterable_fetcher, map_fetcher

# How often an idle worker looks whether its parent is still there.
PARENT_CHECK_SECONDS = 5.0
MASK32 = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """Which worker this process is.

    Attributes
    ----------
    id : int
    num_workers : int
    seed : int
        Seed of this worker's generators.
    dataset : Dataset
        This worker's copy.
    """

    id: int
    num_workers: int
    seed: int
    dataset: Any
    rng: Any = None
    worker_method: str = "multiprocessing"


class _Here:
    info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """Which worker this process is; None in the main process."""
    return _Here.info


@dataclass
class Job:
    """All that a worker is told at its start."""

    worker_id: int
    num_workers: int
    base_seed: int
    dataset: Any
    is_iterable: bool
    is_batched: bool
    collate_fn: Callable[[Any], Any]
    drop_last: bool
    init_fn: Callable[[int], None] | None
    in_flight: int

    def fetcher(self) -> Fetch:
        """A fresh way to fetch, for one epoch."""
        if self.is_iterable:
            return iterable_fetcher(self.dataset, self.is_batched, self.collate_fn, self.drop_last)
        return map_fetcher(self.dataset, self.is_batched, self.collate_fn)


class Failure:
    """An exception on its way to the main process.

    Parameters
    ----------
    where : str
        Put into the message: "in DataLoader worker process 0".
    """

    def __init__(self, where: str) -> None:
        kind, value, _ = sys.exc_info()
        assert kind is not None
        self.kind: type[BaseException] = kind
        self.name = kind.__name__
        self.where = where
        self.text = traceback.format_exc()
        self.notes = list(getattr(value, "__notes__", []))

    def reraise(self) -> None:
        """Raise the exception here, with the worker's traceback in its message."""
        message = f"Caught {self.name} {self.where}.\nOriginal {self.text}"
        if self.kind is KeyError:
            raise KeyError(_PlainText(message))
        try:
            error = self.kind(message)
        except Exception:
            # A constructor that wants other arguments.
            error = RuntimeError(message)
        for note in self.notes:
            error.add_note(note)
        raise error


class _PlainText(str):
    """KeyError shows the repr of its argument; this one's keeps line breaks."""

    def __repr__(self) -> str:
        return str(self)


def seed_all(base_seed: int, worker_id: int) -> int:
    """Seed Python, NumPy and Rushlight for one worker; returns the seed that users see."""
    seed = base_seed + worker_id
    random.seed(seed)
    manual_seed(seed)
    # NumPy gets a hash, not a consecutive number: its old seeding gives related streams for related seeds.
    entropy = [worker_id, base_seed & MASK32, base_seed >> 32, 0]
    np.random.seed(np.random.SeedSequence(entropy).generate_state(4))
    return seed


def run_worker(connection: Any, inherited: list[Any], job: Job) -> None:
    """The main function of a worker process."""
    for other in inherited:
        # A forked worker holds copies of its siblings' connections; while it does, they never see their end close.
        with contextlib.suppress(OSError):
            other.close()
    set_num_threads(1)  # the workers themselves are what runs side by side
    channel = Channel(connection, job.in_flight)
    # A parent that is gone, or Ctrl-C, ends the worker without a word.
    with contextlib.suppress(KeyboardInterrupt, EOFError, ConnectionError):
        _report_stacks(channel)
        seed = seed_all(job.base_seed, job.worker_id)
        _Here.info = WorkerInfo(job.worker_id, job.num_workers, seed, job.dataset)
        _Loop(channel, job).run()


def _report_stacks(channel: Channel) -> None:
    """Let crashes and SIGUSR1 write this process's stack to a file that the main process can read."""
    descriptor = anonymous_file()
    channel.send_file(descriptor)
    file = os.fdopen(descriptor, "wb", buffering=0)
    faulthandler.enable(file=file)
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1, file=file)


class _Loop:
    """Reads tasks and answers them.

    Tasks: ("fetch", epoch, number, index), ("epoch",), ("skip", count, places), ("random", state), ("stop",).
    Answers: (epoch, number, kind, value, random state if it changed); kind is "data", "error" or "end".
    """

    def __init__(self, channel: Channel, job: Job) -> None:
        self.channel = channel
        self.job = job
        self.where = f"in DataLoader worker process {job.worker_id}"
        self.start_failure: Failure | None = None
        self.fetch: Fetch | None = None
        self.has_ended = False
        self.sent_random: random_state.State | None = None

    def run(self) -> None:
        """Until told to stop, or the main process is gone."""
        try:
            if self.job.init_fn is not None:
                self.job.init_fn(self.job.worker_id)
            self.fetch = self.job.fetcher()
        except Exception:
            self.start_failure = Failure(self.where)
        self.sent_random = random_state.capture()
        parent = os.getppid()
        while True:
            if not self.channel.connection.poll(PARENT_CHECK_SECONDS):
                process = multiprocessing.parent_process()
                if os.getppid() != parent or (process is not None and not process.is_alive()):
                    return
                continue
            task = self.channel.receive()
            if task[0] == "stop":
                return
            self._do(task)

    def _do(self, task: tuple[Any, ...]) -> None:
        kind = task[0]
        if kind == "fetch" and not self.has_ended:
            self._answer(*task[1:])
        elif kind == "epoch":
            self.has_ended = False
            try:
                self.fetch = self.job.fetcher()
            except Exception:
                self.start_failure = Failure(self.where)
        elif kind == "skip":
            self._skip(*task[1:])
        elif kind == "random":
            random_state.restore(task[1])

    def _skip(self, count: int, places: Any) -> None:
        try:
            for _ in range(count):
                assert self.fetch is not None
                self.fetch(places)
        except StopIteration:
            self.has_ended = True
        except Exception:
            self.start_failure = Failure(self.where)

    def _answer(self, epoch: int, number: int, index: Any) -> None:
        kind, value = self._result(index)
        now = random_state.capture()
        changed = None if random_state.is_same(now, self.sent_random) else now
        self.sent_random = now
        try:
            self.channel.send((epoch, number, kind, value, changed))
        except (BrokenPipeError, ConnectionError):
            raise
        except Exception:
            # The batch, or the exception's type, cannot be pickled.
            failure = value if isinstance(value, Failure) else Failure(self.where)
            if failure is value:
                failure.kind = RuntimeError
            self.channel.send((epoch, number, "error", failure, changed))

    def _result(self, index: Any) -> tuple[str, Any]:
        if self.start_failure is not None:
            failure, self.start_failure = self.start_failure, None
            return "error", failure
        try:
            assert self.fetch is not None
            return "data", self.fetch(index)
        except StopIteration:
            if not self.job.is_iterable:
                return "error", Failure(self.where)
            self.has_ended = True
            return "end", None
        except Exception:
            return "error", Failure(self.where)
