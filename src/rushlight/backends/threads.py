"""Threads for NumPy code: consecutive ranges of one loop run side by side, each with a single-threaded BLAS.

NumPy and the BLAS release the interpreter lock inside large calls, so two Python threads that each work through
their own images use two cores for copies as well as for products. A BLAS that splits every small product by itself
spends most of that gain on waking its own threads.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from numpy._core import _multiarray_umath  # type: ignore[attr-defined]

from rushlight import config

T = TypeVar("T")

# Ranges are cut by the loop's length alone, so that results do not depend on the number of threads.
MOST_RANGES = 16


def _available_cores() -> int:
    wanted = config.get("THREADS")
    if wanted is not None:
        return max(1, int(wanted))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _quota(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")) or cores)


def _quota(mount: Path, membership: Path) -> int | None:
    """How many cores' time this process's control group may use, rounded up; None without a limit."""
    try:
        groups = [line.split(":", 2) for line in membership.read_text().splitlines()]
    except OSError:
        return None
    limits = []
    for _, controllers, path in (group for group in groups if len(group) == 3):
        parts = Path(path.lstrip("/"))
        for group in (parts, *parts.parents):
            if not controllers:
                limits.append(_limit(mount / group / "cpu.max"))
            elif "cpu" in controllers.split(","):
                here = mount / controllers / group
                limits.append(_limit(here / "cpu.cfs_quota_us", here / "cpu.cfs_period_us"))
    known = [limit for limit in limits if limit is not None]
    return min(known, default=None)


def _limit(*files: Path) -> int | None:
    """Quota over period, from files that hold the two between them."""
    try:
        quota, period = (int(word) for file in files for word in file.read_text().split())
    except (OSError, ValueError):  # no such file; "max"
        return None
    return max(1, -(-quota // period)) if quota > 0 and period > 0 else None


def _blas_function(name: str) -> Any:
    """A control function of the OpenBLAS that NumPy carries, None with another BLAS."""
    try:
        library = ctypes.CDLL(_multiarray_umath.__file__)
    except OSError:
        return None
    for form in (f"scipy_openblas_{name}64_", f"scipy_openblas_{name}", f"openblas_{name}64_", f"openblas_{name}"):
        found = getattr(library, form, None)
        if found is not None:
            return found
    return None


_set_blas_threads = _blas_function("set_num_threads")
_get_blas_threads = _blas_function("get_num_threads")


_listeners: list[Callable[[], None]] = []


def on_change(listener: Callable[[], None]) -> None:
    """Call `listener` whenever the number of threads was set."""
    _listeners.append(listener)


class _State(threading.local):
    inside = False


class _Pool:
    """The workers, started on first use and again after a fork."""

    executor: ThreadPoolExecutor | None = None
    size = _available_cores()
    blas_size = int(_get_blas_threads()) if _get_blas_threads else 1
    users = 0
    lock = threading.Lock()


_state = _State()


def _forget_after_fork() -> None:
    _Pool.executor = None
    _Pool.lock = threading.Lock()
    _Pool.users = 0
    _state.inside = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


def get_num_threads() -> int:
    """Number of threads that one operation may use."""
    return _Pool.size


def set_num_threads(n: int) -> None:
    """Set the number of threads that one operation may use.

    Raises
    ------
    RuntimeError
        If `n` is not a positive integer.
    """
    if not isinstance(n, int) or n <= 0:
        raise RuntimeError("set_num_threads expects a positive integer")
    with _Pool.lock:
        _Pool.size = _Pool.blas_size = n
        executor, _Pool.executor = _Pool.executor, None
        if _set_blas_threads and not _Pool.users:
            _set_blas_threads(n)
    if executor is not None:
        executor.shutdown(wait=False)
    for listener in _listeners:
        listener()


class _Interop:
    count: int | None = None


def get_num_interop_threads() -> int:
    """What `set_num_interop_threads` was given, else the number of cores; operations run one after another."""
    return _Interop.count or _available_cores()


def set_num_interop_threads(n: int) -> None:
    """Accepted: operations run one after another."""
    if not isinstance(n, int) or n <= 0:
        raise RuntimeError("set_num_interop_threads expects a positive integer")
    _Interop.count = n


@contextmanager
def _single_threaded_blas() -> Iterator[None]:
    with _Pool.lock:
        _Pool.users += 1
        if _Pool.users == 1 and _set_blas_threads:
            _set_blas_threads(1)
    try:
        yield
    finally:
        with _Pool.lock:
            _Pool.users -= 1
            if _Pool.users == 0 and _set_blas_threads:
                _set_blas_threads(_Pool.blas_size)


def _workers() -> ThreadPoolExecutor:
    with _Pool.lock:
        if _Pool.executor is None:
            _Pool.executor = ThreadPoolExecutor(max(1, _Pool.size - 1), thread_name_prefix="rushlight")
        return _Pool.executor


def parallel_ranges(length: int, function: Callable[[int, int], T], worthwhile: bool = True) -> list[T]:
    """Call `function(start, stop)` for consecutive ranges that cover `range(length)`; results in that order.

    Parameters
    ----------
    length : int
        Number of steps of the loop.
    function : callable
        Works through steps `start` to `stop - 1`. Calls run side by side and must not write to the same memory.
    worthwhile : bool
        False where the whole loop is too short to wake a thread (about 50 microseconds).
    """
    if length == 0:
        return []
    if not worthwhile:
        return [function(0, length)]
    count = min(length, MOST_RANGES)
    ranges = list(itertools.pairwise(i * length // count for i in range(count + 1)))
    if count < 2 or _Pool.size < 2 or _state.inside:
        return [function(start, stop) for start, stop in ranges]
    results: list[Any] = [None] * count
    tickets = iter(range(count))

    def work() -> None:
        _state.inside = True
        try:
            for i in tickets:
                results[i] = function(*ranges[i])
        finally:
            _state.inside = False

    with _single_threaded_blas():
        futures = [_workers().submit(work) for _ in range(min(_Pool.size, count) - 1)]
        try:
            work()
        finally:
            for future in futures:
                if not future.cancel():
                    future.result()
    return results
