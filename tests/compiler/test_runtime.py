"""The native runner and its pool: every chunk exactly once, whatever the threads do; fork, exit, several callers."""

import ctypes
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rushlight.backends import threads
from rushlight.compiler import runtime, target
from rushlight.compiler.binding import is_available

pytestmark = pytest.mark.skipif(not is_available(), reason="needs llvmlite")

COUNT = """
define void @count(ptr %slots, i64 %i) {
  %p = load ptr, ptr %slots
  %q = getelementptr i64, ptr %p, i64 %i
  %v = load i64, ptr %q
  %w = add i64 %v, 1
  store i64 %w, ptr %q
  ret void
}
; x[i] += x[i - 1] of a table of rows: what the region before has written
define void @follow(ptr %slots, i64 %i) {
  %p = load ptr, ptr %slots
  %q = getelementptr ptr, ptr %slots, i64 1
  %to = load ptr, ptr %q
  %n1 = add i64 %i, 1
  %n = and i64 %n1, 7
  %a = getelementptr i64, ptr %p, i64 %n
  %v = load i64, ptr %a
  %w = add i64 %v, 1
  %b = getelementptr i64, ptr %to, i64 %i
  store i64 %w, ptr %b
  ret void
}
"""


class Counter:
    """A program of `regions` instructions that each count in `chunks` cells."""

    def __init__(self, regions: int, chunks: int) -> None:
        self.cells = np.zeros(max(chunks, 1), np.int64)
        self.slots = (ctypes.c_uint64 * 1)(self.cells.ctypes.data)
        step = (addresses()["count"], ctypes.addressof(self.slots), chunks)
        self.instructions = runtime.instructions([step] * regions)

    def run(self) -> None:
        runtime.run(ctypes.addressof(self.instructions))


_loaded: dict[str, int] = {}


def addresses() -> dict[str, int]:
    if not _loaded:
        _loaded.update(target.load(target.compile_text(COUNT, ["count", "follow"])))
    return _loaded


@pytest.fixture(params=[1, 2, 3, 8])
def count(request: pytest.FixtureRequest) -> Any:
    before = threads.get_num_threads()
    threads.set_num_threads(request.param)
    yield request.param
    threads.set_num_threads(before)


@pytest.mark.parametrize("chunks", [0, 1, 2, 7, 64])
def test_every_chunk_runs_once(count: int, chunks: int) -> None:
    counter = Counter(500, chunks)
    for _ in range(10):
        counter.run()
    assert (counter.cells == (5000 if chunks else 0)).all()


def test_a_region_sees_what_the_one_before_wrote(count: int) -> None:
    a, b = np.zeros(8, np.int64), np.zeros(8, np.int64)
    there, back = ((ctypes.c_uint64 * 2)(x.ctypes.data, y.ctypes.data) for x, y in ((a, b), (b, a)))
    function = addresses()["follow"]
    steps = [(function, ctypes.addressof(there), 8), (function, ctypes.addressof(back), 8)] * 10_000
    instructions = runtime.instructions(steps)
    for _ in range(3):
        runtime.run(ctypes.addressof(instructions))
    assert (a == 60_000).all()


def test_the_pool_has_the_wanted_size(count: int) -> None:
    Counter(1, 4).run()
    assert len(runtime.native().workers) == count - 1
    assert all(worker.is_alive() for worker in runtime.native().workers)


def test_several_python_threads_at_once(count: int) -> None:
    counters = [Counter(200, 16) for _ in range(6)]

    def work(counter: Counter) -> None:
        for _ in range(20):
            counter.run()

    callers = [threading.Thread(target=work, args=(c,)) for c in counters]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert all((c.cells == 4000).all() for c in counters)


def test_resizing_while_others_run() -> None:
    before = threads.get_num_threads()
    counter = Counter(2000, 8)
    caller = threading.Thread(target=lambda: [counter.run() for _ in range(30)])
    caller.start()
    for n in (3, 1, 4, 2, 1, 2):
        threads.set_num_threads(n)
        Counter(10, 4).run()
    caller.join()
    threads.set_num_threads(before)
    assert (counter.cells == 60_000).all()


def test_many_runs_do_not_grow_memory() -> None:
    counter = Counter(100, 8)
    counter.run()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(1000):  # 1e5 regions
        counter.run()
    assert (counter.cells == 100_100).all()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_while_workers_run() -> None:
    before = threads.get_num_threads()
    threads.set_num_threads(3)
    busy = Counter(1000, 8)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            busy.run()

    caller = threading.Thread(target=work)
    caller.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                counter = Counter(100, 8)
                counter.run()
                counter.run()
                fine = (counter.cells == 200).all() and len(runtime.native().workers) == 2
                os._exit(0 if fine else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        caller.join()
        threads.set_num_threads(before)


EXITS = {
    "idle": "counter.run(); counter.run()",
    "asleep": "counter.run(); counter.run(); time.sleep(0.05)",
    "running": "threading.Thread(target=lambda: [counter.run() for _ in range(10**9)], daemon=True).start(); "
    "time.sleep(0.05)",
    "error": "counter.run(); counter.run(); 1 / 0",
    "forked": "counter.run(); counter.run(); pid = os.fork(); counter.run(); counter.run(); pid and os.waitpid(pid, 0)",
}


@pytest.mark.parametrize("how", EXITS)
def test_the_interpreter_exits(how: str) -> None:
    if how == "forked" and not hasattr(os, "fork"):
        pytest.skip("no fork")
    start = "import os, threading, time\nfrom tests.compiler.test_runtime import Counter\ncounter = Counter(100, 8)\n"
    program = start + EXITS[how]
    environment = {**os.environ, "RUSHLIGHT_THREADS": "3"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], env=environment, timeout=30, capture_output=True
    )
    assert done.returncode == (how == "error"), done.stderr.decode()


@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
@pytest.mark.parametrize("processor", ["x86_64", "aarch64", "riscv64", "unheard-of"])
def test_every_system_has_a_runtime(system: str, processor: str) -> None:
    text = runtime.text(system, processor)
    assert ("@syscall" in text) == (system == "linux" and processor != "unheard-of")
    if processor != "aarch64":  # another processor's instructions
        llvm = target.llvm
        with llvm.create_context() as context, llvm.parse_assembly(text, context) as module:
            module.verify()


def test_sleeping_without_a_futex(tmp_path: Path) -> None:
    """The portable form, compiled in here in place of the other."""
    program = (
        "import time\nfrom rushlight.compiler import runtime\nwhole = runtime.text\n"
        "runtime.text = lambda: whole('darwin')\nfrom tests.compiler.test_runtime import Counter\n"
        "counter = Counter(100, 8)\nfor _ in range(20):\n    counter.run()\n    time.sleep(0.002)\n"
        "assert (counter.cells == 2000).all()\n"
    )
    environment = {**os.environ, "RUSHLIGHT_THREADS": "3", "RUSHLIGHT_CACHE": "0"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, timeout=30, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_too_many_chunks() -> None:
    with pytest.raises(ValueError, match="chunks"):
        runtime.instructions([(0, 0, 1 << 24)])


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cgroup": "0::/a/b\n", "a/b/cpu.max": "max 100000\n", "a/cpu.max": "150000 100000\n"}, 2),
        ({"cgroup": "0::/\n", "cpu.max": "50000 100000\n"}, 1),
        ({"cgroup": "0::/\n", "cpu.max": "max 100000\n"}, None),
        ({"cgroup": "4:cpu,cpuacct:/x\n", "cpu,cpuacct/x/cpu.cfs_quota_us": "400000",
          "cpu,cpuacct/x/cpu.cfs_period_us": "100000"}, 4),
        ({"cgroup": "4:cpu,cpuacct:/x\n", "cpu,cpuacct/x/cpu.cfs_quota_us": "-1",
          "cpu,cpuacct/x/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_quota_of_the_control_group(tmp_path: Path, files: dict[str, str], cores: int | None) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert threads._quota(tmp_path, tmp_path / "cgroup") == cores
